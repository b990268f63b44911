"""Reading the rows that plans are made of: as plain columns, for one network or for many at once, in a dozen
statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from sqlalchemy import bindparam, or_, select
from sqlalchemy.orm import Session

from backends.network.models import (
    FirewallGroup,
    FirewallRule,
    Gateway,
    Nat,
    Network,
    NetworkRange,
    PacketFilter,
    PacketFilterAssociation,
    PacketFilterEntry,
    Peering,
    Port,
    PortAddress,
    PortGroup,
    PrefixList,
    Route,
    RouteTable,
    RouteTableAssociation,
    Segment,
    SegmentRange,
)

Row = Any
Rows = Sequence[Row]
RULE = FirewallRule
RULE_COLUMNS = (RULE.id, RULE.egress, RULE.protocol, RULE.from_port, RULE.to_port, RULE.peer_kind, RULE.peer)
RULES_OF = (
    select(FirewallGroup.id.label("group_id"), *RULE_COLUMNS)
    .join(RULE, RULE.group_id == FirewallGroup.id, isouter=True)
    .where(FirewallGroup.id.in_(bindparam("groups", expanding=True)))
    .order_by(RULE.created, RULE.id)
)
ENTRY = PacketFilterEntry
_BUILT: dict[tuple[str, bool], Any] = {}
"""Statements, made once: making them takes longer than running them for one network."""


@dataclass(frozen=True)
class NetworkRows:
    """All rows that one network's plan is made of. Rows of parts have their owner's id in the first column."""

    network: Row
    ranges: Rows
    segments: Rows
    segment_ranges: dict[str, Rows]
    ports: Rows
    addresses: dict[str, Rows]
    port_groups: dict[str, Rows]
    tables: Rows
    routes: dict[str, Rows]
    table_links: Rows
    filters: Rows
    entries: dict[str, Rows]
    filter_links: Rows
    groups: Rows
    rules: dict[str, Rows]
    nats: Rows
    gateways: Rows
    peerings: Rows
    """(id, the other network, whether it is another tenant's) of the active ones."""
    peer_ranges: dict[str, Rows]
    """Ranges of networks that are peers."""
    members: dict[str, list[tuple[str, str]]]
    """What is in each firewall group that a rule names, here or in a network that is a peer: (address, its port, or the
    peering that leads there). Groups elsewhere, as those of a former peer, have nothing."""
    prefixes: dict[str, PrefixList]

    @cached_property
    def stamp(self) -> int:
        """Equal, in one process, as long as no row differs: cheaper than a plan."""
        rules = [rule for group in self.groups for rule in self.rules.get(group.id, ())]
        parts: list[Any] = [self.network, *self.ranges, *self.segments, *self.ports, *self.tables, *self.table_links]
        parts += [*self.filters, *self.filter_links, *self.groups, *rules, *self.nats, *self.gateways, *self.peerings]
        for rows, owners in (
            (self.segment_ranges, self.segments),
            (self.addresses, self.ports),
            (self.port_groups, self.ports),
            (self.routes, self.tables),
            (self.entries, self.filters),
        ):
            parts += [row for owner in owners for row in rows.get(owner.id, ())]
        parts += [row for peering in self.peerings for row in self.peer_ranges.get(peering[2], ())]
        named = {rule.peer for rule in rules if rule.peer_kind == "group"}
        parts += [(group, *sorted(self.members.get(group, ()))) for group in sorted(named)]
        parts += [(id, row.version, row.state) for id, row in sorted(self.prefixes.items())]
        return hash(tuple(parts))


def read_rows(session: Session, network_id: str) -> NetworkRows | None:
    """The rows of one network as they are now; None when it is gone."""
    return next(iter(read_many(session, (network_id,))), None)


def read_many(session: Session, ids: Collection[str] | None = None) -> list[NetworkRows]:
    """The rows of some networks, or of all there are."""

    def run(name: str, build: Callable[[], Any], owner: Any) -> Rows:
        statement = _BUILT.get((name, ids is None))
        if statement is None:
            statement = build() if ids is None else build().where(owner.in_(bindparam("ids", expanding=True)))
            _BUILT[name, ids is None] = statement
        found: Rows = execute(statement, {} if ids is None else {"ids": list(ids)}).all()
        return found

    # A session that sees everything adds nothing to a statement but a third of its time.
    execute: Any = session.execute if getattr(session, "scope", None) is not None else session.connection().execute
    networks = run(
        "networks", lambda: select(Network.id, Network.tenant, Network.region).order_by(Network.id), Network.id
    )
    if not networks:
        return []
    ranges = _by(
        run(
            "ranges",
            lambda: select(NetworkRange.network_id, NetworkRange.cidr).order_by(*_born(NetworkRange)),
            NetworkRange.network_id,
        )
    )
    segments = _of(run, Segment, Segment.cidr)
    segment_ranges = _by(
        run(
            "segment_ranges",
            lambda: select(SegmentRange.segment_id, SegmentRange.cidr).join(
                Segment, Segment.id == SegmentRange.segment_id
            ),
            Segment.network_id,
        )
    )
    ports = _of(run, Port, Port.segment_id, Port.mac, Port.guest_id, Port.checked)
    addresses = _by(
        run(
            "addresses",
            lambda: (
                select(PortAddress.port_id, PortAddress.ip, PortAddress.public_ip)
                .join(Port, Port.id == PortAddress.port_id)
                .order_by(PortAddress.primary.desc(), PortAddress.position)
            ),
            Port.network_id,
        )
    )
    port_groups = _by(
        run(
            "port_groups",
            lambda: (
                select(PortGroup.port_id, PortGroup.group_id)
                .join(Port, Port.id == PortGroup.port_id)
                .order_by(PortGroup.position)
            ),
            Port.network_id,
        )
    )
    routes = _by(
        run(
            "routes",
            lambda: (
                select(Route.table_id, Route.destination, Route.state, Route.target_kind, Route.target_id)
                .join(RouteTable, RouteTable.id == Route.table_id)
                .order_by(Route.position, Route.destination)
            ),
            RouteTable.network_id,
        )
    )
    link = RouteTableAssociation
    table_links = _by(
        run(
            "table_links",
            lambda: select(link.network_id, link.table_id, link.segment_id, link.gateway_id, link.main),
            link.network_id,
        )
    )
    entries = _by(
        run(
            "entries",
            lambda: (
                select(
                    *(ENTRY.filter_id, ENTRY.number, ENTRY.egress, ENTRY.allow, ENTRY.protocol, ENTRY.cidr),
                    *(ENTRY.from_port, ENTRY.to_port, ENTRY.icmp_type, ENTRY.icmp_code),
                )
                .join(PacketFilter, PacketFilter.id == ENTRY.filter_id)
                .order_by(ENTRY.egress, ENTRY.number)
            ),
            PacketFilter.network_id,
        )
    )
    filter_links = _by(
        run(
            "filter_links",
            lambda: select(
                PacketFilter.network_id, PacketFilterAssociation.filter_id, PacketFilterAssociation.segment_id
            ).join(PacketFilter, PacketFilter.id == PacketFilterAssociation.filter_id),
            PacketFilter.network_id,
        )
    )
    rules = _by(
        run(
            "rules",
            lambda: (
                select(RULE.group_id, *RULE_COLUMNS)
                .join(FirewallGroup, FirewallGroup.id == RULE.group_id)
                .order_by(RULE.created, RULE.id)
            ),
            FirewallGroup.network_id,
        )
    )
    tables, filters = _of(run, RouteTable), _of(run, PacketFilter)
    groups, nats = _of(run, FirewallGroup), _of(run, Nat, Nat.port_id, Nat.public, Nat.wanted)
    gateways = _of(run, Gateway, Gateway.outbound_only)
    peerings, peer_ranges = _peerings(session, ids)
    members = _members(session, rules.values())
    lists = {
        (row.tenant, row.region, row.id): row
        for row in (session.execute(select(PrefixList)).scalars() if _names_lists(rules, routes) else ())
    }
    return [
        NetworkRows(
            network=network,
            ranges=ranges[network.id],
            segments=segments[network.id],
            segment_ranges=segment_ranges,
            ports=ports[network.id],
            addresses=addresses,
            port_groups=port_groups,
            tables=tables[network.id],
            routes=routes,
            table_links=table_links[network.id],
            filters=filters[network.id],
            entries=entries,
            filter_links=filter_links[network.id],
            groups=groups[network.id],
            rules=rules,
            nats=nats[network.id],
            gateways=gateways[network.id],
            peerings=peerings[network.id],
            peer_ranges=peer_ranges,
            members=_near(members, network.id, {side[2]: side[1] for side in peerings[network.id]}),
            prefixes={
                id: row
                for (tenant, region, id), row in lists.items()
                if (tenant, region) == (network.tenant, network.region)
            },
        )
        for network in networks
    ]


def renew(session: Session, held: NetworkRows, groups: Collection[str]) -> NetworkRows | None:
    """The rows of a network where nothing changed since `held` was read but the rules of some groups; None when that
    takes more than reading those."""
    if not {group.id for group in held.groups}.issuperset(groups):
        return None
    found = _by(session.connection().execute(RULES_OF, {"groups": list(groups)}).all())
    if found.keys() != set(groups):
        return None
    for rules in found.values():
        for rule in rules:
            if rule.peer_kind == "group" and rule.peer not in held.members:
                return None
            if rule.peer_kind == "prefixes" and rule.peer not in held.prefixes:
                return None
    renewed = {group: [rule for rule in rules if rule.id is not None] for group, rules in found.items()}
    return replace(held, rules=held.rules | renewed)


def _by(rows: Iterable[Row]) -> dict[str, Rows]:
    """Rows by what is in their first column."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[0]].append(row)
    return found  # type: ignore[return-value]


def _of(run: Any, model: Any, *columns: Any) -> dict[str, Rows]:
    """Rows of a kind that has a network, by network: (network, id, *columns)."""
    return _by(
        run(
            model.__tablename__,
            lambda: select(model.network_id, model.id, *columns).order_by(model.id),
            model.network_id,
        )
    )


def _born(model: Any) -> tuple[Any, Any]:
    return model.created, model.id


def _names_lists(rules: dict[str, Rows], routes: dict[str, Rows]) -> bool:
    return any(rule.peer_kind == "prefixes" for some in rules.values() for rule in some) or any(
        "/" not in route.destination for some in routes.values() for route in some
    )


def _peerings(session: Session, ids: Collection[str] | None) -> tuple[dict[str, Rows], dict[str, Rows]]:
    """The active peerings of networks, from each side: (network, id, other network); and the ranges of the others."""
    one, other = Peering.requester_network_id, Peering.accepter_network_id
    statement = select(Peering.id, one, other).where(Peering.state == "active").distinct().order_by(Peering.id)
    if ids is not None:
        statement = statement.where(or_(one.in_(ids), other.in_(ids)))
    sides = [
        side for row in session.execute(statement) for side in ((row[1], row[0], row[2]), (row[2], row[0], row[1]))
    ]
    if not sides:
        return defaultdict(list), {}
    columns = select(NetworkRange.network_id, NetworkRange.cidr).order_by(*_born(NetworkRange))
    blocks = _by(session.execute(columns.where(NetworkRange.network_id.in_({side[2] for side in sides}))))
    return _by(side for side in sides if side[2] in blocks), blocks


def _members(session: Session, rules: Iterable[Rows]) -> dict[str, list[tuple[str, str, str]]]:
    """(network, port, address) of all that are in the firewall groups that rules name."""
    named = {rule.peer for some in rules for rule in some if rule.peer_kind == "group"}
    if not named:
        return {}
    found: dict[str, list[tuple[str, str, str]]] = {group: [] for group in named}
    for group, network, port, ip in session.execute(
        select(PortGroup.group_id, Port.network_id, Port.id, PortAddress.ip)
        .join(Port, Port.id == PortGroup.port_id)
        .join(PortAddress, PortAddress.port_id == PortGroup.port_id)
        .where(PortGroup.group_id.in_(named))
    ):
        found[group].append((network, port, ip))
    return found


def _near(
    members: dict[str, list[tuple[str, str, str]]], here: str, peers: dict[str, str]
) -> dict[str, list[tuple[str, str]]]:
    """(address, link) of what is in groups of a network, and of its peers (network -> peering)."""
    return {
        group: [(ip, port if at == here else peers[at]) for at, port, ip in held if at == here or at in peers]
        for group, held in members.items()
    }
