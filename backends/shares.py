"""How much of something each asker may have at a time, and all of them together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable


class Share:
    """Counts what is under way, on one event loop. Askers are told apart by a text, an address for example."""

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._held: Counter[str] = Counter()

    def take(self, asker: str) -> bool:
        """Begin something of an asker's, if there is room for it; whoever is told True calls `give` afterwards."""
        if self._held[asker] >= self._most_of_one or self._held.total() >= self._most:
            return False
        self._held[asker] += 1
        return True

    def give(self, asker: str) -> None:
        """Say that something of an asker's has ended."""
        self._held[asker] -= 1
        if not self._held[asker]:
            del self._held[asker]

    async def use(self, asker: str, work: Awaitable[None]) -> None:
        """Wait for what was begun with `take`, and give its place back, whatever becomes of it."""
        try:
            await work
        finally:
            self.give(asker)
