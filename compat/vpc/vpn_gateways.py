"""Virtual private gateways: the AWS end of a VPN. Kept in the books; routes may lead there."""

from __future__ import annotations

from typing import Any

from compat.context import Context
from compat.ec2.customer_gateways import connected
from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.records import Document, Record, creates, describes, member, record_kind


def _attachments(ctx: Context, row: Record) -> Document:
    vpc = row.document.get("_vpc")
    return {"VpcAttachments": [{"State": "attached", "VpcId": vpc}] if vpc else []}


VPN_GATEWAYS = record_kind(
    "vpn-gateway",
    prefix="vgw-",
    missing="InvalidVpnGatewayID.NotFound",
    malformed="InvalidVpnGatewayID.Malformed",
    id_member="VpnGatewayId",
    label="vpnGateway ID",
    quota=50,
    extras=_attachments,
)


def _document(ctx: Context, p: Params) -> Document:
    document: Document = {"Type": p["Type"], "AmazonSideAsn": p.get("AmazonSideAsn") or 64512}
    if p.get("AvailabilityZone"):
        document["AvailabilityZone"] = p["AvailabilityZone"]
    return document


creates("ec2:CreateVpnGateway", VPN_GATEWAYS, "VpnGateway", _document)
describes(
    "ec2:DescribeVpnGateways",
    VPN_GATEWAYS,
    {
        "amazon-side-asn": member("AmazonSideAsn"),
        "attachment.state": lambda ctx, row: "attached" if row.document.get("_vpc") else None,
        "attachment.vpc-id": member("_vpc"),
        "availability-zone": member("AvailabilityZone"),
        "state": VPN_GATEWAYS.row.state,
        "type": member("Type"),
        "vpn-gateway-id": VPN_GATEWAYS.row.id,
    },
)


def vpn_gateway_of(ctx: Context, vpc_id: str) -> str | None:
    """The id of the virtual private gateway that is attached to a VPC."""
    rows = ctx.session.query(VPN_GATEWAYS.row).all()
    return next((row.id for row in rows if row.document.get("_vpc") == vpc_id), None)


@operation("ec2:AttachVpnGateway", on=("vpn-gateway/{VpnGatewayId}", "vpc/{VpcId}"))
def attach_vpn_gateway(ctx: Context, p: Params) -> Result:
    """Attach a virtual private gateway to a VPC; each has one at most."""
    row, vpc = ctx.find("vpn-gateway", p["VpnGatewayId"]), ctx.find("vpc", p["VpcId"])
    held = row.document.get("_vpc")
    other = vpn_gateway_of(ctx, vpc.id)
    if held not in (None, vpc.id) or other not in (None, row.id):
        raise AWSError("VpnGatewayAttachmentLimitExceeded", f"{row.id} or {vpc.id} has an attachment already.")
    _attach(ctx, row, vpc.id)
    return {"VpcAttachment": {"State": "attaching", "VpcId": vpc.id}}


@operation("ec2:DetachVpnGateway", on=("vpn-gateway/{VpnGatewayId}", "vpc/{VpcId}"))
def detach_vpn_gateway(ctx: Context, p: Params) -> Result:
    """Detach a virtual private gateway; routes to it lead nowhere then."""
    row, vpc = ctx.find("vpn-gateway", p["VpnGatewayId"]), ctx.find("vpc", p["VpcId"])
    if row.document.get("_vpc") != vpc.id:
        raise AWSError("InvalidVpnGatewayAttachment.NotFound", f"{row.id} is not attached to {vpc.id}")
    _attach(ctx, row, None)
    return {}


def _attach(ctx: Context, row: Record, vpc_id: str | None) -> None:
    row.document = {**row.document, "_vpc": vpc_id}
    ctx.network.set_routes(row.id, alive=vpc_id is not None)


@operation("ec2:DeleteVpnGateway", on="vpn-gateway/{VpnGatewayId}")
def delete_vpn_gateway(ctx: Context, p: Params) -> Result:
    """Delete a virtual private gateway that is attached to nothing."""
    row = ctx.find("vpn-gateway", p["VpnGatewayId"])
    if row.document.get("_vpc"):
        raise AWSError("IncorrectState", f"The vpn gateway {row.id} is attached to {row.document['_vpc']}")
    if connected(ctx, "VpnGatewayId", row.id):
        raise AWSError("IncorrectState", f"The vpn gateway {row.id} is in use by a VPN connection")
    VPN_GATEWAYS.drop(ctx, row)
    return {}


def _propagate(ctx: Context, p: Params, wanted: bool) -> None:
    row, table = ctx.find("vpn-gateway", p["GatewayId"]), ctx.find("route-table", p["RouteTableId"])
    if wanted and row.document.get("_vpc") != table.network_id:
        raise AWSError("Gateway.NotAttached", f"resource {row.id} is not attached to network {table.network_id}")
    if wanted and any(link.gateway_id is not None for link in table.associations):
        raise AWSError(
            "InvalidParameterValue", f"The route table {table.id} of a gateway can not have routes propagated"
        )
    held: list[Any] = [id for id in table.notes.get("propagating", ()) if id != row.id]
    table.notes = {**table.notes, "propagating": [*held, row.id] if wanted else held}


@operation("ec2:EnableVgwRoutePropagation", on=("route-table/{RouteTableId}", "vpn-gateway/{GatewayId}"))
def enable_vgw_route_propagation(ctx: Context, p: Params) -> Result:
    """Let a gateway put routes into a table."""
    _propagate(ctx, p, wanted=True)
    return {}


@operation("ec2:DisableVgwRoutePropagation", on=("route-table/{RouteTableId}", "vpn-gateway/{GatewayId}"))
def disable_vgw_route_propagation(ctx: Context, p: Params) -> Result:
    """Let a gateway put no more routes into a table."""
    _propagate(ctx, p, wanted=False)
    return {}
