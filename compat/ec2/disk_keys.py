"""Keys of KMS that encrypt volumes and snapshots: which one a call means, and whether it can be used.

EC2 answers before it has asked KMS: a key that is not there, not enabled, or not the caller's to use shows afterwards,
in the state of what was made with it (see KmsKeyId of CreateVolume and CopySnapshot).
"""

from __future__ import annotations

from typing import NamedTuple

from compat.context import Context
from compat.ec2.settings import AWS_MANAGED_KEY, EBS_KEY, ENCRYPTION, default_key, read_setting, write_setting
from compat.errors import AWSError
from compat.operation import Params, Result, operation

INACCESSIBLE = "Given key ID is not accessible"
USE = "kms:GenerateDataKeyWithoutPlaintext"


class Sealing(NamedTuple):
    """Whether something new is encrypted, the ARN of the key, and why that key will not do (empty where it will)."""

    encrypted: bool
    key: str | None
    fault: str = ""

    def demanded(self) -> Sealing:
        """The same, where what is wrong with the key is told at once. Raises InvalidParameterValue."""
        if self.fault:
            raise AWSError("InvalidParameterValue", self.fault)
        return self


def encryption(
    ctx: Context, asked: bool | None, key: str | None, source: bool, inherited: str | None = None
) -> Sealing:
    """How a new volume or copy is encrypted.

    `source`: what it is made from is encrypted; `inherited`: with this key, which serves where the call names none.
    """
    if key is not None and not (asked or source):
        raise AWSError(
            "InvalidParameterDependency", "The parameter KmsKeyId requires the parameter Encrypted to be set."
        )
    if not (asked or source or read_setting(ctx, ENCRYPTION, False)):
        return Sealing(False, None)
    return Sealing(True, *named_key(ctx, key or inherited or default_key(ctx)))


def refuse_plain_copy(asked: bool | None, snapshot: str, encrypted: bool) -> None:
    """A copy of what is encrypted is encrypted."""
    if asked is False and encrypted:
        raise AWSError(
            "InvalidRequest",
            f"Snapshot {snapshot} is encrypted. Creating unencrypted copy from an encrypted snapshot is not supported.",
        )


def named_key(ctx: Context, named: str) -> tuple[str, str]:
    """The ARN of a key that is named in any of the four ways, and what is wrong with it (empty: nothing)."""
    from compat.kms import managed, through  # with much of KMS: not before anything is encrypted
    from compat.kms.crypto import permit
    from compat.kms.places import alias_arn, arn_of

    # The account's own is made in the unit of work that is open: no other may be opened for it.
    if named in (AWS_MANAGED_KEY, alias_arn(ctx, AWS_MANAGED_KEY)):
        return arn_of(ctx, managed.ensure(ctx.unit, ctx.cloud, ctx.account, ctx.region, "ebs", ctx.partition)), ""
    shown = named
    if not named.startswith("arn:"):
        shown = ctx.arn("kms", named if named.startswith("alias/") else f"key/{named}")
    try:
        known = through.the_master(ctx, named, ctx.region)
        shown = arn_of(ctx, known)
        permit(ctx, USE, known, {}, f"ec2.{ctx.region}.amazonaws.com")
    except AWSError as fault:
        return shown, f"{INACCESSIBLE}. {fault.message or fault.code}"
    return shown, ""


@operation("ec2:ModifyEbsDefaultKmsKeyId")
def modify_ebs_default_kms_key_id(ctx: Context, p: Params) -> Result:
    """Set the key that encrypts volumes when a call names none."""
    arn, fault = named_key(ctx, p["KmsKeyId"])
    Sealing(True, arn, fault).demanded()
    write_setting(ctx, EBS_KEY, arn)
    return {"KmsKeyId": arn}
