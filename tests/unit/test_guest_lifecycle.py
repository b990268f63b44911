"""Guests and their disks come true: whatever fails on the way, and wherever the process is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from backends.compute.drivers.base import Capacity, GuestDriver, GuestSpec, Power, Sighting
from backends.compute.drivers.simulated import SimulatedGuests
from backends.compute.health import survey
from backends.compute.host import ComputeHost
from backends.compute.lifecycle import converge, register
from backends.compute.models import Cause, Guest, GuestState
from backends.compute.scheduler import Wanted
from backends.compute.service import ComputeService
from backends.db import Database, Scope
from backends.errors import DriverError, Exhausted, WrongState
from backends.network.book import NetworkHost
from backends.volume import lifecycle as volumes
from backends.volume.drivers.sparse import SparseFiles
from backends.volume.host import VolumeHost
from backends.volume.models import Attachment, AttachmentState, Disk, DiskState
from backends.volume.service import VolumeService
from tests.unit.fresh import fresh_database

HERE = Scope("tenant", "here")


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def database(tmp_path: Path, clock: Clock) -> Iterator[Database]:
    database = fresh_database(tmp_path, clock)
    yield database
    database.close()


@pytest.fixture
def host(tmp_path: Path) -> ComputeHost:
    return ComputeHost("local", SimulatedGuests(), SparseFiles(tmp_path / "volumes"), NetworkHost())


class Faulty:
    """A driver whose n-th verb fails: before it did anything, or (`late`) after it did everything."""

    def __init__(self, driver: GuestDriver, nth: int, error: BaseException, *, late: bool = False) -> None:
        self._driver, self._left, self._error, self._late = driver, nth, error, late

    def __getattr__(self, name: str) -> Any:
        verb: Callable[..., Any] = getattr(self._driver, name)
        if name not in ("ensure_running", "ensure_stopped", "drop", "plug", "unplug"):
            return verb

        def call(*args: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._late:
                raise self._error
            result = verb(*args, **named)
            if self._left == 0:
                raise self._error
            return result

        return call


def settle(database: Database, host: ComputeHost, rounds: int = 30) -> None:
    for _ in range(rounds):
        more = volumes.converge(database, VolumeHost(host.disks))
        if not converge(database, host) and not more:
            return
    raise AssertionError("never settles")


def launch(database: Database, id: str = "i-1", *, disks: tuple[str, ...] = ("vol-root",), memory: int = 1024) -> None:
    with database.unit(HERE, write=True) as unit:
        service = ComputeService(unit)
        service.add_guest(
            id=id,
            host=service.place(Wanted(2, memory)),
            batch="r-1",
            image="ami-1",
            flavor="t3.micro",
            vcpus=2,
            memory=memory,
            architecture="x86_64",
            zone="a",
            notes={},
        )
        volumes_of = VolumeService(unit)
        for number, disk in enumerate(disks):
            made = volumes_of.add_disk(id=disk, zone="a", size=1, kind="gp3")
            volumes_of.hold(made, id, f"/dev/sd{'abc'[number]}", keep=number > 0)


def guest(database: Database, id: str = "i-1") -> Any:
    with database.unit(None, write=False) as unit:
        return unit.session.get(Guest, id)


def act(database: Database, verb: str, id: str = "i-1") -> None:
    with database.unit(HERE, write=True) as unit:
        getattr(ComputeService(unit), verb)(unit.session.get_one(Guest, id))


def attach(database: Database, disk: str, id: str = "i-1", device: str = "/dev/sdf") -> None:
    with database.unit(HERE, write=True) as unit:
        VolumeService(unit).attach(unit.session.get_one(Disk, disk), id, device, keep=True)


def detach(database: Database, disk: str, id: str = "i-1") -> None:
    with database.unit(HERE, write=True) as unit:
        VolumeService(unit).detach(unit.session.get_one(Attachment, (disk, id)))


def play(database: Database, host: ComputeHost, settle: Callable[[Database, ComputeHost], None]) -> None:
    """Start, plug, reboot, stop, unplug, start; and another guest that ends."""
    with database.unit(HERE, write=True) as unit:
        VolumeService(unit).add_disk(id="vol-data", zone="a", size=1, kind="gp3")
    launch(database)
    launch(database, "i-2", disks=("vol-2a", "vol-2b"))
    settle(database, host)
    attach(database, "vol-data")
    settle(database, host)
    act(database, "reboot")
    settle(database, host)
    act(database, "stop")
    act(database, "terminate", "i-2")
    settle(database, host)
    detach(database, "vol-data")
    settle(database, host)
    act(database, "start")
    settle(database, host)
    attach(database, "vol-data", device="/dev/sdg")
    settle(database, host)


def check_end(database: Database, host: ComputeHost, driver: SimulatedGuests) -> None:
    assert dict(driver.observe()) == {"i-1": Sighting(Power.ON)}
    spec = driver.spec("i-1")
    assert spec is not None
    assert {(binding.disk, binding.device) for binding in spec.disks} == {
        ("vol-root", "/dev/sda"),
        ("vol-data", "/dev/sdg"),
    }
    assert spec.boot == 3
    with database.unit(None, write=False) as unit:
        session = unit.session
        states = {row.id: row.state for row in session.execute(select(Guest.id, Guest.state))}
        assert states == {"i-1": GuestState.RUNNING, "i-2": GuestState.TERMINATED}
        disks = {row.id: row.state for row in session.execute(select(Disk.id, Disk.state))}
        assert disks == {
            "vol-root": DiskState.IN_USE,
            "vol-data": DiskState.IN_USE,
            "vol-2b": DiskState.AVAILABLE,
        }
        assert set(session.scalars(select(Attachment.state))) == {AttachmentState.ATTACHED}
        assert session.scalars(select(Guest.id).where(Guest.applied != Guest.generation)).all() == []
    assert host.disks.observe().disks == {"vol-root", "vol-data", "vol-2b"}


def test_a_life_without_faults(database: Database, host: ComputeHost) -> None:
    play(database, host, settle)
    assert isinstance(host.driver, SimulatedGuests)
    check_end(database, host, host.driver)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("nth", range(1, 10))
def test_a_fault_at_any_driver_call_changes_nothing_in_the_end(
    database: Database, host: ComputeHost, nth: int, late: bool
) -> None:
    assert isinstance(host.driver, SimulatedGuests)
    play(database, replace(host, driver=Faulty(host.driver, nth, DriverError("injected"), late=late)), settle)
    check_end(database, host, host.driver)


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("nth", range(1, 10))
def test_a_kill_at_any_driver_call_is_made_good_by_the_next_process(
    database: Database, host: ComputeHost, nth: int, late: bool
) -> None:
    assert isinstance(host.driver, SimulatedGuests)

    def restarted(database: Database, host: ComputeHost) -> None:
        try:
            settle(database, host)
        except Killed:
            survey(database, host)
            settle(database, host)

    play(database, replace(host, driver=Faulty(host.driver, nth, Killed(), late=late)), restarted)
    check_end(database, host, host.driver)


def test_after_a_reboot_of_the_machine_running_guests_run_again(database: Database, host: ComputeHost) -> None:
    launch(database)
    launch(database, "i-2", disks=())
    settle(database, host)
    act(database, "stop", "i-2")
    settle(database, host)
    fresh = replace(host, driver=SimulatedGuests())
    survey(database, fresh)
    settle(database, fresh)
    assert dict(fresh.driver.observe()) == {"i-1": Sighting(Power.ON)}
    assert guest(database).state == GuestState.RUNNING
    assert guest(database, "i-2").state == GuestState.STOPPED


def test_guests_that_nobody_knows_are_dropped(database: Database, host: ComputeHost) -> None:
    launch(database)
    settle(database, host)
    with database.unit(None, write=True) as unit:
        unit.session.delete(unit.session.get_one(Guest, "i-1"))
    survey(database, host)
    assert dict(host.driver.observe()) == {}


def test_a_guest_without_room_ends_and_one_that_ran_before_stops(database: Database, host: ComputeHost) -> None:
    launch(database)
    full = replace(host, driver=Faulty(host.driver, 1, Exhausted("full")))
    settle(database, full)
    assert (guest(database).state, guest(database).cause) == (GuestState.TERMINATED, Cause.NO_ROOM)
    launch(database, "i-2", disks=())
    settle(database, host)
    act(database, "stop", "i-2")
    settle(database, host)
    act(database, "start", "i-2")
    settle(database, replace(host, driver=Faulty(host.driver, 1, Exhausted("full"))))
    assert (guest(database, "i-2").state, guest(database, "i-2").cause) == (GuestState.STOPPED, Cause.NO_ROOM)


def test_a_start_is_not_tried_for_ever(database: Database, host: ComputeHost) -> None:
    class Broken(SimulatedGuests):
        def ensure_running(self, spec: GuestSpec) -> bool:
            raise DriverError("always")

    launch(database)
    settle(database, replace(host, driver=Broken()))
    assert (guest(database).state, guest(database).cause) == (GuestState.TERMINATED, Cause.FAULT)


@pytest.mark.parametrize("trouble", ["machinery", "disk"])
def test_what_ran_before_a_reboot_is_not_lost_with_it(database: Database, host: ComputeHost, trouble: str) -> None:
    """It was never stopped by anybody, and cannot be started again."""
    launch(database)
    settle(database, host)
    fresh = SimulatedGuests()
    survey(database, replace(host, driver=fresh))
    if trouble == "disk":
        with database.unit(None, write=True) as unit:
            unit.session.get_one(Disk, "vol-root").state = DiskState.ERROR

    def broken(spec: GuestSpec) -> bool:
        raise DriverError("always")

    fresh.ensure_running = broken  # type: ignore[method-assign]
    settle(database, replace(host, driver=fresh))
    assert guest(database).state == GuestState.STOPPED
    assert guest(database).cause == (Cause.FAULT if trouble == "machinery" else Cause.NO_DISK)


def test_a_guest_waits_for_its_disks_and_ends_when_one_is_broken(database: Database, host: ComputeHost) -> None:
    launch(database)
    assert not converge(database, host)
    assert guest(database).state == GuestState.PENDING
    with database.unit(None, write=True) as unit:
        unit.session.get_one(Disk, "vol-root").state = DiskState.ERROR
    settle(database, host)
    assert (guest(database).state, guest(database).cause) == (GuestState.TERMINATED, Cause.NO_DISK)


def test_gone_guests_are_shown_for_a_while(database: Database, host: ComputeHost, clock: Clock) -> None:
    forgotten: list[str] = []
    host = replace(host, forgotten=lambda unit, ids: forgotten.extend(ids))
    launch(database)
    settle(database, host)
    act(database, "terminate")
    settle(database, host)
    assert guest(database).state == GuestState.TERMINATED
    clock.now += timedelta(hours=2)
    settle(database, host)
    assert guest(database) is None
    assert forgotten == ["i-1"]


def test_wrong_states(database: Database, host: ComputeHost) -> None:
    launch(database)
    for verb in ("stop",):
        with pytest.raises(WrongState):
            act(database, verb)
    settle(database, host)
    act(database, "start")
    assert guest(database).state == GuestState.RUNNING
    act(database, "terminate")
    for verb in ("start", "stop", "reboot"):
        with pytest.raises(WrongState):
            act(database, verb)


def test_capacity_is_counted_for_all_tenants(database: Database, host: ComputeHost) -> None:
    small = replace(host, driver=SimulatedGuests(Capacity(vcpus=4, memory=3000)))
    register(database, small)
    launch(database, disks=())
    with database.unit(Scope("other", "there"), write=True) as unit, pytest.raises(Exhausted):
        ComputeService(unit).place(Wanted(1, 2500))
    settle(database, small)
    act(database, "stop")
    settle(database, small)
    with database.unit(Scope("other", "there"), write=True) as unit:
        assert ComputeService(unit).place(Wanted(1, 2500)) == "local"


def test_a_guest_starts_when_the_snapshots_of_its_disks_are_taken(database: Database, host: ComputeHost) -> None:
    """What it writes is not in them; while it runs nothing waits for one."""

    def snapshot(id: str, disk: str) -> None:
        with database.unit(HERE, write=True) as unit:
            VolumeService(unit).add_snapshot(id=id, disk=unit.session.get_one(Disk, disk), description="")

    launch(database)
    with database.unit(HERE, write=True) as unit:
        VolumeService(unit).add_disk(id="vol-data", zone="a", size=1, kind="gp3")
    settle(database, host)
    snapshot("snap-1", "vol-root")
    act(database, "reboot")
    converge(database, host)
    assert (guest(database).applied, host.driver.observe()["i-1"].power) == (guest(database).generation, Power.ON)
    settle(database, host)
    act(database, "stop")
    settle(database, host)
    snapshot("snap-2", "vol-root")
    snapshot("snap-3", "vol-data")
    act(database, "start")
    converge(database, host)
    assert guest(database).state == GuestState.PENDING
    settle(database, host)
    assert guest(database).state == GuestState.RUNNING
    snapshot("snap-4", "vol-data")
    attach(database, "vol-data")
    converge(database, host)
    spec = host.driver.spec("i-1")  # type: ignore[attr-defined]
    assert [binding.disk for binding in spec.disks] == ["vol-root"]
    settle(database, host)
    spec = host.driver.spec("i-1")  # type: ignore[attr-defined]
    assert [binding.disk for binding in spec.disks] == ["vol-root", "vol-data"]
