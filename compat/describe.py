"""`page`: the whole of a Describe operation — ids, filters, a keyset page, rendering."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from botocore.model import ListShape
from sqlalchemy import select

from compat.errors import AWSError
from compat.filters import Filters, split
from compat.kinds import KINDS, Kind
from compat.model import service_model
from compat.operation import Params, Result

if TYPE_CHECKING:
    from compat.context import Context

Render = Callable[["Context", Any], dict[str, Any]]


@lru_cache(None)
def members(service: str, name: str, kind: Kind) -> tuple[str, str, str | None]:
    """Of a Describe operation: the output member that lists, the input member of filters, that of ids."""
    model = service_model(service).operation_model(name)
    assert model.output_shape is not None
    output = next(
        member
        for member, shape in model.output_shape.members.items()
        if isinstance(shape, ListShape) and shape.member.type_name == "structure"
    )
    given = model.input_shape.members if model.input_shape is not None else {}
    filters = next((member for member in ("Filters", "Filter") if member in given), "Filters")
    wanted = (kind.ids or kind.name.replace("-", "") + "ids").lower()
    ids = next((member for member in given if member.lower() in (wanted, wanted.removesuffix("s"))), None)
    return output, filters, ids


def encode_token(operation: str, last: str) -> str:
    """An opaque token that says after which id the next page begins."""
    return base64.urlsafe_b64encode(f"{operation}\n{last}".encode()).decode().rstrip("=")


def decode_token(operation: str, token: str) -> str:
    """The id that a token holds. Raises InvalidNextToken for any text that this operation did not hand out."""
    try:
        said, _, last = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode().partition("\n")
    except (binascii.Error, ValueError):
        said, last = "", ""
    if said != operation or not last or not re.fullmatch(r"[\x21-\x7e]+", last):
        raise AWSError("InvalidNextToken", f"The token '{token}' is invalid.")
    return last


def page(
    ctx: Context,
    p: Params,
    kind: str,
    filters: Filters,
    render: Render,
    *,
    where: Sequence[Any] = (),
    most: int = 1000,
    prepare: Callable[[Context, Sequence[Any]], None] | None = None,
) -> Result:
    """Answer a Describe: the rows of `kind` that the call names and its filters let through, rendered.

    - `where`: conditions that always hold for this operation.
    - `prepare`: called once with the rows of the page, to fetch in one query what the renderer needs for each.
    - `most`: the page size when the call sets none and the table is larger; a page then carries a NextToken only
      where the operation has one.
    Named ids that do not exist are errors, whatever the filters say.
    """
    about = KINDS[kind]
    listed, filter_member, ids_member = members(ctx.operation.service, ctx.operation.name, about)
    row = about.row
    conditions, tests = split(p.get(filter_member) or (), filters, row.id)
    ids = list(p.get(ids_member) or ()) if ids_member else []
    limit = p.get("MaxResults")
    if ids and limit is not None and ctx.operation.service == "ec2":
        called = _SETS.get(ids_member or "") or _wire_name(ids_member or "")
        raise AWSError(
            "InvalidParameterCombination",
            f"The parameter {called} cannot be used with the parameter maxResults",
        )
    if ids:
        ctx.find_all(kind, ids)
        conditions.append(row.id.in_(ids))
    statement = select(row).where(*where, *conditions).order_by(row.id)
    if token := p.get("NextToken"):
        statement = statement.where(row.id > decode_token(ctx.operation.key, token))
    if limit is not None and not tests:
        statement = statement.limit(limit + 1)
    rows: Sequence[Any] = ctx.session.scalars(statement).all()
    if tests:
        if prepare is not None:
            prepare(ctx, rows)
        rows = [one for one in rows if all(test(ctx, one) for test in tests)]
    result: Result = {}
    if limit is not None and len(rows) > limit:
        rows = rows[:limit]
        result["NextToken"] = encode_token(ctx.operation.key, rows[-1].id)
    ctx.preload_tags(one.id for one in rows)
    if prepare is not None and not tests:
        prepare(ctx, rows)
    result[listed] = [render(ctx, one) for one in rows]
    return result


_SETS = {"InstanceIds": "instancesSet", "VolumeIds": "volumeSet", "SnapshotIds": "snapshotSet"}
"""How messages call lists of ids, where that is not as the list is sent."""


def _wire_name(member: str) -> str:
    return member[0].lower() + member[1:]
