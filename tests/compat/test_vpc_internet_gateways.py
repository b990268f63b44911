"""Internet gateways and egress-only ones."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compat.refused import refused

Client = Any


@pytest.fixture
def vpc(ec2: Client) -> str:
    made: str = ec2.create_vpc(CidrBlock="10.0.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]["VpcId"]
    return made


def test_attach_and_detach(ec2: Client, vpc: str, account: str) -> None:
    made = ec2.create_internet_gateway()["InternetGateway"]
    id = made["InternetGatewayId"]
    assert made["Attachments"] == []
    ec2.attach_internet_gateway(InternetGatewayId=id, VpcId=vpc)
    (shown,) = ec2.describe_internet_gateways(Filters=[{"Name": "attachment.vpc-id", "Values": [vpc]}])[
        "InternetGateways"
    ]
    assert shown["Attachments"] == [{"State": "available", "VpcId": vpc}]
    assert shown["OwnerId"] == account
    with refused("DependencyViolation"):
        ec2.delete_internet_gateway(InternetGatewayId=id)
    with refused("Resource.AlreadyAssociated"):
        ec2.attach_internet_gateway(InternetGatewayId=id, VpcId=vpc)
    second = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    with refused("InvalidParameterValue", vpc):
        ec2.attach_internet_gateway(InternetGatewayId=second, VpcId=vpc)
    with refused("Gateway.NotAttached"):
        ec2.detach_internet_gateway(InternetGatewayId=second, VpcId=vpc)
    ec2.detach_internet_gateway(InternetGatewayId=id, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=id)
    with refused("InvalidInternetGatewayID.NotFound"):
        ec2.describe_internet_gateways(InternetGatewayIds=[id])


def test_a_gateway_stays_while_public_addresses_need_it(ec2: Client, vpc: str) -> None:
    id = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"]
    interface = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    with refused("Gateway.NotAttached"):
        ec2.associate_address(AllocationId=address, NetworkInterfaceId=interface)
    ec2.attach_internet_gateway(InternetGatewayId=id, VpcId=vpc)
    bound = ec2.associate_address(AllocationId=address, NetworkInterfaceId=interface)["AssociationId"]
    with refused("DependencyViolation", "mapped public address"):
        ec2.detach_internet_gateway(InternetGatewayId=id, VpcId=vpc)
    ec2.disassociate_address(AssociationId=bound)
    ec2.detach_internet_gateway(InternetGatewayId=id, VpcId=vpc)


def test_egress_only(ec2: Client, vpc: str) -> None:
    made = ec2.create_egress_only_internet_gateway(VpcId=vpc)["EgressOnlyInternetGateway"]
    id = made["EgressOnlyInternetGatewayId"]
    assert made["Attachments"] == [{"State": "attached", "VpcId": vpc}]
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationIpv6CidrBlock="::/0", EgressOnlyInternetGatewayId=id)
    listed = ec2.describe_egress_only_internet_gateways()["EgressOnlyInternetGateways"]
    assert [one["EgressOnlyInternetGatewayId"] for one in listed] == [id]
    every = ec2.describe_internet_gateways()["InternetGateways"]
    assert id not in [one["InternetGatewayId"] for one in every]
    assert ec2.delete_egress_only_internet_gateway(EgressOnlyInternetGatewayId=id)["ReturnCode"] is True
    (shown,) = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
    assert shown["Routes"][-1]["State"] == "blackhole"
    assert ec2.describe_egress_only_internet_gateways()["EgressOnlyInternetGateways"] == []
