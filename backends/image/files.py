"""Image files as people bring them: which format they are in, and where in an OVA the disk lies."""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Self
from xml.parsers import expat

from backends.errors import Unsupported
from backends.image import qemu_img

FORMATS = (*qemu_img.FORMATS, "ova")
SUFFIXES = {
    ".raw": "raw",
    ".qcow2": "qcow2",
    ".vmdk": "vmdk",
    ".vdi": "vdi",
    ".vhdx": "vhdx",
    ".vhd": "vpc",
    ".ova": "ova",
}
"""Formats by the ends of names. `.img` is everything to everybody, and has to be told."""

ENVELOPE = 1 << 20
"""Bytes that the description in an OVA may have."""
HEADER = 1 << 16
"""Bytes that what stands before a member may have."""
MEMBERS, DISKS = 1000, 21
"""How many members an OVA may have, and how many of these may be disks."""


def format_of(name: str) -> str | None:
    """The format that a file of this name has; None when the name does not tell."""
    return SUFFIXES.get(Path(name).suffix.lower())


@contextlib.contextmanager
def disk_in(path: Path, format: str, folder: Path, number: int = 0) -> Iterator[tuple[Path, str]]:
    """A disk of an image file, and its format: the file itself, or what was taken out of an OVA into `folder`.

    `number` counts the disks of an OVA, of which other formats have one. Raises `Unsupported` (fact: reason) where
    there is none of that number.
    """
    if format != "ova":
        yield path, format
        return
    with tempfile.TemporaryDirectory(prefix=".ova-", dir=folder) as name:
        target = Path(name) / "disk.vmdk"
        with _archive(path) as archive:
            found = _disk_members(archive)
            if number >= len(found):
                raise _refused(f"it has {len(found)} disks")
            source = archive.extractfile(found[number])
            assert source is not None, "a regular file"
            with target.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
        yield target, "vmdk"


def count_disks(path: Path, format: str) -> int:
    """How many disks an image file has: 1, but for an OVA. Raises `Unsupported` (fact: reason)."""
    if format != "ova":
        return 1
    with _archive(path) as archive:
        return len(_disk_members(archive))


class _Header(tarfile.TarInfo):
    """A header of an archive that nobody vouches for: what makes a reader keep much in memory, or write more than the
    archive has, is refused before it is followed."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        header = super().frombuf(buf, encoding, errors)
        if header.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a member has holes")
        if header.type not in (*tarfile.REGULAR_TYPES, tarfile.DIRTYPE) and header.size > HEADER:
            raise tarfile.ReadError("a header is too large")
        return header


@contextlib.contextmanager
def _archive(path: Path) -> Iterator[tarfile.TarFile]:
    """The archive, for the block. Whatever is wrong about it is `Unsupported`."""
    try:
        with tarfile.open(path, "r:", tarinfo=_Header) as archive:
            yield archive
    except (tarfile.TarError, expat.ExpatError, EOFError, ValueError, LookupError) as error:
        raise _refused(f"it is no OVA: {error}") from error


def _disk_members(archive: tarfile.TarFile) -> list[tarfile.TarInfo]:
    """The members that the description names as its disks, in its order; one at least."""
    assert archive.name is not None, "it was opened by its name"
    members, end = dict[str, tarfile.TarInfo](), os.stat(archive.name).st_size
    for count, member in enumerate(archive):
        if count >= MEMBERS:
            raise _refused(f"it has more than {MEMBERS} members")
        if member.issparse() or not 0 <= member.size <= end - member.offset_data:
            raise _refused(f"it has not all of {member.name!r}")
        if member.isreg():
            members[member.name] = member
    descriptions = [member for name, member in members.items() if name.lower().endswith(".ovf")]
    if len(descriptions) != 1 or descriptions[0].size > ENVELOPE:
        raise _refused("it has no description of its own")
    source = archive.extractfile(descriptions[0])
    assert source is not None, "a regular file"
    files, disks = _described(source.read())
    found = [files.get(disk) for disk in disks]
    if not 0 < len(found) <= DISKS:
        raise _refused(f"it has {len(found)} disks")
    if lacking := [str(name) for name in found if name not in members]:
        raise _refused(f"it has no {lacking[0]!r}, which its description names")
    return [members[name] for name in found if name is not None]


def _described(text: bytes) -> tuple[dict[str, str], list[str]]:
    """The files that a description tells of, by id, and the ids of those that are disks."""
    files, disks = dict[str, str](), list[str]()

    def begin(tag: str, attributes: dict[str, str]) -> None:
        named = {key.rpartition("}")[2]: value for key, value in attributes.items()}
        match tag.rpartition("}")[2]:
            case "File" if "id" in named:
                files[named["id"]] = named.get("href", "")
            case "Disk" if named.get("fileRef"):
                disks.append(named["fileRef"])

    def refuse(*about: object) -> None:
        raise _refused("its description has a document type")

    parser = expat.ParserCreate(namespace_separator="}")
    parser.StartElementHandler, parser.StartDoctypeDeclHandler = begin, refuse
    parser.Parse(text, True)
    return files, disks


def _refused(reason: str) -> Unsupported:
    return Unsupported(f"the image is refused: {reason}", reason=reason)


@contextlib.contextmanager
def as_raw(path: Path, format: str, report: Callable[[int], None], folder: Path | None = None) -> Iterator[Path]:
    """A raw file that shows what the image file shows, sparse, for as long as the block runs; of an OVA, its only disk.

    `report` is told per cent. Raises `Unsupported` (fact: reason), `Missing`, `Exhausted`, `DriverError`.
    """
    if (count := count_disks(path, format)) != 1:
        raise _refused(f"it has {count} disks, not one: import it out of S3")
    with tempfile.TemporaryDirectory(prefix="nephele-image-", dir=folder) as name:
        with disk_in(path, format, Path(name)) as (disk, kind):
            if kind == "raw":
                yield disk
                return
            qemu_img.inspect(disk, kind)
            qemu_img.check_room(disk, kind, Path(name))
            raw = Path(name) / "disk.raw"
            qemu_img.convert(disk, kind, raw, "raw", report=report)
        yield raw


def data_blocks(descriptor: int, block: int) -> Iterator[int]:
    """The numbers of the blocks of an open file that may hold anything but zeros, in order."""
    end, last = 0, -1
    while True:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError:
            return
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        first = max(start // block, last + 1)
        last = (end - 1) // block
        yield from range(first, last + 1)
