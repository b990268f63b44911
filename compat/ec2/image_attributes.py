"""What may be asked and changed of an AMI: attributes, who may launch it, protection, deprecation."""

from __future__ import annotations

from sqlalchemy import select

from backends.compute.models import Guest
from backends.image.models import Image, ImageState
from backends.image.service import grant, granted
from compat.context import Context
from compat.ec2.images import image_arn, own_image
from compat.ec2.settings import image_block
from compat.ec2.snapshots import share
from compat.ec2.volume_types import render_mapping
from compat.errors import AWSError
from compat.filters import as_texts
from compat.operation import Params, Result, operation

SIMPLE_ATTRIBUTES = {
    "description": "Description",
    "kernel": "KernelId",
    "ramdisk": "RamdiskId",
    "sriovNetSupport": "SriovNetSupport",
    "bootMode": "BootMode",
    "tpmSupport": "TpmSupport",
    "imdsSupport": "ImdsSupport",
    "lastLaunchedTime": "LastLaunchedTime",
    "deregistrationProtection": "DeregistrationProtection",
}


@operation("ec2:DescribeImageAttribute", on=lambda ctx, p: [image_arn(ctx, p["ImageId"])])
def describe_image_attribute(ctx: Context, p: Params) -> Result:
    """One attribute of an image."""
    attribute = p["Attribute"]
    image: Image = ctx.find("image", p["ImageId"])
    if attribute == "launchPermission":
        image = own_image(ctx, p["ImageId"])
        users = [{"UserId": tenant} for tenant in granted(ctx.unit, image.id)]
        return {"ImageId": image.id, "LaunchPermissions": [*([{"Group": "all"}] if image.public else []), *users]}
    if attribute == "blockDeviceMapping":
        return {"ImageId": image.id, "BlockDeviceMappings": [render_mapping(one) for one in image.mappings]}
    if attribute == "uefiData":
        return {"ImageId": image.id, "UefiData": {"Value": image.notes.get("uefi")}}
    if attribute in SIMPLE_ATTRIBUTES:
        member = SIMPLE_ATTRIBUTES[attribute]
        value = image.notes.get(member)
        return {"ImageId": image.id, member: {} if value is None else {"Value": value}}
    return {"ImageId": image.id, "ProductCodes": []}


@operation("ec2:ModifyImageAttribute", on=lambda ctx, p: [image_arn(ctx, p["ImageId"])])
def modify_image_attribute(ctx: Context, p: Params) -> Result:
    """Change an image's description or IMDS support, or who may launch it."""
    image = own_image(ctx, p["ImageId"])
    attribute = p.get("Attribute")
    description = p.get("Description")
    if description is None and attribute == "description":
        description = {"Value": p.get("Value") or ""}
    if description is not None:
        image.notes = image.notes | {"Description": description.get("Value") or ""}
        return {}
    imds = p.get("ImdsSupport") or ({"Value": p.get("Value")} if attribute == "imdsSupport" else None)
    if imds is not None:
        image.notes = image.notes | {"ImdsSupport": imds.get("Value")}
        return {}
    permission = p.get("LaunchPermission") or {}
    add, remove = list(permission.get("Add") or ()), list(permission.get("Remove") or ())
    flat = [{"UserId": user} for user in p.get("UserIds") or ()] + [{"Group": one} for one in p.get("UserGroups") or ()]
    (remove if p.get("OperationType") == "remove" else add).extend(flat)
    if not add and not remove:
        raise AWSError("InvalidParameterCombination", "The request changes no attribute.")
    if add and image.state == ImageState.DISABLED:
        raise AWSError("IncorrectState", f"The image {image.id} is disabled, and a disabled image can't be shared.")
    share(ctx, image, add, remove, blocked=image_block(ctx) != "unblocked")
    return {}


@operation("ec2:ResetImageAttribute", on=lambda ctx, p: [image_arn(ctx, p["ImageId"])])
def reset_image_attribute(ctx: Context, p: Params) -> Result:
    """Share an image with nobody."""
    image = own_image(ctx, p["ImageId"])
    image.public = False
    grant(ctx.unit, image.id, remove=granted(ctx.unit, image.id))
    return {}


@operation("ec2:EnableImageDeregistrationProtection", on=lambda ctx, p: [image_arn(ctx, p["ImageId"])])
def enable_image_deregistration_protection(ctx: Context, p: Params) -> Result:
    """Let nobody deregister an image by mistake."""
    image = own_image(ctx, p["ImageId"])
    state = "enabled-with-cooldown" if p.get("WithCooldown") else "enabled-without-cooldown"
    image.notes = image.notes | {"DeregistrationProtection": state}
    return {"Return": state}


@operation("ec2:DisableImageDeregistrationProtection", on=lambda ctx, p: [image_arn(ctx, p["ImageId"])])
def disable_image_deregistration_protection(ctx: Context, p: Params) -> Result:
    """Let an image be deregistered."""
    image = own_image(ctx, p["ImageId"])
    image.notes = image.notes | {"DeregistrationProtection": "disabled"}
    return {"Return": "disabled"}


@operation("ec2:EnableImageDeprecation", on=lambda ctx, p: [image_arn(ctx, p["ImageId"])])
def enable_image_deprecation(ctx: Context, p: Params) -> Result:
    """Say from when on an image is deprecated."""
    image = own_image(ctx, p["ImageId"])
    image.notes = image.notes | {"DeprecationTime": as_texts(p["DeprecateAt"])[0]}
    return {"Return": True}


@operation("ec2:DisableImageDeprecation", on=lambda ctx, p: [image_arn(ctx, p["ImageId"])])
def disable_image_deprecation(ctx: Context, p: Params) -> Result:
    """Take that back."""
    image = own_image(ctx, p["ImageId"])
    image.notes = {member: value for member, value in image.notes.items() if member != "DeprecationTime"}
    return {"Return": True}


@operation("ec2:DisableImage", on=lambda ctx, p: [image_arn(ctx, p["ImageId"])])
def disable_image(ctx: Context, p: Params) -> Result:
    """Let nobody launch an image, and share it with nobody any more."""
    image = own_image(ctx, p["ImageId"])
    if image.state not in (ImageState.AVAILABLE, ImageState.DISABLED):
        raise AWSError("IncorrectState", f"The image {image.id} is {image.state}.")
    image.state, image.public = ImageState.DISABLED, False
    grant(ctx.unit, image.id, remove=granted(ctx.unit, image.id))
    ctx.unit.touch("share")
    return {"Return": True}


@operation("ec2:EnableImage", on=lambda ctx, p: [image_arn(ctx, p["ImageId"])])
def enable_image(ctx: Context, p: Params) -> Result:
    """Let a disabled image be launched again."""
    image = own_image(ctx, p["ImageId"])
    if image.state != ImageState.DISABLED:
        raise AWSError("IncorrectState", f"The image {image.id} is {image.state}, not disabled.")
    image.state = ImageState.AVAILABLE
    return {"Return": True}


@operation("ec2:GetInstanceUefiData", on="instance/{InstanceId}")
def get_instance_uefi_data(ctx: Context, p: Params) -> Result:
    """What an instance keeps in its UEFI variables: what its image brought."""
    guest: Guest = ctx.find("instance", p["InstanceId"])
    image = ctx.session.scalar(select(Image).where(Image.id == guest.image))
    if image is None or not str(image.notes.get("BootMode", "")).startswith("uefi"):
        raise AWSError("UnsupportedOperation", f"The instance {guest.id} does not boot in UEFI mode.")
    return {"InstanceId": guest.id, "UefiData": image.notes.get("uefi") or ""}
