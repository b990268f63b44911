"""The rows of disks, attachments and snapshots."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Boolean, Index, Integer, String
from sqlalchemy.orm import Mapped, mapped_column

from backends.db import Base, Scoped, Shared
from backends.indexes import partial_index

STALLED = "stalled"
"""The note of a disk that could not be written for want of room: {"since": an ISO time, "reason": words}."""
GONE = "gone"
"""The note of a disk whose file is not there, in the same form."""


class DiskState(StrEnum):
    """Where a disk is in its life."""

    CREATING = "creating"
    AVAILABLE = "available"
    IN_USE = "in-use"
    DELETING = "deleting"
    ERROR = "error"


class AttachmentState(StrEnum):
    """Where an attachment is in its life; once it is undone the row is gone."""

    ATTACHING = "attaching"
    ATTACHED = "attached"
    DETACHING = "detaching"
    BUSY = "busy"


class SnapshotState(StrEnum):
    """Where a snapshot is in its life."""

    PENDING = "pending"
    COMPLETED = "completed"
    ERROR = "error"


class ChangeState(StrEnum):
    """Where the change of a disk's shape is in its life."""

    MODIFYING = "modifying"
    COMPLETED = "completed"
    FAILED = "failed"


class Wish(StrEnum):
    """Whether a thing is to be there."""

    PRESENT = "present"
    ABSENT = "absent"


def open_rows(name: str, column: str = "id") -> Index:
    """An index that holds only the rows whose wish has not come true yet, so that finding
    them is cheap however many have."""
    return partial_index(name, column, where="applied != generation")


class Disk(Scoped, Base):
    """A block device of `size` GiB in one zone. The machinery has caught up when `applied == generation`.

    `snapshot` is the snapshot it was made from, as its owner sees it; `source` the same when its bytes are here.
    """

    __tablename__ = "disk"
    __topic__ = "volume"
    __table_args__ = (open_rows("disk_open"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    zone: Mapped[str] = mapped_column(String(32))
    size: Mapped[int]
    kind: Mapped[str] = mapped_column(String(16))
    iops: Mapped[int | None]
    throughput: Mapped[int | None]
    snapshot: Mapped[str | None] = mapped_column(String(64))
    source: Mapped[str | None] = mapped_column(String(64))
    encrypted: Mapped[bool] = mapped_column(Boolean, default=False)
    key: Mapped[str | None] = mapped_column(String(256))
    shareable: Mapped[bool] = mapped_column(Boolean, default=False)
    created: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(16), default=DiskState.CREATING)
    wanted: Mapped[str] = mapped_column(String(16), default=Wish.PRESENT)
    generation: Mapped[int] = mapped_column(default=1)
    applied: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(Integer, default=0)
    reason: Mapped[str] = mapped_column(String(255), default="", server_default="", sort_order=9)
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Attachment(Scoped, Base):
    """A disk in a guest, under a device name that is unique within the guest."""

    __tablename__ = "attachment"
    __topic__ = "volume"
    __table_args__ = (open_rows("attachment_open", "disk"),)

    disk: Mapped[str] = mapped_column(String(64), primary_key=True)
    guest: Mapped[str] = mapped_column(String(64), primary_key=True, index=True)
    device: Mapped[str] = mapped_column(String(32))
    keep: Mapped[bool] = mapped_column(Boolean, default=True)
    created: Mapped[datetime]
    state: Mapped[str] = mapped_column(String(16), default=AttachmentState.ATTACHING)
    wanted: Mapped[str] = mapped_column(String(16), default=Wish.PRESENT)
    generation: Mapped[int] = mapped_column(default=1)
    applied: Mapped[int] = mapped_column(default=0)


class DiskChange(Scoped, Base):
    """The last change of a disk's shape: what it was, what it is to be, and how far that is."""

    __tablename__ = "disk_change"
    __topic__ = "volume"

    disk: Mapped[str] = mapped_column(String(64), primary_key=True)
    state: Mapped[str] = mapped_column(String(16), default=ChangeState.MODIFYING)
    before: Mapped[dict[str, Any]]
    after: Mapped[dict[str, Any]]
    started: Mapped[datetime]
    ended: Mapped[datetime | None]


class Snapshot(Shared, Base):
    """The bytes of a disk as they were at one moment. `parent` is the snapshot that it is a copy of.

    `progress` is told in per cent while a copy takes long, `reason` when it failed.
    """

    __tablename__ = "snapshot"
    __topic__ = "snapshot"
    __table_args__ = (Index("snapshot_open", "state"),)

    disk: Mapped[str] = mapped_column(String(64), index=True)
    parent: Mapped[str | None] = mapped_column(String(64))
    size: Mapped[int]
    description: Mapped[str] = mapped_column(String(255), default="")
    encrypted: Mapped[bool] = mapped_column(Boolean, default=False)
    key: Mapped[str | None] = mapped_column(String(256))
    started: Mapped[datetime]
    completed: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(String(16), default=SnapshotState.PENDING)
    stored: Mapped[int] = mapped_column(default=0)
    progress: Mapped[int] = mapped_column(Integer, default=0, server_default="0", sort_order=9)
    failures: Mapped[int] = mapped_column(Integer, default=0)
    reason: Mapped[str] = mapped_column(String(255), default="", server_default="", sort_order=9)
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Relic(Base):
    """Bytes of a thing whose row is gone; the reconciler drops them when nothing is being made from them any more."""

    __tablename__ = "relic"
    __topic__ = "volume"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
