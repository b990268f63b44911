"""AMIs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from backends.compute.models import Guest, GuestState
from backends.errors import Exists, InUse, WrongState
from backends.image.models import Image, ImageState
from backends.volume.models import Disk, Snapshot, SnapshotState
from backends.volume.service import HELD, SET
from compat.context import Context
from compat.describe import page
from compat.ec2.catalogue import OWNERS_BY_ALIAS, ensure_catalogue, parameters
from compat.ec2.disk_keys import encryption, refuse_plain_copy
from compat.ec2.listing import at
from compat.ec2.snapshot_deletion import delete
from compat.ec2.snapshots import foreign, snapshot_arn, usable_by
from compat.ec2.volume_types import merge_mappings, render_mapping
from compat.errors import AWSError
from compat.filters import Filters, as_texts
from compat.kinds import kind
from compat.operation import Params, Raises, Result, operation
from compat.preparing import prepares
from compat.tags import drop_tags, put_tags

kind(
    "image",
    prefix="ami-",
    row=Image,
    missing="InvalidAMIID.NotFound",
    malformed="InvalidAMIID.Malformed",
    label="image id",
    message="The {label} '[{id}]' does not exist",
    several="The {label}s '[{ids}]' do not exist",
    quota=50000,
)


@prepares("ec2", "ssm")
def prepare_catalogue(ctx: Context) -> None:
    """The public images of the region."""
    ensure_catalogue(ctx.cloud.database, ctx.region)


def image_arn(ctx: Context, id: str) -> str:
    """Images bear no account in their ARNs."""
    return ctx.arn("ec2", f"image/{id}", account="")


def own_image(ctx: Context, id: str) -> Image:
    """An image of the caller's own: those of others can be seen, not changed."""
    row: Image = ctx.find("image", id)
    if row.tenant != ctx.account:
        raise AWSError("AuthFailure", f"Not authorized for image:{id}", 403)
    return row


def render_image(ctx: Context, image: Image) -> dict[str, Any]:
    """An image in AWS's form. Its notes are members of it, except what is written small."""
    answer = {member: value for member, value in image.notes.items() if member[0].isupper()}
    answer |= {
        "ImageId": image.id,
        "Name": image.name,
        "OwnerId": image.tenant,
        "State": image.state,
        "Public": image.public,
        "Architecture": image.architecture,
        "CreationDate": as_texts(image.created)[0],
        "BlockDeviceMappings": [render_mapping(mapping) for mapping in image.mappings],
        "Tags": ctx.tags(image.id),
    }
    if image.root_device is not None:
        answer["RootDeviceName"] = image.root_device
    if image.state == ImageState.FAILED:
        answer["StateReason"] = {"Code": "Server.InternalError", "Message": "A snapshot could not be stored."}
    return answer


def _parameter_names(ctx: Context, image: Image) -> list[str]:
    return [name for name, id in parameters(ctx.region).items() if id == image.id]


def _nothing(ctx: Context, image: Image) -> None:
    """A filter on what no image here has."""


# Images are neither watermarked, nor scanned, nor bound to instance types here.
_NO_IMAGE_HAS = (
    "image-watermark.source-image-creation-time",
    "image-watermark.source-image-id",
    "image-watermark.source-image-region",
    "image-watermark.watermark-creation-time",
    "image-watermark.watermark-key",
    "instance-type-specification.supported-instance-type",
    "instance-type-specification.unsupported-instance-type",
    "product-code",
    "product-code.type",
    "scan-result.critical-fix-available-since",
    "scan-result.finding-scan-date",
    "scan-result.high-fix-available-since",
    "scan-result.highest-finding-severity-label",
    "scan-result.informational-fix-available-since",
    "scan-result.low-fix-available-since",
    "scan-result.medium-fix-available-since",
)

IMAGE_FILTERS: Filters = {
    **dict.fromkeys(_NO_IMAGE_HAS, _nothing),
    "architecture": Image.architecture,
    "block-device-mapping.delete-on-termination": at(render_image, "BlockDeviceMappings.Ebs.DeleteOnTermination"),
    "block-device-mapping.device-name": at(render_image, "BlockDeviceMappings.DeviceName"),
    "block-device-mapping.snapshot-id": at(render_image, "BlockDeviceMappings.Ebs.SnapshotId"),
    "block-device-mapping.volume-size": at(render_image, "BlockDeviceMappings.Ebs.VolumeSize"),
    "block-device-mapping.volume-type": at(render_image, "BlockDeviceMappings.Ebs.VolumeType"),
    "block-device-mapping.encrypted": at(render_image, "BlockDeviceMappings.Ebs.Encrypted"),
    "boot-mode": at(render_image, "BootMode"),
    "creation-date": lambda ctx, image: image.created,
    "description": at(render_image, "Description"),
    "ena-support": at(render_image, "EnaSupport"),
    "free-tier-eligible": lambda ctx, image: False,
    "hypervisor": at(render_image, "Hypervisor"),
    "image-allowed": lambda ctx, image: True,
    "image-id": Image.id,
    "image-type": at(render_image, "ImageType"),
    "is-public": Image.public,
    "kernel-id": at(render_image, "KernelId"),
    "manifest-location": at(render_image, "ImageLocation"),
    "name": Image.name,
    "owner-alias": at(render_image, "ImageOwnerAlias"),
    "owner-id": Image.tenant,
    "platform": at(render_image, "Platform"),
    "public-ssm-parameter-name": _parameter_names,
    "ramdisk-id": at(render_image, "RamdiskId"),
    "root-device-name": Image.root_device,
    "root-device-type": at(render_image, "RootDeviceType"),
    "source-image-id": at(render_image, "SourceImageId"),
    "source-image-region": at(render_image, "SourceImageRegion"),
    "source-instance-id": at(render_image, "SourceInstanceId"),
    "state": Image.state,
    "state-reason-code": at(render_image, "StateReason.Code"),
    "state-reason-message": at(render_image, "StateReason.Message"),
    "sriov-net-support": at(render_image, "SriovNetSupport"),
    "virtualization-type": at(render_image, "VirtualizationType"),
}


@operation("ec2:DescribeImages")
def describe_images(ctx: Context, p: Params) -> Result:
    """The images that the caller may use: its own, public ones, and those shared with it."""
    where: list[Any] = []
    if owners := p.get("Owners"):
        tenants: list[str] = []
        for owner in owners:
            tenants += [ctx.account] if owner == "self" else OWNERS_BY_ALIAS.get(owner, (owner,))
        where.append(Image.tenant.in_(tenants))
    if users := p.get("ExecutableUsers"):
        where.append(usable_by(ctx, Image, users))
    if not p.get("IncludeDisabled"):
        where.append(Image.state != ImageState.DISABLED)
    return page(ctx, p, "image", IMAGE_FILTERS, render_image, where=where, prepare=_loaded)


def _loaded(ctx: Context, rows: Sequence[Image]) -> None:
    ctx.preload_tags([row.id for row in rows])


NAME = re.compile(r"[a-zA-Z0-9()\[\] ./\-'@_]{3,128}")

TAKEN: Raises = {
    Exists: lambda fact: AWSError(
        "InvalidAMIName.Duplicate", f"AMI name {fact.name} is already in use by AMI {fact.image}"
    ),
    WrongState: lambda fact: AWSError("IncorrectState", f"Volume '{fact.disk}' is in state '{fact.state}'."),
}


def _name(name: str) -> str:
    if not NAME.fullmatch(name):
        raise AWSError(
            "InvalidAMIName.Malformed",
            "AMI names must be between 3 and 128 characters long, and may contain letters, numbers, "
            "'(', ')', '.', '-', '/' and '_'",
        )
    return name


@operation(
    "ec2:CreateImage",
    on=lambda ctx, p: [f"instance/{p['InstanceId']}", image_arn(ctx, "*"), snapshot_arn(ctx, "*")],
    raises=TAKEN,
)
def create_image(ctx: Context, p: Params) -> Result:
    """Make an image of an instance and all its volumes."""
    guest: Guest = ctx.find("instance", p["InstanceId"])
    if guest.state not in (GuestState.RUNNING, GuestState.STOPPED, GuestState.STOPPING, GuestState.PENDING):
        raise AWSError("IncorrectState", f"Instance '{guest.id}' is in state '{guest.state}'.")
    _check_specifications(p)
    name = _name(p["Name"])
    origin: Image | None = ctx.session.scalar(select(Image).where(Image.id == guest.image))
    current = []
    for attachment in ctx.volumes.attachments(guests=[guest.id]):
        disk = ctx.session.get_one(Disk, attachment.disk)
        current.append(
            {
                "device": attachment.device,
                "disk": disk.id,
                "size": disk.size,
                "kind": disk.kind,
                "iops": disk.iops,
                "throughput": disk.throughput,
                "encrypted": disk.encrypted,
                "key": disk.key,
                "keep": attachment.keep,
            }
        )
    disks = {mapping["device"]: mapping.pop("disk") for mapping in current}
    mappings = merge_mappings(current, p.get("BlockDeviceMappings") or ())
    id = ctx.mint("image")
    reboots = not p.get("NoReboot") and guest.state == GuestState.RUNNING
    for mapping in mappings:
        disk_id = disks.get(mapping["device"])
        if disk_id is not None and "ephemeral" not in mapping and not mapping.get("snapshot"):
            snapshot = ctx.volumes.add_snapshot(
                id=ctx.mint("snapshot"),
                disk=ctx.session.get_one(Disk, disk_id),
                description=f"Created by CreateImage({guest.id}) for {id}",
                notes={SET: id, HELD: True} if reboots else {SET: id},
            )
            mapping["snapshot"] = snapshot.id
    notes = {
        "Description": p.get("Description") or "",
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "RootDeviceType": "ebs",
        "VirtualizationType": "hvm",
        "Hypervisor": "xen",
        "EnaSupport": True,
        "SriovNetSupport": "simple",
        "ImageType": "machine",
        "DeregistrationProtection": "disabled",
    }
    if origin is not None:
        inherited = (
            "PlatformDetails",
            "UsageOperation",
            "VirtualizationType",
            "EnaSupport",
            "SriovNetSupport",
            "Platform",
            "BootMode",
            "ImdsSupport",
            "TpmSupport",
        )
        notes |= {member: origin.notes[member] for member in inherited if member in origin.notes}
    notes |= {"ImageLocation": f"{ctx.account}/{name}", "SourceInstanceId": guest.id}
    if origin is not None:
        notes |= {"SourceImageId": origin.id, "SourceImageRegion": ctx.region}
    ctx.images.add(
        id=id,
        name=name,
        architecture=guest.architecture,
        root_device=guest.root_device,
        mappings=mappings,
        notes=notes,
        ready=False,
    )
    if reboots:
        ctx.compute.capture_still(guest, id)
    return {"ImageId": id}


def _check_specifications(p: Params) -> None:
    for one in p.get("TagSpecifications") or ():
        if one.get("ResourceType") not in ("image", "snapshot"):
            raise AWSError(
                "InvalidParameterValue",
                f"'{one.get('ResourceType')}' is not a valid taggable resource type for this operation.",
            )


@operation("ec2:RegisterImage", on=lambda ctx, p: [image_arn(ctx, "*")], raises=TAKEN)
def register_image(ctx: Context, p: Params) -> Result:
    """Make an image out of snapshots."""
    _check_specifications(p)
    name = _name(p.get("Name") or "")
    mappings = merge_mappings((), p.get("BlockDeviceMappings") or ())
    ready = True
    for mapping in mappings:
        if mapping.get("snapshot"):
            snapshot: Snapshot = ctx.find("snapshot", mapping["snapshot"])
            mapping["size"] = max(mapping.get("size") or 0, snapshot.size)
            mapping["encrypted"] = snapshot.encrypted
            mapping["key"] = snapshot.key
            ready &= snapshot.state == SnapshotState.COMPLETED
    root = p.get("RootDeviceName")
    if root is None and not p.get("ImageLocation"):
        root = mappings[0]["device"] if len(mappings) == 1 else None
    if root is not None and not any(mapping["device"] == root for mapping in mappings) and not p.get("ImageLocation"):
        raise AWSError("InvalidBlockDeviceMapping", "RootDeviceName must name a device of the block device mappings.")
    id = ctx.mint("image")
    notes: dict[str, Any] = {
        "Description": p.get("Description") or "",
        "PlatformDetails": "Linux/UNIX",
        "UsageOperation": "RunInstances",
        "RootDeviceType": "ebs" if mappings else "instance-store",
        "VirtualizationType": p.get("VirtualizationType") or "paravirtual",
        "Hypervisor": "xen",
        "EnaSupport": bool(p.get("EnaSupport")),
        "ImageType": "machine",
        "ImageLocation": p.get("ImageLocation") or f"{ctx.account}/{name}",
        "DeregistrationProtection": "disabled",
    }
    given = ("SriovNetSupport", "BootMode", "ImdsSupport", "TpmSupport", "KernelId", "RamdiskId")
    notes |= {member: p[member] for member in given if p.get(member)}
    if p.get("UefiData"):
        notes["uefi"] = p["UefiData"]
    architecture = p.get("Architecture") or "i386"
    ctx.images.add(
        id=id, name=name, architecture=architecture, root_device=root, mappings=mappings, notes=notes, ready=ready
    )
    return {"ImageId": id}


@operation("ec2:CopyImage", on=lambda ctx, p: [image_arn(ctx, "*")], raises=TAKEN)
def copy_image(ctx: Context, p: Params) -> Result:
    """Copy an image, with its snapshots, from a region into this one."""
    _check_specifications(p)
    name = _name(p["Name"])
    origin: Image = foreign(ctx, "image", p["SourceRegion"], p["SourceImageId"])
    if origin.state != ImageState.AVAILABLE:
        raise AWSError("IncorrectState", f"Image {origin.id} is in state '{origin.state}'.")
    id = ctx.mint("image")
    mappings = [dict(mapping) for mapping in origin.mappings]
    ready = True
    for mapping in mappings:
        if not mapping.get("snapshot"):
            continue
        refuse_plain_copy(p.get("Encrypted"), mapping["snapshot"], bool(mapping.get("encrypted")))
        sealing = encryption(ctx, p.get("Encrypted"), p.get("KmsKeyId"), bool(mapping.get("encrypted")))
        mapping |= {"encrypted": sealing.encrypted, "key": sealing.key}
        parent = _bytes_of(ctx, p["SourceRegion"], mapping["snapshot"])
        if parent is not None:
            copy = ctx.volumes.copy_snapshot(
                id=ctx.mint("snapshot"),
                parent=parent,
                description=f"Copied for {id} from {origin.id}, snapshot {parent.id}.",
                encrypted=sealing.encrypted,
                key=sealing.key,
                fault=sealing.fault,
            )
            mapping["snapshot"], ready = copy.id, False
    notes = {member: value for member, value in origin.notes.items() if member != "ImageOwnerAlias"}
    notes |= {
        "Description": p.get("Description") or "",
        "ImageLocation": f"{ctx.account}/{name}",
        "SourceImageId": origin.id,
        "SourceImageRegion": p["SourceRegion"],
        "DeregistrationProtection": "disabled",
    }
    ctx.images.add(
        id=id,
        name=name,
        architecture=origin.architecture,
        root_device=origin.root_device,
        mappings=mappings,
        notes=notes,
        ready=ready,
    )
    if p.get("CopyImageTags") and p["SourceRegion"] == ctx.region:
        put_tags(ctx, "image", id, [tag for tag in ctx.tags(origin.id) if not tag["Key"].startswith("aws:")])
    return {"ImageId": id}


def _bytes_of(ctx: Context, region: str, snapshot: str) -> Snapshot | None:
    """The row of a snapshot in a region; None for the snapshots of public images, which hold nothing."""
    try:
        row: Snapshot = foreign(ctx, "snapshot", region, snapshot)
    except AWSError:
        return None
    return row


@operation("ec2:DeregisterImage", on=lambda ctx, p: [image_arn(ctx, p["ImageId"])])
def deregister_image(ctx: Context, p: Params) -> Result:
    """Forget an image; its snapshots stay, unless the call asks otherwise."""
    image = own_image(ctx, p["ImageId"])
    if image.notes.get("DeregistrationProtection", "disabled") != "disabled":
        raise AWSError("OperationNotPermitted", f"Image {image.id} is protected from deregistration.")
    ctx.images.remove(image)
    drop_tags(ctx, image.id)
    answer: Result = {"Return": True}
    if p.get("DeleteAssociatedSnapshots"):
        ctx.session.flush()
        answer["DeleteSnapshotResults"] = [
            {"SnapshotId": mapping["snapshot"], "ReturnCode": _delete_snapshot(ctx, mapping["snapshot"])}
            for mapping in image.mappings
            if mapping.get("snapshot")
        ]
    return answer


def _delete_snapshot(ctx: Context, id: str) -> str:
    row = ctx.session.scalar(select(Snapshot).where(Snapshot.id == id, Snapshot.tenant == ctx.account))
    if row is None:
        return "missing-permissions"
    try:
        delete(ctx, row)
    except InUse:
        return "skipped"
    except AWSError:
        return "client-error"
    return "success"
