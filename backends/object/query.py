"""Queries over one file, by DuckDB: in memory, with no other file and no network in its reach.

DuckDB is loaded when the first query comes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from backends.errors import NativeError

MEMORY = "512MB"
ROWS = 2048


class Unreadable(NativeError):
    """The file is not what it should be, or a value in it cannot be what the query makes of it."""


class Lens:
    """Looks at one file. Close it."""

    def __init__(self, path: Path) -> None:
        import duckdb

        self._faults: type[Exception] = duckdb.Error
        self._converts: type[Exception] = duckdb.ConversionException
        settings: dict[str, Any] = {
            "threads": 2,
            "memory_limit": MEMORY,
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
        }
        self._connection = duckdb.connect(":memory:", config=settings)
        allowed = str(path).replace("'", "''")
        self._connection.execute(f"SET allowed_paths=['{allowed}']")
        self._connection.execute("SET enable_external_access=false")
        self._connection.execute("SET TimeZone='UTC'")  # of times that say none
        self._connection.execute("SET lock_configuration=true")

    def columns(self, relation: str) -> list[tuple[str, str]]:
        """The names and types of a relation's columns. Raises `Unreadable`."""
        rows = self._run(f"DESCRIBE SELECT * FROM {relation}").fetchall()
        return [(str(row[0]), str(row[1])) for row in rows]

    def rows(self, sql: str) -> Iterator[list[tuple[Any, ...]]]:
        """The rows of a query, some at a time. Raises `Unreadable`, with `conversion` where a value is to blame."""
        cursor = self._run(sql)
        while True:
            try:
                rows = cursor.fetchmany(ROWS)
            except self._faults as fault:
                raise self._told(fault) from fault
            if not rows:
                return
            yield rows

    def _run(self, sql: str) -> Any:
        try:
            return self._connection.execute(sql)
        except self._faults as fault:
            raise self._told(fault) from fault

    def _told(self, fault: Exception) -> Unreadable:
        text = str(fault)
        # DuckDB says so in the lines that follow, which hold the data.
        told = "invalid unicode" if "unicode" in text.lower() else text.partition("\n")[0][:300]
        return Unreadable(told, conversion=isinstance(fault, self._converts))

    def close(self) -> None:
        """Forget everything. May be repeated."""
        self._connection.close()
