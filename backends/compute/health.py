"""Looking after guests: what happened to them that nobody asked for, what that means, and whether they are well.

One look serves all occasions: the start of the engine, after whatever ended it; a notice of the driver's; and the
passing of time. What is seen is compared with what is wanted, and what differs is wished anew.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, select, update

from backends.compute.drivers.base import Power, Sighting
from backends.compute.host import ComputeHost, Stuck, on
from backends.compute.models import Cause, Guest, GuestState, GuestWish, Health
from backends.db import Database, Scope, Unit
from backends.errors import NativeError, Unavailable
from backends.network.models import Port
from backends.volume.models import STALLED, Disk

AGAIN = timedelta(minutes=5)
"""A guest that breaks down twice within this time stays down."""
BATCH = 500
SURE = 5.0
"""Seconds for which a guest has to lack a card before it gets another, for which one that was held has to go on before
it counts as well, and for which the machinery has to be away before guests count as impaired."""
RETRY = 5.0
"""Seconds, at least, after which a guest that is held for want of room is let go on: it writes again at once."""
AWAY = "away: "
"""How the trouble of a guest begins that is not known to be unwell: what would know is away."""

_log = logging.getLogger(__name__)


def survey(database: Database, host: ComputeHost) -> None:
    """Compare what the machine runs with what is wanted: reopen what differs, drop what nobody knows. For start-up.

    Where the machinery is away, the next look does the same.
    """
    try:
        _compare(database, host, host.driver.observe())
    except Unavailable as error:
        _log.warning("guests cannot be looked at yet: %s", error)


def look(database: Database, host: ComputeHost) -> None:
    """See what became of the guests, where there is more of them than states, when it is time to: when something was
    told, now and then, and to find out whether machinery that was away is back."""
    if not host.driver.capabilities.runs or not (host.notices.due() or host.pause.away):
        return
    try:
        observed = host.driver.observe()
    except Unavailable as error:
        _log.warning("guests cannot be looked at: %s", error)
        host.pause.begin()
        _tell_away(database, host, str(error))
        return
    host.pause.end()
    _compare(database, host, observed)
    told = _lasting(host, observed)
    _examine(database, host, told)
    _note_stalled(database, told)
    _count_cards(database, host)


def _tell_away(database: Database, host: ComputeHost, reason: str) -> None:
    """Say of guests that wait, and after a while of those that run, that what runs them is away."""
    trouble = (AWAY + reason)[:255]
    running = select(Guest.id).where(on(host), Guest.state == GuestState.RUNNING)
    well = (Health.guest.in_(running), Health.trouble == "")
    waiting = (on(host), Guest.state == GuestState.PENDING, Guest.applied != Guest.generation)
    with database.unit(None, write=False) as unit:
        held = [g.id for g in unit.session.scalars(select(Guest).where(*waiting)) if g.notes.get("trouble") != reason]
        new = (
            host.pause.lasted() >= SURE and unit.session.scalar(select(Health.guest).where(*well).limit(1)) is not None
        )
    if not held and not new:
        return
    with database.unit(None, write=True) as unit:
        for guest in unit.session.scalars(select(Guest).where(Guest.id.in_(held), *waiting)):
            guest.notes = guest.notes | {"trouble": reason}
        if new:
            unit.session.execute(update(Health).where(*well).values(trouble=trouble, since=unit.now))


def _compare(database: Database, host: ComputeHost, observed: Mapping[str, Sighting]) -> None:
    """What is observed first and has no row afterwards can have none later: a row is always older than its guest."""
    with database.unit(None, write=False) as unit:
        settled = select(Guest.id, Guest.state).where(on(host), Guest.state != GuestState.TERMINATED)
        rows: dict[str, str] = {row.id: row.state for row in unit.session.execute(settled)}
    for id in sorted(set(observed) - set(rows)):
        try:
            host.driver.drop(id)
        except NativeError as error:
            _log.warning("dropping %s, which nobody wants: %s", id, error)
    nothing = Sighting(Power.OFF)
    differing = []
    for id, state in rows.items():
        sighting = observed.get(id, nothing)
        if state == GuestState.RUNNING and sighting.power == Power.STUCK:
            if _may_go_on(host, id, sighting):
                differing.append(id)
        elif state == GuestState.RUNNING and sighting.power in (Power.HALTED, Power.CRASHED):
            _end_seen(database, id, sighting)
        elif (state == GuestState.RUNNING) != (sighting.power == Power.ON) and not _is_down(state, sighting):
            differing.append(id)
    if differing:
        _reopen(database, differing)


def _reopen(database: Database, guests: Sequence[str]) -> None:
    """Have what is wanted of guests made true once more."""
    with database.unit(None, write=True) as unit:
        for start in range(0, len(guests), BATCH):
            unit.session.execute(
                update(Guest)
                .where(Guest.id.in_(guests[start : start + BATCH]), Guest.applied == Guest.generation)
                .values(generation=Guest.generation + 1)
            )
        unit.nudge("compute")


def _count_cards(database: Database, host: ComputeHost) -> None:
    """A network that is removed takes its links along: guests that lost one get another."""
    driver = host.network.driver
    if not driver.applies:
        return
    with database.unit(None, write=False) as unit:
        query = select(Port.id, Port.network_id, Port.guest_id).join(Guest, Guest.id == Port.guest_id)
        query = query.where(on(host), Guest.state == GuestState.RUNNING, Guest.applied == Guest.generation)
        ports = unit.session.execute(query).all()
    counted = host.each(ports, lambda port: driver.counters(port.network_id, port.id))
    lacking = {port.guest_id for port, counters in counted if isinstance(counters, NativeError)}
    for guest in host.suspects.keys() - lacking:
        del host.suspects[guest]
    # A guest that dies loses its cards a moment before anybody tells that it is dead: that is another matter.
    now = time.monotonic()
    lost = sorted(guest for guest in lacking if now - host.suspects.setdefault(guest, now) > SURE)
    if lost:
        _log.warning("links are gone, and made anew, of %s", ", ".join(lost))
        _reopen(database, lost)


def _is_down(state: str, sighting: Sighting) -> bool:
    return state != GuestState.RUNNING and sighting.power not in (Power.HELD, Power.STUCK, Power.ON)


# --- guests without room ----------------------------------------------------------------------------------------------


def _may_go_on(host: ComputeHost, id: str, sighting: Sighting) -> bool:
    """Whether a guest that is held for want of room is to be let go on now; notes that it is."""
    now, before = time.monotonic(), host.stuck.get(id)
    again = before is not None and now - before.tried >= RETRY
    host.stuck[id] = Stuck(sighting, now if before is None or again else before.tried)
    if before is None:
        _log.warning("%s is held: %s", id, sighting.reason)
    return again


def _lasting(host: ComputeHost, observed: Mapping[str, Sighting]) -> Mapping[str, Sighting]:
    """What is to be told of guests: one that was let go on may be held again in a moment, and counts as held still."""
    now, told = time.monotonic(), dict(observed)
    for id, stuck in list(host.stuck.items()):
        power = observed[id].power if id in observed else Power.OFF
        if power == Power.ON and now - stuck.tried < SURE:
            told[id] = stuck.sighting
        elif power != Power.STUCK:
            del host.stuck[id]
    return told


def _note_stalled(database: Database, told: Mapping[str, Sighting]) -> None:
    """Note of disks that they could not be written, and of those that can be again nothing any more."""
    stalled = {disk: sighting.reason for sighting in told.values() for disk in sighting.disks}
    with database.unit(None, write=False) as unit:
        noted = set(unit.session.scalars(select(Disk.id).where(Disk.notes[STALLED].as_string().is_not(None))))
    if noted == stalled.keys():
        return
    with database.unit(None, write=True) as unit:
        for disk in unit.session.scalars(select(Disk).where(Disk.id.in_(noted ^ stalled.keys()))):
            notes = {name: value for name, value in disk.notes.items() if name != STALLED}
            if disk.id in stalled:
                notes[STALLED] = {"since": unit.now.isoformat(), "reason": stalled[disk.id]}
            disk.notes = notes


def _end_seen(database: Database, id: str, sighting: Sighting) -> None:
    """A guest that was to run ended by itself: it shut down, or broke down. The latter is started again once in a
    while, unless its owner wants it left alone."""
    with database.unit(None, write=True) as unit:
        guest = unit.session.get(Guest, id)
        if guest is None or guest.state != GuestState.RUNNING or guest.applied != guest.generation:
            return
        crashed = sighting.power == Power.CRASHED
        guest.generation += 1
        if crashed:
            _log.warning("%s broke down: %s", id, sighting.reason)
            fell = guest.notes.get("fell")
            recent = fell is not None and unit.now - datetime.fromisoformat(fell) < AGAIN
            guest.notes = guest.notes | {"fell": unit.now.isoformat(), "trouble": sighting.reason}
            if not recent and guest.notes.get("recovers", True):
                unit.nudge("compute")
                return
        gone = guest.ends_on_shutdown and not crashed
        guest.wanted = GuestWish.TERMINATED if gone else GuestWish.STOPPED
        guest.state = GuestState.SHUTTING_DOWN if gone else GuestState.STOPPING
        guest.cause = Cause.CRASH if crashed else Cause.INSIDE
        guest.notes = {name: value for name, value in guest.notes.items() if name not in ("sleep", "force")}
        guest.changed = unit.now
        unit.nudge("compute")


# --- whether they are well --------------------------------------------------------------------------------------------


def leased(unit: Unit, port: str) -> None:
    """A port's guest was given its address. For the DHCP server; a port without a guest is no error."""
    session = unit.session
    found = session.execute(
        select(Guest.id, Guest.boot, Guest.tenant, Guest.region)
        .join(Port, Port.guest_id == Guest.id)
        .where(Port.id == port)
    ).first()
    if found is None:
        return
    health = session.get(Health, found.id)
    if health is not None and health.boot == found.boot and health.leased is not None:
        return
    values: dict[str, Any] = {"boot": found.boot, "leased": unit.now, "since": unit.now}
    if health is None:
        row = Health(guest=found.id, tenant=found.tenant, region=found.region, agent=False, trouble="", **values)
        session.add(row)
    else:
        for name, value in values.items():
            setattr(health, name, value)
    unit.touch("compute")


def _examine(database: Database, host: ComputeHost, observed: Mapping[str, Sighting]) -> None:
    """Ask every running guest's agent, and note what changed since it was asked last."""
    with database.unit(None, write=False) as unit:
        query = select(Guest, Health).outerjoin(Health, Health.guest == Guest.id)
        rows = unit.session.execute(query.where(on(host), Guest.state == GuestState.RUNNING)).all()
        gone = unit.session.scalars(
            select(Health.guest)
            .outerjoin(Guest, Guest.id == Health.guest)
            .where(Guest.id.is_(None) | (Guest.state == GuestState.TERMINATED))
        ).all()
    if gone:
        with database.unit(None, write=True) as unit:
            unit.session.execute(delete(Health).where(Health.guest.in_(gone)))
    known = {guest.id: (guest, health) for guest, health in rows if guest.id in observed}
    for id, answer in host.each(known, host.driver.answers):
        guest, health = known[id]
        agent = answer is True
        trouble = observed[id].reason[:255]
        stale = health is None or health.boot != guest.boot
        if not stale and (health.agent, health.trouble) == (agent, trouble):
            continue
        with database.unit(Scope(guest.tenant, guest.region), write=True) as unit:
            row = unit.session.get(Health, id)
            if row is None:
                row = Health(guest=id, boot=guest.boot, leased=None, agent=agent, trouble=trouble, since=unit.now)
                unit.session.add(row)
            elif row.boot != guest.boot:
                row.boot, row.leased = guest.boot, None
            row.agent, row.trouble, row.since = agent, trouble, unit.now
