"""DHCP option sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.compat.refused import refused

Client = Any


def test_the_life_of_a_set(client: Callable[..., Client], account: str) -> None:
    ec2 = client("ec2")
    made = ec2.create_dhcp_options(
        DhcpConfigurations=[
            {"Key": "domain-name", "Values": ["example.com"]},
            {"Key": "domain-name-servers", "Values": ["10.0.0.2", "10.0.0.3"]},
        ]
    )["DhcpOptions"]
    id = made["DhcpOptionsId"]
    assert made["OwnerId"] == account
    assert made["DhcpConfigurations"] == [
        {"Key": "domain-name", "Values": [{"Value": "example.com"}]},
        {"Key": "domain-name-servers", "Values": [{"Value": "10.0.0.2"}, {"Value": "10.0.0.3"}]},
    ]
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    ec2.associate_dhcp_options(DhcpOptionsId=id, VpcId=vpc)
    used = ec2.describe_vpcs(Filters=[{"Name": "dhcp-options-id", "Values": [id]}])["Vpcs"]
    assert [one["VpcId"] for one in used] == [vpc]
    with refused("DependencyViolation", id):
        ec2.delete_dhcp_options(DhcpOptionsId=id)
    for name, value in {"dhcp-options-id": id, "key": "domain-name", "value": "10.0.0.3"}.items():
        found = ec2.describe_dhcp_options(Filters=[{"Name": name, "Values": [value]}])["DhcpOptions"]
        assert made in found, name
    ec2.associate_dhcp_options(DhcpOptionsId="default", VpcId=vpc)
    assert ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["DhcpOptionsId"] == "default"
    ec2.delete_dhcp_options(DhcpOptionsId=id)
    with refused("InvalidDhcpOptionID.NotFound", id):
        ec2.describe_dhcp_options(DhcpOptionsIds=[id])


@pytest.mark.parametrize(
    "given",
    [
        {"domain-name-servers": ["10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"]},
        {"domain-name-servers": ["resolver.example.com"]},
        {"ntp-servers": [f"10.0.0.{last}" for last in range(5)]},
        {"ntp-servers": ["AmazonProvidedDNS"]},
        {"netbios-name-servers": ["fd00::1"]},
        {"netbios-node-type": ["3"]},
        {"netbios-node-type": ["1", "2"]},
        {"domain-name": ["one.example", "two.example"]},
        {"domain-name": []},
        {"ipv6-address-preferred-lease-time": ["139"]},
    ],
)
def test_values_that_cannot_be(client: Callable[..., Client], given: dict[str, list[str]]) -> None:
    with refused("InvalidParameterValue"):
        client("ec2").create_dhcp_options(
            DhcpConfigurations=[{"Key": key, "Values": values} for key, values in given.items()]
        )


def test_as_much_as_there_may_be(client: Callable[..., Client]) -> None:
    ec2 = client("ec2")
    given = [
        {"Key": "domain-name-servers", "Values": ["AmazonProvidedDNS", "10.0.0.3", "fd00::1", "10.0.0.5"]},
        {"Key": "ntp-servers", "Values": [f"{net}{last}" for net in ("10.0.0.", "fd00::") for last in range(1, 5)]},
        {"Key": "netbios-node-type", "Values": ["2"]},
        {"Key": "ipv6-address-preferred-lease-time", "Values": ["140"]},
    ]
    made = ec2.create_dhcp_options(DhcpConfigurations=given)["DhcpOptions"]
    assert len(made["DhcpConfigurations"]) == 4
    ec2.delete_dhcp_options(DhcpOptionsId=made["DhcpOptionsId"])
    with refused("InvalidParameterValue", "twice"):
        ec2.create_dhcp_options(DhcpConfigurations=[given[2], given[2]])


def test_unknown_options(client: Callable[..., Client]) -> None:
    with refused("InvalidParameterValue", "colour"):
        client("ec2").create_dhcp_options(DhcpConfigurations=[{"Key": "colour", "Values": ["red"]}])
