"""Tags of everything that is tagged through ids: one table, one set of limits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from sqlalchemy import String, delete, select
from sqlalchemy.orm import Mapped, mapped_column

from backends.db import Base, Scoped, Unit
from backends.statement import bare
from compat.errors import AWSError

if TYPE_CHECKING:
    from compat.context import Context

MOST_TAGS = 50
TagList = list[dict[str, str]]


class Tag(Scoped, Base):
    """One tag of one resource. `kind` is the kind's name."""

    __tablename__ = "tag"
    __topic__ = "tags"
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    region: Mapped[str] = mapped_column(String(32), primary_key=True)
    resource: Mapped[str] = mapped_column(String(256), primary_key=True)
    key: Mapped[str] = mapped_column(String(128), primary_key=True)
    value: Mapped[str] = mapped_column(String(256))
    kind: Mapped[str] = mapped_column(String(64))


def check_tags(tags: Sequence[dict[str, Any]], *, system: bool = False) -> None:
    """Refuse what EC2 refuses: keys that are empty, too long, doubled or reserved; values that are too long.

    `system` lets the reserved `aws:` keys through, for tags that a service sets.
    """
    seen: set[str] = set()
    for tag in tags:
        key, value = tag.get("Key") or "", tag.get("Value") or ""
        if not key:
            raise AWSError("InvalidParameterValue", "Tag key must not be empty.")
        if key in seen:
            raise AWSError("InvalidParameterValue", f"Duplicate tag key '{key}' specified.")
        seen.add(key)
        if len(key) > 128:
            raise AWSError("InvalidParameterValue", "Tag key exceeds the maximum length of 127 characters")
        if len(value) > 256:
            raise AWSError("InvalidParameterValue", "Tag value exceeds the maximum length of 255 characters")
        if not system and key.lower().startswith("aws:"):
            raise AWSError("InvalidParameterValue", "Tag keys starting with 'aws:' are reserved for internal use")
    if len(tags) > MOST_TAGS:
        raise AWSError("TagLimitExceeded", f"The maximum number of tags for a resource is {MOST_TAGS}.")


def put_tags(ctx: Context, kind: str, resource: str, tags: Sequence[dict[str, Any]], *, system: bool = False) -> None:
    """Set tags of a resource; keys that exist get the new value."""
    check_tags(tags, system=system)
    session = ctx.session
    held = {tag.key: tag for tag in session.scalars(select(Tag).where(Tag.resource == resource))}
    for tag in tags:
        key, value = tag["Key"], tag.get("Value") or ""
        if key in held:
            held[key].value = value
        else:
            held[key] = Tag(resource=resource, key=key, value=value, kind=kind)
            session.add(held[key])
    if sum(not key.startswith("aws:") for key in held) > MOST_TAGS:
        raise AWSError("TagLimitExceeded", f"The maximum number of tags for a resource is {MOST_TAGS}.")
    ctx.forget_tags(resource)


def give_tags(ctx: Context, kind: str, resource: str, tags: Sequence[dict[str, Any]]) -> TagList:
    """Set the tags of a resource that is new, and had none; they are given back in key order."""
    check_tags(tags)
    given = sorted((tag["Key"], tag.get("Value") or "") for tag in tags)
    for key, value in given:
        ctx.unit.insert(bare(Tag, resource=resource, key=key, value=value, kind=kind))
    return [{"Key": key, "Value": value} for key, value in given]


def drop_tags(ctx: Context, resource: str, tags: Sequence[dict[str, Any]] | None = None) -> None:
    """Remove tags of a resource: all of them, or those named; a value that is given must match."""
    statement = delete(Tag).where(Tag.resource == resource)
    if tags is None:
        ctx.session.execute(statement)
    for tag in tags or ():
        one = statement.where(Tag.key == tag["Key"])
        ctx.session.execute(one if tag.get("Value") is None else one.where(Tag.value == tag["Value"]))
    ctx.forget_tags(resource)


def forget(unit: Unit, resources: Sequence[str]) -> None:
    """Remove every tag of resources that are gone."""
    if resources:
        unit.session.execute(delete(Tag).where(Tag.resource.in_(resources)))


def tags_of(ctx: Context, resources: Iterable[str]) -> dict[str, TagList]:
    """The tags of many resources in one query, in key order; resources without tags have an empty list."""
    found: dict[str, TagList] = {resource: [] for resource in resources}
    statement = select(Tag.resource, Tag.key, Tag.value).order_by(Tag.resource, Tag.key)
    if len(found) <= 500:
        statement = statement.where(Tag.resource.in_(found))
    for resource, key, value in ctx.session.execute(statement):
        if resource in found:
            found[resource].append({"Key": key, "Value": value})
    return found
