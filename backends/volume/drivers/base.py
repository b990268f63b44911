"""What a keeper of disks has to do.

Every verb is idempotent and may be repeated from any point: after an error, a kill or a reboot the same call with the
same arguments finishes the work. Names on the medium come from the ids alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class DiskSpec:
    """A disk as it is wanted: `size` in bytes, its first content taken from the snapshot `source` (zeros when None)."""

    id: str
    size: int
    source: str | None = None


@dataclass(frozen=True, slots=True)
class DiskAccess:
    """How a hypervisor on this host opens a disk: a path, and the format of what lies there (`raw`, `qcow2`)."""

    path: str
    format: str


@dataclass(frozen=True, slots=True)
class Observed:
    """The ids of everything that lies on the medium."""

    disks: frozenset[str] = field(default_factory=frozenset)
    snapshots: frozenset[str] = field(default_factory=frozenset)


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

    def ensure_copy(self, snapshot: str, parent: str) -> int:
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

    def observe(self) -> Observed:
        """Everything that lies on the medium under this driver's naming scheme, complete or not."""
