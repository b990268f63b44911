"""Filters of Describe operations: SQL where a column answers, Python where only the whole row does."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from sqlalchemy import Boolean, ColumnElement, Integer, exists, false, or_
from sqlalchemy.orm import InstrumentedAttribute

from backends.db import Instant
from compat.errors import AWSError
from compat.tags import Tag

if TYPE_CHECKING:
    from compat.context import Context

Value = str | bool | int | None
Rowwise = Callable[["Context", Any], "Value | Iterable[Value]"]
Filter = InstrumentedAttribute[Any] | ColumnElement[Any] | Rowwise
Filters = Mapping[str, Filter]

MOST_VALUES = 200  # EC2 documents 200 values in all filters of a request


@lru_cache(4096)
def pattern(value: str) -> re.Pattern[str] | None:
    """What a filter value with `*` or `?` matches; None when the value has neither. `\\` takes their meaning away."""
    if not any(sign in value for sign in "*?\\"):
        return None
    out, i = [], 0
    while i < len(value):
        sign = value[i]
        if sign == "\\" and i + 1 < len(value):
            i += 1
            out.append(re.escape(value[i]))
        else:
            out.append(".*" if sign == "*" else "." if sign == "?" else re.escape(sign))
        i += 1
    return re.compile("".join(out), re.DOTALL)


def matches(value: str, wanted: Sequence[str]) -> bool:
    """Whether a value is one of those wanted, wildcards counting."""
    return any(
        value == want or ((p := pattern(want)) is not None and p.fullmatch(value) is not None) for want in wanted
    )


def _like(value: str) -> str:
    out, i = [], 0
    while i < len(value):
        sign = value[i]
        if sign == "\\" and i + 1 < len(value):
            i += 1
            sign = value[i]
            out.append("\\" + sign if sign in "%_\\" else sign)
        else:
            out.append({"*": "%", "?": "_"}.get(sign) or ("\\" + sign if sign in "%_\\" else sign))
        i += 1
    return "".join(out)


def _text(column: Any, value: str) -> Any:
    return column == value if pattern(value) is None else column.like(_like(value), escape="\\")


def column_condition(column: Any, values: Sequence[str]) -> Any:
    """The SQL condition that a column has one of the values. A value that its type can't have matches nothing."""
    kind = column.type
    if isinstance(kind, Boolean):
        return or_(*(column.is_(value == "true") for value in values if value in ("true", "false")), false())
    if isinstance(kind, Integer):
        return column.in_([int(value) for value in values if re.fullmatch(r"-?\d{1,18}", value)])
    if isinstance(kind, Instant):
        raise TypeError("filter an instant row by row: its text has wildcards")
    return or_(*(_text(column, value) for value in values))


def _tag_condition(name: str, values: Sequence[str], id_column: Any) -> Any | None:
    """The SQL condition of a `tag:KEY`, `tag-key` or `tag-value` filter; None when it is none of them."""
    mine = Tag.resource == id_column
    if name.startswith("tag:"):
        return exists().where(mine, Tag.key == name[4:], or_(*(_text(Tag.value, value) for value in values)))
    if name in ("tag-key", "tag-value"):
        column = Tag.key if name == "tag-key" else Tag.value
        return exists().where(mine, or_(*(_text(column, value) for value in values)))
    return None


def as_texts(value: Any) -> list[str]:
    """A row's answer to a filter, as the texts that are compared."""
    if value is None:
        return []
    if isinstance(value, bool):
        return ["true" if value else "false"]
    if isinstance(value, datetime):
        return [value.strftime("%Y-%m-%dT%H:%M:%S.") + f"{value.microsecond // 1000:03d}Z"]
    if isinstance(value, (str, int)):
        return [str(value)]
    return [text for one in value for text in as_texts(one)]


Test = Callable[["Context", Any], bool]


def split(asked: Iterable[Mapping[str, Any]], known: Filters, id_column: Any) -> tuple[list[Any], list[Test]]:
    """Turn a request's filters into SQL conditions and row tests. Filters are ANDed, the values of one ORed.

    Raises InvalidParameterValue for a filter that the operation does not have, as EC2 does.
    """
    conditions: list[Any] = []
    tests: list[Test] = []
    total = 0
    for one in asked:
        name, values = one.get("Name") or "", list(one.get("Values") or ())
        total += len(values)
        if total > MOST_VALUES:
            raise AWSError(
                "FilterLimitExceeded",
                f"The maximum number of filter values specified on a single call is {MOST_VALUES}",
            )
        if not values:
            raise AWSError("InvalidParameterValue", f"The filter '{name}' must have at least one value")
        condition = _tag_condition(name, values, id_column)
        if condition is not None:
            conditions.append(condition)
            continue
        known_filter = known.get(name)
        if known_filter is None:
            raise AWSError("InvalidParameterValue", f"The filter '{name}' is invalid")
        if isinstance(known_filter, (InstrumentedAttribute, ColumnElement)):
            conditions.append(column_condition(known_filter, values))
        else:
            tests.append(_row_test(known_filter, values))
    return conditions, tests


def _row_test(answer: Rowwise, values: list[str]) -> Test:
    return lambda ctx, row: any(matches(text, values) for text in as_texts(answer(ctx, row)))
