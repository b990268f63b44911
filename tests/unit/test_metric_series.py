"""Measured series: what is kept, for how long, in which steps; and what is made of what guests use."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import func, select

from backends.db import Base, Database, Scope
from backends.errors import Exhausted
from backends.metrics.ageing import age
from backends.metrics.models import Block, Subject
from backends.metrics.samples import Sample, pack, percentile, single, unpack
from backends.metrics.service import Measured, MetricService, seconds, value

HERE = Scope("tenant", "here")
START = datetime(2026, 1, 1, tzinfo=UTC)
OF = (("Of", "me"),)
DAY = timedelta(days=1)


class Clock:
    now = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(database_url: str, clock: Clock) -> Iterator[Database]:
    database = Database(database_url, clock=clock)
    Base.metadata.create_all(database.engine)
    yield database
    database.close()


def record(database: Database, *measured: Measured, scope: Scope = HERE) -> None:
    with database.unit(scope, write=True) as unit:
        MetricService(unit).record("Mine", {OF: measured})


def read(database: Database, begin: datetime, end: datetime, period: int = 60, name: str = "n") -> list[Sample]:
    with database.unit(HERE, write=False) as unit:
        service = MetricService(unit)
        subject = service.subject("Mine", OF)
        if subject is None:
            return []
        places = [place for place, (named, _) in enumerate(subject.series) if named == name]
        found = service.read(subject, places, seconds(begin), seconds(end), period)
        return [one.sample for one in sorted(found, key=lambda one: one.at)]


def settle(database: Database) -> None:
    for _ in range(1000):
        if not age(database):
            return
    raise AssertionError("never settles")


numbers = st.one_of(
    st.just(0.0),
    st.integers(0, 1 << 33).map(float),
    st.floats(-(2.0**360), 2.0**360),
)
samples = st.one_of(
    st.builds(single, st.integers(0, 65535), st.integers(0, 4095), numbers),
    st.builds(single, st.integers(0, 65535), st.integers(0, 4095), numbers, st.integers(1, 1 << 40).map(float)),
    st.builds(Sample, st.integers(0, 65535), st.integers(0, 4095), st.floats(1, 1e9), numbers, numbers, numbers),
)


@given(st.lists(samples), st.lists(samples))
def test_what_was_packed_is_unpacked_also_when_it_was_joined(one: list[Sample], other: list[Sample]) -> None:
    joined = pack(one) + pack(other)
    assert list(unpack(joined)) == one + other
    assert list(unpack(joined, frozenset({7}))) == [sample for sample in one + other if sample.series == 7]


def test_idle_values_take_four_bytes_and_counts_eight() -> None:
    assert len(pack([single(59, 12, 0.0)])) == 4
    assert len(pack([single(59, 12, 4_000_000_000.0)])) == 8


@given(st.lists(st.integers(0, 1000), min_size=1), st.floats(0, 100))
def test_percentiles_are_values_that_so_many_do_not_exceed(values: list[int], share: float) -> None:
    found = percentile([single(0, 0, float(one)) for one in values], share)
    assert found in values
    reached = sum(one <= found for one in values)
    assert reached >= share / 100 * len(values) - 1e-6
    lower = [one for one in values if one < found]
    assert len(lower) < share / 100 * len(values) + 1e-6 or not lower


def test_percentiles_that_cannot_be_told_are_not() -> None:
    assert percentile([], 50) is None
    assert percentile([single(0, 0, -1.0)], 50) is None
    assert percentile([Sample(0, 0, 2, 3, 1, 2)], 50) is None
    assert percentile([single(0, 0, 1.0, 3), single(0, 0, 9.0)], 75) == 1.0
    assert percentile([single(0, 0, 1.0, 3), single(0, 0, 9.0)], 76) == 9.0


def test_samples_are_seen_by_their_tenant_in_their_region(database: Database) -> None:
    record(database, value("n", "Count", START, 1), scope=Scope("tenant", "there"))
    record(database, value("n", "Count", START, 2), scope=Scope("other", "here"))
    assert read(database, START, START + DAY) == []
    record(database, value("n", "Count", START, 3), value("m", "Count", START, 4))
    assert [one.total for one in read(database, START, START + DAY)] == [3]
    assert [one.total for one in read(database, START, START + DAY, name="m")] == [4]


def test_windows_begin_with_and_end_before(database: Database) -> None:
    minutes = [START + timedelta(minutes=number) for number in range(130)]
    record(database, *(value("n", "Count", at, number) for number, at in enumerate(minutes)))
    assert [one.total for one in read(database, minutes[59], minutes[122])] == list(range(59, 122))


def test_old_samples_are_kept_in_ever_coarser_steps_and_then_forgotten(database: Database, clock: Clock) -> None:
    minutes = [START + timedelta(minutes=number) for number in range(600)]
    record(database, *(value("n", "Count", at, number % 60) for number, at in enumerate(minutes)))
    whole = sum(number % 60 for number in range(600))
    end = START + DAY

    clock.now = START + 15 * DAY
    settle(database)
    assert len(read(database, START, end)) == 600

    clock.now = START + 17 * DAY
    settle(database)
    assert read(database, START, end) == []
    fives = read(database, START, end, 300)
    assert len(fives) == 120
    assert sum(one.total for one in fives) == whole
    assert fives[0] == Sample(0, 0, 5, 10, 0, 4)

    clock.now = START + 65 * DAY
    settle(database)
    assert read(database, START, end, 300) == []
    hours = read(database, START, end, 3600)
    assert len(hours) == 10
    assert (hours[3].count, hours[3].total, hours[3].least, hours[3].most) == (60, 1770, 0, 59)

    clock.now = START + 490 * DAY
    settle(database)
    with database.unit(None, write=False) as unit:
        assert unit.session.scalar(select(func.count()).select_from(Block)) == 0
        assert unit.session.scalar(select(func.count()).select_from(Subject)) == 0


def test_samples_of_seconds_become_samples_of_minutes(database: Database, clock: Clock) -> None:
    record(database, *(Measured("n", "Count", START + timedelta(seconds=at), 1, at, at, at, 1) for at in range(120)))
    assert len(read(database, START, START + DAY, 1)) == 120
    clock.now = START + timedelta(hours=4)
    settle(database)
    assert read(database, START, START + DAY, 1) == []
    assert [one.count for one in read(database, START, START + DAY)] == [60, 60]


def test_a_subject_has_a_bound(database: Database) -> None:
    record(database, *(value(f"n{number}", "Count", START, 1) for number in range(4096)))
    with pytest.raises(Exhausted):
        record(database, value("one more", "Count", START, 1))
    assert len(read(database, START, START + DAY, name="n4095")) == 1
