"""Blobs as files: `<root>/<first two digits>/<name>`. Files without a name while they are written, so that a killed
process leaves nothing; where the file system has no such files, names in `incoming/` that the next start removes."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backends.errors import DriverError, Exhausted, Exists, Missing
from backends.object.drivers.base import Block

FANS = [f"{i:02x}" for i in range(256)]
QUARANTINE = "quarantine"
IS_NAME = re.compile(r"[0-9a-f]{32}").fullmatch
RESERVE = 256 << 20
GLANCE = 0.05  # seconds for which an answer of the file system is good enough
AHEAD = 16 << 20  # bytes that gather before the kernel is told to write them
SYNC_FILE_RANGE_WRITE = 2  # linux/fs.h

_sync_file_range: Any = getattr(ctypes.CDLL(None), "sync_file_range", None)
if _sync_file_range is not None:
    _sync_file_range.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)


class FileBlobs:
    """The driver over a folder of a local file system. Promises: see `BlobDriver`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        created = not root.exists()
        root.mkdir(parents=True, exist_ok=True)
        self._incoming = root / "incoming"
        for folder in (*FANS, "incoming", QUARANTINE):
            (root / folder).mkdir(exist_ok=True)
        self._base = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
        if created:
            os.fsync(self._base)
        self._unnamed = _has_unnamed_files(root)
        self._look, self._is_full = 0.0, False

    def check_room(self) -> None:
        """A twentieth of the file system stays free, at most `RESERVE` bytes: the index lies there, too, and on a disk
        that is full to the brim nothing could be deleted any more."""
        now = time.monotonic()
        if now >= self._look:
            self._look = now + GLANCE
            status = os.fstatvfs(self._base)
            self._is_full = status.f_bavail * status.f_frsize < min(status.f_blocks * status.f_frsize // 20, RESERVE)
        if self._is_full:
            raise Exhausted("no room is left on the disk")

    def create(self, name: str) -> FileWriter:
        """A file without a name, for now."""
        try:
            if self._unnamed:
                return FileWriter(self, os.open(self.root, os.O_TMPFILE | os.O_RDWR, 0o600), None, name)
            path = self._incoming / os.urandom(16).hex()
            return FileWriter(self, os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600), path, name)
        except OSError as fault:
            raise _unwritten(fault) from fault

    def open(self, name: str) -> FileBlob:
        """The file with that name; a symbolic link is not followed, a pipe not waited for."""
        try:
            fd = os.open(_place(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._base)
        except OSError as fault:
            raise _named(fault) from fault
        return FileBlob(fd)

    def remove(self, name: str) -> None:
        """Unlink. A crash may bring the file back: the sweeper finds it then."""
        try:
            os.unlink(_place(name), dir_fd=self._base)
        except FileNotFoundError:
            return
        except OSError as fault:
            raise _named(fault) from fault

    def set_aside(self, name: str) -> None:
        """Rename it into `quarantine/`, on disk when this returns."""
        try:
            os.rename(_place(name), f"{QUARANTINE}/{name}", src_dir_fd=self._base, dst_dir_fd=self._base)
            self._settle(name[:2])
            self._settle(QUARANTINE)
        except FileNotFoundError:
            return
        except OSError as fault:
            raise _named(fault) from fault

    def names(self, after: str = "") -> Iterator[tuple[str, float]]:
        """Folder by folder, so that memory does not grow with the store."""
        now = time.time()
        for fan in FANS:
            if fan < after[:2]:
                continue
            try:
                found = sorted(os.listdir(self.root / fan))
            except FileNotFoundError:
                continue  # somebody tidied up; `place` makes it again
            except OSError as fault:
                raise _named(fault) from fault
            for name in found:
                if name <= after or not IS_NAME(name):
                    continue
                with contextlib.suppress(FileNotFoundError):
                    status = os.stat(_place(name), dir_fd=self._base, follow_symlinks=False)
                    yield name, now - status.st_mtime

    def tidy(self) -> None:
        """Remove what a killed process was writing. Only when no other process writes here."""
        for path in self._incoming.iterdir():
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the folder."""
        if self._base >= 0:
            os.close(self._base)
            self._base = -1

    def place(self, fd: int, path: Path | None, name: str) -> None:
        """Give an unnamed file its name and make the name durable."""
        source, base = path or f"/proc/self/fd/{fd}", self._base

        def link() -> None:
            # With folders given, Python calls linkat(2) and lets it follow the link in /proc; link(2) would not.
            os.link(source, _place(name), src_dir_fd=base, dst_dir_fd=base, follow_symlinks=True)

        try:
            try:
                link()
            except FileNotFoundError:  # somebody removed the empty folder
                with contextlib.suppress(FileExistsError):
                    os.mkdir(name[:2], dir_fd=base)
                os.fsync(base)
                link()
            if path is not None:
                path.unlink()
            self._settle(name[:2])
        except OSError as fault:
            raise _unwritten(fault) from fault

    def _settle(self, folder: str) -> None:
        """Make what a folder names durable."""
        fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY, dir_fd=self._base)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


class FileWriter:
    """Writes a file. What was written of a large one is sent on its way to the disk while more comes, so that there is
    little to wait for at the end."""

    def __init__(self, driver: FileBlobs, fd: int, path: Path | None, name: str) -> None:
        self._driver, self._fd, self._path, self._name = driver, fd, path, name
        self._written = self._sent = 0

    def write(self, block: Block) -> None:
        """Append."""
        self._driver.check_room()
        try:
            rest = memoryview(block)
            while rest:
                count = os.write(self._fd, rest)
                self._written += count
                rest = rest[count:]
        except OSError as fault:
            raise _unwritten(fault) from fault
        if self._written - self._sent >= AHEAD:
            _send(self._fd, self._sent, self._written - self._sent)
            self._sent = self._written

    def keep(self) -> None:
        """fsync the file, link it, fsync the folder."""
        try:
            os.fdatasync(self._fd)
        except OSError as fault:
            raise _unwritten(fault) from fault
        self._driver.place(self._fd, self._path, self._name)
        self._path = None

    def discard(self) -> None:
        """Close the file; without a name it is gone with that."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            self._path = None


def _send(fd: int, offset: int, length: int) -> None:
    """Have the kernel begin to write a range of a file, without waiting; whether it did tells `fdatasync`."""
    if _sync_file_range is not None:
        _sync_file_range(fd, offset, length, SYNC_FILE_RANGE_WRITE)


class FileBlob:
    """An open file."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.descriptor: int | None = fd
        self.size = os.fstat(fd).st_size

    def read(self, offset: int, length: int) -> bytes:
        """One positioned read (the kernel gives all there is of a regular file)."""
        try:
            return os.pread(self._fd, length, offset)
        except OSError as fault:
            raise _named(fault) from fault

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _place(name: str) -> str:
    return f"{name[:2]}/{name}"


def _has_unnamed_files(root: Path) -> bool:
    try:
        os.close(os.open(root, os.O_TMPFILE | os.O_RDWR, 0o600))
    except (OSError, AttributeError):
        return False
    return True


def _unwritten(fault: OSError) -> Exception:
    """The same of one that writing met: what is missing then is a folder of the store, and no blob."""
    error = _named(fault)
    return DriverError(str(fault)) if isinstance(error, Missing) else error


def _named(fault: OSError) -> Exception:
    """The native error of an operating system error."""
    if fault.errno == errno.ENOENT:
        return Missing(str(fault))
    if fault.errno == errno.EEXIST:
        return Exists(str(fault))
    if fault.errno in (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE):
        return Exhausted(str(fault))
    return DriverError(str(fault))
