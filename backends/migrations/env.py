"""Alembic runs this to upgrade or to compare: `backends.schema` hands over the connection, in an open transaction."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from backends.db import Base, Instant


def _render(kind: str, item: Any, api: Any) -> str | Literal[False]:
    """A type of ours as what the database knows, so that a migration does not change when our code does."""
    return "sa.BigInteger()" if kind == "type" and isinstance(item, Instant) else False


attributes = context.config.attributes
context.configure(
    connection=attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=attributes.get("in_batches", False),
    render_item=_render,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
