"""One database: declarative base, sights of a row, units of work, and stamps that tell when a topic changed.

Every mapped class states who may see its rows by deriving from one of four mixins (`Scoped`, `Tenanted`, `Shared`,
`Owned`); a session hook adds the matching criteria to every select, update and delete, so no query can forget them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Collection, Iterator
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Connection,
    Engine,
    Integer,
    String,
    Text,
    and_,
    create_engine,
    event,
    or_,
    select,
)
from sqlalchemy.orm import (
    DeclarativeBase,
    Mapped,
    Mapper,
    ORMExecuteState,
    Session,
    mapped_column,
    with_loader_criteria,
)
from sqlalchemy.sql import visitors
from sqlalchemy.types import TypeDecorator

from backends.changes import Changes, Parts, add_parts
from backends.clock import wall
from backends.sqlite import tune
from backends.stamps import Stamps
from backends.statement import Row, Statement, insertion
from backends.turn import Turn

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Instant(TypeDecorator[datetime]):
    """An aware UTC datetime, kept as whole microseconds since 1970 (the same on every database, and sortable)."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> int | None:
        return None if value is None else (value - EPOCH) // MICROSECOND

    def process_result_value(self, value: int | None, dialect: Any) -> datetime | None:
        return None if value is None else EPOCH + timedelta(microseconds=value)


class Base(DeclarativeBase):
    """The base of every table. `__topic__` names the stamp that a change of the table's rows moves; None moves none."""

    __topic__: ClassVar[str | None] = None
    type_annotation_map = {
        datetime: Instant(),
        dict[str, Any]: JSON(),
        list[Any]: JSON(),
        list[str]: JSON(),
        int: BigInteger().with_variant(Integer(), "sqlite"),
    }

    def changed_parts(self) -> Collection[str] | None:
        """The parts of its topic, by id, that a change of this row is confined to; None: any. See `Changes`."""
        return None


class Scope(NamedTuple):
    """Whose rows, and where. Every unit of work has one."""

    tenant: str
    region: str


class Scoped:
    """Seen by its tenant in its region only. Both columns are filled in at flush."""

    tenant: Mapped[str] = mapped_column(String(64), index=True)
    region: Mapped[str] = mapped_column(String(32))


class Tenanted:
    """Seen by its tenant in every region."""

    tenant: Mapped[str] = mapped_column(String(64), index=True)


class Shared:
    """Seen by its tenant in its region; there also by everybody when `public`, and by the tenants in a `Share` row."""

    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64), index=True)
    region: Mapped[str] = mapped_column(String(32))
    public: Mapped[bool] = mapped_column(Boolean, default=False)


class Owned:
    """Seen by everybody; it has an owner, and policy decides above."""

    tenant: Mapped[str] = mapped_column(String(64), index=True)


class Share(Base):
    """A grant of sight: `tenant` sees the `Shared` row whose id is `resource`."""

    __tablename__ = "share"
    __topic__ = "share"
    resource: Mapped[str] = mapped_column(String(128), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)


class Stamp(Base):
    """How often a topic changed. A cache that read the value is fresh while the value stands."""

    __tablename__ = "stamp"
    topic: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger, default=0)


class ChangedParts(Base):
    """Which parts of a topic the commit changed that gave its stamp this value, one a line. See `Changes`."""

    __tablename__ = "changed_parts"
    topic: Mapped[str] = mapped_column(String(64), primary_key=True)
    value: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    parts: Mapped[str] = mapped_column(Text)


class ScopedSession(Session):
    """A session that knows its scope. `scope=None` sees everything: for reconcilers, sweepers and start-up only."""

    def __init__(self, *args: Any, scope: Scope | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scope = scope
        self.topics_read: set[str] = set()
        self.topics_written: set[str] = set()
        self.parts_written: Parts = {}


@lru_cache(1024)
def _sight(tenant: str, region: str) -> tuple[Any, ...]:
    """The loader criteria of one scope. The lambdas are analysed once; `tenant` and `region` become bound values."""
    return (
        with_loader_criteria(
            Scoped, lambda cls: and_(cls.tenant == tenant, cls.region == region), include_aliases=True
        ),
        with_loader_criteria(Tenanted, lambda cls: cls.tenant == tenant, include_aliases=True),
        with_loader_criteria(
            Shared,
            lambda cls: and_(
                cls.region == region,
                or_(
                    cls.tenant == tenant,
                    cls.public,
                    cls.id.in_(select(Share.resource).where(Share.tenant == tenant)),
                ),
            ),
            include_aliases=True,
        ),
    )


def _mentioned(statement: Any) -> set[Mapper[Any]]:
    """The mappers of all that a statement speaks of, wherever in it."""
    entities = (part._annotations.get("parententity") for part in visitors.iterate(statement))
    return {entity.mapper for entity in entities if entity is not None}


@event.listens_for(ScopedSession, "do_orm_execute")
def _scope_statement(state: ORMExecuteState) -> None:
    session = state.session
    assert isinstance(session, ScopedSession)
    # Those of the columns that come back; a count, a sum or an EXISTS may bring back none.
    mappers = state.all_mappers or _mentioned(state.statement)
    topics = {topic for mapper in mappers if (topic := mapper.class_.__topic__) is not None}
    if any(issubclass(mapper.class_, Shared) for mapper in mappers):
        topics.add("share")
    (session.topics_read if state.is_select else session.topics_written).update(topics)
    if not state.is_select:
        session.parts_written |= dict.fromkeys(topics)
    if session.scope is not None and mappers and not state.is_column_load and not state.is_relationship_load:
        state.statement = state.statement.options(*_sight(*session.scope))


@event.listens_for(ScopedSession, "before_flush")
def _scope_rows(session: Session, context: object, instances: object) -> None:
    assert isinstance(session, ScopedSession)
    for row in session.new:
        if session.scope is not None and isinstance(row, (Scoped, Tenanted, Shared, Owned)):
            if row.tenant is None:
                row.tenant = session.scope.tenant
            if isinstance(row, (Scoped, Shared)) and row.region is None:
                row.region = session.scope.region
    for row in (*session.new, *session.dirty, *session.deleted):
        if row.__topic__ is not None:
            session.topics_written.add(row.__topic__)
            add_parts(session.parts_written, row.__topic__, row.changed_parts())


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
        self.stamps = Stamps(self)
        self.changes = Changes(self, complete=exclusive and self.is_sqlite)
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
