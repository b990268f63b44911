"""AMIs as files in S3. The work is done by `transfers`."""

from __future__ import annotations

from typing import Any

from backends.image import qemu_img
from backends.image.models import ImageState
from backends.volume.models import Snapshot
from compat.context import Context
from compat.ec2.images import image_arn, own_image
from compat.ec2.transfer_places import ROLE, check_target
from compat.ec2.transfer_tasks import ACTIVE, EXPORT_IMAGE, PENDING, render_export_image
from compat.errors import AWSError
from compat.operation import Params, Result, operation

FORMATS = {"RAW": "raw", "VMDK": "vmdk", "VHD": "vpc"}


@operation("ec2:ExportImage", on=lambda ctx, p: ["export-image-task/*", image_arn(ctx, p["ImageId"])])
def export_image(ctx: Context, p: Params) -> Result:
    """Write the disk of an AMI as a file into a bucket."""
    image = own_image(ctx, p["ImageId"])
    if image.state != ImageState.AVAILABLE:
        raise AWSError("IncorrectState", f"Image {image.id} is in state '{image.state}'.")
    disks = [mapping for mapping in image.mappings if mapping.get("snapshot")]
    if len(disks) != 1:
        raise AWSError("NotExportable", f"Image {image.id} has {len(disks)} disks with bytes; one can be exported.")
    snapshot: Snapshot = ctx.find("snapshot", disks[0]["snapshot"])
    if snapshot.encrypted:
        raise AWSError("NotExportable", f"Image {image.id} has an encrypted snapshot, which cannot be exported.")
    format = p["DiskImageFormat"]
    if format != "RAW" and not qemu_img.present():
        raise AWSError(
            "UnsupportedOperation",
            f"{format} images cannot be made here: qemu-img is not installed (apt-get install qemu-utils).",
        )
    location = p["S3ExportLocation"]
    bucket, prefix, role = location["S3Bucket"], location.get("S3Prefix") or "", p.get("RoleName") or ROLE
    document = {
        "Description": p.get("Description") or "",
        "DiskImageFormat": format,
        "ImageId": image.id,
        "RoleName": role,
        "S3ExportLocation": {"S3Bucket": bucket, "S3Prefix": prefix},
        "Progress": "0",
        "StatusMessage": PENDING,
        "role": role,
        "snapshot": snapshot.id,
        "format": FORMATS[format],
        "failures": 0,
    }
    row = EXPORT_IMAGE.add(ctx, document, state=ACTIVE)
    check_target(ctx, role, bucket, object_key(row.id, document))
    return render_export_image(ctx, row)


def object_key(task: str, document: dict[str, Any]) -> str:
    """Where in its bucket an export puts its file."""
    prefix: str = document["S3ExportLocation"]["S3Prefix"]
    return f"{prefix}{task}.{document['DiskImageFormat'].lower()}"
