"""Whether a grant lets a caller do something with a key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backends.keys.ring import Known, Leave
from compat.kms.words import context_of

if TYPE_CHECKING:
    from compat.context import Context

ACTIONS = {"kms:RetireGrant": "RetireGrant"}


def is_granted(ctx: Context, known: Known, action: str) -> bool:
    """Whether one of the key's grants allows the call."""
    operation = action.partition(":")[2]
    return any(operation in grant.about["Operations"] and _fits(ctx, grant) for grant in known.grants)


def is_named(ctx: Context, principal: str | None) -> bool:
    """Whether a grant's principal is the caller, or the caller's role."""
    caller = ctx.principal
    if principal is None or caller.is_anonymous:
        return False
    named = {caller.within(ctx.partition).arn, caller.role_arn, caller.arn}
    if caller.is_root:
        named |= {caller.account}
    return principal in named


def _fits(ctx: Context, grant: Leave) -> bool:
    if not is_named(ctx, grant.about.get("GranteePrincipal")):
        return False
    constraints = grant.about.get("Constraints") or {}
    given = context_of(ctx)
    equal: Mapping[str, Any] | None = constraints.get("EncryptionContextEquals")
    part: Mapping[str, Any] | None = constraints.get("EncryptionContextSubset")
    if equal is not None and dict(given) != dict(equal):
        return False
    return part is None or all(given.get(key) == value for key, value in part.items())
