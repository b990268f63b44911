"""The clock of a cloud: the machine's own, moved on by as much as a test has asked for.

The offset lies in a file of the data folder that all processes of a cloud map into their memory: a move holds for all
of them at once, and after a restart time goes on from where it was. What proves who a caller is (signatures and their
age) goes by the machine's clock (`wall`) whatever the offset says.
"""

from __future__ import annotations

import mmap
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

FURTHEST = 200 * 365 * 86400
"""Seconds that a clock can be ahead; beyond lie years that formats of dates cannot say."""


def wall() -> datetime:
    """The machine's own time."""
    return datetime.now(UTC)


class Clock:
    """Call it for the moment: aware, in UTC."""

    def __init__(self, file: Path | None = None) -> None:
        """`file`: where the offset is kept; without one it is this process's alone."""
        if file is None:
            self._offset = memoryview(bytearray(8)).cast("q")
            return
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.truncate(descriptor, 8)
            self._offset = memoryview(mmap.mmap(descriptor, 8)).cast("q")
        finally:
            os.close(descriptor)

    def __call__(self) -> datetime:
        ahead = self._offset[0]
        return datetime.now(UTC) + timedelta(microseconds=ahead) if ahead else datetime.now(UTC)

    @property
    def ahead(self) -> float:
        """Seconds that this clock is ahead of the machine's."""
        return self._offset[0] / 1_000_000

    def advance(self, seconds: float) -> None:
        """Move on by `seconds`. Raises `ValueError` for a move back, or one too far."""
        if not 0 <= seconds <= FURTHEST - self.ahead:
            raise ValueError("time moves forward, and by no more than two centuries")
        self._offset[0] += round(seconds * 1_000_000)

    def reset(self) -> None:
        """Go by the machine's time again."""
        self._offset[0] = 0
