"""Guests that are off while their disks are captured: off before, on after, whatever happens in between."""

# ruff: noqa: F811

from __future__ import annotations

import time
from typing import Any

import pytest

from backends.compute.drivers.base import Power
from backends.compute.host import ComputeHost
from backends.compute.lifecycle import TOPICS, converge
from backends.compute.models import Guest, GuestState
from backends.compute.service import ComputeService
from backends.compute.stillness import CAPTURES
from backends.db import Database
from backends.errors import DriverError
from backends.reconcile import Reconciler
from backends.volume import lifecycle as volumes
from backends.volume.capture import capture
from backends.volume.drivers.sparse import SparseFiles
from backends.volume.host import VolumeHost
from backends.volume.models import Disk, Snapshot, SnapshotState
from backends.volume.service import HELD, SET, VolumeService
from tests.unit.test_guest_lifecycle import HERE, act, clock, database, guest, host, launch  # noqa: F401

SNAPSHOTS = {"snap-1": "vol-root", "snap-2": "vol-data"}


def begin(database: Database) -> None:
    """As an image of a running guest is asked for."""
    with database.unit(HERE, write=True) as unit:
        for id, disk in SNAPSHOTS.items():
            notes = {SET: "ami-new", HELD: True}
            VolumeService(unit).add_snapshot(id=id, disk=unit.session.get_one(Disk, disk), description="", notes=notes)
        ComputeService(unit).capture_still(unit.session.get_one(Guest, "i-1"), "ami-new")


def settle(database: Database, host: ComputeHost) -> None:
    """Rounds enough for everything, those that a nudge would bring included."""
    for _ in range(20):
        volumes.converge(database, VolumeHost(host.disks))
        converge(database, host)


def states(database: Database) -> set[str]:
    with database.unit(None, write=False) as unit:
        return {unit.session.get_one(Snapshot, id).state for id in SNAPSHOTS}


@pytest.fixture
def running(database: Database, host: ComputeHost) -> ComputeHost:
    launch(database, disks=("vol-root", "vol-data"))
    settle(database, host)
    begin(database)
    return host


def power(host: ComputeHost) -> Power:
    return host.driver.observe()["i-1"].power if "i-1" in host.driver.observe() else Power.OFF


def test_the_guest_is_off_when_its_disks_are_read(
    database: Database,
    running: ComputeHost,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Power] = []
    real = SparseFiles.ensure_snapshots

    def watch(self: Any, disks: Any, *rest: Any) -> Any:
        seen.append(power(running))
        return real(self, disks, *rest)

    monkeypatch.setattr(SparseFiles, "ensure_snapshots", watch)
    boots = guest(database).boot
    assert not capture(database, VolumeHost(running.disks)) and states(database) == {SnapshotState.PENDING}
    assert power(running) == Power.ON and not seen
    settle(database, running)
    assert seen == [Power.OFF] and states(database) == {SnapshotState.COMPLETED}
    after = guest(database)
    assert (after.state, power(running)) == (GuestState.RUNNING, Power.ON)
    assert (after.boot, after.applied) == (boots, after.generation)


def test_it_stays_off_until_the_capture_ends_and_is_never_told_stopped(
    database: Database,
    running: ComputeHost,
) -> None:
    for _ in range(5):
        converge(database, running)
        assert guest(database).state == GuestState.RUNNING
    assert power(running) == Power.OFF
    capture(database, VolumeHost(running.disks))
    settle(database, running)
    assert power(running) == Power.ON


def test_a_capture_that_fails_lets_the_guest_go(
    database: Database,
    running: ComputeHost,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(self: Any, *given: Any) -> Any:
        raise DriverError("no")

    monkeypatch.setattr(SparseFiles, "ensure_snapshots", fail)
    settle(database, running)
    assert states(database) == {SnapshotState.ERROR} and power(running) == Power.ON


def test_a_guest_goes_on_as_soon_as_its_disks_are_captured(database: Database, running: ComputeHost) -> None:
    """The reconciler's clock never comes: what ended tells whoever waits for it."""
    reconciler, copier = Reconciler(database, period=3600), Reconciler(database, period=3600)
    disks = VolumeHost(running.disks)
    reconciler.add("volume", lambda: volumes.converge_disks(database, disks))
    for topic in TOPICS:
        reconciler.add(topic, lambda: converge(database, running))
    for topic in volumes.TOPICS:
        copier.add(topic, lambda: capture(database, disks))
    for one in (reconciler, copier):
        one.start()
    try:
        deadline = time.monotonic() + 60
        while guest(database).notes.get(CAPTURES) or power(running) != Power.ON:
            assert time.monotonic() < deadline, (guest(database).notes, states(database))
            time.sleep(0.01)
    finally:
        for one in (reconciler, copier):
            one.stop()
    assert states(database) == {SnapshotState.COMPLETED}


@pytest.mark.parametrize("verb", ["stop", "terminate"])
def test_a_guest_that_is_not_wanted_any_more_leaves_its_snapshots(
    database: Database,
    running: ComputeHost,
    verb: str,
) -> None:
    act(database, verb)
    settle(database, running)
    assert states(database) == {SnapshotState.COMPLETED} and power(running) == Power.OFF
    if verb == "stop":
        act(database, "start")
        settle(database, running)
        assert power(running) == Power.ON
