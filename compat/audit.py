"""The audit trail: who changed what, written in the transaction of the change itself."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import String, bindparam, insert
from sqlalchemy.orm import Mapped, mapped_column

from backends.db import EPOCH, MICROSECOND, Base, Scoped
from backends.statement import Statement

if TYPE_CHECKING:
    from compat.context import Context


class AuditEntry(Scoped, Base):
    """One change that was made. Reads are told by the request log; refusals change nothing and stand there too."""

    __tablename__ = "audit"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    at: Mapped[datetime]
    principal: Mapped[str] = mapped_column(String(2048))
    operation: Mapped[str] = mapped_column(String(96))
    request: Mapped[str] = mapped_column(String(64))
    source: Mapped[str] = mapped_column(String(64))


_COLUMNS = ("tenant", "region", "at", "principal", "operation", "request", "source")
_INSERT = Statement(
    insert(AuditEntry.__table__).values({name: bindparam(f"v_{name}") for name in _COLUMNS}),  # type: ignore[arg-type]
    *(f"v_{name}" for name in _COLUMNS),
)


def record(ctx: Context) -> None:
    """Write that this call made its change."""
    at = (ctx.now - EPOCH) // MICROSECOND
    ctx.unit.run(
        _INSERT, ctx.account, ctx.region, at, ctx.principal.arn, ctx.operation.key, ctx.request_id, ctx.source_ip
    )
