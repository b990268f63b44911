"""NAT gateways: pending, available, deleting, deleted."""

from __future__ import annotations

from typing import Any

from tests.compat import passing
from tests.compat.refused import refused

Client = Any


def until(ec2: Client, id: str, state: str) -> dict[str, Any]:
    """The NAT gateway once it is in that state."""

    def look() -> dict[str, Any]:
        (shown,) = ec2.describe_nat_gateways(NatGatewayIds=[id])["NatGateways"]
        return dict(shown)

    return passing.until(look, lambda found: found["State"] == state)


def test_the_life_of_a_public_nat_gateway(ec2: Client, vpc: str, subnet: str, gateway: str) -> None:
    address = ec2.allocate_address(Domain="vpc")
    made = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address["AllocationId"])["NatGateway"]
    id = made["NatGatewayId"]
    assert made["State"] == "pending"
    shown = until(ec2, id, "available")
    assert (shown["SubnetId"], shown["VpcId"], shown["ConnectivityType"]) == (subnet, vpc, "public")
    (one,) = shown["NatGatewayAddresses"]
    assert one["PublicIp"] == address["PublicIp"]
    assert one["AllocationId"] == address["AllocationId"]
    assert one["IsPrimary"] is True
    assert one["Status"] == "succeeded"
    (interface,) = ec2.describe_network_interfaces(NetworkInterfaceIds=[one["NetworkInterfaceId"]])["NetworkInterfaces"]
    assert interface["InterfaceType"] == "nat_gateway"
    assert interface["RequesterManaged"] is True
    assert interface["PrivateIpAddress"] == one["PrivateIp"]
    assert interface["Description"] == f"Interface for NAT Gateway {id}"
    assert interface["Groups"] == []
    with refused("DependencyViolation"):
        ec2.delete_subnet(SubnetId=subnet)
    with refused("InvalidIPAddress.InUse"):
        ec2.release_address(AllocationId=address["AllocationId"])
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", NatGatewayId=id)
    assert ec2.delete_nat_gateway(NatGatewayId=id)["NatGatewayId"] == id
    gone = until(ec2, id, "deleted")
    assert gone["DeleteTime"] >= gone["CreateTime"]
    assert gone["NatGatewayAddresses"][0]["PublicIp"] == address["PublicIp"]
    (shown_table,) = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
    assert shown_table["Routes"][-1]["State"] == "blackhole"
    ec2.release_address(AllocationId=address["AllocationId"])
    ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_route_table(RouteTableId=table)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.delete_vpc(VpcId=vpc)


def test_without_an_internet_gateway_it_fails(ec2: Client, subnet: str) -> None:
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    id = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address)["NatGateway"]["NatGatewayId"]
    shown = until(ec2, id, "failed")
    assert shown["FailureCode"] == "Gateway.NotAttached"
    ec2.delete_subnet(SubnetId=subnet)


def test_a_private_one_needs_no_address(ec2: Client, subnet: str) -> None:
    made = ec2.create_nat_gateway(SubnetId=subnet, ConnectivityType="private", PrivateIpAddress="10.0.1.77")[
        "NatGateway"
    ]
    shown = until(ec2, made["NatGatewayId"], "available")
    assert shown["NatGatewayAddresses"][0]["PrivateIp"] == "10.0.1.77"
    assert "PublicIp" not in shown["NatGatewayAddresses"][0]
    more = ec2.assign_private_nat_gateway_address(NatGatewayId=made["NatGatewayId"], PrivateIpAddressCount=2)
    assert len(more["NatGatewayAddresses"]) == 3
    extra = more["NatGatewayAddresses"][1]["PrivateIp"]
    less = ec2.unassign_private_nat_gateway_address(NatGatewayId=made["NatGatewayId"], PrivateIpAddresses=[extra])
    assert len(less["NatGatewayAddresses"]) == 2


def test_more_elastic_addresses(ec2: Client, subnet: str, gateway: str) -> None:
    first, second = (ec2.allocate_address(Domain="vpc")["AllocationId"] for _ in range(2))
    id = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=first)["NatGateway"]["NatGatewayId"]
    until(ec2, id, "available")
    shown = ec2.associate_nat_gateway_address(NatGatewayId=id, AllocationIds=[second])["NatGatewayAddresses"]
    assert [one["AllocationId"] for one in shown] == [first, second]
    left = ec2.disassociate_nat_gateway_address(NatGatewayId=id, AssociationIds=[shown[1]["AssociationId"]])
    assert [one["AllocationId"] for one in left["NatGatewayAddresses"]] == [first]
    ec2.release_address(AllocationId=second)


def test_faults_and_filters(ec2: Client, vpc: str, subnet: str, gateway: str) -> None:
    with refused("NatGatewayNotFound"):
        ec2.delete_nat_gateway(NatGatewayId="nat-0123456789abcdef0")
    with refused("InvalidAllocationID.NotFound"):
        ec2.create_nat_gateway(SubnetId=subnet, AllocationId="eipalloc-0123456789abcdef0")
    with refused("MissingParameter"):
        ec2.create_nat_gateway(SubnetId=subnet)
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    id = ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address)["NatGateway"]["NatGatewayId"]
    with refused("Resource.AlreadyAssociated"):
        ec2.create_nat_gateway(SubnetId=subnet, AllocationId=address)
    until(ec2, id, "available")
    for name, value in {"vpc-id": vpc, "subnet-id": subnet, "state": "available", "nat-gateway-id": id}.items():
        found = ec2.describe_nat_gateways(Filters=[{"Name": name, "Values": [value]}])["NatGateways"]
        assert [one["NatGatewayId"] for one in found] == [id], name
    assert ec2.describe_nat_gateways(Filter=[{"Name": "state", "Values": ["deleted"]}])["NatGateways"] == []


def test_client_token(ec2: Client, subnet: str) -> None:
    made = [
        ec2.create_nat_gateway(SubnetId=subnet, ConnectivityType="private", ClientToken="once")["NatGateway"][
            "NatGatewayId"
        ]
        for _ in range(2)
    ]
    assert made[0] == made[1]
