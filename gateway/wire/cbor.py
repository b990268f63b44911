"""CBOR (RFC 8949), as far as smithy-rpc-v2 uses it; tag 1 marks instants."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from gateway.wire.scalars import epoch, from_epoch

_DEEPEST = 64
_FLOATS = {25: (">e", 2), 26: (">f", 4), 27: (">d", 8)}
_SIMPLE = {20: False, 21: True, 22: None, 23: None}
_BREAK = object()


def loads(data: bytes) -> Any:
    """The value of one encoded item; instants are aware datetimes. Raises ValueError for anything else."""
    reader = _Reader(data)
    value = reader.item(0)
    if value is _BREAK or reader.at != len(data):
        raise ValueError("not one CBOR item")
    return value


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        end = self.at + size
        if end > len(self.data):
            raise ValueError("truncated CBOR")
        piece = self.data[self.at : end]
        self.at = end
        return piece

    def argument(self, info: int) -> int:
        if info < 24:
            return info
        if info > 27:
            raise ValueError("malformed CBOR length")
        return int.from_bytes(self.take(1 << (info - 24)), "big")

    def item(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("CBOR nested too deep")
        initial = self.take(1)[0]
        major, info = initial >> 5, initial & 31
        if major == 7:
            return self._simple(info)
        if info == 31:
            return self._indefinite(major, depth)
        size = self.argument(info)
        if major == 0:
            return size
        if major == 1:
            return -1 - size
        if major == 2:
            return self.take(size)
        if major == 3:
            return self.take(size).decode("utf-8")
        if major == 4:
            return [self._value(depth) for _ in range(self._bounded(size))]
        if major == 5:
            return dict(self._pair(depth) for _ in range(self._bounded(size)))
        return self._tagged(size, depth)

    def _bounded(self, size: int) -> int:
        if size > len(self.data) - self.at:
            raise ValueError("truncated CBOR")
        return size

    def _value(self, depth: int) -> Any:
        value = self.item(depth + 1)
        if value is _BREAK:
            raise ValueError("misplaced CBOR break")
        return value

    def _pair(self, depth: int) -> tuple[str, Any]:
        return self._key(self._value(depth)), self._value(depth)

    def _key(self, key: Any) -> str:
        if not isinstance(key, str):
            raise ValueError("CBOR key is no text")
        return key

    def _indefinite(self, major: int, depth: int) -> Any:
        parts: list[Any] = []
        while (part := self.item(depth + 1)) is not _BREAK:
            parts.append(part)
        if major == 4:
            return parts
        if major == 5 and len(parts) % 2 == 0:
            return {self._key(key): value for key, value in zip(parts[::2], parts[1::2], strict=True)}
        if major == 2 and all(isinstance(part, bytes) for part in parts):
            return b"".join(parts)
        if major == 3 and all(isinstance(part, str) for part in parts):
            return "".join(parts)
        raise ValueError("malformed CBOR of indefinite length")

    def _tagged(self, tag: int, depth: int) -> Any:
        value = self._value(depth)
        if tag != 1:
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ValueError("CBOR instant is no number")
        return from_epoch(value)

    def _simple(self, info: int) -> Any:
        if info == 31:
            return _BREAK
        if info in _FLOATS:
            layout, size = _FLOATS[info]
            return struct.unpack(layout, self.take(size))[0]
        if info in _SIMPLE:
            return _SIMPLE[info]
        raise ValueError("unknown CBOR simple value")


def dumps(value: Any) -> bytes:
    """The encoding of a value made of None, bool, int, float, str, bytes, datetime, lists and mappings."""
    out = bytearray()
    _write(out, value)
    return bytes(out)


def _head(out: bytearray, major: int, number: int) -> None:
    if number < 24:
        out.append(major << 5 | number)
        return
    for info, size in ((24, 1), (25, 2), (26, 4), (27, 8)):
        if number < 1 << (8 * size):
            out.append(major << 5 | info)
            out += number.to_bytes(size, "big")
            return
    raise OverflowError(number)


def _write(out: bytearray, value: Any) -> None:
    if value is None or value is True or value is False:
        out.append(0xF6 if value is None else 0xF5 if value else 0xF4)
    elif isinstance(value, int):
        _head(out, 0 if value >= 0 else 1, value if value >= 0 else -1 - value)
    elif isinstance(value, float):
        out += b"\xfb" + struct.pack(">d", value)
    elif isinstance(value, str):
        data = value.encode("utf-8", "replace")
        _head(out, 3, len(data))
        out += data
    elif isinstance(value, (bytes, bytearray)):
        _head(out, 2, len(value))
        out += value
    elif isinstance(value, datetime):
        out.append(0xC1)
        _write(out, epoch(value))
    elif isinstance(value, Mapping):
        _head(out, 5, len(value))
        for key, each in value.items():
            _write(out, str(key))
            _write(out, each)
    else:
        members = list(value)
        _head(out, 4, len(members))
        for each in members:
            _write(out, each)
