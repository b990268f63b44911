"""Disks as sparse files with real bytes: `disks/<id>.raw` and `snapshots/<id>.raw` in one folder.

A new file is made under a name that starts with a dot, brought to the medium, and then renamed, so that under its final
name nothing is ever half made. Copies share extents where the file system can (reflink) and keep holes where not.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from backends.errors import DriverError, Exhausted, Missing
from backends.image import qemu_img
from backends.volume.drivers.base import DiskAccess, DiskSpec, Limits, Observed, OpenDisks, Report, serial, silent

FICLONE = 0x40049409
BLOCK = 1 << 20


class SparseFiles:
    """A `DiskDriver` that needs nothing but a folder."""

    def __init__(self, folder: Path, open_disks: OpenDisks | None = None) -> None:
        self._open = open_disks
        self._disks, self._snapshots = folder / "disks", folder / "snapshots"
        for place in (self._disks, self._snapshots):
            place.mkdir(parents=True, exist_ok=True)
        self._swept = False

    def ensure_disk(self, spec: DiskSpec) -> None:
        """See `DiskDriver`."""
        path = self._disk(spec.id)
        with _faults(spec.id):
            if not path.exists():
                if spec.source is None:
                    self._make_empty(path, spec.size)
                else:
                    self._publish(path, self._snapshot(spec.source), spec.size)
            elif path.stat().st_size < spec.size:
                if self._open is not None and self._open.holds(spec.id):
                    self._open.grow(spec.id, spec.size)
                    return
                with path.open("r+b") as file:
                    os.truncate(file.fileno(), spec.size)
                    os.fsync(file.fileno())

    def flush(self) -> None:
        """See `DiskDriver`. The folder's entries are journalled after the sizes of the files that they name."""
        with _faults("disks"):
            _sync_folder(self._disks)

    def drop_disk(self, disk: str) -> None:
        """See `DiskDriver`."""
        self._drop(self._disk(disk))

    def ensure_snapshot(self, snapshot: str, disk: str) -> int:
        """See `DiskDriver`."""
        return self.ensure_snapshots({snapshot: disk})[snapshot]

    def ensure_snapshots(self, disks: Mapping[str, str], report: Report = silent) -> Mapping[str, int]:
        """See `DiskDriver`. Guests that have the disks open are held up while these are copied, and no longer. Of
        several snapshots all stand or none does, also after a kill: they have the bytes of one and the same moment.
        Disks that a guest opened, and wrote, while they were copied are no such moment: that is a `DriverError`."""
        with _faults(", ".join(disks)):
            for journal in self._snapshots.glob(".set-*"):
                self._seal_all(journal)
        wanted = {self._snapshot(snapshot): disk for snapshot, disk in disks.items()}
        wanted = {target: disk for target, disk in wanted.items() if not target.exists()}
        held = [disk for disk in wanted.values() if self._open is not None and self._open.holds(disk)]
        with _faults(", ".join(disks)):
            journal = self._snapshots / f".set-{min(disks)}"
            try:
                with self._open.still(held) if self._open is not None and held else contextlib.nullcontext():
                    resting = [self._disk(disk) for disk in wanted.values() if disk not in held]
                    before = [_written(path) for path in resting]
                    for target, disk in wanted.items():
                        self._copy(target, self._disk(disk), partial(report, target.stem))
                    if before != [_written(path) for path in resting]:
                        raise DriverError("a guest wrote on a disk that was at rest, while it was copied")
                if len(wanted) > 1:
                    for target in wanted:
                        _sync(_draft(target))
                    draft = self._snapshots / f".draft-{min(disks)}"
                    draft.write_text("".join(f"{target.name}\n" for target in wanted))
                    _sync(draft)
                    os.replace(draft, journal)
                    _sync_folder(self._snapshots)
                    self._seal_all(journal)
                else:
                    for target in wanted:
                        self._seal(target)
            except BaseException:
                journal.unlink(missing_ok=True)
                for target in wanted:
                    self._drop(target)
                raise
            return {
                snapshot: sum(end - start for start, end in extents(self._snapshot(snapshot))) for snapshot in disks
            }

    def limit(self, disk: str, limits: Limits) -> None:
        """See `DiskDriver`."""
        if self._open is not None and self._open.holds(disk):
            self._open.limit(disk, limits)

    def import_file(self, snapshot: str, path: Path, format: str, report: Report = silent) -> int:
        """See `DiskDriver`."""
        target = self._snapshot(snapshot)
        if not target.exists():
            with _faults(snapshot):
                if format == "raw":
                    self._publish(target, path, 0, partial(report, snapshot))
                else:
                    qemu_img.inspect(path, format)
                    qemu_img.check_room(path, format, target.parent)
                    self._convert(snapshot, path, format, report)
        with _faults(snapshot):
            return sum(end - start for start, end in extents(target))

    def export_file(self, snapshot: str, path: Path, format: str, report: Report = silent) -> None:
        """See `DiskDriver`."""
        with _faults(snapshot):
            os.stat(self._snapshot(snapshot))
            try:
                if format == "raw":
                    with path.open("wb") as file:
                        copy_sparse(self._snapshot(snapshot), file.fileno())
                else:
                    qemu_img.convert(self._snapshot(snapshot), "raw", path, format, report=partial(report, snapshot))
            except BaseException:
                path.unlink(missing_ok=True)
                raise

    def tidy(self) -> bool:
        """See `DiskDriver`. Sets of snapshots that were whole when a kill came are finished, though nobody asks for
        them any more; else plain files stay as they are."""
        if not self._swept:
            with _faults("snapshots"):
                for journal in self._snapshots.glob(".set-*"):
                    self._seal_all(journal)
                for draft in self._snapshots.glob(".draft-*"):
                    draft.unlink()
            self._swept = True
        return False

    def ensure_copy(self, snapshot: str, parent: str, report: Report = silent) -> int:
        """See `DiskDriver`."""
        return self._ensure_copy(self._snapshot(snapshot), self._snapshot(parent), partial(report, snapshot))

    def drop_snapshot(self, snapshot: str) -> None:
        """See `DiskDriver`."""
        self._drop(self._snapshot(snapshot))

    def extents(self, snapshot: str) -> list[tuple[int, int]]:
        """See `DiskDriver`."""
        with _faults(snapshot):
            return extents(self._snapshot(snapshot))

    def read(self, snapshot: str, offset: int, length: int) -> bytes:
        """See `DiskDriver`."""
        with _faults(snapshot), self._snapshot(snapshot).open("rb") as file:
            return os.pread(file.fileno(), length, offset).ljust(length, b"\0")

    def begin_upload(self, snapshot: str, size: int, parent: str | None) -> None:
        """See `DiskDriver`."""
        with _faults(snapshot), _draft(self._snapshot(snapshot)).open("wb") as file:
            if parent is not None:
                copy_sparse(self._snapshot(parent), file.fileno())
            if os.fstat(file.fileno()).st_size < size:
                os.truncate(file.fileno(), size)

    def upload(self, snapshot: str, offset: int, data: bytes) -> None:
        """See `DiskDriver`."""
        with _faults(snapshot), _draft(self._snapshot(snapshot)).open("r+b") as file:
            os.lseek(file.fileno(), offset, os.SEEK_SET)
            _write(file.fileno(), data)

    def finish_upload(self, snapshot: str) -> int:
        """See `DiskDriver`."""
        target = self._snapshot(snapshot)
        with _faults(snapshot):
            if not target.exists():
                with _draft(target).open("r+b") as file:
                    os.fsync(file.fileno())
                os.replace(_draft(target), target)
                _sync_folder(target.parent)
            return sum(end - start for start, end in extents(target))

    def access(self, disk: str) -> DiskAccess:
        """See `DiskDriver`."""
        return DiskAccess(str(self._disk(disk)), "raw", serial(disk))

    def lacks(self, disk: str) -> str:
        """See `DiskDriver`."""
        path = self._disk(disk)
        return "" if path.exists() else f"{path} is not there"

    def observe(self) -> Observed:
        """See `DiskDriver`."""
        return Observed(_ids(self._disks), _ids(self._snapshots))

    def _disk(self, disk: str) -> Path:
        return self._disks / f"{disk}.raw"

    def _snapshot(self, snapshot: str) -> Path:
        return self._snapshots / f"{snapshot}.raw"

    def _ensure_copy(self, target: Path, source: Path, report: Callable[[int], None]) -> int:
        with _faults(target.stem):
            if not target.exists():
                self._publish(target, source, 0, report)
            return sum(end - start for start, end in extents(target))

    def _make_empty(self, target: Path, size: int) -> None:
        """Make `target` with `size` bytes of nothing, all at once; `flush` makes many of them durable together."""
        draft = str(_draft(target))
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        try:
            os.ftruncate(descriptor, size)
            os.replace(draft, target)
        except BaseException:
            os.unlink(draft)
            raise
        finally:
            os.close(descriptor)

    def _publish(
        self, target: Path, source: Path, size: int, report: Callable[[int], None] = lambda percent: None
    ) -> None:
        """Make `target` out of `source` with at least `size` bytes, durably and all at once."""
        try:
            self._copy(target, source, report, size)
            self._seal(target)
        except BaseException:
            _draft(target).unlink(missing_ok=True)
            raise

    def _copy(self, target: Path, source: Path, report: Callable[[int], None], size: int = 0) -> None:
        """Make the draft of `target` out of `source` with at least `size` bytes."""
        with _draft(target).open("wb") as file:
            copy_sparse(source, file.fileno(), report)
            if os.fstat(file.fileno()).st_size < size:
                os.truncate(file.fileno(), size)

    def _seal_all(self, journal: Path) -> None:
        """Let all snapshots of a set stand; begun once, it is finished even after a kill."""
        for name in journal.read_text().splitlines():
            if _draft(self._snapshots / name).exists():
                self._seal(self._snapshots / name)
        journal.unlink()

    def _seal(self, target: Path) -> None:
        """The draft is whole: let `target` stand, durably."""
        _sync(_draft(target))
        os.replace(_draft(target), target)
        _sync_folder(target.parent)

    def _convert(self, snapshot: str, source: Path, format: str, report: Report) -> None:
        """Make the snapshot out of an image file of a format that is not ours."""
        target = self._snapshot(snapshot)
        draft = _draft(target)
        try:
            qemu_img.convert(source, format, draft, "raw", report=partial(report, snapshot))
            with draft.open("rb") as file:
                os.fsync(file.fileno())
            os.replace(draft, target)
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
        _sync_folder(target.parent)

    def _drop(self, path: Path) -> None:
        with _faults(path.stem):
            _draft(path).unlink(missing_ok=True)
            path.unlink(missing_ok=True)


def _draft(path: Path) -> Path:
    return path.with_name("." + path.name)


def copy_sparse(source: Path, target: int, report: Callable[[int], None] = lambda percent: None) -> None:
    """Give the empty file behind descriptor `target` the bytes of `source`: shared extents, else all but the holes.

    `report` is told how many per cent of what is no hole are copied."""
    with source.open("rb") as file:
        try:
            fcntl.ioctl(target, FICLONE, file.fileno())
            return
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EXDEV, errno.EINVAL, errno.ENOSYS):
                raise
        os.truncate(target, os.fstat(file.fileno()).st_size)
        runs = list(_extents(file.fileno()))
        whole, done = max(1, sum(end - start for start, end in runs)), 0
        for start, end in runs:
            os.lseek(target, start, os.SEEK_SET)
            position = start
            while position < end:
                block = os.pread(file.fileno(), min(BLOCK, end - position), position)
                if not block:
                    break
                _write(target, block)
                position += len(block)
                done += len(block)
                report(done * 100 // whole)


def extents(path: Path) -> list[tuple[int, int]]:
    """Where the file has data: (start, end) in bytes, in order; the rest are holes."""
    with path.open("rb") as file:
        return list(_extents(file.fileno()))


def _extents(descriptor: int) -> Iterator[tuple[int, int]]:
    end = 0
    while True:
        try:
            start = os.lseek(descriptor, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, end


def _written(path: Path) -> tuple[int, int]:
    """What differs once somebody wrote in a file."""
    about = path.stat()
    return about.st_mtime_ns, about.st_size


def _write(descriptor: int, block: bytes) -> None:
    view = memoryview(block)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _ids(folder: Path) -> frozenset[str]:
    return frozenset(name.lstrip(".").removesuffix(".raw") for name in os.listdir(folder) if name.endswith(".raw"))


@contextlib.contextmanager
def _faults(thing: str) -> Iterator[None]:
    """Name what the file system says as the driver's contract names it."""
    try:
        yield
    except FileNotFoundError as error:
        raise Missing(f"{error.filename} is not there", thing=thing) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise Exhausted(str(error), thing=thing) from error
        raise DriverError(str(error), thing=thing) from error
