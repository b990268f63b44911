"""Disk images out of S3: as snapshots, and as AMIs. The work is done by `transfers`."""

from __future__ import annotations

from typing import Any

from backends.image import qemu_img
from backends.image.files import format_of
from backends.volume.models import Snapshot, SnapshotState
from compat.context import Context
from compat.ec2.disk_keys import encryption
from compat.ec2.images import image_arn
from compat.ec2.snapshots import snapshot_arn
from compat.ec2.transfer_places import ROLE, check_source, invalid, place_of
from compat.ec2.transfer_tasks import (
    ACTIVE,
    IMPORT_IMAGE,
    IMPORT_SNAPSHOT,
    PENDING,
    render_import_image,
    render_import_snapshot,
)
from compat.errors import AWSError
from compat.operation import Params, Result, operation

FORMATS = {"RAW": "raw", "VHD": "vpc", "VHDX": "vhdx", "VMDK": "vmdk", "OVA": "ova", "QCOW2": "qcow2", "VDI": "vdi"}
"""What a call may name, and what qemu-img calls it. The last two are read here, not by AWS."""
NAMES = {native: name for name, native in FORMATS.items()}
MOST_DISKS = 21
"""Disks that AWS takes for one image."""


def _disk(ctx: Context, container: dict[str, Any], role: str, *, archives: bool) -> dict[str, Any]:
    """A container as a task keeps it, after every check that can be made before a byte is read."""
    bucket, key = place_of(container)
    named = (container.get("Format") or "").upper()
    # A key is chosen by whoever asks, not by whoever wrote the image: its ending may stand for the format.
    format = FORMATS.get(named) if named else format_of(key)
    if format is None or (format == "ova" and not archives):
        usable = ", ".join(name for name in FORMATS if archives or name != "OVA")
        raise invalid(f"The disk image format must be given, as one of {usable}: '{container.get('Format') or ''}'.")
    if format != "raw" and not qemu_img.present():
        raise AWSError(
            "UnsupportedOperation",
            f"{NAMES[format]} images cannot be converted here: qemu-img is not installed (apt-get install qemu-utils).",
        )
    check_source(ctx, role, bucket, key)
    return {
        "Description": container.get("Description"),
        "Format": NAMES[format],
        "Url": container.get("Url"),
        "UserBucket": {"S3Bucket": bucket, "S3Key": key},
        "format": format,
        "bucket": bucket,
        "key": key,
    }


def _task(ctx: Context, p: Params) -> dict[str, Any]:
    encrypted, key, _ = encryption(ctx, p.get("Encrypted"), p.get("KmsKeyId"), False).demanded()
    return {
        "Description": p.get("Description") or "",
        "Encrypted": encrypted,
        "KmsKeyId": key,
        "Progress": "0",
        "StatusMessage": PENDING,
        "role": p.get("RoleName") or ROLE,
        "failures": 0,
    }


@operation("ec2:ImportSnapshot", on=lambda ctx, p: ["import-snapshot-task/*", snapshot_arn(ctx, "*")])
def import_snapshot(ctx: Context, p: Params) -> Result:
    """Make a snapshot out of a disk image."""
    if not p.get("DiskContainer"):
        raise AWSError("MissingParameter", "The request must contain the parameter DiskContainer")
    document = _task(ctx, p)
    document["disks"] = [_disk(ctx, p["DiskContainer"], document["role"], archives=False)]
    row = IMPORT_SNAPSHOT.add(ctx, document, state=ACTIVE)
    return render_import_snapshot(ctx, row)


def _image_targets(ctx: Context, p: Params) -> list[str]:
    named = [one["SnapshotId"] for one in p.get("DiskContainers") or () if one.get("SnapshotId")]
    return ["import-image-task/*", image_arn(ctx, "*"), *(snapshot_arn(ctx, id) for id in named or ("*",))]


@operation("ec2:ImportImage", on=_image_targets)
def import_image(ctx: Context, p: Params) -> Result:
    """Make an AMI out of disk images, or of snapshots."""
    containers = p.get("DiskContainers") or ()
    if not 0 < len(containers) <= MOST_DISKS:
        raise AWSError("MissingParameter", f"The request must contain 1 to {MOST_DISKS} DiskContainers")
    _check_machine(p)
    document = _task(ctx, p)
    given = ("Architecture", "LicenseType", "Platform", "UsageOperation", "BootMode", "LicenseSpecifications")
    document |= {member: p[member] for member in given if p.get(member)}
    document |= {"Hypervisor": "xen"}
    disks, taken = [], set()
    for index, container in enumerate(containers):
        if container.get("SnapshotId"):
            disk = _snapshot(ctx, container["SnapshotId"])
        else:
            disk = _disk(ctx, container, document["role"], archives=len(containers) == 1)
        disk["DeviceName"] = container.get("DeviceName") or device_name(index)
        if disk["DeviceName"] in taken:
            raise invalid(f"Two disk containers have the device name {disk['DeviceName']}.")
        taken.add(disk["DeviceName"])
        disks.append(disk)
    row = IMPORT_IMAGE.add(ctx, document | {"disks": disks}, state=ACTIVE)
    return render_import_image(ctx, row)


def device_name(index: int) -> str:
    """The name of the disk of that number, where the caller gives none."""
    return "/dev/sda1" if not index else f"/dev/sd{chr(97 + index)}"


def _snapshot(ctx: Context, id: str) -> dict[str, Any]:
    row: Snapshot = ctx.find("snapshot", id)
    if row.state != SnapshotState.COMPLETED:
        raise AWSError("IncorrectState", f"Snapshot {id} is in state '{row.state}'.")
    return {"SnapshotId": id, "snapshot": id, "size": row.size, "done": True, "Status": "completed"}


def _check_machine(p: Params) -> None:
    for member, usable in (
        ("Architecture", ("i386", "x86_64", "arm64")),
        ("Platform", ("Windows", "Linux")),
        ("Hypervisor", ("xen",)),
        ("LicenseType", ("AWS", "BYOL")),
    ):
        if p.get(member) and p[member] not in usable:
            raise invalid(f"Value '{p[member]}' for {member} is not one of {', '.join(usable)}.")
    if p.get("BootMode") == "uefi-preferred":
        raise invalid("The boot mode uefi-preferred is not supported for importing images.")
