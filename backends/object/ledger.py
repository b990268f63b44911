"""Statements of the hot paths, compiled once, run on the driver's connection.

An indexed read costs some ten microseconds this way, a SQLAlchemy select ten times that. Reads take a connection of
the thread's own; writes queue up, and whoever gets the turn commits all that wait with one fsync (SQLite), or run side
by side under a lock on what they change (PostgreSQL).
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from backends.db import Base, Batch, Database
from backends.statement import Statement as Statement
from backends.statement import insertion

T = TypeVar("T")
Row = tuple[Any, ...]
Job = Callable[["Transaction"], T]


class Reader:
    """Runs statements outside any transaction, on one thread's connection."""

    __slots__ = ("__weakref__", "_cursor", "_dialect")

    def __init__(self, cursor: Any, dialect: str) -> None:
        self._cursor, self._dialect = cursor, dialect

    def one(self, statement: Statement, *values: Any) -> Row | None:
        """The first row, or None."""
        sql, bound = statement.on(self._dialect, values)
        self._cursor.execute(sql, bound)
        row: Row | None = self._cursor.fetchone()
        return row

    def all(self, statement: Statement, *values: Any) -> list[Row]:
        """Every row."""
        sql, bound = statement.on(self._dialect, values)
        self._cursor.execute(sql, bound)
        rows: list[Row] = self._cursor.fetchall()
        return rows


class Transaction(Reader):
    """Runs statements inside a transaction; `garbage` are the blobs that nothing uses once it is committed, `topics`
    those whose stamps it moved."""

    __slots__ = ("garbage", "topics")

    def __init__(self, cursor: Any, dialect: str) -> None:
        super().__init__(cursor, dialect)
        self.garbage: list[str] = []
        self.topics: set[str] = set()

    @property
    def cursor(self) -> Any:
        """The driver's cursor, for what is no statement of ours."""
        return self._cursor

    def run(self, statement: Statement, *values: Any) -> int:
        """How many rows were changed."""
        sql, bound = statement.on(self._dialect, values)
        self._cursor.execute(sql, bound)
        count: int = self._cursor.rowcount
        return count

    def run_many(self, statement: Statement, rows: Sequence[Row]) -> None:
        """The same statement for many rows."""
        if rows:
            bound = [statement.on(self._dialect, row) for row in rows]
            self._cursor.executemany(bound[0][0], [values for _, values in bound])

    def add(self, row: Base) -> None:
        """Insert an entity."""
        sql, bound = insertion(type(row)).on(self._dialect, row)
        self._cursor.execute(sql, bound)

    def lock(self, container: int, key: bytes) -> None:
        """Until the end of the transaction nobody else changes this key (SQLite has one writer anyway)."""
        if self._dialect == "postgresql":
            self._cursor.execute("SELECT pg_advisory_xact_lock(%s::int, hashtext(encode(%s, 'hex')))", (container, key))

    def say(self, sql: str) -> None:
        """BEGIN, COMMIT and the like."""
        self._cursor.execute(sql)


R = TypeVar("R", bound=Reader)


class _Ticket(Generic[T]):
    __slots__ = ("done", "error", "garbage", "job", "result")

    def __init__(self, job: Job[T]) -> None:
        self.job = job
        self.done = False
        self.result: T | None = None
        self.error: BaseException | None = None
        self.garbage: list[str] = []


class Ledger:
    """Raw access to one database. Threads may share it."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._dialect = "sqlite" if database.is_sqlite else "postgresql"
        self.faults: type[Exception] = database.engine.dialect.loaded_dbapi.Error
        self._local = threading.local()
        self._waiting: deque[_Ticket[Any]] = deque()
        self._writer: Transaction | None = None
        self._open: weakref.WeakSet[Reader] = weakref.WeakSet()

    def read(self) -> Reader:
        """The reader of this thread."""
        reader: Reader | None = getattr(self._local, "reader", None)
        if reader is None or self._broken(reader):
            reader = self._local.reader = self._kept(Reader(self._connect(), self._dialect))
        return reader

    def write(self, job: Job[T]) -> tuple[T, list[str]]:
        """Run `job` in a transaction and commit it durably; its result, and the garbage it left.

        What the job raises undoes what it did, and is raised here. A job may run more than once, so it must change
        nothing but the database. No write unit of the same thread may be open. In a batch, the batch commits.
        """
        if (batch := self._database.batch) is not None:
            return self._write_joined(job, batch)
        return self._write_in_turn(job) if self._dialect == "sqlite" else self._write_alone(job)

    def after(self, step: Callable[[], None]) -> None:
        """Run `step` once what this thread wrote is durable: at once, or after the batch that it joined."""
        if (batch := self._database.batch) is not None:
            batch.afterwards.append(step)
        else:
            step()

    def close(self) -> None:
        """Close every connection that was opened here."""
        while self._open:
            self._open.pop()._cursor.connection.close()
        self._writer = None
        self._local = threading.local()

    # --- SQLite: one writer, one fsync for all who wait ---------------------------------------------------------------

    def _write_in_turn(self, job: Job[T]) -> tuple[T, list[str]]:
        ticket = _Ticket(job)
        self._waiting.append(ticket)
        with self._database.turn:
            if not ticket.done:
                self._commit_waiting()
        if ticket.error is not None:
            raise ticket.error
        return ticket.result, ticket.garbage  # type: ignore[return-value]

    def _write_joined(self, job: Job[T], batch: Batch) -> tuple[T, list[str]]:
        transaction = Transaction(batch.cursor, self._dialect)
        transaction.say("SAVEPOINT job")
        try:
            result = job(transaction)
        except BaseException:
            transaction.say("ROLLBACK TO job")
            raise
        finally:
            transaction.say("RELEASE job")
        batch.topics |= transaction.topics
        return result, transaction.garbage

    def _commit_waiting(self) -> None:
        batch = [self._waiting.popleft() for _ in range(len(self._waiting))]
        try:
            if self._writer is None:
                self._writer = self._kept(Transaction(self._connect(), self._dialect))
            transaction = self._writer
            transaction.topics = set()
            transaction.say("BEGIN IMMEDIATE")
            try:
                for ticket in batch:
                    self._run(transaction, ticket, alone=len(batch) == 1)
                if any(ticket.error is None for ticket in batch):
                    transaction.say("COMMIT")
                    self._database.stamps.moved(transaction.topics)
                else:
                    transaction.say("ROLLBACK")
            except BaseException:
                self._abandon(transaction)
                raise
        except BaseException as fault:  # noqa: BLE001 - told to every thread that waits
            for ticket in batch:
                ticket.error = ticket.error or fault
        for ticket in batch:
            ticket.done = True

    def _run(self, transaction: Transaction, ticket: _Ticket[Any], *, alone: bool) -> None:
        transaction.garbage = ticket.garbage
        if not alone:
            transaction.say("SAVEPOINT job")
        try:
            ticket.result = ticket.job(transaction)
        except Exception as error:  # noqa: BLE001 - raised in the thread that brought the job
            ticket.error = error
            if not alone:
                transaction.say("ROLLBACK TO job")
        if not alone:
            transaction.say("RELEASE job")

    def _abandon(self, transaction: Transaction) -> None:
        """End a transaction that cannot be committed; a connection that cannot even do that is given up."""
        try:
            transaction.say("ROLLBACK")
        except self.faults:
            self._writer = None

    # --- PostgreSQL: a transaction for each -------------------------------------------------------------------------

    def _write_alone(self, job: Job[T]) -> tuple[T, list[str]]:
        for attempt in range(5):
            transaction: Transaction | None = getattr(self._local, "transaction", None)
            if transaction is None or self._broken(transaction):
                transaction = self._local.transaction = self._kept(Transaction(self._connect(), self._dialect))
            transaction.garbage = []
            try:
                transaction.say("BEGIN")
                result = job(transaction)
                transaction.say("COMMIT")
                return result, transaction.garbage
            except BaseException as fault:
                if not self._broken(transaction):
                    transaction.say("ROLLBACK")
                met = isinstance(fault, self.faults) and getattr(fault, "sqlstate", None) in ("23505", "40001", "40P01")
                if not met or attempt == 4:
                    raise
        raise AssertionError("unreachable")

    # --- connections --------------------------------------------------------------------------------------------------

    def _connect(self) -> Any:
        """A cursor on a connection that belongs to no pool."""
        pooled = self._database.engine.raw_connection()
        pooled.detach()
        connection: Any = pooled.dbapi_connection
        if self._dialect == "postgresql":
            connection.autocommit = True
        else:
            connection.execute("PRAGMA cache_size=-4000")
        return connection.cursor()

    def _kept(self, reader: R) -> R:
        """The reader, whose connection is closed with this ledger, or with the thread that owns it."""
        self._open.add(reader)
        weakref.finalize(reader, reader._cursor.connection.close)
        return reader

    def _broken(self, reader: Reader) -> bool:
        return self._dialect == "postgresql" and bool(reader._cursor.connection.closed)
