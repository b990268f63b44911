"""The verbs of disks, attachments and snapshots, bound to a unit of work. They change rows and nudge."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import delete, select

from backends.db import ScopedSession, Share, Unit
from backends.errors import Exists, InUse, OutOfRange, WrongState
from backends.image.service import ImageService
from backends.statement import bare
from backends.volume.models import (
    Attachment,
    AttachmentState,
    ChangeState,
    Disk,
    DiskChange,
    DiskState,
    Relic,
    Snapshot,
    SnapshotState,
    Wish,
)

COPIED = "vol-ffffffff"
"""Stands as the disk of a snapshot that was taken of none: a copy of another, or brought by its owner."""

SET = "set"
"""The note of a snapshot that names those of one point in time with it."""

HELD = "held"
"""The note of a snapshot that is not to be taken yet: its guest is being switched off first."""


class VolumeService:
    """Adds, changes and removes disks and snapshots, and puts disks into guests."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit

    @property
    def _session(self) -> ScopedSession:
        return self.unit.session

    def add_disk(
        self,
        *,
        id: str,
        zone: str,
        size: int,
        kind: str,
        iops: int | None = None,
        throughput: int | None = None,
        snapshot: str | None = None,
        source: Snapshot | None = None,
        encrypted: bool = False,
        key: str | None = None,
        shareable: bool = False,
        notes: dict[str, Any] | None = None,
        fault: str = "",
    ) -> Disk:
        """A new disk of `size` GiB, filled from `source`. `snapshot` is shown as its origin where there are no bytes.
        With a `fault` it is broken from the beginning, for that reason.

        Raises `WrongState` when the source is not complete, `OutOfRange` when the disk is smaller than it.
        """
        if source is not None:
            if source.state != SnapshotState.COMPLETED:
                raise WrongState(snapshot=source.id, state=source.state)
            if size < source.size:
                raise OutOfRange(size=size, least=source.size)
        disk = bare(
            Disk,
            id=id,
            zone=zone,
            size=size,
            kind=kind,
            iops=iops,
            throughput=throughput,
            snapshot=source.id if source is not None else snapshot,
            source=source.id if source is not None else None,
            encrypted=encrypted,
            key=key,
            shareable=shareable,
            created=self.unit.now,
            state=DiskState.ERROR if fault else DiskState.CREATING,
            reason=fault[:255],
            wanted=Wish.PRESENT,
            generation=1,
            applied=0,
            failures=0,
            notes=notes or {},
        )
        self.unit.insert(disk)
        self.unit.nudge("volume")
        return disk

    def remove_disk(self, disk: Disk) -> None:
        """Wish the disk away. Raises `InUse` (facts: disk, by) while held, `WrongState` while it is being made."""
        held = self._session.scalar(select(Attachment.guest).where(Attachment.disk == disk.id).limit(1))
        if held is not None:
            raise InUse(disk=disk.id, by=held)
        if disk.state not in (DiskState.AVAILABLE, DiskState.ERROR):
            raise WrongState(disk=disk.id, state=disk.state)
        retire(disk)
        self.unit.nudge("volume")

    def change_disk(
        self, disk: Disk, *, size: int, kind: str, iops: int | None, throughput: int | None, shareable: bool
    ) -> DiskChange:
        """Wish for another shape of the disk.

        Raises `OutOfRange` when it would shrink, `WrongState` when it is not there, `Exists` while an earlier change is
        under way.
        """
        if disk.state not in (DiskState.AVAILABLE, DiskState.IN_USE):
            raise WrongState(disk=disk.id, state=disk.state)
        if size < disk.size:
            raise OutOfRange(size=size, least=disk.size)
        change = self._session.get(DiskChange, disk.id)
        if change is not None and change.state == ChangeState.MODIFYING:
            raise Exists(disk=disk.id)
        if change is None:
            change = DiskChange(disk=disk.id, tenant=disk.tenant, region=disk.region)
            self._session.add(change)
        change.state, change.started, change.ended = ChangeState.MODIFYING, self.unit.now, None
        change.before = shape(disk)
        change.after = {"size": size, "kind": kind, "iops": iops, "throughput": throughput, "shareable": shareable}
        disk.generation += 1
        disk.failures = 0
        self.unit.nudge("volume")
        return change

    def attach(self, disk: Disk, guest: str, device: str, *, keep: bool) -> Attachment:
        """Put the disk into the guest as `device`; it dies with the guest unless `keep`.

        Raises `InUse` (facts: disk, by) when it is held and cannot be shared, `Exists` (facts: device, guest) when the
        guest has something under that name, `WrongState` when the disk is neither there nor being made.
        """
        holders = list(self._session.scalars(select(Attachment).where(Attachment.disk == disk.id)))
        if holders and (not disk.shareable or any(h.guest == guest for h in holders)):
            raise InUse(disk=disk.id, by=holders[0].guest)
        if disk.state not in (DiskState.AVAILABLE, DiskState.IN_USE, DiskState.CREATING):
            raise WrongState(disk=disk.id, state=disk.state)
        taken = select(Attachment.disk).where(Attachment.guest == guest, Attachment.device == device)
        if self._session.scalar(taken) is not None:
            raise Exists(device=device, guest=guest)
        return self.hold(disk, guest, device, keep=keep)

    def hold(self, disk: Disk, guest: str, device: str, *, keep: bool) -> Attachment:
        """As `attach`, for a disk and a guest that were made in this very unit, where nothing can stand in the way."""
        attachment = Attachment(
            disk=disk.id,
            guest=guest,
            device=device,
            keep=keep,
            created=self.unit.now,
            state=AttachmentState.ATTACHING,
            wanted=Wish.PRESENT,
            generation=1,
            applied=0,
        )
        self._session.add(attachment)
        if disk.state == DiskState.AVAILABLE:
            disk.state = DiskState.IN_USE
        self.unit.nudge("compute")
        return attachment

    def detach(self, attachment: Attachment) -> None:
        """Wish the attachment away. Repeating is harmless."""
        if attachment.wanted != Wish.ABSENT:
            attachment.wanted, attachment.state = Wish.ABSENT, AttachmentState.DETACHING
            attachment.generation += 1
        self.unit.nudge("compute")

    def attachments(self, *, disks: Iterable[str] = (), guests: Iterable[str] = ()) -> list[Attachment]:
        """The attachments of these disks, or of these guests, by guest and device."""
        where = Attachment.disk.in_(list(disks)) if disks else Attachment.guest.in_(list(guests))
        return list(
            self._session.scalars(select(Attachment).where(where).order_by(Attachment.guest, Attachment.device))
        )

    def add_snapshot(self, *, id: str, disk: Disk, description: str, notes: dict[str, Any] | None = None) -> Snapshot:
        """A snapshot of the disk as it is now. Raises `WrongState` (facts: disk, state) unless the disk is there."""
        if disk.state not in (DiskState.AVAILABLE, DiskState.IN_USE):
            raise WrongState(disk=disk.id, state=disk.state)
        snapshot = self._snapshot(id, disk.id, disk.size, description, disk.encrypted, disk.key, notes)
        self.unit.nudge("volume")
        return snapshot

    def copy_snapshot(
        self,
        *,
        id: str,
        parent: Snapshot,
        description: str,
        encrypted: bool,
        key: str | None,
        notes: dict[str, Any] | None = None,
        fault: str = "",
    ) -> Snapshot:
        """A copy of a snapshot from anywhere; with a `fault` it failed from the beginning, for that reason.

        Raises `WrongState` (facts: snapshot, state) unless that is complete.
        """
        if parent.state != SnapshotState.COMPLETED:
            raise WrongState(snapshot=parent.id, state=parent.state)
        snapshot = self._snapshot(id, COPIED, parent.size, description, encrypted, key, notes)
        snapshot.parent = parent.id
        if fault:
            snapshot.state, snapshot.reason = SnapshotState.ERROR, fault[:255]
        self.unit.nudge("volume")
        return snapshot

    def begin_snapshot(
        self, *, id: str, size: int, description: str, encrypted: bool, key: str | None, notes: dict[str, Any]
    ) -> Snapshot:
        """A snapshot of `size` GiB whose bytes its owner brings; pending until `finish_snapshot`."""
        return self._snapshot(id, COPIED, size, description, encrypted, key, notes)

    def finish_snapshot(self, snapshot: Snapshot, stored: int) -> None:
        """The bytes are complete; `stored` of them are no hole. Raises `WrongState` for one that was not begun so."""
        if snapshot.disk != COPIED or snapshot.parent is not None or snapshot.state != SnapshotState.PENDING:
            raise WrongState(snapshot=snapshot.id, state=snapshot.state)
        snapshot.state, snapshot.stored, snapshot.completed = SnapshotState.COMPLETED, stored, self.unit.now

    def _snapshot(
        self,
        id: str,
        disk: str,
        size: int,
        description: str,
        encrypted: bool,
        key: str | None,
        notes: dict[str, Any] | None,
    ) -> Snapshot:
        snapshot = Snapshot(
            id=id,
            public=False,
            disk=disk,
            parent=None,
            size=size,
            description=description,
            encrypted=encrypted,
            key=key,
            started=self.unit.now,
            completed=None,
            state=SnapshotState.PENDING,
            stored=0,
            failures=0,
            notes=notes or {},
        )
        self._session.add(snapshot)
        return snapshot

    def remove_snapshot(self, snapshot: Snapshot) -> None:
        """Forget the snapshot and its grants; its bytes follow. Raises `InUse` (facts: snapshot, by) by an image."""
        images = ImageService(self.unit).using_snapshot(snapshot.id)
        if images:
            raise InUse(snapshot=snapshot.id, by=images[0])
        self._session.execute(delete(Share).where(Share.resource == snapshot.id))
        self._session.delete(snapshot)
        self._session.add(Relic(id=snapshot.id))
        self.unit.nudge("volume")


def retire(disk: Disk) -> None:
    """Wish a disk away that no guest holds any more."""
    disk.wanted, disk.state = Wish.ABSENT, DiskState.DELETING
    disk.generation += 1
    disk.failures = 0


def shape(disk: Disk) -> dict[str, Any]:
    """What a change of the disk may alter."""
    return {
        "size": disk.size,
        "kind": disk.kind,
        "iops": disk.iops,
        "throughput": disk.throughput,
        "shareable": disk.shareable,
    }
