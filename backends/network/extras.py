"""DHCP options, prefix lists and endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from backends.errors import Changed, Exhausted, InUse, Missing
from backends.network import cidr as ranges
from backends.network.book import TOPIC
from backends.network.errors import Malformed
from backends.network.filters import Filters
from backends.network.models import DhcpOptions, Endpoint, FirewallRule, Network, PrefixList, Route, RouteTable


class Extras(Filters):
    """What a network is configured with, and the doors it has to services."""

    def add_options(self, *, id: str, options: list[dict[str, Any]], is_default: bool = False) -> DhcpOptions:
        """A set of DHCP options: a list of {"key", "values"}."""
        row = DhcpOptions(id=id, options=options, is_default=is_default, created=self.now)
        self.add(row)
        return row

    def default_options(self) -> DhcpOptions | None:
        """The options that new networks get."""
        return self.session.execute(select(DhcpOptions).where(DhcpOptions.is_default)).scalars().first()

    def remove_options(self, row: DhcpOptions) -> None:
        """Remove a set of DHCP options. Raises `InUse` (with `by`) while a network uses it."""
        holder = self.session.execute(select(Network.id).where(Network.dhcp_options_id == row.id).limit(1)).scalar()
        if holder is not None:
            raise InUse(f"{row.id} is used by {holder}", id=row.id, by=holder)
        self.session.delete(row)

    def add_prefixes(
        self,
        *,
        id: str,
        name: str,
        family: int,
        size: int,
        entries: Sequence[dict[str, Any]],
        keeper: str | None = None,
    ) -> PrefixList:
        """A prefix list with room for `size` entries ({"cidr", "description"}). Raises `Malformed`, `Exhausted`."""
        row = PrefixList(
            id=id,
            name=name,
            family=family,
            size=size,
            version=1,
            state="create-complete",
            keeper=keeper,
            versions={"1": _entries(entries, family, size)},
            created=self.now,
        )
        self.add(row)
        return row

    def change_prefixes(
        self,
        row: PrefixList,
        *,
        version: int | None,
        add: Sequence[dict[str, Any]],
        remove: Sequence[str],
        name: str | None = None,
        size: int | None = None,
    ) -> PrefixList:
        """Add and remove entries, which makes a version; or rename, or resize. Raises `Changed` when `version` is not
        the current one, `Malformed`, `Missing` (an entry to remove), `Exhausted`."""
        if version is not None and version != row.version:
            raise Changed(f"{row.id} is at version {row.version}", id=row.id, version=row.version)
        row.size = size if size is not None else row.size
        row.name = name if name is not None else row.name
        row.state = "modify-complete"
        held = {entry["cidr"]: entry for entry in row.entries()}
        for cidr in remove:
            if held.pop(ranges.normal(cidr), None) is None:
                raise Missing(f"{row.id} has no entry {cidr}", id=row.id, cidr=cidr)
        for entry in _entries(add, row.family, row.size):
            held[entry["cidr"]] = entry
        if len(held) > row.size:
            raise Exhausted(f"{row.id} holds {row.size} entries", id=row.id, limit=row.size)
        if add or remove:
            row.version += 1
            row.versions = {**row.versions, str(row.version): list(held.values())}
        return row

    def remove_prefixes(self, row: PrefixList) -> None:
        """Remove a prefix list. Raises `InUse` (with `by`) while a rule or a route names it."""
        holder = self.session.execute(
            select(FirewallRule.group_id).where(FirewallRule.peer == row.id).limit(1)
        ).scalar()
        if holder is None:
            holder = self.session.execute(select(Route.table_id).where(Route.destination == row.id).limit(1)).scalar()
        if holder is not None:
            raise InUse(f"{row.id} is used by {holder}", id=row.id, by=holder)
        self.session.delete(row)

    def add_endpoint(
        self,
        *,
        id: str,
        network: Network,
        kind: str,
        service: str,
        prefixes: str | None,
        tables: Sequence[RouteTable],
        ports: Sequence[str],
        segments: Sequence[str],
        groups: Sequence[str],
        notes: dict[str, Any] | None = None,
    ) -> Endpoint:
        """A door to `service`: through the ports with those ids, or through routes of `tables` to the ranges of
        `prefixes`. "pending" until reconciled."""
        door = Endpoint(
            id=id,
            network_id=network.id,
            kind=kind,
            service=service,
            wanted="available",
            state="pending",
            tables=[],
            segments=list(segments),
            groups=list(groups),
            ports=list(ports),
            created=self.now,
            notes=notes or {},
        )
        self.add(door)
        self.session.flush()
        if prefixes is not None:
            self.serve_tables(door, prefixes, tables, ())
        self.unit.nudge(TOPIC)
        return door

    def serve_tables(
        self, door: Endpoint, prefixes: str, add: Sequence[RouteTable], remove: Sequence[RouteTable]
    ) -> None:
        """Put the door's route into tables, and take it out of others."""
        for table in remove:
            for route in [route for route in table.routes if route.target_id == door.id]:
                table.routes.remove(route)
        for table in add:
            if table.id not in door.tables:
                self.add_route(table, prefixes, "endpoint", door.id)
        gone = {table.id for table in remove}
        door.tables = [
            id for id in [*door.tables, *(table.id for table in add if table.id not in door.tables)] if id not in gone
        ]

    def end_endpoint(self, door: Endpoint) -> None:
        """Wish a door gone: "deleting" until reconciled; its routes go at once."""
        if door.state in ("deleting", "deleted"):
            return
        door.wanted, door.state = "deleted", "deleting"
        for route in self.session.execute(select(Route).where(Route.target_id == door.id)).scalars().all():
            table = self.session.execute(select(RouteTable).where(RouteTable.id == route.table_id)).scalars().one()
            table.routes.remove(route)
        self.unit.nudge(TOPIC)

    def finish_endpoint(self, door: Endpoint) -> None:
        """Free what a door that is wished gone still holds, and the door."""
        for port_id in door.ports:
            port = self.port(port_id)
            port.attachment_id = None
            self.remove_port(port_id)
        self.session.delete(door)


def _entries(entries: Sequence[dict[str, Any]], family: int, size: int) -> list[dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for entry in entries:
        block = ranges.parse(entry["cidr"])
        if block.version != family:
            raise Malformed(f"{block} is not IPv{family}", value=entry["cidr"], what="range")
        found[str(block)] = {"cidr": str(block), "description": entry.get("description")}
    if len(found) > size:
        raise Exhausted(f"{len(found)} entries in a list of {size}", limit=size)
    return list(found.values())
