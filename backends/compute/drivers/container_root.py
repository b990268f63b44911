"""The root file system of a container: a partition of its disk, mounted where the containers' daemon sees it.

The disk stays what it is: what the container writes is on it, and a snapshot has it. A disk that never booted and keeps
its first root file system as an archive beside its kernel, as the micro image does, is filled from there first.

Further disks are block devices over their files, made with the kernel's loop devices.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import gzip
import os
import struct
import subprocess
import time
from pathlib import Path
from typing import BinaryIO

from backends.compute.drivers.base import DiskCounters
from backends.compute.drivers.container_process import controllers
from backends.errors import Busy, DriverError, Unsupported

SECTOR = 512
LINUX, FAT16 = 0x83, 0x0E
ARCHIVE = b"INITRD  GZ "
"""The archive's name in a FAT directory: `initrd.gz`."""
INIT = "sbin/init"
PATIENCE = 60
FITHAW = 0xC0045878  # linux/fs.h


def partition(disk: Path, kind: int) -> tuple[int, int] | None:
    """Where the first partition of a kind lies on a disk: offset and size in bytes."""
    with disk.open("rb") as file:
        first = file.read(SECTOR)
    if first[510:] != b"\x55\xaa":
        return None
    for number in range(4):
        entry = first[446 + 16 * number : 462 + 16 * number]
        start, sectors = struct.unpack("<II", entry[8:])
        if entry[4] == kind and sectors:
            return start * SECTOR, sectors * SECTOR
    return None


def mount(daemon: int, disk: Path, target: Path) -> Path:
    """Mount the disk's Linux partition at `target`, as the process `daemon` sees it; the same place as we see it.

    Raises `Unsupported` for a disk without such a file system, `Busy` while the namespace of a container that was
    killed still has it, `DriverError`.
    """
    seen = Path(f"/proc/{daemon}/root{target}")
    target.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not os.path.ismount(seen):
        found = partition(disk, LINUX)
        if found is None:
            raise Unsupported("the disk has no Linux partition for a container", disk=str(disk))
        options = f"loop,offset={found[0]},sizelimit={found[1]}"
        try:
            _inside(daemon, "mount", "-t", "ext4", "-o", options, str(disk), str(target))
        except DriverError as error:
            if "already mounted" not in str(error):
                raise
            raise Busy(f"what ran of the container before has not let go of {disk.name} yet") from error
    thaw(str(seen))
    if not os.path.lexists(seen / INIT):
        fill(seen, disk)
    return seen


def unmount(daemon: int, target: Path) -> None:
    """After success nothing is mounted at `target`, as the process `daemon` sees it, nor as the controllers of other
    containers do.

    These have a mount namespace of their own each, with whatever was mounted when they began. What they hold stays in
    use, and as it was when its container ended: for reading only, or held still.
    """
    for process in (daemon, *controllers()):
        seen = f"/proc/{process}/root{target}"
        if os.path.ismount(seen):
            thaw(seen)
            try:
                _inside(process, "umount", str(target))
            except DriverError:
                if os.path.ismount(seen):  # it did not end meanwhile
                    raise


def release(daemon: int, disk: str, target: Path) -> None:
    """After success no block device is over the disk's file, but for one that is in use and goes when it is no more.

    A file system that was held still when its container was killed stays so, in use and mounted nowhere, until somebody
    mounts it once more: at `target`, as the process `daemon` sees it.
    """
    detach(disk)
    for device in loops(disk):
        if in_use(device):
            with contextlib.suppress(DriverError):  # it is somebody else's, and no file system
                _inside(daemon, "mount", device, str(target))
                unmount(daemon, target)


def thaw(place: str) -> None:
    """Let the file system at a place go on, if it was held still."""
    with contextlib.suppress(OSError):  # most were not
        descriptor = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(descriptor, FITHAW, 0)
        finally:
            os.close(descriptor)


def loops(disk: str) -> list[str]:
    """The block devices over a disk's file."""
    found = []
    for backing in Path("/sys/block").glob("loop*/loop/backing_file"):
        with contextlib.suppress(OSError):  # it was detached at this moment
            if backing.read_text().rstrip("\n") in (disk, f"{disk} (deleted)"):
                found.append(f"/dev/{backing.parent.parent.name}")
    return found


def devices() -> list[str]:
    """The block devices that are over files."""
    return [f"/dev/{path.parent.parent.name}" for path in Path("/sys/block").glob("loop*/loop/backing_file")]


def backing(device: str) -> str | None:
    """The file that a block device is over; None when there is none."""
    try:
        return Path("/sys/block", Path(device).name, "loop/backing_file").read_text().rstrip("\n")
    except OSError:
        return None


_known: tuple[float, dict[str, str]] = (float("-inf"), {})
STALE = 10.0
"""Seconds for which it is believed which block devices there are. Many containers are counted one after the other."""


def counters(disk: str) -> DiskCounters | None:
    """What was read from the block device over a disk's file, and written to it, since it was made; None without
    one."""
    global _known
    since, devices = _known
    if time.monotonic() - since > STALE or disk not in devices:
        found = (path.parent.parent.name for path in Path("/sys/block").glob("loop*/loop/backing_file"))
        devices = {file: name for name in found if (file := backing(name)) is not None}
        _known = time.monotonic(), devices
    name = devices.get(disk)
    if name is None or backing(name) != disk:
        return None
    try:
        held = [int(word) for word in Path("/sys/block", name, "stat").read_text().split()]
    except OSError:
        return None
    reads, _, sectors_read, _, writes, _, sectors_written = held[:7]
    return DiskCounters(sectors_read * SECTOR, sectors_written * SECTOR, reads, writes)


def attach(disk: str) -> str:
    """A block device over a raw disk's file: the one that there is, or a new one. Raises `DriverError`."""
    return next(iter(loops(disk)), None) or _run("losetup", "--find", "--show", disk).strip()


def detach(disk: str) -> None:
    """After success no block device is over the disk's file; one that is in use goes when it is no more."""
    for device in loops(disk):
        _run("losetup", "--detach", device)


def reread(device: str) -> None:
    """Have a block device see that its file has grown. Raises `DriverError`."""
    _run("losetup", "--set-capacity", device)


def in_use(device: str) -> bool:
    """Whether a block device is mounted, or held by something that shares it with nobody."""
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_EXCL))
    except OSError as error:
        return error.errno == errno.EBUSY
    return False


def _inside(daemon: int, *command: str) -> None:
    _run("nsenter", f"--mount=/proc/{daemon}/ns/mnt", "--", *command)


def _run(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise DriverError(f"{command[0]} does not end") from error
    if done.returncode != 0:
        raise DriverError(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout


def fill(root: Path, disk: Path) -> None:
    """Put the archive that the disk boots from into its root file system. Raises `Unsupported` when it has none.

    The link that tells whether this was done comes last. Nothing is written through to the disk here, which takes long:
    a machine that loses its power in the seconds after a container's first start loses its first start.
    """
    found = partition(disk, FAT16)
    archive = None if found is None else _read_fat(disk, found[0], ARCHIVE)
    if archive is None:
        raise Unsupported("the disk has no root file system with /sbin/init", disk=str(disk))
    unpack(gzip.decompress(archive), root)


def _read_fat(disk: Path, start: int, name: bytes) -> bytes | None:
    """A file in the root directory of a FAT16 file system; None when it is not there."""
    with disk.open("rb") as file:
        head = _at(file, start, SECTOR)
        size, cluster, reserved, fats, entries = struct.unpack("<HBHBH", head[11:19])
        fat_sectors = struct.unpack("<H", head[22:24])[0]
        fat = _at(file, start + reserved * size, fat_sectors * size)
        directory = start + (reserved + fats * fat_sectors) * size
        data = directory + entries * 32
        names = _at(file, directory, entries * 32)
        for number in range(entries):
            entry = names[32 * number : 32 * number + 32]
            if entry[:11] == name:
                break
        else:
            return None
        at, length = struct.unpack("<HI", entry[26:32])
        following, parts, step = memoryview(fat).cast("H"), [], size * cluster
        while 2 <= at < 0xFFF8:
            first = at  # of a run that is read in one piece
            while (after := following[at]) == at + 1:
                at = after
            parts.append(_at(file, data + (first - 2) * step, (at + 1 - first) * step))
            at = after
        return b"".join(parts)[:length]


def _at(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def unpack(archive: bytes, root: Path) -> None:
    """Files, folders and links of a cpio archive (newc), below `root`; whatever would lie elsewhere is left out, and
    the kernel's modules, of which a container can load none. `INIT` comes last."""
    at, init = 0, None
    while archive[at : at + 6] == b"070701":
        mode, size, length = (int(archive[at + place : at + place + 8], 16) for place in (14, 54, 94))
        name = archive[at + 110 : at + 110 + length - 1].decode()
        start = (at + 110 + length + 3) & ~3
        data = archive[start : start + size]
        at = (start + size + 3) & ~3
        if name == "TRAILER!!!":
            break
        if name == INIT:
            init = (mode, data)
        elif not name.startswith(("/", "lib/modules/")) and ".." not in name.split("/"):
            _put(f"{root}/{name}", mode, data)
    if init is not None:
        _put(f"{root}/{INIT}", *init)


def _put(path: str, mode: int, data: bytes) -> None:
    """One entry of an archive."""
    kind = mode & 0o170000
    if kind == 0o040000:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path)
        os.chmod(path, mode & 0o7777)
    elif kind == 0o100000:
        with open(path, "wb", buffering=0) as file:
            file.write(data)
            os.fchmod(file.fileno(), mode & 0o7777)
    elif kind == 0o120000:
        with contextlib.suppress(FileExistsError):
            os.symlink(data.decode(), path)
