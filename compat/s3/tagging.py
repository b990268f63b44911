"""Tags of objects and of buckets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.errors import Missing
from backends.object.versions import Amendment, Head
from compat.iam.guards import resource_tags
from compat.operation import Params, Result, operation
from compat.s3 import faults, sequel
from compat.s3.absence import absent
from compat.s3.buckets import MOST_BUCKET_TAGS
from compat.s3.places import NULL, bucket_of, door_of_resource, key_of, version_of
from compat.s3.properties import check_tags, kept_tags, shown_tags

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compat.context import Context


def _amend(ctx: Context, p: Params, tags: str) -> Result:
    bucket, key, version = bucket_of(ctx, p), key_of(p), version_of(p)
    try:
        also = sequel.amended(ctx, bucket, key, f"ObjectTagging:{ctx.operation.name.partition('Object')[0]}")
        head = ctx.objects.amend(bucket.number, key, version, lambda _: Amendment(tags=tags), also)
        sequel.wake(ctx, also)
    except Missing:
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
    head: Head | None = ctx.objects.head(bucket.number, key, version)
    if head is None or head.marker:
        raise absent(ctx, key, p.get("VersionId"))
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


@operation("s3:PutBucketTagging", on="{Bucket}")
def put_bucket_tagging(ctx: Context, p: Params) -> None:
    bucket, tags = bucket_of(ctx, p), p["Tagging"].get("TagSet") or []
    check_tags(tags, MOST_BUCKET_TAGS)
    ctx.containers.put_document(bucket.name, "tagging", {"TagSet": tags})


@operation("s3:DeleteBucketTagging", on="{Bucket}", action="s3:PutBucketTagging")
def delete_bucket_tagging(ctx: Context, p: Params) -> None:
    ctx.containers.drop_document(bucket_of(ctx, p).name, "tagging")


@resource_tags("s3")
def _tags_of(ctx: Context, arn: str) -> Mapping[str, str] | None:
    """What conditions see: the tags of a bucket, or of an object's newest version."""
    name, slash, key = arn.rpartition(":::")[2].partition("/")
    known = ctx.cloud.hosts["containers"].find(name)
    if known is None:
        reached = door_of_resource(ctx, arn)
        if reached is None or (known := ctx.cloud.hosts["containers"].find(reached[0].container)) is None:
            return None
        key = slash = reached[1]
    if slash:
        head = ctx.objects.head(known.number, key, ctx.params.get("VersionId") and version_of(ctx.params))
        return None if head is None else {tag["Key"]: tag["Value"] for tag in shown_tags(head.tags)}
    return {tag["Key"]: tag["Value"] for tag in (known.documents.get("tagging") or {}).get("TagSet", ())}
