"""CreateTags, DeleteTags and DescribeTags: tags of everything that EC2 tags."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import select, tuple_

from compat.context import Context
from compat.describe import decode_token, encode_token
from compat.ec2.metadata_options import check_tag_keys
from compat.errors import AWSError
from compat.filters import Filters, split
from compat.kinds import Kind, kind_of
from compat.operation import Params, Result, operation
from compat.tags import Tag, drop_tags, put_tags


def _kind(id: str) -> Kind:
    about = kind_of(id)
    if about is None:
        raise AWSError("InvalidID", f"The ID '{id}' is not valid")
    return about


def _named(ctx: Context, p: Params) -> Iterable[str]:
    return [_kind(id).arn.format(id=id) for id in p["Resources"]]


@operation("ec2:CreateTags", on=_named)
def create_tags(ctx: Context, p: Params) -> Result:
    """Set the tags on every resource named, or on none."""
    for id in dict.fromkeys(p["Resources"]):
        about = _kind(id)
        row = ctx.find(about.name, id)
        if about.name == "instance":
            check_tag_keys(row.notes["shown"].get("MetadataOptions") or {}, (tag.get("Key") or "" for tag in p["Tags"]))
        put_tags(ctx, about.name, id, p["Tags"])
    return {}


@operation("ec2:DeleteTags", on=_named)
def delete_tags(ctx: Context, p: Params) -> Result:
    """Remove tags: all user tags when none is named; a tag with a value only when the value is that."""
    tags = p.get("Tags")
    for id in dict.fromkeys(p["Resources"]):
        about = _kind(id)
        ctx.find(about.name, id)
        if tags is None:
            tags_now = [tag for tag in ctx.tags(id) if not tag["Key"].startswith("aws:")]
            drop_tags(ctx, id, [{"Key": tag["Key"]} for tag in tags_now])
        else:
            for tag in tags:
                if (tag.get("Key") or "").lower().startswith("aws:"):
                    raise AWSError(
                        "InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use"
                    )
            drop_tags(ctx, id, tags)
    return {}


TAG_FILTERS: Filters = {"key": Tag.key, "value": Tag.value, "resource-id": Tag.resource, "resource-type": Tag.kind}


@operation("ec2:DescribeTags")
def describe_tags(ctx: Context, p: Params) -> Result:
    """Every tag in sight, in the order of resource and key."""
    asked, conditions = [], []
    for one in p.get("Filters") or ():
        name = one.get("Name") or ""
        if name.startswith("tag:"):  # here: the tag itself, not a resource that has it
            wanted, _ = split([{"Name": "value", "Values": one.get("Values")}], TAG_FILTERS, Tag.resource)
            conditions += [Tag.key == name[4:], *wanted]
        else:
            asked.append(one)
    conditions += split(asked, TAG_FILTERS, Tag.resource)[0]
    statement = select(Tag.resource, Tag.key, Tag.value, Tag.kind).where(*conditions).order_by(Tag.resource, Tag.key)
    if token := p.get("NextToken"):
        resource, _, key = decode_token(ctx.operation.key, token).partition("/")
        statement = statement.where(tuple_(Tag.resource, Tag.key) > (resource, bytes.fromhex(key).decode()))
    limit = p.get("MaxResults")
    rows = ctx.session.execute(statement if limit is None else statement.limit(limit + 1)).all()
    result: Result = {}
    if limit is not None and len(rows) > limit:
        rows = rows[:limit]
        last = rows[-1]
        result["NextToken"] = encode_token(ctx.operation.key, f"{last.resource}/{last.key.encode().hex()}")
    result["Tags"] = [
        {"ResourceId": row.resource, "Key": row.key, "Value": row.value, "ResourceType": row.kind} for row in rows
    ]
    return result
