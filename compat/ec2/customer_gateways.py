"""Customer gateways: books about the far end of a VPN."""

from __future__ import annotations

from compat.context import Context
from compat.errors import AWSError
from compat.operation import Params
from compat.records import Document, creates, deletes, describes, member, record_kind

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
deletes("ec2:DeleteCustomerGateway", CUSTOMER_GATEWAYS, "CustomerGatewayId")
