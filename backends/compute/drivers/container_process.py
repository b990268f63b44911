"""The processes of containers: which is a container's first, whether it still is, and the end of those left behind.

A container is one pid namespace: when its first process is killed, the kernel ends all others before that one is gone.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from backends.errors import DriverError

CONTROLLER = "libvirt_lxc"
"""The program that holds a container together, outside of it."""
ENDING = 15.0
"""Seconds in which processes that were killed have to be gone."""


@dataclass(frozen=True, slots=True)
class Record:
    """What was begun of a container: the files of its disks by id; its cards by port, with address and name; its first
    process and when that began (0: none yet).

    It lies on the disk before anything is made, so that whatever a crash leaves behind is found again.
    """

    disks: Mapping[str, str]
    cards: Mapping[str, tuple[str, str]]
    first: int = 0
    began: str = ""

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """The record there; None when there is none that can be read."""
        try:
            held = json.loads(path.read_bytes())
            cards = {port: (str(mac), str(name)) for port, (mac, name) in held["cards"].items()}
            disks = {disk: str(path) for disk, path in held["disks"].items()}
            return cls(disks, cards, int(held["first"]), str(held["began"]))
        except (OSError, ValueError, LookupError, TypeError, AttributeError):
            return None

    def write(self, path: Path) -> None:
        """Put it there, whole."""
        draft = path.with_suffix(".new")
        draft.write_text(json.dumps(asdict(self)))
        os.replace(draft, path)

    @property
    def lives(self) -> bool:
        """Whether the first process is still there, and not another of the same number."""
        return self.first != 0 and bool(self.began) and began(self.first) == self.began


def began(process: int) -> str:
    """When a process began, as a text that no other process of the same number shares; "" when it is not there, or
    has ended and waits to be reaped."""
    try:
        state, *rest = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    return "" if state in "ZX" else f"{boot}/{rest[18]}"


def first_of(controller: int) -> int | None:
    """The first process of the container that a controller holds; None when there is none."""
    for child in _children(controller):
        if _is_first(child) and began(child):
            return child
    return None


def strays(name: str, uuid: str, record: Record | None) -> list[int]:
    """First processes and controllers of the container with that name and id, whoever lost sight of them."""
    found = [record.first] if record is not None and record.lives else []
    mark = f"LIBVIRT_LXC_UUID={uuid}".encode()
    for process in everything():
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
            if os.path.basename(command[0]) == CONTROLLER.encode():
                if name.encode() in command:
                    found.append(process)
            elif mark in Path(f"/proc/{process}/environ").read_bytes().split(b"\0") and _is_first(process):
                found.append(process)
    return [process for process in dict.fromkeys(found) if process != os.getpid() and began(process)]


def controllers() -> list[int]:
    """The controllers of all containers there are, whosever they are."""
    found = []
    for process in everything():
        with contextlib.suppress(OSError):
            if Path(f"/proc/{process}/comm").read_text().rstrip("\n") == CONTROLLER:
                found.append(process)
    return found


def end(processes: list[int]) -> None:
    """Kill processes, and wait until they are gone. Raises `DriverError` when they are not in time."""
    watched = {}
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            descriptor = os.pidfd_open(process)
            watched[descriptor] = process
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    deadline = time.monotonic() + ENDING
    try:
        for descriptor, process in watched.items():
            gone = select.poll()
            gone.register(descriptor, select.POLLIN)
            if not gone.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise DriverError(f"process {process} of a container does not end")
    finally:
        for descriptor in watched:
            os.close(descriptor)


def command(process: int) -> str:
    """What a process was started as, its words parted by NUL; "" when it is not there."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text(errors="replace")
    except OSError:
        return ""


def _is_first(process: int) -> bool:
    """Whether a process is the first of a pid namespace below ours."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                numbers = line.split()[1:]
                return len(numbers) > 1 and numbers[-1] == "1"
    return False


def _children(parent: int) -> Iterator[int]:
    """The children of a process, of whichever of its threads."""
    lists = list(Path(f"/proc/{parent}/task").glob("*/children"))
    if lists:
        for path in lists:
            with contextlib.suppress(OSError):
                yield from map(int, path.read_text().split())
        return
    for process in everything():  # a kernel that keeps no such lists
        with contextlib.suppress(OSError):
            if int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1]) == parent:
                yield process


def everything() -> list[int]:
    """Every process there is."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]
