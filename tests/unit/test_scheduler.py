"""Where guests go: filters and weights, over one host and over many."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.compute.models import Guest, GuestState, Host
from backends.compute.scheduler import FILTERS, USUAL_FILTERS, USUAL_WEIGHTS, WEIGHTS, Room, Scheduler, Wanted
from backends.compute.service import ComputeService
from backends.db import Database, Scope
from backends.errors import Exhausted
from gateway.settings import Settings, SettingsError, load
from tests.unit.fresh import fresh_database

SMALL = Wanted(1, 100)
bound = st.none() | st.integers(0, 64)
rooms = st.lists(st.tuples(bound, st.none() | st.integers(0, 4096), st.sampled_from((None, "a", "b"))), max_size=6).map(
    lambda found: [Room(f"host-{number}", *one) for number, one in enumerate(found)]
)
factors = st.dictionaries(st.sampled_from(sorted(WEIGHTS)), st.floats(-4, 4))


@given(vcpus=st.integers(1, 64), memory=st.integers(1, 4096), rooms=rooms, weights=factors)
def test_a_guest_goes_where_it_fits_whatever_weighs(
    vcpus: int, memory: int, rooms: list[Room], weights: dict[str, float]
) -> None:
    wanted = Wanted(vcpus, memory, "a")

    def fits(room: Room) -> bool:
        return (
            (room.vcpus is None or room.vcpus >= vcpus)
            and (room.memory is None or room.memory >= memory)
            and room.zone in (None, "a")
        )

    scheduler = Scheduler(weights=weights)
    if not any(fits(room) for room in rooms):
        with pytest.raises(Exhausted):
            scheduler.place(wanted, rooms)
        return
    name = scheduler.place(wanted, rooms)
    assert fits(next(room for room in rooms if room.host == name))
    assert scheduler.place(wanted, list(reversed(rooms))) == name


@pytest.mark.parametrize(
    ("weights", "chosen"),
    [
        ({}, "a"),
        ({"memory": 1}, "b"),
        ({"memory": -1}, "c"),
        ({"processors": 1}, "c"),
        ({"guests": 1}, "a"),
        ({"memory": 1, "processors": 3}, "c"),
        (dict(USUAL_WEIGHTS), "b"),
    ],
)
def test_weights_order_hosts(weights: dict[str, float], chosen: str) -> None:
    rooms = [Room("a", 4, 2000, guests=1), Room("b", 2, 4000, guests=5), Room("c", 8, 1000, guests=9)]
    for order in permutations(rooms):
        assert Scheduler(weights=weights).place(SMALL, order) == chosen


def test_a_host_without_a_bound_has_the_most() -> None:
    rooms = [Room("a", None, 4000), Room("b", 8, None)]
    assert Scheduler(weights={"memory": 1}).place(SMALL, rooms) == "b"
    assert Scheduler(weights={"processors": 1}).place(SMALL, rooms) == "a"


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_each_filter_rules_out_and_can_be_left_away(name: str) -> None:
    full = {
        "processors": Room("full", 0, None),
        "memory": Room("full", None, 0),
        "zone": Room("full", None, None, zone="b"),
        "group": Room("full", None, None, parts={"pg": frozenset({"other"})}),
    }[name]
    wanted = Wanted(1, 100, "a", "pg", "mine")
    with pytest.raises(Exhausted):
        Scheduler().place(wanted, [full])
    others = [one for one in USUAL_FILTERS if one != name]
    assert Scheduler(others).place(wanted, [full]) == "full"


def test_parts_of_a_group_are_kept_apart_and_one_part_together() -> None:
    mine = Room("mine", None, 1000, parts={"pg": frozenset({"1"})})
    others = Room("others", None, 9000, parts={"pg": frozenset({"2"})})
    empty = Room("empty", None, 5000)
    rooms = [mine, others, empty]
    assert Scheduler().place(Wanted(1, 100, apart="pg", part="1"), rooms) == "mine"
    assert Scheduler().place(Wanted(1, 100, apart="pg", part="3"), rooms) == "empty"
    assert Scheduler().place(Wanted(1, 100, apart="pg"), rooms) == "empty"
    with pytest.raises(Exhausted):
        Scheduler().place(Wanted(1, 100, apart="pg"), [mine, others])


# --- with the rows of several hosts -----------------------------------------------------------------------------------


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = fresh_database(tmp_path)
    with database.unit(None, write=True) as unit:
        for name, zone in (("one", "a"), ("two", "a"), ("three", "b")):
            unit.session.add(Host(id=name, vcpus=8, memory=1000, overhead=50, zone=zone))
    yield database
    database.close()


def launch(database: Database, id: str, *, tenant: str = "tenant", memory: int = 200, **about: str) -> str | None:
    with database.unit(Scope(tenant, "here"), write=True) as unit:
        service = ComputeService(unit)
        zone, apart, part = about.get("zone", "a"), about.get("apart"), about.get("part")
        host = service.place(Wanted(1, memory, zone, apart, part))
        of = {"batch": "r", "image": "ami", "flavor": "t", "architecture": "x86_64", "notes": {}}
        group = {"apart": apart, "part": None if apart is None else part or id}
        service.add_guest(id=id, host=host, vcpus=1, memory=memory, zone=zone, **group, **of)
        return host


def test_hosts_of_the_zone_fill_up_evenly_and_then_there_is_no_room(database: Database) -> None:
    found = [launch(database, f"i-{number}", tenant=f"t{number % 2}") for number in range(8)]
    assert found == ["one", "two"] * 4
    with pytest.raises(Exhausted):
        launch(database, "i-more")
    assert launch(database, "i-there", zone="b") == "three"


def test_a_spread_group_has_one_guest_a_host_and_starts_again_so(database: Database) -> None:
    assert launch(database, "i-1", apart="pg") == "one"
    assert launch(database, "i-2", apart="pg") == "two"
    with pytest.raises(Exhausted):
        launch(database, "i-3", apart="pg")
    assert launch(database, "i-other", apart="pg-other") == "one"
    with database.unit(Scope("tenant", "here"), write=True) as unit:
        guest = unit.session.get_one(Guest, "i-1")
        guest.state = GuestState.STOPPED
    assert launch(database, "i-3", apart="pg") == "one"
    with database.unit(Scope("tenant", "here"), write=True) as unit, pytest.raises(Exhausted):
        ComputeService(unit).start(unit.session.get_one(Guest, "i-1"))


def test_partitions_share_no_host(database: Database) -> None:
    assert [launch(database, f"i-{number}", apart="pg", part="1") for number in range(2)] == ["one", "one"]
    assert launch(database, "i-2", apart="pg", part="2") == "two"
    with pytest.raises(Exhausted):
        launch(database, "i-3", apart="pg", part="3")
    with database.unit(Scope("tenant", "here"), write=True) as unit:
        assert ComputeService(unit).parts("pg") == {"one": {"1": 2}, "two": {"2": 1}}


# --- settings ---------------------------------------------------------------------------------------------------------


def test_settings_know_every_name_and_the_usual_ones() -> None:
    usual = Settings()
    assert usual.scheduler_filters == USUAL_FILTERS
    assert dict(usual.scheduler_weights) == dict(USUAL_WEIGHTS)
    for name, known in (("scheduler_filters", FILTERS), ("scheduler_weights", WEIGHTS)):
        inside = get_args(Settings.model_fields[name].annotation)[0]
        words = get_args(get_args(inside)[0]) if name == "scheduler_weights" else get_args(inside)
        assert sorted(words) == sorted(known)


def test_settings_are_read_from_text_and_from_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NEPHELE_SCHEDULER_FILTERS", "memory, zone")
    monkeypatch.setenv("NEPHELE_SCHEDULER_WEIGHTS", "guests=1, memory=-0.5")
    told = load()
    assert told.scheduler_filters == ("memory", "zone")
    assert dict(told.scheduler_weights) == {"guests": 1.0, "memory": -0.5}
    monkeypatch.delenv("NEPHELE_SCHEDULER_WEIGHTS")
    file = tmp_path / "nephele.toml"
    file.write_text("[scheduler_weights]\nprocessors = 2\n")
    assert dict(load(config=file).scheduler_weights) == {"processors": 2.0}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FILTERS", "memory,colour"),
        ("WEIGHTS", "colour=1"),
        ("WEIGHTS", "memory"),
        ("WEIGHTS", "memory=much"),
        ("WEIGHTS", "memory=nan"),
        ("WEIGHTS", "memory=1,memory=2"),
    ],
)
def test_settings_that_mean_nothing_are_refused(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"NEPHELE_SCHEDULER_{name}", value)
    with pytest.raises(SettingsError, match=f"scheduler_{name.lower()}"):
        load()
