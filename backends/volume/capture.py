"""Lets the wishes about snapshots and images come true: what may take long, and has a thread of its own.

Every function reads a few rows, closes, lets the driver work, and writes what came of it in one short unit. All may be
repeated from any point.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, exists, select, update

from backends.db import Database
from backends.errors import Missing, NativeError, Unavailable
from backends.image.models import Image, ImageState
from backends.volume.drivers.base import Report
from backends.volume.host import VolumeHost, hopeless, known
from backends.volume.models import Disk, DiskState, Relic, Snapshot, SnapshotState
from backends.volume.service import COPIED, HELD, SET

FILES = "files"
"""The topic of files that may vanish: no rows change, so it is due now and then, and when one was found missing."""
BATCH = 64
OFTEN = 0.5
"""Seconds between two notes of how far a snapshot is."""
UPLOADED = (Snapshot.disk == COPIED) & Snapshot.parent.is_(None)
"""Snapshots whose bytes come from their owner, block by block, or out of a file."""


def capture(database: Database, host: VolumeHost) -> bool:
    """Take what snapshots are wanted, end what images wait for them, drop what is forgotten. True: again soon."""
    return any([step(database, host) for step in (_take_snapshots, _finish_images, _drop_relics)])


def tidy(host: VolumeHost) -> bool:
    """Let the driver do one piece of what is good for the medium. True when more is left."""
    try:
        return host.driver.tidy()
    except NativeError as error:
        known(error)
        return False


def _take_snapshots(database: Database, host: VolumeHost) -> bool:
    """Copy the bytes of every pending snapshot; those of one set together."""
    if host.pause.holds():
        return True
    with database.unit(None, write=False) as unit:
        rows = unit.session.execute(
            select(Snapshot.id, Snapshot.disk, Snapshot.parent, Snapshot.failures, Snapshot.notes)
            .where(Snapshot.state == SnapshotState.PENDING, ~UPLOADED)
            .order_by(Snapshot.started)
            .limit(BATCH)
        ).all()
    sets: dict[str, list[Any]] = {}
    for row in rows:
        if row.notes.get(HELD):
            continue
        sets.setdefault(row.notes.get(SET) or row.id, []).append(row)
    again = False
    for members in sets.values():
        stored: Mapping[str, int] = {}
        fault: NativeError | None = None
        try:
            stored = _copies(host, members, _Progress(database))
        except NativeError as error:
            fault, again = known(error), True
        if isinstance(fault, Unavailable):
            host.pause.begin()
            continue
        host.pause.end()
        with database.unit(None, write=True) as unit:
            ended = fault is None
            for id, _, _, failures, _ in members:
                values: dict[str, Any]
                if fault is None:
                    values = {"state": SnapshotState.COMPLETED, "stored": stored[id], "completed": unit.now}
                else:
                    values = {"failures": failures + 1}
                    if hopeless(fault, failures):
                        values |= {"state": SnapshotState.ERROR, "reason": str(fault)[:255]}
                        ended = True
                unit.session.execute(update(Snapshot).where(Snapshot.id == id).values(**values))
            if isinstance(fault, Missing):
                unit.nudge(FILES)
            if ended:
                # Disks that are to be dropped wait for their snapshots, and so do guests that are switched off.
                unit.nudge("volume")
    return again or len(rows) == BATCH


def _copies(host: VolumeHost, members: list[Any], report: Report) -> Mapping[str, int]:
    """Take the snapshots of one set."""
    first = members[0]
    if first.parent:
        return {first.id: host.driver.ensure_copy(first.id, first.parent, report)}
    return host.driver.ensure_snapshots({row.id: row.disk for row in members}, report)


class _Progress:
    """A `Report` that writes how far snapshots are, now and then."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._told: dict[str, float] = {}

    def __call__(self, snapshot: str, percent: int) -> None:
        now = time.monotonic()
        if now - self._told.get(snapshot, 0.0) < OFTEN:
            return
        self._told[snapshot] = now
        with self._database.unit(None, write=True) as unit:
            still = (Snapshot.id == snapshot, Snapshot.state == SnapshotState.PENDING)
            unit.session.execute(update(Snapshot).where(*still).values(progress=max(0, min(percent, 99))))


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
            known(error)
            again = True
        else:
            with database.unit(None, write=True) as unit:
                unit.session.execute(delete(Relic).where(Relic.id == id))
    return again or len(ids) == BATCH
