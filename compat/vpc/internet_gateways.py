"""Internet gateways."""

from __future__ import annotations

from typing import Any

from backends.errors import InUse
from backends.network.errors import AlreadyAttached, NotAttached
from backends.network.models import Gateway
from compat.context import Context
from compat.describe import page
from compat.errors import AWSError
from compat.filters import Filters
from compat.kinds import kind
from compat.operation import Params, Result, operation
from compat.tags import drop_tags
from compat.vpc.facts import dependency

kind(
    "internet-gateway",
    prefix="igw-",
    row=Gateway,
    missing="InvalidInternetGatewayID.NotFound",
    malformed="InvalidInternetGatewayId.Malformed",
    label="internetGateway ID",
    quota=400,
)


def render_internet_gateway(ctx: Context, gateway: Gateway) -> dict[str, Any]:
    """An internet gateway; an attached one says "available", whatever the model's enumeration says."""
    attached = [] if gateway.network_id is None else [{"State": "available", "VpcId": gateway.network_id}]
    return {
        "InternetGatewayId": gateway.id,
        "OwnerId": gateway.tenant,
        "Attachments": attached,
        "Tags": ctx.tags(gateway.id),
    }


@operation("ec2:CreateInternetGateway", on="internet-gateway/*")
def create_internet_gateway(ctx: Context, p: Params) -> Result:
    """A gateway that is attached to nothing yet."""
    gateway = ctx.network.add_gateway(id=ctx.mint("internet-gateway"))
    ctx.session.flush()
    return {"InternetGateway": render_internet_gateway(ctx, gateway)}


INTERNET_GATEWAY_FILTERS: Filters = {
    "internet-gateway-id": Gateway.id,
    "owner-id": Gateway.tenant,
    "attachment.vpc-id": Gateway.network_id,
    "attachment.state": lambda ctx, gateway: "available" if gateway.network_id is not None else None,
}


@operation("ec2:DescribeInternetGateways")
def describe_internet_gateways(ctx: Context, p: Params) -> Result:
    """The internet gateways of the account in the region."""
    return page(
        ctx,
        p,
        "internet-gateway",
        INTERNET_GATEWAY_FILTERS,
        render_internet_gateway,
        where=(Gateway.outbound_only.is_(False),),
    )


@operation(
    "ec2:DeleteInternetGateway",
    on="internet-gateway/{InternetGatewayId}",
    raises={InUse: dependency("internetGateway")},
)
def delete_internet_gateway(ctx: Context, p: Params) -> Result:
    """Delete a gateway that is attached to nothing."""
    ctx.network.remove_gateway(ctx.find("internet-gateway", p["InternetGatewayId"]))
    drop_tags(ctx, p["InternetGatewayId"])
    return {}


@operation(
    "ec2:AttachInternetGateway",
    on=("internet-gateway/{InternetGatewayId}", "vpc/{VpcId}"),
    raises={
        AlreadyAttached: lambda fact: (
            AWSError("Resource.AlreadyAssociated", f"resource {fact.id} is already attached to network {fact.by}")
            if fact.id.startswith("igw-")
            else AWSError("InvalidParameterValue", f"Network {fact.id} already has an internet gateway attached")
        )
    },
)
def attach_internet_gateway(ctx: Context, p: Params) -> Result:
    """Open a VPC to the internet."""
    gateway = ctx.find("internet-gateway", p["InternetGatewayId"])
    ctx.network.attach_gateway(gateway, ctx.find("vpc", p["VpcId"]))
    return {}


@operation(
    "ec2:DetachInternetGateway",
    on=("internet-gateway/{InternetGatewayId}", "vpc/{VpcId}"),
    raises={
        NotAttached: lambda fact: AWSError(
            "Gateway.NotAttached", f"resource {fact.id} is not attached to network {fact.network}"
        ),
        InUse: lambda fact: AWSError(
            "DependencyViolation",
            f"Network {fact.id} has some mapped public address(es). Please unmap those public address(es) before "
            "detaching the gateway.",
        ),
    },
)
def detach_internet_gateway(ctx: Context, p: Params) -> Result:
    """Close a VPC that has no public address in use."""
    gateway = ctx.find("internet-gateway", p["InternetGatewayId"])
    ctx.network.detach_gateway(gateway, ctx.find("vpc", p["VpcId"]).id)
    return {}
