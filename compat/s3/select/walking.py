"""Ways into JSON values, as SQL: in the FROM clause, where wildcards make rows, and in expressions.

What is not there is SQL's NULL, S3 Select's MISSING; JSON's null is a value of its own. Names that are not quoted are
looked for as they are written first, then without regard to case.
"""

from __future__ import annotations

from collections.abc import Sequence

from compat.s3.select.language import MEMBERS, STAR, Name

Step = Name | int | str


def quoted(text: str) -> str:
    """A text constant."""
    return "'" + text.replace("'", "''") + "'"


def rows(relation: str, steps: Sequence[Step]) -> str:
    """The rows that the steps behind `S3Object[*]` lead to. A wildcard gives at least one, which may be MISSING."""
    walked: list[Step] = []
    for step in steps:
        if step not in (STAR, MEMBERS):
            walked.append(step)
            continue
        found = f"json_extract({at('j', walked)}, {quoted('$[*]' if step == STAR else '$.*')})::JSON[]"
        relation = (
            f"(SELECT unnest(CASE WHEN len(l) > 0 THEN l ELSE [NULL::JSON] END) AS j FROM "
            f"(SELECT {found} AS l FROM {relation}))"
        )
        walked.clear()
    return f"(SELECT {at('j', walked)} AS j FROM {relation})" if walked else relation


def at(value: str, steps: Sequence[Step]) -> str:
    """What the steps lead to inside a JSON value."""
    exact: list[Step] = []
    for step in steps:
        if isinstance(step, Name) and not step.quoted:
            value = _in_any_case(_exactly(value, exact), step)
            exact = []
        else:
            exact.append(step)
    return _exactly(value, exact)


def _exactly(value: str, steps: Sequence[Step]) -> str:
    return f"json_extract({value}, {quoted(path(steps))})" if steps else value


def _in_any_case(value: str, name: Name) -> str:
    is_short = value.isidentifier() or value == "r.j"
    held = value if is_short else "v"
    key = f"list_filter(json_keys({held}), lambda k: lower(k) = {quoted(name.text.lower())})[1]"
    escaped = rf"""'$."' || replace(replace({key}, '\', '\\'), '"', '\"') || '"'"""
    found = f"coalesce(json_extract({held}, {quoted(path([name]))}), json_extract({held}, {escaped}))"
    # Named once, so that the text does not double with every step.
    return found if is_short else f"list_transform([{value}], lambda v: {found})[1]"


def path(steps: Sequence[Step]) -> str:
    """Names and positions as a path of DuckDB's."""
    text = "$"
    for step in steps:
        if isinstance(step, Name):
            escaped = step.text.replace("\\", "\\\\").replace('"', '\\"')
            text += f'."{escaped}"'
        else:
            text += f"[{step}]"
    return text
