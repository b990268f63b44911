"""Whom the Principal element of a resource policy or a trust policy names."""

from __future__ import annotations

from enum import IntEnum

from compat.iam.policy.document import Statement
from compat.iam.principal import Principal, PrincipalKind


class Named(IntEnum):
    """How closely a statement names a principal; a higher value makes the lower ones unimportant."""

    NOT = 0
    ACCOUNT = 1
    """Its account, which delegates: the principal needs an identity policy as well."""
    ROLE = 2
    """Its role, or everybody: no identity policy is needed in the same account; boundary and session still narrow."""
    ITSELF = 3
    """This user, this session, this service or this root: nothing else is needed in the same account."""


def names(statement: Statement, principal: Principal) -> Named:
    """How `statement` names `principal` (NotPrincipal counted: everybody but those)."""
    if statement.principals is None:
        return Named.ROLE
    found = max((_one(kind, value, principal) for kind, value in statement.principals), default=Named.NOT)
    if not statement.except_principals:
        return found
    return Named.NOT if found else Named.ROLE


def _one(kind: str, value: str, principal: Principal) -> Named:
    if value == "*" and kind in ("*", "AWS"):
        return Named.ITSELF if principal.is_root else Named.ROLE
    if kind == "Service":
        return Named.ITSELF if principal.kind is PrincipalKind.SERVICE and value == principal.service else Named.NOT
    if kind == "Federated":
        return Named.ITSELF if principal.kind is PrincipalKind.WEB_IDENTITY and value == principal.arn else Named.NOT
    if kind == "AWS":
        return _aws(value, principal)
    return Named.NOT


def _aws(value: str, principal: Principal) -> Named:
    if principal.kind in (PrincipalKind.ANONYMOUS, PrincipalKind.SERVICE, PrincipalKind.WEB_IDENTITY):
        return Named.NOT
    if value == principal.unique_id.partition(":")[0] and not value.isdigit():
        return Named.ROLE if principal.role_name is not None else Named.ITSELF
    if value == principal.account or value.endswith(f"::{principal.account}:root"):
        return Named.ITSELF if principal.is_root else Named.ACCOUNT
    if value == principal.arn:
        return Named.ITSELF
    if principal.role_name is not None and value == principal.role_arn:
        return Named.ROLE
    return Named.NOT
