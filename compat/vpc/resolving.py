"""What the resolver of a VPC knows: private and public names of instances, and those of the cloud itself."""

from __future__ import annotations

import ipaddress
import re

from sqlalchemy import and_, or_, select

from backends.compute.models import Guest
from backends.db import Unit
from backends.network.models import Network, Peering, Port, PortAddress
from backends.network.resolver import Found
from compat.vpc.names import private_domain, private_name, public_name

LINK_LOCAL = "169.254.169.254"
OWN_NAMES = ("nephele.internal", "instance-data.ec2.internal")
"""Names of the address at which metadata and (where it is let in) the AWS endpoint are served inside every VPC."""

_PRIVATE = re.compile(r"ip-(\d{1,3})-(\d{1,3})-(\d{1,3})-(\d{1,3})")
_PUBLIC = re.compile(r"ec2-(\d{1,3})-(\d{1,3})-(\d{1,3})-(\d{1,3})\.(.+)")
_RESOURCE = re.compile(r"(i-[0-9a-f]{8,17})")
_REVERSE = re.compile(r"(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.in-addr\.arpa")


ELSEWHERE = Found(None, ())
NOTHING = Found(False, ())


def resolve(unit: Unit, network: Network, name: str, kind: str) -> Found:
    """What a VPC's resolver says of a name (without the last dot), for records of type `kind`.

    `unit` must see all rows: public names of other VPCs' instances are answered with their public address."""
    name = name.lower()
    if name in OWN_NAMES:
        return Found(True, [LINK_LOCAL] if kind == "A" else [])
    if (matched := _REVERSE.fullmatch(name)) is not None:
        return _reverse(unit, network, ".".join(reversed(matched.groups())), kind)
    domain = private_domain(network.region)
    if name.endswith("." + domain):
        found = _private(unit, network, name.removesuffix("." + domain))
        return NOTHING if found is None else Found(True, [found] if kind == "A" else [])
    if (matched := _PUBLIC.fullmatch(name)) is not None:
        found = _public(unit, network, name, ".".join(matched.groups()[:4]))
        if found is not None:
            return Found(True, [found] if kind == "A" else [])
    return ELSEWHERE


def _private(unit: Unit, network: Network, label: str) -> str | None:
    """The private address behind the first part of a private name: by number, or by the instance's id."""
    matched = _PRIVATE.fullmatch(label)
    if matched is not None:
        ip = ".".join(matched.groups())
        return ip if _is_here(network, ip) else None
    matched = _RESOURCE.fullmatch(label)
    if matched is None:
        return None
    guest = unit.session.scalar(select(Guest).where(Guest.id == matched[1], Guest.network_id == network.id))
    if guest is None:
        return None
    options = guest.notes["shown"].get("PrivateDnsNameOptions") or {}
    return guest.address if options.get("EnableResourceNameDnsARecord") else None


def _is_here(network: Network, ip: str) -> bool:
    try:
        address = ipaddress.IPv4Address(ip)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(block.cidr) for block in network.ranges if block.family == 4)


def _public(unit: Unit, network: Network, name: str, ip: str) -> str | None:
    """The address behind a public name: the private one inside its own VPC, and in peers that it lets have it; else
    the public one."""
    row = unit.session.execute(
        select(PortAddress.ip, Port.network_id, Network.region, Network.hostnames)
        .join(Port, Port.id == PortAddress.port_id)
        .join(Network, Network.id == Port.network_id)
        .where(PortAddress.public_ip == ip)
    ).first()
    if row is None or not row.hostnames or public_name(row.region, ip) != name:
        return None
    return row.ip if row.network_id == network.id or _tells(unit, row.network_id, network.id) else ip


def _tells(unit: Unit, owner: str, other: str) -> bool:
    """Whether a network lets a peer have the private addresses behind its public names
    (AllowDnsResolutionFromRemoteVpc)."""
    peering = unit.session.scalars(
        select(Peering).where(
            Peering.state == "active",
            or_(
                and_(Peering.requester_network_id == owner, Peering.accepter_network_id == other),
                and_(Peering.requester_network_id == other, Peering.accepter_network_id == owner),
            ),
        )
    ).first()
    if peering is None:
        return False
    side = peering.requester if peering.requester_network_id == owner else peering.accepter
    return bool(side["options"].get("AllowDnsResolutionFromRemoteVpc"))


def _reverse(unit: Unit, network: Network, ip: str, kind: str) -> Found:
    if ip == LINK_LOCAL:
        return Found(True, [OWN_NAMES[0] + "."] if kind == "PTR" else [])
    if not _is_here(network, ip):
        return ELSEWHERE
    held = select(PortAddress.ip).join(Port, Port.id == PortAddress.port_id)
    if unit.session.scalar(held.where(Port.network_id == network.id, PortAddress.ip == ip)) is None:
        return NOTHING
    return Found(True, [private_name(network.region, ip) + "."] if kind == "PTR" else [])
