"""Taking snapshots of disks: of those at rest by freezing the file, of those in a running guest through its hypervisor.

Freezing: the snapshot gets a link to the disk's file, which becomes a layer, and the disk a new file that leans on it.
Nothing is copied. Until the new file has taken the old one's name the snapshot is a draft, so no snapshot ever stands
whose uppermost layer is still written. Several disks are frozen while all of them are kept from being opened, and what
was frozen of a set before a kill counts for nothing unless all of it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from backends.image import qemu_img
from backends.volume.drivers import qcow2_file
from backends.volume.drivers import qcow2_folders as folders
from backends.volume.drivers.base import OpenDisks, Report
from backends.volume.drivers.qcow2_folders import DISK, TOP

LAST = "last.json"
"""In a disk's folder: the last snapshot that its hypervisor took, and the checkpoint from which the next may go on."""


class Capture:
    """Takes snapshots of disks in `disks` into `snapshots`."""

    def __init__(self, disks: Path, snapshots: Path, open_disks: OpenDisks | None, *, reflink: bool) -> None:
        self._disks, self._snapshots, self._open, self._reflink = disks, snapshots, open_disks, reflink

    def take(self, disks: Mapping[str, str], report: Report) -> None:
        """Take the snapshots (snapshot -> disk) that are not there. Only what a hypervisor copies takes long.

        Of several all stand or none does: they are drafts until a journal says that each of them is whole. What a kill
        or a failure left before that is given up, and all are taken anew, of one later moment.
        """
        self.finish()
        wanted = {snapshot: disk for snapshot, disk in disks.items() if not (self._snapshots / snapshot).exists()}
        if not wanted:
            return
        held = {s: d for s, d in wanted.items() if self._open is not None and self._open.holds(d)}
        resting = {snapshot: disk for snapshot, disk in wanted.items() if snapshot not in held}
        journal = self._snapshots / f".set-{min(wanted)}"
        try:
            for snapshot in wanted:
                folders.begin(self._snapshots / snapshot)
            self._freeze({self._snapshots / snapshot: self._disks / disk for snapshot, disk in resting.items()})
            checkpoint = self._back_up(held, report) if held else None
            if held or len(resting) > 1:
                _write(journal, {"checkpoint": checkpoint, "disks": held, "resting": sorted(resting)})
        except Exception:
            journal.unlink(missing_ok=True)
            for snapshot in wanted:
                shutil.rmtree(folders.draft_of(self._snapshots / snapshot), ignore_errors=True)
            raise
        if journal.exists():
            self._publish_set(journal)
        else:
            folders.publish(self._snapshots / min(resting))

    def finish(self) -> None:
        """Let the snapshots of sets stand that were whole when a kill came."""
        for journal in self._snapshots.glob(".set-*"):
            self._publish_set(journal)

    def _freeze(self, disks: Mapping[Path, Path]) -> None:
        """Make drafts of snapshots (target -> disk) of disks that nobody has open, and keep everybody away from all of
        them meanwhile."""
        with contextlib.ExitStack() as stack:
            for disk in disks.values():
                stack.enter_context(folders.unwritten(disk / DISK))
            for target, disk in disks.items():
                self._keep(folders.draft_of(target), disk)

    def _keep(self, draft: Path, disk: Path) -> None:
        """Put what a disk holds into a draft."""
        about = qcow2_file.header(disk / DISK)
        if about.backing is not None and qcow2_file.is_empty(disk / DISK):
            below = qcow2_file.header(disk / about.backing)
            if below.size == about.size:
                folders.share(disk, folders.chain(disk, about.backing), draft)
                folders.seal(draft, about.backing)
                return
        layer = folders.new_layer()
        beneath = folders.chain(disk, DISK)[1:]
        folders.share(disk, beneath, draft)
        if self._reflink:
            folders.copy(disk / DISK, draft / layer)
            folders.seal(draft, layer)
        else:
            (disk / LAST).unlink(missing_ok=True)
            os.link(disk / DISK, draft / layer)
            folders.seal(draft, layer)
            self._continue(disk, layer, about.size, beneath)

    def _continue(self, disk: Path, layer: str, size: int, beneath: list[str]) -> None:
        """Let the disk go on in a new file that leans on `layer`, which was its file."""
        folders.prune(disk, beneath)
        os.link(disk / DISK, disk / layer)
        new = disk / ".new"
        qcow2_file.write(new, size, layer)
        folders.sync_file(new)
        folders.sync(disk)
        os.replace(new, disk / DISK)
        folders.sync(disk)

    def _back_up(self, held: Mapping[str, str], report: Report) -> str:
        """Make the drafts of snapshots of disks of one running guest hold them, or what changed since their last ones
        where that is known. Answers the checkpoint from which the next may go on."""
        assert self._open is not None
        targets: dict[str, str] = {}
        since: dict[str, str | None] = {}
        for snapshot, disk in held.items():
            draft, layer = folders.draft_of(self._snapshots / snapshot), folders.new_layer()
            previous, since[disk] = self._previous(disk)
            backing = None
            if previous is not None:
                backing = folders.borrow(previous, draft)
            qcow2_file.write(draft / layer, qcow2_file.header(self._disks / disk / DISK).size, backing)
            folders.seal(draft, layer)
            targets[disk] = str(draft / layer)
        checkpoint = min(held)

        def tell(percent: int) -> None:
            for snapshot in held:
                report(snapshot, percent)

        incremental = self._open.back_up(targets, checkpoint, since, tell)
        for snapshot, disk in held.items():
            draft = folders.draft_of(self._snapshots / snapshot)
            layer = folders.top(draft)
            if since[disk] is not None and not incremental[disk]:
                qemu_img.rebase(draft / layer, None)
            folders.seal(draft, layer)
            folders.sync(draft)
        return checkpoint

    def _previous(self, disk: str) -> tuple[Path | None, str | None]:
        """The snapshot on which a further one of the disk can lean, and the checkpoint since when."""
        try:
            last = json.loads((self._disks / disk / LAST).read_bytes())
        except (FileNotFoundError, ValueError):
            return None, None
        folder = self._snapshots / str(last["snapshot"])
        return (folder, str(last["checkpoint"])) if (folder / TOP).is_symlink() else (None, None)

    def _publish_set(self, journal: Path) -> None:
        """Let all snapshots of a set stand; begun once, it is finished even after a kill."""
        about = json.loads(journal.read_bytes())
        for snapshot in (*about["disks"], *about.get("resting", ())):
            folder = self._snapshots / snapshot
            if not folder.exists() and folders.draft_of(folder).is_dir():
                folders.publish(folder)
        for snapshot, disk in about["disks"].items():
            folder = self._snapshots / snapshot
            if (self._disks / disk).is_dir() and folder.exists():
                _write(self._disks / disk / LAST, {"snapshot": snapshot, "checkpoint": about["checkpoint"]})
        journal.unlink()


def _write(path: Path, value: object) -> None:
    draft = path.with_name(".draft-" + path.name.lstrip("."))
    with draft.open("w") as file:
        json.dump(value, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)
    folders.sync(path.parent)
