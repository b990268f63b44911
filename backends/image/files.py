"""Image files as people bring them: which format they are in, and where in an OVA the disk lies."""

from __future__ import annotations

import contextlib
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

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


def format_of(name: str) -> str | None:
    """The format that a file of this name has; None when the name does not tell."""
    return SUFFIXES.get(Path(name).suffix.lower())


@contextlib.contextmanager
def disk_in(path: Path, format: str, folder: Path) -> Iterator[tuple[Path, str]]:
    """The one disk of an image file, and its format: the file itself, or what was taken out of an OVA into `folder`.

    Raises `Unsupported` (fact: reason) for an OVA of several disks, or of none.
    """
    if format != "ova":
        yield path, format
        return
    with tempfile.TemporaryDirectory(prefix=".ova-", dir=folder) as name:
        target = Path(name) / "disk.vmdk"
        try:
            with tarfile.open(path, "r:") as archive:
                member = _disk_member(archive)
                source = archive.extractfile(member)
                assert source is not None, "a regular file"
                with target.open("wb") as file:
                    shutil.copyfileobj(source, file, 1 << 20)
        except (tarfile.TarError, ElementTree.ParseError, EOFError) as error:
            raise _refused(f"it is no OVA: {error}") from error
        yield target, "vmdk"


def _disk_member(archive: tarfile.TarFile) -> tarfile.TarInfo:
    """The member that the description names as its only disk."""
    members = {member.name: member for member in archive if member.isreg()}
    descriptions = [member for name, member in members.items() if name.lower().endswith(".ovf")]
    if len(descriptions) != 1 or descriptions[0].size > ENVELOPE:
        raise _refused("it has no description of its own")
    source = archive.extractfile(descriptions[0])
    assert source is not None, "a regular file"
    text = source.read()
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text:
        raise _refused("its description has a document type")
    tree = ElementTree.fromstring(text)
    files = {_attribute(one, "id"): _attribute(one, "href") for one in tree.iter() if one.tag.endswith("}File")}
    disks = [_attribute(one, "fileRef") for one in tree.iter() if one.tag.endswith("}Disk")]
    wanted = [files.get(disk) for disk in disks if disk]
    if len(wanted) != 1 or wanted[0] not in members:
        raise _refused(f"it has {len(wanted)} disks, not one")
    return members[wanted[0]]


def _attribute(element: ElementTree.Element, name: str) -> str | None:
    return next((value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), None)


def _refused(reason: str) -> Unsupported:
    return Unsupported(f"the image is refused: {reason}", reason=reason)


@contextlib.contextmanager
def as_raw(path: Path, format: str, report: Callable[[int], None], folder: Path | None = None) -> Iterator[Path]:
    """A raw file that shows what the image file shows, sparse, for as long as the block runs.

    `report` is told per cent. Raises `Unsupported` (fact: reason), `Missing`, `Exhausted`, `DriverError`.
    """
    with tempfile.TemporaryDirectory(prefix="nephele-image-", dir=folder) as name:
        with disk_in(path, format, Path(name)) as (disk, kind):
            if kind == "raw":
                yield disk
                return
            qemu_img.inspect(disk, kind)
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
