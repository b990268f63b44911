"""The tables of a database: made at once where there are none, migrated where they are older.

A new database is made from the models and stamped with the newest revision (tens of milliseconds); a test proves that
this equals running every migration. Alembic is loaded only when there is something to migrate.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, inspect, text

import backends
from backends.db import Base, Database
from backends.indexes import set_conditions

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"
# Any number: processes that start at once on one PostgreSQL take turns on it.
TURN = 0x4E657068656C65


class NewerSchema(Exception):
    """The database was made by a newer version, whose tables this one does not know."""


def load_models() -> None:
    """Import every `models` module below `backends`, so that `Base.metadata` is whole."""
    for module in pkgutil.walk_packages(backends.__path__, "backends."):
        if module.name.endswith(".models"):
            importlib.import_module(module.name)


def revisions() -> list[str]:
    """The names of all revisions, oldest first."""
    return sorted(file.stem[:4] for file in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def prepare(database: Database, models: Callable[[], object] = lambda: None) -> None:
    """Bring the tables up to date. Raises `NewerSchema`.

    `models` imports the models that stand outside `backends`; it is called only when there is something to make."""
    with database.writer.begin() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:turn)"), {"turn": TURN})
        at, known = _revision(connection), revisions()
        if at != known[-1]:
            load_models()
            models()
        if at is None:
            Base.metadata.create_all(connection, checkfirst=False)
            connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)"))
            connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": known[-1]})
        elif at not in known:
            raise NewerSchema(f"the database has revision {at}; this version knows {known[0]} to {known[-1]}")
        elif at != known[-1]:
            upgrade(connection)


def upgrade(connection: Connection) -> None:
    """Run the migrations that `connection`'s database lacks, in its open transaction."""
    from alembic import command

    command.upgrade(_config(connection), "head")


def revise(connection: Connection, message: str) -> None:
    """Draft the next revision: what an up-to-date database lacks of the models. For developers; read what it writes."""
    from alembic import command

    set_conditions(Base.metadata, connection.dialect.name)
    config, known = _config(connection), revisions()
    config.attributes["in_batches"] = bool(known)  # SQLite alters a table by making it anew
    command.revision(config, message, autogenerate=True, rev_id=f"{int(known[-1]) + 1 if known else 1:04}")


def _config(connection: Connection) -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


def _revision(connection: Connection) -> str | None:
    """The revision that the database has; None when it is empty."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return None if found is None else str(found)
