"""Settings of an account in a region: encryption by default, the default key, and the like."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import String, bindparam, select
from sqlalchemy.orm import Mapped, mapped_column

from backends.db import Base, Scoped
from backends.statement import Statement
from compat.context import Context
from compat.operation import Params, Result, operation


class Setting(Scoped, Base):
    """One setting: its value as JSON, under `value`."""

    __tablename__ = "setting"
    __topic__ = "setting"
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    region: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    document: Mapped[dict[str, Any]]


_DOCUMENT = Statement(
    select(Setting.document).where(
        Setting.tenant == bindparam("t"), Setting.region == bindparam("r"), Setting.name == bindparam("n")
    ),
    "t",
    "r",
    "n",
)


def read_setting(ctx: Context, name: str, default: Any) -> Any:
    """The value of a setting; `default` when it was never set."""
    unit = ctx.unit
    unit.flush()
    unit.saw(str(Setting.__topic__))
    row = unit.one(_DOCUMENT, *ctx.scope, name)
    if row is None:
        return default
    document = json.loads(row[0]) if isinstance(row[0], str) else row[0]
    return document["value"]


def write_setting(ctx: Context, name: str, value: Any) -> None:
    """Set a setting; None takes it back to its default."""
    row = ctx.session.scalar(select(Setting).where(Setting.name == name))
    if value is None:
        if row is not None:
            ctx.session.delete(row)
    elif row is None:
        ctx.session.add(Setting(name=name, document={"value": value}))
    else:
        row.document = {"value": value}


ENCRYPTION, EBS_KEY = "ebs-encryption-by-default", "ebs-default-key"
AWS_MANAGED_KEY = "alias/aws/ebs"


def default_key(ctx: Context) -> str:
    """The key that encrypts volumes when a call names none, as an ARN or alias."""
    found: str = read_setting(ctx, EBS_KEY, AWS_MANAGED_KEY)
    return found


@operation("ec2:GetEbsEncryptionByDefault")
def get_ebs_encryption_by_default(ctx: Context, p: Params) -> Result:
    """Whether new volumes are encrypted unasked."""
    enabled = read_setting(ctx, ENCRYPTION, False)
    return {"EbsEncryptionByDefault": enabled, "SseType": "sse-kms" if enabled else "none"}


@operation("ec2:EnableEbsEncryptionByDefault")
def enable_ebs_encryption_by_default(ctx: Context, p: Params) -> Result:
    """Encrypt new volumes unasked."""
    write_setting(ctx, ENCRYPTION, True)
    return {"EbsEncryptionByDefault": True}


@operation("ec2:DisableEbsEncryptionByDefault")
def disable_ebs_encryption_by_default(ctx: Context, p: Params) -> Result:
    """Encrypt new volumes only when asked."""
    write_setting(ctx, ENCRYPTION, None)
    return {"EbsEncryptionByDefault": False}


@operation("ec2:GetEbsDefaultKmsKeyId")
def get_ebs_default_kms_key_id(ctx: Context, p: Params) -> Result:
    """The key that encrypts volumes when a call names none."""
    return {"KmsKeyId": default_key(ctx)}


@operation("ec2:ResetEbsDefaultKmsKeyId")
def reset_ebs_default_kms_key_id(ctx: Context, p: Params) -> Result:
    """Go back to AWS's own key."""
    write_setting(ctx, EBS_KEY, None)
    return {"KmsKeyId": AWS_MANAGED_KEY}


@operation("ec2:GetSerialConsoleAccessStatus")
def get_serial_console_access_status(ctx: Context, p: Params) -> Result:
    """Whether the serial console may be used."""
    return {"SerialConsoleAccessEnabled": read_setting(ctx, "serial-console", False)}


@operation("ec2:EnableSerialConsoleAccess")
def enable_serial_console_access(ctx: Context, p: Params) -> Result:
    """Let the serial console be used."""
    write_setting(ctx, "serial-console", True)
    return {"SerialConsoleAccessEnabled": True}


@operation("ec2:DisableSerialConsoleAccess")
def disable_serial_console_access(ctx: Context, p: Params) -> Result:
    """Let nobody use the serial console."""
    write_setting(ctx, "serial-console", None)
    return {"SerialConsoleAccessEnabled": False}


@operation("ec2:GetImageBlockPublicAccessState")
def get_image_block_public_access_state(ctx: Context, p: Params) -> Result:
    """Whether images may be made public."""
    return {"ImageBlockPublicAccessState": image_block(ctx)}


def image_block(ctx: Context) -> str:
    """`block-new-sharing`, as new accounts have it, or `unblocked`."""
    found: str = read_setting(ctx, "image-block-public-access", "block-new-sharing")
    return found


@operation("ec2:EnableImageBlockPublicAccess")
def enable_image_block_public_access(ctx: Context, p: Params) -> Result:
    """Let no image be made public."""
    write_setting(ctx, "image-block-public-access", p["ImageBlockPublicAccessState"])
    return {"ImageBlockPublicAccessState": image_block(ctx)}


@operation("ec2:DisableImageBlockPublicAccess")
def disable_image_block_public_access(ctx: Context, p: Params) -> Result:
    """Let images be made public."""
    write_setting(ctx, "image-block-public-access", "unblocked")
    return {"ImageBlockPublicAccessState": image_block(ctx)}


@operation("ec2:GetSnapshotBlockPublicAccessState")
def get_snapshot_block_public_access_state(ctx: Context, p: Params) -> Result:
    """Whether snapshots may be made public."""
    return {"State": read_setting(ctx, "snapshot-block-public-access", "unblocked")}


@operation("ec2:EnableSnapshotBlockPublicAccess")
def enable_snapshot_block_public_access(ctx: Context, p: Params) -> Result:
    """Let no snapshot be made public, or none be seen publicly."""
    write_setting(ctx, "snapshot-block-public-access", p["State"])
    return {"State": p["State"]}


@operation("ec2:DisableSnapshotBlockPublicAccess")
def disable_snapshot_block_public_access(ctx: Context, p: Params) -> Result:
    """Let snapshots be made public."""
    write_setting(ctx, "snapshot-block-public-access", None)
    return {"State": "unblocked"}


METADATA = "instance-metadata-defaults"
_METADATA_MEMBERS = ("HttpTokens", "HttpPutResponseHopLimit", "HttpEndpoint", "InstanceMetadataTags")


@operation("ec2:GetInstanceMetadataDefaults")
def get_instance_metadata_defaults(ctx: Context, p: Params) -> Result:
    """What new instances' metadata options are where neither the call nor the image says."""
    return {"AccountLevel": read_setting(ctx, METADATA, {})}


@operation("ec2:ModifyInstanceMetadataDefaults")
def modify_instance_metadata_defaults(ctx: Context, p: Params) -> Result:
    """Set those; `no-preference` (or -1 hops) takes one back."""
    held: dict[str, Any] = dict(read_setting(ctx, METADATA, {}))
    for member in _METADATA_MEMBERS:
        value = p.get(member)
        if value in ("no-preference", -1):
            held.pop(member, None)
        elif value is not None:
            held[member] = value
    write_setting(ctx, METADATA, held or None)
    return {"Return": True}
