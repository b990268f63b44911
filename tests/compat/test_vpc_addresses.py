"""Elastic IP addresses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.compat.refused import refused

Client = Any


@pytest.fixture
def subnet(ec2: Client) -> str:
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    made: str = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.1.0/24")["Subnet"]["SubnetId"]
    return made


def interface(ec2: Client, subnet: str, **options: Any) -> dict[str, Any]:
    made: dict[str, Any] = ec2.create_network_interface(SubnetId=subnet, **options)["NetworkInterface"]
    return made


def test_allocate_and_release(ec2: Client) -> None:
    made = ec2.allocate_address(Domain="vpc")
    assert made["Domain"] == "vpc"
    assert made["PublicIpv4Pool"] == "amazon"
    assert made["NetworkBorderGroup"] == "us-east-1"
    (shown,) = ec2.describe_addresses(AllocationIds=[made["AllocationId"]])["Addresses"]
    assert shown["PublicIp"] == made["PublicIp"]
    assert "AssociationId" not in shown
    assert ec2.describe_addresses(PublicIps=[made["PublicIp"]])["Addresses"] == [shown]
    ec2.release_address(AllocationId=made["AllocationId"])
    with refused("InvalidAllocationID.NotFound", made["AllocationId"]):
        ec2.release_address(AllocationId=made["AllocationId"])
    with refused("InvalidAllocationID.NotFound"):
        ec2.describe_addresses(AllocationIds=[made["AllocationId"]])
    with refused("InvalidAddress.NotFound", made["PublicIp"]):
        ec2.describe_addresses(PublicIps=[made["PublicIp"]])


def test_addresses_of_all_accounts_differ(client: Callable[..., Client]) -> None:
    made = [
        client("ec2", account=str(111111111111 * n)).allocate_address(Domain="vpc")["PublicIp"]
        for n in (1, 2, 3)
        for _ in range(5)
    ]
    assert len(set(made)) == len(made)


def test_it_stands_for_a_private_address(ec2: Client, subnet: str, account: str) -> None:
    address = ec2.allocate_address(Domain="vpc")
    port = interface(ec2, subnet)
    bound = ec2.associate_address(AllocationId=address["AllocationId"], NetworkInterfaceId=port["NetworkInterfaceId"])
    (shown,) = ec2.describe_addresses(AllocationIds=[address["AllocationId"]])["Addresses"]
    assert shown["AssociationId"] == bound["AssociationId"]
    assert shown["NetworkInterfaceId"] == port["NetworkInterfaceId"]
    assert shown["NetworkInterfaceOwnerId"] == account
    assert shown["PrivateIpAddress"] == port["PrivateIpAddress"]
    (seen,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[port["NetworkInterfaceId"]])["NetworkInterfaces"]
    assert seen["Association"] == {
        "PublicIp": address["PublicIp"],
        "PublicDnsName": f"ec2-{address['PublicIp'].replace('.', '-')}.compute-1.amazonaws.com",
        "IpOwnerId": account,
        "AllocationId": address["AllocationId"],
        "AssociationId": bound["AssociationId"],
    }
    with refused("InvalidIPAddress.InUse", address["PublicIp"]):
        ec2.release_address(AllocationId=address["AllocationId"])
    ec2.disassociate_address(AssociationId=bound["AssociationId"])
    with refused("InvalidAssociationID.NotFound"):
        ec2.disassociate_address(AssociationId=bound["AssociationId"])
    ec2.release_address(AllocationId=address["AllocationId"])


def test_it_moves_unless_that_is_forbidden(ec2: Client, subnet: str) -> None:
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    one, two = (interface(ec2, subnet)["NetworkInterfaceId"] for _ in range(2))
    first = ec2.associate_address(AllocationId=address, NetworkInterfaceId=one)["AssociationId"]
    with refused("Resource.AlreadyAssociated", address):
        ec2.associate_address(AllocationId=address, NetworkInterfaceId=two, AllowReassociation=False)
    again = ec2.associate_address(AllocationId=address, NetworkInterfaceId=one, AllowReassociation=False)[
        "AssociationId"
    ]
    assert again == first
    moved = ec2.associate_address(AllocationId=address, NetworkInterfaceId=two)["AssociationId"]
    assert moved != first
    (seen,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[one])["NetworkInterfaces"]
    assert "Association" not in seen


def test_it_stands_for_a_secondary_address(ec2: Client, subnet: str) -> None:
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    port = interface(ec2, subnet, SecondaryPrivateIpAddressCount=1)
    second = port["PrivateIpAddresses"][1]["PrivateIpAddress"]
    id = port["NetworkInterfaceId"]
    ec2.associate_address(AllocationId=address, NetworkInterfaceId=id, PrivateIpAddress=second)
    (seen,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[id])["NetworkInterfaces"]
    assert "Association" not in seen
    assert seen["PrivateIpAddresses"][1]["Association"]["AllocationId"] == address
    with refused("InvalidParameterValue"):
        ec2.associate_address(AllocationId=address, NetworkInterfaceId=id, PrivateIpAddress="10.0.1.200")
    ec2.delete_network_interface(NetworkInterfaceId=id)
    (shown,) = ec2.describe_addresses(AllocationIds=[address])["Addresses"]
    assert "AssociationId" not in shown


def test_filters(ec2: Client, subnet: str) -> None:
    address, other = ec2.allocate_address(Domain="vpc"), ec2.allocate_address(Domain="vpc")
    port = interface(ec2, subnet)
    bound = ec2.associate_address(AllocationId=address["AllocationId"], NetworkInterfaceId=port["NetworkInterfaceId"])
    for name, value in {
        "allocation-id": address["AllocationId"],
        "association-id": bound["AssociationId"],
        "network-interface-id": port["NetworkInterfaceId"],
        "private-ip-address": port["PrivateIpAddress"],
        "public-ip": address["PublicIp"],
        "network-interface-owner-id": port["OwnerId"],
    }.items():
        found = ec2.describe_addresses(Filters=[{"Name": name, "Values": [value]}])["Addresses"]
        assert [one["PublicIp"] for one in found] == [address["PublicIp"]], name
    for name, value in {"domain": "vpc", "network-border-group": "us-east-1"}.items():
        found = ec2.describe_addresses(Filters=[{"Name": name, "Values": [value]}])["Addresses"]
        assert {one["PublicIp"] for one in found} == {address["PublicIp"], other["PublicIp"]}, name


def test_reverse_names(ec2: Client) -> None:
    id = ec2.allocate_address(Domain="vpc")["AllocationId"]
    assert ec2.describe_addresses_attribute(AllocationIds=[id], Attribute="domain-name")["Addresses"] == []
    ec2.modify_address_attribute(AllocationId=id, DomainName="mail.example.com")
    (shown,) = ec2.describe_addresses_attribute(AllocationIds=[id], Attribute="domain-name")["Addresses"]
    assert shown["PtrRecord"] == "mail.example.com."
    ec2.reset_address_attribute(AllocationId=id, Attribute="domain-name")
    assert ec2.describe_addresses_attribute(AllocationIds=[id], Attribute="domain-name")["Addresses"] == []


def test_tags_on_create(ec2: Client) -> None:
    tags = [{"Key": "Name", "Value": "edge"}]
    id = ec2.allocate_address(Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": tags}])[
        "AllocationId"
    ]
    (shown,) = ec2.describe_addresses(Filters=[{"Name": "tag:Name", "Values": ["edge"]}])["Addresses"]
    assert (shown["AllocationId"], shown["Tags"]) == (id, tags)
