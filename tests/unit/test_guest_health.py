"""What happens to guests that nobody asked for, and what is made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from backends.compute import health
from backends.compute.drivers.base import Capabilities, GuestSpec, Power, Sighting
from backends.compute.drivers.simulated import SimulatedGuests
from backends.compute.health import leased, look
from backends.compute.host import ComputeHost
from backends.compute.lifecycle import converge
from backends.compute.models import Cause, Guest, GuestState, Health
from backends.db import Database
from backends.errors import Busy, Unavailable
from backends.pause import Pause
from backends.volume.models import STALLED, Attachment, AttachmentState, Disk
from backends.volume.service import VolumeService
from tests.unit.test_guest_lifecycle import (
    HERE,
    Clock,
    act,
    attach,
    clock,
    database,
    detach,
    guest,
    host,
    launch,
    settle,
)

__all__ = ["clock", "database", "host"]


class Lively(SimulatedGuests):
    """Guests to which things happen: `fate` says what is seen of them, `away` that nothing is."""

    capabilities = Capabilities(runs=True, hibernates=True, plugs_disks=True)

    def __init__(self) -> None:
        super().__init__()
        self.fate: dict[str, Sighting] = {}
        self.away = self.holds = self.talks = False

    def ensure_running(self, spec: GuestSpec) -> bool:
        if self.away:
            raise Unavailable("the machinery is away")
        self.fate.pop(spec.id, None)
        return super().ensure_running(spec)

    def unplug(self, guest: str, disk: str) -> None:
        if self.holds:
            raise Busy("mounted")
        super().unplug(guest, disk)

    def answers(self, guest: str) -> bool:
        return self.talks

    def observe(self) -> Mapping[str, Sighting]:
        if self.away:
            raise Unavailable("the machinery is away")
        return {**super().observe(), **self.fate}


@pytest.fixture
def lively() -> Lively:
    return Lively()


@pytest.fixture
def living(host: ComputeHost, lively: Lively) -> ComputeHost:
    return replace(host, driver=lively, pause=Pause(0.0))


def see(database: Database, host: ComputeHost, lively: Lively, power: Power, reason: str = "") -> Any:
    """Something happens to the guest, and is told; what becomes of it."""
    lively.fate["i-1"] = Sighting(power, reason)
    host.notices.tell()
    settle(database, host)
    return guest(database)


def change(database: Database, **values: Any) -> None:
    with database.unit(HERE, write=True) as unit:
        row = unit.session.get_one(Guest, "i-1")
        for name, value in values.items():
            setattr(row, name, value)


def test_a_guest_that_shuts_itself_down_is_stopped(database: Database, living: ComputeHost, lively: Lively) -> None:
    launch(database)
    settle(database, living)
    row = see(database, living, lively, Power.HALTED)
    assert (row.state, row.cause) == (GuestState.STOPPED, Cause.INSIDE)


def test_a_guest_that_ends_on_shutdown_is_terminated(database: Database, living: ComputeHost, lively: Lively) -> None:
    launch(database)
    settle(database, living)
    change(database, ends_on_shutdown=True)
    row = see(database, living, lively, Power.HALTED)
    assert (row.state, row.cause) == (GuestState.TERMINATED, Cause.INSIDE)


def test_a_guest_that_breaks_down_runs_again_once_in_a_while(
    database: Database, living: ComputeHost, lively: Lively, clock: Clock
) -> None:
    launch(database)
    settle(database, living)
    assert see(database, living, lively, Power.CRASHED, "killed").state == GuestState.RUNNING
    assert lively.observe() == {"i-1": Sighting(Power.ON)}
    row = see(database, living, lively, Power.CRASHED, "killed again")
    assert (row.state, row.cause, row.notes["trouble"]) == (GuestState.STOPPED, Cause.CRASH, "killed again")


def test_a_guest_that_nobody_may_recover_stays_down(database: Database, living: ComputeHost, lively: Lively) -> None:
    launch(database)
    settle(database, living)
    change(database, notes={"recovers": False})
    assert see(database, living, lively, Power.CRASHED, "killed").state == GuestState.STOPPED


@pytest.mark.parametrize("power", [Power.OFF, Power.HELD, Power.ASLEEP])
def test_what_is_wanted_running_runs_again(
    database: Database, living: ComputeHost, lively: Lively, power: Power
) -> None:
    launch(database)
    settle(database, living)
    assert see(database, living, lively, power).state == GuestState.RUNNING
    assert lively.observe() == {"i-1": Sighting(Power.ON)}


def test_machinery_that_is_away_is_waited_for_and_told(database: Database, living: ComputeHost, lively: Lively) -> None:
    lively.away = True
    launch(database)
    with pytest.raises(AssertionError, match="never settles"):
        settle(database, living)
    assert guest(database).state == GuestState.PENDING
    assert guest(database).notes["trouble"] == "the machinery is away"
    lively.away = False
    settle(database, living)
    assert guest(database).state == GuestState.RUNNING
    assert "trouble" not in guest(database).notes


def health_of(database: Database, id: str = "i-1") -> Any:
    with database.unit(None, write=False) as unit:
        return unit.session.get(Health, id)


def test_machinery_that_is_away_for_long_impairs_what_runs_until_it_is_back(
    database: Database, living: ComputeHost, lively: Lively, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch(database)
    settle(database, living)
    living.notices.tell()
    look(database, living)
    lively.away = True
    look(database, living)
    assert health_of(database).trouble == ""
    living.notices.tell()
    look(database, living)
    assert health_of(database).trouble == "", "a moment is nothing"
    monkeypatch.setattr(health, "SURE", 0.0)
    look(database, living)
    assert health_of(database).trouble == f"{health.AWAY}the machinery is away"
    assert guest(database).state == GuestState.RUNNING
    lively.away = False
    look(database, living)
    assert health_of(database).trouble == ""


def test_machinery_that_is_away_is_asked_ever_less_often(
    database: Database, living: ComputeHost, lively: Lively
) -> None:
    patient = replace(living, pause=Pause(3600.0))
    launch(database)
    lively.away = True
    asked = []
    lively.observe = lambda: asked.append(1) or Lively.observe(lively)  # type: ignore[method-assign, func-returns-value]
    for _ in range(50):
        assert converge(database, patient), "it is to be looked at again"
    assert len(asked) == 1


def test_a_guest_without_room_is_told_and_let_go_on_now_and_then(
    database: Database, living: ComputeHost, lively: Lively, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stalled() -> dict[str, Any]:
        with database.unit(None, write=False) as unit:
            return dict(unit.session.get_one(Disk, "vol-root").notes.get(STALLED, {}))

    def seen() -> None:
        living.notices.tell()
        settle(database, living)

    launch(database)
    settle(database, living)
    seen()
    lively.fate["i-1"] = Sighting(Power.STUCK, "no room", ("vol-root",))
    for _ in range(3):
        seen()
    assert lively.fate, "nobody lets it go on at once"
    assert health_of(database).trouble == stalled()["reason"] == "no room"
    monkeypatch.setattr(health, "RETRY", 0.0)
    seen()
    assert not lively.fate, "it was let go on"
    seen()
    assert health_of(database).trouble == "no room", "it may be held again in a moment"
    monkeypatch.setattr(health, "SURE", 0.0)
    seen()
    assert (health_of(database).trouble, stalled()) == ("", {})
    assert guest(database).state == GuestState.RUNNING


def test_a_disk_that_is_not_let_go_of_is_busy(database: Database, living: ComputeHost, lively: Lively) -> None:
    with database.unit(HERE, write=True) as unit:
        VolumeService(unit).add_disk(id="vol-data", zone="a", size=1, kind="gp3")
    launch(database)
    settle(database, living)
    attach(database, "vol-data")
    settle(database, living)
    lively.holds = True
    detach(database, "vol-data")
    settle(database, living)

    def states() -> list[str]:
        with database.unit(None, write=False) as unit:
            return list(unit.session.scalars(select(Attachment.state).where(Attachment.disk == "vol-data")))

    assert states() == [AttachmentState.BUSY]
    lively.holds = False
    settle(database, living)
    assert states() == []


def test_a_guest_sleeps_and_wakes(database: Database, living: ComputeHost, lively: Lively) -> None:
    launch(database)
    settle(database, living)
    with database.unit(HERE, write=True) as unit:
        from backends.compute.service import ComputeService

        ComputeService(unit).stop(unit.session.get_one(Guest, "i-1"), sleep=True)
    settle(database, living)
    assert (guest(database).state, guest(database).cause) == (GuestState.STOPPED, Cause.SLEEP)
    assert lively.observe() == {"i-1": Sighting(Power.ASLEEP)}
    act(database, "start")
    settle(database, living)
    assert b"wakes" in lively.console("i-1")


def test_leases_and_answers_are_kept_for_one_start(database: Database, living: ComputeHost, lively: Lively) -> None:
    launch(database, disks=())
    settle(database, living)
    living.notices.tell()
    look(database, living)
    assert (health_of(database).leased, health_of(database).agent) == (None, False)
    lively.talks = True
    living.notices.tell()
    look(database, living)
    assert health_of(database).agent
    with database.unit(HERE, write=True) as unit:
        leased(unit, "eni-of-nobody")
    assert health_of(database).leased is None
    act(database, "terminate")
    settle(database, living)
    living.notices.tell()
    look(database, living)
    assert health_of(database) is None
