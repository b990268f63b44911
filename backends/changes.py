"""Which parts of a topic were changed, so that whoever follows it need not read all of it again."""

from __future__ import annotations

import threading
from collections.abc import Collection

Parts = dict[str, set[str] | None]
"""Topic -> ids of the parts that changed; None: any of them."""


def add_parts(parts: Parts, topic: str, more: Collection[str] | None) -> None:
    """Put some more parts of a topic to the others."""
    held = parts.get(topic, set())
    parts[topic] = None if held is None or more is None else held | set(more)


class Changes:
    """What this process has committed to the topics that somebody follows. One follower a topic."""

    def __init__(self, *, complete: bool) -> None:
        """`complete`: no other process writes to the database, so that this is all there is to know."""
        self._complete = complete
        self._lock = threading.Lock()
        self._parts: Parts = {}

    def note(self, topics: Collection[str], parts: Parts) -> None:
        """Say that a change of `topics` was committed, before anybody is told of it."""
        with self._lock:
            for topic in self._parts.keys() & topics:
                add_parts(self._parts, topic, parts.get(topic))

    def take(self, topic: str) -> set[str] | None:
        """The parts of a topic that changed since this was asked last; None when that can be any, as it is the first
        time. What is read of the database afterwards is as new as the answer, or newer."""
        if not self._complete:
            return None
        with self._lock:
            taken = self._parts.get(topic)
            self._parts[topic] = set()
            return taken
