"""Lets the wishes about disks and snapshots come true.

Every function reads a few rows, closes, lets the driver work, and writes what came of it in one short unit, under the
condition that the wish is still the one it read. All may be repeated from any point.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

from sqlalchemy import delete, exists, select, update

from backends.db import Database
from backends.errors import NativeError, Unavailable
from backends.volume.capture import capture
from backends.volume.drivers.base import GIB, DiskSpec, Limits
from backends.volume.host import VolumeHost, hopeless, known
from backends.volume.models import (
    GONE,
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

TOPICS = ("volume", "snapshot", "image")
"""`converge` is due when any of these changed."""

BATCH = 64
_log = logging.getLogger(__name__)


def converge(database: Database, host: VolumeHost) -> bool:
    """Carry out every open wish once. True when some remain to be tried again soon."""
    return any([step(database, host) for step in (_make_disks, capture, _drop_disks)])


def converge_disks(database: Database, host: VolumeHost) -> bool:
    """As `converge`, for disks: what is done at once."""
    return any([step(database, host) for step in (_make_disks, _drop_disks)])


def survey(database: Database, host: VolumeHost) -> None:
    """Drop what lies on the medium and nobody wants: drafts and files whose rows are gone. For start-up.

    What is observed first and has no row afterwards can have none later: a row is always older than its bytes.
    """
    observed = host.driver.observe()
    with database.unit(None, write=False) as unit:
        disks = set(unit.session.scalars(select(Disk.id)))
        snapshots = set(unit.session.scalars(select(Snapshot.id))) | set(unit.session.scalars(select(Relic.id)))
    left = [partial(host.driver.drop_disk, disk) for disk in sorted(observed.disks - disks)]
    left += [partial(host.driver.drop_snapshot, snapshot) for snapshot in sorted(observed.snapshots - snapshots)]
    for drop in left:
        try:
            drop()
        except NativeError as error:  # it is told, and the next start tries again: what is wanted comes first
            known(error)


def inspect(database: Database, host: VolumeHost) -> bool:
    """Note of disks whose files vanished that they did, and of those that are back nothing any more."""
    with database.unit(None, write=False) as unit:
        there = (Disk.applied > 0, Disk.state.in_((DiskState.AVAILABLE, DiskState.IN_USE)))
        rows = unit.session.execute(select(Disk.id, Disk.notes[GONE].as_string()).where(*there)).all()
    lacking = {id: host.driver.lacks(id) for id, _ in rows}
    differing = [id for id, noted in rows if bool(lacking[id]) != (noted is not None)]
    if not differing:
        return False
    with database.unit(None, write=True) as unit:
        for disk in unit.session.scalars(select(Disk).where(Disk.id.in_(differing), *there)):
            notes = {name: value for name, value in disk.notes.items() if name != GONE}
            if lacking[disk.id]:
                _log.warning("of %s something is missing: %s", disk.id, lacking[disk.id])
                notes[GONE] = {"since": unit.now.isoformat(), "reason": lacking[disk.id]}
            disk.notes = notes
    return False


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
    waiting = False
    for id, size, source, generation, failures, applied, change in rows:
        after = change.after if change is not None else {}
        if applied and host.pause.holds():
            waiting = True
            continue
        try:
            host.driver.ensure_disk(DiskSpec(id, after.get("size", size) * GIB, source))
            if after:
                iops = after.get("iops")
                host.driver.limit(id, Limits(iops, after.get("throughput"), host.burst(after.get("kind", ""), iops)))
        except NativeError as error:
            if isinstance(known(error), Unavailable):
                host.pause.begin()
                waiting = True
            else:
                failed.append((id, failures, error))
        else:
            if applied:
                host.pause.end()
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
            if hopeless(fault, failures):
                values |= {"state": DiskState.ERROR, "reason": str(fault)[:255]}
            session.execute(update(Disk).where(Disk.id == id, Disk.wanted == Wish.PRESENT).values(**values))
        unit.nudge("compute")
    return len(rows) == BATCH or bool(failed) or waiting


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
            known(error)
            again = True
        else:
            gone.append(id)
    if gone:
        with database.unit(None, write=True) as unit:
            unit.session.execute(delete(DiskChange).where(DiskChange.disk.in_(gone)))
            unit.session.execute(delete(Disk).where(Disk.id.in_(gone)))
            host.forgotten(unit, gone)
    return again or len(rows) == BATCH
