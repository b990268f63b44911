"""Sights of a row, units of work and stamps, over every database."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from sqlalchemy import String, delete, exists, func, literal, select, union_all, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, aliased, mapped_column

from backends.db import Base, Database, Owned, Scope, Scoped, Share, Shared, Tenanted


class Flock(Scoped, Base):
    __tablename__ = "test_flock"
    __topic__ = "flocks"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    size: Mapped[int] = mapped_column(default=0)
    at: Mapped[datetime | None]


class Herder(Tenanted, Base):
    __tablename__ = "test_herder"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)


class Pasture(Shared, Base):
    __tablename__ = "test_pasture"
    __topic__ = "pastures"


class Well(Owned, Base):
    __tablename__ = "test_well"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)


A1, A2, B1 = Scope("a", "one"), Scope("a", "two"), Scope("b", "one")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url)
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


def ids(database: Database, row: Any, scope: Scope | None) -> list[str]:
    with database.unit(scope, write=False) as unit:
        return sorted(unit.session.scalars(select(row.id)))


def test_each_sight_shows_its_rows_only(database: Database) -> None:
    for scope in (A1, A2, B1):
        name = "".join(scope)
        with database.unit(scope, write=True) as unit:
            unit.session.add_all([Flock(id=name), Herder(id=name), Pasture(id=name), Well(id=name)])
            unit.session.add(Pasture(id=name + "-public", public=True))
    with database.unit(None, write=True) as unit:
        unit.session.add(Share(resource="bone", tenant="a"))
    assert ids(database, Flock, A1) == ["aone"]
    assert ids(database, Herder, A1) == ["aone", "atwo"]
    assert ids(database, Pasture, A1) == ["aone", "aone-public", "bone", "bone-public"]
    assert ids(database, Pasture, A2) == ["atwo", "atwo-public"]
    assert ids(database, Pasture, B1) == ["aone-public", "bone", "bone-public"]
    assert ids(database, Well, B1) == ["aone", "atwo", "bone"]
    assert ids(database, Flock, None) == ["aone", "atwo", "bone"]


@pytest.mark.parametrize(
    "statement",
    [
        select(func.count()).select_from(Flock),
        select(func.count()).where(Flock.id != ""),
        select(func.count()).select_from(aliased(Flock)),
        select(func.count()).select_from(select(Flock.id).subquery()),
        select(select(func.count()).select_from(Flock).scalar_subquery()),
        select(func.count()).select_from(union_all(select(Flock.id)).subquery()),
        select(literal(1)).select_from(Flock),
        select(literal(1)).where(~exists().where(Flock.id == "b")),
        union_all(select(literal(1)).select_from(Flock), select(literal(1)).select_from(Flock).where(Flock.id == "b")),
    ],
)
def test_what_brings_back_no_column_of_a_row_is_scoped_and_recorded_too(embedded: Database, statement: Any) -> None:
    for scope in (A1, B1):
        with embedded.unit(scope, write=True) as unit:
            unit.session.add(Flock(id=scope.tenant))
    with embedded.unit(A1, write=False) as unit:
        assert unit.session.scalars(statement).all() == [1]
        assert unit.topics_read == {"flocks"}


def test_update_delete_and_get_are_scoped_too(database: Database) -> None:
    for scope in (A1, B1):
        with database.unit(scope, write=True) as unit:
            unit.session.add(Flock(id=scope.tenant))
    with database.unit(A1, write=True) as unit:
        unit.session.execute(update(Flock).values(size=7))
        assert unit.session.get(Flock, "b") is None
        unit.session.execute(delete(Flock).where(Flock.id == "b"))
    with database.unit(B1, write=False) as unit:
        survivor = unit.session.get(Flock, "b")
        assert survivor is not None and survivor.size == 0


def test_a_unit_that_raises_leaves_nothing_and_calls_nobody(database: Database) -> None:
    called: list[str] = []
    before = database.stamps.read().get("flocks", 0)
    with pytest.raises(ZeroDivisionError), database.unit(A1, write=True) as unit:
        unit.session.add(Flock(id="x"))
        unit.after_commit(lambda: called.append("after"))
        unit.session.flush()
        raise ZeroDivisionError
    assert ids(database, Flock, A1) == []
    assert called == [] and database.stamps.read().get("flocks", 0) == before


def test_stamps_move_with_their_topic_only(database: Database) -> None:
    database.stamps.read()
    with database.unit(A1, write=True) as unit:
        unit.session.add(Flock(id="x"))
    first = dict(database.stamps.read())
    with database.unit(A1, write=True) as unit:
        unit.session.execute(update(Flock).values(size=2))
    second = dict(database.stamps.read())
    assert second["flocks"] == first["flocks"] + 1
    assert second.get("pastures", 0) == first.get("pastures", 0)
    with database.unit(A1, write=True) as unit:
        unit.session.add(Herder(id="no topic"))
    assert dict(database.stamps.read()) == second


def test_a_second_process_s_commit_is_seen(database: Database) -> None:
    other = Database(database.url)
    database.stamps.read()
    with other.unit(A1, write=True) as unit:
        unit.session.add(Flock(id="elsewhere"))
    assert database.stamps.read()["flocks"] == 1
    assert ids(database, Flock, A1) == ["elsewhere"]
    other.close()


def test_a_request_looks_at_the_stamps_once_and_the_next_one_anew(embedded: Database) -> None:
    other = Database(embedded.url)
    embedded.stamps.begin()
    before, mark = embedded.stamps.read().get("flocks", 0), embedded.mark()
    with other.unit(A1, write=True) as unit:
        unit.session.add(Flock(id="elsewhere"))
    assert embedded.mark() != mark
    embedded.stamps.begin()
    assert embedded.stamps.read()["flocks"] == before + 1
    with embedded.unit(A1, write=True) as unit:
        unit.session.add(Flock(id="here"))
    assert embedded.stamps.read()["flocks"] == before + 2, "its own commits are seen at once"
    other.close()


def test_instants_keep_microseconds_and_zone(database: Database) -> None:
    moment = datetime(2026, 11, 22, 1, 2, 3, 456789, tzinfo=UTC)
    with database.unit(A1, write=True) as unit:
        unit.session.add(Flock(id="x", at=moment))
    with database.unit(A1, write=False) as unit:
        assert unit.session.scalar(select(Flock.at)) == moment
        assert unit.session.scalar(select(Flock.id).where(Flock.at <= moment)) == "x"


def test_reads_record_their_topics(database: Database) -> None:
    with database.unit(A1, write=False) as unit:
        unit.session.execute(select(Flock.id))
        unit.session.execute(select(Pasture.id))
        assert unit.session.topics_read == {"flocks", "pastures", "share"}


def test_a_double_key_is_refused(database: Database) -> None:
    with database.unit(A1, write=True) as unit:
        unit.session.add(Flock(id="x"))
    with pytest.raises(IntegrityError), database.unit(A1, write=True) as unit:
        unit.session.add(Flock(id="x"))


def test_nudges_reach_listeners_after_the_commit(database: Database) -> None:
    seen: list[list[str]] = []
    database.on_nudge("flocks", lambda: seen.append(ids(database, Flock, A1)))
    with database.unit(A1, write=True) as unit:
        unit.session.add(Flock(id="x"))
        unit.nudge("flocks")
        assert seen == []
    assert seen == [["x"]]


@pytest.fixture
def embedded(tmp_path: object) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/nephele.db")
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


def test_a_batch_is_committed_as_one_and_a_failure_leaves_the_others(embedded: Database) -> None:
    after: list[str] = []
    before = embedded.stamps.read().get("flocks", 0)
    with embedded.joined() as batch:
        for name in ("first", "second", "third"):
            try:
                with embedded.unit(A1, write=True) as unit:
                    unit.session.add(Flock(id=name))
                    unit.after_commit(partial(after.append, name))
                    unit.session.flush()
                    if name == "second":
                        raise ZeroDivisionError
            except ZeroDivisionError:
                pass
        assert ids(embedded, Flock, A1) == [], "nothing is seen before the commit"
    assert embedded.turn.locked() and after == []
    batch.commit()
    batch.settle()
    assert not embedded.turn.locked()
    assert ids(embedded, Flock, A1) == ["first", "third"] and after == ["first", "third"]
    assert embedded.stamps.read()["flocks"] == before + 1, "one bump for the whole batch"


def test_a_batch_that_raises_is_undone_and_gives_the_turn_back(embedded: Database) -> None:
    with pytest.raises(ZeroDivisionError), embedded.joined():
        with embedded.unit(A1, write=True) as unit:
            unit.session.add(Flock(id="x"))
        raise ZeroDivisionError
    assert not embedded.turn.locked()
    assert ids(embedded, Flock, A1) == [] and embedded.batch is None
    with embedded.unit(A1, write=True) as unit:
        unit.session.add(Flock(id="x"))
    assert ids(embedded, Flock, A1) == ["x"]


def test_an_exclusive_database_sees_its_own_commits_at_once(tmp_path: object) -> None:
    database = Database(f"sqlite:///{tmp_path}/nephele.db", exclusive=True)
    Base.metadata.create_all(database.engine)
    assert database.stamps.read().get("flocks", 0) == 0
    with database.unit(A1, write=True) as unit:
        unit.session.add(Flock(id="x"))
    assert database.stamps.read()["flocks"] == 1
    with database.joined() as batch, database.unit(A1, write=True) as unit:
        unit.insert(Flock(id="y", size=0))
    assert database.stamps.read()["flocks"] == 1, "not before the commit"
    batch.commit()
    assert database.stamps.read()["flocks"] == 2
    database.close()
