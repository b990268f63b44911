"""Indexes of some of a table's rows only.

SQLAlchemy wants `sqlite_where` and `postgresql_where`, and loads every driver of a database that an index names, in
every process. Which database it is to be is known when tables are made: the condition is set then.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Index, MetaData, event, text


def partial_index(name: str, *columns: str, where: str, unique: bool = False) -> Index:
    """An index of the rows for which `where`, in SQL, is true."""
    return Index(name, *columns, unique=unique, info={"where": where})


def set_conditions(metadata: MetaData, dialect: str) -> None:
    """Give every index of some rows only its condition, as the database of that name is told it."""
    for table in metadata.tables.values():
        for index in table.indexes:
            if (where := index.info.get("where")) is not None:
                index.dialect_options[dialect]["where"] = text(where)


@event.listens_for(MetaData, "before_create")
def _before_create(metadata: MetaData, connection: Connection, **_: Any) -> None:
    set_conditions(metadata, connection.dialect.name)
