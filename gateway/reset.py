"""Throwing state away: of everything, or of one account."""

from __future__ import annotations

from sqlalchemy import delete, select

from backends.db import Base, Stamp
from backends.object.containers import drop_tenant
from compat.dispatch import RESET
from compat.operation import load
from gateway.parts import Parts

KEPT_TABLES = frozenset({"stamp", "host", "object_chore"})


def reset(parts: Parts, account: str | None) -> None:
    """Remove every row (of `account`, when one is given) in one transaction; what lies on disk follows at once.

    Guests, disks and bytes that no row wants any more are dropped by the surveys that a start makes, too.
    """
    load()  # so that every table is known
    database = parts.cloud.database
    if account is None:
        parts.clock.reset()
    else:
        drop_tenant(database, parts.cloud.hosts["objects"], account)
    with database.unit(None, write=True) as unit:
        connection = unit.session.connection()
        for table in reversed(Base.metadata.sorted_tables):
            if table.name in KEPT_TABLES:
                continue
            if account is None:
                connection.execute(delete(table))
            elif "tenant" in table.columns:
                connection.execute(delete(table).where(table.c.tenant == account))
        for topic in connection.scalars(select(Stamp.topic)).all():
            unit.touch(topic)
        unit.touch(RESET)
    parts.survey()
