"""Folders that hold a disk or a snapshot, and hard links to every layer that it leans on.

A layer is a qcow2 file that nobody writes any more. Whoever leans on it has it in the own folder under the same name,
so a chain needs no place but its folder, dropping a folder takes nothing from anybody, and the file system itself
counts who still needs a layer. A folder is made under a name that starts with a dot, and renamed when it is whole.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import shutil
import struct
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from backends.errors import DriverError, Exhausted, InUse, Missing
from backends.volume.drivers import qcow2_file
from backends.volume.drivers.sparse import copy_sparse

DISK = "disk.qcow2"
"""The one file of a disk that is written."""
TOP = "top.qcow2"
"""A symbolic link to the uppermost layer of a snapshot."""
FICLONE = 0x40049409

# How QEMU says what it does with a file: bytes that it locks (block/file-posix.c). Writing is the second permission.
_WRITES, _BEARS_NO_WRITER = 101, 201
_LIBC = ctypes.CDLL(None, use_errno=True)
MANY = 4
LINGER = 3.0
"""Seconds within which a QEMU that opened a file has locked it."""

T = TypeVar("T")


def new_layer() -> str:
    """A name that no layer has."""
    return f"{uuid.uuid4().hex}.qcow2"


def draft_of(folder: Path) -> Path:
    """Where the folder is made, or taken apart."""
    return folder.with_name("." + folder.name)


def begin(folder: Path) -> Path:
    """An empty draft of the folder; what was left of an earlier one is gone."""
    draft = draft_of(folder)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    return draft


def publish(folder: Path) -> None:
    """The draft is whole: let the folder stand, durably. Repeating is harmless."""
    draft = draft_of(folder)
    if draft.is_dir():
        sync(draft)
        os.replace(draft, folder)
    sync(folder.parent)


def drop(folder: Path) -> None:
    """Leave nothing of the folder and its draft; whoever leans on the layers in it has them too."""
    draft = draft_of(folder)
    if draft.exists():
        shutil.rmtree(draft)
    with contextlib.suppress(FileNotFoundError):
        os.replace(folder, draft)
        shutil.rmtree(draft)


def top(folder: Path) -> str:
    """The name of the uppermost layer of a snapshot."""
    return os.readlink(folder / TOP)


def chain(folder: Path, name: str) -> list[str]:
    """The file of that name and all that it leans on, from above. Raises `FileNotFoundError`, `DriverError`."""
    names: list[str] = []
    found: str | None = name
    while found is not None:
        if found in names:
            raise DriverError(f"{folder / found} leans on itself")
        names.append(found)
        found = qcow2_file.header(folder / found).backing
    return names


def share(source: Path, names: list[str], target: Path) -> None:
    """Put layers of one folder into another, without copying where the file system can."""
    for name in names:
        try:
            os.link(source / name, target / name)
        except FileExistsError:
            continue
        except OSError as error:
            # Links of one file are bounded (65,000 on ext4).
            if error.errno not in (errno.EMLINK, errno.EXDEV, errno.EPERM):
                raise
            copy(source / name, target / name)


def borrow(snapshot: Path, target: Path) -> str:
    """Put all layers of a snapshot into another folder; the name of the uppermost. Raises as `chain`."""

    def attempt(layer: str) -> str:
        share(snapshot, chain(snapshot, layer), target)
        return layer

    return while_it_stands(snapshot, attempt)


def while_it_stands(snapshot: Path, work: Callable[[str], T]) -> T:
    """Do something with the uppermost layer of a snapshot; anew, if the chain was made shorter under it."""
    while True:
        layer = top(snapshot)
        try:
            return work(layer)
        except FileNotFoundError:
            if top(snapshot) == layer:
                raise


def copy(source: Path, target: Path) -> None:
    """A file of its own with the same bytes, durable: shared extents, else all but the holes."""
    with target.open("wb") as file:
        copy_sparse(source, file.fileno())
        os.fsync(file.fileno())


def can_reflink(folder: Path) -> bool:
    """Whether files in this folder can share extents: found out by trying."""
    one, two = folder / ".probe-1", folder / ".probe-2"
    try:
        one.write_bytes(bytes(4096))
        with one.open("rb") as source, two.open("wb") as target:
            fcntl.ioctl(target.fileno(), FICLONE, source.fileno())
        return True
    except OSError:
        return False
    finally:
        one.unlink(missing_ok=True)
        two.unlink(missing_ok=True)


def seal(folder: Path, layer: str) -> None:
    """Make `layer` the uppermost of a snapshot's draft, durably."""
    sync_file(folder / layer)
    link = folder / ".top"
    link.unlink(missing_ok=True)
    os.symlink(layer, link)
    os.replace(link, folder / TOP)
    prune(folder, chain(folder, layer))


def prune(folder: Path, names: list[str]) -> None:
    """Take layers out of the folder that are not among `names`."""
    for name in os.listdir(folder):
        if qcow2_file.LAYER.fullmatch(name) and name not in names:
            (folder / name).unlink(missing_ok=True)


@contextlib.contextmanager
def unwritten(path: Path) -> Iterator[None]:
    """Hold off every QEMU that wants to write the file. Raises `InUse` when one does already.

    When the name stands for another file afterwards, the lock on the old one stays for a while: a QEMU that opened it
    just before asks for its own lock only now, and is to be refused.
    """
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(path.open("rb"))
        mine = struct.pack("hhqqi", fcntl.F_RDLCK, os.SEEK_SET, _BEARS_NO_WRITER, 1, 0)
        try:
            fcntl.fcntl(file.fileno(), fcntl.F_OFD_SETLK, mine)
        except OSError as error:
            raise InUse(f"{path} is being taken by another", disk=path.parent.name) from error
        theirs = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, _WRITES, 1, 0)
        found = fcntl.fcntl(file.fileno(), fcntl.F_OFD_GETLK, theirs)
        if struct.unpack("hhqqi", found)[0] != fcntl.F_UNLCK:
            raise InUse(f"{path} is open in a guest", disk=path.parent.name)
        yield
        if os.stat(path).st_ino != os.fstat(file.fileno()).st_ino:
            timer = threading.Timer(LINGER, stack.pop_all().close)
            timer.daemon = True
            timer.start()


def sync(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_file(path: Path) -> None:
    """Make the bytes of a file durable, whoever wrote them."""
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sync_all(paths: list[Path], folder: Path) -> None:
    """Make files below `folder` and their names durable, with one call where they are many."""
    if len(paths) > MANY:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if _LIBC.syncfs(descriptor) != 0:
                raise OSError(ctypes.get_errno(), "syncfs", str(folder))
        finally:
            os.close(descriptor)
        return
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            sync_file(path)
            sync(path.parent)
    sync(folder)


@contextlib.contextmanager
def faults(thing: str) -> Iterator[None]:
    """Name what the file system says as the driver's contract names it."""
    try:
        yield
    except InUse as error:
        raise DriverError(str(error), thing=thing) from error
    except FileNotFoundError as error:
        raise Missing(f"{error.filename} is not there", thing=thing) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Exhausted(str(error), thing=thing) from error
        raise DriverError(str(error), thing=thing) from error
