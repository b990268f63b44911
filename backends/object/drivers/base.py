"""What a driver of blobs promises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class Writer(Protocol):
    """A blob that is being written. Nobody sees it before `keep`; an end of the process leaves nothing of it."""

    def write(self, block: bytes) -> None:
        """Append. May return before the bytes are anywhere safe."""
        ...

    def keep(self, name: str) -> None:
        """Make it durable, then visible under `name`, for good: both survive a loss of power. After a failure the name
        may be taken or not; `remove` cleans up either way. Raises `Exists` when the name is taken."""
        ...

    def discard(self) -> None:
        """Drop it, if it was not kept, and free what it holds. May be repeated."""
        ...


class Blob(Protocol):
    """A kept blob that is open for reading: it stays readable until closed, even when it is removed meanwhile."""

    size: int
    descriptor: int | None
    """An open file in which the bytes lie as they are, or None where there is none."""

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; fewer only at the end."""
        ...

    def close(self) -> None:
        """Free it. May be repeated."""
        ...


class BlobDriver(Protocol):
    """Keeps blobs: named, immutable runs of bytes. Names are 32 hexadecimal digits, chosen by the caller."""

    def create(self) -> Writer:
        """Begin a blob. Raises `Exhausted` when there is no room."""
        ...

    def open(self, name: str) -> Blob:
        """Open a kept blob. Raises `Missing`."""
        ...

    def remove(self, name: str) -> None:
        """Make it gone. Nothing happens when it is not there, so it may be repeated."""
        ...

    def names(self) -> Iterator[tuple[str, float]]:
        """Every kept blob with its age in seconds, in no order. Blobs that come or go meanwhile may be missed."""
        ...
