"""Client tokens: the same call twice is one call."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import String, bindparam, delete
from sqlalchemy.orm import Mapped, mapped_column

from backends.db import Base, Scoped, Unit
from backends.statement import Statement
from compat.errors import AWSError

if TYPE_CHECKING:
    from backends.object.ledger import Transaction
    from compat.context import Context

# EC2 documents that a token stays good for at least 24 hours.
KEPT = timedelta(hours=24)


class ClientToken(Scoped, Base):
    """What a call with a client token answered."""

    __tablename__ = "client_token"
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    region: Mapped[str] = mapped_column(String(32), primary_key=True)
    operation: Mapped[str] = mapped_column(String(96), primary_key=True)
    token: Mapped[str] = mapped_column(String(256), primary_key=True)
    digest: Mapped[str] = mapped_column(String(64))
    result: Mapped[str]
    at: Mapped[datetime]


_OWN = ("tenant", "region", "operation", "token")
FORGET = Statement(delete(ClientToken).where(*(getattr(ClientToken, name) == bindparam(name) for name in _OWN)), *_OWN)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return {"$instant": value.isoformat()}
    if isinstance(value, bytes):
        return {"$bytes": base64.b64encode(value).decode()}
    raise TypeError(f"a result holds a {type(value).__name__}")


def _rich(value: dict[str, Any]) -> Any:
    if len(value) == 1:
        if "$instant" in value:
            return datetime.fromisoformat(value["$instant"])
        if "$bytes" in value:
            return base64.b64decode(value["$bytes"])
    return value


def digest(params: Mapping[str, Any]) -> str:
    """A digest of everything a call says."""
    return hashlib.sha256(json.dumps(params, sort_keys=True, default=_plain).encode()).hexdigest()


def recall(ctx: Context, token: str) -> dict[str, Any] | None:
    """What this call answered before; None when it is new. Other parameters under the same token are refused."""
    scope = ctx.unit.scope
    assert scope is not None
    row = ctx.session.get(ClientToken, (scope.tenant, scope.region, ctx.operation.key, token))
    if row is None or row.at < ctx.now - KEPT:
        return None
    if row.digest != digest(ctx.params):
        raise AWSError(
            "IdempotentParameterMismatch",
            "The client token has been used before with other parameters. Use a new token for a new request.",
        )
    result: dict[str, Any] = json.loads(row.result, object_hook=_rich)
    return result


def keep(ctx: Context, token: str, result: Mapping[str, Any]) -> None:
    """Remember, in the call's own transaction, what it answers."""
    ctx.session.merge(
        ClientToken(
            tenant=ctx.unit.scope.tenant if ctx.unit.scope else "",
            region=ctx.unit.scope.region if ctx.unit.scope else "",
            operation=ctx.operation.key,
            token=token,
            digest=digest(ctx.params),
            result=json.dumps(result, default=_plain),
            at=ctx.now,
        )
    )


def keep_within(ctx: Context, tx: Transaction, token: str, result: Mapping[str, Any]) -> None:
    """The same for a call that writes in a transaction of the object store's."""
    assert ctx.scope is not None
    tx.run(FORGET, ctx.scope.tenant, ctx.scope.region, ctx.operation.key, token)
    row = ClientToken(
        tenant=ctx.scope.tenant,
        region=ctx.scope.region,
        operation=ctx.operation.key,
        token=token,
        digest=digest(ctx.params),
        result=json.dumps(result, default=_plain),
        at=ctx.now,
    )
    tx.add(row)


def sweep(unit: Unit) -> None:
    """Forget the tokens that are too old to count."""
    unit.session.execute(delete(ClientToken).where(ClientToken.at < unit.now - KEPT))
