"""Route tables, their associations, and routes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compat.refused import refused

Client = Any


@pytest.fixture
def table(ec2: Client, vpc: str) -> str:
    made: str = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    return made


def routes(ec2: Client, table: str) -> dict[str, dict[str, Any]]:
    (shown,) = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
    return {
        route.get("DestinationCidrBlock") or route.get("DestinationPrefixListId"): route for route in shown["Routes"]
    }


def test_a_table_serves_a_subnet(ec2: Client, vpc: str, subnet: str, table: str) -> None:
    made = ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)
    assert made["AssociationState"] == {"State": "associated"}
    (shown,) = ec2.describe_route_tables(Filters=[{"Name": "association.subnet-id", "Values": [subnet]}])["RouteTables"]
    assert shown["RouteTableId"] == table
    assert shown["Associations"] == [
        {
            "Main": False,
            "RouteTableAssociationId": made["AssociationId"],
            "RouteTableId": table,
            "SubnetId": subnet,
            "AssociationState": {"State": "associated"},
        }
    ]
    other = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    with refused("Resource.AlreadyAssociated"):
        ec2.associate_route_table(RouteTableId=other, SubnetId=subnet)
    with refused("DependencyViolation"):
        ec2.delete_route_table(RouteTableId=table)
    moved = ec2.replace_route_table_association(AssociationId=made["AssociationId"], RouteTableId=other)
    assert moved["NewAssociationId"] != made["AssociationId"]
    with refused("InvalidAssociationID.NotFound"):
        ec2.disassociate_route_table(AssociationId=made["AssociationId"])
    ec2.delete_route_table(RouteTableId=table)
    ec2.disassociate_route_table(AssociationId=moved["NewAssociationId"])
    ec2.delete_route_table(RouteTableId=other)
    with refused("InvalidRouteTableID.NotFound"):
        ec2.describe_route_tables(RouteTableIds=[other])


def test_the_main_table_can_be_another(ec2: Client, vpc: str, table: str) -> None:
    asked = [{"Name": "vpc-id", "Values": [vpc]}, {"Name": "association.main", "Values": ["true"]}]
    (main,) = ec2.describe_route_tables(Filters=asked)["RouteTables"]
    association = main["Associations"][0]["RouteTableAssociationId"]
    with refused("InvalidParameterValue", association):
        ec2.disassociate_route_table(AssociationId=association)
    with refused("DependencyViolation"):
        ec2.delete_route_table(RouteTableId=main["RouteTableId"])
    ec2.replace_route_table_association(AssociationId=association, RouteTableId=table)
    (now,) = ec2.describe_route_tables(Filters=asked)["RouteTables"]
    assert now["RouteTableId"] == table
    ec2.delete_route_table(RouteTableId=main["RouteTableId"])
    with refused("DependencyViolation"):
        ec2.delete_route_table(RouteTableId=table)


def test_tables_and_subnets_of_different_vpcs(ec2: Client, subnet: str) -> None:
    other = ec2.create_vpc(CidrBlock="10.9.0.0/16")["Vpc"]["VpcId"]
    table = ec2.create_route_table(VpcId=other)["RouteTable"]["RouteTableId"]
    with refused("InvalidParameter"):
        ec2.associate_route_table(RouteTableId=table, SubnetId=subnet)


def test_a_route_to_the_internet_comes_and_goes(ec2: Client, vpc: str, table: str, gateway: str) -> None:
    assert ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)["Return"] is True
    assert routes(ec2, table)["0.0.0.0/0"] == {
        "DestinationCidrBlock": "0.0.0.0/0",
        "GatewayId": gateway,
        "Origin": "CreateRoute",
        "State": "active",
    }
    with refused("RouteAlreadyExists", "0.0.0.0/0"):
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    assert routes(ec2, table)["0.0.0.0/0"]["State"] == "blackhole"
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    assert routes(ec2, table)["0.0.0.0/0"]["State"] == "active"
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
    with refused("InvalidRoute.NotFound"):
        ec2.delete_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
    with refused("InvalidParameterValue", "local"):
        ec2.delete_route(RouteTableId=table, DestinationCidrBlock="10.0.0.0/16")


def test_routes_to_interfaces_and_elsewhere(ec2: Client, vpc: str, subnet: str, table: str, gateway: str) -> None:
    interface = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="192.168.7.9/16", NetworkInterfaceId=interface)
    assert routes(ec2, table)["192.168.0.0/16"]["NetworkInterfaceId"] == interface
    assert routes(ec2, table)["192.168.0.0/16"]["State"] == "blackhole"
    ec2.replace_route(RouteTableId=table, DestinationCidrBlock="192.168.0.0/16", GatewayId=gateway)
    assert "NetworkInterfaceId" not in routes(ec2, table)["192.168.0.0/16"]
    assert routes(ec2, table)["192.168.0.0/16"]["State"] == "active"
    with refused("InvalidParameterValue"):
        ec2.replace_route(RouteTableId=table, DestinationCidrBlock="172.16.0.0/16", GatewayId=gateway)
    found = ec2.describe_route_tables(Filters=[{"Name": "route.gateway-id", "Values": [gateway]}])["RouteTables"]
    assert [one["RouteTableId"] for one in found] == [table]


def test_targets_that_do_not_exist_or_do_not_fit(ec2: Client, vpc: str, table: str) -> None:
    for parameter, id, code in (
        ("GatewayId", "igw-0123456789abcdef0", "InvalidInternetGatewayID.NotFound"),
        ("NatGatewayId", "nat-0123456789abcdef0", "NatGatewayNotFound"),
        ("NetworkInterfaceId", "eni-0123456789abcdef0", "InvalidNetworkInterfaceID.NotFound"),
        ("VpcPeeringConnectionId", "pcx-0123456789abcdef0", "InvalidVpcPeeringConnectionID.NotFound"),
    ):
        with refused(code):
            ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", **{parameter: id})
    loose = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    with refused("InvalidParameterValue", loose, "different networks"):
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=loose)
    with refused("MissingParameter"):
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
    with refused("MissingParameter"):
        ec2.create_route(RouteTableId=table, GatewayId=loose)
    with refused("InvalidParameterValue"):
        ec2.create_route(RouteTableId=table, DestinationCidrBlock="nowhere", GatewayId=loose)


def test_a_gateway_s_table_leads_inwards_only(ec2: Client, vpc: str, subnet: str, table: str, gateway: str) -> None:
    interface = ec2.create_network_interface(SubnetId=subnet)["NetworkInterface"]["NetworkInterfaceId"]
    nat = ec2.create_nat_gateway(SubnetId=subnet, ConnectivityType="private")["NatGateway"]["NatGatewayId"]
    inside = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["CidrBlock"]
    elsewhere = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    ec2.create_route(RouteTableId=elsewhere, DestinationCidrBlock=inside, NatGatewayId=nat)
    with refused("InvalidParameterValue", "target"):
        ec2.associate_route_table(RouteTableId=elsewhere, GatewayId=gateway)
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0", GatewayId=gateway)
    with refused("InvalidParameterValue"):
        ec2.associate_route_table(RouteTableId=table, GatewayId=gateway)
    ec2.delete_route(RouteTableId=table, DestinationCidrBlock="0.0.0.0/0")
    edge = ec2.associate_route_table(RouteTableId=table, GatewayId=gateway)["AssociationId"]
    prefixes = ec2.create_managed_prefix_list(
        PrefixListName="inside", MaxEntries=1, AddressFamily="IPv4", Entries=[{"Cidr": inside}]
    )["PrefixList"]["PrefixListId"]
    for route in (
        {"DestinationCidrBlock": inside, "NatGatewayId": nat},
        {"DestinationCidrBlock": inside, "GatewayId": gateway},
        {"DestinationCidrBlock": "10.0.0.0/8", "NetworkInterfaceId": interface},
        {"DestinationCidrBlock": "0.0.0.0/0", "NetworkInterfaceId": interface},
        {"DestinationPrefixListId": prefixes, "NetworkInterfaceId": interface},
    ):
        with refused("InvalidParameterValue"):
            ec2.create_route(RouteTableId=table, **route)
    ec2.create_route(RouteTableId=table, DestinationCidrBlock=inside, NetworkInterfaceId=interface)
    with refused("InvalidParameterValue", "target"):
        ec2.replace_route(RouteTableId=table, DestinationCidrBlock=inside, NatGatewayId=nat)
    with refused("InvalidParameterValue", "target"):
        ec2.replace_route_table_association(AssociationId=edge, RouteTableId=elsewhere)
    block = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"][0]["CidrBlock"]
    ec2.replace_route(RouteTableId=table, DestinationCidrBlock=block, NetworkInterfaceId=interface)
    ec2.replace_route(RouteTableId=table, DestinationCidrBlock=block, LocalTarget=True)
    assert routes(ec2, table)[block]["GatewayId"] == "local"


def test_what_is_meant_for_a_part_of_the_vpc_stays_in_it(ec2: Client, subnet: str, table: str, gateway: str) -> None:
    nat = ec2.create_nat_gateway(SubnetId=subnet, ConnectivityType="private")["NatGateway"]["NatGatewayId"]
    inside = ec2.describe_subnets(SubnetIds=[subnet])["Subnets"][0]["CidrBlock"]
    with refused("InvalidParameterValue", inside, "more specific"):
        ec2.create_route(RouteTableId=table, DestinationCidrBlock=inside, GatewayId=gateway)
    ec2.create_route(RouteTableId=table, DestinationCidrBlock=inside, NatGatewayId=nat)
    with refused("InvalidParameterValue", inside, "more specific"):
        ec2.replace_route(RouteTableId=table, DestinationCidrBlock=inside, GatewayId=gateway)
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="10.0.0.0/8", GatewayId=gateway)


def test_a_route_by_prefix_list(ec2: Client, table: str, gateway: str) -> None:
    made = ec2.create_managed_prefix_list(
        PrefixListName="mine", MaxEntries=2, AddressFamily="IPv4", Entries=[{"Cidr": "192.0.2.0/24"}]
    )["PrefixList"]["PrefixListId"]
    ec2.create_route(RouteTableId=table, DestinationPrefixListId=made, GatewayId=gateway)
    assert routes(ec2, table)[made]["GatewayId"] == gateway
    with refused("DependencyViolation"):
        ec2.delete_managed_prefix_list(PrefixListId=made)
    ec2.delete_route(RouteTableId=table, DestinationPrefixListId=made)
    ec2.delete_managed_prefix_list(PrefixListId=made)


def test_tags_on_create(ec2: Client, vpc: str) -> None:
    tags = [{"Key": "Name", "Value": "private"}]
    made = ec2.create_route_table(VpcId=vpc, TagSpecifications=[{"ResourceType": "route-table", "Tags": tags}])
    assert made["RouteTable"]["Tags"] == tags
    found = ec2.describe_route_tables(Filters=[{"Name": "tag:Name", "Values": ["private"]}])["RouteTables"]
    assert [one["RouteTableId"] for one in found] == [made["RouteTable"]["RouteTableId"]]
