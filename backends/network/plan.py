"""From rows to the whole of one network as a machine should hold it: a pure function, and the reading of its input.

A driver applies the difference between a plan and what it observes; `reach` answers questions about packets from the
same plan. Names of firewall groups and prefix lists are resolved here, so that a plan stands alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.orm import Session

from backends.network.models import (
    FirewallGroup,
    FirewallRule,
    Gateway,
    Nat,
    Network,
    PacketFilter,
    Port,
    PortGroup,
    PrefixList,
    RouteTable,
    Segment,
)

Row = TypeVar("Row", Segment, Port, RouteTable, PacketFilter, FirewallGroup, Nat, Gateway)


@dataclass(frozen=True)
class PortPlan:
    """A link: one network card, its addresses, and (private, public) pairs that stand for each other outside."""

    id: str
    mac: str
    segment: str
    guest: str | None
    addresses: tuple[str, ...]
    publics: tuple[tuple[str, str], ...]
    groups: tuple[str, ...]
    checked: bool


@dataclass(frozen=True)
class SegmentPlan:
    """A segment with the route table and the packet filter that hold for it."""

    id: str
    cidrs: tuple[str, ...]
    table: str
    packet_filter: str


@dataclass(frozen=True)
class RoutePlan:
    """Ranges that lead to a target; "blackhole" ones lead nowhere."""

    destinations: tuple[str, ...]
    kind: str
    target: str


@dataclass(frozen=True)
class RulePlan:
    """A firewall allowance with its peers resolved to ranges and single addresses. Ports as in `FirewallRule`."""

    id: str
    egress: bool
    protocol: str
    from_port: int
    to_port: int
    peers: tuple[str, ...]


@dataclass(frozen=True)
class EntryPlan:
    """A packet filter's rule; None means any."""

    number: int
    egress: bool
    allow: bool
    protocol: str
    cidr: str
    from_port: int | None
    to_port: int | None
    icmp_type: int | None
    icmp_code: int | None


@dataclass(frozen=True)
class NatPlan:
    """A translator and the port it works through."""

    id: str
    port: str
    public: bool


@dataclass(frozen=True)
class NetworkPlan:
    """One network, whole."""

    id: str
    cidrs: tuple[str, ...]
    gateway: str | None
    segments: tuple[SegmentPlan, ...]
    ports: tuple[PortPlan, ...]
    tables: dict[str, tuple[RoutePlan, ...]]
    filters: dict[str, tuple[EntryPlan, ...]]
    groups: dict[str, tuple[RulePlan, ...]]
    nats: tuple[NatPlan, ...]

    @cached_property
    def digest(self) -> str:
        """Equal for equal plans, in whatever process."""
        return hashlib.sha256(repr(asdict(self)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class NetworkRows:
    """All rows that one network's plan is made of."""

    network: Network
    segments: Sequence[Segment]
    ports: Sequence[Port]
    tables: Sequence[RouteTable]
    filters: Sequence[PacketFilter]
    groups: Sequence[FirewallGroup]
    nats: Sequence[Nat]
    gateways: Sequence[Gateway]
    prefixes: Sequence[PrefixList]
    peers: Sequence[Port]
    """Ports of other networks whose groups are named by rules here."""


def read_rows(session: Session, network_id: str) -> NetworkRows | None:
    """The rows of one network as they are now; None when it is gone."""
    network = session.execute(select(Network).where(Network.id == network_id)).scalars().first()
    if network is None:
        return None

    def of(model: type[Row]) -> Sequence[Row]:
        return session.execute(select(model).where(model.network_id == network_id).order_by(model.id)).scalars().all()

    groups = of(FirewallGroup)
    named = {rule.peer for group in groups for rule in group.rules if rule.peer_kind == "group"} - {
        group.id for group in groups
    }
    where = (PrefixList.tenant == network.tenant, PrefixList.region == network.region)
    return NetworkRows(
        network,
        of(Segment),
        of(Port),
        of(RouteTable),
        of(PacketFilter),
        groups,
        of(Nat),
        of(Gateway),
        session.execute(select(PrefixList).where(*where)).scalars().all(),
        session.execute(select(Port).where(Port.groups.any(PortGroup.group_id.in_(named)))).scalars().all()
        if named
        else (),
    )


def plan(rows: NetworkRows) -> NetworkPlan:
    """The whole network that the rows describe."""
    main = next(table.id for table in rows.tables if table.main)
    table_of = {link.segment_id: table.id for table in rows.tables for link in table.associations if link.segment_id}
    filter_of = {link.segment_id: guard.id for guard in rows.filters for link in guard.associations}
    lists = {row.id: tuple(str(entry["cidr"]) for entry in row.entries()) for row in rows.prefixes}
    members = _members([*rows.ports, *rows.peers])
    return NetworkPlan(
        id=rows.network.id,
        cidrs=tuple(block.cidr for block in rows.network.ranges),
        gateway=next((gateway.id for gateway in rows.gateways if not gateway.outbound_only), None),
        segments=tuple(
            SegmentPlan(
                segment.id,
                tuple(filter(None, (segment.cidr, *(block.cidr for block in segment.ranges)))),
                table_of.get(segment.id, main),
                filter_of[segment.id],
            )
            for segment in rows.segments
        ),
        ports=tuple(_port(port) for port in rows.ports),
        tables={table.id: tuple(_routes(table, lists)) for table in rows.tables},
        filters={guard.id: tuple(_entries(guard)) for guard in rows.filters},
        groups={group.id: tuple(_rule(rule, members, lists) for rule in group.rules) for group in rows.groups},
        nats=tuple(
            NatPlan(nat.id, nat.port_id, nat.public)
            for nat in rows.nats
            if nat.port_id is not None and nat.wanted == "available"
        ),
    )


def _members(ports: Sequence[Port]) -> dict[str, tuple[str, ...]]:
    """The private addresses in each firewall group."""
    found: dict[str, list[str]] = {}
    for port in ports:
        for link in port.groups:
            found.setdefault(link.group_id, []).extend(row.ip for row in port.addresses)
    return {group: tuple(sorted(set(ips))) for group, ips in found.items()}


def _port(port: Port) -> PortPlan:
    return PortPlan(
        port.id,
        port.mac,
        port.segment_id,
        port.guest_id,
        tuple(row.ip for row in port.addresses),
        tuple((row.ip, row.public_ip) for row in port.addresses if row.public_ip is not None),
        tuple(link.group_id for link in port.groups),
        port.checked,
    )


def _routes(table: RouteTable, lists: dict[str, tuple[str, ...]]) -> list[RoutePlan]:
    return [
        RoutePlan(
            (route.destination,) if "/" in route.destination else lists.get(route.destination, ()),
            "blackhole" if route.state == "blackhole" else route.target_kind,
            route.target_id,
        )
        for route in table.routes
    ]


def _entries(guard: PacketFilter) -> list[EntryPlan]:
    return [
        EntryPlan(
            entry.number,
            entry.egress,
            entry.allow,
            entry.protocol,
            entry.cidr,
            entry.from_port,
            entry.to_port,
            entry.icmp_type,
            entry.icmp_code,
        )
        for entry in sorted(guard.entries, key=lambda entry: (entry.egress, entry.number))
    ]


def _rule(rule: FirewallRule, members: dict[str, tuple[str, ...]], lists: dict[str, tuple[str, ...]]) -> RulePlan:
    if rule.peer_kind == "group":
        peers = members.get(rule.peer, ())
    elif rule.peer_kind == "prefixes":
        peers = lists.get(rule.peer, ())
    else:
        peers = (rule.peer,)
    return RulePlan(rule.id, rule.egress, rule.protocol, rule.from_port, rule.to_port, peers)
