"""Root file systems of containers are given back whole, though other containers' controllers saw them mounted, and
whatever was done to them before their container was killed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.compute.drivers import container_root
from tests.compat.real.owners import until
from tests.sandbox import has, missing, unable

pytestmark = [pytest.mark.real, pytest.mark.timeout(120)]
START = 1 << 20
MINE = ["unshare", "-m", "--propagation", "private", "--"]


class Namespaces:
    """A disk with a root file system, and processes with mount namespaces as the daemon and controllers have them."""

    def __init__(self, folder: Path) -> None:
        self.disk, self.target, self.program = folder / "vol-1.raw", folder / "root", folder / "libvirt_lxc"
        (folder / "files" / "sbin").mkdir(parents=True)
        (folder / "files" / "sbin" / "init").touch()
        with self.disk.open("wb") as file:
            file.truncate(64 << 20)
            sectors = ((64 << 20) - START) // 512
            entry = bytes([0, 0, 0, 0, container_root.LINUX, 0, 0, 0]) + (START // 512).to_bytes(4, "little")
            file.seek(446)
            file.write(entry + sectors.to_bytes(4, "little"))
            file.seek(510)
            file.write(b"\x55\xaa")
        options = ["-q", "-F", "-d", str(folder / "files"), "-E", f"offset={START}", str(self.disk), "60M"]
        subprocess.run(["mkfs.ext4", *options], check=True)
        shutil.copy(shutil.which("cat") or "", self.program)
        self.started: list[subprocess.Popen[bytes]] = []

    def daemon(self) -> int:
        return self._start([*MINE, "cat"])

    def controller(self, daemon: int) -> int:
        """That of another container, which begins now."""
        enter = ["nsenter", f"--mount=/proc/{daemon}/ns/mnt", "--"]
        return self._start([*enter, "unshare", "-m", "--propagation", "slave", "--", str(self.program)])

    def _start(self, words: list[str]) -> int:
        process = subprocess.Popen(words, stdin=subprocess.PIPE)
        self.started.append(process)
        name = Path(words[-1]).name
        until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == f"{name}\n", lambda: "it does not start")
        return process.pid

    def end(self, process: int) -> None:
        (found,) = [one for one in self.started if one.pid == process]
        found.kill()
        found.communicate()

    def inside(self, process: int, *command: str) -> None:
        subprocess.run(["nsenter", f"--mount=/proc/{process}/ns/mnt", "--", *command], check=True)

    def mount(self, daemon: int) -> None:
        container_root.mount(daemon, self.disk, self.target)

    def free(self) -> bool:
        return not container_root.loops(str(self.disk))

    def close(self) -> None:
        for process in self.started:
            process.kill()
            process.communicate()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[Namespaces]:
    if reason := missing() or has(["mkfs.ext4", "fsfreeze", "losetup", "nsenter"]):
        unable(reason)
    made = Namespaces(tmp_path)
    yield made
    made.close()
    until(made.free, lambda: "the disk is still in use")


@pytest.mark.parametrize("killed", [False, True])
def test_another_container_s_controller_does_not_keep_it(world: Namespaces, killed: bool) -> None:
    daemon = world.daemon()
    world.mount(daemon)
    world.controller(daemon)
    if killed:
        world.end(daemon)
        daemon = world.daemon()
        assert not world.free()
    container_root.unmount(daemon, world.target)
    until(world.free, lambda: "the disk is still in use")


def test_one_that_was_left_for_reading_only_is_written_again(world: Namespaces) -> None:
    """So does a container's own shutdown leave it."""
    daemon = world.daemon()
    world.mount(daemon)
    world.controller(daemon)
    world.inside(daemon, "mount", "-o", "remount,ro", str(world.target))
    container_root.unmount(daemon, world.target)
    world.mount(daemon)
    Path(f"/proc/{daemon}/root{world.target}/mark").write_text("written")


def test_one_that_is_held_still_goes_on(world: Namespaces) -> None:
    daemon = world.daemon()
    world.mount(daemon)
    world.inside(daemon, "fsfreeze", "--freeze", str(world.target))
    container_root.unmount(daemon, world.target)
    until(world.free, lambda: "the disk is still in use")
    world.mount(daemon)
    world.inside(daemon, "fsfreeze", "--freeze", str(world.target))
    world.end(daemon)
    daemon = world.daemon()
    world.mount(daemon)
    Path(f"/proc/{daemon}/root{world.target}/mark").write_text("written")


def test_one_that_is_held_still_and_mounted_nowhere_is_given_back(world: Namespaces) -> None:
    daemon = world.daemon()
    world.mount(daemon)
    world.inside(daemon, "fsfreeze", "--freeze", str(world.target))
    world.end(daemon)
    assert not world.free()
    container_root.release(world.daemon(), str(world.disk), world.target)
    until(world.free, lambda: "the disk is still in use")
