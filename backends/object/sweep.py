"""The sweeper: blobs that no row knows are what a killed process left, or a reset, and go."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator

from sqlalchemy import bindparam, select

from backends.object import chores
from backends.object.contents import Contents
from backends.object.ledger import Ledger, Statement
from backends.object.models import Blob

KNOWN = Statement(select(Blob.uses).where(Blob.name == bindparam("name")), "name")
SLICE = 20_000
PERIOD = 3600.0
WORK = "sweep"


class Sweeper:
    """Looks through all blobs in slices, then rests. For one reconciler; other threads may work meanwhile.

    A round begins where the one before it ended or was broken off, and goes once around, in order of names.
    """

    def __init__(self, ledger: Ledger, contents: Contents, *, grace: float) -> None:
        """`grace`: seconds for which a blob that no row knows may belong to another process that is about to publish
        it; 0 where no other process works on this store."""
        self._ledger, self._contents, self._grace = ledger, contents, grace
        self._round: Iterator[str] | None = None
        self._due = 0.0
        self._start = ""
        self._at = ""
        self.seen = 0
        self.removed = 0

    @property
    def fraction(self) -> float:
        """How much of the round is done. Names are by chance, so a name tells how many come before it."""
        return (_place(self._at) - _place(self._start)) % 1.0

    def begin(self) -> None:
        """Make a round due."""
        self._round, self._due = None, 0.0

    def step(self) -> bool:
        """A slice of the round that is due; whether some of it is left."""
        if self._round is None:
            if time.monotonic() < self._due:
                return False
            self._start = self._at = chores.recall(self._ledger.read(), WORK).get("at", "")
            self._round = self._sweep(self._start)
        slice = list(itertools.islice(self._round, SLICE))
        if slice:
            self.seen += len(slice)
            self._at = slice[-1]
        if len(slice) == SLICE:
            self._ledger.write(lambda tx: chores.note(tx, WORK, {"at": self._at}))
            return True
        self._round, self._due = None, time.monotonic() + PERIOD
        return False

    def _sweep(self, start: str) -> Iterator[str]:
        contents, ledger = self._contents, self._ledger
        behind = contents.driver.names(start)
        before = itertools.takewhile(lambda one: one[0] <= start, contents.driver.names())
        for name, age in itertools.chain(behind, before):
            # First whether this process publishes it, then the index: what it published in between is known by then.
            if age >= self._grace and not contents.spared(name) and ledger.read().one(KNOWN, name) is None:
                contents.driver.remove(name)
                self.removed += 1
            yield name


def _place(name: str) -> float:
    return int(name[:8], 16) / (1 << 32) if name else 0.0
