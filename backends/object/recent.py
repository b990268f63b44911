"""Small objects as they were read last, good while nobody has written anything since.

Only for a database that no other process writes to. Whoever reads takes the mark first, then looks into the index: what
is committed in between moves the mark, so an entry is never older than the last write that was acknowledged.
"""

from __future__ import annotations

from collections import OrderedDict

from backends.db import Database
from backends.object.versions import Head

MOST = 512
"""Objects, of which each is at most as long as what lies in the index: 8 MiB in all."""

Found = tuple[Head, bytes]


class Recent:
    """A few newest versions by container and key, with their bytes as a reader gets them."""

    def __init__(self, database: Database) -> None:
        self._turn = database.turn if database.exclusive and database.is_sqlite else None
        self._kept: OrderedDict[tuple[int, str], tuple[int, Head, bytes]] = OrderedDict()

    def mark(self) -> int:
        """What stands for everything that was written until now."""
        return -1 if self._turn is None else self._turn.ended

    def find(self, container: int, key: str) -> Found | None:
        """What was kept, if it still holds."""
        entry = self._kept.get((container, key))
        if entry is None or self._turn is None or entry[0] != self._turn.ended:
            return None
        return entry[1], entry[2]

    def keep(self, mark: int, container: int, key: str, head: Head, data: bytes) -> None:
        """Keep what was looked up after `mark` was taken."""
        if self._turn is None:
            return
        kept, name = self._kept, (container, key)
        kept[name] = mark, head, data
        kept.move_to_end(name)
        if len(kept) > MOST:
            kept.popitem(last=False)
