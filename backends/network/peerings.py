"""Peerings: two networks, maybe of two tenants or regions, that reach each other."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import select, update

from backends.db import Base
from backends.errors import WrongState
from backends.network import cidr as ranges
from backends.network.book import TOPIC, Book
from backends.network.models import Network, NetworkRange, Peering, Route

PATIENCE = timedelta(days=7)
PEERINGS, ROUTES, NETWORKS, RANGES = (
    Base.metadata.tables[model.__tablename__] for model in (Peering, Route, Network, NetworkRange)
)


class Peerings(Book):
    """Peerings. Each side has its own row; a step writes both, past the sight of either tenant."""

    def request_peering(
        self, *, id: str, mine: Network, tenant: str, region: str, network_id: str, failed_message: str
    ) -> Peering:
        """Ask `tenant` to link its network with `mine`. A side that does not exist, or whose ranges overlap, makes the
        peering "failed", with `failed_message`; the other side then never sees it."""
        scope = self.unit.scope
        assert scope is not None
        theirs = self._side(tenant, region, network_id)
        requester = self._side(scope.tenant, scope.region, mine.id)
        accepter = theirs or {
            "tenant": tenant,
            "region": region,
            "network": network_id,
            "cidrs": [],
            "cidrs6": [],
            "options": {},
        }
        assert requester is not None
        good = theirs is not None and theirs["network"] != mine.id and not _overlap(requester["cidrs"], theirs["cidrs"])
        state = "pending-acceptance" if good else "failed"
        sides = {(scope.tenant, scope.region), (tenant, region)} if good else {(scope.tenant, scope.region)}
        for side in sorted(sides):
            self.add(
                Peering(
                    id=id,
                    tenant=side[0],
                    region=side[1],
                    state=state,
                    message=f"Pending Acceptance by {tenant}" if good else failed_message,
                    requester_network_id=mine.id,
                    accepter_network_id=network_id,
                    requester=requester,
                    accepter=accepter,
                    expires=self.now + PATIENCE if good else None,
                    created=self.now,
                )
            )
        self.session.flush()
        return self.session.execute(select(Peering).where(Peering.id == id)).scalars().one()

    def _side(self, tenant: str, region: str, network_id: str) -> dict[str, Any] | None:
        """A network as a peering describes it; None when there is no such network."""
        found = self.session.execute(
            select(NETWORKS.c.id).where(
                NETWORKS.c.id == network_id, NETWORKS.c.tenant == tenant, NETWORKS.c.region == region
            )
        ).first()
        if found is None:
            return None
        blocks = self.session.execute(
            select(RANGES.c.cidr, RANGES.c.family).where(RANGES.c.network_id == network_id)
        ).all()
        return {
            "tenant": tenant,
            "region": region,
            "network": network_id,
            "options": {},
            "cidrs": [row.cidr for row in blocks if row.family == 4],
            "cidrs6": [row.cidr for row in blocks if row.family == 6],
        }

    def settle_peering(self, peering: Peering, state: str, message: str, *, allowed: tuple[str, ...]) -> Peering:
        """Bring a peering into `state`, on both sides; its routes follow. Raises `WrongState` from any state not
        `allowed`."""
        if peering.state not in allowed:
            raise WrongState(f"{peering.id} is {peering.state}", id=peering.id, state=peering.state)
        self._write_peering(peering.id, state, message)
        self.session.refresh(peering)
        return peering

    def is_side(self, peering: Peering, side: str) -> bool:
        """Whether the caller's tenant and region are that side ("requester" or "accepter") of the peering."""
        scope = self.unit.scope
        described: dict[str, Any] = getattr(peering, side)
        return scope is not None and (described["tenant"], described["region"]) == (scope.tenant, scope.region)

    def describe_side(self, peering: Peering, side: str, options: dict[str, Any]) -> None:
        """Set options of one side, for both to see."""
        value = {**getattr(peering, side), "options": {**getattr(peering, side)["options"], **options}}
        self.session.execute(update(PEERINGS).where(PEERINGS.c.id == peering.id).values({side: value}))
        self.unit.touch(TOPIC)
        self.session.refresh(peering)

    def end_peerings_of(self, network_id: str) -> None:
        """A network goes: its peerings end on both sides."""
        for peering in self.session.execute(
            select(Peering).where(
                (Peering.requester_network_id == network_id) | (Peering.accepter_network_id == network_id)
            )
        ).scalars():
            if peering.state in ("active", "pending-acceptance"):
                self._write_peering(peering.id, "deleted", f"Deleted with {network_id}")

    def _write_peering(self, id: str, state: str, message: str) -> None:
        self.session.flush()
        self.session.execute(
            update(PEERINGS).where(PEERINGS.c.id == id).values(state=state, message=message, expires=None)
        )
        lit = "active" if state == "active" else "blackhole"
        self.session.execute(update(ROUTES).where(ROUTES.c.target_id == id).values(state=lit))
        self.unit.touch(TOPIC)


def _overlap(ours: list[str], theirs: list[str]) -> bool:
    return any(ranges.clash(ranges.parse(one), [ranges.parse(other) for other in theirs]) for one in ours)
