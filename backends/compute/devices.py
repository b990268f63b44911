"""What belongs to guests: disks and ports, brought in, taken out, and given back."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, exists, select, update
from sqlalchemy.orm import aliased

from backends.compute.drivers.base import DiskBinding, PortBinding
from backends.compute.host import ComputeHost, on
from backends.compute.models import Guest, GuestState
from backends.db import Database, Scope, Unit
from backends.errors import Busy, DriverError, NativeError, Unsupported
from backends.network.models import Port
from backends.network.service import NetworkService
from backends.volume.drivers.base import Limits
from backends.volume.models import Attachment, AttachmentState, Disk, DiskState, Snapshot, SnapshotState, Wish
from backends.volume.service import retire

BATCH = 64

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Devices:
    """What belongs to one guest: bindings of what is to be there, and what still stands in the way of starting."""

    disks: list[DiskBinding] = field(default_factory=list)
    ports: list[PortBinding] = field(default_factory=list)
    waiting: bool = False
    captured: bool = False
    """Whether a snapshot of one of the disks is still to be taken. While the guest is off it is to have the bytes of
    now, and not what the guest would write."""
    broken: str = ""
    """Which disk is broken, and why; "" when none is."""


def devices_of(unit: Unit, host: ComputeHost, guests: Iterable[Guest]) -> dict[str, Devices]:
    """The devices of some guests, in two queries."""
    ids = [guest.id for guest in guests]
    found: dict[str, Devices] = defaultdict(Devices)
    if not ids:
        return found
    disks = unit.session.execute(
        select(
            Attachment.guest,
            Attachment.disk,
            Attachment.device,
            Disk.applied,
            Disk.state,
            Disk.kind,
            Disk.iops,
            Disk.throughput,
            Disk.reason,
            _is_captured(),
        )
        .join(Disk, Disk.id == Attachment.disk)
        .where(Attachment.guest.in_(ids), Attachment.wanted == Wish.PRESENT)
        .order_by(Attachment.device)
    )
    for guest, disk, device, applied, state, kind, iops, throughput, reason, captured in disks:
        found[guest].waiting |= applied == 0
        found[guest].captured |= captured
        if state == DiskState.ERROR:
            found[guest].broken = f"{disk}: {reason}" if reason else disk
        limits = Limits(iops, throughput, host.burst(kind, iops))
        found[guest].disks.append(DiskBinding(disk, device, host.disks.access(disk), limits))
    ports = unit.session.execute(
        select(Port.guest_id, Port.id, Port.mac, Port.device_index, Port.network_id)
        .where(Port.guest_id.in_(ids))
        .order_by(Port.device_index)
    )
    for holder, port, mac, index, network in ports:
        link = host.network.driver.link(port)
        found[str(holder)].ports.append(PortBinding(port, mac, index or 0, network, link))
    return found


def _is_captured() -> ColumnElement[bool]:
    """The condition that a snapshot of the disk is still to be taken."""
    return exists().where(Snapshot.disk == Disk.id, Snapshot.state == SnapshotState.PENDING)


def plug_disks(database: Database, host: ComputeHost) -> bool:
    """Bring disks into guests that are up or stopped, and take them out. One that is in no guest yet, and whose
    snapshot is still to be taken, waits for that."""
    other = aliased(Attachment)
    open_elsewhere = exists().where(other.disk == Disk.id, other.guest != Attachment.guest, other.applied > 0)
    with database.unit(None, write=False) as unit:
        rows = unit.session.execute(
            select(Attachment, Guest.state, Disk.kind, Disk.iops, Disk.throughput)
            .join(Guest, Guest.id == Attachment.guest)
            .join(Disk, Disk.id == Attachment.disk)
            .where(Attachment.applied != Attachment.generation, on(host), Disk.applied > 0)
            .where(Guest.applied == Guest.generation, Guest.state.in_((GuestState.RUNNING, GuestState.STOPPED)))
            .where((Attachment.wanted == Wish.ABSENT) | ~_is_captured() | open_elsewhere)
            .limit(BATCH)
        ).all()
    again = len(rows) == BATCH
    for row, outcome in host.each(rows, lambda row: _plug(host, *row)):
        attachment = row[0]
        if isinstance(outcome, Busy):
            # It is asked again with the next look at the machine; when the guest lets go, that is told.
            _record_busy(database, attachment)
        elif isinstance(outcome, Unsupported):
            _log.warning("disk %s in %s waits for the next start: %s", attachment.disk, attachment.guest, outcome)
        elif isinstance(outcome, DriverError):
            _log.warning("disk %s in %s: %s", attachment.disk, attachment.guest, outcome)
            again = True
        elif isinstance(outcome, NativeError):
            raise outcome
        else:
            with database.unit(Scope(attachment.tenant, attachment.region), write=True) as unit:
                _record_plug(unit, attachment)
    return again


def _plug(
    host: ComputeHost, attachment: Attachment, state: str, kind: str, iops: int | None, throughput: int | None
) -> None:
    if attachment.wanted != Wish.PRESENT:
        host.driver.unplug(attachment.guest, attachment.disk)
    elif state == GuestState.RUNNING:
        access, limits = host.disks.access(attachment.disk), Limits(iops, throughput, host.burst(kind, iops))
        host.driver.plug(attachment.guest, DiskBinding(attachment.disk, attachment.device, access, limits))


def _record_busy(database: Database, seen: Attachment) -> None:
    """The guest does not let go of the disk."""
    if seen.state == AttachmentState.BUSY:
        return
    with database.unit(Scope(seen.tenant, seen.region), write=True) as unit:
        unit.session.execute(
            update(Attachment)
            .where(Attachment.disk == seen.disk, Attachment.guest == seen.guest)
            .where(Attachment.generation == seen.generation)
            .values(state=AttachmentState.BUSY)
        )


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


def free_ports(network: NetworkService, guest: str) -> list[str]:
    """Unplug every port of the guest; remove those that end with it, and tell which those were."""
    removed = []
    for port in network.ports_of(guest):
        ends = port.ends_with_guest
        network.detach_port(port.id)
        if ends:
            network.remove_port(port.id)
            removed.append(port.id)
    return removed


def free_disks(unit: Unit, guest: str) -> None:
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
