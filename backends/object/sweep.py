"""The sweeper: blobs that no row knows are what a killed process left, or a reset, and go."""

from __future__ import annotations

import time
from collections.abc import Iterator

from sqlalchemy import bindparam, select

from backends.object.ledger import Statement
from backends.object.models import Blob
from backends.object.store import ObjectStore

KNOWN = Statement(select(Blob.uses).where(Blob.name == bindparam("name")), "name")
SLICE = 20_000
PERIOD = 3600.0


class Sweeper:
    """Looks through all blobs in slices, then rests. For one reconciler; other threads may work meanwhile."""

    def __init__(self, store: ObjectStore, *, grace: float) -> None:
        """`grace`: seconds for which a blob that no row knows may belong to another process that is about to publish
        it; 0 where no other process works on this store."""
        self._store, self._grace = store, grace
        self._round: Iterator[int] | None = None
        self._due = 0.0
        self.removed = 0

    def begin(self) -> None:
        """Make a round due, from the beginning."""
        self._round, self._due = None, 0.0

    def step(self) -> bool:
        """A slice of the round that is due; whether some of it is left."""
        if self._round is None:
            if time.monotonic() < self._due:
                return False
            self._round = self._sweep()
        for _ in range(SLICE):
            if next(self._round, None) is None:
                self._round, self._due = None, time.monotonic() + PERIOD
                return False
        return True

    def _sweep(self) -> Iterator[int]:
        contents, ledger = self._store.contents, self._store.ledger
        for name, age in contents.driver.names():
            # First whether this process publishes it, then the index: what it published in between is known by then.
            if age >= self._grace and not contents.spared(name) and ledger.read().one(KNOWN, name) is None:
                contents.driver.remove(name)
                self.removed += 1
            yield self.removed
