"""Guests that are switched off while their disks are captured, and then start again, without being told stopped.

The snapshots of such a capture are held until the guest is off; the guest is until they have come to an end.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from backends.compute.host import ComputeHost, has_failed
from backends.compute.models import Guest
from backends.db import Database, Unit
from backends.volume.models import Snapshot, SnapshotState
from backends.volume.service import HELD, SET

CAPTURES = "captures"
"""The note of a guest that names the sets of snapshots for which it is switched off."""


def is_captured(guest: Guest) -> bool:
    """Whether the guest is to be off for a capture."""
    return bool(guest.notes.get(CAPTURES))


def capture_still(database: Database, host: ComputeHost, guests: Sequence[Guest]) -> bool:
    """Switch these guests off, have their captures made, and let go of those whose captures have ended.

    True when some are to be looked at again soon; the end of a capture is told by itself.
    """
    again = False
    for guest, outcome in host.each(guests, lambda guest: host.driver.ensure_stopped(guest.id, force=False)):
        if has_failed(outcome, "stopping %s for a capture", guest) or not outcome:
            again = True
        else:
            with database.unit(None, write=True) as unit:
                again |= _go_on(unit, guest)
    return again


def _go_on(unit: Unit, guest: Guest) -> bool:
    release(unit, guest)
    row = unit.session.get(Guest, guest.id)
    if row is None or row.generation != guest.generation:
        return True
    if any(one.state == SnapshotState.PENDING for one in _captured(unit, guest)):
        return False
    row.notes = {name: value for name, value in row.notes.items() if name != CAPTURES}
    return True


def release(unit: Unit, guest: Guest) -> None:
    """The guest is off: what is held of its captures can be made."""
    for snapshot in _captured(unit, guest):
        if snapshot.notes.get(HELD):
            snapshot.notes = {name: value for name, value in snapshot.notes.items() if name != HELD}
            unit.nudge("volume")


def _captured(unit: Unit, guest: Guest) -> Sequence[Snapshot]:
    sets = guest.notes.get(CAPTURES)
    if not sets:
        return ()
    return unit.session.scalars(select(Snapshot).where(Snapshot.notes[SET].as_string().in_(sets))).all()
