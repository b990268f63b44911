"""What an account finds in a region before it made anything."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.compat.refused import refused

Client = Any


@pytest.mark.parametrize(
    ("region", "zones"), [("us-east-1", 6), ("eu-west-1", 3), ("us-gov-west-1", 3), ("cn-north-1", 3)]
)
def test_a_default_vpc_in_every_region(client: Callable[..., Client], region: str, zones: int) -> None:
    ec2 = client("ec2", region=region)
    (vpc,) = ec2.describe_vpcs()["Vpcs"]
    assert (vpc["CidrBlock"], vpc["IsDefault"]) == ("172.31.0.0/16", True)
    subnets = ec2.describe_subnets()["Subnets"]
    assert len({subnet["AvailabilityZone"] for subnet in subnets}) == len(subnets) == zones
    for subnet in subnets:
        assert ipaddress.ip_network(subnet["CidrBlock"]).prefixlen == 20
        assert subnet["DefaultForAz"] is subnet["MapPublicIpOnLaunch"] is True
        assert subnet["AvailableIpAddressCount"] == 4091
    (gateway,) = ec2.describe_internet_gateways()["InternetGateways"]
    assert gateway["Attachments"] == [{"State": "available", "VpcId": vpc["VpcId"]}]
    (table,) = ec2.describe_route_tables()["RouteTables"]
    assert table["Associations"][0]["Main"] is True
    assert {(r["DestinationCidrBlock"], r["GatewayId"]) for r in table["Routes"]} == {
        ("172.31.0.0/16", "local"),
        ("0.0.0.0/0", gateway["InternetGatewayId"]),
    }
    (acl,) = ec2.describe_network_acls()["NetworkAcls"]
    assert len(acl["Associations"]) == zones
    assert [group["GroupName"] for group in ec2.describe_security_groups()["SecurityGroups"]] == ["default"]
    (options,) = ec2.describe_dhcp_options()["DhcpOptions"]
    assert options["DhcpOptionsId"] == vpc["DhcpOptionsId"]
    assert ec2.describe_vpc_attribute(VpcId=vpc["VpcId"], Attribute="enableDnsHostnames")["EnableDnsHostnames"]["Value"]


def test_first_calls_at_once_make_one_default_vpc(client: Callable[..., Client]) -> None:
    clients = [client("ec2", region="ap-south-1") for _ in range(6)]
    with ThreadPoolExecutor(len(clients)) as pool:
        found = list(pool.map(lambda one: one.describe_vpcs()["Vpcs"][0]["VpcId"], clients))
    assert len(set(found)) == 1


def test_the_tags_of_a_first_call_are_not_for_the_defaults(client: Callable[..., Client]) -> None:
    ec2 = client("ec2", region="sa-east-1")
    tags = [{"ResourceType": "vpc", "Tags": [{"Key": "a", "Value": "b"}]}]
    made = ec2.create_vpc(CidrBlock="10.0.0.0/16", TagSpecifications=tags)["Vpc"]["VpcId"]
    tagged = ec2.describe_vpcs(Filters=[{"Name": "tag:a", "Values": ["b"]}])["Vpcs"]
    assert [vpc["VpcId"] for vpc in tagged] == [made]


def test_a_deleted_default_vpc_stays_away_until_it_is_asked_for(client: Callable[..., Client]) -> None:
    ec2 = client("ec2", region="us-west-2")
    with refused("DefaultVpcAlreadyExists"):
        ec2.create_default_vpc()
    vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
    for subnet in ec2.describe_subnets()["Subnets"]:
        ec2.delete_subnet(SubnetId=subnet["SubnetId"])
    gateway = ec2.describe_internet_gateways()["InternetGateways"][0]["InternetGatewayId"]
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)
    ec2.delete_vpc(VpcId=vpc)
    assert ec2.describe_vpcs()["Vpcs"] == []
    with refused("VPCIdNotSpecified"):
        ec2.create_security_group(GroupName="g", Description="d")
    with refused("DefaultVpcDoesNotExist"):
        ec2.create_default_subnet(AvailabilityZone="us-west-2a")
    again = ec2.create_default_vpc()["Vpc"]
    assert again["IsDefault"] is True
    assert len(ec2.describe_subnets()["Subnets"]) == 4


def test_a_default_subnet_can_be_made_again(client: Callable[..., Client]) -> None:
    ec2 = client("ec2", region="eu-west-1")
    first = ec2.describe_subnets(Filters=[{"Name": "availability-zone", "Values": ["eu-west-1b"]}])["Subnets"][0]
    with refused("DefaultSubnetAlreadyExistsInAvailabilityZone", first["SubnetId"]):
        ec2.create_default_subnet(AvailabilityZone="eu-west-1b")
    ec2.delete_subnet(SubnetId=first["SubnetId"])
    again = ec2.create_default_subnet(AvailabilityZone="eu-west-1b")["Subnet"]
    assert again["CidrBlock"] == first["CidrBlock"]
    assert again["DefaultForAz"] is True
    with refused("InvalidParameterValue", "eu-west-1z"):
        ec2.create_default_subnet(AvailabilityZone="eu-west-1z")


def test_zone_ids_are_those_that_scripts_know(client: Callable[..., Client]) -> None:
    subnets = client("ec2").describe_subnets()["Subnets"]
    assert {s["AvailabilityZone"]: s["AvailabilityZoneId"] for s in subnets}["us-east-1a"] == "use1-az6"
