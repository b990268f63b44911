"""Does the tasks that bring disk images in, or take them out, one after another, on a thread of its own.

What a task came to is written down after every disk. After a kill the disk that was being worked on begins anew; what
was dropped meanwhile stays dropped.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from backends.db import Scope, Unit
from backends.errors import Damaged, DriverError, Exhausted, Missing, Unavailable, Unsupported
from backends.image.files import count_disks, disk_in
from backends.image.qemu_img import inspect
from backends.image.service import ImageService
from backends.volume.drivers.base import GIB, DiskDriver
from backends.volume.host import PATIENCE
from backends.volume.models import Snapshot, SnapshotState
from backends.volume.service import VolumeService
from compat.ec2 import transfer_bytes as streams
from compat.ec2 import transfer_places as places
from compat.ec2.exporting import object_key
from compat.ec2.importing import device_name
from compat.ec2.transfer_tasks import (
    ACTIVE,
    COMPLETED,
    DELETED,
    DELETING,
    EXPORT_IMAGE,
    IMPORT_IMAGE,
    OPEN,
    UPDATING,
)
from compat.errors import AWSError
from compat.iam.service_roles import acting
from compat.kinds import KINDS
from compat.records import Record

if TYPE_CHECKING:
    from compat.cloud import Cloud
    from compat.ec2.transfer_bytes import Report

PAUSE = 0.3
"""Seconds between two notes of how far a task is; a cancellation is seen as soon."""
_log = logging.getLogger("nephele.transfers")


class Cancelled(Exception):
    """The task is not wanted any more."""


@dataclass
class Work:
    """One task that is being done: what its row said, and a way to write there."""

    cloud: Cloud
    id: str
    kind: str
    tenant: str
    region: str
    document: dict[str, Any]
    _told: float = field(default=0.0)

    @property
    def scope(self) -> Scope:
        """Whose it is, and where."""
        return Scope(self.tenant, self.region)

    def save(self, also: Callable[[Unit], None] = lambda unit: None, state: str = ACTIVE, **members: Any) -> None:
        """Write the document with `members` and what comes with it. Raises `Cancelled` when the task is not active."""
        self.document = self.document | members
        with self.cloud.database.unit(self.scope, write=True) as unit:
            row = unit.session.get(Record, self.id, with_for_update=True)
            if row is None or row.state != ACTIVE:
                raise Cancelled
            row.document, row.state = self.document, state
            also(unit)

    def tell(self, percent: int, message: str) -> None:
        """Note how far it is, unless that was done a moment ago."""
        now = time.monotonic()
        if message != self.document["StatusMessage"] or now - self._told >= PAUSE:
            self._told = now
            self.save(Progress=str(min(percent, 99)), StatusMessage=message)


class Transfers:
    """Does what tasks ask for. One for the process that does them."""

    def __init__(self, cloud: Cloud, folder: Path) -> None:
        """`folder` is its own, for files on their way; it is emptied before the first task."""
        self._cloud, self._folder, self._swept = cloud, folder, False

    @property
    def _driver(self) -> DiskDriver:
        driver: DiskDriver = self._cloud.hosts["volumes"].driver
        return driver

    def step(self) -> bool:
        """Do the oldest open task, or end one that was cancelled. True when more are open."""
        if not self._swept:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._swept = True
        with self._cloud.database.unit(None, write=False) as unit:
            rows = unit.session.scalars(select(Record).where(OPEN).order_by(Record.created, Record.id).limit(2)).all()
            works = [Work(self._cloud, r.id, r.kind, r.tenant, r.region, dict(r.document)) for r in rows]
            states = [row.state for row in rows]
        if not works:
            return False
        if states[0] == DELETING:
            self._end(works[0], works[0].document["StatusMessage"])
            return len(works) > 1
        return not self._do(works[0]) or len(works) > 1

    def _do(self, work: Work) -> bool:
        """Do a task; whether it came to an end."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(prefix=f"{work.id}-", dir=self._folder) as name:
                if work.kind == EXPORT_IMAGE.name:
                    self._export(work, Path(name))
                else:
                    self._import(work, Path(name))
        except Cancelled:
            return False
        except AWSError as fault:
            self._end(work, f"ClientError: {fault.message}")
        except Unavailable:
            return False
        except (Unsupported, Missing, Damaged) as fault:
            self._end(work, f"ClientError: Disk validation failed [{fault.facts.get('reason') or fault}]")
        except Exhausted as fault:
            self._end(work, f"ServerError: there is no space left for the disk: {fault}")
        except (DriverError, OSError) as fault:
            return self._failed(work, fault)
        except Exception as fault:  # noqa: BLE001 - of one task's file, perhaps: the others do not wait for it for ever
            _log.exception("%s failed unforeseen", work.id)
            return self._failed(work, fault)
        return True

    def _failed(self, work: Work, fault: Exception) -> bool:
        """Something that may pass: try again, but not for ever."""
        _log.warning("%s: %s", work.id, fault)
        failures = work.document["failures"] + 1
        if failures >= PATIENCE:
            self._end(work, f"ServerError: an internal error has occurred during conversion: {fault}")
            return True
        try:
            work.save(failures=failures)
        except Cancelled:
            pass  # nobody asks any more how often it failed
        return False

    # --- in -----------------------------------------------------------------------------------------------------------

    def _import(self, work: Work, folder: Path) -> None:
        image, index = work.kind == IMPORT_IMAGE.name, 0
        message = "converting" if image else "downloading/converting"

        def report(percent: int) -> None:
            work.tell((index * 100 + percent) // len(work.document["disks"]), message)

        while index < len(work.document["disks"]):  # an OVA is found to have several
            if not work.document["disks"][index].get("done"):
                self._bring(work, index, folder, report)
            index += 1
        if image:
            work.tell(99, "preparing ami")
            self._register(work)
        else:
            work.save(state=COMPLETED, Progress=None, StatusMessage=None)

    def _bring(self, work: Work, index: int, folder: Path, report: Report) -> None:
        """Bring one disk in: half of the way is the download."""
        disk = work.document["disks"][index]
        path = folder / "image"
        report(0)
        bucket = places.bucket_named(self._cloud, work.region, disk["bucket"])
        wanted, role = places.reading(bucket, disk["key"]), work.document["role"]
        who = places.acting_role(self._cloud, work.tenant, role, bucket, wanted, places.READING)
        with acting(self._cloud, places.READING, who, work.region) as ctx:
            streams.download(ctx, bucket, disk["key"], path, lambda percent: report(percent // 2))
        length = path.stat().st_size
        self._spread(work, index, count_disks(path, disk["format"]))
        with disk_in(path, disk["format"], folder, disk.get("number", 0)) as (file, format):
            size = -(-inspect_size(file, format) // GIB)
            id = self._pending(work, index, size, length)
            stored = self._driver.import_file(id, file, format, lambda id, percent: report(50 + percent // 2))
        path.unlink()

        def finish(unit: Unit) -> None:
            row = unit.session.get_one(Snapshot, id)
            if row.state == SnapshotState.PENDING:
                VolumeService(unit).finish_snapshot(row, stored)

        self._note(work, index, finish, SnapshotId=id, Status="completed", Progress=None, done=True)

    def _spread(self, work: Work, index: int, count: int) -> None:
        """Let a task that names one OVA have each of its disks."""
        disks = list(work.document["disks"])
        if count == 1 or "number" in disks[index]:
            return
        spread = [disks[index] | {"number": n, "DeviceName": device_name(n)} for n in range(count)]
        work.save(disks=spread)

    def _pending(self, work: Work, index: int, size: int, length: int) -> str:
        """The snapshot that the disk becomes: its row is there before its bytes."""
        disk = work.document["disks"][index]
        if disk.get("snapshot"):
            return str(disk["snapshot"])
        id = KINDS["snapshot"].mints()
        document = work.document

        def begin(unit: Unit) -> None:
            VolumeService(unit).begin_snapshot(
                id=id,
                size=size,
                description=f"Created by AWS-VMImport service for {work.id}",
                encrypted=document["Encrypted"],
                key=document["KmsKeyId"],
                notes={"task": work.id},
            )

        self._note(work, index, begin, snapshot=id, size=size, DiskImageSize=float(length))
        return id

    def _note(self, work: Work, index: int, also: Callable[[Unit], None], **members: Any) -> None:
        disks = list(work.document["disks"])
        disks[index] = disks[index] | members
        work.save(also, disks=disks)

    def _register(self, work: Work) -> None:
        document = work.document
        id = KINDS["image"].mints()
        windows = document.get("Platform") == "Windows"
        notes: dict[str, Any] = {
            "Description": document["Description"],
            "PlatformDetails": "Windows" if windows else "Linux/UNIX",
            "UsageOperation": document.get("UsageOperation") or ("RunInstances:0002" if windows else "RunInstances"),
            "RootDeviceType": "ebs",
            "VirtualizationType": "hvm",
            "Hypervisor": "xen",
            "EnaSupport": True,
            "ImageType": "machine",
            "ImageLocation": f"{work.tenant}/{work.id}",
            "DeregistrationProtection": "disabled",
        }
        if windows:
            notes["Platform"] = "windows"
        if document.get("BootMode"):
            notes["BootMode"] = document["BootMode"]
        mappings = [
            {
                "device": disk["DeviceName"],
                "snapshot": disk["snapshot"],
                "size": disk["size"],
                "kind": "gp2",
                "iops": None,
                "throughput": None,
                "encrypted": document["Encrypted"],
                "key": document["KmsKeyId"],
                "keep": False,
            }
            for disk in document["disks"]
        ]

        def add(unit: Unit) -> None:
            ImageService(unit).add(
                id=id,
                name=work.id,
                architecture=document.get("Architecture") or "x86_64",
                root_device=mappings[0]["device"],
                mappings=mappings,
                notes=notes,
                ready=True,
            )

        work.save(add, COMPLETED, ImageId=id, Progress=None, StatusMessage=None)

    # --- out ----------------------------------------------------------------------------------------------------------

    def _export(self, work: Work, folder: Path) -> None:
        document = work.document
        path = folder / "disk"
        work.tell(0, "validating")
        self._driver.export_file(
            document["snapshot"],
            path,
            document["format"],
            lambda id, percent: work.tell(percent * 8 // 10, "converting"),
        )
        bucket = places.bucket_named(self._cloud, work.region, document["S3ExportLocation"]["S3Bucket"])
        key = object_key(work.id, document)
        wanted = places.writing(bucket, key)
        who = places.acting_role(self._cloud, work.tenant, document["role"], bucket, wanted, places.WRITING)
        work.tell(80, UPDATING)
        with acting(self._cloud, places.WRITING, who, work.region) as ctx:
            streams.upload(ctx, bucket, key, path, lambda percent: work.tell(80 + percent // 5, UPDATING))
        work.save(state=COMPLETED, Progress=None, StatusMessage=None)

    # --- the end ------------------------------------------------------------------------------------------------------

    def _end(self, work: Work, message: str) -> None:
        """The task failed, or was cancelled: drop what it made."""
        with self._cloud.database.unit(work.scope, write=True) as unit:
            row = unit.session.get(Record, work.id, with_for_update=True)
            if row is None or row.state not in (ACTIVE, DELETING):
                return
            for disk in row.document.get("disks") or ():
                # Snapshots that a task was given are not its own.
                made = (
                    unit.session.get(Snapshot, disk["snapshot"])
                    if disk.get("format") and disk.get("snapshot")
                    else None
                )
                if made is not None:
                    VolumeService(unit).remove_snapshot(made)
            row.state = DELETED
            row.document = row.document | {"StatusMessage": message[:1024], "Progress": None}


def inspect_size(path: Path, format: str) -> int:
    """The size in bytes that a disk image shows, after every check that makes it safe to read."""
    return path.stat().st_size if format == "raw" else inspect(path, format)
