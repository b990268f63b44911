"""What is set up of a bucket, taken over to its copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

Answer = dict[str, Any]
UNSUPPORTED = ("NotImplemented", "MethodNotAllowed", "XNotImplemented", "501", "405")


def _member(argument: str, member: str | None = None) -> Callable[[Answer], Answer]:
    """What `Put…` wants of what `Get…` gave: one member under another name, or all of it."""

    def convert(answer: Answer) -> Answer:
        if member is not None:
            return {argument: answer[member]}
        return {argument: {name: value for name, value in answer.items() if name != "ResponseMetadata"}}

    return convert


# Get…, Put…, how; in this order, once the objects are there: a policy may refuse what comes after it.
DOCUMENTS: tuple[tuple[str, Callable[[Answer], Answer]], ...] = (
    ("bucket_tagging", _member("Tagging")),
    ("bucket_cors", _member("CORSConfiguration")),
    ("bucket_encryption", _member("ServerSideEncryptionConfiguration", "ServerSideEncryptionConfiguration")),
    ("bucket_website", _member("WebsiteConfiguration")),
    ("bucket_lifecycle_configuration", lambda answer: {"LifecycleConfiguration": {"Rules": answer["Rules"]}}),
    ("object_lock_configuration", _member("ObjectLockConfiguration", "ObjectLockConfiguration")),
    ("bucket_ownership_controls", _member("OwnershipControls", "OwnershipControls")),
    ("public_access_block", _member("PublicAccessBlockConfiguration", "PublicAccessBlockConfiguration")),
    ("bucket_policy", _member("Policy", "Policy")),
)


FIRST_REGION = "us-east-1"


def make(source: Any, target: Any, bucket: str) -> None:
    """The bucket, with versions and locks as its source has them. One that the caller has already is taken."""
    locked, region = _has_locks(source, bucket), target.meta.region_name
    options: Answer = {"ObjectLockEnabledForBucket": True} if locked else {}
    if region != FIRST_REGION:
        options["CreateBucketConfiguration"] = {"LocationConstraint": region}
    try:
        target.create_bucket(Bucket=bucket, **options)
    except ClientError as error:
        if error.response["Error"]["Code"] != "BucketAlreadyOwnedByYou":
            raise
    if locked and not _has_locks(target, bucket):  # it was there already
        target.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        target.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled"})
    keeping = _ask(source.get_bucket_versioning, bucket) or {}
    if keeping.get("Status") and not locked:
        target.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": keeping["Status"]})


def take_over(source: Any, target: Any, bucket: str) -> Iterator[str]:
    """Set the copy up as its source is; what could not be, in words."""
    for name, convert in DOCUMENTS:
        try:
            answer = _ask(getattr(source, "get_" + name), bucket)
            if answer is not None and _says_something(answer):
                getattr(target, "put_" + name)(Bucket=bucket, **convert(answer))
        except (ClientError, BotoCoreError) as error:
            yield f"s3://{bucket}: {name.replace('_', ' ')} was not taken over: {error}"


def _has_locks(client: Any, bucket: str) -> bool:
    answer = _ask(client.get_object_lock_configuration, bucket) or {}
    return bool(answer.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled")


def _says_something(answer: Answer) -> bool:
    """Whether there is a document: Swift answers what it does not know with a list of the bucket's objects, of which
    nothing is understood."""
    return any(value for name, value in answer.items() if name != "ResponseMetadata")


def _ask(get: Callable[..., Answer], bucket: str) -> Answer | None:
    """A document; None where there is none, or the source does not know of such documents."""
    try:
        return get(Bucket=bucket)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code == "NoSuchBucket" or not (code in UNSUPPORTED or code.startswith("NoSuch") or "NotFound" in code):
            raise
        return None
