"""Whether a bucket keeps versions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.s3 import faults
from compat.s3.places import bucket_of

if TYPE_CHECKING:
    from compat.context import Context


@operation("s3:GetBucketVersioning", on="{Bucket}", streams=True)
def get_bucket_versioning(ctx: Context, p: Params) -> Result:
    keeping = bucket_of(ctx, p).keeping
    return {"Status": keeping} if keeping else {}


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
