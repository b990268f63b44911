"""Contents as they lie on disk: sealed by AES-256-GCM, each under a key of its own, in segments.

A content has a random key, which the index keeps in sealed form (`ContentKey.sealed`). The store opens those that it
sealed itself; others (`FOREIGN`) are opened by whoever made them, a key service or a caller who brings a key.

A blob is a run of segments of 64 KiB, the last one shorter, each followed by its tag of 16 bytes. Its key is derived
from the content's key and its own name, so that blobs cannot change places; the nonce of a segment holds its number and
whether it is the last one, so that segments can neither change places nor be cut off. No key ever sees the same nonce
twice. A content in the index is a single segment under the content's key itself.

Contents without a sealed key are older than this and lie there as they are.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from functools import lru_cache
from typing import NamedTuple, cast

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backends.errors import Damaged, NativeError
from backends.object.drivers.base import Blob, Block, Writer

SEGMENT = 1 << 16
TAG = 16
STORED = SEGMENT + TAG
AHEAD = 4  # blocks that may wait for the cipher while the next ones are hashed
MANY = 1 << 20  # bytes from which sealing has a thread of its own

DERIVED, WRAPPED, FOREIGN = b"\x01", b"\x02", b"\x03"
"""The first byte of a sealed key: derived from the store's key, wrapped by it, or somebody else's."""

_LAST = (1 << 88).to_bytes(12, "big")  # the nonce of the last segment, if it is the first one, too
_WRAP = b"content key"


class Locked(NativeError):
    """The content's key is not the store's to open, and nobody opened it."""


class Tampered(Damaged):
    """The bytes on disk are not those that were written, or not in their place."""


class ContentKey(NamedTuple):
    """The key of one content: 32 bytes, and the form in which the index keeps it."""

    plain: bytes
    sealed: bytes


class ContentKeys:
    """Makes and opens the keys of contents. `master`: 32 bytes that outlive every content."""

    def __init__(self, master: bytes) -> None:
        self._master = master
        self._wrapper = AESGCM(_derived(master, _WRAP))
        self._derive = lru_cache(4096)(self._derive_now)

    def fresh(self) -> ContentKey:
        """A key for a new content, which this store opens by itself."""
        salt = os.urandom(16)
        return ContentKey(_derived(self._master, salt), DERIVED + salt)

    def wrap(self, plain: bytes) -> bytes:
        """The sealed form, for this store, of a key that exists already."""
        nonce = os.urandom(12)
        return WRAPPED + nonce + self._wrapper.encrypt(nonce, plain, None)

    def open(self, sealed: bytes) -> bytes:
        """The key behind a sealed form. Raises `Locked` for foreign ones and `Tampered`."""
        kind = sealed[:1]
        if kind == DERIVED:
            return self._derive(sealed[1:])
        if kind != WRAPPED:
            raise Locked("the content's key is not the store's")
        try:
            return self._wrapper.decrypt(sealed[1:13], sealed[13:], None)
        except InvalidTag:
            raise Tampered("the content's key was not wrapped by this store") from None

    def _derive_now(self, salt: bytes) -> bytes:
        return _derived(self._master, salt)


def _derived(key: bytes, salt: bytes) -> bytes:
    """Keyed BLAKE2b as a key derivation function: a third of HMAC-SHA256's time, which small objects would feel."""
    return hashlib.blake2b(salt, key=key, digest_size=32).digest()


def stored_size(size: int) -> int:
    """How many bytes a sealed blob of `size` bytes has."""
    return size + TAG * (-(-size // SEGMENT) or 1)


def seal_small(key: bytes, data: bytes) -> bytes:
    """A content for the index, sealed; 16 bytes longer. One key seals one content."""
    return AESGCM(key).encrypt(_LAST, data, None)


def open_small(key: bytes, data: bytes) -> bytes:
    """What `seal_small` sealed. Raises `Tampered`."""
    try:
        return _opener(key).decrypt(_LAST, data, None)
    except InvalidTag:
        raise Tampered("a content in the index is not what was written") from None


@lru_cache(4096)
def _opener(key: bytes) -> AESGCM:
    """Kept, since the first use of a cipher costs more than the opening of a small content."""
    return AESGCM(key)


class _Sealer:
    """Seals a stream. The newest segment is held back, since it may be the last."""

    def __init__(self, key: bytes, name: str) -> None:
        self._cipher = AESGCM(_derived(key, name.encode()))
        self._held = b""
        self._number = 0

    def feed(self, block: Block) -> memoryview | None:
        """What is complete with `block`, sealed; None where that is nothing."""
        total = len(self._held) + len(block)
        segments = max(-(-total // SEGMENT) - 1, 0)
        if not segments:
            self._held += block
            return None
        sealed = memoryview(bytearray(segments * STORED))
        rest, missing = memoryview(block), SEGMENT - len(self._held)
        for place in range(segments):
            part: bytes | memoryview = rest[:SEGMENT]
            if not place and self._held:
                part = self._held + rest[:missing]
                rest = rest[missing:]
            else:
                rest = rest[SEGMENT:]
            nonce = _nonce(self._number, last=False)
            self._cipher.encrypt_into(nonce, part, None, sealed[place * STORED : (place + 1) * STORED])
            self._number += 1
        self._held = bytes(rest)
        return sealed

    def finish(self) -> bytes:
        """The last segment, sealed."""
        return self._cipher.encrypt(_nonce(self._number, last=True), self._held, None)


def _nonce(number: int, *, last: bool) -> bytes:
    return (number | last << 88).to_bytes(12, "big")


class SealedWriter:
    """A writer that seals for another; of a large content on a thread, so that the caller hashes the next block
    meanwhile (hashing lets other threads run). Promises: see `Writer`. `name`: that of the blob."""

    def __init__(self, writer: Writer, key: bytes, name: str) -> None:
        self._writer = writer
        self._sealer = _Sealer(key, name)
        self._written = 0
        self._thread: threading.Thread | None = None
        self._blocks: queue.Queue[Block | None] = queue.Queue(AHEAD)
        self._fault: Exception | None = None

    def write(self, block: Block) -> None:
        """Append; the fault of an earlier block may surface here."""
        self._written += len(block)
        if self._thread is None and self._written > MANY:
            self._thread = threading.Thread(target=self._drain, name="blob-sealer", daemon=True)
            self._thread.start()
        if self._thread is not None:
            self._blocks.put(block)
        else:
            self._append(block)
        if self._fault is not None:
            raise self._fault

    def keep(self) -> None:
        """Seal the rest, then keep."""
        self._settle()
        if self._fault is not None:
            raise self._fault
        self._writer.write(self._sealer.finish())
        self._writer.keep()

    def discard(self) -> None:
        """Drop what was not kept."""
        self._settle()
        self._writer.discard()

    def _append(self, block: Block) -> None:
        if (sealed := self._sealer.feed(block)) is not None:
            self._writer.write(sealed)

    def _drain(self) -> None:
        while (block := self._blocks.get()) is not None:
            if self._fault is None:
                try:
                    self._append(block)
                except Exception as fault:  # noqa: BLE001 - raised in the thread that brings the blocks
                    self._fault = fault

    def _settle(self) -> None:
        if self._thread is not None:
            self._blocks.put(None)
            self._thread.join()
            self._thread = None


class SealedBlob:
    """A sealed blob, read as if it were plain: a read opens only the segments that it touches. Promises: see `Blob`."""

    descriptor: int | None = None

    def __init__(self, blob: Blob, key: bytes, name: str, size: int) -> None:
        """`size`: how many bytes were written. Raises `Tampered` when the blob cannot hold just as many."""
        if blob.size != stored_size(size):
            blob.close()
            raise Tampered(f"blob {name} has {blob.size} bytes, {stored_size(size)} expected")
        self._blob, self._name = blob, name
        self._cipher = AESGCM(_derived(key, name.encode()))
        self._final = max(-(-size // SEGMENT) - 1, 0)
        self._stored = memoryview(b"")
        """What `read_into` reads into, time and again."""
        self.size = size

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; fewer only at the end. Raises `Tampered`."""
        stop = min(offset + length, self.size)
        if stop <= offset:
            return b""
        first, last = offset // SEGMENT, (stop - 1) // SEGMENT
        stored = memoryview(self._blob.read(first * STORED, (last - first + 1) * STORED))
        start = first * SEGMENT
        opened = bytearray(min((last + 1) * SEGMENT, self.size) - start)
        place = memoryview(opened)
        try:
            for number in range(last - first + 1):
                self._cipher.decrypt_into(
                    _nonce(first + number, last=first + number == self._final),
                    stored[number * STORED : (number + 1) * STORED],
                    None,
                    place[number * SEGMENT : (number + 1) * SEGMENT],
                )
        except (InvalidTag, ValueError):
            raise Tampered(
                f"blob {self._name} is not what was written, from byte {(first + number) * SEGMENT}"
            ) from None
        if len(opened) != stop - offset:
            return bytes(place[offset - start : stop - start])
        return cast("bytes", opened)  # nobody changes it, and a copy would take a third of the time

    @property
    def is_local(self) -> bool:
        """Whether it lies in an open file, so that `read_into` may be used."""
        return self._blob.descriptor is not None

    def read_into(self, offset: int, place: memoryview) -> int:
        """Up to as many bytes from `offset` as `place` holds, without a copy where whole segments are wanted; how many,
        0 at the end. Raises `Tampered`."""
        file = self._blob.descriptor
        assert file is not None
        number, skipped = divmod(offset, SEGMENT)
        whole = 0 if skipped else len(place) // SEGMENT
        length = min(whole * SEGMENT, self.size - offset)
        if length <= 0:
            data = self.read(offset, min(len(place), SEGMENT - skipped))
            place[: len(data)] = data
            return len(data)
        segments = -(-length // SEGMENT)
        if len(self._stored) < segments * STORED:
            self._stored = memoryview(bytearray(segments * STORED))
        got = os.preadv(file, [self._stored[: segments * STORED]], number * STORED)
        try:
            for i in range(segments):
                self._cipher.decrypt_into(
                    _nonce(number + i, last=number + i == self._final),
                    self._stored[i * STORED : min((i + 1) * STORED, got)],
                    None,
                    place[i * SEGMENT : min((i + 1) * SEGMENT, length)],
                )
        except (InvalidTag, ValueError):
            raise Tampered(f"blob {self._name} is not what was written, from byte {(number + i) * SEGMENT}") from None
        return length

    def close(self) -> None:
        """Free it."""
        self._blob.close()
