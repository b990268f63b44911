"""Tags of keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from compat.errors import AWSError
from compat.iam.guards import resource_tags
from compat.kms.pages import paged
from compat.kms.places import find, known_as, the_key
from compat.kms.rows import lasting_row_of
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

MOST_TAGS = 50


def kept_tags(held: Mapping[str, str], given: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """The tags of a key with those that are given; refused where KMS refuses them."""
    tags, seen = dict(held), set()
    for tag in given:
        key = tag["TagKey"]
        if key.lower().startswith("aws:"):
            raise AWSError("TagException", "Tags beginning with aws: are reserved")
        if key in seen:
            raise AWSError("TagException", "Duplicate tag keys")
        seen.add(key)
        tags[key] = tag["TagValue"]
    if len(tags) > MOST_TAGS:
        raise AWSError("TagException", "Too many tags")
    return tags


@resource_tags("kms")
def tags_of_key(ctx: Context, resource: str) -> Mapping[str, str] | None:
    """The tags of the key with that ARN."""
    known = known_as(ctx, resource)
    return None if known is None else known.tags


@operation("kms:TagResource", on=the_key)
def tag_resource(ctx: Context, p: Params) -> None:
    row = lasting_row_of(ctx, p)
    row.tags = kept_tags(row.tags, p["Tags"])


@operation("kms:UntagResource", on=the_key)
def untag_resource(ctx: Context, p: Params) -> None:
    row = lasting_row_of(ctx, p)
    row.tags = {key: value for key, value in row.tags.items() if key not in p["TagKeys"]}


@operation("kms:ListResourceTags", on=the_key, streams=True)
def list_resource_tags(ctx: Context, p: Params) -> Result:
    tags = sorted(find(ctx, p["KeyId"]).tags.items())
    return paged(p, "Tags", tags, lambda pair: pair[0], lambda pair: {"TagKey": pair[0], "TagValue": pair[1]}, most=50)
