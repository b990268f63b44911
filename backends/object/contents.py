"""Bytes on their way in and out: receiving with digests, reading ranges, and blobs that readers still need."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from backends import checksum
from backends.errors import DriverError
from backends.object.cipher import ContentKey, SealedBlob, SealedWriter, seal_small
from backends.object.drivers.base import Blob, BlobDriver, Block, Writer

log = logging.getLogger("nephele.object")

BLOCK = 1 << 20
INLINE = 16384
MOST_FILES = 8
CHECK = "CRC64NVME"
"""The checksum that is recorded of what is stored: the fastest there is of 64 bits."""


@dataclass(slots=True)
class Received:
    """A content that has arrived and belongs to nobody yet. Small ones are in `data`, others in a blob that is to have
    the name `name`. Both are sealed, where there is a `key`; `size` counts the bytes that came."""

    size: int
    md5: bytes
    data: bytes | None
    writer: Writer | None
    name: str | None = None
    """The blob's, once it is kept."""
    tally: TalliedWriter | None = None
    """What came to be of the stream on its way to the driver; see `uses.add_blob`."""
    key: ContentKey | None = None

    @property
    def etag(self) -> str:
        """The MD5 digest in hexadecimal."""
        return self.md5.hex()

    def close(self) -> None:
        """Drop what was not kept. May be repeated."""
        if self.writer is not None:
            self.writer.discard()


class TalliedWriter:
    """A blob on its way to the driver, and what the auditor is to find there: so many bytes, with this checksum."""

    __slots__ = ("_check", "_inner", "_name", "size")

    def __init__(self, driver: BlobDriver) -> None:
        self._name = os.urandom(16).hex()
        self._inner = driver.create(self._name)
        self._check = checksum.checksum(CHECK)
        self.size = 0

    @property
    def name(self) -> str:
        """The name that the blob has, or is to have."""
        return self._name

    @property
    def digest(self) -> int:
        """The checksum of what was written."""
        return as_number(self._check.digest())

    def write(self, block: Block) -> None:
        """Append."""
        self.size += len(block)
        self._check.update(block)
        self._inner.write(block)

    def keep(self) -> None:
        """See `Writer`."""
        self._inner.keep()

    def discard(self) -> None:
        """See `Writer`."""
        self._inner.discard()


def as_number(digest: bytes) -> int:
    """A checksum of 64 bits as databases take it: signed."""
    return int.from_bytes(digest, "big", signed=True)


def digest_of(data: bytes) -> int:
    """The checksum that is recorded of a content in the index."""
    return as_number(checksum.of(CHECK, data))


@dataclass(frozen=True, slots=True)
class Extent:
    """A run of bytes of a content: all of a blob. `size` counts them as they came, not as they lie there."""

    blob: str
    start: int
    size: int


class Contents:
    """The blobs of one store, with what this process is doing to them."""

    def __init__(self, driver: BlobDriver, *, inline: int = INLINE) -> None:
        self.driver, self._inline = driver, inline
        self._lock = threading.Lock()
        self._arriving: set[str] = set()
        self._read: Counter[str] = Counter()
        self._condemned: set[str] = set()

    def receive(
        self,
        blocks: Iterable[bytes],
        *,
        key: ContentKey | None,
        inline: bool = True,
        md5: Callable[[], bytes] | None = None,
    ) -> Received:
        """Take all of a stream; whatever the stream raises is raised here, and nothing is left behind.

        With a `key` it is sealed. With `inline`, contents of at most 16 KiB stay in memory for the index. `md5` gives
        the MD5 digest afterwards, where whoever brings the stream computes it anyway.
        """
        self.driver.check_room()
        digest = hashlib.md5(usedforsecurity=False) if md5 is None else None
        small: list[bytes] = []
        size = 0
        writer: Writer | None = None
        tally: TalliedWriter | None = None
        try:
            for block in blocks:
                size += len(block)
                if writer is None and inline and size <= self._inline:
                    small.append(block)
                else:
                    if writer is None:
                        tally = TalliedWriter(self.driver)
                        writer = tally if key is None else SealedWriter(tally, key.plain, tally.name)
                        for held in small:
                            writer.write(held)
                        small.clear()
                    writer.write(block)
                if digest is not None:
                    digest.update(block)
            hashed = digest.digest() if digest is not None else md5() if md5 is not None else b""
            if writer is None:
                data = b"".join(small)
                return Received(size, hashed, data if key is None else seal_small(key.plain, data), None, key=key)
            return Received(size, hashed, None, writer, None, tally, key)
        except BaseException:
            if writer is not None:
                writer.discard()
            raise

    def keep(self, received: Received) -> None:
        """Give a received content its durable name, if it is not for the index. Until `settle` no sweeper takes it."""
        writer, tally = received.writer, received.tally
        if writer is None or tally is None:
            return
        with self._lock:
            self._arriving.add(tally.name)
        received.name = tally.name
        writer.keep()

    def settle(self, received: Received, *, used: bool) -> None:
        """The index knows the content now, or (`used=False`) never will: then the blob goes."""
        name = received.name
        if name is not None:
            if not used:
                self._drop(name)
            with self._lock:
                self._arriving.discard(name)
        received.close()

    def remove(self, names: Iterable[str]) -> None:
        """Drop blobs that the index no longer knows; those being read go when the last reader is done."""
        for name in names:
            with self._lock:
                if self._read[name]:
                    self._condemned.add(name)
                    continue
            self._drop(name)

    def spared(self, name: str) -> bool:
        """Whether this process still needs a blob, whatever the index says."""
        with self._lock:
            return name in self._arriving or bool(self._read[name])

    def lease(self, names: Iterable[str]) -> None:
        """Keep blobs from being removed by this process until `release`."""
        with self._lock:
            self._read.update(names)

    def release(self, names: Iterable[str]) -> None:
        """End a lease; what was condemned meanwhile goes."""
        gone = []
        with self._lock:
            for name in names:
                self._read[name] -= 1
                if not self._read[name]:
                    del self._read[name]
                    if name in self._condemned:
                        self._condemned.discard(name)
                        gone.append(name)
        for name in gone:
            self._drop(name)

    def _drop(self, name: str) -> None:
        """Remove a blob that nobody needs. What the index says is done already, so a fault is left to the sweeper."""
        try:
            self.driver.remove(name)
        except DriverError as fault:
            log.warning("blob %s could not be removed; the sweeper will try again: %s", name, fault)


class Reading:
    """The bytes of a content, block by block. Close it, read or not."""

    def __init__(
        self, contents: Contents, extents: list[Extent], start: int, length: int, key: bytes | None = None
    ) -> None:
        """`extents` cover `start` … `start + length`; sealed ones have a `key`. The first is opened at once: raises
        `Missing` if it is gone."""
        self._contents, self._extents, self._key = contents, extents, key
        self._start, self._length = start, length
        self._names = [extent.blob for extent in extents]
        self._blob: Blob | None = None
        self._more: list[Blob] = []
        self._place, self._offset = 0, start
        contents.lease(self._names)
        try:
            self._blob = self._open(extents[0])
        except BaseException:
            self.close()
            raise

    def _open(self, extent: Extent) -> Blob:
        blob = self._contents.driver.open(extent.blob)
        return blob if self._key is None else SealedBlob(blob, self._key, extent.blob, extent.size)

    def __iter__(self) -> Iterator[bytes]:
        end = self._start + self._length
        try:
            for place, extent in enumerate(self._extents):
                if place:
                    self._blob = self._open(extent)
                blob = self._blob
                assert blob is not None
                offset = max(self._start - extent.start, 0)
                stop = min(end - extent.start, extent.size)
                while offset < stop:
                    # Up to the next whole block, so that no segment of a sealed blob is opened twice.
                    block = blob.read(offset, min(BLOCK - offset % BLOCK, stop - offset))
                    if not block:
                        raise OSError(f"blob {extent.blob} ends at {offset}, {stop} expected")
                    offset += len(block)
                    yield block
                blob.close()
        finally:
            self.close()

    @property
    def filler(self) -> Callable[[memoryview], int] | None:
        """What puts the next bytes into a buffer, instead of iteration: how many, 0 at the end. It raises what reading
        raises. None for contents that do not lie sealed in files of this machine."""
        return self._fill if isinstance(self._blob, SealedBlob) and self._blob.is_local else None

    def _fill(self, place: memoryview) -> int:
        end = self._start + self._length
        extent = self._extents[self._place]
        if self._offset >= min(extent.start + extent.size, end):
            if self._offset >= end:
                return 0
            self._place += 1
            extent = self._extents[self._place]
            assert self._blob is not None
            self._blob.close()
            self._blob = self._open(extent)
        blob = self._blob
        assert isinstance(blob, SealedBlob)
        offset = self._offset - extent.start
        filled = blob.read_into(offset, place[: min(end - extent.start, extent.size) - offset])
        if not filled:
            raise OSError(f"blob {extent.blob} ends at {offset}, {extent.size} expected")
        self._offset += filled
        return filled

    def files(self) -> list[tuple[int, int, int]]:
        """The same bytes as (descriptor, offset, length) of files that are open until `close`; empty where the content
        does not lie in files, or in many."""
        if len(self._extents) > MOST_FILES or self._blob is None or self._blob.descriptor is None:
            return []
        self._more = [self._open(extent) for extent in self._extents[1:]]
        found = []
        for extent, blob in zip(self._extents, (self._blob, *self._more), strict=True):
            assert blob.descriptor is not None
            offset = max(self._start - extent.start, 0)
            stop = min(self._start + self._length - extent.start, extent.size)
            found.append((blob.descriptor, offset, stop - offset))
        return found

    def close(self) -> None:
        """Free what is held. May be repeated."""
        if self._blob is not None:
            self._blob.close()
            self._blob = None
        while self._more:
            self._more.pop().close()
        names, self._names = self._names, []
        self._contents.release(names)
