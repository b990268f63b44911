"""Bringing what is wished about: translators and endpoints come up and go, and the machine holds each network's plan.

Reached only from the reconciler. Every step reads afresh, may be repeated from any point, and holds no transaction
while the driver works.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from datetime import timedelta

from sqlalchemy import bindparam, literal, select, union_all

from backends.db import Database, Instant, Unit
from backends.errors import DriverError
from backends.network.book import TOPIC, Applied, NetworkHost
from backends.network.models import Endpoint, FirewallGroup, Nat, Network, PacketFilter, Peering, RouteTable
from backends.network.plan import NetworkPlan, plan, replan
from backends.network.rows import NetworkRows, read_many, renew
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
        select(network, group).where(id.in_(bindparam("parts", expanding=True)))
        for network, id, group in (
            (Network.id, Network.id, literal("")),
            (FirewallGroup.network_id, FirewallGroup.id, FirewallGroup.id),
            *((kind.network_id, kind.id, literal("")) for kind in (PacketFilter, RouteTable)),
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
        ids, read = _read(unit, applied, changed)
    failed: DriverError | None = None
    for network, replanned in read:
        held, id = applied.held.get(network.network.id), network.network.id
        if replanned is None and held is not None and held[0].stamp == network.stamp:
            replanned = held[1]
        wanted = plan(network) if replanned is None else replanned
        same = held is not None and held[1] == wanted if observed is None else observed.get(id) == wanted.digest
        if not same:
            try:
                host.driver.ensure(wanted)
            except DriverError as fault:
                failed = fault
                continue
        applied.held[id] = network, wanted
    there = {network.network.id for network, _ in read}
    known = applied.held.keys() | (observed or {}).keys() if ids is None else set(ids)
    for left in sorted(known - there):
        host.driver.drop(left)
        applied.held.pop(left, None)
    if failed is not None:
        raise failed
    applied.looked = looked


def _read(
    unit: Unit, applied: Applied, changed: Collection[str] | None
) -> tuple[set[str] | None, list[tuple[NetworkRows, NetworkPlan | None]]]:
    """The networks that some parts are in, None for all there are; and the rows of those that are there, with the plan
    where it is that of the last pass but for some rules: then only those rules are read."""
    if changed is None:
        return None, [(rows, None) for rows in read_many(unit.session)]
    found: list[tuple[NetworkRows, NetworkPlan | None]] = []
    whole: set[str] = set()
    networks = _networks(unit, changed)
    for id, groups in networks.items():
        held = applied.held.get(id)
        rows = renew(unit.session, held[0], groups) if held is not None and groups else None
        if held is None or rows is None or groups is None:
            whole.add(id)
        else:
            found.append((rows, replan(held[1], rows, groups)))
    if whole:
        found += [(rows, None) for rows in read_many(unit.session, whole)]
    return set(networks), found


def _networks(unit: Unit, parts: Collection[str]) -> dict[str, set[str] | None]:
    """The networks that some parts of networks are in, with the firewall groups whose rules alone changed, or None.

    Parts are ids of networks, groups, filters and route tables, or a network's and its group's with a blank."""
    found: dict[str, set[str] | None] = {}
    pairs = [(network, group) for network, _, group in (part.partition(" ") for part in parts) if group]
    named = {group for _, group in pairs}
    if rest := [part for part in parts if " " not in part and part not in named]:
        pairs += [(row[0], row[1]) for row in unit.connection.execute(HOLDING, {"parts": rest})]
    for network, group in pairs:
        groups = found.setdefault(network, set())
        if not group:
            found[network] = None
        elif groups is not None:
            groups.add(group)
    return found


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
