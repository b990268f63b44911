"""What every table derives from, who may see a row, and the session that holds every statement to it.

Every mapped class states who may see its rows by deriving from one of four mixins (`Scoped`, `Tenanted`, `Shared`,
`Owned`); a session hook adds the matching criteria to every select, update and delete, so no query can forget them.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

from sqlalchemy import JSON, BigInteger, Boolean, Integer, String, Text, and_, event, or_, select
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

from backends.changes import Parts, add_parts

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
