"""Bytes that move while an operation runs: what a handler reads of a request, and what it hands back to be sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

BLOCK = 1 << 20
"""Bodies move in blocks of at most this many bytes."""


def nothing() -> None:
    """The `close` of a stream that holds nothing."""


class RequestBody(Protocol):
    """A request's body. It blocks: read it on a worker thread, once, from beginning to end.

    What was promised about the body (length, digests, chunk signatures) is checked while it is read: whoever has come
    to the end of `blocks` without an exception has read what the caller meant to send, and not before.
    """

    @property
    def length(self) -> int | None:
        """The number of bytes that `blocks` yields, where the request states it."""

    @property
    def checksums(self) -> Mapping[str, str | None]:
        """Declared checksums by algorithm (`CRC32`, `CRC32C`, `CRC64NVME`, `SHA1`, `SHA256`, …), base64; None while the
        value is still to come in a trailer."""

    @property
    def trailers(self) -> Mapping[str, str]:
        """Trailing headers by lower-case name; complete after the last block."""

    def want(self, *algorithms: str) -> None:
        """Have these algorithms (also `MD5`) computed while the body is read. Call it before the first block."""

    def digest(self, algorithm: str) -> bytes:
        """The digest of the whole body in an algorithm that was wanted or declared; after the last block."""

    def blocks(self) -> Iterator[bytes]:
        """The body, decoded, in blocks of at most `BLOCK` bytes, none of them empty.

        Raises `AWSError` when the body is not what was promised, and `ClientGone` when the client left.
        """


class ClientGone(Exception):
    """The client closed the connection before it had sent or received everything. Nobody is left to answer."""


class FileRange(NamedTuple):
    """`length` bytes from `offset` of an open file; its descriptor stays open until the stream is closed."""

    descriptor: int
    offset: int
    length: int


@dataclass(slots=True)
class Stream:
    """An answer's body: exactly `length` bytes in `blocks` (None: as many as come). `close` is called once, whatever
    happens."""

    length: int | None
    blocks: Iterator[bytes]
    close: Callable[[], None] = nothing
    files: Sequence[FileRange] = ()
    """The same bytes where they lie in open files, if they do: then a server may send them without reading them."""
    fill: Callable[[memoryview], int] | None = None
    """The same bytes, from the beginning, put into a buffer of the server's: how many (0: the end). `blocks` is not
    read then."""


@dataclass(slots=True)
class Events:
    """An answer that is a stream of events: pairs of a name in the model and its members, or `error` and an `AWSError`,
    which is the last. `close` is called once, whatever happens."""

    events: Iterator[tuple[str, Any]]
    close: Callable[[], None] = nothing
