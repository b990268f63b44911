"""Route tables: where packets that leave a segment go."""

from __future__ import annotations

from sqlalchemy import select

from backends.errors import Exists, InUse, Missing
from backends.network import cidr as ranges
from backends.network.errors import (
    AlreadyAttached,
    BadEdgeRoute,
    BadInnerTarget,
    BadTarget,
    DefaultThing,
    TooManyRules,
    WrongNetwork,
)
from backends.network.models import (
    Endpoint,
    Gateway,
    Nat,
    Network,
    Peering,
    Port,
    PrefixList,
    Route,
    RouteTable,
    RouteTableAssociation,
    Segment,
)
from backends.network.networks import local_routes
from backends.network.segments import Segments

BOXES = ("port", "nat", "endpoint")
"""Targets inside a network, where what is meant for a part of it may be led."""
ROOM = 500
"""Routes of each family that a table holds, beside those that come with it."""
EDGE_BOXES = ("port", "endpoint")
"""Those of them that take what comes in through a gateway."""


class Routes(Segments):
    """Route tables, their routes, and whom they serve."""

    def add_table(self, *, id: str, network: Network) -> RouteTable:
        """A route table that holds the network's own ranges."""
        table = RouteTable(id=id, network_id=network.id, created=self.now, notes={})
        table.routes.extend(local_routes(network))
        self.add(table)
        return table

    def table(self, id: str) -> RouteTable:
        """The route table with that id. Raises `Missing`."""
        found = self.session.execute(select(RouteTable).where(RouteTable.id == id)).scalars().first()
        if found is None:
            raise Missing(f"there is no route table {id}", id=id)
        return found

    def remove_table(self, table: RouteTable) -> None:
        """Remove a route table. Raises `InUse` (with `by`) for a main table, and while it serves anything."""
        if table.associations:
            raise InUse(f"{table.id} serves {table.associations[0].id}", id=table.id, by=table.associations[0].id)
        for door in self.session.execute(select(Endpoint).where(Endpoint.network_id == table.network_id)).scalars():
            if table.id in door.tables:
                door.tables = [id for id in door.tables if id != table.id]
        self.session.delete(table)

    def add_route(
        self, table: RouteTable, destination: str, kind: str, target: str, guest_id: str | None = None
    ) -> Route:
        """A route to `destination` (a range, or the id of a prefix list).

        Raises `Malformed`, `Exists` (with `destination`), `Missing` (a prefix list), `BadTarget`, `BadInnerTarget`,
        `BadEdgeRoute`, `TooManyRules`, `WrongNetwork`."""
        destination = self._destination(destination)
        if any(route.destination == destination for route in table.routes):
            raise Exists(f"{table.id} has a route to {destination}", destination=destination, id=table.id)
        self._check_target(table, kind, target)
        self._check_place(table, destination, kind)
        made = [one for one in table.routes if one.origin != "table"]
        if sum((":" in one.destination) == (":" in destination) for one in made) >= ROOM:
            raise TooManyRules(f"{table.id} is full", id=table.id, limit=ROOM)
        route = Route(
            destination=destination,
            target_kind=kind,
            target_id=target,
            guest_id=guest_id,
            origin="request",
            position=max((held.position for held in table.routes), default=0) + 1,
            state="active" if self._alive(kind, target) else "blackhole",
        )
        table.routes.append(route)
        return route

    def replace_route(
        self, table: RouteTable, destination: str, kind: str, target: str, guest_id: str | None = None
    ) -> Route:
        """Lead the route to `destination` elsewhere. Raises `Missing` (no such route), and as `add_route` does."""
        route = self.route(table, destination)
        if kind != "local":
            self._check_target(table, kind, target)
        self._check_place(table, route.destination, kind)
        route.target_kind, route.target_id, route.guest_id = kind, target, guest_id
        route.state = "active" if self._alive(kind, target) else "blackhole"
        return route

    def route(self, table: RouteTable, destination: str) -> Route:
        """The route of a table to exactly that destination. Raises `Missing` (with `destination`)."""
        destination = self._spelling(destination)
        for route in table.routes:
            if route.destination == destination:
                return route
        raise Missing(f"{table.id} has no route to {destination}", destination=destination, id=table.id)

    def remove_route(self, table: RouteTable, destination: str) -> None:
        """Remove a route. Raises `Missing`, `DefaultThing` for the network's own range."""
        route = self.route(table, destination)
        if route.origin == "table":
            raise DefaultThing(f"{destination} is local in {table.id}", destination=destination, id=table.id)
        table.routes.remove(route)

    def associate_table(
        self, table: RouteTable, *, id: str, segment: Segment | None = None, gateway_id: str | None = None
    ) -> RouteTableAssociation:
        """Let a table serve a segment or a gateway; the association that there is, if it is this table's.

        Raises `AlreadyAttached` (with `by`) when another table serves it, `WrongNetwork`, and `BadEdgeRoute` for a
        gateway when the table has routes that it cannot take."""
        where = (
            RouteTableAssociation.segment_id == segment.id
            if segment is not None
            else RouteTableAssociation.gateway_id == gateway_id
        )
        if segment is not None and segment.network_id != table.network_id:
            raise WrongNetwork(f"{segment.id} is in another network", id=segment.id, network=table.network_id)
        if gateway_id is not None:
            self._check_edge(table)
        held = self.session.execute(select(RouteTableAssociation).where(where)).scalars().first()
        if held is not None:
            if held.table_id == table.id:
                return held
            raise AlreadyAttached(f"{held.id} serves it", id=held.id, by=held.table_id)
        row = RouteTableAssociation(
            id=id,
            network_id=table.network_id,
            segment_id=None if segment is None else segment.id,
            gateway_id=gateway_id,
            main=False,
        )
        table.associations.append(row)
        return row

    def replace_association(self, old: RouteTableAssociation, table: RouteTable, *, id: str) -> RouteTableAssociation:
        """Let `table` serve what `old` served, under a new id. Raises `WrongNetwork`, `BadEdgeRoute`."""
        if old.network_id != table.network_id:
            raise WrongNetwork(f"{table.id} is in another network", id=table.id, network=old.network_id)
        if old.gateway_id is not None:
            self._check_edge(table)
        former = self.session.execute(select(RouteTable).where(RouteTable.id == old.table_id)).scalars().one()
        fresh = RouteTableAssociation(
            id=id, network_id=old.network_id, segment_id=old.segment_id, gateway_id=old.gateway_id, main=old.main
        )
        former.associations.remove(old)
        self.session.flush()
        table.associations.append(fresh)
        return fresh

    def disassociate_table(self, row: RouteTableAssociation) -> None:
        """Let the main table serve again. Raises `DefaultThing` for the main association itself."""
        if row.main:
            raise DefaultThing(f"{row.id} is the main association", id=row.id)
        table = self.session.execute(select(RouteTable).where(RouteTable.id == row.table_id)).scalars().one()
        table.associations.remove(row)

    def relight(self, target_id: str) -> None:
        """See again whether routes to a target lead anywhere, after it came or went."""
        routes = self.session.execute(
            select(Route).where((Route.target_id == target_id) | (Route.guest_id == target_id))
        ).scalars()
        for route in routes:
            route.state = "active" if self._alive(route.target_kind, route.target_id) else "blackhole"

    def set_routes(self, target_id: str, *, alive: bool) -> None:
        """Say whether routes to a target that is kept elsewhere lead anywhere."""
        for route in self.session.execute(select(Route).where(Route.target_id == target_id)).scalars():
            route.state = "active" if alive else "blackhole"

    def _spelling(self, destination: str) -> str:
        return ranges.normal(destination) if "/" in destination else destination

    def _destination(self, destination: str) -> str:
        if "/" in destination:
            return ranges.normal(destination)
        known = self.session.execute(select(PrefixList.id).where(PrefixList.id == destination)).first()
        if known is None:
            raise Missing(f"there is no prefix list {destination}", id=destination)
        return destination

    def _check_target(self, table: RouteTable, kind: str, target: str) -> None:
        """That a route of `table` can lead to the target at all."""
        if kind in ("gateway", "egress"):
            held = self.session.execute(select(Gateway.network_id).where(Gateway.id == target)).first()
            if held is None:
                raise BadTarget(f"there is no gateway {target}", id=target, network=table.network_id)
            self._same(table, target, held[0])
        elif kind == "nat":
            found = self.session.execute(select(Nat.network_id, Nat.state).where(Nat.id == target)).first()
            if found is None or found.state in ("deleted", "deleting", "failed"):
                raise BadTarget(f"{target} takes no routes", id=target, network=table.network_id)
            self._same(table, target, found.network_id)
        elif kind == "port":
            self._same(table, target, self.session.execute(select(Port.network_id).where(Port.id == target)).scalar())
        elif kind == "endpoint":
            self._same(
                table, target, self.session.execute(select(Endpoint.network_id).where(Endpoint.id == target)).scalar()
            )

    def _check_place(self, table: RouteTable, destination: str, kind: str) -> None:
        """That a route to a destination may have that kind of target, in a table that serves what this one does."""
        if any(link.gateway_id is not None for link in table.associations):
            self._check_edge_route(table, destination, kind)
        elif kind not in ("local", *BOXES) and self._inside(table, destination):
            raise BadInnerTarget(f"{destination} lies inside the network", destination=destination, id=table.id)

    def _check_edge(self, table: RouteTable) -> None:
        """That a table may serve a gateway."""
        if table.notes.get("propagating"):
            raise BadEdgeRoute(f"routes come to {table.id}", table=table.id, destination="", why="propagation")
        for route in table.routes:
            self._check_edge_route(table, route.destination, route.target_kind)

    def _check_edge_route(self, table: RouteTable, destination: str, kind: str) -> None:
        """What comes in through a gateway goes to a part of its network, and by way of a port at most."""
        why = "" if kind in ("local", *EDGE_BOXES) else "target"
        if not self._inside(table, destination):
            why = "destination"
        if why:
            raise BadEdgeRoute(f"a gateway cannot take the {why}", table=table.id, destination=destination, why=why)

    def _inside(self, table: RouteTable, destination: str) -> bool:
        """Whether a destination is one of the network's ranges, or a part of one."""
        if "/" not in destination:
            return False
        network = self.session.get_one(Network, table.network_id)
        return ranges.inside(ranges.parse(destination), [ranges.parse(block.cidr) for block in network.ranges])

    def _same(self, table: RouteTable, target: str, network_id: str | None) -> None:
        if network_id != table.network_id:
            raise WrongNetwork(
                f"{target} belongs to another network", id=target, table=table.id, network=table.network_id
            )

    def _alive(self, kind: str, target: str) -> bool:
        """Whether packets sent to the target get anywhere."""
        run = self.session.execute
        if kind in ("gateway", "egress"):
            return run(select(Gateway.network_id).where(Gateway.id == target)).scalar() is not None
        if kind == "nat":
            return run(select(Nat.state).where(Nat.id == target)).scalar() in ("pending", "available")
        if kind == "port":
            return run(select(Port.attachment_id).where(Port.id == target)).scalar() is not None
        if kind == "peering":
            return run(select(Peering.state).where(Peering.id == target).limit(1)).scalar() == "active"
        if kind == "endpoint":
            return run(select(Endpoint.state).where(Endpoint.id == target)).scalar() in ("pending", "available")
        return True
