"""Describe operations over facts that are not rows: regions, zones, instance types."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Select

from compat.context import Context
from compat.describe import decode_token, encode_token
from compat.errors import AWSError
from compat.filters import Filters, Rowwise, split
from compat.operation import Params
from compat.tags import Tag


def pick(ctx: Context, p: Params, facts: Sequence[Any], filters: Filters) -> list[Any]:
    """The facts that pass the call's filters. Facts bear no tags: a filter on tags lets none pass."""
    conditions, tests = split(p.get("Filters") or (), filters, Tag.resource)
    return [] if conditions else [fact for fact in facts if all(test(ctx, fact) for test in tests)]


def cut(
    ctx: Context, p: Params, facts: Sequence[Any], key: Callable[[Any], str], *, most: int | None = None
) -> tuple[list[Any], str | None]:
    """The page of facts (sorted by `key`) that the call asks for, and the token of the next one."""
    rows = sorted(facts, key=key)
    if token := p.get("NextToken"):
        last = decode_token(ctx.operation.key, token)
        rows = [row for row in rows if key(row) > last]
    limit = p.get("MaxResults") or most
    if limit is not None and len(rows) > limit:
        return rows[:limit], encode_token(ctx.operation.key, key(rows[limit - 1]))
    return rows, None


def named(wanted: Sequence[str], facts: dict[str, Any], code: str, message: str) -> list[Any]:
    """The facts of those names; for names that are unknown the error `code`, the names put into `message`."""
    unknown = [name for name in wanted if name not in facts]
    if unknown:
        raise AWSError(code, message.format(names=", ".join(unknown)))
    return [facts[name] for name in dict.fromkeys(wanted)]


def walk(document: Any, path: Sequence[str]) -> list[Any]:
    """Every value at a path of members in a rendered document; lists on the way are walked through."""
    found: list[Any] = [document]
    for member in path:
        found = [one[member] for one in found if isinstance(one, dict) and one.get(member) is not None]
        found = [item for one in found for item in (one if isinstance(one, list) else [one])]
    return [str(one) if isinstance(one, float) else one for one in found]


def at(render: Callable[[Context, Any], dict[str, Any]], path: str) -> Rowwise:
    """A filter on a place (members joined by points) of the rendered row."""
    members = path.split(".")
    return lambda ctx, row: walk(render(ctx, row), members)


def matching(ctx: Context, p: Params, statement: Select[Any], filters: Filters, id_column: Any) -> list[Any]:
    """The rows of a select that pass the call's filters, for rows that are no kind of their own."""
    conditions, tests = split(p.get("Filters") or (), filters, id_column)
    rows = ctx.session.scalars(statement.where(*conditions)).all()
    return [row for row in rows if all(test(ctx, row) for test in tests)]
