"""One database: units of work, batches that are committed as one, and stamps that tell when a topic changed.

What its rows are made of, and who sees them, stands in `backends/tables.py`, whose names can be had here, too.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Engine, create_engine

from backends.changes import Changes, Parts, add_parts
from backends.clock import wall
from backends.sqlite import tune
from backends.stamps import Stamps
from backends.statement import Row, Statement, insertion
from backends.tables import (
    EPOCH,
    MICROSECOND,
    Base,
    ChangedParts,
    Instant,
    Owned,
    Scope,
    Scoped,
    ScopedSession,
    Share,
    Shared,
    Stamp,
    Tenanted,
)
from backends.turn import Turn

__all__ = [
    "EPOCH",
    "MICROSECOND",
    "Base",
    "Batch",
    "ChangedParts",
    "Database",
    "Instant",
    "Owned",
    "Scope",
    "Scoped",
    "ScopedSession",
    "Share",
    "Shared",
    "Stamp",
    "Tenanted",
    "Unit",
]


class Unit:
    """A unit of work: one session, one scope, one moment, and what is to happen once it is committed.

    A `write` unit holds the only write transaction of an SQLite database: open it late, close it soon, and wait for
    nothing (no driver, no stream, no sleep) while it is open.
    """

    def __init__(
        self, database: Database, scope: Scope | None, now: datetime, write: bool, batch: Batch | None = None
    ) -> None:
        self.database, self.scope, self.now, self.write = database, scope, now, write
        self._batch = batch
        self._owns = write and batch is None
        self._session: ScopedSession | None = None
        self._connection: Connection | None = batch.connection if batch is not None else None
        self._cursor: Any = None
        self._topics: set[str] = set()
        self._seen: set[str] = set()
        self._afterwards: list[Callable[[], None]] = []
        if batch is not None:
            self._cursor = batch.cursor
            self._cursor.execute("SAVEPOINT unit")

    @property
    def session(self) -> ScopedSession:
        """The session, made when it is first asked for."""
        session = self._session
        if session is None:
            session = self._session = ScopedSession(
                self.connection if self.write else self.database.engine,
                scope=self.scope,
                expire_on_commit=False,
                autoflush=self.write,
                join_transaction_mode="rollback_only" if self._batch is None else "create_savepoint",
            )
        return session

    @property
    def connection(self) -> Connection:
        """The connection of this unit's transaction."""
        connection = self._connection
        if connection is None:
            if self.write:
                connection = self.database.writer.connect()
                connection.begin()
            else:
                connection = self.session.connection()
            self._connection = connection
        return connection

    # --- statements of hot paths: compiled once, past the session (see backends/statement.py) ------------------------

    @property
    def cursor(self) -> Any:
        """The driver's cursor in this unit's transaction. What the session holds unflushed is not seen by it."""
        if self._cursor is None:
            self._cursor = self.connection.connection.cursor()
        return self._cursor

    def run(self, statement: Statement, *values: Any) -> int:
        """Run a statement; how many rows it changed. The caller names the topic (`touch`) and the scope."""
        cursor = self.cursor
        cursor.execute(*statement.on(self.database.dialect, values))
        changed: int = cursor.rowcount
        return changed

    def one(self, statement: Statement, *values: Any) -> Row | None:
        """The first row of a statement's result, or None. The statement names the scope itself."""
        cursor = self.cursor
        cursor.execute(*statement.on(self.database.dialect, values))
        row: Row | None = cursor.fetchone()
        return row

    def insert(self, row: Base) -> None:
        """Insert an entity at once, past the session, which will not know it: later changes to it are not kept."""
        held = row.__dict__
        if self.scope is not None and isinstance(row, (Scoped, Tenanted, Shared, Owned)):
            if held.get("tenant") is None:
                held["tenant"] = self.scope.tenant
            if isinstance(row, (Scoped, Shared)) and held.get("region") is None:
                held["region"] = self.scope.region
        self.cursor.execute(*insertion(type(row)).on(self.database.dialect, row))
        if row.__topic__ is not None:
            self._topics.add(row.__topic__)

    def flush(self) -> None:
        """Send what the session holds, so that statements past it see it."""
        if self._session is not None and self._session.new:
            self._session.flush()

    # --- what surrounds the transaction -------------------------------------------------------------------------------

    @property
    def topics_read(self) -> set[str]:
        """The topics that were read, through the session or (`saw`) past it."""
        return self._seen | self._session.topics_read if self._session is not None else self._seen

    def saw(self, topic: str) -> None:
        """Say that rows of `topic` were read past the session: an answer made of them lasts as long as they do."""
        self._seen.add(topic)

    def after_commit(self, step: Callable[[], None]) -> None:
        """Run `step` when this unit has been committed; never when it was rolled back."""
        self._afterwards.append(step)

    def nudge(self, topic: str) -> None:
        """Wake whoever reconciles `topic`, after the commit."""
        self.after_commit(lambda: self.database.nudge(topic))

    def touch(self, topic: str) -> None:
        """Say that rows of `topic` change in a way that the session cannot see (core statements)."""
        self._topics.add(topic)

    def _commit(self) -> None:
        session, batch = self._session, self._batch
        parts: Parts = dict.fromkeys(self._topics)
        if session is not None:
            session.flush()
            parts = session.parts_written | dict.fromkeys(self._topics)
            self._topics |= session.topics_written
        if (prompt := self.database.prompt) and (woken := self._topics & prompt):
            for topic in woken:
                self.nudge(topic)
        if batch is not None:
            if session is not None:
                session.commit()
            self._cursor.execute("RELEASE unit")
            batch.topics |= self._topics
            for topic in self._topics:
                add_parts(batch.parts, topic, parts.get(topic))
            batch.afterwards += self._afterwards
            self._batch = None
        elif self._connection is not None or self._topics:
            if self._topics:
                self.database.stamps.bump(self.cursor, self._topics)
                self.database.changes.write(self.cursor, self._topics, parts)
            self.connection.commit()
            self.database.stamps.moved(self._topics)
            self.database.changes.note(self._topics, parts)

    def _close(self) -> None:
        if self._session is not None:
            self._session.close()
        if self._batch is not None:  # not committed
            self._cursor.execute("ROLLBACK TO unit")
            self._cursor.execute("RELEASE unit")
        elif self._owns and self._connection is not None:
            self._connection.close()


class Batch:
    """Write units, and writes past the session, that are committed together with one fsync (SQLite only).

    While a batch is open in a thread (`Database.batch`), every write of that thread joins it under a savepoint of its
    own, so that one that fails leaves the others alone. Nothing of it counts as done before `commit` has returned.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.connection = database.writer.connect()
        self.connection.begin()
        self.cursor: Any = self.connection.connection.cursor()
        """A cursor of the driver's connection, for writes past the session."""
        self.topics: set[str] = set()
        self.parts: Parts = {}
        self.afterwards: list[Callable[[], None]] = []

    def commit(self) -> None:
        """Make everything that joined durable, and give the turn back. May run on another thread than the joins."""
        try:
            if self.topics:
                self._database.stamps.bump(self.cursor, self.topics)
                self._database.changes.write(self.cursor, self.topics, self.parts)
            self.connection.commit()
            self._database.stamps.moved(self.topics)
            self._database.changes.note(self.topics, self.parts)
        finally:
            self.connection.close()
            self._database.turn.release()

    def settle(self) -> None:
        """Run what waited for the commit. Only after `commit` returned."""
        for step in self.afterwards:
            step()


class Database:
    """The one database of a cloud. `url` is SQLAlchemy's: `sqlite:////path/file.db` or `postgresql+psycopg://…`.

    `exclusive` says that no other process writes to it: then stamps need not be read while this one commits nothing.
    """

    def __init__(self, url: str, *, exclusive: bool = False, clock: Callable[[], datetime] = wall) -> None:
        self.url, self.clock, self.exclusive = url, clock, exclusive
        self.is_sqlite = url.startswith("sqlite")
        self.dialect = "sqlite" if self.is_sqlite else "postgresql"
        self.engine: Engine = create_engine(url, **({} if self.is_sqlite else {"pool_size": 20, "max_overflow": 40}))
        if self.is_sqlite:
            tune(self.engine)
        self.faults: type[Exception] = self.engine.dialect.loaded_dbapi.Error
        """What the driver itself raises, for statements past the session."""
        self.writer = self.engine.execution_options(nephele_write=True)
        self.stamps = Stamps(self.engine, exclusive=exclusive)
        self.changes = Changes(self.engine, complete=exclusive and self.is_sqlite)
        self.turn = Turn()
        """The turn to write (SQLite): held while a write transaction is open, by whomever."""
        self._local = threading.local()
        self.prompt: set[str] = set()
        """Topics whose every change, committed by this process, is a nudge."""
        self._listeners: dict[str, list[Callable[[], None]]] = {}

    def mark(self) -> int:
        """What stands for everything that was committed until now, by whomever; -1 where nobody can tell (PostgreSQL).

        Whoever reads after having taken the mark has read nothing older than it stands for."""
        if not self.is_sqlite:
            return -1
        return self.turn.ended if self.exclusive else self.stamps.version()

    @contextlib.contextmanager
    def unit(self, scope: Scope | None, *, write: bool, now: datetime | None = None) -> Iterator[Unit]:
        """A unit of work; committed at the end of the block, rolled back when the block raises.

        SQLite has one writer: write units of this process take turns on a lock (no busy-waiting), those of other
        processes wait in SQLite itself. Inside a batch, the commit is the batch's.
        """
        batch = self.batch if write else None
        with self.turn if write and batch is None and self.is_sqlite else contextlib.nullcontext():
            unit = Unit(self, scope, now or self.clock(), write, batch)
            try:
                yield unit
                if write:
                    unit._commit()
            finally:
                unit._close()
        if batch is None:
            for step in unit._afterwards:
                step()

    @property
    def batch(self) -> Batch | None:
        """The batch that writes of this thread join; None where each commits for itself."""
        return getattr(self._local, "batch", None)

    @contextlib.contextmanager
    def joined(self) -> Iterator[Batch]:
        """Take the turn and open a batch for the writes of this thread in the block. The caller commits it afterwards
        (`Batch.commit`, always, on any thread), except when the block raises: then nothing of it happens."""
        self.turn.acquire()
        try:
            batch = self._local.batch = Batch(self)
        except BaseException:
            self.turn.release()
            raise
        try:
            yield batch
        except BaseException:
            batch.connection.close()
            self.turn.release()
            raise
        finally:
            self._local.batch = None

    def on_nudge(self, topic: str, listener: Callable[[], None]) -> None:
        """Call `listener` (which must return at once) at every nudge of `topic` in this process."""
        self._listeners.setdefault(topic, []).append(listener)

    def nudge(self, topic: str) -> None:
        """Wake the listeners of `topic`. Losing a nudge delays; the clock of the reconciler makes it good."""
        for listener in self._listeners.get(topic, ()):
            listener()

    def close(self) -> None:
        """Close every connection."""
        self.stamps.close()
        self.engine.dispose()
