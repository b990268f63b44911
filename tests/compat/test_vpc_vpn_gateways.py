"""Virtual private gateways."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.compat.refused import refused

Client = Any


def test_the_life_of_a_virtual_private_gateway(client: Callable[..., Client]) -> None:
    ec2 = client("ec2")
    made = ec2.create_vpn_gateway(Type="ipsec.1")["VpnGateway"]
    id = made["VpnGatewayId"]
    assert (made["State"], made["AmazonSideAsn"], made["VpcAttachments"]) == ("available", 64512, [])
    vpc = ec2.create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    with refused("Gateway.NotAttached"):
        ec2.enable_vgw_route_propagation(GatewayId=id, RouteTableId=table)
    ec2.attach_vpn_gateway(VpnGatewayId=id, VpcId=vpc)
    (seen,) = ec2.describe_vpn_gateways(Filters=[{"Name": "attachment.vpc-id", "Values": [vpc]}])["VpnGateways"]
    assert seen["VpcAttachments"] == [{"State": "attached", "VpcId": vpc}]
    ec2.create_route(RouteTableId=table, DestinationCidrBlock="192.168.0.0/16", GatewayId=id)
    ec2.enable_vgw_route_propagation(GatewayId=id, RouteTableId=table)
    (shown,) = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
    assert shown["PropagatingVgws"] == [{"GatewayId": id}]
    assert (shown["Routes"][-1]["GatewayId"], shown["Routes"][-1]["State"]) == (id, "active")
    with refused("IncorrectState"):
        ec2.delete_vpn_gateway(VpnGatewayId=id)
    ec2.delete_route_table(RouteTableId=table)
    with refused("DependencyViolation"):
        ec2.delete_vpc(VpcId=vpc)
    ec2.detach_vpn_gateway(VpnGatewayId=id, VpcId=vpc)
    ec2.delete_vpn_gateway(VpnGatewayId=id)
    with refused("InvalidVpnGatewayID.NotFound"):
        ec2.describe_vpn_gateways(VpnGatewayIds=[id])
    ec2.delete_vpc(VpcId=vpc)


def test_targets_that_nobody_has(client: Callable[..., Client]) -> None:
    ec2 = client("ec2")
    table = ec2.describe_route_tables()["RouteTables"][0]["RouteTableId"]
    with refused("InvalidTransitGatewayID.NotFound"):
        ec2.create_route(
            RouteTableId=table, DestinationCidrBlock="192.168.0.0/16", TransitGatewayId="tgw-0123456789abcdef0"
        )
