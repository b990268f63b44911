"""The tables: making them at once and migrating to them are the same; start-up chooses rightly between the two."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Connection, inspect, text

from backends import schema
from backends.db import Base, Database
from compat.operation import load

load()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    database.close()


def described(connection: Connection) -> list[Any]:
    """All that the database itself knows about its tables and indexes."""
    if connection.dialect.name == "sqlite":
        rows = connection.execute(text("SELECT type, name, tbl_name, sql FROM sqlite_master"))
        # The order of a table's columns and constraints is nobody's business.
        return sorted(
            [kind, name, table, sorted(" ".join((sql or "").split()).removesuffix(" )").split(", "))]
            for kind, name, table, sql in rows
        )
    columns = connection.execute(
        text(
            "SELECT table_name, column_name, data_type, character_maximum_length, is_nullable, column_default,"
            " ordinal_position FROM information_schema.columns WHERE table_schema = 'public'"
        )
    )
    indexes = connection.execute(
        text("SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'")
    )
    constraints = connection.execute(
        text("SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint")
    )
    return sorted([repr(tuple(row)) for rows in (columns, indexes, constraints) for row in rows])


def emptied(connection: Connection) -> None:
    connection.execute(text("DROP TABLE alembic_version"))
    Base.metadata.drop_all(connection)


def test_the_models_equal_the_migrations(database: Database) -> None:
    """When this fails, the models changed: `make revision MESSAGE="what changed"`, and read what it wrote."""
    schema.prepare(database)
    with database.writer.begin() as connection:
        made = described(connection)
        emptied(connection)
    with database.writer.begin() as connection:
        assert inspect(connection).get_table_names() == []
        schema.upgrade(connection)
        migrated = described(connection)
    # Alembic declares its own table a little differently, and other tests have tables of their own.
    others = ["alembic_version", *(name for name in Base.metadata.tables if name.startswith("test_"))]
    made, migrated = (
        [one for one in rows if not any(name in str(one) for name in others)] for rows in (made, migrated)
    )
    assert migrated == made


def test_an_up_to_date_database_is_left_alone(database: Database) -> None:
    schema.prepare(database)
    with database.writer.begin() as connection:
        connection.execute(text("INSERT INTO stamp (topic, value) VALUES ('kept', 7)"))
        before = described(connection)
    schema.prepare(database)
    with database.engine.begin() as connection:
        assert described(connection) == before
        assert connection.scalar(text("SELECT value FROM stamp WHERE topic = 'kept'")) == 7
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == schema.revisions()[-1]


def test_a_database_of_a_newer_version_is_refused(database: Database) -> None:
    schema.prepare(database)
    with database.writer.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(schema.NewerSchema, match="revision 9999"):
        schema.prepare(database)


def test_every_table_is_known_to_the_models(database: Database) -> None:
    schema.prepare(database)
    with database.engine.begin() as connection:
        names = set(inspect(connection).get_table_names())
    assert names == {*Base.metadata.tables, "alembic_version"}
    assert {"share", "stamp", "audit"} <= names


def test_revisions_follow_one_another() -> None:
    assert schema.revisions() == [f"{number:04}" for number in range(1, len(schema.revisions()) + 1)]


def test_the_tables_of_operations_are_known_without_the_operations() -> None:
    """A new database is made before any operation is loaded, which would take longer than all else."""
    tables = "from backends import schema; from backends.db import Base; schema.load_models(); "
    tables += "from compat.tables import load_tables; load_tables(); print(*sorted(Base.metadata.tables))"
    told = subprocess.run([sys.executable, "-c", tables], capture_output=True, text=True, check=True).stdout.split()
    assert told == sorted(name for name in Base.metadata.tables if not name.startswith("test_"))


def test_a_server_starts_without_drivers_that_it_does_not_use() -> None:
    """The common runtime of AWS and the drivers of PostgreSQL cost a tenth of a second each."""
    program = "import sys; from gateway.serve import _spare_runtime; _spare_runtime(); import gateway.app; "
    program += "print(*(name for name in ('_awscrt', 'sqlalchemy.dialects.postgresql') if name in sys.modules))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.split() == []
