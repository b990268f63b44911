"""Directory buckets (S3 Express One Zone): how they are named, and what they do not have.

A bucket is one by its name, `base--zone--x-s3`, which no other bucket can have.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from compat.context import partition_of
from compat.errors import AWSError
from compat.model import service_model
from compat.operation import Params
from compat.s3 import faults

if TYPE_CHECKING:
    from backends.object.containers import Known
    from compat.context import Context

SUFFIX, DOOR_SUFFIX = "--x-s3", "--xa-s3"
EXPRESS = "EXPRESS_ONEZONE"
NAME = re.compile(r"(?P<base>[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)--(?P<zone>[a-z0-9]+-[a-z0-9-]+)--x-s3")
DOOR_NAME = re.compile(r"(?P<base>[a-z0-9][a-z0-9-]{1,48}[a-z0-9])--(?P<zone>[a-z0-9]+-[a-z0-9-]+)--xa-s3")
READING = frozenset("GetObject GetObjectAttributes HeadObject ListMultipartUploads ListObjectsV2 ListParts".split())
"""What a session that only reads may do."""
ZONAL = READING | frozenset(
    "AbortMultipartUpload CompleteMultipartUpload CopyObject CreateMultipartUpload CreateSession DeleteObject "
    "DeleteObjects HeadBucket PutObject RenameObject UploadPart UploadPartCopy".split()
)
"""What is about objects, and is let in by a session."""
OFFERED = ZONAL | frozenset(
    "CreateBucket DeleteBucket DeleteBucketEncryption DeleteBucketInventoryConfiguration DeleteBucketLifecycle "
    "DeleteBucketMetricsConfiguration DeleteBucketPolicy GetBucketEncryption GetBucketInventoryConfiguration "
    "GetBucketLifecycleConfiguration GetBucketMetricsConfiguration GetBucketPolicy ListBucketInventoryConfigurations "
    "ListBucketMetricsConfigurations PutBucketEncryption PutBucketInventoryConfiguration "
    "PutBucketLifecycleConfiguration PutBucketMetricsConfiguration PutBucketPolicy".split()
)
ABSENT = frozenset(
    "ACL BypassGovernanceRetention CopySourceSSECustomerAlgorithm CopySourceSSECustomerKey GrantFullControl "
    "GrantRead GrantReadACP GrantWrite GrantWriteACP MFA ObjectLockEnabledForBucket ObjectLockEventHold "
    "ObjectLockLegalHoldStatus ObjectLockMode ObjectLockRetainUntilDate OptionalObjectAttributes RequestPayer "
    "SSECustomerAlgorithm SSECustomerKey StartAfter Tagging TransitionDefaultMinimumObjectSize UploadIdMarker "
    "WebsiteRedirectLocation".split()
)
"""Members of calls that AWS documents as not supported for directory buckets."""


def is_directory(name: str) -> bool:
    """Whether a bucket of that name is, or would be, a directory bucket."""
    return name.endswith(SUFFIX)


def is_door(name: str) -> bool:
    """Whether an access point of that name is, or would be, one of a directory bucket."""
    return name.endswith(DOOR_SUFFIX)


def zone_of(name: str) -> str:
    """The id of the zone in the name of a directory bucket or of an access point of one; empty where there is none."""
    found = NAME.fullmatch(name) or DOOR_NAME.fullmatch(name)
    return found["zone"] if found is not None else ""


def bucket_arn(known: Known) -> str:
    """The ARN of a bucket, of either type."""
    partition = partition_of(known.region)
    if is_directory(known.name):
        return f"arn:{partition}:s3express:{known.region}:{known.tenant}:bucket/{known.name}"
    return f"arn:{partition}:s3:::{known.name}"


def check(ctx: Context, known: Known, p: Params) -> None:
    """Refuse what a call asks of a directory bucket, and directory buckets do not have."""
    name = ctx.operation.name
    if ctx.operation.service == "s3control":
        if not name.endswith(("TagsForResource", "TagResource", "UntagResource")):
            raise faults.not_offered(f"{name} for a directory bucket")
        return
    if name not in OFFERED:
        raise _unknown(name)
    if p is not ctx.params:
        return
    for member in sorted(ABSENT.intersection(p)):
        if p[member]:
            raise faults.no_such_header(_wire_name(name, member))
    if name not in ZONAL and p.get("ExpectedBucketOwner"):
        raise faults.no_such_header("x-amz-expected-bucket-owner")
    if p.get("VersionId") not in (None, "null"):
        raise faults.invalid_argument("Invalid version id specified", "versionId", p["VersionId"])


def _unknown(operation: str) -> AWSError:
    """What AWS says to an operation of other buckets: documents are taken for that of CreateBucket."""
    shape = service_model("s3").operation_model(operation).input_shape
    payload = None if shape is None else shape.serialization.get("payload")
    if operation.startswith("PutBucket") and shape is not None and payload is not None:
        root = shape.members[payload].serialization.get("name") or payload
        return faults.invalid_argument(f"{root} is not valid, expected CreateBucketConfiguration")
    method = str(service_model("s3").operation_model(operation).http["method"])
    return faults.method_not_allowed(method, "BUCKET")


@lru_cache(256)
def _wire_name(operation: str, member: str) -> str:
    shape = service_model("s3").operation_model(operation).input_shape
    assert shape is not None
    return str(shape.members[member].serialization.get("name") or member)
