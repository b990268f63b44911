"""Marker, MaxItems, IsTruncated: how IAM hands out lists."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from backends.identity.models import Group, Policy, Profile, Role, User
from compat.errors import AWSError

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

T = TypeVar("T")
N = TypeVar("N", User, Group, Role, Policy, Profile)
USUAL = 100


def marked(p: Params, member: str, items: Sequence[T], key: Callable[[T], str], render: Callable[[T], Any]) -> Result:
    """A page of `items`, which come in the order of `key`, as the list `member`."""
    after = _after(p)
    if after is not None:
        items = [item for item in items if key(item) > after]
    most = p.get("MaxItems") or USUAL
    return _page(member, items, most, key, render)


def marked_rows(ctx: Context, p: Params, member: str, row: type[N], render: Callable[[Context, N], Any]) -> Result:
    """A page of the account's users, groups, roles, policies or profiles with the call's path prefix."""
    most = p.get("MaxItems") or USUAL
    rows = ctx.identity.listed(row, prefix=p.get("PathPrefix") or "/", after=_after(p), most=most + 1)
    return _page(member, rows, most, lambda one: one.folded, lambda one: render(ctx, one))


def _page(member: str, items: Sequence[T], most: int, key: Callable[[T], str], render: Callable[[T], Any]) -> Result:
    result: Result = {member: [render(item) for item in items[:most]], "IsTruncated": len(items) > most}
    if len(items) > most:
        result["Marker"] = base64.urlsafe_b64encode(key(items[most - 1]).encode()).decode()
    return result


def _after(p: Params) -> str | None:
    marker = p.get("Marker")
    if marker is None:
        return None
    try:
        return base64.b64decode(marker.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise AWSError("ValidationError", "Invalid Marker.") from None


def encoded(text: str) -> str:
    """A policy document as IAM returns it: percent-encoded by RFC 3986, otherwise exactly as stored."""
    return quote(text, safe="~")
