"""The audit trail: who changed what, written in the transaction of the change itself."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from backends.db import Base, Scoped

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


def record(ctx: Context) -> None:
    """Write that this call made its change."""
    ctx.unit.insert(
        AuditEntry(
            tenant=ctx.account,
            region=ctx.region,
            at=ctx.now,
            principal=ctx.principal.arn,
            operation=ctx.operation.key,
            request=ctx.request_id,
            source=ctx.source_ip,
        )
    )
