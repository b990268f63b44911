"""qcow2 files, as far as this cloud makes them: clusters of 64 KiB, no encryption, no data elsewhere, no sub-clusters.

Making an empty file, asking a header, and reading a chain that nobody writes are done here, in milliseconds and without
a process; whatever changes a file that holds data is left to qemu-img. After QEMU's docs/interop/qcow2.txt.
"""

from __future__ import annotations

import os
import re
import struct
import sys
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from backends.errors import DriverError

BITS = 16
CLUSTER = 1 << BITS
ENTRIES = CLUSTER // 8
"""Entries of a second-level table."""
SPAN = CLUSTER * ENTRIES
"""Bytes of disk that one second-level table is about."""
COUNTS = CLUSTER // 2
"""Clusters that one block of reference counts is about."""

LAYER = re.compile(r"[0-9a-f]{32}\.qcow2")
"""The names that a backing file may have: one of ours, beside the file that leans on it; no path, no `json:`."""

_MAGIC = 0x514649FB
_HEADER = struct.Struct(">IIQIIQIIQQIIQQQQII")
_BACKING_FORMAT = 0xE2792ACA
_OFFSET = 0x00FFFFFFFFFFFE00
_COMPRESSED, _OWN, _ZERO = 1 << 62, 1 << 63, 1
# Dirty counts and a type of compression do not hinder reading; damage, data elsewhere and sub-clusters do.
_HARMLESS = 0b01001


@dataclass(frozen=True, slots=True)
class Header:
    """What the head of a file says: its `size` in bytes as a disk, and the name of the file that it leans on."""

    size: int
    backing: str | None
    tables: int
    table_offset: int

    @classmethod
    def read(cls, descriptor: int, name: str) -> Self:
        """Raises `DriverError` for a file that is none of ours."""
        head = os.pread(descriptor, CLUSTER, 0)
        if len(head) < _HEADER.size:
            raise DriverError(f"{name} is no disk: it has {len(head)} bytes")
        fields = _HEADER.unpack_from(head)
        magic, version, where, length, bits, size, crypt, tables, table_offset = fields[:9]
        incompatible = fields[13]
        if magic != _MAGIC or version != 3 or bits != BITS or crypt or incompatible & ~_HARMLESS:
            raise DriverError(f"{name} is no disk of this cloud's making, or is damaged")
        backing = None
        if length:
            backing = head[where : where + length].decode("ascii", "replace")
            if not LAYER.fullmatch(backing):
                raise DriverError(f"{name} leans on something that is no layer")
        return cls(size, backing, tables, table_offset)


def header(path: Path) -> Header:
    """What the head of a file says. Raises `DriverError`, `FileNotFoundError`."""
    with path.open("rb") as file:
        return Header.read(file.fileno(), path.name)


def is_empty(path: Path) -> bool:
    """Whether a file has nothing of its own."""
    with path.open("rb") as file:
        about = Header.read(file.fileno(), path.name)
        return not any(os.pread(file.fileno(), about.tables * 8, about.table_offset))


def write(
    path: Path,
    size: int,
    backing: str | None = None,
    clusters: Sequence[int] = (),
    content: Callable[[int], bytes | None] = lambda cluster: None,
) -> None:
    """Make a new file of `size` bytes as a disk, leaning on `backing`, durable once it is synced.

    It holds the `clusters` (ascending numbers); `content` is asked for each, and None stands for zeros.
    """
    tables = -(-size // SPAN)
    groups: dict[int, list[int]] = {}
    for cluster in clusters:
        groups.setdefault(cluster // ENTRIES, []).append(cluster)
    table_clusters = max(1, -(-tables * 8 // CLUSTER))
    total, count_blocks, count_tables = 0, 1, 1
    while True:
        most = 1 + count_tables + count_blocks + table_clusters + len(groups) + len(clusters)
        if most == total:
            break
        total, count_blocks = most, -(-most // COUNTS)
        count_tables = -(-count_blocks * 8 // CLUSTER)
    first_level = (1 + count_tables + count_blocks) * CLUSTER
    second_level = first_level + table_clusters * CLUSTER
    free = second_level + len(groups) * CLUSTER
    with path.open("wb") as file:
        descriptor = file.fileno()
        level_one = array("Q", bytes(tables * 8))
        for number, (index, members) in enumerate(groups.items()):
            table = array("Q", bytes(CLUSTER))
            for cluster in members:
                data = content(cluster)
                if data is None:
                    table[cluster % ENTRIES] = _ZERO
                    continue
                os.pwrite(descriptor, data.ljust(CLUSTER, b"\0"), free)
                table[cluster % ENTRIES] = free | _OWN
                free += CLUSTER
            level_one[index] = (second_level + number * CLUSTER) | _OWN
            os.pwrite(descriptor, _big(table), second_level + number * CLUSTER)
        os.pwrite(descriptor, _big(level_one), first_level)
        used = free // CLUSTER
        counts = array("Q", (CLUSTER * (1 + count_tables + block) for block in range(count_blocks)))
        os.pwrite(descriptor, _big(counts), CLUSTER)
        os.pwrite(descriptor, b"\0\1" * used, CLUSTER * (1 + count_tables))
        os.pwrite(descriptor, _head(size, backing, tables, first_level, count_tables), 0)
        if os.fstat(descriptor).st_size < free:
            os.truncate(descriptor, free)


def _head(size: int, backing: str | None, tables: int, first_level: int, count_tables: int) -> bytes:
    extensions = struct.pack(">II8s", _BACKING_FORMAT, 5, b"qcow2") if backing else b""
    extensions += bytes(8)
    name = (backing or "").encode()
    where = _HEADER.size + len(extensions) if backing else 0
    fields = (_MAGIC, 3, where, len(name), BITS, size, 0, tables, first_level, CLUSTER, count_tables)
    return _HEADER.pack(*fields, 0, 0, 0, 0, 0, 4, _HEADER.size) + extensions + name


def _big(numbers: array[int]) -> bytes:
    if sys.byteorder == "little":
        numbers = array("Q", numbers)
        numbers.byteswap()
    return numbers.tobytes()


class Chain:
    """A file and everything that it leans on, opened for reading, while nobody writes any of it."""

    def __init__(self, path: Path) -> None:
        """Raises `FileNotFoundError`, `DriverError`."""
        self._layers: list[_Layer] = []
        try:
            name: str | None = path.name
            while name is not None:
                self._layers.append(_Layer(path.with_name(name)))
                name = self._layers[-1].header.backing
        except BaseException:
            self.close()
            raise
        self.size = self._layers[0].header.size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the files back."""
        for layer in self._layers:
            layer.close()

    def extents(self) -> list[tuple[int, int]]:
        """Where there is data: (start, end) in bytes, in order; the rest are zeros."""
        found: list[tuple[int, int]] = []
        for cluster in self._held():
            start, end = cluster * CLUSTER, min((cluster + 1) * CLUSTER, self.size)
            if found and found[-1][1] == start:
                found[-1] = (found[-1][0], end)
            elif start < end:
                found.append((start, end))
        return found

    def above_base(self) -> list[int]:
        """The clusters that do not come from the lowest file, zeros too, in order."""
        return [cluster for cluster, _ in _entries(self._layers[:-1], self.size)]

    def _held(self) -> Iterator[int]:
        for cluster, entry in _entries(self._layers, self.size):
            if entry & _COMPRESSED or not entry & _ZERO:
                yield cluster

    def read(self, offset: int, length: int) -> bytes:
        """Bytes of the disk; zeros beyond its end."""
        parts, end = [], offset + length
        while offset < end:
            cluster, skip = divmod(offset, CLUSTER)
            some = min(CLUSTER - skip, end - offset)
            data = self.cluster(cluster)
            parts.append(bytes(some) if data is None else data[skip : skip + some])
            offset += some
        return b"".join(parts)

    def cluster(self, number: int) -> bytes | None:
        """The bytes of a cluster; None for zeros."""
        if number * CLUSTER >= self.size:
            return None
        for layer in self._layers:
            table = layer.table(number // ENTRIES)
            entry = table[number % ENTRIES] if table is not None else 0
            if entry:
                return layer.data(entry)
        return None


class _Layer:
    """One file of a chain."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        try:
            self.header = Header.read(self._file.fileno(), path.name)
            table = os.pread(self._file.fileno(), self.header.tables * 8, self.header.table_offset)
        except BaseException:
            self._file.close()
            raise
        self._level_one = _native(table)
        self._kept: tuple[int, array[int] | None] = (-1, None)

    def close(self) -> None:
        self._file.close()

    def table(self, index: int) -> array[int] | None:
        """The second-level table about the `index`-th span; None where the file has nothing."""
        number, table = self._kept
        if number != index:
            place = self._level_one[index] & _OFFSET if index < len(self._level_one) else 0
            table = _native(os.pread(self._file.fileno(), CLUSTER, place).ljust(CLUSTER, b"\0")) if place else None
            self._kept = (index, table)
        return table

    def data(self, entry: int) -> bytes | None:
        """What an entry that is not 0 stands for."""
        if entry & _COMPRESSED:
            shift = 62 - (BITS - 8)
            place, sectors = entry & ((1 << shift) - 1), (entry & (_COMPRESSED - 1)) >> shift
            length = (sectors + 1) * 512 - (place & 511)
            packed = os.pread(self._file.fileno(), length, place)
            return zlib.decompressobj(-12).decompress(packed, CLUSTER).ljust(CLUSTER, b"\0")
        if entry & _ZERO:
            return None
        return os.pread(self._file.fileno(), CLUSTER, entry & _OFFSET).ljust(CLUSTER, b"\0")


def _entries(layers: Sequence[_Layer], size: int) -> Iterator[tuple[int, int]]:
    """Every cluster that one of the files has, with the entry of the uppermost that has it."""
    for index in range(-(-size // SPAN)):
        tables = [table for layer in layers if (table := layer.table(index)) is not None]
        if not tables:
            continue
        merged = tables[-1]
        for table in reversed(tables[:-1]):
            merged = array("Q", [upper or lower for upper, lower in zip(table, merged, strict=True)])
        for number, entry in enumerate(merged):
            if entry:
                yield index * ENTRIES + number, entry


def _native(table: bytes) -> array[int]:
    numbers = array("Q", table)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers
