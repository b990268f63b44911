"""Disks, snapshots and images come true: whatever fails on the way, and wherever the process is killed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from backends.db import Database, Scope
from backends.errors import DriverError, Exhausted, InUse, OutOfRange, Unavailable, WrongState
from backends.image.models import Image, ImageState
from backends.image.service import ImageService
from backends.pause import Pause
from backends.volume import lifecycle
from backends.volume.drivers.base import DiskDriver
from backends.volume.drivers.sparse import SparseFiles
from backends.volume.host import VolumeHost
from backends.volume.lifecycle import converge, inspect, survey
from backends.volume.models import GONE, Disk, DiskChange, DiskState, Relic, Snapshot, SnapshotState
from backends.volume.service import VolumeService
from tests.unit.fresh import fresh_database

HERE = Scope("tenant", "here")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = fresh_database(tmp_path)
    yield database
    database.close()


@pytest.fixture
def driver(tmp_path: Path) -> SparseFiles:
    return SparseFiles(tmp_path / "volumes")


class Faulty:
    """A driver whose n-th call fails: before it did anything (`late=False`), or after it did everything."""

    def __init__(self, driver: DiskDriver, nth: int, error: Exception, *, late: bool = False) -> None:
        self._driver, self._left, self._error, self._late = driver, nth, error, late

    def __getattr__(self, name: str) -> Any:
        verb: Callable[..., Any] = getattr(self._driver, name)
        if name == "access":
            return verb

        def call(*args: Any) -> Any:
            self._left -= 1
            if self._left == 0 and not self._late:
                raise self._error
            result = verb(*args)
            if self._left == 0:
                raise self._error
            return result

        return call


def disk(database: Database, id: str = "vol-1", **columns: Any) -> None:
    with database.unit(HERE, write=True) as unit:
        VolumeService(unit).add_disk(id=id, zone="a", size=columns.pop("size", 1), kind="gp3", **columns)


def settle(database: Database, driver: Any, rounds: int = 30) -> None:
    for _ in range(rounds):
        if not converge(database, VolumeHost(driver)):
            return
    raise AssertionError("never settles")


def get(database: Database, row: type[Any], id: str) -> Any:
    with database.unit(None, write=False) as unit:
        return unit.session.scalar(select(row).where(row.id == id))


def play(database: Database, driver: Any) -> None:
    """A small life: make, write, snapshot, grow, copy, clone, image, drop."""
    disk(database)
    settle(database, driver)
    with open(driver.access("vol-1").path, "r+b") as file:
        file.write(b"content")
    with database.unit(HERE, write=True) as unit:
        volumes = VolumeService(unit)
        one = unit.session.get_one(Disk, "vol-1")
        volumes.add_snapshot(id="snap-1", disk=one, description="")
        volumes.change_disk(one, size=2, kind="gp3", iops=4000, throughput=None, shareable=False)
        ImageService(unit).add(
            id="ami-1",
            name="mine",
            architecture="x86_64",
            root_device="/dev/xvda",
            mappings=[{"device": "/dev/xvda", "snapshot": "snap-1", "size": 1}],
            notes={},
            ready=False,
        )
    settle(database, driver)
    with database.unit(HERE, write=True) as unit:
        volumes = VolumeService(unit)
        parent = unit.session.get_one(Snapshot, "snap-1")
        volumes.copy_snapshot(id="snap-2", parent=parent, description="", encrypted=False, key=None)
        volumes.add_disk(id="vol-2", zone="a", size=3, kind="gp3", source=parent)
        volumes.remove_disk(unit.session.get_one(Disk, "vol-1"))
        ImageService(unit).remove(unit.session.scalars(select(Image)).one())
        volumes.remove_snapshot(parent)
    settle(database, driver)


@pytest.fixture(autouse=True)
def small_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "GIB", 1 << 20)


def end_is_right(database: Database, driver: SparseFiles) -> None:
    assert driver.observe().disks == {"vol-2"}
    assert driver.observe().snapshots == {"snap-2"}
    content = Path(driver.access("vol-2").path).read_bytes()
    assert len(content) == 3 << 20
    assert content[:7] == b"content"
    with database.unit(None, write=False) as unit:
        assert unit.session.scalars(select(Disk.state)).all() == [DiskState.AVAILABLE]
        assert unit.session.scalars(select(Snapshot.state)).all() == [SnapshotState.COMPLETED]
        assert unit.session.scalars(select(Relic)).all() == []
        assert unit.session.scalars(select(DiskChange)).all() == []


def test_a_life_without_faults(database: Database, driver: SparseFiles) -> None:
    play(database, driver)
    end_is_right(database, driver)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("nth", range(1, 10))
def test_a_fault_at_any_driver_call_changes_nothing_in_the_end(
    database: Database, driver: SparseFiles, nth: int, late: bool
) -> None:
    play(database, Faulty(driver, nth, DriverError("injected"), late=late))
    end_is_right(database, driver)


class Killed(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("nth", range(1, 8))
def test_a_kill_at_any_driver_call_is_made_good_by_the_next_process(
    database: Database, driver: SparseFiles, nth: int, late: bool
) -> None:
    faulty = Faulty(driver, nth, Killed(), late=late)  # type: ignore[arg-type]  # a kill is no Exception
    real_settle = globals()["settle"]

    def killed_and_restarted(database: Database, driver: Any) -> None:
        try:
            real_settle(database, driver)
        except Killed:
            survey(database, VolumeHost(driver))
            real_settle(database, driver)

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(globals(), "settle", killed_and_restarted)
        play(database, faulty)
    end_is_right(database, driver)


def test_what_nobody_wants_is_swept(database: Database, driver: SparseFiles, tmp_path: Path) -> None:
    disk(database)
    settle(database, driver)
    (tmp_path / "volumes" / "disks" / "vol-lost.raw").write_bytes(b"x")
    (tmp_path / "volumes" / "snapshots" / ".snap-lost.raw").write_bytes(b"x")
    survey(database, VolumeHost(driver))
    assert driver.observe().disks == {"vol-1"}
    assert driver.observe().snapshots == frozenset()


def test_a_start_goes_on_when_something_cannot_be_swept(database: Database, driver: SparseFiles) -> None:
    folder = driver._disks
    (folder / "vol-a.raw").mkdir()  # no file, and so cannot be unlinked
    (folder / "vol-b.raw").write_bytes(b"x")
    survey(database, VolumeHost(driver))
    assert driver.observe().disks == {"vol-a"}


def test_a_vanished_file_is_noted_until_it_is_back(database: Database, driver: SparseFiles) -> None:
    disk(database)
    settle(database, driver)
    path = Path(driver.access("vol-1").path)
    inspect(database, VolumeHost(driver))
    assert GONE not in get(database, Disk, "vol-1").notes
    path.rename(path.with_suffix(".away"))
    for _ in range(2):
        inspect(database, VolumeHost(driver))
        assert get(database, Disk, "vol-1").notes[GONE]["reason"] == f"{path} is not there"
    path.with_suffix(".away").rename(path)
    inspect(database, VolumeHost(driver))
    assert get(database, Disk, "vol-1").notes == {}


def test_what_waits_for_machinery_that_is_away_is_no_failure(database: Database, driver: SparseFiles) -> None:
    class Waiting(SparseFiles):
        def ensure_snapshots(self, *given: Any) -> Any:
            raise Unavailable("libvirt is away")

    disk(database)
    settle(database, driver)
    with database.unit(HERE, write=True) as unit:
        VolumeService(unit).add_snapshot(id="snap-1", disk=unit.session.get_one(Disk, "vol-1"), description="")
    host = VolumeHost(Waiting(driver._disks.parent), pause=Pause(0.0))
    for _ in range(20):
        assert converge(database, host)
    assert (get(database, Snapshot, "snap-1").state, get(database, Snapshot, "snap-1").failures) == ("pending", 0)
    settle(database, driver)
    assert get(database, Snapshot, "snap-1").state == SnapshotState.COMPLETED


def test_a_full_medium_makes_a_disk_broken_at_once(database: Database, driver: SparseFiles) -> None:
    disk(database)
    settle(database, Faulty(driver, 1, Exhausted("full")))
    assert get(database, Disk, "vol-1").state == DiskState.ERROR
    with database.unit(HERE, write=True) as unit:
        VolumeService(unit).remove_disk(unit.session.get_one(Disk, "vol-1"))
    settle(database, driver)
    assert get(database, Disk, "vol-1") is None


def test_patience_ends(database: Database, driver: SparseFiles) -> None:
    class Broken(SparseFiles):
        def ensure_disk(self, spec: object) -> None:
            raise DriverError("always")

    disk(database)
    settle(database, Broken(driver._disks.parent))
    assert get(database, Disk, "vol-1").state == DiskState.ERROR


def test_a_disk_lives_until_its_snapshots_are_taken(database: Database, driver: SparseFiles) -> None:
    disk(database)
    settle(database, driver)
    with database.unit(HERE, write=True) as unit:
        volumes, one = VolumeService(unit), unit.session.get_one(Disk, "vol-1")
        volumes.add_snapshot(id="snap-1", disk=one, description="")
        volumes.remove_disk(one)
    settle(database, Faulty(driver, 1, DriverError("later")))
    assert get(database, Snapshot, "snap-1").state == SnapshotState.COMPLETED
    assert get(database, Disk, "vol-1") is None


def test_refusals(database: Database, driver: SparseFiles) -> None:
    disk(database)
    with database.unit(HERE, write=True) as unit:
        volumes, one = VolumeService(unit), unit.session.get_one(Disk, "vol-1")
        with pytest.raises(WrongState):
            volumes.remove_disk(one)
        with pytest.raises(WrongState):
            volumes.add_snapshot(id="snap-0", disk=one, description="")
    settle(database, driver)
    with database.unit(HERE, write=True) as unit:
        volumes, one = VolumeService(unit), unit.session.get_one(Disk, "vol-1")
        with pytest.raises(OutOfRange):
            volumes.change_disk(one, size=0, kind="gp3", iops=None, throughput=None, shareable=False)
        pending = volumes.add_snapshot(id="snap-1", disk=one, description="")
        with pytest.raises(WrongState):
            volumes.add_disk(id="vol-2", zone="a", size=1, kind="gp3", source=pending)
        volumes.attach(one, "i-1", "/dev/sdf", keep=True)
        assert one.state == DiskState.IN_USE
        with pytest.raises(InUse):
            volumes.remove_disk(one)
        with pytest.raises(InUse):
            volumes.attach(one, "i-2", "/dev/sdf", keep=True)


def test_an_image_whose_snapshot_fails_has_failed(database: Database, driver: SparseFiles) -> None:
    disk(database)
    settle(database, driver)
    with database.unit(HERE, write=True) as unit:
        VolumeService(unit).add_snapshot(id="snap-1", disk=unit.session.get_one(Disk, "vol-1"), description="")
        ImageService(unit).add(
            id="ami-1",
            name="mine",
            architecture="x86_64",
            root_device=None,
            mappings=[{"device": "/dev/xvda", "snapshot": "snap-1"}],
            notes={},
            ready=False,
        )
    settle(database, Faulty(driver, 1, Exhausted("full")))
    assert get(database, Image, "ami-1").state == ImageState.FAILED
