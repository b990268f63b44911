"""The machine that keeps disks, and how much patience is had with it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from backends.db import Unit
from backends.errors import DriverError, Exhausted, Missing, NativeError, Unavailable, Unsupported
from backends.pause import Pause
from backends.volume.drivers.base import Burst, DiskDriver, steady

PATIENCE = 8
"""So many failed attempts are made before a thing is called broken; a full medium or no source is not retried."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class VolumeHost:
    """The machine that keeps the disks. `forgotten` is told, in the unit of work, the ids of disks that are gone."""

    driver: DiskDriver
    forgotten: Callable[[Unit, Sequence[str]], None] = lambda unit, ids: None
    burst: Burst = steady
    pause: Pause = field(default_factory=Pause)
    """How long snapshots are not tried, since what holds their disks open is away."""


def known(error: NativeError) -> NativeError:
    """The error, if it is one that a driver may raise; anything else goes on its way."""
    if not isinstance(error, (DriverError, Exhausted, Missing, Unsupported)):
        raise error
    _log.warning("disk driver: %s", error)
    return error


def hopeless(error: NativeError, failures: int) -> bool:
    """Whether it makes no sense to try again after so many failures."""
    if isinstance(error, Unavailable):
        return False
    return not isinstance(error, DriverError) or failures + 1 >= PATIENCE
