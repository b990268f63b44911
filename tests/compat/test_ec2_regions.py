"""Regions, zones, instance types, offerings, account attributes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.compat.refused import refused

Client = Any


def test_regions(ec2: Client, client: Callable[..., Client]) -> None:
    names = {one["RegionName"] for one in ec2.describe_regions()["Regions"]}
    assert {"us-east-1", "eu-central-1", "ap-southeast-2"} <= names
    assert not any(name.startswith(("cn-", "us-gov-")) for name in names)
    (one,) = ec2.describe_regions(RegionNames=["eu-west-1"])["Regions"]
    assert one["Endpoint"] == "ec2.eu-west-1.amazonaws.com" and one["OptInStatus"] == "opt-in-not-required"
    with refused("InvalidParameterValue", "mars-north-1"):
        ec2.describe_regions(RegionNames=["mars-north-1"])
    china = client("ec2", region="cn-north-1").describe_regions()["Regions"]
    assert {one["RegionName"] for one in china} == {"cn-north-1", "cn-northwest-1"}


def test_zones(ec2: Client, client: Callable[..., Client]) -> None:
    zones = ec2.describe_availability_zones(
        Filters=[
            {"Name": "opt-in-status", "Values": ["opt-in-not-required"]},
            {"Name": "state", "Values": ["available"]},
        ]
    )["AvailabilityZones"]
    assert [one["ZoneName"] for one in zones] == [f"us-east-1{letter}" for letter in "abcdef"]
    assert zones[0]["ZoneId"] == "use1-az6"
    assert zones[0]["ZoneType"] == "availability-zone" and zones[0]["NetworkBorderGroup"] == "us-east-1"
    (one,) = ec2.describe_availability_zones(ZoneIds=["use1-az1"])["AvailabilityZones"]
    assert one["ZoneName"] == "us-east-1b"
    west = client("ec2", region="us-west-2").describe_availability_zones()["AvailabilityZones"]
    assert len(west) >= 3 and {one["RegionName"] for one in west} == {"us-west-2"}
    with refused("InvalidParameterValue", "us-east-1z"):
        ec2.describe_availability_zones(ZoneNames=["us-east-1z"])


def test_instance_types(ec2: Client) -> None:
    wanted = (
        "t3.micro t2.micro t2.medium t2.small m5.large c5.large t3.small t3.medium t3.nano c4.large m4.large m1.small "
        "m4.xlarge t1.micro c5.xlarge m5.xlarge m6i.large t4g.nano t4g.micro c6g.large c5n.9xlarge i3en.metal"
    ).split()
    types = {one["InstanceType"]: one for one in ec2.describe_instance_types(InstanceTypes=wanted)["InstanceTypes"]}
    assert set(types) == set(wanted)
    facts = {
        name: (
            one["VCpuInfo"]["DefaultVCpus"],
            one["MemoryInfo"]["SizeInMiB"],
            one["ProcessorInfo"]["SupportedArchitectures"][-1],
        )
        for name, one in types.items()
    }
    assert facts["t3.micro"] == (2, 1024, "x86_64")
    assert facts["t2.micro"] == (1, 1024, "x86_64")
    assert facts["m5.large"] == (2, 8192, "x86_64")
    assert facts["c6g.large"] == (2, 4096, "arm64")
    assert facts["c5n.9xlarge"] == (36, 98304, "x86_64")
    assert types["i3en.metal"]["BareMetal"] is True and "Hypervisor" not in types["i3en.metal"]
    assert types["t3.micro"]["BurstablePerformanceSupported"] is True
    with refused("InvalidInstanceType", "t99.huge"):
        ec2.describe_instance_types(InstanceTypes=["t99.huge"])


def test_instance_types_by_filter_and_page(ec2: Client) -> None:
    filters = [
        {"Name": "processor-info.supported-architecture", "Values": ["arm64"]},
        {"Name": "burstable-performance-supported", "Values": ["true"]},
    ]
    found = {one["InstanceType"] for one in ec2.describe_instance_types(Filters=filters)["InstanceTypes"]}
    assert found == {f"t4g.{size}" for size in ("nano", "micro", "small", "medium", "large", "xlarge", "2xlarge")}
    pages = list(ec2.get_paginator("describe_instance_types").paginate(PaginationConfig={"PageSize": 40}))
    every = [one["InstanceType"] for page in pages for one in page["InstanceTypes"]]
    assert len(pages) > 2 and len(every) == len(set(every))


@pytest.mark.parametrize(("kind", "count"), [("region", 1), ("availability-zone", 6), ("availability-zone-id", 6)])
def test_offerings(ec2: Client, kind: str, count: int) -> None:
    answer = ec2.describe_instance_type_offerings(
        LocationType=kind, Filters=[{"Name": "instance-type", "Values": ["t3.micro", "t2.micro"]}]
    )
    assert len(answer["InstanceTypeOfferings"]) == 2 * count
    assert {one["LocationType"] for one in answer["InstanceTypeOfferings"]} == {kind}


def test_account_attributes(ec2: Client) -> None:
    answer = {
        one["AttributeName"]: one["AttributeValues"][0]["AttributeValue"]
        for one in ec2.describe_account_attributes()["AccountAttributes"]
    }
    assert answer["supported-platforms"] == "VPC"
    (default,) = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"]
    assert answer["default-vpc"] == default["VpcId"]
    named = ec2.describe_account_attributes(AttributeNames=["max-instances", "vpc-max-elastic-ips"])
    assert [one["AttributeName"] for one in named["AccountAttributes"]] == ["max-instances", "vpc-max-elastic-ips"]
    with refused("InvalidParameterValue", "most"):
        ec2.describe_account_attributes(AttributeNames=["most"])
