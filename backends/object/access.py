"""Lines of access logs: gathered in memory, kept in the index, put together into objects from time to time.

Such a log tells what happened as well as it can: lines that a killed process had not kept yet (a second's worth) are
lost, and none is ever delivered twice.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, delete, func, insert, select

from backends.db import EPOCH, MICROSECOND, Database
from backends.object.ledger import Ledger, Statement, Transaction
from backends.object.models import AccessLine

ACCESS = "access"
"""The topic."""
MOST_LINES = 5000
"""In one object, and in memory."""
OLDEST = 60_000_000
"""Microseconds for which lines gather before they are delivered."""


class Line(NamedTuple):
    """A line; `at` is the moment of the request in microseconds."""

    number: int
    at: int
    text: str


_COLUMNS = ("tenant", "container", "at", "line")
ADD = Statement(insert(AccessLine).values({name: bindparam(name) for name in _COLUMNS}), *_COLUMNS)
WAITING = Statement(
    select(AccessLine.container, func.min(AccessLine.at), func.count(AccessLine.number)).group_by(AccessLine.container)
)
OF = Statement(
    select(AccessLine.number, AccessLine.at, AccessLine.line)
    .where(AccessLine.container == bindparam("container"))
    .order_by(AccessLine.number)
    .limit(bindparam("most")),
    "container", "most",
)  # fmt: skip
DONE = Statement(
    delete(AccessLine).where(AccessLine.container == bindparam("container"), AccessLine.number <= bindparam("last")),
    "container", "last",
)  # fmt: skip

Deliver = Callable[[int, Sequence[Line]], None]
"""Puts lines of a container where they belong, or drops them; it calls `AccessLines.done` in the same transaction."""


class AccessLines:
    """The lines of one process on their way. Threads may share it."""

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database, self._ledger = database, ledger
        self._lock = threading.Lock()
        self.waiting: list[tuple[str, int, int, str]] = []

    def note(self, tenant: str, container: int, at: int, line: str) -> None:
        """Remember a line. Where nobody keeps up, the newest are dropped."""
        with self._lock:
            if len(self.waiting) < MOST_LINES:
                self.waiting.append((tenant, container, at, line))

    def keep(self) -> None:
        """Write what was remembered into the index."""
        with self._lock:
            lines, self.waiting = self.waiting, []
        if lines:
            self._ledger.write(lambda tx: tx.run_many(ADD, lines))

    def done(self, tx: Transaction, container: int, last: int) -> None:
        """Forget a container's lines up to a number, in the transaction that delivers them."""
        tx.run(DONE, container, last)

    def step(self, deliver: Deliver) -> bool:
        """Deliver what has gathered for long enough. For one reconciler."""
        now = (self._database.clock() - EPOCH) // MICROSECOND
        more = False
        for container, oldest, count in self._ledger.read().all(WAITING):
            if count >= MOST_LINES or oldest <= now - OLDEST:
                lines = [Line._make(row) for row in self._ledger.read().all(OF, container, MOST_LINES)]
                deliver(container, lines)
                more = more or count > MOST_LINES
        return more
