"""Customer gateways: books about the far end of a VPN."""

from __future__ import annotations

from sqlalchemy import select

from compat.context import Context
from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.records import Document, Record, creates, describes, member, record_kind

CUSTOMER_GATEWAYS = record_kind(
    "customer-gateway",
    prefix="cgw-",
    missing="InvalidCustomerGatewayID.NotFound",
    malformed="InvalidCustomerGatewayID.Malformed",
    id_member="CustomerGatewayId",
    label="customerGateway ID",
    quota=50,
)


def _document(ctx: Context, p: Params) -> Document:
    address = p.get("IpAddress") or p.get("PublicIp")
    if not address and not p.get("CertificateArn"):
        raise AWSError("MissingParameter", "The request must contain the parameter IpAddress")
    return {
        "Type": p["Type"],
        "BgpAsn": str(p.get("BgpAsn") or p.get("BgpAsnExtended") or 65000),
        "IpAddress": address,
        "CertificateArn": p.get("CertificateArn"),
        "DeviceName": p.get("DeviceName"),
    }


creates("ec2:CreateCustomerGateway", CUSTOMER_GATEWAYS, "CustomerGateway", _document)
describes(
    "ec2:DescribeCustomerGateways",
    CUSTOMER_GATEWAYS,
    {
        "customer-gateway-id": CUSTOMER_GATEWAYS.row.id,
        "state": CUSTOMER_GATEWAYS.row.state,
        "bgp-asn": member("BgpAsn"),
        "ip-address": member("IpAddress"),
        "type": member("Type"),
    },
)


def connected(ctx: Context, member: str, id: str) -> bool:
    """Whether a VPN connection has that gateway: `member` is CustomerGatewayId or VpnGatewayId."""
    rows = ctx.session.scalars(select(Record.document).where(Record.kind == "vpn-connection"))
    return any(document.get(member) == id for document in rows)


@operation("ec2:DeleteCustomerGateway", on="customer-gateway/{CustomerGatewayId}")
def delete_customer_gateway(ctx: Context, p: Params) -> Result:
    """Forget a far end that no VPN connection has."""
    row = ctx.find("customer-gateway", p["CustomerGatewayId"])
    if connected(ctx, "CustomerGatewayId", row.id):
        raise AWSError("IncorrectState", "The customer gateway is in use.")
    CUSTOMER_GATEWAYS.drop(ctx, row)
    return {"Return": True}
