"""Tags of buckets, by ARN."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from backends.object.containers import Known
from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.s3 import faults
from compat.s3.buckets import MOST_BUCKET_TAGS
from compat.s3.places import bucket_of
from compat.s3.properties import check_tags
from compat.s3control.public_access import account_of

if TYPE_CHECKING:
    from compat.context import Context


def _on(ctx: Context, p: Params) -> Iterable[str]:
    return (p["ResourceArn"],)


def _bucket(ctx: Context, p: Params) -> Known:
    account_of(ctx, p)
    if not p["ResourceArn"].startswith("arn:") or p["ResourceArn"].count(":") < 5:
        raise AWSError("InvalidRequest", f"The ARN '{p['ResourceArn']}' is not valid.")
    kind, _, name = p["ResourceArn"].partition(":::")
    if kind != f"arn:{ctx.partition}:s3" or not name or "/" in name:
        raise faults.not_offered(f"Tagging of {p['ResourceArn']}")
    return bucket_of(ctx, {"Bucket": name})


def _tags(bucket: Known) -> list[dict[str, str]]:
    return list((bucket.documents.get("tagging") or {}).get("TagSet", ()))


@operation("s3control:ListTagsForResource", on=_on, streams=True)
def list_tags_for_resource(ctx: Context, p: Params) -> Result:
    return {"Tags": _tags(_bucket(ctx, p))}


@operation("s3control:TagResource", on=_on)
def tag_resource(ctx: Context, p: Params) -> None:
    bucket = _bucket(ctx, p)
    check_tags(p["Tags"], MOST_BUCKET_TAGS)
    tags = {tag["Key"]: tag for tag in _tags(bucket)} | {tag["Key"]: tag for tag in p["Tags"]}
    check_tags(list(tags.values()), MOST_BUCKET_TAGS)
    ctx.containers.put_document(bucket.name, "tagging", {"TagSet": list(tags.values())})


@operation("s3control:UntagResource", on=_on)
def untag_resource(ctx: Context, p: Params) -> None:
    bucket = _bucket(ctx, p)
    left = [tag for tag in _tags(bucket) if tag["Key"] not in p["TagKeys"]]
    if left:
        ctx.containers.put_document(bucket.name, "tagging", {"TagSet": left})
    else:
        ctx.containers.drop_document(bucket.name, "tagging")
