"""The tunnels of a VPN connection: addresses, keys, what may be asked for, and the configuration for the far end."""

from __future__ import annotations

import ipaddress
import re
import secrets
import string
from collections.abc import Collection, Mapping
from typing import Any
from xml.sax.saxutils import escape

from compat.errors import AWSError

INSIDE = ipaddress.IPv4Network("169.254.0.0/16")
RESERVED = frozenset(f"169.254.{third}.0/30" for third in range(6)) | {"169.254.169.252/30"}
KEY = re.compile(r"[1-9A-Za-z._][0-9A-Za-z._]{7,63}")
OUTSIDE = ("203.0.113.", "198.51.100.")
"""Addresses that nobody has (RFC 5737): there is no machine at this end."""

_RANGES = {
    "Phase1LifetimeSeconds": (900, 28800),
    "Phase2LifetimeSeconds": (900, 3600),
    "RekeyFuzzPercentage": (0, 100),
    "ReplayWindowSize": (64, 2048),
    "DPDTimeoutSeconds": (30, 2**31 - 1),
}
_CHOICES: dict[str, Collection[Any]] = {
    "DPDTimeoutAction": ("clear", "none", "restart"),
    "StartupAction": ("add", "start"),
    "Phase1EncryptionAlgorithms": ("AES128", "AES256", "AES128-GCM-16", "AES256-GCM-16"),
    "Phase2EncryptionAlgorithms": ("AES128", "AES256", "AES128-GCM-16", "AES256-GCM-16"),
    "Phase1IntegrityAlgorithms": ("SHA1", "SHA2-256", "SHA2-384", "SHA2-512"),
    "Phase2IntegrityAlgorithms": ("SHA1", "SHA2-256", "SHA2-384", "SHA2-512"),
    "Phase1DHGroupNumbers": (2, *range(14, 25), 35),
    "Phase2DHGroupNumbers": (2, 5, *range(14, 25), 35, 36, 37),
    "IKEVersions": ("ikev1", "ikev2"),
}
_SHOWN = {
    "DPDTimeoutSeconds": "DpdTimeoutSeconds",
    "DPDTimeoutAction": "DpdTimeoutAction",
    "IKEVersions": "IkeVersions",
}
"""Members that the answer calls otherwise than the call."""


def _invalid(message: str) -> AWSError:
    return AWSError("InvalidParameterValue", message)


def check_tunnel(asked: Mapping[str, Any]) -> None:
    """Refuse options that a tunnel cannot have."""
    for name, (least, most) in _RANGES.items():
        value = asked.get(name)
        if value is not None and not least <= value <= most:
            raise _invalid(f"Value ({value}) for parameter {name} is invalid: it must be between {least} and {most}.")
    for name, known in _CHOICES.items():
        given = asked.get(name)
        for value in [one.get("Value") for one in given] if isinstance(given, list) else [given]:
            if value is not None and value not in known:
                raise _invalid(f"Value ({value}) for parameter {name} is invalid.")
    first, second = asked.get("Phase1LifetimeSeconds") or 28800, asked.get("Phase2LifetimeSeconds") or 3600
    if second > first:
        raise _invalid("Phase2LifetimeSeconds must be less than Phase1LifetimeSeconds.")
    margin = asked.get("RekeyMarginTimeSeconds")
    if margin is not None and not 60 <= margin <= second / 2:
        raise _invalid("RekeyMarginTimeSeconds must be between 60 and half of Phase2LifetimeSeconds.")
    if asked.get("PreSharedKey") is not None and not KEY.fullmatch(asked["PreSharedKey"]):
        raise _invalid("PreSharedKey must have 8 to 64 letters, digits, periods and underscores, and not begin with 0.")
    if asked.get("TunnelInsideCidr") is not None:
        _check_inside(asked["TunnelInsideCidr"])
    if asked.get("TunnelInsideIpv6Cidr") is not None:
        raise AWSError("Unsupported", "TunnelInsideIpv6Cidr is not offered by Nephele.")


def _check_inside(cidr: str) -> None:
    try:
        network = ipaddress.IPv4Network(cidr)
    except ValueError:
        fits = False
    else:
        fits = network.prefixlen == 30 and network.subnet_of(INSIDE)
    if not fits or cidr in RESERVED:
        raise _invalid(f"Value ({cidr}) for parameter TunnelInsideCidr is invalid.")


def shown_options(asked: Mapping[str, Any]) -> dict[str, Any]:
    """What was asked for, as answers tell it."""
    return {_SHOWN.get(name, name): value for name, value in asked.items() if value is not None}


def new_tunnel(asked: Mapping[str, Any], inside: Collection[str], outside: Collection[str]) -> dict[str, Any]:
    """A tunnel with an address, an inner range and a key of its own; `inside` and `outside` are taken."""
    check_tunnel(asked)
    options = shown_options(asked)
    if (cidr := options.get("TunnelInsideCidr")) is None:
        cidr = next(
            one
            for one in iter(lambda: f"169.254.{secrets.randbelow(256)}.{4 * secrets.randbelow(64)}/30", "")
            if one not in inside and one not in RESERVED
        )
    elif cidr in inside:
        raise _invalid(f"The inside CIDR block {cidr} is used by another tunnel of the gateway.")
    address = next(
        one
        for one in iter(lambda: secrets.choice(OUTSIDE) + str(1 + secrets.randbelow(254)), "")
        if one not in outside or len(outside) > 400
    )
    letters = string.ascii_letters + string.digits
    return {
        "OutsideIpAddress": address,
        "TunnelInsideCidr": cidr,
        "PreSharedKey": secrets.choice(string.ascii_letters) + "".join(secrets.choice(letters) for _ in range(31)),
        "LogOptions": {"CloudWatchLogOptions": {"LogEnabled": False, "BgpLogEnabled": False}},
        "EnableTunnelLifecycleControl": False,
    } | options


def _xml(name: str, value: Any) -> str:
    if isinstance(value, dict):
        return f"<{name}>" + "".join(_xml(inner, one) for inner, one in value.items()) + f"</{name}>"
    return f"<{name}>{escape(str(value))}</{name}>"


def configuration(id: str, document: Mapping[str, Any], far: Mapping[str, Any], asn: int) -> str:
    """What the device at the far end has to be told: the XML that AWS has for it."""
    tunnels = []
    for tunnel in document["Options"]["TunnelOptions"]:
        here, there = list(ipaddress.ip_network(tunnel["TunnelInsideCidr"]).hosts())
        mask = {"network_mask": "255.255.255.252", "network_cidr": 30}
        static = document["Options"]["StaticRoutesOnly"]

        def end(outer: str, inner: Any, number: Any, mask: dict[str, Any] = mask, static: bool = static) -> Any:
            found: dict[str, Any] = {
                "tunnel_outside_address": {"ip_address": outer},
                "tunnel_inside_address": {"ip_address": inner, **mask},
            }
            return found | ({} if static else {"bgp": {"asn": number, "hold_time": 30}})

        tunnels.append(
            {
                "customer_gateway": end(far.get("IpAddress") or "", there, far["BgpAsn"]),
                "vpn_gateway": end(tunnel["OutsideIpAddress"], here, asn),
                "ike": {
                    "authentication_protocol": "sha1",
                    "encryption_protocol": "aes-128-cbc",
                    "lifetime": tunnel.get("Phase1LifetimeSeconds", 28800),
                    "perfect_forward_secrecy": "group2",
                    "mode": "main",
                    "pre_shared_key": tunnel["PreSharedKey"],
                },
                "ipsec": {
                    "protocol": "esp",
                    "authentication_protocol": "hmac-sha1-96",
                    "encryption_protocol": "aes-128-cbc",
                    "lifetime": tunnel.get("Phase2LifetimeSeconds", 3600),
                    "perfect_forward_secrecy": "group2",
                    "mode": "tunnel",
                    "clear_df_bit": "true",
                    "fragmentation_before_encryption": "true",
                    "tcp_mss_adjustment": 1379,
                    "dead_peer_detection": {"interval": 10, "retries": 3},
                },
            }
        )
    head = {
        "customer_gateway_id": document["CustomerGatewayId"],
        "vpn_gateway_id": document.get("VpnGatewayId") or "",
        "vpn_connection_type": document["Type"],
    }
    text = "".join(_xml(name, value) for name, value in head.items())
    text += "".join(_xml("ipsec_tunnel", tunnel) for tunnel in tunnels)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<vpn_connection id="{id}">{text}</vpn_connection>'
