"""Lets the wishes about guests and their disks come true.

Every function reads a few rows, closes, lets the driver work, and writes what came of it in one short unit, under the
condition that the wish is still the one it read. All may be repeated from any point.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from sqlalchemy import delete, select, update

from backends.compute.devices import Devices, devices_of, free_disks, free_ports, plug_disks
from backends.compute.drivers.base import GuestSpec, Power
from backends.compute.health import look
from backends.compute.host import ComputeHost, has_failed, on
from backends.compute.models import Cause, Guest, GuestState, GuestWish, Host
from backends.compute.stillness import capture_still, is_captured, release
from backends.db import Database, Scope, Unit
from backends.errors import Busy, DriverError, Exhausted, Missing, NativeError, Unavailable, Unsupported
from backends.network.book import NetworkHost
from backends.network.service import NetworkService
from backends.volume.models import Attachment, AttachmentState, Wish

TOPICS = ("compute", "volume")
"""`converge` is due when any of these changed."""

BATCH = 64
PROMPTLY = 0.1
"""Seconds after which what is known of a guest is written down, though more of its batch are under way."""

PATIENCE = 8
"""So many failed attempts are made before a start is given up; a machine that is full or unable is not asked again."""

_log = logging.getLogger(__name__)


class _Findings:
    """What came of driver calls, written for many guests at once, and yet soon after each."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._held: dict[Scope, list[Callable[[Unit], None]]] = defaultdict(list)
        self._since = time.monotonic()

    def add(self, guest: Guest, record: Callable[[Unit], None]) -> None:
        """Have `record` called with a unit in the guest's scope."""
        self._held[Scope(guest.tenant, guest.region)].append(record)
        if time.monotonic() - self._since > PROMPTLY:
            self.write()

    def write(self) -> None:
        """Write what has not been written."""
        for scope, records in self._held.items():
            with self._database.unit(scope, write=True) as unit:
                for record in records:
                    record(unit)
        self._held.clear()
        self._since = time.monotonic()


def register(database: Database, host: ComputeHost) -> None:
    """Say that the machine is there, and how large. For start-up."""
    capacity = host.driver.capacity()
    with database.unit(None, write=True) as unit:
        row = Host(id=host.id, vcpus=capacity.vcpus, memory=capacity.memory, overhead=capacity.overhead)
        unit.session.merge(row)


def converge(database: Database, host: ComputeHost) -> bool:
    """Carry out every open wish once. True when some remain to be tried again soon.

    While the machinery is away, nothing is tried but whether it is back, now and then.
    """
    if host.pause.holds():
        return True
    look(database, host)
    if host.pause.holds():
        return True
    steps = (_start_guests, _stop_guests, _end_guests, plug_disks, _forget_guests)
    return any([step(database, host) for step in steps])


def _open(unit: Unit, host: ComputeHost, wanted: GuestWish) -> Sequence[Guest]:
    return unit.session.scalars(
        select(Guest)
        .where(Guest.applied != Guest.generation, Guest.wanted == wanted, on(host))
        .order_by(Guest.created)
        .limit(BATCH)
    ).all()


def _start_guests(database: Database, host: ComputeHost) -> bool:
    """Start, or start anew, every guest whose disks are there."""
    with database.unit(None, write=False) as unit:
        guests = _open(unit, host, GuestWish.RUNNING)
        devices = devices_of(unit, host, guests)
    again, findings = len(guests) == BATCH, _Findings(database)
    again |= capture_still(database, host, [guest for guest in guests if is_captured(guest)])
    guests = [guest for guest in guests if not is_captured(guest)]
    for guest in guests:
        if devices[guest.id].broken:
            _give_up(database, guest, Cause.NO_DISK, devices[guest.id].broken)
    ready = [guest for guest in guests if not devices[guest.id].broken and not devices[guest.id].waiting]
    if captured := {guest.id for guest in ready if devices[guest.id].captured}:
        # The end of a snapshot is told: those that wait for one are looked at then.
        captured -= _at_work(host)
        ready = [guest for guest in ready if guest.id not in captured]
    for guest, outcome in host.each(ready, lambda guest: host.driver.ensure_running(_spec(guest, devices[guest.id]))):
        if isinstance(outcome, NativeError):
            again |= _start_failed(database, guest, outcome)
        elif not outcome:
            again = True
        else:
            disks = [binding.disk for binding in devices[guest.id].disks]
            findings.add(guest, partial(_record_start, guest, host.id, disks))
    findings.write()
    return again


def _at_work(host: ComputeHost) -> set[str]:
    """The guests that have their disks open; where that cannot be seen, none is known."""
    try:
        observed = host.driver.observe()
    except DriverError as error:
        _log.warning("guests cannot be looked at: %s", error)
        host.pause.begin()
        return set()
    return {id for id, sighting in observed.items() if sighting.power in (Power.ON, Power.HELD, Power.STUCK)}


def _spec(guest: Guest, devices: Devices) -> GuestSpec:
    return GuestSpec(
        id=guest.id,
        vcpus=guest.vcpus,
        memory=guest.memory,
        architecture=guest.architecture,
        boot=guest.boot,
        disks=tuple(devices.disks),
        ports=tuple(devices.ports),
        root=guest.root_device,
        generation=guest.generation,
    )


def _record_start(guest: Guest, host: str, disks: list[str], unit: Unit) -> None:
    values: dict[str, Any] = {"applied": guest.generation, "state": GuestState.RUNNING, "host": host, "failures": 0}
    if "trouble" in guest.notes:
        values["notes"] = {name: value for name, value in guest.notes.items() if name != "trouble"}
    if _settle(unit, guest, values):
        unit.session.execute(
            update(Attachment)
            .where(Attachment.guest == guest.id, Attachment.disk.in_(disks), Attachment.wanted == Wish.PRESENT)
            .values(state=AttachmentState.ATTACHED, applied=Attachment.generation)
        )


def _start_failed(database: Database, guest: Guest, error: NativeError) -> bool:
    """Tell the failure and count it; give the guest up when there is no hope. True when it is to be tried again."""
    if not isinstance(error, (DriverError, Exhausted, Missing, Unsupported)):
        raise error
    _log.warning("starting %s: %s", guest.id, error)
    counts = not isinstance(error, Unavailable | Busy)
    if isinstance(error, DriverError) and (not counts or guest.failures + 1 < PATIENCE):
        if counts or guest.notes.get("trouble") != str(error):
            values = {"failures": guest.failures + counts, "notes": guest.notes | {"trouble": str(error)}}
            with database.unit(None, write=True) as unit:
                _settle(unit, guest, values)
        return True
    _give_up(database, guest, Cause.NO_ROOM if isinstance(error, Exhausted) else Cause.FAULT, str(error))
    return False


def _give_up(database: Database, guest: Guest, cause: Cause, reason: str = "") -> None:
    """A new guest that cannot start is ended; one that ran before, however often it was started, ends up stopped."""
    first = guest.applied == 0
    with database.unit(None, write=True) as unit:
        values = {
            "wanted": GuestWish.TERMINATED if first else GuestWish.STOPPED,
            "state": GuestState.SHUTTING_DOWN if first else GuestState.STOPPING,
            "generation": guest.generation + 1,
            "cause": cause,
            "changed": unit.now,
            "failures": 0,
            "notes": guest.notes | {"trouble": reason},
        }
        _settle(unit, guest, values)


def _stop_guests(database: Database, host: ComputeHost) -> bool:
    """Stop every guest that is to be stopped."""
    with database.unit(None, write=False) as unit:
        guests = _open(unit, host, GuestWish.STOPPED)
    again, findings = len(guests) == BATCH, _Findings(database)
    for guest, outcome in host.each(guests, lambda guest: _stop(host, guest)):
        if has_failed(outcome, "stopping %s", guest) or not outcome:
            again = True
        else:
            findings.add(guest, partial(_record_stop, guest, host.network))
    findings.write()
    return again


def _stop(host: ComputeHost, guest: Guest) -> bool:
    """Switch the guest off as it was wished; one whose memory cannot be kept is shut down instead."""
    if guest.notes.get("sleep") and host.driver.capabilities.hibernates:
        try:
            return host.driver.ensure_asleep(guest.id)
        except (Exhausted, Unsupported) as error:
            _log.warning("%s is shut down instead of put to sleep: %s", guest.id, error)
    return host.driver.ensure_stopped(guest.id, force=bool(guest.notes.get("force")))


def _record_stop(guest: Guest, network_host: NetworkHost, unit: Unit) -> None:
    release(unit, guest)
    if _settle(unit, guest, {"applied": guest.generation, "state": GuestState.STOPPED}):
        network = NetworkService(unit, network_host)
        for port in network.ports_of(guest.id):
            network.return_public(port)


def _end_guests(database: Database, host: ComputeHost) -> bool:
    """End every guest that is to be gone: free its disks and ports, and drop those that die with it."""
    with database.unit(None, write=False) as unit:
        guests = _open(unit, host, GuestWish.TERMINATED)
    again, findings = len(guests) == BATCH, _Findings(database)
    for guest, outcome in host.each(guests, lambda guest: host.driver.drop(guest.id)):
        if has_failed(outcome, "ending %s", guest):
            again = True
        else:
            findings.add(guest, partial(_record_end, guest, host))
    findings.write()
    return again


def _record_end(guest: Guest, host: ComputeHost, unit: Unit) -> None:
    release(unit, guest)
    if _settle(unit, guest, {"applied": guest.generation, "state": GuestState.TERMINATED}):
        free_disks(unit, guest.id)
        host.forgotten(unit, free_ports(NetworkService(unit, host.network), guest.id))


def _forget_guests(database: Database, host: ComputeHost) -> bool:
    """Forget guests that have been gone for as long as they are shown."""
    with database.unit(None, write=False) as unit:
        ids = unit.session.scalars(
            select(Guest.id)
            .where(Guest.state == GuestState.TERMINATED, Guest.applied == Guest.generation)
            .where(Guest.changed < unit.now - host.shown)
            .limit(BATCH)
        ).all()
    if ids:
        with database.unit(None, write=True) as unit:
            unit.session.execute(delete(Guest).where(Guest.id.in_(ids)))
            host.forgotten(unit, ids)
    return len(ids) == BATCH


def _settle(unit: Unit, guest: Guest, values: dict[str, Any]) -> bool:
    """Write `values` if the guest's wish is still the one that was read. False when it changed meanwhile."""
    statement = (
        update(Guest)
        .where(Guest.id == guest.id, Guest.generation == guest.generation)
        .values(**values)
        .returning(Guest.id)
    )
    return unit.session.execute(statement).scalar() is not None
