"""The contract of disk drivers, over sparse files and over chains of qcow2."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backends.errors import DriverError, Exhausted, Missing
from backends.volume.drivers import sparse
from backends.volume.drivers.base import DiskDriver, DiskSpec, Limits, Observed
from backends.volume.drivers.qcow2 import Qcow2Disks
from backends.volume.drivers.qcow2_capture import Capture
from backends.volume.drivers.sparse import SparseFiles
from tests.unit.disk_contents import read, size, write

MIB = 1 << 20


DRIVERS: dict[str, Callable[[Path], DiskDriver]] = {"sparse": SparseFiles, "qcow2": Qcow2Disks}


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> DiskDriver:
    if request.param == "qcow2" and shutil.which("qemu-img") is None:
        pytest.skip("qemu-img is not installed")
    return DRIVERS[request.param](tmp_path / "volumes")


def test_a_new_disk_is_all_zeros_and_takes_no_space(driver: DiskDriver) -> None:
    driver.ensure_disk(DiskSpec("vol-1", 64 << 30))
    driver.flush()
    assert size(driver, "vol-1") == 64 << 30
    assert os.stat(driver.access("vol-1").path).st_blocks <= 512


def test_ensuring_again_keeps_content_and_only_grows(driver: DiskDriver) -> None:
    driver.ensure_disk(DiskSpec("vol-1", MIB))
    write(driver, "vol-1", 10, b"kept")
    driver.ensure_disk(DiskSpec("vol-1", 2 * MIB))
    driver.ensure_disk(DiskSpec("vol-1", MIB))
    content = read(driver, "vol-1")
    assert len(content) == 2 * MIB
    assert content[10:14] == b"kept"


def test_a_snapshot_is_a_moment_and_a_clone_is_its_own(driver: DiskDriver) -> None:
    driver.ensure_disk(DiskSpec("vol-1", 4 * MIB))
    write(driver, "vol-1", MIB, b"before")
    stored = driver.ensure_snapshot("snap-1", "vol-1")
    assert 6 <= stored < 4 * MIB
    write(driver, "vol-1", MIB, b"after!")
    assert driver.ensure_snapshot("snap-1", "vol-1") == stored
    driver.ensure_copy("snap-2", "snap-1")
    driver.drop_snapshot("snap-1")
    driver.ensure_disk(DiskSpec("vol-2", 8 * MIB, source="snap-2"))
    driver.drop_disk("vol-1")
    content = read(driver, "vol-2")
    assert len(content) == 8 * MIB
    assert content[MIB : MIB + 6] == b"before"
    assert not any(content[MIB + 6 :])


def test_dropping_is_harmless_when_nothing_is_there(driver: DiskDriver) -> None:
    driver.ensure_disk(DiskSpec("vol-1", MIB))
    for _ in range(2):
        driver.drop_disk("vol-1")
        driver.drop_snapshot("snap-1")
    assert driver.observe().disks == frozenset()


def test_a_missing_source_leaves_nothing(driver: DiskDriver) -> None:
    with pytest.raises(Missing):
        driver.ensure_disk(DiskSpec("vol-1", MIB, source="snap-none"))
    with pytest.raises(Missing):
        driver.ensure_snapshot("snap-1", "vol-none")
    assert driver.observe() == Observed()


def test_a_full_medium_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = SparseFiles(tmp_path)
    driver.ensure_disk(DiskSpec("vol-1", MIB))
    write(driver, "vol-1", 0, b"x")

    def full(descriptor: int, block: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def no_reflink(*arguments: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(fcntl, "ioctl", no_reflink)
    monkeypatch.setattr(sparse, "_write", full)
    with pytest.raises(Exhausted):
        driver.ensure_snapshot("snap-1", "vol-1")
    assert driver.observe().snapshots == frozenset()


def test_a_draft_left_by_a_kill_is_observed_and_replaced(tmp_path: Path) -> None:
    driver = SparseFiles(tmp_path)
    (tmp_path / "disks" / ".vol-1.raw").write_bytes(b"half made")
    assert driver.observe().disks == {"vol-1"}
    driver.ensure_disk(DiskSpec("vol-1", MIB))
    assert not any(read(driver, "vol-1"))
    assert os.listdir(tmp_path / "disks") == ["vol-1.raw"]


writes = st.lists(st.tuples(st.integers(0, 3 * MIB), st.binary(min_size=1, max_size=9000)), max_size=6)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(writes=writes, reflink=st.booleans())
def test_copies_are_equal_whatever_is_written_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writes: list[tuple[int, bytes]], reflink: bool
) -> None:
    driver = SparseFiles(tmp_path)
    driver.ensure_disk(DiskSpec("vol-1", 4 * MIB))
    for offset, data in writes:
        write(driver, "vol-1", offset, data)
    with monkeypatch.context() as patch:
        if not reflink:
            patch.setattr(sparse, "FICLONE", 0)
        driver.ensure_snapshot("snap-1", "vol-1")
        driver.ensure_disk(DiskSpec("vol-2", 4 * MIB, source="snap-1"))
    assert read(driver, "vol-2") == read(driver, "vol-1")
    for name in ("vol-1", "vol-2"):
        driver.drop_disk(name)
    driver.drop_snapshot("snap-1")


def test_an_upload_is_a_snapshot_once_it_is_finished(driver: DiskDriver) -> None:
    driver.begin_upload("snap-1", 4 * MIB, None)
    driver.upload("snap-1", MIB, b"data")
    with pytest.raises(Missing):
        driver.read("snap-1", 0, 1)
    assert driver.observe().snapshots == {"snap-1"}
    stored = driver.finish_upload("snap-1")
    assert driver.finish_upload("snap-1") == stored >= 4
    assert driver.read("snap-1", MIB, 4) == b"data"
    assert driver.read("snap-1", 4 * MIB - 1, 3) == b"\0\0\0"
    assert all(start <= MIB < end for start, end in driver.extents("snap-1"))
    with pytest.raises(Missing):
        driver.upload("snap-1", 0, b"late")
    with pytest.raises(Missing):
        driver.finish_upload("snap-2")


def test_an_upload_on_top_of_a_parent(driver: DiskDriver) -> None:
    driver.begin_upload("snap-1", MIB, None)
    driver.upload("snap-1", 0, b"parent")
    driver.finish_upload("snap-1")
    driver.begin_upload("snap-2", 2 * MIB, "snap-1")
    driver.upload("snap-2", 0, b"C")
    driver.finish_upload("snap-2")
    assert driver.read("snap-2", 0, 6) == b"Carent"
    assert driver.read("snap-1", 0, 6) == b"parent"
    driver.begin_upload("snap-3", MIB, None)
    driver.drop_snapshot("snap-3")
    assert driver.observe().snapshots == {"snap-1", "snap-2"}


def test_a_set_of_snapshots_and_a_raw_file_brought_and_taken(driver: DiskDriver, tmp_path: Path) -> None:
    for disk in ("vol-1", "vol-2"):
        driver.ensure_disk(DiskSpec(disk, MIB))
        write(driver, disk, 0, disk.encode())
    assert set(driver.ensure_snapshots({"snap-1": "vol-1", "snap-2": "vol-2"})) == {"snap-1", "snap-2"}
    assert driver.read("snap-2", 0, 5) == b"vol-2"
    driver.export_file("snap-2", tmp_path / "out.raw", "raw")
    assert driver.import_file("snap-3", tmp_path / "out.raw", "raw") > 0
    assert driver.read("snap-3", 0, 5) == b"vol-2"
    with pytest.raises(Missing):
        driver.export_file("snap-none", tmp_path / "none.raw", "raw")
    assert not (tmp_path / "none.raw").exists()


def test_a_disk_has_a_serial_number_that_fits_a_virtio_disk(driver: DiskDriver) -> None:
    assert driver.access("vol-0123456789abcdef0").serial == "vol0123456789abcdef0"
    driver.limit("vol-1", Limits(iops=3000))
    assert not driver.tidy()


@pytest.mark.parametrize("step", [1, 2, 3])
def test_snapshots_of_a_set_are_of_one_moment_though_a_kill_came_between(tmp_path: Path, step: int) -> None:
    """Killed before the first of them stands, before the second, and after both."""
    driver = SparseFiles(tmp_path)
    for disk in ("vol-1", "vol-2"):
        driver.ensure_disk(DiskSpec(disk, MIB))
        write(driver, disk, 0, b"before")
    wanted = {"snap-1": "vol-1", "snap-2": "vol-2"}
    child = os.fork()
    if not child:
        made, seal = iter(range(1, step + 1)), driver._seal
        driver._seal = lambda target: seal(target) if next(made) < step else os._exit(9)  # type: ignore[method-assign]
        driver.ensure_snapshots(wanted)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (9 if step < 3 else 0)
    for disk in ("vol-1", "vol-2"):
        write(driver, disk, 0, b"after!")
    SparseFiles(tmp_path).ensure_snapshots(wanted)
    assert [driver.read(snapshot, 0, 6) for snapshot in wanted] == [b"before"] * 2
    assert sorted(os.listdir(tmp_path / "snapshots")) == ["snap-1.raw", "snap-2.raw"]


def test_a_disk_that_a_guest_opens_while_it_is_copied_is_copied_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver = SparseFiles(tmp_path)
    for disk in ("vol-1", "vol-2"):
        driver.ensure_disk(DiskSpec(disk, MIB))
        write(driver, disk, 0, b"before")
    wanted = {"snap-1": "vol-1", "snap-2": "vol-2"}
    real = sparse.copy_sparse

    def copy_and_write(source: Path, *given: Any) -> None:
        real(source, *given)
        write(driver, "vol-1", 0, b"after!")
        write(driver, "vol-2", 0, b"after!")

    with monkeypatch.context() as patch:
        patch.setattr(sparse, "copy_sparse", copy_and_write)
        with pytest.raises(DriverError):
            driver.ensure_snapshots(wanted)
    assert os.listdir(tmp_path / "snapshots") == []
    driver.ensure_snapshots(wanted)
    assert [driver.read(snapshot, 0, 6) for snapshot in wanted] == [b"after!"] * 2


def test_a_whole_set_stands_though_nobody_asks_for_it_any_more(
    driver: DiskDriver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for disk in ("vol-1", "vol-2"):
        driver.ensure_disk(DiskSpec(disk, MIB))
    child = os.fork()
    if not child:
        monkeypatch.setattr(SparseFiles, "_seal_all", lambda self, journal: os._exit(9))
        monkeypatch.setattr(Capture, "_publish_set", lambda self, journal: os._exit(9))
        driver.ensure_snapshots({"snap-1": "vol-1", "snap-2": "vol-2"})
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    snapshots = tmp_path / "volumes" / "snapshots"
    (snapshots / ".draft-of-a-journal").touch()
    again = type(driver)(tmp_path / "volumes")  # type: ignore[call-arg]
    again.drop_snapshot("snap-1")
    again.tidy()
    assert again.observe().snapshots == {"snap-2"}
    assert len(os.listdir(snapshots)) == 1
