"""Small objects as they were read last, good while nobody has written anything since.

Only for SQLite. Whoever reads takes the mark first, then looks into the index: what
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
        self.mark = database.mark
        self._kept: OrderedDict[tuple[int, str], tuple[int, Head, bytes]] = OrderedDict()

    def find(self, container: int, key: str) -> Found | None:
        """What was kept, if it still holds."""
        entry = self._kept.get((container, key))
        if entry is None or entry[0] != self.mark():
            return None
        return entry[1], entry[2]

    def keep(self, mark: int, container: int, key: str, head: Head, data: bytes) -> None:
        """Keep what was looked up after `mark` was taken."""
        if mark < 0:
            return
        kept, name = self._kept, (container, key)
        kept[name] = mark, head, data
        kept.move_to_end(name)
        if len(kept) > MOST:
            kept.popitem(last=False)
