"""Site-to-Site VPN connections. Books only: there is nobody at the other end, so their tunnels are always down."""

from __future__ import annotations

import ipaddress
from typing import Any

from compat.context import Context
from compat.describe import page
from compat.ec2.customer_gateways import CUSTOMER_GATEWAYS
from compat.errors import AWSError
from compat.filters import Filters
from compat.operation import Params, Result, operation
from compat.records import Document, Record, deletes, member, record_kind
from compat.vpc.vpn_gateways import VPN_GATEWAYS
from compat.vpc.vpn_tunnels import check_tunnel, configuration, new_tunnel, shown_options


def _extras(ctx: Context, row: Record) -> Document:
    document = row.document
    far = ctx.session.get_one(CUSTOMER_GATEWAYS.row, document["CustomerGatewayId"])
    near = ctx.session.get(VPN_GATEWAYS.row, document["VpnGatewayId"]) if document.get("VpnGatewayId") else None
    asn = near.document["AmazonSideAsn"] if near is not None else 64512
    return {
        "CustomerGatewayConfiguration": configuration(row.id, document, far.document, asn),
        "VgwTelemetry": [
            {
                "AcceptedRouteCount": 0,
                "LastStatusChange": row.created,
                "OutsideIpAddress": tunnel["OutsideIpAddress"],
                "Status": "DOWN",
                "StatusMessage": "",
            }
            for tunnel in document["Options"]["TunnelOptions"]
        ],
    }


CONNECTIONS = record_kind(
    "vpn-connection",
    prefix="vpn-",
    missing="InvalidVpnConnectionID.NotFound",
    malformed="InvalidVpnConnectionID.Malformed",
    id_member="VpnConnectionId",
    label="vpnConnection ID",
    quota=50,
    extras=_extras,
)


def _connections(ctx: Context) -> list[Record]:
    ctx.session.flush()
    return list(ctx.session.query(CONNECTIONS.row).all())


def _range(value: str | None, name: str) -> str:
    try:
        return str(ipaddress.IPv4Network(value or "0.0.0.0/0"))
    except ValueError as error:
        raise AWSError("InvalidParameterValue", f"Value ({value}) for parameter {name} is invalid.") from error


def _near(ctx: Context, p: Params) -> str | None:
    """The gateway at this end that a call names; None when it names none."""
    if p.get("VpnGatewayId") and p.get("TransitGatewayId"):
        raise AWSError(
            "InvalidParameterValue", "The request must not contain both parameter vpnGatewayId and transitGatewayId"
        )
    if p.get("VpnConcentratorId"):
        raise AWSError("Unsupported", "VPN concentrators are not offered by Nephele.")
    return p.get("VpnGatewayId")


def _check_near(ctx: Context, p: Params) -> None:
    if p.get("TransitGatewayId"):
        raise AWSError(
            "InvalidTransitGatewayID.NotFound", f"The transitGateway ID '{p['TransitGatewayId']}' does not exist"
        )
    if p.get("VpnGatewayId"):
        ctx.find("vpn-gateway", p["VpnGatewayId"])


@operation(
    "ec2:CreateVpnConnection",
    on=("vpn-connection/*", "customer-gateway/{CustomerGatewayId}", "vpn-gateway/{VpnGatewayId}"),
)
def create_vpn_connection(ctx: Context, p: Params) -> Result:
    """A connection with two tunnels between a customer gateway and a virtual private gateway."""
    if p["Type"] != "ipsec.1":
        raise AWSError("InvalidParameterValue", f"Value ({p['Type']}) for parameter type is invalid.")
    near, options = _near(ctx, p), p.get("Options") or {}
    ctx.find("customer-gateway", p["CustomerGatewayId"])
    _check_near(ctx, p)
    for name in ("EnableAcceleration", "LocalIpv6NetworkCidr", "RemoteIpv6NetworkCidr"):
        if options.get(name):
            raise AWSError("InvalidParameterCombination", f"{name} needs a transit gateway.")
    if options.get("TunnelInsideIpVersion") == "ipv6":
        raise AWSError("InvalidParameterCombination", "TunnelInsideIpVersion 'ipv6' needs a transit gateway.")
    asked = options.get("TunnelOptions") or []
    if len(asked) > 2:
        raise AWSError("InvalidParameterValue", "A VPN connection has two tunnels.")
    held = [tunnel for one in _connections(ctx) for tunnel in one.document["Options"]["TunnelOptions"]]
    inside, outside = {one["TunnelInsideCidr"] for one in held}, {one["OutsideIpAddress"] for one in held}
    tunnels: list[dict[str, Any]] = []
    for number in range(2):
        tunnel = new_tunnel(asked[number] if number < len(asked) else {}, inside, outside)
        inside, outside = inside | {tunnel["TunnelInsideCidr"]}, outside | {tunnel["OutsideIpAddress"]}
        tunnels.append(tunnel)
    document: Document = {
        "Type": p["Type"],
        "Category": "VPN",
        "CustomerGatewayId": p["CustomerGatewayId"],
        "VpnGatewayId": near,
        "GatewayAssociationState": "associated" if near else "not-associated",
        "Options": {
            "EnableAcceleration": False,
            "StaticRoutesOnly": bool(options.get("StaticRoutesOnly")),
            "LocalIpv4NetworkCidr": _range(options.get("LocalIpv4NetworkCidr"), "LocalIpv4NetworkCidr"),
            "RemoteIpv4NetworkCidr": _range(options.get("RemoteIpv4NetworkCidr"), "RemoteIpv4NetworkCidr"),
            "OutsideIpAddressType": options.get("OutsideIpAddressType") or "PublicIpv4",
            "TunnelInsideIpVersion": "ipv4",
            "TunnelOptions": tunnels,
        },
        "Routes": [],
    }
    return {"VpnConnection": CONNECTIONS.render(ctx, CONNECTIONS.add(ctx, document)) | {"State": "pending"}}


def _far_asn(ctx: Context, row: Record) -> Any:
    return ctx.session.get_one(CUSTOMER_GATEWAYS.row, row.document["CustomerGatewayId"]).document["BgpAsn"]


CONNECTION_FILTERS: Filters = {
    "bgp-asn": _far_asn,
    "customer-gateway-configuration": lambda ctx, row: _extras(ctx, row)["CustomerGatewayConfiguration"],
    "customer-gateway-id": member("CustomerGatewayId"),
    "option.static-routes-only": lambda ctx, row: row.document["Options"]["StaticRoutesOnly"],
    "route.destination-cidr-block": lambda ctx, row: [one["DestinationCidrBlock"] for one in row.document["Routes"]],
    "state": CONNECTIONS.row.state,
    "transit-gateway-id": lambda ctx, row: None,
    "type": member("Type"),
    "vpn-connection-id": CONNECTIONS.row.id,
    "vpn-gateway-id": member("VpnGatewayId"),
}


@operation("ec2:DescribeVpnConnections")
def describe_vpn_connections(ctx: Context, p: Params) -> Result:
    """The caller's connections."""
    return page(ctx, p, CONNECTIONS.name, CONNECTION_FILTERS, CONNECTIONS.render)


deletes("ec2:DeleteVpnConnection", CONNECTIONS, "VpnConnectionId")


@operation("ec2:ModifyVpnConnection", on="vpn-connection/{VpnConnectionId}")
def modify_vpn_connection(ctx: Context, p: Params) -> Result:
    """Give a connection another gateway at either end."""
    row: Record = ctx.find(CONNECTIONS.name, p["VpnConnectionId"])
    near, document = _near(ctx, p), dict(row.document)
    _check_near(ctx, p)
    if near:
        document |= {"VpnGatewayId": near, "GatewayAssociationState": "associated"}
    if p.get("CustomerGatewayId"):
        document["CustomerGatewayId"] = ctx.find("customer-gateway", p["CustomerGatewayId"]).id
    row.document = document
    return {"VpnConnection": CONNECTIONS.render(ctx, row) | {"State": "modifying"}}


@operation("ec2:ModifyVpnConnectionOptions", on="vpn-connection/{VpnConnectionId}")
def modify_vpn_connection_options(ctx: Context, p: Params) -> Result:
    """Change which addresses may speak through the tunnels."""
    row: Record = ctx.find(CONNECTIONS.name, p["VpnConnectionId"])
    for name in ("LocalIpv6NetworkCidr", "RemoteIpv6NetworkCidr"):
        if p.get(name):
            raise AWSError("InvalidParameterCombination", f"{name} needs a transit gateway.")
    changed = {name: _range(p[name], name) for name in ("LocalIpv4NetworkCidr", "RemoteIpv4NetworkCidr") if p.get(name)}
    row.document = row.document | {"Options": row.document["Options"] | changed}
    return {"VpnConnection": CONNECTIONS.render(ctx, row) | {"State": "modifying"}}


@operation("ec2:ModifyVpnTunnelOptions", on="vpn-connection/{VpnConnectionId}")
def modify_vpn_tunnel_options(ctx: Context, p: Params) -> Result:
    """Change one tunnel, which its outside address names."""
    row: Record = ctx.find(CONNECTIONS.name, p["VpnConnectionId"])
    options, outside = row.document["Options"], p["VpnTunnelOutsideIpAddress"]
    if not any(one["OutsideIpAddress"] == outside for one in options["TunnelOptions"]):
        raise AWSError(
            "InvalidParameterValue", f"The VPN connection {row.id} has no tunnel with the outside IP address {outside}."
        )
    asked = p["TunnelOptions"]
    check_tunnel(asked)
    tunnels = [
        one | shown_options(asked) if one["OutsideIpAddress"] == outside else one for one in options["TunnelOptions"]
    ]
    row.document = row.document | {"Options": options | {"TunnelOptions": tunnels}}
    return {"VpnConnection": CONNECTIONS.render(ctx, row) | {"State": "modifying"}}


def _static(ctx: Context, p: Params) -> Record:
    row: Record = ctx.find(CONNECTIONS.name, p["VpnConnectionId"])
    if not row.document["Options"]["StaticRoutesOnly"]:
        raise AWSError(
            "InvalidVpnConnection.InvalidType", f"The VPN connection {row.id} does not support static routes."
        )
    return row


@operation("ec2:CreateVpnConnectionRoute", on="vpn-connection/{VpnConnectionId}")
def create_vpn_connection_route(ctx: Context, p: Params) -> Result:
    """A static route to the far end."""
    row, wanted = _static(ctx, p), _range(p["DestinationCidrBlock"], "destinationCidrBlock")
    routes = [one for one in row.document["Routes"] if one["DestinationCidrBlock"] != wanted]
    row.document = row.document | {"Routes": [*routes, {"DestinationCidrBlock": wanted, "State": "available"}]}
    return {}


@operation("ec2:DeleteVpnConnectionRoute", on="vpn-connection/{VpnConnectionId}")
def delete_vpn_connection_route(ctx: Context, p: Params) -> Result:
    """Take a static route back."""
    row = _static(ctx, p)
    left = [one for one in row.document["Routes"] if one["DestinationCidrBlock"] != p["DestinationCidrBlock"]]
    if len(left) == len(row.document["Routes"]):
        raise AWSError(
            "InvalidRoute.NotFound", f"The VPN connection {row.id} has no route to {p['DestinationCidrBlock']}."
        )
    row.document = row.document | {"Routes": left}
    return {}
