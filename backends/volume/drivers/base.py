"""What a keeper of disks has to do.

Every verb is idempotent and may be repeated from any point: after an error, a kill or a reboot the same call with the
same arguments finishes the work. Names on the medium come from the ids alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

GIB = 1 << 30
SERIAL = 20
"""Bytes that a virtio disk has for its serial number."""

Report = Callable[[str, int], None]
"""Told now and then, on the caller's thread, how far a long copy is: the snapshot's id, per cent done (0 to 99)."""


def silent(snapshot: str, percent: int) -> None:
    """A `Report` to nobody."""


def serial(disk: str) -> str:
    """The serial number under which a guest sees the disk: its id without dashes."""
    return disk.replace("-", "")[:SERIAL]


@dataclass(frozen=True, slots=True)
class DiskSpec:
    """A disk as it is wanted: `size` in bytes, its first content taken from the snapshot `source` (zeros when None)."""

    id: str
    size: int
    source: str | None = None


@dataclass(frozen=True, slots=True)
class DiskAccess:
    """How a hypervisor on this host opens a disk: a path, the format of what lies there (`raw`, `qcow2`; to be named,
    never probed), and the serial number that the guest is shown (at most `SERIAL` bytes)."""

    path: str
    format: str
    serial: str


@dataclass(frozen=True, slots=True)
class Limits:
    """How fast a guest may use a disk: operations per second, MiB per second. None: no bound. `burst`: operations per
    second that it may make out of what it saved, `BURST` seconds of which it has in the beginning and saves at most."""

    iops: int | None = None
    throughput: int | None = None
    burst: int | None = None


BURST = 1800

Burst = Callable[[str, int | None], int | None]
"""Of a kind of disk and its operations per second: how many it may make in a burst."""


def steady(kind: str, iops: int | None) -> None:
    """A `Burst` of disks that have none."""


@dataclass(frozen=True, slots=True)
class Observed:
    """The ids of everything that lies on the medium."""

    disks: frozenset[str] = field(default_factory=frozenset)
    snapshots: frozenset[str] = field(default_factory=frozenset)


class OpenDisks(Protocol):
    """What a hypervisor does for disks that its running guests have open, since nobody else may touch those.

    Handed to a `DiskDriver` at composition. Every verb may be repeated; `DriverError` also when the guest stops under
    it: the disk driver then asks `holds` again.
    """

    def holds(self, disk: str) -> bool:
        """Whether a guest on this host has the disk open (running or paused). Raises `DriverError` when not known."""

    def still(self, disks: Sequence[str]) -> AbstractContextManager[None]:
        """Within the block the files of these disks, which guests have open, have all that was written through their
        file systems, and none of that changes, so that they can be copied as of one point in time.

        A guest is never held up for long: the block's end raises `DriverError` when it had to be let go on before.
        Raises `Unsupported` where plain files cannot be copied under their guests.
        """

    def back_up(
        self,
        targets: Mapping[str, str],
        checkpoint: str,
        since: Mapping[str, str | None],
        report: Callable[[int], None] = lambda percent: None,
    ) -> Mapping[str, bool]:
        """Copy several disks of one guest, as they are at one point in time, and remember that point as `checkpoint`.

        `targets`: disk -> path of an empty qcow2 file of the disk's size that is there already. Where `since` has the
        name of an earlier checkpoint, that file is an overlay of the disk's bytes at that checkpoint, and only what
        changed since is written, if the hypervisor still knows (answer True). Otherwise every byte of the disk,
        zeros too, is written (answer False). A guest agent that answers soon freezes the file systems meanwhile.

        `report` is told now and then how far the copy of all is, in per cent.

        A checkpoint of that name that is there already is replaced; older ones of the same disks may be forgotten.
        After failure the targets hold nothing of use. Raises `DriverError`, `Exhausted` when the medium is full,
        `Unsupported` when these disks cannot be copied while they are open.
        """

    def grow(self, disk: str, size: int) -> None:
        """After success the disk has `size` bytes, and its guest sees them. Raises `DriverError`, `Exhausted`."""

    def limit(self, disk: str, limits: Limits) -> None:
        """After success the guest uses the disk no faster. Raises `DriverError`, `Unsupported`."""


class DiskDriver(Protocol):
    """Keeps the bytes of disks and snapshots."""

    def ensure_disk(self, spec: DiskSpec) -> None:
        """After success the disk is there with at least `spec.size` bytes; one that was there has only grown.

        It is durable after `flush`.

        After failure the disk is as it was before, or absent. Raises `Missing` when the source is not there,
        `Exhausted` when the medium is full, `DriverError` for anything else.
        """

    def flush(self) -> None:
        """After success every disk that was ensured before is durable. After failure nothing is known: ensure again.

        Raises `DriverError`.
        """

    def drop_disk(self, disk: str) -> None:
        """After success nothing is left of the disk; dropping what is not there succeeds."""

    def ensure_snapshot(self, snapshot: str, disk: str) -> int:
        """After success the snapshot is there, durably, with the bytes of `disk`; one that was there is left alone.

        Answers the number of bytes that hold data. After failure the snapshot is absent. Raises as `ensure_disk`.
        """

    def ensure_snapshots(self, disks: Mapping[str, str], report: Report = silent) -> Mapping[str, int]:
        """As `ensure_snapshot` for several (snapshot -> disk), all of one point in time; answers bytes by snapshot.

        Disks that a guest has open must belong to one guest. After failure those that were not there are absent.
        """

    def limit(self, disk: str, limits: Limits) -> None:
        """After success a guest that has the disk open uses it no faster; without one there is nothing to do.

        Raises `DriverError`, `Unsupported`.
        """

    def import_file(self, snapshot: str, path: Path, format: str, report: Report = silent) -> int:
        """As `ensure_snapshot`, with what the image file `path` of that `format` (raw, qcow2, vmdk, vdi, vhdx) shows.

        Raises `Unsupported` (fact: reason) for a file that is not of that format, or that leans on other files.
        """

    def export_file(self, snapshot: str, path: Path, format: str, report: Report = silent) -> None:
        """After success `path` is a file of that `format` that shows the bytes of the snapshot, and needs no other.

        After failure there is no such file. Raises `Missing`, `Exhausted`, `Unsupported`, `DriverError`.
        """

    def tidy(self) -> bool:
        """Do one piece of what is good for the medium and changes no byte anybody reads. True when more is left."""

    def ensure_copy(self, snapshot: str, parent: str, report: Report = silent) -> int:
        """As `ensure_snapshot`, with the bytes of the snapshot `parent`."""

    def drop_snapshot(self, snapshot: str) -> None:
        """After success nothing is left of the snapshot; disks made from it are untouched."""

    def extents(self, snapshot: str) -> list[tuple[int, int]]:
        """Where a snapshot has data: (start, end) in bytes, in order; the rest are zeros. Raises `Missing`."""

    def read(self, snapshot: str, offset: int, length: int) -> bytes:
        """Bytes of a snapshot; zeros beyond its end. Raises `Missing`."""

    def begin_upload(self, snapshot: str, size: int, parent: str | None) -> None:
        """After success a snapshot of `size` bytes can be written, holding the bytes of `parent`, or zeros.

        It is no snapshot before `finish_upload`. Beginning again begins anew. Raises as `ensure_disk`.
        """

    def upload(self, snapshot: str, offset: int, data: bytes) -> None:
        """Write into a snapshot that was begun; durable with `finish_upload`. Raises `Missing`, `Exhausted`."""

    def finish_upload(self, snapshot: str) -> int:
        """After success the snapshot is there, durably; the number of bytes that hold data. Raises `Missing`."""

    def access(self, disk: str) -> DiskAccess:
        """How to open the disk. Touches nothing."""

    def lacks(self, disk: str) -> str:
        """What is missing of a disk that was made, in words: a file that vanished; "" when nothing is."""

    def observe(self) -> Observed:
        """Everything that lies on the medium under this driver's naming scheme, complete or not."""
