"""Change counters by which what is kept in memory is known to be fresh (the table is `backends.tables.Stamp`)."""

from __future__ import annotations

import threading
from typing import Any

from sqlalchemy import Engine, text

READ = text("SELECT topic, value FROM stamp")


class Stamps:
    """Change counters, one a topic: `read` is cheap enough for every call.

    Where no other process writes (`Database.exclusive`), they are read once and then counted here, commit by commit;
    else SQLite is asked whether anybody has committed anything, once a request.
    """

    def __init__(self, engine: Engine, *, exclusive: bool) -> None:
        self._engine = engine
        self._is_sqlite = engine.dialect.name == "sqlite"
        self._lock = threading.Lock()
        self._values: dict[str, int] = {}
        self._version = -1
        self._counts = exclusive and self._is_sqlite
        self._loaded = False
        mark = "?" if self._is_sqlite else "%s"
        self._bump = (
            f"INSERT INTO stamp (topic, value) VALUES ({mark}, 1) "
            "ON CONFLICT (topic) DO UPDATE SET value = stamp.value + 1"
        )
        self._probe: Any = None
        self._thread, self._looked = 0, False

    def bump(self, cursor: Any, topics: set[str]) -> None:
        """Move the stamps of `topics`, inside the cursor's transaction."""
        for topic in sorted(topics):
            cursor.execute(self._bump, (topic,))

    def moved(self, topics: set[str]) -> None:
        """Say that this process has committed a `bump`; before anybody is told of the commit."""
        self._looked = False
        if self._counts and topics:
            with self._lock:
                self._values = {**self._values, **{topic: self._values.get(topic, 0) + 1 for topic in topics}}

    def begin(self) -> None:
        """Say that a request begins on this thread. Until the next one does, stamps are looked at once here: later
        commits of other processes are not what this request has to see. For one thread only, the event loop's."""
        self._thread, self._looked = threading.get_ident(), False

    def read(self) -> dict[str, int]:
        """All stamps as they are now. The dict is shared: do not change it."""
        if self._counts:
            if not self._loaded:
                self.version()
            return self._values
        if self._is_sqlite:
            if not (self._looked and self._thread == threading.get_ident()):
                self.version()
            return self._values
        with self._engine.connect() as connection:
            return {row[0]: row[1] for row in connection.execute(READ)}

    def version(self) -> int:
        """What moves with every commit of whomever (SQLite). Where it did, the stamps are read."""
        with self._lock:
            if self._probe is None:
                # Its own connection for good: SQLite tells a connection about the commits of the others only.
                self._probe = self._engine.raw_connection()
                self._cursor: Any = self._probe.cursor()
            version: int = self._cursor.execute("PRAGMA data_version").fetchone()[0]
            if version != self._version and not (self._counts and self._loaded):
                self._values = dict(self._cursor.execute(READ.text).fetchall())
                self._version = version
            self._loaded = True
            if self._thread == threading.get_ident():
                self._looked = True
            return version

    def close(self) -> None:
        """Give the probing connection back."""
        if self._probe is not None:
            self._probe.close()
            self._probe = None
