"""Actions of S3 that are not named like their operation, and those that an operation demands besides its own.

AWS demands `s3:PutObjectAcl` for a put that sets an ACL, `s3:PutObjectTagging` for one that sets tags, and so on; and a
version named in the call turns `s3:GetObject` into `s3:GetObjectVersion`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from compat.iam.demands import Demand, acts_as, demands_also

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params

OF_VERSION = {
    "GetObject": "s3:GetObjectVersion",
    "HeadObject": "s3:GetObjectVersion",
    "GetObjectAttributes": "s3:GetObjectVersionAttributes",
    "GetObjectAcl": "s3:GetObjectVersionAcl",
    "PutObjectAcl": "s3:PutObjectVersionAcl",
    "GetObjectTagging": "s3:GetObjectVersionTagging",
    "PutObjectTagging": "s3:PutObjectVersionTagging",
    "DeleteObjectTagging": "s3:DeleteObjectVersionTagging",
    "GetObjectTorrent": "s3:GetObjectVersionTorrent",
    "DeleteObject": "s3:DeleteObjectVersion",
    "GetObjectAnnotation": "s3:GetObjectVersionAnnotation",
    "PutObjectAnnotation": "s3:PutObjectVersionAnnotation",
    "ListObjectAnnotations": "s3:ListObjectVersionAnnotations",
    "DeleteObjectAnnotation": "s3:DeleteObjectVersionAnnotation",
}
"""Operation -> its action when the call names a version."""

_GRANTS = ("ACL", "GrantFullControl", "GrantRead", "GrantReadACP", "GrantWriteACP")


@acts_as(*(f"s3:{name}" for name in OF_VERSION))
def _of_version(ctx: Context, p: Params) -> str | None:
    return OF_VERSION[ctx.operation.name] if p.get("VersionId") else None


@demands_also("s3:PutObject", "s3:CopyObject", "s3:CreateMultipartUpload")
def _with_the_object(ctx: Context, p: Params) -> Iterable[Demand]:
    resource = (f"arn:{ctx.partition}:s3:::{p['Bucket']}/{p['Key']}",)
    if any(p.get(grant) for grant in _GRANTS):
        yield Demand("s3:PutObjectAcl", resource)
    if p.get("Tagging"):
        yield Demand("s3:PutObjectTagging", resource)
    if p.get("ObjectLockMode") or p.get("ObjectLockRetainUntilDate") or p.get("ObjectLockEventHold"):
        yield Demand("s3:PutObjectRetention", resource)
    if p.get("ObjectLockLegalHoldStatus"):
        yield Demand("s3:PutObjectLegalHold", resource)


@demands_also("s3:CreateBucket")
def _with_the_bucket(ctx: Context, p: Params) -> Iterable[Demand]:
    if p["Bucket"].endswith("--x-s3"):
        return  # a directory bucket, which has none of these
    resource = (f"arn:{ctx.partition}:s3:::{p['Bucket']}",)
    if any(p.get(grant) for grant in (*_GRANTS, "GrantWrite")):
        yield Demand("s3:PutBucketAcl", resource)
    if p.get("ObjectLockEnabledForBucket"):
        yield Demand("s3:PutBucketObjectLockConfiguration", resource)
        yield Demand("s3:PutBucketVersioning", resource)
    if p.get("ObjectOwnership"):
        yield Demand("s3:PutBucketOwnershipControls", resource)
    if (p.get("CreateBucketConfiguration") or {}).get("Tags"):
        yield Demand("s3:TagResource", resource)


@demands_also("s3:DeleteObject", "s3:PutObjectRetention")
def _past_governance(ctx: Context, p: Params) -> Iterable[Demand]:
    if p.get("BypassGovernanceRetention"):
        yield Demand("s3:BypassGovernanceRetention", (f"arn:{ctx.partition}:s3:::{p['Bucket']}/{p['Key']}",))
