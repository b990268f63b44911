"""From rows to the whole of one network as a machine should hold it: a pure function.

A driver applies the difference between a plan and what it observes; `reach` answers questions about packets from the
same plan. Names of firewall groups and prefix lists are resolved here, so that a plan stands alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

from sqlalchemy.orm import Session

from backends.network.rows import NetworkRows, Row, read_many, read_rows

MAKE = 2
"""Raised when drivers make something else of the same plan, so that what an earlier version made is made anew."""

__all__ = [
    "EntryPlan",
    "NatPlan",
    "NetworkPlan",
    "NetworkRows",
    "PeeringPlan",
    "PortPlan",
    "RoutePlan",
    "RulePlan",
    "SegmentPlan",
    "plan",
    "read_plans",
    "read_rows",
    "replan",
]


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


class RulePlan(NamedTuple):
    """A firewall allowance with its peers resolved to ranges and single addresses. Ports as in `FirewallRule`.

    `named` is the firewall group or prefix list that the peers come from, if they do. Members of a group are meant only
    where they are themselves: `links` has, for each of `peers`, the port whose address it is, or the peering that leads
    to that port's network. Networks that are peers may have the same addresses, and who may route sends under any."""

    id: str
    egress: bool
    protocol: str
    from_port: int
    to_port: int
    peers: tuple[str, ...]
    named: str = ""
    links: tuple[str, ...] | None = None


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
class PeeringPlan:
    """A link to another network, and the ranges of that one."""

    id: str
    network: str
    cidrs: tuple[str, ...]


@dataclass(frozen=True)
class NetworkPlan:
    """One network, whole. `edge_table` is the route table for what comes in through the gateway, if there is one."""

    id: str
    cidrs: tuple[str, ...]
    gateway: str | None
    segments: tuple[SegmentPlan, ...]
    ports: tuple[PortPlan, ...]
    tables: dict[str, tuple[RoutePlan, ...]]
    filters: dict[str, tuple[EntryPlan, ...]]
    groups: dict[str, tuple[RulePlan, ...]]
    nats: tuple[NatPlan, ...]
    peerings: tuple[PeeringPlan, ...] = ()
    edge_table: str | None = None

    @cached_property
    def digest(self) -> str:
        """Equal for equal plans, in whatever process."""
        return hashlib.sha256(f"{MAKE} {self!r}".encode()).hexdigest()[:16]


def read_plans(session: Session, ids: Collection[str] | None = None) -> dict[str, NetworkPlan]:
    """The plans of some networks, or of all there are, by id."""
    return {rows.network.id: plan(rows) for rows in read_many(session, ids)}


def plan(rows: NetworkRows) -> NetworkPlan:
    """The whole network that the rows describe."""
    main = next(link.table_id for link in rows.table_links if link.main)
    table_of = {link.segment_id: link.table_id for link in rows.table_links if link.segment_id}
    filter_of = {link.segment_id: link.filter_id for link in rows.filter_links}
    members, lists = _members(rows), _lists(rows)
    gateway = next((gateway.id for gateway in rows.gateways if not gateway.outbound_only), None)
    return NetworkPlan(
        id=rows.network.id,
        cidrs=tuple(block.cidr for block in rows.ranges),
        gateway=gateway,
        segments=tuple(
            SegmentPlan(
                segment.id,
                tuple(filter(None, (segment.cidr, *(block.cidr for block in rows.segment_ranges.get(segment.id, ()))))),
                table_of.get(segment.id, main),
                filter_of[segment.id],
            )
            for segment in rows.segments
        ),
        ports=tuple(_port(port, rows) for port in rows.ports),
        tables={
            table.id: tuple(_route(route, lists) for route in rows.routes.get(table.id, ())) for table in rows.tables
        },
        filters={
            guard.id: tuple(EntryPlan(*entry[1:]) for entry in rows.entries.get(guard.id, ())) for guard in rows.filters
        },
        groups={
            group.id: tuple(_rule(rule, members, lists) for rule in rows.rules.get(group.id, ()))
            for group in rows.groups
        },
        nats=tuple(
            NatPlan(nat.id, nat.port_id, nat.public)
            for nat in rows.nats
            if nat.port_id is not None and nat.wanted == "available"
        ),
        peerings=tuple(
            PeeringPlan(peering[1], peering[2], tuple(block.cidr for block in rows.peer_ranges[peering[2]]))
            for peering in rows.peerings
        ),
        edge_table=next((link.table_id for link in rows.table_links if gateway and link.gateway_id == gateway), None),
    )


def replan(held: NetworkPlan, rows: NetworkRows, groups: Collection[str]) -> NetworkPlan:
    """The plan of `rows`, which differ from those that `held` was made of in the rules of some groups."""
    named = any(not rule.peer_kind.startswith("cidr") for group in groups for rule in rows.rules.get(group, ()))
    members, lists = (_members(rows), _lists(rows)) if named else ({}, {})
    changed = {group: tuple(_rule(rule, members, lists) for rule in rows.rules.get(group, ())) for group in groups}
    return replace(held, groups=held.groups | changed)


def _members(rows: NetworkRows) -> dict[str, tuple[tuple[str, str], ...]]:
    """(address, link) of the members of groups."""
    return {group: tuple(sorted(set(held))) for group, held in rows.members.items()}


def _lists(rows: NetworkRows) -> dict[str, tuple[str, ...]]:
    return {id: tuple(str(entry["cidr"]) for entry in row.entries()) for id, row in rows.prefixes.items()}


def _port(port: Row, rows: NetworkRows) -> PortPlan:
    addresses = rows.addresses.get(port.id, ())
    return PortPlan(
        port.id,
        port.mac,
        port.segment_id,
        port.guest_id,
        tuple(row.ip for row in addresses),
        tuple((row.ip, row.public_ip) for row in addresses if row.public_ip is not None),
        tuple(link.group_id for link in rows.port_groups.get(port.id, ())),
        port.checked,
    )


def _route(route: Row, lists: dict[str, tuple[str, ...]]) -> RoutePlan:
    return RoutePlan(
        (route.destination,) if "/" in route.destination else lists.get(route.destination, ()),
        "blackhole" if route.state == "blackhole" else route.target_kind,
        route.target_id,
    )


def _rule(rule: Row, members: dict[str, tuple[tuple[str, str], ...]], lists: dict[str, tuple[str, ...]]) -> RulePlan:
    named = "" if rule.peer_kind.startswith("cidr") else rule.peer
    links: tuple[str, ...] | None = None
    if rule.peer_kind == "group":
        held = members.get(rule.peer, ())
        peers, links = tuple(ip for ip, _ in held), tuple(link for _, link in held)
    elif rule.peer_kind == "prefixes":
        peers = lists.get(rule.peer, ())
    else:
        peers = (rule.peer,)
    return RulePlan(rule.id, rule.egress, rule.protocol, rule.from_port, rule.to_port, peers, named, links)
