"""Which parts of a topic were changed, so that whoever follows it need not read all of it again.

Where one process alone writes, it remembers them. Else they are written down: a row of `ChangedParts` beside the stamp
that it moved, in the same transaction. Whoever moves a stamp holds its row until the commit, so the values of a topic
are in the order of the commits, without gaps, however early a transaction began. A value without a row (nobody could
tell, or it was pruned) stands for any part.
"""

from __future__ import annotations

import threading
from collections.abc import Collection
from typing import Any

from sqlalchemy import Engine, text

Parts = dict[str, set[str] | None]
"""Topic -> ids of the parts that changed; None: any of them."""

KEPT = 1024
"""How many values of a topic's stamp are kept with their parts, at least."""
PRUNED = 128
"""Every so many rows of a topic that a process writes, beginning with its first, it forgets what is older."""
MOST_PARTS = 256
"""More parts at once are not told one by one."""

READ = text(
    "SELECT stamp.value, changed_parts.value, changed_parts.parts FROM stamp LEFT JOIN changed_parts "
    "ON changed_parts.topic = stamp.topic AND changed_parts.value > :seen AND changed_parts.value <= stamp.value "
    "WHERE stamp.topic = :topic"
)


def add_parts(parts: Parts, topic: str, more: Collection[str] | None) -> None:
    """Put some more parts of a topic to the others."""
    held = parts.get(topic, set())
    parts[topic] = None if held is None or more is None else held | set(more)


class Changes:
    """What was committed to the topics that somebody follows. One follower a topic."""

    def __init__(self, engine: Engine, *, complete: bool) -> None:
        """`complete`: no other process writes to the database, so that what this one commits is all there is."""
        self._engine, self._complete = engine, complete
        self._lock = threading.Lock()
        self._parts: Parts = {}
        self._seen: dict[str, int] = {}
        mark = "?" if engine.dialect.name == "sqlite" else "%s"
        self._write = (
            f"INSERT INTO changed_parts (topic, value, parts) SELECT topic, value, {mark} FROM stamp "
            f"WHERE topic = {mark}"
        )
        self._prune = (
            f"DELETE FROM changed_parts WHERE topic = {mark} AND value <= "
            f"(SELECT stamp.value FROM stamp WHERE stamp.topic = changed_parts.topic) - {KEPT}"
        )
        self._written: dict[str, int] = {}

    def write(self, cursor: Any, topics: Collection[str], parts: Parts) -> None:
        """Write down which parts of `topics` change, inside the cursor's transaction, which has moved their stamps."""
        if self._complete:
            return
        for topic in topics:
            changed = parts.get(topic)
            if changed is not None and len(changed) <= MOST_PARTS:
                cursor.execute(self._write, ("\n".join(sorted(changed)), topic))
                written = self._written.get(topic, 0)
                if written % PRUNED == 0:
                    cursor.execute(self._prune, (topic,))
                self._written[topic] = written + 1

    def note(self, topics: Collection[str], parts: Parts) -> None:
        """Say that a change of `topics` was committed, before anybody is told of it."""
        if not self._complete:
            return
        with self._lock:
            for topic in self._parts.keys() & topics:
                add_parts(self._parts, topic, parts.get(topic))

    def take(self, topic: str) -> set[str] | None:
        """The parts of a topic that changed since this was asked last; None when that can be any, as it is the first
        time. What is read of the database afterwards is as new as the answer, or newer."""
        if not self._complete:
            return self._read(topic)
        with self._lock:
            taken = self._parts.get(topic)
            self._parts[topic] = set()
            return taken

    def _read(self, topic: str) -> set[str] | None:
        """As `take`, from what all processes have written down: in one statement, which sees whole commits only."""
        seen = self._seen.pop(topic, -1)
        with self._engine.connect() as connection:
            rows = connection.execute(READ, {"topic": topic, "seen": seen}).all()
        now = rows[0][0] if rows else 0
        self._seen[topic] = now
        told = [row[2] for row in rows if row[1] is not None]
        if seen < 0 or len(told) != now - seen:
            return None
        return {part for parts in told for part in parts.split("\n") if part}
