"""Networks and their address ranges, with all that a network is born with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from backends.errors import InUse, Overlap
from backends.network import cidr as ranges
from backends.network.errors import DefaultThing
from backends.network.models import (
    Endpoint,
    FirewallGroup,
    FirewallRule,
    Gateway,
    Nat,
    Network,
    NetworkRange,
    PacketFilter,
    PacketFilterEntry,
    Port,
    Route,
    RouteTable,
    RouteTableAssociation,
    Segment,
)
from backends.network.peerings import Peerings

LAST_NUMBER = 32767
LAST_NUMBER6 = 32768
ANYWHERE4, ANYWHERE6 = "0.0.0.0/0", "::/0"


@dataclass(frozen=True)
class NetworkIds:
    """The names of what a new network comes with, and how its default group is described."""

    range: str
    table: str
    table_association: str
    packet_filter: str
    group: str
    rule_in: str
    rule_out: str
    group_description: str = "default"


def closing_entries(filter_id: str, family: int = 4) -> list[PacketFilterEntry]:
    """The last entries of every packet filter, which deny what no other entry decided."""
    return [
        _entry(filter_id, egress, LAST_NUMBER if family == 4 else LAST_NUMBER6, False, family)
        for egress in (True, False)
    ]


def opening_entries(filter_id: str, family: int = 4) -> list[PacketFilterEntry]:
    """The entries with which a default packet filter lets everything pass."""
    return [_entry(filter_id, egress, 100 if family == 4 else 101, True, family) for egress in (True, False)]


def _entry(filter_id: str, egress: bool, number: int, allow: bool, family: int) -> PacketFilterEntry:
    anywhere = ANYWHERE4 if family == 4 else ANYWHERE6
    return PacketFilterEntry(
        filter_id=filter_id, egress=egress, number=number, allow=allow, protocol="-1", cidr=anywhere, family=family
    )


class Networks(Peerings):
    """Networks, ranges, and the dependants of both."""

    def add_network(
        self,
        *,
        id: str,
        cidr: str,
        ids: NetworkIds,
        dhcp_options_id: str | None = None,
        is_default: bool = False,
        notes: dict[str, Any] | None = None,
    ) -> Network:
        """A network of `cidr` (/16 to /28) with its main route table, open packet filter and default firewall group.

        Raises `Malformed`, `BadSize`."""
        block = str(ranges.sized(cidr))
        network = Network(
            id=id,
            cidr=block,
            state="available",
            is_default=is_default,
            hostnames=is_default,
            resolver=True,
            dhcp_options_id=dhcp_options_id,
            created=self.now,
            notes=notes or {},
        )
        network.ranges.append(
            NetworkRange(id=ids.range, cidr=block, family=4, state="associated", created=self.now, notes={})
        )
        self.add(
            network, self._main_table(network, ids), self._open_filter(network, ids), self._default_group(network, ids)
        )
        return network

    def _main_table(self, network: Network, ids: NetworkIds) -> RouteTable:
        table = RouteTable(id=ids.table, network_id=network.id, created=self.now, notes={})
        table.routes.extend(local_routes(network))
        table.associations.append(RouteTableAssociation(id=ids.table_association, network_id=network.id, main=True))
        return table

    def _open_filter(self, network: Network, ids: NetworkIds) -> PacketFilter:
        guard = PacketFilter(id=ids.packet_filter, network_id=network.id, is_default=True, created=self.now)
        guard.entries.extend(opening_entries(guard.id) + closing_entries(guard.id))
        return guard

    def _default_group(self, network: Network, ids: NetworkIds) -> FirewallGroup:
        group = FirewallGroup(
            id=ids.group,
            network_id=network.id,
            name="default",
            description=ids.group_description,
            is_default=True,
            created=self.now,
        )
        group.rules.append(self.everything(ids.rule_in, False, "group", group.id))
        group.rules.append(self.everything(ids.rule_out, True, "cidr4", ANYWHERE4))
        return group

    def everything(self, id: str, egress: bool, peer_kind: str, peer: str) -> FirewallRule:
        """A rule that allows all traffic from or to a peer."""
        return FirewallRule(
            id=id,
            egress=egress,
            protocol="-1",
            from_port=-1,
            to_port=-1,
            peer_kind=peer_kind,
            peer=peer,
            created=self.now,
            notes={},
        )

    def default_network(self) -> Network | None:
        """The network that is used when none is named."""
        return self.session.execute(select(Network).where(Network.is_default)).scalars().first()

    def network_of(self, segment: Segment) -> Network:
        """The network of a segment."""
        return self.session.execute(select(Network).where(Network.id == segment.network_id)).scalars().one()

    def add_range(
        self,
        network: Network,
        *,
        id: str,
        cidr: str | None,
        family: int = 4,
        rule_out6: str | None = None,
        notes: dict[str, Any] | None = None,
    ) -> NetworkRange:
        """Widen a network by `cidr`; by a fresh public /56 when it is None and `family` is 6.

        The first IPv6 range opens the default packet filter and the default firewall group's way out (as `rule_out6`).

        Raises `Malformed`, `BadSize`, `Overlap` (with `cidr`, `other`)."""
        self.hold(network)
        if family == 6:
            block: ranges.Range = ranges.parse6(cidr if cidr is not None else self.lease6())
        else:
            block = ranges.sized(cidr or "")
        held = [ranges.parse(row.cidr) for row in network.ranges]
        other = ranges.clash(block, held)
        if other is not None:
            raise Overlap(f"{block} overlaps {other}", cidr=str(block), other=str(other))
        row = NetworkRange(
            id=id,
            network_id=network.id,
            cidr=str(block),
            family=family,
            state="associated",
            created=self.now,
            notes=notes or {},
        )
        network.ranges.append(row)
        for table in self.session.execute(select(RouteTable).where(RouteTable.network_id == network.id)).scalars():
            place = max((route.position for route in table.routes), default=-1) + 1
            table.routes.append(_local_route(row, place))
        if family == 6 and sum(part.family == 6 for part in network.ranges) == 1:
            self._open_family6(network, rule_out6)
        return row

    def _open_family6(self, network: Network, rule_out6: str | None) -> None:
        """The first IPv6 range of a network brings IPv6 entries to its packet filters, and a rule to its default
        group."""
        if rule_out6 is not None:
            where = (FirewallGroup.network_id == network.id, FirewallGroup.is_default)
            group = self.session.execute(select(FirewallGroup).where(*where)).scalars().one()
            if not any(rule.egress and rule.peer == ANYWHERE6 and rule.protocol == "-1" for rule in group.rules):
                group.rules.append(self.everything(rule_out6, True, "cidr6", ANYWHERE6))
        for guard in self.session.execute(select(PacketFilter).where(PacketFilter.network_id == network.id)).scalars():
            held = {(entry.egress, entry.number) for entry in guard.entries}
            fresh = closing_entries(guard.id, 6) + (opening_entries(guard.id, 6) if guard.is_default else [])
            guard.entries.extend(entry for entry in fresh if (entry.egress, entry.number) not in held)

    def remove_range(self, network: Network, row: NetworkRange) -> None:
        """Take a range from a network. Raises `DefaultThing` for its first one, `InUse` when a segment lies in it."""
        if row.cidr == network.cidr:
            raise DefaultThing(f"{row.id} is the first range of {network.id}", id=row.id)
        block = ranges.parse(row.cidr)
        for segment in self.session.execute(select(Segment).where(Segment.network_id == network.id)).scalars():
            held = [segment.cidr] if segment.cidr else []
            held += [part.cidr for part in segment.ranges]
            if any(ranges.inside(ranges.parse(part), [block]) for part in held):
                raise InUse(f"{segment.id} lies in {row.cidr}", id=row.id, by=segment.id)
        network.ranges.remove(row)
        for table in self.session.execute(select(RouteTable).where(RouteTable.network_id == network.id)).scalars():
            for route in [
                route for route in table.routes if route.destination == row.cidr and route.target_kind == "local"
            ]:
                table.routes.remove(route)
        if row.family == 6:
            self.release_lease(row.cidr)

    def remove_network(self, network: Network) -> list[str]:
        """Remove a network with all that it came with; the ids of what went. Raises `InUse` (with `by`) while
        anything else is in it."""
        self.hold(network)
        holder = self._holder(network)
        if holder is not None:
            raise InUse(f"{network.id} holds {holder}", id=network.id, by=holder)
        gone: list[str] = [network.id]
        models: tuple[type[Any], ...] = (RouteTable, PacketFilter, FirewallGroup, Nat, Endpoint)
        for model in models:
            for row in self.session.execute(select(model).where(model.network_id == network.id)).scalars():
                gone.append(row.id)
                self.session.delete(row)
        for block in network.ranges:
            if block.family == 6:
                self.release_lease(block.cidr)
        self.end_peerings_of(network.id)
        self.session.delete(network)
        return gone

    def _holder(self, network: Network) -> str | None:
        """The id of something that keeps a network from being removed."""
        holders: tuple[type[Any], ...] = (Segment, Gateway, Port)
        for model in holders:
            found = self.session.execute(select(model.id).where(model.network_id == network.id).limit(1)).scalar()
            if found is not None:
                return str(found)
        for kept in (
            select(Nat.id).where(Nat.network_id == network.id, Nat.state.not_in(("deleted", "failed"))),
            select(Endpoint.id).where(Endpoint.network_id == network.id, Endpoint.state != "deleted"),
            select(FirewallGroup.id).where(FirewallGroup.network_id == network.id, FirewallGroup.is_default.is_(False)),
            select(PacketFilter.id).where(PacketFilter.network_id == network.id, PacketFilter.is_default.is_(False)),
            select(RouteTable.id).where(
                RouteTable.network_id == network.id,
                RouteTable.id.not_in(
                    select(RouteTableAssociation.table_id).where(
                        RouteTableAssociation.network_id == network.id, RouteTableAssociation.main
                    )
                ),
            ),
        ):
            found = self.session.execute(kept.limit(1)).scalar()
            if found is not None:
                return str(found)
        return None


def local_routes(network: Network) -> list[Route]:
    """The routes of a network's own ranges, which every table of it begins with."""
    return [_local_route(block, place) for place, block in enumerate(network.ranges)]


def _local_route(block: NetworkRange, place: int) -> Route:
    return Route(
        destination=block.cidr, target_kind="local", target_id="local", origin="table", state="active", position=place
    )
