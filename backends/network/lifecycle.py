"""Bringing what is wished about: translators and endpoints come up and go, and the machine holds each network's plan.

Reached only from the reconciler. Every step reads afresh, may be repeated from any point, and holds no transaction
while the driver works.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import bindparam, select, union_all

from backends.db import Database, Instant, Unit
from backends.errors import DriverError
from backends.network.book import TOPIC, NetworkHost
from backends.network.models import Endpoint, FirewallGroup, Nat, Network, PacketFilter, Peering, RouteTable
from backends.network.plan import plan
from backends.network.rows import read_many
from backends.network.service import NetworkService

SHOWN = timedelta(hours=1)
"""How long what is gone is still shown."""
LOOK = 9.0
"""Seconds between looks at what the machine holds; less than the reconciler's period, so that each round by the clock
is one."""
PASSING = ("pending", "deleting")
# Made once: making a statement takes longer than running it.
HOLDING = union_all(
    *(
        select(network).where(id.in_(bindparam("parts", expanding=True)))
        for network, id in (
            (Network.id, Network.id),
            *((kind.network_id, kind.id) for kind in (FirewallGroup, PacketFilter, RouteTable)),
        )
    )
)
WAITING = union_all(
    *(
        select(id.label("id")).where(*conditions)
        for id, *conditions in (
            (Nat.id, Nat.state.in_(PASSING)),
            (Nat.id, Nat.deleted < bindparam("shown", type_=Instant())),
            (Endpoint.id, Endpoint.state.in_(PASSING)),
            (Peering.id, Peering.state == "pending-acceptance", Peering.expires < bindparam("now", type_=Instant())),
        )
    )
).limit(1)


def converge(database: Database, host: NetworkHost) -> bool:
    """Close the difference between what is wished of networks and what is; nothing happens when there is none.

    Whatever can be done is done at once, so nothing is ever left for a later round."""
    if host.driver.applies:
        _apply(database, host)
    with database.unit(None, write=False) as unit:
        waiting = _is_waiting(unit)
    if waiting:
        with database.unit(None, write=True) as unit:
            service = NetworkService(unit, host)
            _settle_nats(service)
            _settle_endpoints(service)
            _expire(unit)
    return False


def _apply(database: Database, host: NetworkHost) -> None:
    """Make the machine hold every network's plan, and nothing else. One network's failure does not keep another
    waiting.

    Only what changed in the rows since the last pass is planned and ensured; where all changes were confined to some
    networks, only their rows are read. Everything is read, and the machine asked what it holds, now and then, at the
    beginning, and after anything failed."""
    applied = host.applied
    now = time.monotonic()
    observed = host.driver.observe() if now - applied.looked >= LOOK else None
    applied.looked, looked = -math.inf, now if observed is not None else applied.looked
    changed = database.changes.take(TOPIC)  # before rows are read: what is committed meanwhile is read once more
    if observed is not None:
        changed = None
    with database.unit(None, write=False) as unit:
        ids = None if changed is None else _networks(unit, changed)
        rows = read_many(unit.session, ids)
    failed: DriverError | None = None
    for network in rows:
        held, stamp = applied.held.get(network.network.id), network.stamp
        if held is not None and held[0] == stamp:
            if observed is None or observed.get(network.network.id) == held[1]:
                continue
        wanted = plan(network)
        if observed is None or observed.get(wanted.id) != wanted.digest:
            try:
                host.driver.ensure(wanted)
            except DriverError as fault:
                failed = fault
                continue
        applied.held[wanted.id] = stamp, wanted.digest
    there = {network.network.id for network in rows}
    known = applied.held.keys() | (observed or {}).keys() if ids is None else set(ids)
    for left in sorted(known - there):
        host.driver.drop(left)
        applied.held.pop(left, None)
    if failed is not None:
        raise failed
    applied.looked = looked


def _networks(unit: Unit, parts: Collection[str]) -> set[str]:
    """The networks that some parts of networks are in: they are ids of networks, groups, filters and route tables."""
    if not parts:
        return set()
    return set(unit.connection.execute(HOLDING, {"parts": list(parts)}).scalars())


def _is_waiting(unit: Unit) -> bool:
    """Whether anything is to be settled, or has been shown long enough."""
    return unit.connection.execute(WAITING, {"now": unit.now, "shown": unit.now - SHOWN}).first() is not None


def _settle_nats(service: NetworkService) -> None:
    for nat in service.session.execute(select(Nat).where(Nat.state.in_(PASSING))).scalars().all():
        if nat.wanted == "deleted":
            service.finish_nat(nat)
        elif nat.public and service.gateway_of(nat.network_id) is None:
            service.finish_nat(nat)
            nat.state = "failed"
            nat.notes = {**nat.notes, "failure": "no gateway"}
        else:
            nat.state = "available"
        service.session.flush()
        service.relight(nat.id)


def _settle_endpoints(service: NetworkService) -> None:
    for door in service.session.execute(select(Endpoint).where(Endpoint.state.in_(PASSING))).scalars().all():
        if door.wanted == "deleted":
            service.finish_endpoint(door)
        else:
            door.state = "available"


def _expire(unit: Unit) -> None:
    """Forget what has been gone for long, and end offers that nobody took."""
    for nat in unit.session.execute(select(Nat).where(Nat.deleted < unit.now - SHOWN)).scalars().all():
        unit.session.delete(nat)
    for peering in unit.session.execute(
        select(Peering).where(Peering.state == "pending-acceptance", Peering.expires < unit.now)
    ).scalars():
        peering.state, peering.message, peering.expires = "expired", "Expired", None
