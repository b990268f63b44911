"""Steps of a driver that are counted, one of which is its last; and the patience of a reconciler."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from backends.errors import DriverError


class Steps:
    """Counts the calls of functions, and has `end` called, with the name, instead of the one with a number."""

    def __init__(self, functions: Iterable[tuple[Any, str]], end: Callable[[str], None]) -> None:
        self.left = self.counted = 0
        self._end = end
        for owner, name in functions:
            setattr(owner, name, self._watched(name, getattr(owner, name)))

    def _watched(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*given: Any, **named: Any) -> Any:
            self.counted += 1
            if self.left:
                self.left -= 1
                if not self.left:
                    self._end(name)
            return real(*given, **named)

        return step


def insist(verb: Callable[[], Any], patience: float = 100.0) -> None:
    """As the reconciler: again, until it is done, for so many seconds."""
    deadline = time.monotonic() + patience
    while True:
        try:
            if verb() is not False:
                return
        except DriverError:
            if time.monotonic() > deadline:
                raise
        assert time.monotonic() < deadline, "it is never done"
        time.sleep(0.02)
