"""Lets the wishes about disks and snapshots come true.

Every function reads a few rows, closes, lets the driver work, and writes what came of it in one short unit, under the
condition that the wish is still the one it read. All may be repeated from any point.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, exists, select, update

from backends.db import Database, Unit
from backends.errors import DriverError, Exhausted, Missing, NativeError, Unsupported
from backends.image.models import Image, ImageState
from backends.volume.drivers.base import GIB, DiskDriver, DiskSpec
from backends.volume.models import (
    Attachment,
    ChangeState,
    Disk,
    DiskChange,
    DiskState,
    Relic,
    Snapshot,
    SnapshotState,
    Wish,
)
from backends.volume.service import COPIED

TOPICS = ("volume", "snapshot", "image")
"""`converge` is due when any of these changed."""

BATCH = 64
UPLOADED = (Snapshot.disk == COPIED) & Snapshot.parent.is_(None)
"""Snapshots whose bytes come from their owner, block by block."""

PATIENCE = 8
"""So many failed attempts are made before a thing is called broken; a full medium or no source is not retried."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VolumeHost:
    """The machine that keeps the disks. `forgotten` is told, in the unit of work, the ids of disks that are gone."""

    driver: DiskDriver
    forgotten: Callable[[Unit, Sequence[str]], None] = lambda unit, ids: None


def converge(database: Database, host: VolumeHost) -> bool:
    """Carry out every open wish once. True when some remain to be tried again soon."""
    steps: tuple[Callable[[Database, VolumeHost], bool], ...] = (
        _make_disks,
        _take_snapshots,
        _finish_images,
        _drop_disks,
        _drop_relics,
    )
    return any([step(database, host) for step in steps])


def survey(database: Database, host: VolumeHost) -> None:
    """Drop what lies on the medium and nobody wants: drafts and files whose rows are gone. For start-up.

    What is observed first and has no row afterwards can have none later: a row is always older than its bytes.
    """
    observed = host.driver.observe()
    with database.unit(None, write=False) as unit:
        disks = set(unit.session.scalars(select(Disk.id)))
        snapshots = set(unit.session.scalars(select(Snapshot.id))) | set(unit.session.scalars(select(Relic.id)))
    for disk in sorted(observed.disks - disks):
        host.driver.drop_disk(disk)
    for snapshot in sorted(observed.snapshots - snapshots):
        host.driver.drop_snapshot(snapshot)


def _make_disks(database: Database, host: VolumeHost) -> bool:
    """Make new disks and give changed ones their new shape."""
    with database.unit(None, write=False) as unit:
        rows = unit.session.execute(
            select(Disk.id, Disk.size, Disk.source, Disk.generation, Disk.failures, Disk.applied, DiskChange)
            .outerjoin(DiskChange, (DiskChange.disk == Disk.id) & (DiskChange.state == ChangeState.MODIFYING))
            .where(Disk.applied != Disk.generation, Disk.wanted == Wish.PRESENT, Disk.state != DiskState.ERROR)
            .limit(BATCH)
        ).all()
    done: list[tuple[str, int, dict[str, Any], bool]] = []
    failed: list[tuple[str, int, NativeError]] = []
    for id, size, source, generation, failures, applied, change in rows:
        after = change.after if change is not None else {}
        try:
            host.driver.ensure_disk(DiskSpec(id, after.get("size", size) * GIB, source))
        except NativeError as error:
            failed.append((id, failures, _known(error)))
        else:
            done.append((id, generation, after, applied == 0))
    if not rows:
        return False
    try:
        host.driver.flush()
    except NativeError as error:
        _log.warning("new disks are not durable yet, trying again: %s", error)
        return True
    with database.unit(None, write=True) as unit:
        session = unit.session
        made = [(id, generation) for id, generation, _, new in done if new]
        held = set(session.scalars(select(Attachment.disk).where(Attachment.disk.in_([id for id, _ in made]))))
        together: dict[tuple[int, DiskState], list[str]] = {}
        for id, generation in made:
            state = DiskState.IN_USE if id in held else DiskState.AVAILABLE
            together.setdefault((generation, state), []).append(id)
        for (generation, state), ids in together.items():
            same = (Disk.id.in_(ids), Disk.generation == generation)
            session.execute(update(Disk).where(*same).values(applied=generation, state=state, failures=0))
        for id, generation, after, new in done:
            if not new:
                changed = (Disk.id == id, Disk.generation == generation)
                session.execute(update(Disk).where(*changed).values(applied=generation, failures=0, **after))
                session.execute(
                    update(DiskChange).where(DiskChange.disk == id).values(state=ChangeState.COMPLETED, ended=unit.now)
                )
        for id, failures, fault in failed:
            values: dict[str, Any] = {"failures": failures + 1}
            if _hopeless(fault, failures):
                values |= {"state": DiskState.ERROR}
            session.execute(update(Disk).where(Disk.id == id, Disk.wanted == Wish.PRESENT).values(**values))
        unit.nudge("compute")
    return len(rows) == BATCH or bool(failed)


def _take_snapshots(database: Database, host: VolumeHost) -> bool:
    """Copy the bytes of every pending snapshot."""
    with database.unit(None, write=False) as unit:
        rows = unit.session.execute(
            select(Snapshot.id, Snapshot.disk, Snapshot.parent, Snapshot.failures)
            .where(Snapshot.state == SnapshotState.PENDING, ~UPLOADED)
            .order_by(Snapshot.started)
            .limit(BATCH)
        ).all()
    again = False
    for id, disk, parent, failures in rows:
        values: dict[str, Any]
        try:
            stored = host.driver.ensure_copy(id, parent) if parent else host.driver.ensure_snapshot(id, disk)
        except NativeError as error:
            hopeless = _hopeless(_known(error), failures)
            values = {"failures": failures + 1} | ({"state": SnapshotState.ERROR} if hopeless else {})
            again = True
        else:
            values = {"state": SnapshotState.COMPLETED, "stored": stored}
        with database.unit(None, write=True) as unit:
            if values.get("state") == SnapshotState.COMPLETED:
                values["completed"] = unit.now
            unit.session.execute(update(Snapshot).where(Snapshot.id == id).values(**values))
    return again or len(rows) == BATCH


def _finish_images(database: Database, host: VolumeHost) -> bool:
    """Call images ready, or failed, whose snapshots have all come to an end."""
    with database.unit(None, write=False) as unit:
        rows = unit.session.execute(select(Image.id, Image.mappings).where(Image.state == ImageState.PENDING)).all()
        needed = {id: [m["snapshot"] for m in mappings if m.get("snapshot")] for id, mappings in rows}
        every = {snapshot for snapshots in needed.values() for snapshot in snapshots}
        query = select(Snapshot.id, Snapshot.state).where(Snapshot.id.in_(every))
        states: dict[str, str] = {row.id: row.state for row in unit.session.execute(query)} if every else {}
    ended = {id: {states.get(s, SnapshotState.ERROR) for s in snapshots} for id, snapshots in needed.items()}
    ended = {id: found for id, found in ended.items() if SnapshotState.PENDING not in found}
    if ended:
        with database.unit(None, write=True) as unit:
            for id, found in ended.items():
                state = ImageState.FAILED if SnapshotState.ERROR in found else ImageState.AVAILABLE
                unit.session.execute(update(Image).where(Image.id == id).values(state=state))
    return False


def _drop_disks(database: Database, host: VolumeHost) -> bool:
    """Drop unwanted disks, once the snapshots that are being taken of them are complete."""
    with database.unit(None, write=False) as unit:
        rows = unit.session.execute(
            select(Disk.id, Disk.failures)
            .where(Disk.applied != Disk.generation, Disk.wanted == Wish.ABSENT)
            .where(~exists().where(Snapshot.disk == Disk.id, Snapshot.state == SnapshotState.PENDING))
            .limit(BATCH)
        ).all()
    gone: list[str] = []
    again = False
    for id, _failures in rows:
        try:
            host.driver.drop_disk(id)
        except NativeError as error:
            _known(error)
            again = True
        else:
            gone.append(id)
    if gone:
        with database.unit(None, write=True) as unit:
            unit.session.execute(delete(DiskChange).where(DiskChange.disk.in_(gone)))
            unit.session.execute(delete(Disk).where(Disk.id.in_(gone)))
            host.forgotten(unit, gone)
    return again or len(rows) == BATCH


def _drop_relics(database: Database, host: VolumeHost) -> bool:
    """Drop the bytes of forgotten snapshots from which nothing is being made."""
    with database.unit(None, write=False) as unit:
        ids = unit.session.scalars(
            select(Relic.id)
            .where(~exists().where(Disk.source == Relic.id, Disk.applied == 0, Disk.state == DiskState.CREATING))
            .where(~exists().where(Snapshot.parent == Relic.id, Snapshot.state == SnapshotState.PENDING))
            .limit(BATCH)
        ).all()
    again = False
    for id in ids:
        try:
            host.driver.drop_snapshot(id)
        except NativeError as error:
            _known(error)
            again = True
        else:
            with database.unit(None, write=True) as unit:
                unit.session.execute(delete(Relic).where(Relic.id == id))
    return again or len(ids) == BATCH


def _known(error: NativeError) -> NativeError:
    """The error, if it is one that a driver may raise; anything else goes on its way."""
    if not isinstance(error, (DriverError, Exhausted, Missing, Unsupported)):
        raise error
    _log.warning("disk driver: %s", error)
    return error


def _hopeless(error: NativeError, failures: int) -> bool:
    return not isinstance(error, DriverError) or failures + 1 >= PATIENCE
