"""How SQLite is set up: durable, shared by threads and processes, transactions begun by us."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, event


def tune(engine: Engine) -> None:
    """WAL, every commit fsynced, foreign keys on, and transactions begun by us: a write unit takes the write lock at
    once (`BEGIN IMMEDIATE`), since SQLite refuses to upgrade a read transaction that has become stale."""

    @event.listens_for(engine, "connect")
    def _connect(connection: Any, record: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "case_sensitive_like=ON",
            "busy_timeout=30000",
            "temp_store=MEMORY",
            "cache_size=-16000",
            "mmap_size=268435456",
            "wal_autocheckpoint=4000",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Any) -> None:
        write = connection.get_execution_options().get("nephele_write", False)
        # On the driver's connection: SQLAlchemy's way to run a text costs ten times what SQLite needs for it.
        connection.connection.driver_connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
