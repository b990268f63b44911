"""Snapshots that their owner writes, block by block, in any order and from several processes.

Until it is finished a draft holds a sparse raw file, and a byte for each cluster that was written: of a cluster that
was not, the parent's bytes count.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from backends.errors import Missing
from backends.volume.drivers import qcow2_file
from backends.volume.drivers import qcow2_folders as folders
from backends.volume.drivers.qcow2_file import CLUSTER, Chain

RAW, WRITTEN, PARENT = "upload.raw", "written", "parent"


class Upload:
    """The upload of the snapshot that will lie in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._draft = folder, folders.draft_of(folder)

    def begin(self, size: int, parent: Path | None) -> None:
        """Begin anew, upon the bytes of the snapshot in `parent`."""
        draft = folders.begin(self._folder)
        if parent is not None:
            layer = folders.borrow(parent, draft)
            size = max(size, qcow2_file.header(draft / layer).size)
            os.symlink(layer, draft / PARENT)
        for name, length in ((WRITTEN, -(-size // CLUSTER)), (RAW, size)):
            with (draft / name).open("wb") as file:
                os.truncate(file.fileno(), length)

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes; the rest of a cluster that is touched for the first time is filled from the parent."""
        with (self._draft / WRITTEN).open("r+b") as marks, (self._draft / RAW).open("r+b") as raw:
            fcntl.flock(marks, fcntl.LOCK_EX)
            end = offset + len(data)
            first, last = offset // CLUSTER, (end - 1) // CLUSTER
            for cluster in {first, last}:
                partial = offset > cluster * CLUSTER or end < (cluster + 1) * CLUSTER
                if partial and not any(os.pread(marks.fileno(), 1, cluster)):
                    self._fill(raw.fileno(), cluster)
            os.pwrite(raw.fileno(), data, offset)
            os.pwrite(marks.fileno(), b"\1" * (last - first + 1), first)

    def finish(self) -> None:
        """Make the snapshot out of what was written. Raises `Missing` when nothing was begun."""
        if self._folder.exists():
            return
        try:
            written = (self._draft / WRITTEN).read_bytes()
        except FileNotFoundError:
            if not (self._draft / folders.TOP).is_symlink():
                raise Missing(f"{self._folder.name} was not begun", thing=self._folder.name) from None
            folders.publish(self._folder)  # killed between the last two steps
            return
        with (self._draft / RAW).open("rb") as raw:
            size = os.fstat(raw.fileno()).st_size
            parent = os.readlink(self._draft / PARENT) if (self._draft / PARENT).is_symlink() else None

            def content(cluster: int) -> bytes | None:
                data = os.pread(raw.fileno(), CLUSTER, cluster * CLUSTER)
                return data if data.strip(b"\0") else None

            clusters = [number for number, mark in enumerate(written) if mark]
            if parent is None:
                clusters = [cluster for cluster in clusters if content(cluster) is not None]
            layer = folders.new_layer()
            qcow2_file.write(self._draft / layer, size, parent, clusters, content)
        folders.seal(self._draft, layer)
        for name in (RAW, PARENT, WRITTEN):
            (self._draft / name).unlink(missing_ok=True)
        folders.publish(self._folder)

    def _fill(self, raw: int, cluster: int) -> None:
        link = self._draft / PARENT
        if link.is_symlink():
            with Chain(self._draft / os.readlink(link)) as chain:
                os.pwrite(raw, chain.cluster(cluster) or b"", cluster * CLUSTER)
