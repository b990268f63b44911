"""Disks as qcow2 files in chains: made from a snapshot by leaning on it, and kept by letting a new file lean on them.

Layout of the folder: `disks/<id>/disk.qcow2` and `snapshots/<id>/top.qcow2`, each beside links to the layers that it
leans on (see `qcow2_folders`); `layers/<sha256>.qcow2` are imported images, known by their content.
"""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from backends.errors import DriverError, Missing
from backends.image import qemu_img
from backends.volume.drivers import qcow2_file
from backends.volume.drivers import qcow2_folders as folders
from backends.volume.drivers.base import (
    DiskAccess,
    DiskSpec,
    Limits,
    Observed,
    OpenDisks,
    Report,
    serial,
    silent,
)
from backends.volume.drivers.qcow2_capture import Capture
from backends.volume.drivers.qcow2_file import Chain
from backends.volume.drivers.qcow2_folders import DISK, faults
from backends.volume.drivers.qcow2_upload import Upload

_log = logging.getLogger(__name__)

DEPTH = 8
"""Files in a chain, above which its middle is made one."""


class Qcow2Disks:
    """A `DiskDriver`. `open_disks` is asked about disks that a running guest has open; None: no guest ever has."""

    def __init__(self, folder: Path, open_disks: OpenDisks | None = None) -> None:
        self._disks, self._snapshots, self._layers = (folder / name for name in ("disks", "snapshots", "layers"))
        for place in (self._disks, self._snapshots, self._layers):
            place.mkdir(parents=True, exist_ok=True)
        self._open = open_disks
        self._capture = Capture(self._disks, self._snapshots, open_disks, reflink=folders.can_reflink(folder))
        self._unsynced: list[Path] = []
        self._swept = False

    def ensure_disk(self, spec: DiskSpec) -> None:
        """See `DiskDriver`."""
        folder = self._disks / spec.id
        with faults(spec.id):
            if not _is_whole(folder / DISK):
                self._make(folder, spec)
            elif qcow2_file.header(folder / DISK).size < spec.size:
                self._grow(spec.id, spec.size)

    def flush(self) -> None:
        """See `DiskDriver`."""
        paths, self._unsynced = self._unsynced, []
        if paths:
            try:
                with faults("disks"):
                    folders.sync_all(paths, self._disks)
            except BaseException:
                self._unsynced = paths + self._unsynced
                raise

    def drop_disk(self, disk: str) -> None:
        """See `DiskDriver`."""
        with faults(disk):
            folders.drop(self._disks / disk)

    def ensure_snapshot(self, snapshot: str, disk: str) -> int:
        """See `DiskDriver`."""
        return self.ensure_snapshots({snapshot: disk})[snapshot]

    def ensure_snapshots(self, disks: Mapping[str, str], report: Report = silent) -> Mapping[str, int]:
        """See `DiskDriver`."""
        with faults(", ".join(disks)):
            self._capture.take(disks, report)
            return {snapshot: self._stored(snapshot) for snapshot in disks}

    def ensure_copy(self, snapshot: str, parent: str, report: Report = silent) -> int:
        """See `DiskDriver`. Nothing is copied, so there is nothing to report."""
        target, source = self._snapshots / snapshot, self._snapshots / parent
        with faults(snapshot):
            if not target.exists():
                draft = folders.begin(target)
                folders.seal(draft, folders.borrow(source, draft))
                folders.publish(target)
            return self._stored(snapshot)

    def drop_snapshot(self, snapshot: str) -> None:
        """See `DiskDriver`."""
        with faults(snapshot):
            folders.drop(self._snapshots / snapshot)

    def limit(self, disk: str, limits: Limits) -> None:
        """See `DiskDriver`."""
        if self._open is not None and self._open.holds(disk):
            self._open.limit(disk, limits)

    def extents(self, snapshot: str) -> list[tuple[int, int]]:
        """See `DiskDriver`."""
        with faults(snapshot), self._chain(snapshot) as chain:
            return chain.extents()

    def read(self, snapshot: str, offset: int, length: int) -> bytes:
        """See `DiskDriver`."""
        with faults(snapshot), self._chain(snapshot) as chain:
            return chain.read(offset, length)

    def begin_upload(self, snapshot: str, size: int, parent: str | None) -> None:
        """See `DiskDriver`."""
        with faults(snapshot):
            Upload(self._snapshots / snapshot).begin(size, self._snapshots / parent if parent is not None else None)

    def upload(self, snapshot: str, offset: int, data: bytes) -> None:
        """See `DiskDriver`."""
        with faults(snapshot):
            Upload(self._snapshots / snapshot).write(offset, data)

    def finish_upload(self, snapshot: str) -> int:
        """See `DiskDriver`."""
        with faults(snapshot):
            Upload(self._snapshots / snapshot).finish()
            return self._stored(snapshot)

    def import_file(self, snapshot: str, path: Path, format: str, report: Report = silent) -> int:
        """See `DiskDriver`. Files that show the same bytes are kept once."""
        target = self._snapshots / snapshot
        with faults(snapshot):
            if not target.exists():
                qemu_img.inspect(path, format)
                if format != "raw":
                    qemu_img.check_room(path, format, target.parent)
                draft = folders.begin(target)
                new = draft / "new.qcow2"
                qemu_img.convert(path, format, new, "qcow2", report=partial(report, snapshot))
                folders.sync_file(new)
                with new.open("rb") as file:
                    layer = f"{hashlib.file_digest(file, 'sha256').hexdigest()[:32]}.qcow2"
                self._keep_once(new, draft, layer)
                folders.seal(draft, layer)
                folders.publish(target)
            return self._stored(snapshot)

    def _keep_once(self, new: Path, draft: Path, layer: str) -> None:
        """Put an imported layer into a draft: the one of the same content that is known, or this one."""
        while True:
            try:
                os.link(new, self._layers / layer)
            except FileExistsError:
                try:
                    folders.share(self._layers, [layer], draft)
                except FileNotFoundError:
                    continue  # it was forgotten at this moment
                new.unlink()
            else:
                os.replace(new, draft / layer)
            return

    def export_file(self, snapshot: str, path: Path, format: str, report: Report = silent) -> None:
        """See `DiskDriver`."""
        folder = self._snapshots / snapshot
        with faults(snapshot):
            layer = folder / folders.top(folder)
            folders.chain(folder, layer.name)
            try:
                qemu_img.convert(layer, "qcow2", path, format, report=partial(report, snapshot))
            except BaseException:
                path.unlink(missing_ok=True)
                raise

    def access(self, disk: str) -> DiskAccess:
        """See `DiskDriver`."""
        return DiskAccess(str(self._disks / disk / DISK), "qcow2", serial(disk))

    def lacks(self, disk: str) -> str:
        """See `DiskDriver`. A chain that is made shorter at this moment is read again."""
        for again in (True, False):
            try:
                folders.chain(self._disks / disk, DISK)
                break
            except FileNotFoundError as error:
                if not again:
                    return f"{error.filename} is not there"
            except (OSError, DriverError) as error:
                return str(error)
        return ""

    def observe(self) -> Observed:
        """See `DiskDriver`."""
        return Observed(_ids(self._disks), _ids(self._snapshots))

    def tidy(self) -> bool:
        """See `DiskDriver`. Shortens one chain that is too long, and forgets imported images that nobody has."""
        with faults("layers"):
            if not self._swept:
                self._sweep()
                self._swept = True
            for layer in self._layers.iterdir():
                if layer.stat().st_nlink == 1:
                    layer.unlink()
            for place, flatten in ((self._snapshots, self._flatten_snapshot), (self._disks, self._flatten_disk)):
                for id in sorted(os.listdir(place)):
                    # The number of links in a folder tells without opening any.
                    if not id.startswith(".") and len(os.listdir(place / id)) > DEPTH and flatten(place / id):
                        return True
        return False

    def _sweep(self) -> None:
        """Finish sets of snapshots that were whole when a kill came, though nobody asks for them any more, and take
        layers out of folders that it left there, after nobody leant on them."""
        self._capture.finish()
        for draft in self._snapshots.glob(".draft-*"):
            draft.unlink()
        for place, uppermost in ((self._disks, lambda folder: DISK), (self._snapshots, folders.top)):
            for id in os.listdir(place):
                if not id.startswith("."):
                    try:
                        folders.prune(place / id, folders.chain(place / id, uppermost(place / id)))
                    except (FileNotFoundError, DriverError) as error:
                        _log.warning("%s cannot be read: %s", place / id, error)

    def _make(self, folder: Path, spec: DiskSpec) -> None:
        """Make a disk, leaning on its source, or on nothing."""
        draft, size, backing = folders.begin(folder), spec.size, None
        try:
            if spec.source is not None:
                backing = folders.borrow(self._snapshots / spec.source, draft)
                size = max(size, qcow2_file.header(draft / backing).size)
            qcow2_file.write(draft / DISK, size, backing)
            if folder.is_dir():  # a ruin without a head
                shutil.rmtree(folder)
            os.replace(draft, folder)
        except BaseException:
            folders.drop(folder)
            raise
        self._unsynced.append(folder / DISK)

    def _grow(self, disk: str, size: int) -> None:
        if self._open is not None and self._open.holds(disk):
            self._open.grow(disk, size)
            return
        with folders.unwritten(self._disks / disk / DISK):
            pass
        qemu_img.resize(self._disks / disk / DISK, size)
        self._unsynced.append(self._disks / disk / DISK)

    def _chain(self, snapshot: str) -> Chain:
        folder = self._snapshots / snapshot
        return folders.while_it_stands(folder, lambda layer: Chain(folder / layer))

    def _stored(self, snapshot: str) -> int:
        with self._chain(snapshot) as chain:
            return sum(end - start for start, end in chain.extents())

    def _flatten_snapshot(self, folder: Path) -> bool:
        """Let a snapshot lean on its lowest layer alone. Whoever leans on its layers has them."""
        names = folders.chain(folder, folders.top(folder))
        if len(names) <= DEPTH:
            return False
        layer = _merge(folder, names[0], names[-1])
        folders.seal(folder, layer)
        return True

    def _flatten_disk(self, folder: Path) -> bool:
        """Let a disk that no guest has open lean on one layer above its lowest. True when that was done."""
        names = folders.chain(folder, DISK)
        if len(names) <= DEPTH or (self._open is not None and self._open.holds(folder.name)):
            return False
        layer = _merge(folder, names[1], names[-1])
        try:
            # QEMU's own lock keeps a guest out meanwhile; both chains show the same bytes.
            qemu_img.rebase(folder / DISK, layer)
        except DriverError:
            (folder / layer).unlink()
            return False
        folders.sync_file(folder / DISK)
        folders.prune(folder, folders.chain(folder, DISK))
        return True


def _merge(folder: Path, upper: str, base: str) -> str:
    """A new layer upon `base` that shows the bytes of `upper`, durable."""
    layer, draft = folders.new_layer(), folder / ".merged"
    draft.unlink(missing_ok=True)
    try:
        with Chain(folder / upper) as chain:
            qcow2_file.write(draft, chain.size, base, chain.above_base(), chain.cluster)
        folders.sync_file(draft)
        os.replace(draft, folder / layer)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    return layer


def _is_whole(path: Path) -> bool:
    """Whether a disk is there. One that a crash of the machine left without a head was never handed out."""
    try:
        with path.open("rb") as file:
            return any(file.read(4))
    except FileNotFoundError:
        if path.parent.is_dir():
            raise Missing(f"{path} is not there any more", thing=path.parent.name) from None
        return False


def _ids(folder: Path) -> frozenset[str]:
    return frozenset(name.lstrip(".") for name in os.listdir(folder) if not name.startswith((".set-", ".draft-")))
