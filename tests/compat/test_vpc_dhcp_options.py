"""DHCP option sets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


def test_unknown_options(client: Callable[..., Client]) -> None:
    with refused("InvalidParameterValue", "colour"):
        client("ec2").create_dhcp_options(DhcpConfigurations=[{"Key": "colour", "Values": ["red"]}])
