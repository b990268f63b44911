"""Route tables and whom they serve."""

from __future__ import annotations

from typing import Any

from backends.errors import InUse
from backends.network.errors import AlreadyAttached, DefaultThing, WrongNetwork
from backends.network.models import Route, RouteTable, RouteTableAssociation
from compat.context import Context
from compat.describe import page
from compat.errors import AWSError
from compat.filters import Filters
from compat.kinds import kind
from compat.operation import Params, Result, operation
from compat.tags import drop_tags
from compat.vpc import named
from compat.vpc.facts import EDGE, dependency, fresh, mismatch, missing

kind(
    "route-table",
    prefix="rtb-",
    row=RouteTable,
    missing="InvalidRouteTableID.NotFound",
    malformed="InvalidRouteTableId.Malformed",
    label="routeTable ID",
    quota=2000,
)
kind(
    "route-table-association",
    prefix="rtbassoc-",
    row=RouteTableAssociation,
    missing="InvalidAssociationID.NotFound",
    malformed="InvalidAssociationID.Malformed",
    label="association ID",
)

TARGETS = {
    "gateway": "GatewayId",
    "endpoint": "GatewayId",
    "vpn": "GatewayId",
    "egress": "EgressOnlyInternetGatewayId",
    "nat": "NatGatewayId",
    "port": "NetworkInterfaceId",
    "peering": "VpcPeeringConnectionId",
}
"""The member that shows a route's target, by the kind of target."""


def destination_member(destination: str) -> str:
    """The member that shows a route's destination."""
    if "/" not in destination:
        return "DestinationPrefixListId"
    return "DestinationIpv6CidrBlock" if ":" in destination else "DestinationCidrBlock"


def render_route(ctx: Context, route: Route) -> dict[str, Any]:
    """A route as DescribeRouteTables shows it."""
    shown: dict[str, Any] = {
        destination_member(route.destination): route.destination,
        "Origin": "CreateRouteTable" if route.origin == "table" else "CreateRoute",
        "State": route.state,
    }
    if route.target_kind == "local":
        shown["GatewayId"] = "local"
    else:
        shown[TARGETS[route.target_kind]] = route.target_id
    if route.guest_id is not None:
        shown["InstanceId"], shown["InstanceOwnerId"] = route.guest_id, route.tenant
    return shown


def render_association(row: RouteTableAssociation) -> dict[str, Any]:
    """An association as DescribeRouteTables shows it."""
    shown: dict[str, Any] = {
        "Main": row.main,
        "RouteTableAssociationId": row.id,
        "RouteTableId": row.table_id,
        "AssociationState": {"State": "associated"},
    }
    if row.segment_id is not None:
        shown["SubnetId"] = row.segment_id
    if row.gateway_id is not None:
        shown["GatewayId"] = row.gateway_id
    return shown


def render_route_table(ctx: Context, table: RouteTable) -> dict[str, Any]:
    """A route table with its routes and associations."""
    return {
        "RouteTableId": table.id,
        "VpcId": table.network_id,
        "OwnerId": table.tenant,
        "Associations": [render_association(row) for row in table.associations],
        "PropagatingVgws": [{"GatewayId": id} for id in table.notes.get("propagating", ())],
        "Routes": [render_route(ctx, route) for route in table.routes],
        "Tags": ctx.tags(table.id),
    }


@operation("ec2:CreateRouteTable", on=("vpc/{VpcId}", "route-table/*"))
def create_route_table(ctx: Context, p: Params) -> Result:
    """A route table that knows the VPC's own blocks."""
    vpc = ctx.find("vpc", p["VpcId"])
    table = ctx.network.add_table(id=ctx.mint("route-table"), network=vpc)
    ctx.session.flush()
    return {"RouteTable": render_route_table(ctx, table), "ClientToken": p.get("ClientToken")}


def _targets(kind: str) -> Any:
    return lambda ctx, table: [route.target_id for route in table.routes if route.target_kind == kind]


def _destinations(member: str) -> Any:
    return lambda ctx, table: [
        route.destination for route in table.routes if destination_member(route.destination) == member
    ]


ROUTE_TABLE_FILTERS: Filters = {
    "route-table-id": RouteTable.id,
    "vpc-id": RouteTable.network_id,
    "owner-id": RouteTable.tenant,
    "association.gateway-id": lambda ctx, table: [row.gateway_id for row in table.associations],
    "association.route-table-association-id": lambda ctx, table: [row.id for row in table.associations],
    "association.route-table-id": lambda ctx, table: [row.table_id for row in table.associations],
    "association.subnet-id": lambda ctx, table: [row.segment_id for row in table.associations],
    "association.main": lambda ctx, table: [row.main for row in table.associations],
    "route.destination-cidr-block": _destinations("DestinationCidrBlock"),
    "route.destination-ipv6-cidr-block": _destinations("DestinationIpv6CidrBlock"),
    "route.destination-prefix-list-id": _destinations("DestinationPrefixListId"),
    "route.egress-only-internet-gateway-id": _targets("egress"),
    "route.gateway-id": lambda ctx, table: [
        route.target_id for route in table.routes if TARGETS.get(route.target_kind, "GatewayId") == "GatewayId"
    ],
    "route.instance-id": lambda ctx, table: [route.guest_id for route in table.routes],
    "route.nat-gateway-id": _targets("nat"),
    "route.transit-gateway-id": lambda ctx, table: None,
    "route.origin": lambda ctx, table: [
        "CreateRouteTable" if route.origin == "table" else "CreateRoute" for route in table.routes
    ],
    "route.state": lambda ctx, table: [route.state for route in table.routes],
    "route.vpc-peering-connection-id": _targets("peering"),
}


@operation("ec2:DescribeRouteTables")
def describe_route_tables(ctx: Context, p: Params) -> Result:
    """The route tables of the account in the region."""
    return page(ctx, p, "route-table", ROUTE_TABLE_FILTERS, render_route_table)


@operation("ec2:DeleteRouteTable", on="route-table/{RouteTableId}", raises={InUse: dependency("routeTable")})
def delete_route_table(ctx: Context, p: Params) -> Result:
    """Delete a route table that serves nothing."""
    ctx.network.remove_table(ctx.find("route-table", p["RouteTableId"]))
    drop_tags(ctx, p["RouteTableId"])
    return {}


@operation(
    "ec2:AssociateRouteTable",
    on=("route-table/{RouteTableId}", "subnet/{SubnetId}", "internet-gateway/{GatewayId}"),
    raises={
        AlreadyAttached: lambda fact: AWSError(
            "Resource.AlreadyAssociated",
            f"the specified association for route table {fact.by} conflicts with an existing association",
        ),
        WrongNetwork: mismatch,
        **EDGE,
    },
)
def associate_route_table(ctx: Context, p: Params) -> Result:
    """Let a route table serve a subnet, or what comes in through a gateway."""
    table = ctx.find("route-table", p["RouteTableId"])
    subnet, gateway = p.get("SubnetId"), p.get("GatewayId")
    if not subnet and not gateway:
        raise missing("subnetId")
    if subnet and gateway:
        raise AWSError("InvalidParameterCombination", "A subnet and a gateway can not be associated at once")
    if gateway:
        ctx.find("internet-gateway", gateway)
    row = ctx.network.associate_table(
        table,
        id=fresh("route-table-association"),
        segment=ctx.find("subnet", subnet) if subnet else None,
        gateway_id=gateway,
    )
    return {"AssociationId": row.id, "AssociationState": {"State": "associated"}}


@operation(
    "ec2:DisassociateRouteTable",
    on=named.served,
    raises={
        DefaultThing: lambda fact: AWSError(
            "InvalidParameterValue", f"cannot disassociate the main route table association {fact.id}"
        )
    },
)
def disassociate_route_table(ctx: Context, p: Params) -> Result:
    """Let the main route table serve the subnet again."""
    ctx.network.disassociate_table(ctx.find("route-table-association", p["AssociationId"]))
    return {}


@operation("ec2:ReplaceRouteTableAssociation", on=named.served, raises={WrongNetwork: mismatch, **EDGE})
def replace_route_table_association(ctx: Context, p: Params) -> Result:
    """Let another route table serve; of a main association: make it the main one."""
    table = ctx.find("route-table", p["RouteTableId"])
    old = ctx.find("route-table-association", p["AssociationId"])
    row = ctx.network.replace_association(old, table, id=fresh("route-table-association"))
    return {"NewAssociationId": row.id, "AssociationState": {"State": "associated"}}
