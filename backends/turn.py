"""The turn to write."""

from __future__ import annotations

import threading
from types import TracebackType


class Turn:
    """A lock that counts how often it was given back: as long as `ended` stays the same, nobody has written."""

    __slots__ = ("_lock", "ended")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.ended = 0

    def acquire(self) -> None:
        """Wait for the turn."""
        self._lock.acquire()

    def release(self) -> None:
        """Give it back; from here on what was written counts as seen by nobody yet. May be another thread's call."""
        self.ended += 1
        self._lock.release()

    def locked(self) -> bool:
        """Whether somebody has it."""
        return self._lock.locked()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
