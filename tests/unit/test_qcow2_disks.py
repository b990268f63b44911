"""Chains of qcow2 files: what they show, when they are killed between any two steps, and beside guests that run."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from backends.errors import DriverError, Missing, Unsupported
from backends.image import qemu_img
from backends.volume.drivers import qcow2, qcow2_file
from backends.volume.drivers import qcow2_folders as folders
from backends.volume.drivers.base import DiskSpec, Limits
from backends.volume.drivers.qcow2 import Qcow2Disks
from tests.unit.disk_contents import read, write

pytestmark = pytest.mark.skipif(shutil.which("qemu-img") is None, reason="qemu-img is not installed")

MIB = 1 << 20


class Killed(BaseException):
    """The process ends here."""


class Guests:
    """A hypervisor whose only guest has some disks open, and copies them with qemu-img."""

    def __init__(self, folder: Path, *held: str) -> None:
        self.folder, self.held = folder, set(held)
        self.checkpoints: dict[str, str] = {}
        self.calls: list[Any] = []
        self.forgets = False

    def holds(self, disk: str) -> bool:
        return disk in self.held

    def still(self, disks: Sequence[str]) -> AbstractContextManager[None]:
        raise Unsupported("plain files of running guests")

    def back_up(
        self,
        targets: Mapping[str, str],
        checkpoint: str,
        since: Mapping[str, str | None],
        report: Callable[[int], None] = lambda percent: None,
    ) -> Mapping[str, bool]:
        known = {d: s is not None and not self.forgets and self.checkpoints.get(d) == s for d, s in since.items()}
        for disk, target in targets.items():
            source = str(self.folder / "disks" / disk / "disk.qcow2")
            with qcow2_file.Chain(Path(source)) as now, qcow2_file.Chain(Path(target)) as then:
                for cluster in range(-(-now.size // qcow2_file.CLUSTER)):
                    data = now.cluster(cluster)
                    if known[disk] and data == then.cluster(cluster):
                        continue
                    place = cluster * qcow2_file.CLUSTER
                    scratch = Path(target + ".scratch")
                    scratch.write_bytes(data or bytes(qcow2_file.CLUSTER))
                    command = f"write -q -s {scratch} {place} {qcow2_file.CLUSTER}"
                    subprocess.run(["qemu-io", "-f", "qcow2", "-c", command, target], check=True)
                    scratch.unlink()
            self.checkpoints[disk] = checkpoint
        self.calls.append((dict(since), known))
        return known

    def grow(self, disk: str, size: int) -> None:
        self.calls.append(("grow", disk, size))

    def limit(self, disk: str, limits: Limits) -> None:
        self.calls.append(("limit", disk, limits))


def content(driver: Qcow2Disks, snapshot: str, length: int = MIB) -> bytes:
    return driver.read(snapshot, 0, length)


def sound(folder: Path) -> None:
    """Every file is what qemu-img calls sound, and none is left that nobody needs."""
    for path in sorted(folder.rglob("*.qcow2")):
        if not path.is_symlink():
            done = subprocess.run(["qemu-img", "check", "-f", "qcow2", str(path)], capture_output=True)
            assert done.returncode == 0, done
    for place in ("disks", "snapshots"):
        for one in (folder / place).iterdir():
            top = "disk.qcow2" if place == "disks" else folders.top(one)
            extra = set(os.listdir(one)) - set(folders.chain(one, top)) - {"top.qcow2", "last.json"}
            assert not extra, f"{one} has {extra}"


def test_an_empty_file_is_what_qemu_img_makes(tmp_path: Path) -> None:
    for size in (512, MIB, 3 << 30, 64 << 40):
        qcow2_file.write(tmp_path / "x.qcow2", size)
        subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", str(tmp_path / "x.qcow2")], check=True)
        assert qemu_img.inspect(tmp_path / "x.qcow2", "qcow2") == size
        assert qcow2_file.is_empty(tmp_path / "x.qcow2")


def test_chains_are_read_as_qemu_reads_them(tmp_path: Path) -> None:
    names = [f"{letter * 32}.qcow2" for letter in "abc"]
    first, second, third = (tmp_path / name for name in names)

    def io(path: Path, *commands: str) -> None:
        wanted = [part for command in commands for part in ("-c", command)]
        subprocess.run(["qemu-io", "-f", "qcow2", *wanted, str(path)], check=True, capture_output=True)

    qcow2_file.write(first, 530 * MIB)
    io(first, "write -P 1 0 100k", "write -P 2 1M 1M", "write -P 3 520M 70k")
    qcow2_file.write(second, 540 * MIB, names[0])
    io(second, "write -P 4 50k 100k", "write -z 1M 128k", "write -c -P 5 535M 64k")
    qcow2_file.write(third, 540 * MIB, names[1], [1, 8600], lambda n: None if n == 1 else b"\7" * qcow2_file.CLUSTER)
    subprocess.run(["qemu-img", "check", "-q", "-f", "qcow2", str(third)], check=True)
    subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", str(third), str(tmp_path / "raw")], check=True)
    with qcow2_file.Chain(third) as chain, (tmp_path / "raw").open("rb") as raw:
        held = chain.extents()
        for offset in [*range(0, 4 * MIB, MIB), *range(510 * MIB, 540 * MIB, MIB)]:
            expected = os.pread(raw.fileno(), MIB, offset)
            assert chain.read(offset, MIB) == expected
            if any(expected):
                assert any(start < offset + MIB and offset < end for start, end in held)
        assert chain.read(540 * MIB - 2, 4) == bytes(4)
    assert sum(end - start for start, end in held) < 3 * MIB


@pytest.mark.parametrize("name", ["json:{}", "/etc/passwd", "../x.qcow2"])
def test_a_file_that_leans_on_anything_but_a_layer_is_refused(tmp_path: Path, name: str) -> None:
    qcow2_file.write(tmp_path / "x.qcow2", MIB, name)
    with pytest.raises(DriverError):
        qcow2_file.header(tmp_path / "x.qcow2")
    (tmp_path / "x.qcow2").write_bytes(b"noise" * 100)
    with pytest.raises(DriverError):
        qcow2_file.header(tmp_path / "x.qcow2")


def test_a_snapshot_of_an_unchanged_disk_makes_no_layer(tmp_path: Path) -> None:
    driver = Qcow2Disks(tmp_path)
    driver.ensure_disk(DiskSpec("vol-1", MIB))
    write(driver, "vol-1", 0, b"one")
    for number in range(3):
        driver.ensure_snapshot(f"snap-{number}", "vol-1")
    assert len(folders.chain(tmp_path / "disks" / "vol-1", "disk.qcow2")) == (1 if driver._capture._reflink else 2)
    assert content(driver, "snap-2", 3) == b"one"
    sound(tmp_path)


def life(driver: Qcow2Disks, step: Callable[[Callable[[], Any]], Any]) -> None:
    """Four snapshots, clones, chains made shorter, and everything dropped that can be."""
    step(lambda: driver.ensure_disk(DiskSpec("vol-1", MIB)))
    step(driver.flush)
    for number in range(4):
        if driver.observe().snapshots >= {f"snap-{number}"}:
            continue
        write(driver, "vol-1", number * 70_000, f"state {number}".encode())
        step(lambda number=number: driver.ensure_snapshot(f"snap-{number}", "vol-1"))  # type: ignore[misc]
    step(lambda: driver.ensure_copy("copy", "snap-2"))
    step(lambda: driver.ensure_disk(DiskSpec("vol-2", 2 * MIB, "snap-1")))
    step(driver.flush)
    step(lambda: [driver.tidy() for _ in range(6)])
    step(lambda: driver.drop_snapshot("snap-2"))
    step(lambda: driver.drop_disk("vol-1"))


def end_is_right(driver: Qcow2Disks, folder: Path) -> None:
    def states(until: int) -> bytes:
        data = bytearray(MIB)
        for number in range(until + 1):
            text = f"state {number}".encode()
            data[number * 70_000 : number * 70_000 + len(text)] = text
        return bytes(data)

    Qcow2Disks(folder).tidy()
    assert driver.observe().disks == {"vol-2"}
    assert driver.observe().snapshots == {"snap-0", "snap-1", "snap-3", "copy"}
    for snapshot, until in (("snap-0", 0), ("snap-1", 1), ("copy", 2), ("snap-3", 3)):
        assert content(driver, snapshot) == states(until), snapshot
    assert read(driver, "vol-2") == states(1) + bytes(MIB)
    sound(folder)


STEPS = {os: ("link", "replace", "symlink", "fsync", "mkdir", "unlink"), qemu_img: ("_run",)}


class Fuse:
    """Counts functions' calls, and is the kill in the place of the one when none is `left`."""

    left = 10**9

    def __init__(self, monkeypatch: pytest.MonkeyPatch, steps: dict[Any, tuple[str, ...]]) -> None:
        for module, names in steps.items():
            for name in names:
                monkeypatch.setattr(module, name, self._counted(getattr(module, name)))

    def _counted(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **more: Any) -> Any:
            self.left -= 1
            if self.left == 0:
                raise Killed
            return real(*args, **more)

        return call


@pytest.mark.parametrize("reflink", [False, True])
def test_a_kill_between_any_two_steps_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reflink: bool
) -> None:
    monkeypatch.setattr(qcow2, "DEPTH", 3)
    monkeypatch.setattr(folders, "can_reflink", lambda folder: reflink)
    fuse = Fuse(monkeypatch, STEPS)
    nth = 0
    while True:
        nth += 7
        folder = tmp_path / str(nth)
        driver = Qcow2Disks(folder)
        killed = False

        def step(work: Callable[[], Any]) -> None:
            nonlocal killed
            try:
                work()
            except Killed:
                killed = True
                work()

        fuse.left = nth
        life(driver, step)
        fuse.left = Fuse.left
        end_is_right(driver, folder)
        shutil.rmtree(folder)
        if not killed:
            return


def test_open_disks_are_copied_by_their_guest_and_only_what_changed(tmp_path: Path) -> None:
    guests = Guests(tmp_path, "vol-1", "vol-2")
    driver = Qcow2Disks(tmp_path, guests)
    for disk in ("vol-1", "vol-2"):
        driver.ensure_disk(DiskSpec(disk, MIB))
        write(driver, disk, 0, b"first")
    driver.ensure_snapshots({"snap-1": "vol-1", "snap-2": "vol-2"})
    write(driver, "vol-1", 200_000, b"second")
    driver.ensure_snapshots({"snap-3": "vol-1"})
    assert guests.calls == [
        ({"vol-1": None, "vol-2": None}, {"vol-1": False, "vol-2": False}),
        ({"vol-1": "snap-1"}, {"vol-1": True}),
    ]
    assert content(driver, "snap-3") == read(driver, "vol-1")
    assert content(driver, "snap-1", 5) == b"first"
    assert not any(driver.read("snap-1", 200_000, 6))
    driver.drop_snapshot("snap-1")
    assert content(driver, "snap-3") == read(driver, "vol-1")
    guests.forgets = True
    write(driver, "vol-1", 0, b"third")
    driver.ensure_snapshots({"snap-4": "vol-1"})
    assert guests.calls[-1] == ({"vol-1": "snap-3"}, {"vol-1": False})
    assert len(folders.chain(tmp_path / "snapshots" / "snap-4", folders.top(tmp_path / "snapshots" / "snap-4"))) == 1
    assert content(driver, "snap-4") == read(driver, "vol-1")
    sound(tmp_path)
    driver.ensure_disk(DiskSpec("vol-1", 2 * MIB))
    driver.limit("vol-1", Limits(100))
    assert guests.calls[-2:] == [("grow", "vol-1", 2 * MIB), ("limit", "vol-1", Limits(100))]


def test_a_set_that_was_copied_is_the_same_set_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    guests = Guests(tmp_path, "vol-1", "vol-2")
    driver = Qcow2Disks(tmp_path, guests)
    for disk in ("vol-1", "vol-2"):
        driver.ensure_disk(DiskSpec(disk, MIB))
        write(driver, disk, 0, b"then")
    wanted = {"snap-1": "vol-1", "snap-2": "vol-2"}
    with monkeypatch.context() as patch:
        real = folders.publish

        def once(folder: Path) -> None:
            real(folder)
            raise Killed

        patch.setattr(folders, "publish", once)
        with pytest.raises(Killed):
            driver.ensure_snapshots(wanted)
    assert len([name for name in os.listdir(tmp_path / "snapshots") if name.startswith("snap-")]) == 1
    for disk in ("vol-1", "vol-2"):
        write(driver, disk, 0, b"now!")
    Qcow2Disks(tmp_path, guests).ensure_snapshots(wanted)
    assert (content(driver, "snap-1", 4), content(driver, "snap-2", 4)) == (b"then", b"then")
    assert len(guests.calls) == 1


class Quick(Guests):
    """As `Guests`, for disks of one cluster, and without a process."""

    def back_up(
        self,
        targets: Mapping[str, str],
        checkpoint: str,
        since: Mapping[str, str | None],
        report: Callable[[int], None] = lambda percent: None,
    ) -> Mapping[str, bool]:
        for disk, target in targets.items():
            with qcow2_file.Chain(self.folder / "disks" / disk / "disk.qcow2") as now:
                fill(Path(target), now.cluster(0) or b"")
        return dict.fromkeys(targets, True)


def fill(path: Path, data: bytes) -> None:
    """Write on a disk of one cluster, in the file that there is."""
    about, draft = qcow2_file.header(path), path.with_name("draft")
    qcow2_file.write(draft, about.size, about.backing, [0], lambda cluster: data.ljust(qcow2_file.CLUSTER, b"\0"))
    path.write_bytes(draft.read_bytes())
    draft.unlink()


@pytest.mark.parametrize("reflink", [False, True])
@pytest.mark.parametrize("held", [(), ("vol-3",)])
def test_a_set_is_of_one_moment_wherever_a_kill_came_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reflink: bool, held: tuple[str, ...]
) -> None:
    """Guests are started, and write, before the next try: on every disk of the set, those that rested and those that
    a guest had open."""
    monkeypatch.setattr(folders, "can_reflink", lambda folder: reflink)
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    fuse = Fuse(monkeypatch, {os: STEPS[os]})
    wanted = {f"snap-{number}": f"vol-{number}" for number in (1, 2, 3)}
    nth, moments = 0, set()
    while True:
        nth += 1
        folder = tmp_path / str(nth)
        guests = Quick(folder, *held)
        driver = Qcow2Disks(folder, guests)
        for disk in wanted.values():
            driver.ensure_disk(DiskSpec(disk, qcow2_file.CLUSTER))
            fill(Path(driver.access(disk).path), b"then")
        fuse.left = nth
        try:
            driver.ensure_snapshots(wanted)
            break
        except Killed:
            fuse.left = Fuse.left
        for disk in wanted.values():
            fill(Path(driver.access(disk).path), b"now!")
        Qcow2Disks(folder, guests).ensure_snapshots(wanted)
        found = {content(driver, snapshot, 4) for snapshot in wanted}
        assert len(found) == 1, (nth, found)
        moments |= found
        Qcow2Disks(folder).tidy()
        assert sorted(os.listdir(folder / "snapshots")) == sorted(wanted)
        shutil.rmtree(folder)
    fuse.left = Fuse.left
    assert moments == {b"then", b"now!"}


def test_a_failed_copy_leaves_no_snapshot(tmp_path: Path) -> None:
    class Failing(Guests):
        def back_up(self, *args: object) -> Mapping[str, bool]:
            raise DriverError("the guest went away")

    driver = Qcow2Disks(tmp_path, Failing(tmp_path, "vol-1"))
    driver.ensure_disk(DiskSpec("vol-1", MIB))
    with pytest.raises(DriverError):
        driver.ensure_snapshot("snap-1", "vol-1")
    assert driver.observe().snapshots == frozenset()


def test_a_disk_that_a_qemu_writes_is_not_frozen(tmp_path: Path) -> None:
    driver = Qcow2Disks(tmp_path)
    driver.ensure_disk(DiskSpec("vol-1", MIB))
    path = driver.access("vol-1").path
    with subprocess.Popen(["qemu-io", "-f", "qcow2", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as writer:
        assert writer.stdin is not None and writer.stdout is not None
        writer.stdin.write(b"write -P 1 0 64k\n")
        writer.stdin.flush()
        writer.stdout.readline()
        with pytest.raises(DriverError):
            driver.ensure_snapshot("snap-1", "vol-1")
        writer.stdin.write(b"quit\n")
        writer.stdin.flush()
    driver.ensure_snapshot("snap-1", "vol-1")
    assert content(driver, "snap-1", 4) == b"\1" * 4


def test_a_vanished_file_is_told(tmp_path: Path) -> None:
    driver = Qcow2Disks(tmp_path)
    driver.ensure_disk(DiskSpec("vol-1", MIB))
    write(driver, "vol-1", 0, b"x")
    driver.ensure_snapshot("snap-1", "vol-1")
    os.unlink(tmp_path / "disks" / "vol-1" / "disk.qcow2")
    for work in (
        lambda: driver.ensure_snapshot("snap-2", "vol-1"),
        lambda: driver.ensure_disk(DiskSpec("vol-1", 2 * MIB)),
    ):
        with pytest.raises(Missing, match="not there"):
            work()
    layer = folders.top(tmp_path / "snapshots" / "snap-1")
    os.unlink(tmp_path / "snapshots" / "snap-1" / layer)
    with pytest.raises(Missing):
        driver.ensure_disk(DiskSpec("vol-2", MIB, "snap-1"))
    assert driver.observe().disks == {"vol-1"}


def test_blocks_are_uploaded_in_any_order_by_many(tmp_path: Path) -> None:
    driver = Qcow2Disks(tmp_path)
    driver.ensure_disk(DiskSpec("vol-1", 4 * MIB))
    write(driver, "vol-1", 0, bytes([9]) * 4 * MIB)
    driver.ensure_snapshot("snap-1", "vol-1")
    driver.begin_upload("snap-2", 8 * MIB, "snap-1")
    blocks = {index: bytes([index % 251]) * 100_000 for index in range(0, 60, 3)}
    barrier = threading.Barrier(4)

    def send(share: int) -> None:
        barrier.wait()
        for index in sorted(blocks)[share::4]:
            Qcow2Disks(tmp_path).upload("snap-2", index * 100_000, blocks[index])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(send, range(4)))
    driver.finish_upload("snap-2")
    expected = bytearray((bytes([9]) * 4 * MIB).ljust(8 * MIB, b"\0"))
    for index, data in blocks.items():
        expected[index * 100_000 : index * 100_000 + 100_000] = data
    assert driver.read("snap-2", 0, 8 * MIB) == bytes(expected)
    sound(tmp_path)


def test_images_of_one_content_are_kept_once_and_forgotten_with_their_last_user(tmp_path: Path) -> None:
    driver = Qcow2Disks(tmp_path / "volumes")
    (tmp_path / "a.raw").write_bytes(b"image".ljust(MIB, b"\0"))
    for snapshot in ("snap-1", "snap-2"):
        driver.import_file(snapshot, tmp_path / "a.raw", "raw")
    layers = tmp_path / "volumes" / "layers"
    assert len(os.listdir(layers)) == 1
    driver.export_file("snap-1", tmp_path / "b.vmdk", "vmdk")
    driver.import_file("snap-3", tmp_path / "b.vmdk", "vmdk")
    assert content(driver, "snap-3") == content(driver, "snap-1") == (tmp_path / "a.raw").read_bytes()
    with pytest.raises(Unsupported):
        driver.import_file("snap-4", tmp_path / "b.vmdk", "qcow2")
    driver.ensure_disk(DiskSpec("vol-1", MIB, "snap-1"))
    for snapshot in ("snap-1", "snap-2", "snap-3"):
        driver.drop_snapshot(snapshot)
    driver.tidy()
    assert len(os.listdir(layers)) == 1
    assert read(driver, "vol-1")[:5] == b"image"
    driver.drop_disk("vol-1")
    driver.tidy()
    assert os.listdir(layers) == []
