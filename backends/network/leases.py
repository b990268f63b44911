"""What a card of a network is told when it comes up: from rows to a lease."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from sqlalchemy import select

from backends.db import Unit
from backends.network.dhcp import Lease, is_address
from backends.network.models import DhcpOptions, Network, Port, Segment

OWN_RESOLVER = "AmazonProvidedDNS"
"""The value in a set of options that stands for the network's own resolver."""


def resolver_of(network: Network) -> str:
    """The address of a network's own resolver: the third of its first range."""
    return str(ipaddress.ip_network(network.cidr)[2])


def lease_of(unit: Unit, network_id: str, mac: str, host_name: Callable[[str], str]) -> Lease | None:
    """The lease of the card with that hardware address; None where the network has no such card.

    `host_name` makes an address's host name, which is told where the network gives names."""
    session = unit.session
    port = session.scalars(select(Port).where(Port.network_id == network_id, Port.mac == mac)).first()
    address = None if port is None else port.private()
    if port is None or address is None:
        return None
    segment = session.get_one(Segment, port.segment_id)
    network = session.get_one(Network, network_id)
    options: dict[str, list[str]] = {}
    if network.dhcp_options_id is not None:
        row = session.get(DhcpOptions, network.dhcp_options_id)
        if row is not None:
            options = {option["key"]: [str(value) for value in option["values"]] for option in row.options}
    kind = (options.get("netbios-node-type") or ["0"])[0]
    return Lease(
        port=port.id,
        address=address.ip,
        network=segment.cidr,
        router=str(ipaddress.ip_network(segment.cidr)[1]),
        resolvers=_resolvers(network, options.get("domain-name-servers") or []),
        domain=" ".join(options.get("domain-name") or ()),
        host_name=host_name(address.ip) if network.hostnames else "",
        clocks=_addresses(options, "ntp-servers"),
        netbios_servers=_addresses(options, "netbios-name-servers"),
        netbios_kind=int(kind) if kind.isdigit() else 0,
    )


def _resolvers(network: Network, named: list[str]) -> tuple[str, ...]:
    """The resolvers to tell of; the network's own only while it has one."""
    found = []
    for name in named:
        if name != OWN_RESOLVER:
            found += [name] if is_address(name) else []
        elif network.resolver:
            found.append(resolver_of(network))
    return tuple(found)


def _addresses(options: dict[str, list[str]], key: str) -> tuple[str, ...]:
    return tuple(value for value in options.get(key) or () if is_address(value))
