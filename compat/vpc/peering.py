"""VPC peering connections."""

from __future__ import annotations

from typing import Any

from backends.errors import WrongState
from backends.network.models import Peering
from compat.context import Context
from compat.describe import page
from compat.errors import AWSError
from compat.filters import Filters
from compat.kinds import kind
from compat.operation import Params, Result, operation
from compat.vpc.facts import Raises, missing

kind(
    "vpc-peering-connection",
    prefix="pcx-",
    row=Peering,
    missing="InvalidVpcPeeringConnectionID.NotFound",
    malformed="InvalidVpcPeeringConnectionId.Malformed",
    label="vpcPeeringConnection ID",
    quota=1000,
)

FAILED = "Failed due to incorrect VPC-ID, Account ID, or overlapping CIDR range"
OPTIONS = (
    "AllowDnsResolutionFromRemoteVpc",
    "AllowEgressFromLocalClassicLinkToRemoteVpc",
    "AllowEgressFromLocalVpcToRemoteClassicLink",
)


def _options(side: dict[str, Any]) -> dict[str, bool]:
    return {name: bool(side["options"].get(name)) for name in OPTIONS}


def _side(side: dict[str, Any], state: str) -> dict[str, Any]:
    shown: dict[str, Any] = {"OwnerId": side["tenant"], "VpcId": side["network"], "Region": side["region"]}
    if side["cidrs"] and state not in ("failed",):
        shown["CidrBlock"] = side["cidrs"][0]
        shown["CidrBlockSet"] = [{"CidrBlock": cidr} for cidr in side["cidrs"]]
        if side.get("cidrs6"):
            shown["Ipv6CidrBlockSet"] = [{"Ipv6CidrBlock": cidr} for cidr in side["cidrs6"]]
        shown["PeeringOptions"] = _options(side)
    return shown


def render_peering(ctx: Context, peering: Peering) -> dict[str, Any]:
    """A peering connection; the accepter's blocks are shown once it accepted."""
    accepter = peering.accepter if peering.state == "active" else {**peering.accepter, "cidrs": []}
    if peering.tenant == accepter["tenant"]:
        accepter = peering.accepter
    shown: dict[str, Any] = {
        "VpcPeeringConnectionId": peering.id,
        "RequesterVpcInfo": _side(peering.requester, "active"),
        "AccepterVpcInfo": _side(accepter, peering.state),
        "Status": {"Code": peering.state, "Message": peering.message},
        "Tags": ctx.tags(peering.id),
    }
    if peering.expires is not None:
        shown["ExpirationTime"] = peering.expires
    return shown


@operation("ec2:CreateVpcPeeringConnection", on=("vpc/{VpcId}", "vpc-peering-connection/*"))
def create_vpc_peering_connection(ctx: Context, p: Params) -> Result:
    """Ask the owner of another VPC to link it with one of the caller's."""
    if not p.get("PeerVpcId"):
        raise missing("peerVpcId")
    vpc = ctx.find("vpc", p["VpcId"])
    owner, region = p.get("PeerOwnerId") or ctx.account, p.get("PeerRegion") or ctx.region
    if owner == ctx.account and region == ctx.region:
        ctx.find("vpc", p["PeerVpcId"])
    peering = ctx.network.request_peering(
        id=ctx.mint("vpc-peering-connection"),
        mine=vpc,
        tenant=owner,
        region=region,
        network_id=p["PeerVpcId"],
        failed_message=FAILED,
    )
    shown = render_peering(ctx, peering)
    if peering.state == "pending-acceptance":
        shown["Status"] = {"Code": "initiating-request", "Message": f"Initiating Request to {owner}"}
    return {"VpcPeeringConnection": shown}


PEERING_FILTERS: Filters = {
    "accepter-vpc-info.cidr-block": lambda ctx, peering: peering.accepter["cidrs"],
    "accepter-vpc-info.owner-id": lambda ctx, peering: peering.accepter["tenant"],
    "accepter-vpc-info.vpc-id": Peering.accepter_network_id,
    "expiration-time": lambda ctx, peering: peering.expires,
    "requester-vpc-info.cidr-block": lambda ctx, peering: peering.requester["cidrs"],
    "requester-vpc-info.owner-id": lambda ctx, peering: peering.requester["tenant"],
    "requester-vpc-info.vpc-id": Peering.requester_network_id,
    "status-code": Peering.state,
    "status-message": Peering.message,
    "vpc-peering-connection-id": Peering.id,
}


@operation("ec2:DescribeVpcPeeringConnections")
def describe_vpc_peering_connections(ctx: Context, p: Params) -> Result:
    """The peering connections that the account has a side of in the region."""
    return page(ctx, p, "vpc-peering-connection", PEERING_FILTERS, render_peering)


WRONG: Raises = {
    WrongState: lambda fact: AWSError(
        "InvalidStateTransition", f"Invalid state transition for {fact.id}, attempted to transition from {fact.state}"
    )
}


@operation("ec2:AcceptVpcPeeringConnection", on="vpc-peering-connection/{VpcPeeringConnectionId}", raises=WRONG)
def accept_vpc_peering_connection(ctx: Context, p: Params) -> Result:
    """Link the VPCs, as the owner of the one that was asked for."""
    peering = _of_accepter(ctx, p)
    ctx.network.settle_peering(peering, "active", "Active", allowed=("pending-acceptance",))
    return {"VpcPeeringConnection": render_peering(ctx, peering)}


@operation("ec2:RejectVpcPeeringConnection", on="vpc-peering-connection/{VpcPeeringConnectionId}", raises=WRONG)
def reject_vpc_peering_connection(ctx: Context, p: Params) -> Result:
    """Refuse the link, as the owner of the VPC that was asked for."""
    peering = _of_accepter(ctx, p)
    message = f"Inactive, rejected by {ctx.account}"
    ctx.network.settle_peering(peering, "rejected", message, allowed=("pending-acceptance",))
    return {"Return": True}


def _of_accepter(ctx: Context, p: Params) -> Peering:
    if not p.get("VpcPeeringConnectionId"):
        raise missing("vpcPeeringConnectionId")
    peering: Peering = ctx.find("vpc-peering-connection", p["VpcPeeringConnectionId"])
    if not ctx.network.is_side(peering, "accepter"):
        raise AWSError(
            "OperationNotPermitted",
            f"User ({ctx.account}) cannot accept or reject peering {peering.id} here: it belongs to "
            f"{peering.accepter['tenant']} in {peering.accepter['region']}",
        )
    return peering


@operation("ec2:DeleteVpcPeeringConnection", on="vpc-peering-connection/{VpcPeeringConnectionId}", raises=WRONG)
def delete_vpc_peering_connection(ctx: Context, p: Params) -> Result:
    """End a link, as either side; it is shown as deleted for both."""
    peering = ctx.find("vpc-peering-connection", p["VpcPeeringConnectionId"])
    message = f"Deleted by {ctx.account}"
    ctx.network.settle_peering(peering, "deleted", message, allowed=("active", "pending-acceptance", "failed"))
    return {"Return": True}


@operation("ec2:ModifyVpcPeeringConnectionOptions", on="vpc-peering-connection/{VpcPeeringConnectionId}")
def modify_vpc_peering_connection_options(ctx: Context, p: Params) -> Result:
    """Set options of the sides that the caller owns."""
    peering = ctx.find("vpc-peering-connection", p["VpcPeeringConnectionId"])
    if peering.state != "active":
        raise AWSError("OperationNotPermitted", f"Peering {peering.id} is not active")
    answer: Result = {}
    for side, member in (
        ("requester", "RequesterPeeringConnectionOptions"),
        ("accepter", "AccepterPeeringConnectionOptions"),
    ):
        if member not in p:
            continue
        if not ctx.network.is_side(peering, side):
            raise AWSError("OperationNotPermitted", f"{ctx.account} does not own the {side} of {peering.id} here")
        ctx.network.describe_side(peering, side, {name: bool(p[member][name]) for name in OPTIONS if name in p[member]})
        answer[member] = _options(getattr(peering, side))
    return answer
