"""One machine that runs guests, with what it needs for that."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from sqlalchemy import or_

from backends.compute.drivers.base import GuestDriver, Sighting
from backends.compute.models import Guest
from backends.db import Unit
from backends.errors import Away, DriverError, NativeError
from backends.network.book import NetworkHost
from backends.pause import Pause
from backends.volume.drivers.base import Burst, DiskDriver, steady

T = TypeVar("T")
R = TypeVar("R")
_log = logging.getLogger(__name__)

PATROL = 10.0
"""Seconds between two looks at the machine that nothing gave rise to."""


class Notices:
    """Remembers that something happened on the machine, from whatever thread it is told."""

    def __init__(self) -> None:
        self._told = threading.Event()
        self._last = float("-inf")

    def tell(self) -> None:
        """Something happened: the next look is due."""
        self._told.set()

    def due(self) -> bool:
        """Whether to look now; takes the notice away."""
        if not self._told.is_set() and time.monotonic() - self._last < PATROL:
            return False
        self._told.clear()
        self._last = time.monotonic()
        return True


@dataclass(frozen=True, slots=True)
class Stuck:
    """A guest that was found held for want of room: as it was seen, and when, by the monotonic clock, that was, or it
    was let go on last."""

    sighting: Sighting
    tried: float


@dataclass(frozen=True, slots=True)
class ComputeHost:
    """One machine: what runs guests there, what keeps the disks that they open, and the networks they are plugged into.

    Terminated guests are shown for `shown`. `forgotten` is told, in the unit of work, the ids of what is gone for good.
    Calls for several guests are made by the threads of `crew` side by side; None: one after the other.
    """

    id: str
    driver: GuestDriver
    disks: DiskDriver
    network: NetworkHost
    shown: timedelta = timedelta(hours=1)
    forgotten: Callable[[Unit, Sequence[str]], None] = lambda unit, ids: None
    crew: ThreadPoolExecutor | None = None
    burst: Burst = steady
    notices: Notices = field(default_factory=Notices)
    suspects: dict[str, float] = field(default_factory=dict)
    """Guests that seemed to lack a card, with the time of the monotonic clock when they were first seen so."""
    stuck: dict[str, Stuck] = field(default_factory=dict)
    """Guests that were found held for want of room."""
    pause: Pause = field(default_factory=Pause)
    """How long nothing is tried, since the machinery is away."""

    def each(self, things: Iterable[T], verb: Callable[[T], R]) -> Iterator[tuple[T, R | NativeError]]:
        """Call `verb` with each of the things; what came of it, as it comes. Native errors are results, too; one that
        says that the machinery is away begins a pause."""
        for thing, outcome in self._each(things, verb):
            if isinstance(outcome, Away):
                self.pause.begin()
            yield thing, outcome

    def _each(self, things: Iterable[T], verb: Callable[[T], R]) -> Iterator[tuple[T, R | NativeError]]:
        if self.crew is None:
            yield from ((thing, _outcome(verb, thing)) for thing in things)
            return
        calls = {self.crew.submit(_outcome, verb, thing): thing for thing in things}
        yield from ((calls[call], call.result()) for call in as_completed(calls))


def has_failed(outcome: object, what: str, guest: Guest) -> bool:
    """Whether what came of a verb is a failure of a driver, which is told (`what`: "stopping %s"), to be tried again.
    Raises the outcome where it is another native error."""
    if not isinstance(outcome, NativeError):
        return False
    if not isinstance(outcome, DriverError):
        raise outcome
    _log.warning(what + ": %s", guest.id, outcome)
    return True


def _outcome(verb: Callable[[T], R], thing: T) -> R | NativeError:
    try:
        return verb(thing)
    except NativeError as error:
        return error


def on(host: ComputeHost) -> Any:
    """The condition that a guest is this machine's."""
    return or_(Guest.host == host.id, Guest.host.is_(None))
