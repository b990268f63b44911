"""What containers are put together of, without any container: archives, records, and the keeper of a console."""

from __future__ import annotations

import errno
import io
import os
import pty
import subprocess
import sys
import time
import tty
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backends.compute.drivers import (
    container_console,
    container_disks,
    container_keeper,
    container_process,
    container_root,
)
from backends.compute.drivers.container_process import Record
from backends.errors import Busy, DriverError, Unavailable
from backends.image.micro import root as micro_root


def until(true: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def archive(*entries: tuple[str, int, bytes]) -> bytes:
    buffer = io.BytesIO()
    made = micro_root._Archive(buffer)
    for name, mode, content in entries:
        made.add(name, mode, content)
    made.end()
    return buffer.getvalue()


def test_what_cannot_be_written_to_a_disk_is_told_before_it_is_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that was detached meanwhile has written all it had; one whose medium fails has not."""
    device, detached = tmp_path / "loop0", tmp_path / "loop1"
    device.touch()
    monkeypatch.setattr(container_root, "loops", lambda path: [str(detached), str(device)])
    container_disks.flush("/disk.raw")

    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(DriverError, match="loop0"):
        container_disks.flush("/disk.raw")


def test_an_archive_is_unpacked_below_its_root_only(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    entries = (
        ("sbin", 0o40755, b""),
        ("sbin/init", 0o120777, b"/bin/busybox"),
        ("etc", 0o40700, b""),
        ("etc/rc", 0o100755, b"#!/bin/sh\n"),
        ("lib/modules/x.ko", 0o100644, b"x"),
        ("../outside", 0o100644, b"x"),
        ("/outside", 0o100644, b"x"),
    )
    container_root.unpack(archive(*entries), root)
    container_root.unpack(archive(*entries), root)
    assert sorted(path.relative_to(root).as_posix() for path in root.rglob("*")) == [
        "etc",
        "etc/rc",
        "sbin",
        "sbin/init",
    ]
    assert (root / "etc/rc").stat().st_mode & 0o777 == 0o755
    assert (root / "etc").stat().st_mode & 0o777 == 0o700
    assert os.readlink(root / "sbin/init") == "/bin/busybox"
    assert list(tmp_path.iterdir()) == [root]


def test_what_tells_that_a_root_is_filled_comes_last(tmp_path: Path) -> None:
    """A file where a folder is wanted ends it in the middle."""
    (tmp_path / "etc").write_text("in the way")
    entries = (("sbin", 0o40755, b""), ("sbin/init", 0o120777, b"x"), ("etc", 0o40755, b""), ("etc/rc", 0o100755, b"y"))
    with pytest.raises(NotADirectoryError):
        container_root.unpack(archive(*entries), tmp_path)
    assert not os.path.lexists(tmp_path / "sbin/init")


def test_a_record_knows_its_process_from_another_of_the_same_number(tmp_path: Path) -> None:
    path = tmp_path / "one.json"
    assert Record.read(path) is None
    path.write_text("{")
    assert Record.read(path) is None
    record = Record({"vol-1": "/disk"}, {"eni-1": ("02:aa:00:00:00:01", "eth0")})
    assert not record.lives
    mine = replace(record, first=os.getpid(), began=container_process.began(os.getpid()))
    mine.write(path)
    assert Record.read(path) == mine
    assert mine.lives
    assert not replace(mine, began="1").lives
    with subprocess.Popen(["true"]) as ended:
        until(lambda: container_process.began(ended.pid) == "")


def test_processes_that_were_killed_are_waited_for() -> None:
    with subprocess.Popen(["sleep", "600"]) as one:
        container_process.end([one.pid])
        assert one.wait() == -9
        container_process.end([one.pid])


class Kept:
    """A console with a keeper, and two processes that stand for a controller and a first process."""

    def __init__(self, folder: Path) -> None:
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)  # as libvirt does
        self.controller, self.first = (subprocess.Popen(["sleep", "600"]) for _ in range(2))
        self.door, self.log, self.verdict = folder / "door", folder / "log", folder / "killed"
        self.keep()

    def keep(self) -> None:
        terminal, processes = os.ttyname(self.slave), (self.controller.pid, self.first.pid)
        container_console.keep(self.door, terminal, self.log, self.verdict, *processes)

    def says(self, text: bytes) -> None:
        os.write(self.master, text)
        until(lambda: self.log.exists() and text in self.log.read_bytes())

    def end(self, *processes: subprocess.Popen[bytes]) -> None:
        for process in processes:
            process.kill()
            process.wait()


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    made = Kept(tmp_path)
    yield made
    made.end(made.first, made.controller)
    until(lambda: not container_console.is_kept(made.door))
    os.close(made.master)
    os.close(made.slave)


def test_a_console_is_kept_and_one_person_sits_at_it(kept: Kept) -> None:
    kept.says(b"said before anybody came\r\n")
    one = container_console.ContainerConsole(kept.door)
    one.write(b"typed\n")
    assert os.read(kept.master, 100) == b"typed\n"
    kept.says(b"heard\n")
    assert one.read(60.0) == b"heard\n"
    assert one.read(0.0) == b""
    other = container_console.ContainerConsole(kept.door)
    until(lambda: one.read(0.1) is None)
    kept.says(b"to the other\n")
    assert other.read(60.0) == b"to the other\n"
    other.close()
    other.close()
    assert other.read(0.1) is None
    with pytest.raises(DriverError):
        other.write(b"x")
    one.close()


def test_one_process_keeps_a_console(kept: Kept) -> None:
    kept.keep()
    kept.says(b"once\n")
    assert kept.log.read_bytes().count(b"once") == 1
    keepers = [pid for pid in container_process.everything() if str(kept.door) in container_process.command(pid)]
    assert len(keepers) == 1


def test_a_controller_that_ends_first_was_killed(kept: Kept) -> None:
    kept.says(b"ready\n")
    kept.end(kept.controller)
    until(kept.verdict.exists)
    kept.says(b"it still speaks\n")


def test_a_first_process_that_ends_first_was_not(kept: Kept) -> None:
    kept.says(b"ready\n")
    kept.end(kept.first)
    kept.end(kept.controller)
    until(lambda: not container_console.is_kept(kept.door))
    assert not kept.verdict.exists()


def test_nobody_lets_in_where_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container_console, "OPENING", 0.1)
    with pytest.raises(Unavailable):
        container_console.ContainerConsole(tmp_path / "door")


def test_the_keeper_leans_on_nothing_of_ours() -> None:
    """It is run by its path, without our packages."""
    source = Path(container_keeper.__file__).read_text()
    names = {line.split()[1].split(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))}
    assert names <= sys.stdlib_module_names


def test_a_disk_that_a_killed_container_still_has_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel takes its namespace apart after the kill; meanwhile no start of it counts as failed."""
    told = "nsenter: mount: /place: /dev/loop5 already mounted or mount point busy."

    def run(*command: str) -> str:
        raise DriverError(told)

    monkeypatch.setattr(container_root, "_run", run)
    monkeypatch.setattr(container_root, "partition", lambda disk, kind: (512, 512))
    with pytest.raises(Busy):
        container_root.mount(os.getpid(), tmp_path / "vol-1.raw", tmp_path / "root")
    told = "mount: wrong fs type"
    with pytest.raises(DriverError) as caught:
        container_root.mount(os.getpid(), tmp_path / "vol-1.raw", tmp_path / "root")
    assert not isinstance(caught.value, Busy)
