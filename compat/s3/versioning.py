"""Whether a bucket keeps versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.s3 import faults
from compat.s3.places import bucket_of

if TYPE_CHECKING:
    from compat.context import Context


MFA = "mfa-delete"
"""The document of a bucket whose versioning was ever set with a word on MFADelete: only then is it told."""


@operation("s3:GetBucketVersioning", on="{Bucket}", streams=True)
def get_bucket_versioning(ctx: Context, p: Params) -> Result:
    bucket = bucket_of(ctx, p)
    if not bucket.keeping:
        return {}
    told = {"MFADelete": "Disabled"} if bucket.documents.get(MFA) is not None else {}
    return {"Status": bucket.keeping, **told}


@operation("s3:PutBucketVersioning", on="{Bucket}")
def put_bucket_versioning(ctx: Context, p: Params) -> None:
    bucket, wanted = bucket_of(ctx, p), p["VersioningConfiguration"]
    status = wanted.get("Status")
    if status is None and wanted.get("MFADelete") is None:
        raise AWSError("IllegalVersioningConfigurationException", "The Versioning element must be specified", 400)
    if status not in ("Enabled", "Suspended"):
        raise faults.malformed()
    if wanted.get("MFADelete") == "Enabled":
        raise AWSError("AccessDenied", "Mfa Authentication must be used for this request", 403)
    if status == "Suspended" and bucket.documents.get("lock") is not None:
        raise AWSError(
            "InvalidBucketState",
            "An Object Lock configuration is present on this bucket, so the versioning state cannot be changed.",
            409,
        )
    if status == "Suspended" and bucket.documents.get("replication") is not None:
        raise AWSError(
            "InvalidBucketState",
            "A replication configuration is present on this bucket, so the versioning state cannot be changed.",
            409,
        )
    ctx.containers.keep_versions(bucket.name, status)
    if wanted.get("MFADelete") is not None:
        ctx.containers.put_document(bucket.name, MFA, {"said": wanted["MFADelete"]})
