"""Aliases: names that stand for keys."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from backends.errors import Exists, Missing
from backends.keys.models import KeyName
from compat.errors import AWSError
from compat.kms import faults
from compat.kms.managed import PREFIX, SERVICES
from compat.kms.pages import paged
from compat.kms.places import alias_arn, arn_of, check_lasting, find, ring
from compat.kms.rows import row_of, service
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

NAME = re.compile(r"alias/[a-zA-Z0-9/_-]{1,250}")


def _alias_and_target(ctx: Context, p: Params) -> Iterable[str]:
    """An alias is changed by who may do that to the alias and to its keys: to that before, and to that after."""
    yield alias_arn(ctx, p["AliasName"])
    known = ring(ctx).named(ctx.account, ctx.region, p["AliasName"])
    if known is not None:
        yield arn_of(ctx, known)
    if p.get("TargetKeyId"):
        yield arn_of(ctx, find(ctx, p["TargetKeyId"]))


def _check_name(name: str) -> None:
    if not name.startswith("alias/"):
        raise faults.invalid("Invalid identifier. Alias must start with the prefix 'alias/'.")
    if name.startswith(PREFIX):
        raise AWSError("NotAuthorizedException", "Aliases that begin with alias/aws/ are reserved.")
    if not NAME.fullmatch(name):
        raise AWSError("InvalidAliasNameException", "Alias contains invalid characters for an alias")


def _row(ctx: Context, name: str) -> KeyName:
    try:
        return service(ctx).name(ctx.account, ctx.region, name)
    except Missing:
        raise faults.not_found(f"Alias {alias_arn(ctx, name)} is not found.") from None


@operation("kms:CreateAlias", on=_alias_and_target)
def create_alias(ctx: Context, p: Params) -> None:
    name = p["AliasName"]
    _check_name(name)
    key = row_of(ctx, {"KeyId": p["TargetKeyId"]})
    check_lasting(arn_of(ctx, key), key)
    if key.tenant != ctx.account:
        raise faults.not_found(f"Key '{p['TargetKeyId']}' does not exist")
    try:
        service(ctx).add_name(key, name)
    except Exists:
        raise AWSError(
            "AlreadyExistsException", f"An alias with the name {alias_arn(ctx, name)} already exists"
        ) from None


@operation("kms:UpdateAlias", on=_alias_and_target)
def update_alias(ctx: Context, p: Params) -> None:
    _check_name(p["AliasName"])
    row = _row(ctx, p["AliasName"])
    key = row_of(ctx, {"KeyId": p["TargetKeyId"]})
    check_lasting(arn_of(ctx, key), key)
    before = service(ctx).get(row.key)
    if (before.spec == "SYMMETRIC") != (key.spec == "SYMMETRIC") or before.purpose != key.purpose:
        raise faults.invalid("The current key and the new key must be of the same type and have the same key usage.")
    row.key, row.changed = key.id, ctx.unit.now


@operation("kms:DeleteAlias", on=_alias_and_target)
def delete_alias(ctx: Context, p: Params) -> None:
    _check_name(p["AliasName"])
    service(ctx).drop_name(_row(ctx, p["AliasName"]))


@operation("kms:ListAliases")
def list_aliases(ctx: Context, p: Params) -> Result:
    """Aliases by name. Those of keys that AWS manages are told before there is a key behind them."""
    key = find(ctx, p["KeyId"]).id if p.get("KeyId") else None
    found: dict[str, dict[str, Any]] = {}
    for row in service(ctx).names_of(ctx.account, ctx.region, key):
        target = {"TargetKeyId": row.key.partition("@")[0], "CreationDate": row.created, "LastUpdatedDate": row.changed}
        found[row.name] = target
    if key is None:
        for name in SERVICES:
            found.setdefault(PREFIX + name, {})
    return paged(
        p,
        "Aliases",
        sorted(found),
        lambda name: name,
        lambda name: {"AliasName": name, "AliasArn": alias_arn(ctx, name), **found[name]},
        most=50,
    )
