"""Tags of buckets and access points, by ARN."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from backends.object.containers import Known
from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.s3 import faults
from compat.s3.buckets import MOST_BUCKET_TAGS
from compat.s3.directory_rules import bucket_arn
from compat.s3.places import bucket_of, containers
from compat.s3.properties import check_tags
from compat.s3control.access_points import amend, door_of
from compat.s3control.public_access import account_of

if TYPE_CHECKING:
    from compat.context import Context


def _on(ctx: Context, p: Params) -> Iterable[str]:
    return (p["ResourceArn"],)


def _check_arn(ctx: Context, p: Params) -> str:
    account_of(ctx, p)
    arn: str = p["ResourceArn"]
    if not arn.startswith("arn:") or arn.count(":") < 5:
        raise AWSError("InvalidRequest", f"The ARN '{arn}' is not valid.")
    return arn


def _bucket(ctx: Context, arn: str) -> Known:
    name = arn.rpartition(":::")[2].rpartition(":bucket/")[2]
    known = None if "/" in name else containers(ctx.cloud).find(name)
    if known is None or arn != bucket_arn(known):
        raise (
            faults.no_such_bucket(name)
            if ":::" in arn or ":bucket/" in arn
            else faults.not_offered(f"Tagging of {arn}")
        )
    return bucket_of(ctx, {"Bucket": name})


def _tags(ctx: Context, arn: str) -> list[dict[str, str]]:
    if ":accesspoint/" in arn:
        return list(door_of(ctx, {"AccountId": ctx.account, "Name": arn}).body.get("tags", ()))
    return list((_bucket(ctx, arn).documents.get("tagging") or {}).get("TagSet", ()))


def _keep(ctx: Context, arn: str, tags: list[dict[str, str]]) -> None:
    if ":accesspoint/" in arn:
        amend(ctx, {"AccountId": ctx.account, "Name": arn}, tags=tags or None)
    elif tags:
        ctx.containers.put_document(_bucket(ctx, arn).name, "tagging", {"TagSet": tags})
    else:
        ctx.containers.drop_document(_bucket(ctx, arn).name, "tagging")


@operation("s3control:ListTagsForResource", on=_on, streams=True)
def list_tags_for_resource(ctx: Context, p: Params) -> Result:
    return {"Tags": _tags(ctx, _check_arn(ctx, p))}


@operation("s3control:TagResource", on=_on)
def tag_resource(ctx: Context, p: Params) -> None:
    arn = _check_arn(ctx, p)
    check_tags(p["Tags"], MOST_BUCKET_TAGS)
    tags = {tag["Key"]: tag for tag in _tags(ctx, arn)} | {tag["Key"]: tag for tag in p["Tags"]}
    check_tags(list(tags.values()), MOST_BUCKET_TAGS)
    _keep(ctx, arn, list(tags.values()))


@operation("s3control:UntagResource", on=_on)
def untag_resource(ctx: Context, p: Params) -> None:
    arn = _check_arn(ctx, p)
    _keep(ctx, arn, [tag for tag in _tags(ctx, arn) if tag["Key"] not in p["TagKeys"]])
