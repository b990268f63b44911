"""Checksums over streams: one object per algorithm, their combination over parts, and checksums of checksums.

Algorithms are named in capitals as S3 names them. The CRCs are linear: those of parts give that of the whole
(`combine`); the others can only be hashed once more over the digests of the parts (`composite`).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from awscrt.checksums import XXHash


class Checksum(Protocol):
    """A running checksum."""

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        """Take in more bytes. Blocks of more than a few KiB are hashed without holding the interpreter."""

    def digest(self) -> bytes:
        """The checksum of everything so far, big-endian."""


class _Crc:
    __slots__ = ("_function", "_size", "_value")

    def __init__(self, function: Callable[..., int], size: int) -> None:
        self._function, self._size, self._value = function, size, 0

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size, "big")


class _XxHash:
    """`digest` ends it: more bytes after that are a mistake of the caller."""

    __slots__ = ("_digest", "_state")

    def __init__(self, state: XXHash) -> None:
        self._state = state
        self._digest: bytes | None = None

    def update(self, data: bytes | bytearray | memoryview, /) -> None:
        self._state.update(data if isinstance(data, bytes) else bytes(data))

    def digest(self) -> bytes:
        if self._digest is None:
            self._digest = self._state.finalize()
        return self._digest


@cache
def _crt() -> ModuleType:
    """The library of CRCs; it is large, so it is loaded when the first one is asked for."""
    from awscrt import checksums

    module: ModuleType = checksums
    return module


_MAKERS: dict[str, Callable[[], Checksum]] = {
    "CRC32": lambda: _Crc(_crt().crc32, 4),
    "CRC32C": lambda: _Crc(_crt().crc32c, 4),
    "CRC64NVME": lambda: _Crc(_crt().crc64nvme, 8),
    "SHA1": lambda: hashlib.sha1(usedforsecurity=False),
    "SHA256": hashlib.sha256,
    "SHA512": hashlib.sha512,
    "MD5": lambda: hashlib.md5(usedforsecurity=False),
    "XXHASH64": lambda: _XxHash(_crt().XXHash.new_xxhash64()),
    "XXHASH3": lambda: _XxHash(_crt().XXHash.new_xxhash3_64()),
    "XXHASH128": lambda: _XxHash(_crt().XXHash.new_xxhash3_128()),
}
_COMBINERS = {"CRC32": "combine_crc32", "CRC32C": "combine_crc32c", "CRC64NVME": "combine_crc64nvme"}
SIZES: dict[str, int] = {
    "CRC32": 4,
    "CRC32C": 4,
    "CRC64NVME": 8,
    "SHA1": 20,
    "SHA256": 32,
    "SHA512": 64,
    "MD5": 16,
    "XXHASH64": 8,
    "XXHASH3": 8,
    "XXHASH128": 16,
}
"""Algorithm -> bytes in its digest."""


def checksum(algorithm: str) -> Checksum:
    """A new running checksum. Raises KeyError for an algorithm not in `SIZES`."""
    return _MAKERS[algorithm]()


def of(algorithm: str, data: bytes) -> bytes:
    """The checksum of some bytes."""
    running = _MAKERS[algorithm]()
    running.update(data)
    return running.digest()


def is_linear(algorithm: str) -> bool:
    """Whether checksums of parts combine into that of the whole."""
    return algorithm in _COMBINERS


def combine(algorithm: str, parts: Iterable[tuple[bytes, int]]) -> bytes:
    """The checksum of the whole from (digest, length in bytes) of its parts in order. Only for linear algorithms."""
    function, total = getattr(_crt(), _COMBINERS[algorithm]), 0
    for digest, length in parts:
        total = function(total, int.from_bytes(digest, "big"), length)
    return total.to_bytes(SIZES[algorithm], "big")


def composite(algorithm: str, digests: Iterable[bytes]) -> bytes:
    """The checksum of the digests of the parts, one after another."""
    return of(algorithm, b"".join(digests))


def encode(digest: bytes) -> str:
    """A digest as S3 writes it: base64."""
    return base64.b64encode(digest).decode()


def decode(algorithm: str, text: str) -> bytes | None:
    """The digest that `text` writes; None when it is not the base64 of a digest of that algorithm."""
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return digest if len(digest) == SIZES[algorithm] else None
