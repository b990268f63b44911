"""Lets the wishes about guests and their disks come true.

Every function reads a few rows, closes, lets the driver work, and writes what came of it in one short unit, under the
condition that the wish is still the one it read. All may be repeated from any point.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any

from sqlalchemy import delete, or_, select, update

from backends.compute.drivers.base import DiskBinding, GuestDriver, GuestSpec, PortBinding, Power
from backends.compute.models import Cause, Guest, GuestState, GuestWish, Host
from backends.db import Database, Scope, Unit
from backends.errors import DriverError, Exhausted, Missing, NativeError, Unavailable, Unsupported
from backends.network.book import NetworkHost
from backends.network.models import Port
from backends.network.service import NetworkService
from backends.volume.drivers.base import DiskDriver, Limits
from backends.volume.models import Attachment, AttachmentState, Disk, DiskState, Wish
from backends.volume.service import retire

TOPICS = ("compute", "volume")
"""`converge` is due when any of these changed."""

BATCH = 64
PROMPTLY = 0.1
"""Seconds after which what is known of a guest is written down, though more of its batch are under way."""

PATIENCE = 8
"""So many failed attempts are made before a start is given up; a machine that is full or unable is not asked again."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ComputeHost:
    """One machine: what runs guests there, what keeps the disks that they open, and the networks they are plugged into.

    Terminated guests are shown for `shown`. `forgotten` is told, in the unit of work, the ids of what is gone for good.
    """

    id: str
    driver: GuestDriver
    disks: DiskDriver
    network: NetworkHost
    shown: timedelta = timedelta(hours=1)
    forgotten: Callable[[Unit, Sequence[str]], None] = lambda unit, ids: None


@dataclass(slots=True)
class _Devices:
    """What belongs to one guest: bindings of what is to be there, and what still stands in the way of starting."""

    disks: list[DiskBinding] = field(default_factory=list)
    ports: list[PortBinding] = field(default_factory=list)
    waiting: bool = False
    broken: bool = False


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
        unit.session.merge(Host(id=host.id, vcpus=capacity.vcpus, memory=capacity.memory))


def converge(database: Database, host: ComputeHost) -> bool:
    """Carry out every open wish once. True when some remain to be tried again soon."""
    steps = (_start_guests, _stop_guests, _end_guests, _plug_disks, _forget_guests)
    return any([step(database, host) for step in steps])


def survey(database: Database, host: ComputeHost) -> None:
    """Compare what the machine runs with what is wanted: reopen what differs, drop what nobody knows. For start-up.

    What is observed first and has no row afterwards can have none later: a row is always older than its guest.
    """
    observed = host.driver.observe()
    with database.unit(None, write=False) as unit:
        settled = select(Guest.id, Guest.state).where(_mine(host), Guest.state != GuestState.TERMINATED)
        rows: dict[str, str] = {row.id: row.state for row in unit.session.execute(settled)}
    for id in sorted(set(observed) - set(rows)):
        host.driver.drop(id)
    running = {id for id, sighting in observed.items() if sighting.power == Power.ON}
    differing = [id for id, state in rows.items() if (state == GuestState.RUNNING) != (id in running)]
    with database.unit(None, write=True) as unit:
        for start in range(0, len(differing), 500):
            some = differing[start : start + 500]
            unit.session.execute(
                update(Guest)
                .where(Guest.id.in_(some), Guest.applied == Guest.generation)
                .values(generation=Guest.generation + 1)
            )


def _mine(host: ComputeHost) -> Any:
    return or_(Guest.host == host.id, Guest.host.is_(None))


def _open(unit: Unit, host: ComputeHost, wanted: GuestWish) -> Sequence[Guest]:
    return unit.session.scalars(
        select(Guest)
        .where(Guest.applied != Guest.generation, Guest.wanted == wanted, _mine(host))
        .order_by(Guest.created)
        .limit(BATCH)
    ).all()


def _start_guests(database: Database, host: ComputeHost) -> bool:
    """Start, or start anew, every guest whose disks are there."""
    with database.unit(None, write=False) as unit:
        guests = _open(unit, host, GuestWish.RUNNING)
        devices = _devices(unit, host, guests)
    again, findings = len(guests) == BATCH, _Findings(database)
    for guest in guests:
        mine = devices[guest.id]
        if mine.broken:
            _give_up(database, guest, Cause.NO_DISK)
            continue
        if mine.waiting:
            continue
        spec = GuestSpec(
            id=guest.id,
            vcpus=guest.vcpus,
            memory=guest.memory,
            architecture=guest.architecture,
            boot=guest.boot,
            disks=tuple(mine.disks),
            ports=tuple(mine.ports),
            root=guest.root_device,
            generation=guest.generation,
        )
        try:
            done = host.driver.ensure_running(spec)
        except (DriverError, Exhausted, Missing, Unsupported) as error:
            again |= _start_failed(database, guest, error)
            continue
        if not done:
            again = True
            continue
        findings.add(guest, partial(_record_start, guest, host.id, [binding.disk for binding in spec.disks]))
    findings.write()
    return again


def _record_start(guest: Guest, host: str, disks: list[str], unit: Unit) -> None:
    values = {"applied": guest.generation, "state": GuestState.RUNNING, "host": host, "failures": 0}
    if _settle(unit, guest, values):
        unit.session.execute(
            update(Attachment)
            .where(Attachment.guest == guest.id, Attachment.disk.in_(disks), Attachment.wanted == Wish.PRESENT)
            .values(state=AttachmentState.ATTACHED, applied=Attachment.generation)
        )


def _start_failed(database: Database, guest: Guest, error: NativeError) -> bool:
    """Count the failure; give the guest up when there is no hope. True when it is to be tried again."""
    _log.warning("starting %s: %s", guest.id, error)
    if isinstance(error, Unavailable):
        return True
    if isinstance(error, DriverError) and guest.failures + 1 < PATIENCE:
        with database.unit(None, write=True) as unit:
            unit.session.execute(update(Guest).where(Guest.id == guest.id).values(failures=guest.failures + 1))
        return True
    _give_up(database, guest, Cause.NO_ROOM if isinstance(error, Exhausted) else Cause.FAULT)
    return False


def _give_up(database: Database, guest: Guest, cause: Cause) -> None:
    """A new guest that cannot start is ended; one that ran before goes back to being stopped."""
    first = guest.boot == 1
    with database.unit(None, write=True) as unit:
        values = {
            "wanted": GuestWish.TERMINATED if first else GuestWish.STOPPED,
            "state": GuestState.SHUTTING_DOWN if first else GuestState.STOPPING,
            "generation": guest.generation + 1,
            "cause": cause,
            "changed": unit.now,
            "failures": 0,
        }
        _settle(unit, guest, values)


def _stop_guests(database: Database, host: ComputeHost) -> bool:
    """Stop every guest that is to be stopped."""
    with database.unit(None, write=False) as unit:
        guests = _open(unit, host, GuestWish.STOPPED)
    again, findings = len(guests) == BATCH, _Findings(database)
    for guest in guests:
        try:
            done = host.driver.ensure_stopped(guest.id, force=bool(guest.notes.get("force")))
        except DriverError as error:
            _log.warning("stopping %s: %s", guest.id, error)
            again = True
            continue
        if not done:
            again = True
            continue
        findings.add(guest, partial(_record_stop, guest, host.network))
    findings.write()
    return again


def _record_stop(guest: Guest, network_host: NetworkHost, unit: Unit) -> None:
    if _settle(unit, guest, {"applied": guest.generation, "state": GuestState.STOPPED}):
        network = NetworkService(unit, network_host)
        for port in network.ports_of(guest.id):
            network.return_public(port)


def _end_guests(database: Database, host: ComputeHost) -> bool:
    """End every guest that is to be gone: free its disks and ports, and drop those that die with it."""
    with database.unit(None, write=False) as unit:
        guests = _open(unit, host, GuestWish.TERMINATED)
    again, findings = len(guests) == BATCH, _Findings(database)
    for guest in guests:
        try:
            host.driver.drop(guest.id)
        except DriverError as error:
            _log.warning("ending %s: %s", guest.id, error)
            again = True
            continue
        findings.add(guest, partial(_record_end, guest, host))
    findings.write()
    return again


def _record_end(guest: Guest, host: ComputeHost, unit: Unit) -> None:
    if _settle(unit, guest, {"applied": guest.generation, "state": GuestState.TERMINATED}):
        _free_disks(unit, guest.id)
        host.forgotten(unit, _free_ports(NetworkService(unit, host.network), guest.id))


def _free_ports(network: NetworkService, guest: str) -> list[str]:
    """Unplug every port of the guest; remove those that end with it, and tell which those were."""
    removed = []
    for port in network.ports_of(guest):
        ends = port.ends_with_guest
        network.detach_port(port.id)
        if ends:
            network.remove_port(port.id)
            removed.append(port.id)
    return removed


def _free_disks(unit: Unit, guest: str) -> None:
    """Undo every attachment of the guest."""
    session = unit.session
    rows = session.execute(
        select(Attachment, Disk).join(Disk, Disk.id == Attachment.disk).where(Attachment.guest == guest)
    ).all()
    for attachment, disk in rows:
        keep = attachment.keep
        session.delete(attachment)
        session.flush()
        _release(unit, disk, keep=keep)
    unit.nudge("volume")


def _release(unit: Unit, disk: Disk, *, keep: bool) -> None:
    """A disk that one guest gave back: free, if no other holds it, or to be dropped."""
    if unit.session.scalar(select(Attachment.guest).where(Attachment.disk == disk.id).limit(1)) is not None:
        return
    if not keep:
        retire(disk)
    elif disk.state == DiskState.IN_USE:
        disk.state = DiskState.AVAILABLE


def _plug_disks(database: Database, host: ComputeHost) -> bool:
    """Bring disks into guests that are up or stopped, and take them out."""
    with database.unit(None, write=False) as unit:
        rows = unit.session.execute(
            select(Attachment, Guest.state, Disk.iops, Disk.throughput)
            .join(Guest, Guest.id == Attachment.guest)
            .join(Disk, Disk.id == Attachment.disk)
            .where(Attachment.applied != Attachment.generation, _mine(host), Disk.applied > 0)
            .where(Guest.applied == Guest.generation, Guest.state.in_((GuestState.RUNNING, GuestState.STOPPED)))
            .limit(BATCH)
        ).all()
    again = len(rows) == BATCH
    for attachment, state, iops, throughput in rows:
        present = attachment.wanted == Wish.PRESENT
        try:
            if not present:
                host.driver.unplug(attachment.guest, attachment.disk)
            elif state == GuestState.RUNNING:
                access, limits = host.disks.access(attachment.disk), Limits(iops, throughput)
                host.driver.plug(attachment.guest, DiskBinding(attachment.disk, attachment.device, access, limits))
        except DriverError as error:
            _log.warning("disk %s in %s: %s", attachment.disk, attachment.guest, error)
            again = True
            continue
        with database.unit(Scope(attachment.tenant, attachment.region), write=True) as unit:
            _record_plug(unit, attachment)
    return again


def _record_plug(unit: Unit, seen: Attachment) -> None:
    """The machine has followed the wish that `seen` held: say so, if it still is the wish."""
    session = unit.session
    same = (
        Attachment.disk == seen.disk,
        Attachment.guest == seen.guest,
        Attachment.generation == seen.generation,
    )
    if seen.wanted == Wish.PRESENT:
        session.execute(update(Attachment).where(*same).values(state=AttachmentState.ATTACHED, applied=seen.generation))
        return
    row = session.scalar(select(Attachment).where(*same))
    disk = session.get(Disk, seen.disk)
    if row is not None and disk is not None:
        session.delete(row)
        session.flush()
        _release(unit, disk, keep=True)


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


def _devices(unit: Unit, host: ComputeHost, guests: Iterable[Guest]) -> dict[str, _Devices]:
    """The devices of some guests, in two queries."""
    ids = [guest.id for guest in guests]
    found: dict[str, _Devices] = defaultdict(_Devices)
    if not ids:
        return found
    disks = unit.session.execute(
        select(
            Attachment.guest,
            Attachment.disk,
            Attachment.device,
            Disk.applied,
            Disk.state,
            Disk.iops,
            Disk.throughput,
        )
        .join(Disk, Disk.id == Attachment.disk)
        .where(Attachment.guest.in_(ids), Attachment.wanted == Wish.PRESENT)
        .order_by(Attachment.device)
    )
    for guest, disk, device, applied, state, iops, throughput in disks:
        found[guest].waiting |= applied == 0
        found[guest].broken |= state == DiskState.ERROR
        found[guest].disks.append(DiskBinding(disk, device, host.disks.access(disk), Limits(iops, throughput)))
    ports = unit.session.execute(
        select(Port.guest_id, Port.id, Port.mac, Port.device_index, Port.network_id)
        .where(Port.guest_id.in_(ids))
        .order_by(Port.device_index)
    )
    for holder, port, mac, index, network in ports:
        link = host.network.driver.link(port)
        found[str(holder)].ports.append(PortBinding(port, mac, index or 0, network, link))
    return found
