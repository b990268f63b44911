"""Which parts of a topic changed, as a follower in another process learns of it, over every database."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import threading
import warnings
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from sqlalchemy import String, func, select
from sqlalchemy.orm import Mapped, mapped_column

from backends import changes
from backends.db import Base, ChangedParts, Database, Stamp, Unit


class Leaf(Base):
    __tablename__ = "test_leaf"
    __topic__ = "leaves"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    tree: Mapped[str] = mapped_column(String(32))

    def changed_parts(self) -> Collection[str]:
        return (self.tree,)


class Root(Base):
    """Nobody can tell what its changes are confined to."""

    __tablename__ = "test_root"
    __topic__ = "leaves"
    id: Mapped[str] = mapped_column(String(32), primary_key=True)


class Party:
    """One follower, and writers that are other processes to it."""

    def __init__(self, url: str) -> None:
        self.follower, self.writer, self.other = (Database(url) for _ in range(3))
        Base.metadata.create_all(self.follower.engine)

    def grow(self, tree: str, writer: Database | None = None) -> None:
        with (writer or self.writer).unit(None, write=True) as unit:
            grow(unit, tree)

    def take(self) -> set[str] | None:
        return self.follower.changes.take("leaves")

    def close(self) -> None:
        for database in (self.follower, self.writer, self.other):
            database.close()


def grow(unit: Unit, tree: str) -> None:
    unit.session.add(Leaf(id=random.randbytes(12).hex(), tree=tree))


@pytest.fixture
def party(database_url: str) -> Iterator[Party]:
    made = Party(database_url)
    yield made
    made.close()


def test_parts_reach_other_processes(party: Party) -> None:
    assert party.take() is None, "the first time it can be any"
    assert party.take() == set(), "no stamp of the topic was ever moved"
    party.grow("oak")
    assert party.take() == {"oak"}
    assert party.take() == set()
    party.grow("oak")
    party.grow("elm", party.other)
    party.grow("oak of another", party.follower)
    assert party.take() == {"oak", "elm", "oak of another"}
    assert party.take() == set()


def test_what_nobody_can_tell_is_any_part(party: Party) -> None:
    party.grow("oak")
    party.take()
    for unknown in ("a row of another kind", "past the session", "too many", "a stamp moved by somebody else"):
        party.grow("elm")
        with party.writer.unit(None, write=True) as unit:
            if unknown == "a row of another kind":
                grow(unit, "oak")
                unit.session.add(Root(id="root"))
            elif unknown == "past the session":
                grow(unit, "oak")
                unit.touch("leaves")
            elif unknown == "too many":
                for number in range(changes.MOST_PARTS + 1):
                    grow(unit, f"tree {number}")
            else:
                party.writer.stamps.bump(unit.cursor, {"leaves"})
        party.grow("elm")
        assert party.take() is None, unknown
        party.grow("ash")
        assert party.take() == {"ash"}, unknown


def test_what_was_rolled_back_is_not_told(party: Party) -> None:
    party.grow("oak")
    party.take()
    with pytest.raises(RuntimeError), party.writer.unit(None, write=True) as unit:
        grow(unit, "elm")
        unit.flush()
        raise RuntimeError
    assert party.take() == set()


def test_who_began_earlier_and_commits_later_is_not_missed(party: Party) -> None:
    """The earlier one has written, and even moved its stamp, before the later one begins to commit (SQLite, which has
    one writer, lets the later one wait; PostgreSQL lets it wait for the stamp only)."""
    party.grow("oak")
    party.take()
    written, moved, done = threading.Event(), threading.Event(), threading.Event()

    def late() -> None:
        with party.other.unit(None, write=True) as unit:
            grow(unit, "late")
            unit.session.flush()
            written.set()
            assert moved.wait(60)

    def quick() -> None:
        party.grow("quick")
        done.set()

    threads = [threading.Thread(target=late), threading.Thread(target=quick)]
    threads[0].start()
    assert written.wait(60)
    threads[1].start()
    waits = party.follower.is_sqlite
    assert done.wait(0.05 if waits else 60) is not waits
    assert party.take() == (set() if waits else {"quick"}), "what is not committed is not seen"
    moved.set()
    for thread in threads:
        thread.join(60)
    assert party.take() == ({"quick", "late"} if waits else {"late"})


def test_a_stamp_that_is_moved_and_not_committed_holds_the_others_back(party: Party) -> None:
    party.grow("oak")
    party.take()
    with party.other.unit(None, write=True) as unit:
        grow(unit, "late")
        unit.session.flush()
        party.other.stamps.bump(unit.cursor, {"leaves"})
        party.other.changes.write(unit.cursor, {"leaves"}, {"leaves": {"late"}})
        quick = threading.Thread(target=party.grow, args=("quick",))
        quick.start()
        quick.join(0.1)
        assert quick.is_alive(), "or its value would be seen before an older one"
        assert party.take() == set()
    quick.join(60)
    assert party.take() == {"late", "quick"}


def test_old_parts_are_forgotten(party: Party, monkeypatch: pytest.MonkeyPatch) -> None:
    party.grow("oak")
    party.take()
    monkeypatch.setattr(changes, "PRUNED", 4)
    writer = Database(party.writer.url)
    with writer.unit(None, write=True) as unit:
        unit.session.execute(Stamp.__table__.update().values(value=changes.KEPT + 1))  # type: ignore[attr-defined]
        grow(unit, "elm")
    for number in range(8):
        party.grow(f"ash {number}", writer)
    with writer.unit(None, write=False) as unit:
        values = sorted(unit.session.scalars(select(ChangedParts.value)))
    assert values == [*range(changes.KEPT + 2, changes.KEPT + 11)], "the first of all went"
    assert party.take() is None
    writer.close()


def test_one_process_alone_writes_nothing_down(tmp_path: Path) -> None:
    alone = Database(f"sqlite:///{tmp_path}/alone.db", exclusive=True)
    Base.metadata.create_all(alone.engine)
    alone.changes.take("leaves")
    with alone.unit(None, write=True) as unit:
        grow(unit, "oak")
    assert alone.changes.take("leaves") == {"oak"}
    with alone.unit(None, write=False) as unit:
        assert unit.session.scalar(select(func.count()).select_from(ChangedParts)) == 0
    alone.close()


def _write_until_killed(url: str, name: str, told: int) -> None:
    database, number = Database(url), 0
    while True:
        with database.unit(None, write=True) as unit:
            grow(unit, f"{name}-{number}")
        os.write(told, f"{name}-{number}\n".encode())
        number += 1


def test_whatever_is_committed_before_a_kill_is_told(party: Party) -> None:
    """Two processes write as fast as they can and are killed in the midst of it; a follower looks all the while."""
    party.grow("oak")
    party.take()
    fork = multiprocessing.get_context("fork")
    acknowledged, told = os.pipe()
    for round in range(3):
        writers = [
            fork.Process(target=_write_until_killed, args=(party.writer.url, f"{round}{name}", told)) for name in "ab"
        ]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            for writer in writers:
                writer.start()
        seen: set[str] = set()
        lines = b""
        while lines.count(b"a-") < 20 or lines.count(b"b-") < 20:
            lines += os.read(acknowledged, 1 << 16)
            seen |= party.take() or set()
        for writer in writers:
            assert writer.pid is not None
            os.kill(writer.pid, signal.SIGKILL)
            writer.join(60)
        os.set_blocking(acknowledged, False)
        try:
            lines += os.read(acknowledged, 1 << 20)
        except BlockingIOError:
            pass
        os.set_blocking(acknowledged, True)
        party.grow("end")  # waits until the last transaction of the dead has ended
        seen |= party.take() or set()
        with party.follower.unit(None, write=False) as unit:
            committed = set(unit.session.scalars(select(Leaf.tree).where(Leaf.tree.startswith(str(round)))))
        assert set(lines.decode().split()) <= committed, "what was acknowledged is there"
        assert committed <= seen, "whatever is there was told"
    os.close(acknowledged)
    os.close(told)
