"""CreateRoute, ReplaceRoute and DeleteRoute."""

from __future__ import annotations

from backends.errors import Exists, Missing
from backends.network.cidr import parse4, parse6
from backends.network.errors import BadInnerTarget, BadTarget, DefaultThing, Malformed, WrongNetwork
from compat.context import Context
from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.vpc.facts import EDGE, FULL_TABLE, Raises, bad_value, missing

NAMED = {
    "NatGatewayId": ("nat", "natgateway"),
    "NetworkInterfaceId": ("port", "network-interface"),
    "VpcPeeringConnectionId": ("peering", "vpc-peering-connection"),
    "EgressOnlyInternetGatewayId": ("egress", "egress-only-internet-gateway"),
    "VpcEndpointId": ("endpoint", "vpc-endpoint"),
}
"""The native kind of a route's target, and the kind of resource that it names, by parameter."""

ELSEWHERE = {
    "TransitGatewayId": "InvalidTransitGatewayID.NotFound",
    "LocalGatewayId": "InvalidLocalGatewayID.NotFound",
    "CarrierGatewayId": "InvalidCarrierGatewayID.NotFound",
    "CoreNetworkArn": "InvalidCoreNetworkArn.NotFound",
    "OdbNetworkArn": "InvalidOdbNetworkArn.NotFound",
}
"""Targets of which there are none here, and how AWS says so."""


def _destination(p: Params) -> str:
    if p.get("DestinationCidrBlock"):
        return str(parse4(p["DestinationCidrBlock"]))
    if p.get("DestinationIpv6CidrBlock"):
        return str(parse6(p["DestinationIpv6CidrBlock"]))
    if p.get("DestinationPrefixListId"):
        return str(p["DestinationPrefixListId"])
    raise missing("destinationCidrBlock")


def _target(ctx: Context, p: Params) -> tuple[str, str, str | None]:
    """The native kind and id of the target that a call names, and the instance if it is named by one."""
    names = [name for name in ("GatewayId", "InstanceId", *NAMED, *ELSEWHERE) if p.get(name)]
    if p.get("LocalTarget"):
        names.append("LocalTarget")
    if not names:
        raise missing("gatewayId")
    if len(names) > 1:
        raise AWSError(
            "InvalidParameterCombination", f"Only one target can be specified, but the request has {', '.join(names)}"
        )
    name = names[0]
    if name == "LocalTarget":
        return "local", "local", None
    id = p[name]
    if name == "GatewayId":
        return _gateway(ctx, id)
    if name == "InstanceId":
        return _instance(ctx, id)
    if name in ELSEWHERE:
        raise AWSError(ELSEWHERE[name], f"The {name[0].lower()}{name[1:]} '{id}' does not exist")
    native, kind = NAMED[name]
    ctx.find(kind, id)
    return native, id, None


def _gateway(ctx: Context, id: str) -> tuple[str, str, str | None]:
    if id == "local":
        return "local", "local", None
    if id.startswith("vpce-"):
        ctx.find("vpc-endpoint", id)
        return "endpoint", id, None
    if id.startswith("vgw-"):
        ctx.find("vpn-gateway", id)
        return "vpn", id, None
    ctx.find("internet-gateway", id)
    return "gateway", id, None


def _instance(ctx: Context, id: str) -> tuple[str, str, str | None]:
    ctx.find("instance", id)
    ports = ctx.network.ports_of(id)
    if len(ports) != 1:
        raise AWSError(
            "InvalidInstanceID",
            f"There are {len(ports)} interfaces attached to instance '{id}'. Please specify an interface ID instead.",
        )
    return "port", ports[0].id, id


RAISES: Raises = {
    Malformed: bad_value("destinationCidrBlock"),
    **EDGE,
    BadTarget: lambda fact: AWSError("InvalidParameterValue", f"The target {fact.id} can not take routes."),
    BadInnerTarget: lambda fact: AWSError(
        "InvalidParameterValue",
        f"The destination CIDR block {fact.destination} is equal to or more specific than one of this VPC's CIDR "
        "blocks. This route can target only a NAT gateway, an interface or an instance.",
    ),
    WrongNetwork: lambda fact: AWSError(
        "InvalidParameterValue", f"route table {fact.table} and network gateway {fact.id} belong to different networks"
    ),
}


@operation(
    "ec2:CreateRoute",
    on="route-table/{RouteTableId}",
    raises={
        **RAISES,
        **FULL_TABLE,
        Exists: lambda fact: AWSError(
            "RouteAlreadyExists", f"The route identified by {fact.destination} already exists."
        ),
        Missing: lambda fact: AWSError(
            "InvalidPrefixListID.NotFound", f"The prefix list ID '{fact.id}' does not exist"
        ),
    },
)
def create_route(ctx: Context, p: Params) -> Result:
    """Lead a destination somewhere."""
    table = ctx.find("route-table", p["RouteTableId"])
    destination = _destination(p)
    ctx.network.add_route(table, destination, *_target(ctx, p))
    return {"Return": True}


@operation(
    "ec2:ReplaceRoute",
    on="route-table/{RouteTableId}",
    raises={
        **RAISES,
        Missing: lambda fact: AWSError(
            "InvalidParameterValue",
            f"There is no route defined for '{fact.destination}' in the route table. Use CreateRoute instead.",
        ),
    },
)
def replace_route(ctx: Context, p: Params) -> Result:
    """Lead a destination elsewhere."""
    table = ctx.find("route-table", p["RouteTableId"])
    ctx.network.replace_route(table, _destination(p), *_target(ctx, p))
    return {}


@operation(
    "ec2:DeleteRoute",
    on="route-table/{RouteTableId}",
    raises={
        Malformed: bad_value("destinationCidrBlock"),
        Missing: lambda fact: AWSError(
            "InvalidRoute.NotFound", f"no route with destination-cidr-block {fact.destination} in route table {fact.id}"
        ),
        DefaultThing: lambda fact: AWSError(
            "InvalidParameterValue", f"cannot remove local route {fact.destination} in route table {fact.id}"
        ),
    },
)
def delete_route(ctx: Context, p: Params) -> Result:
    """Remove a route that somebody made."""
    ctx.network.remove_route(ctx.find("route-table", p["RouteTableId"]), _destination(p))
    return {}
