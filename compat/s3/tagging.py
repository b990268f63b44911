"""Tags of objects and of buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.errors import Missing
from backends.object.versions import Amendment, Head
from compat.iam.guards import resource_tags
from compat.operation import Params, Result, operation
from compat.s3 import faults, sequel
from compat.s3.absence import absent, present
from compat.s3.buckets import MOST_BUCKET_TAGS
from compat.s3.documents import DONE
from compat.s3.places import NULL, bucket_of, containers, door_of_resource, key_of, version_of
from compat.s3.properties import check_tags, kept_tags, shown_tags

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from backends.object.containers import Known, KnownDoor
    from compat.context import Context


def _amend(ctx: Context, p: Params, tags: str) -> Result:
    bucket, key, version = bucket_of(ctx, p), key_of(p), version_of(p)
    try:
        also = sequel.amended(ctx, bucket, key, f"ObjectTagging:{ctx.operation.name.partition('Object')[0]}")
        head = ctx.objects.amend(bucket.number, key, version, lambda _: Amendment(tags=tags), also)
        sequel.wake(ctx, also)
    except Missing:
        present(ctx, key, p.get("VersionId"), ctx.objects.head(bucket.number, key, version), marked=True)
        raise absent(ctx, key, p.get("VersionId")) from None
    return {"VersionId": head.version or NULL} if bucket.keeping else {}


@operation("s3:PutObjectTagging", on="{Bucket}/{Key}", streams=True)
def put_object_tagging(ctx: Context, p: Params) -> Result:
    return _amend(ctx, p, kept_tags(p["Tagging"].get("TagSet") or []))


@operation("s3:DeleteObjectTagging", on="{Bucket}/{Key}", streams=True)
def delete_object_tagging(ctx: Context, p: Params) -> Result:
    return _amend(ctx, p, "")


@operation("s3:GetObjectTagging", on="{Bucket}/{Key}", streams=True)
def get_object_tagging(ctx: Context, p: Params) -> Result:
    bucket, key, version = bucket_of(ctx, p), key_of(p), version_of(p)
    found = ctx.objects.head(bucket.number, key, version)
    if found is None and version is None:
        fault = absent(ctx, key)
        if fault.code == "NoSuchKey":  # this operation alone names the bucket, too
            fault.fields["Key"] = f"{bucket.name}/{key}"
        raise fault
    head: Head = present(ctx, key, p.get("VersionId"), found, marked=True)
    result: Result = {"TagSet": shown_tags(head.tags)}
    if bucket.keeping:
        result["VersionId"] = head.version or NULL
    return result


@operation("s3:GetBucketTagging", on="{Bucket}", streams=True)
def get_bucket_tagging(ctx: Context, p: Params) -> Result:
    bucket = bucket_of(ctx, p)
    document = bucket.documents.get("tagging")
    if document is None:
        raise faults.not_configured("tagging", bucket.name)
    return dict(document)


def _by_tags(bucket: Known) -> bool:
    """Whether a bucket's tags are for access control."""
    return (bucket.documents.get("abac") or {}).get("Status") == "Enabled"


def _older(ctx: Context, p: Params) -> Known:
    """A bucket that may be tagged the older way, which puts or drops all tags at once."""
    bucket = bucket_of(ctx, p)
    if _by_tags(bucket):
        raise faults.invalid_request(
            "The bucket has attribute-based access control enabled: use TagResource and UntagResource for its tags."
        )
    return bucket


@operation("s3:PutBucketTagging", on="{Bucket}")
def put_bucket_tagging(ctx: Context, p: Params) -> Result:
    bucket, tags = _older(ctx, p), p["Tagging"].get("TagSet") or []
    check_tags(tags, MOST_BUCKET_TAGS)
    if tags:
        ctx.containers.put_document(bucket.name, "tagging", {"TagSet": tags})
    else:
        ctx.containers.drop_document(bucket.name, "tagging")
    return DONE


@operation("s3:DeleteBucketTagging", on="{Bucket}", action="s3:PutBucketTagging")
def delete_bucket_tagging(ctx: Context, p: Params) -> None:
    ctx.containers.drop_document(_older(ctx, p).name, "tagging")


# --- what conditions see ----------------------------------------------------------------------------------------------


def _found(ctx: Context, arn: str) -> tuple[Known | None, KnownDoor | None, str]:
    """The bucket and the key in an ARN, and the access point that it goes through."""
    name, _, key = arn.rpartition(":::")[2].partition("/")
    known = containers(ctx.cloud).find(name)
    if known is not None:
        return known, None, key
    reached = door_of_resource(ctx, arn)
    if reached is None:
        return None, None, ""
    return containers(ctx.cloud).find(reached[0].container), reached[0], reached[1]


@resource_tags("s3")
def _tags_of(ctx: Context, arn: str) -> Mapping[str, str] | None:
    """Of an access point, its tags. Of a bucket and all that is in it, the bucket's, if they are for access control."""
    known, door, _ = _found(ctx, arn)
    if door is not None:
        return _paired(door.body.get("tags") or ())
    if known is None or not _by_tags(known):
        return None
    return _paired((known.documents.get("tagging") or {}).get("TagSet", ()))


@resource_tags("s3:bucket")
def _tags_of_bucket(ctx: Context, arn: str) -> Mapping[str, str] | None:
    """The tags of the bucket behind an ARN, if they are for access control."""
    known, _, _ = _found(ctx, arn)
    return None if known is None else _tags_of(ctx, f"arn:{ctx.partition}:s3:::{known.name}")


@resource_tags("s3:accesspoint")
def _tags_of_door(ctx: Context, arn: str) -> Mapping[str, str] | None:
    """The tags of the access point in an ARN."""
    return None if _found(ctx, arn)[1] is None else _tags_of(ctx, arn)


@resource_tags("s3:object")
def _tags_of_object(ctx: Context, arn: str) -> Mapping[str, str] | None:
    """The tags of the version that the call names, or of the newest."""
    known, _, key = _found(ctx, arn)
    if known is None or not key:
        return None
    head = ctx.objects.head(known.number, key, ctx.params.get("VersionId") and version_of(ctx.params))
    return None if head is None else _paired(shown_tags(head.tags))


def _paired(tags: Iterable[Mapping[str, str]]) -> Mapping[str, str]:
    return {tag["Key"]: tag["Value"] for tag in tags}
