"""Egress-only internet gateways: the way out for IPv6."""

from __future__ import annotations

from typing import Any

from backends.network.models import Gateway
from compat.context import Context
from compat.describe import page
from compat.filters import Filters
from compat.kinds import kind
from compat.operation import Params, Result, operation
from compat.tags import drop_tags

kind(
    "egress-only-internet-gateway",
    prefix="eigw-",
    row=Gateway,
    missing="InvalidGatewayID.NotFound",
    malformed="InvalidEgressOnlyInternetGatewayId.Malformed",
    label="egress only internet gateway ID",
    quota=400,
)


def render_egress_only_internet_gateway(ctx: Context, gateway: Gateway) -> dict[str, Any]:
    """An egress-only gateway, which is attached from its birth."""
    return {
        "EgressOnlyInternetGatewayId": gateway.id,
        "Attachments": [{"State": "attached", "VpcId": gateway.network_id}],
        "Tags": ctx.tags(gateway.id),
    }


@operation("ec2:CreateEgressOnlyInternetGateway", on=("egress-only-internet-gateway/*", "vpc/{VpcId}"))
def create_egress_only_internet_gateway(ctx: Context, p: Params) -> Result:
    """A way out for IPv6 that lets only answers in."""
    vpc = ctx.find("vpc", p["VpcId"])
    gateway = ctx.network.add_gateway(id=ctx.mint("egress-only-internet-gateway"), outbound_only=True, network=vpc)
    shown = render_egress_only_internet_gateway(ctx, gateway)
    return {"ClientToken": p.get("ClientToken"), "EgressOnlyInternetGateway": shown}


EGRESS_ONLY_FILTERS: Filters = {"egress-only-internet-gateway-id": Gateway.id}


@operation("ec2:DescribeEgressOnlyInternetGateways")
def describe_egress_only_internet_gateways(ctx: Context, p: Params) -> Result:
    """The egress-only gateways of the account in the region."""
    return page(
        ctx,
        p,
        "egress-only-internet-gateway",
        EGRESS_ONLY_FILTERS,
        render_egress_only_internet_gateway,
        where=(Gateway.outbound_only,),
    )


@operation("ec2:DeleteEgressOnlyInternetGateway", on="egress-only-internet-gateway/{EgressOnlyInternetGatewayId}")
def delete_egress_only_internet_gateway(ctx: Context, p: Params) -> Result:
    """Delete an egress-only gateway; its routes lead nowhere then."""
    ctx.network.remove_gateway(ctx.find("egress-only-internet-gateway", p["EgressOnlyInternetGatewayId"]))
    drop_tags(ctx, p["EgressOnlyInternetGatewayId"])
    return {"ReturnCode": True}
