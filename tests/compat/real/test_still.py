"""File systems of containers are held still while they are copied, and never for long: whoever is killed meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.compute.drivers import container_disks, container_root
from backends.compute.drivers.container_disks import LxcDisks
from backends.compute.drivers.container_process import Record, began
from backends.errors import DriverError, Unsupported
from backends.volume.drivers.base import DiskSpec
from backends.volume.drivers.sparse import SparseFiles
from tests.compat.real.owners import until
from tests.sandbox import has, missing, unable
from tests.server import ROOT

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]
NEEDS_RECOVERY = 0x4
"""Of ext4's incompatible features: what is in the journal is not yet where it belongs."""
HOLD = """
import sys
from backends.compute.drivers.container_disks import held
with held([sys.argv[1]]):
    print("still", flush=True)
    sys.stdin.read()
"""


class Holder:
    """A file system over a raw disk, in a mount namespace as a container's first process has it."""

    def __init__(self, folder: Path) -> None:
        self.driver = SparseFiles(folder / "volumes", LxcDisks(lambda: [self.record]))
        self.driver.ensure_disk(DiskSpec("vol-1", 64 << 20))
        self.path = self.driver.access("vol-1").path
        subprocess.run(["mkfs.ext4", "-q", "-F", self.path], check=True)
        place = folder / "a place"
        place.mkdir()
        script = f"mount -o loop {self.path} '{place}' && echo mounted && exec cat"
        words = ["unshare", "-m", "--propagation", "private", "sh", "-c", script]
        self.process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None and self.process.stdout.readline() == "mounted\n"
        self.record = Record({"vol-1": self.path}, {}, self.process.pid, began(self.process.pid))
        (self.inside,) = container_disks.mounted(self.process.pid, self.path)

    def write(self, text: str) -> None:
        Path(self.inside, "mark").write_text(text)

    def writer(self) -> subprocess.Popen[bytes]:
        """Somebody who writes, as soon as that is possible."""
        return subprocess.Popen(["sh", "-c", f"echo later > '{self.inside}/mark'"])

    def close(self) -> None:
        self.process.communicate()
        until(lambda: not container_root.loops(self.path), lambda: f"{self.path} is still mounted")


@pytest.fixture(scope="module")
def holder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Holder]:
    if reason := missing() or has(["mkfs.ext4", "fsfreeze", "losetup"]):
        unable(reason)
    made = Holder(tmp_path_factory.mktemp("still"))
    yield made
    made.close()


def recovers(path: str) -> bool:
    """Whether a file system has to be mended from its journal before it is what it was."""
    with open(path, "rb") as file:
        file.seek(1024 + 0x60)
        return bool(int.from_bytes(file.read(4), "little") & NEEDS_RECOVERY)


def test_a_snapshot_is_of_one_moment_and_has_what_was_written(holder: Holder) -> None:
    holder.write("before")
    holder.driver.ensure_snapshot("snap-1", "vol-1")
    copy = str(holder.driver._snapshot("snap-1"))
    assert recovers(holder.path) and not recovers(copy)
    checked = subprocess.run(["e2fsck", "-fn", copy], capture_output=True, text=True)
    assert checked.returncode == 0, checked.stdout
    told = subprocess.run(["debugfs", "-R", "cat /mark", copy], capture_output=True, text=True)
    assert told.stdout == "before"
    holder.write("after")


def test_a_disk_that_grows_is_seen_to(holder: Holder) -> None:
    holder.driver.ensure_disk(DiskSpec("vol-1", 80 << 20))
    (device,) = container_root.loops(holder.path)
    assert int(Path("/sys/block", Path(device).name, "size").read_text()) == 80 << 11


def test_nothing_is_written_while_it_is_held_and_everything_afterwards(holder: Holder) -> None:
    with container_disks.held([holder.inside]):
        writer = holder.writer()
        with pytest.raises(subprocess.TimeoutExpired):
            writer.wait(timeout=0.3)
        assert Path(holder.inside, "mark").read_text() == "after"
    assert writer.wait(timeout=30) == 0
    assert Path(holder.inside, "mark").read_text() == "later\n"


def test_a_copy_that_takes_too_long_fails_and_lets_go(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_disks, "STILL", 1)
    with pytest.raises(DriverError, match="longer"), container_disks.held([holder.inside]):
        assert holder.writer().wait(timeout=30) == 0, "it was let go on within the block"


def test_a_snapshot_that_took_too_long_is_none(holder: Holder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_disks, "STILL", 1)
    real = SparseFiles._copy

    def slow(self: SparseFiles, *given: object) -> None:
        real(self, *given)  # type: ignore[arg-type]
        assert holder.writer().wait(timeout=30) == 0

    monkeypatch.setattr(SparseFiles, "_copy", slow)
    with pytest.raises(DriverError, match="longer"):
        holder.driver.ensure_snapshot("snap-2", "vol-1")
    assert holder.driver.observe().snapshots == {"snap-1"}


def hold(holder: Holder) -> subprocess.Popen[str]:
    """An engine that holds the file system still."""
    words = [sys.executable, "-c", HOLD, holder.inside]
    engine = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert engine.stdout is not None and engine.stdout.readline() == "still\n"
    return engine


def test_an_engine_that_is_killed_holds_nobody_up(holder: Holder) -> None:
    engine = hold(holder)
    engine.kill()
    engine.communicate()
    assert holder.writer().wait(timeout=10) == 0


def test_what_a_kill_of_everything_left_is_let_go_on(holder: Holder) -> None:
    engine = hold(holder)
    children = Path(f"/proc/{engine.pid}/task/{engine.pid}/children").read_text().split()
    (shell,) = (int(child) for child in children)
    waiting = [int(child) for child in Path(f"/proc/{shell}/task/{shell}/children").read_text().split()]
    for pid in (shell, *waiting, engine.pid):
        os.kill(pid, signal.SIGKILL)
    engine.communicate()
    writer = holder.writer()
    with pytest.raises(subprocess.TimeoutExpired):
        writer.wait(timeout=0.3)
    for _ in range(2):
        container_disks.let_go(holder.process.pid, [holder.path])
    assert writer.wait(timeout=10) == 0


def test_what_cannot_be_held_is_an_error(holder: Holder) -> None:
    with pytest.raises(DriverError, match="held still"), container_disks.held([holder.inside, "/proc"]):
        raise AssertionError("never begins")
    assert holder.writer().wait(timeout=10) == 0
    with pytest.raises(Unsupported):
        LxcDisks(list).back_up({}, "", {})
