"""Leaving machinery alone that is away, ever longer, so that nobody asks it in a hot loop whether it is back."""

from __future__ import annotations

import time

FIRST = 0.25
MOST = 5.0
"""Seconds between two attempts: at first, and at most."""


class Pause:
    """How long one piece of machinery is left alone. For one thread that decides; others may look."""

    def __init__(self, first: float = FIRST, most: float = MOST) -> None:
        self._first, self._most = first, most
        self._length, self._until = 0.0, 0.0
        self._since: float | None = None

    @property
    def away(self) -> bool:
        """Whether the machinery was away when it was tried last."""
        return self._since is not None

    def holds(self) -> bool:
        """Whether the machinery is not to be tried yet."""
        return self._since is not None and time.monotonic() < self._until

    def begin(self) -> None:
        """The machinery was found away: leave it alone for a while, longer than the last time."""
        now = time.monotonic()
        if self._since is None:
            self._since, self._length = now, self._first
        elif now >= self._until:
            self._length = min(self._length * 2, self._most)
        else:
            return
        self._until = now + self._length

    def end(self) -> None:
        """The machinery is there."""
        self._since = None

    def lasted(self) -> float:
        """Seconds since it was found away first; 0 when it is not."""
        return 0.0 if self._since is None else time.monotonic() - self._since
