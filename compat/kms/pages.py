"""Limit, Marker, Truncated: how KMS hands out lists."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from compat.errors import AWSError

if TYPE_CHECKING:
    from compat.operation import Params, Result

T = TypeVar("T")


def paged(
    p: Params, member: str, items: Sequence[T], key: Callable[[T], str], render: Callable[[T], Any], most: int = 100
) -> Result:
    """A page of `items`, which are given in the order of `key`."""
    limit = p.get("Limit") or most
    marker = p.get("Marker")
    if marker is not None:
        after = _after(marker)
        items = [item for item in items if key(item) > after]
    result: Result = {member: [render(item) for item in items[:limit]], "Truncated": len(items) > limit}
    if len(items) > limit:
        result["NextMarker"] = base64.urlsafe_b64encode(key(items[limit - 1]).encode()).decode()
    return result


def _after(marker: str) -> str:
    try:
        return base64.b64decode(marker.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise AWSError("InvalidMarkerException", "Could not deserialize marker.") from None
