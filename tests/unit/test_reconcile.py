"""The reconciler: nudges, stamps, the clock, and steps that fail."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy import text

from backends.db import Base, Database
from backends.reconcile import Reconciler


@pytest.fixture
def database(tmp_path: object) -> Iterator[Database]:
    database = Database(f"sqlite:///{tmp_path}/nephele.db")
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


def test_settle_runs_until_nothing_is_left(database: Database) -> None:
    left = [3]

    def step() -> bool:
        left[0] -= 1
        return left[0] > 0

    reconciler = Reconciler(database)
    reconciler.add("t", step)
    reconciler.settle()
    assert left == [0]


def test_settle_tells_what_never_settles(database: Database) -> None:
    reconciler = Reconciler(database)
    reconciler.add("t", lambda: True)
    with pytest.raises(RuntimeError, match="never settles"):
        reconciler.settle(rounds=5)


def test_a_nudge_is_enough_though_no_row_changed(database: Database) -> None:
    ran = threading.Semaphore(0)

    def step() -> bool:
        ran.release()
        return False

    reconciler = Reconciler(database, period=3600)
    reconciler.add("t", step)
    reconciler.start()
    try:
        for _ in range(3):
            assert ran.acquire(timeout=60)
            database.nudge("t")
        assert ran.acquire(timeout=60)
        assert not ran.acquire(timeout=0.3), "one nudge is one round"
    finally:
        reconciler.stop()


def test_a_nudge_that_comes_while_nudges_are_looked_at_is_not_lost(database: Database) -> None:
    ran = threading.Semaphore(0)

    class Late(set[str]):
        """Hears of the topic just after it was looked for."""

        def __contains__(self, topic: object) -> bool:
            found = super().__contains__(topic)
            if armed.is_set():
                armed.clear()
                reconciler._hear("t")
            return found

    def step() -> bool:
        ran.release()
        return False

    armed = threading.Event()
    reconciler = Reconciler(database, period=3600, glance=0.01)
    reconciler.add("t", step)
    reconciler._nudged = Late()
    reconciler.start()
    try:
        assert ran.acquire(timeout=60), "the first round comes with the start"
        armed.set()
        assert ran.acquire(timeout=60)
    finally:
        reconciler.stop()


def test_a_nudge_a_foreign_commit_and_a_failure_are_answered(database: Database) -> None:
    ran = threading.Semaphore(0)
    fail = threading.Event()

    def step() -> bool:
        ran.release()
        if fail.is_set():
            fail.clear()
            raise OSError("the disk is away")
        return False

    reconciler = Reconciler(database, period=3600, glance=0.01)
    reconciler.add("t", step)
    reconciler.start()
    try:
        assert ran.acquire(timeout=60), "the first round comes with the start"
        other = Database(database.url)
        with other.unit(None, write=True) as unit:
            unit.touch("t")
        other.close()
        assert ran.acquire(timeout=60), "another process's commit moves the stamp"
        fail.set()
        with database.unit(None, write=True) as unit:
            unit.touch("t")
            unit.nudge("t")
        assert ran.acquire(timeout=60), "the step that raises"
        assert ran.acquire(timeout=60), "is tried again"
        with database.unit(None, write=False) as unit:
            assert unit.session.execute(text("SELECT value FROM stamp WHERE topic = 't'")).scalar() == 2
    finally:
        reconciler.stop()
