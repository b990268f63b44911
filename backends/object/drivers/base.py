"""What a driver of blobs promises."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

Block = bytes | bytearray | memoryview
"""Bytes on their way; whoever takes them may keep them, and nobody changes them any more."""


class Writer(Protocol):
    """A blob that is being written. Nobody sees it before `keep`; an end of the process leaves nothing of it."""

    def write(self, block: Block) -> None:
        """Append. May return before the bytes are anywhere safe."""
        ...

    def keep(self) -> None:
        """Make it durable, then visible under its name, for good: both survive a loss of power. After a failure the
        name may be taken or not; `remove` cleans up either way. Raises `Exists` when another blob has the name."""
        ...

    def discard(self) -> None:
        """Drop it, if it was not kept, and free what it holds. May be repeated."""
        ...


class Blob(Protocol):
    """A kept blob that is open for reading: it stays readable until closed, even when it is removed meanwhile.

    Where blobs do not lie on this machine, that holds for blobs of up to a few MiB, and for larger ones that are read
    from one end to the other, as far as the engine that keeps them allows; a reader that fails says so.
    """

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

    def check_room(self) -> None:
        """Raises `Exhausted` when nothing new should be kept here, so that there is room left for deleting. Cheap."""
        ...

    def create(self, name: str) -> Writer:
        """Begin the blob that is to have this name. Raises `Exhausted` when there is no room."""
        ...

    def open(self, name: str) -> Blob:
        """Open a kept blob. Raises `Missing`."""
        ...

    def remove(self, name: str) -> None:
        """Make it gone. Nothing happens when it is not there, so it may be repeated."""
        ...

    def set_aside(self, name: str) -> None:
        """Move a kept blob to where `open` and `names` do not find it and nobody removes it: it is damaged, and kept
        for whoever wants to look. Nothing happens when it is not there."""
        ...

    def names(self, after: str = "") -> Iterator[tuple[str, float]]:
        """Every kept blob behind the name `after` with its age in seconds, in order of their names. Blobs that come or
        go meanwhile may be missed."""
        ...

    def close(self) -> None:
        """Give back what is held. May be repeated."""
        ...
