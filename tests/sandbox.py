"""A private network and mount namespace, so that tests of real networks and guests touch nothing of the machine.

Everything in it goes when its holder does, and the holder goes when the tests do. The thread that enters a sandbox
makes its connections there, and so do the processes that it starts; the mounts are seen by what `prefix` starts only.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from typing import NoReturn

import pytest

from tests.server import ROOT

REQUIRED = os.environ.get("NEPHELE_REQUIRE_REAL") == "1"
"""Whether a machine that cannot run a real test fails it. Read here, before the environment is cleared for tests."""

CLONE_NEWNET = 0x40000000
READY = "ready\n"
HOLDER = """
set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/netns /run/before /run/lock
mount --rbind /sys /run/before
mount -t sysfs sysfs /sys
if mountpoint -q /run/before/fs/cgroup; then mount --rbind /run/before/fs/cgroup /sys/fs/cgroup; fi
umount -l /run/before
ip link set lo up
echo ready
exec cat
"""


def unable(reason: str) -> NoReturn:
    """This machine cannot run the test: skip it, or fail it where NEPHELE_REQUIRE_REAL=1 says that it must run."""
    if REQUIRED:
        pytest.fail(f"{reason}, and NEPHELE_REQUIRE_REAL=1")
    pytest.skip(reason)


def missing() -> str:
    """Why there can be no sandbox here; empty when there can."""
    if os.geteuid() != 0:
        return "needs root (as an ordinary user: run the tests under `unshare -Urnm`)"
    for tool in ("unshare", "nsenter", "ip"):
        if shutil.which(tool) is None:
            return f"needs `{tool}` (packages util-linux and iproute2)"
    tried = subprocess.run(["unshare", "-nm", "true"], capture_output=True, text=True)
    return "" if tried.returncode == 0 else f"cannot make namespaces: {tried.stderr.strip()}"


class Sandbox:
    """Namespaces with an empty /run, a working loopback device and nothing else in them."""

    def __init__(self) -> None:
        self._entered = False
        self._begin()

    def _begin(self) -> None:
        self._holder = subprocess.Popen(
            ["unshare", "-nm", "--propagation", "private", "sh", "-c", HOLDER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != READY:
            raise AssertionError(f"the sandbox ended with {self._holder.wait()}")

    @property
    def prefix(self) -> list[str]:
        """What to put before a command so that it runs inside. It keeps its process id."""
        of = f"/proc/{self._holder.pid}/ns"
        return ["nsenter", f"--net={of}/net", f"--mount={of}/mnt", "--"]

    def run(
        self, *command: str, check: bool = True, stdin: str = "", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside; Python finds our packages. With `check`, a failure fails the test."""
        done = subprocess.run(
            [*self.prefix, *command],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode != 0:
            pytest.fail(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def python(self, *arguments: str) -> list[str]:
        """A command that runs this Python inside."""
        return [*self.prefix, sys.executable, *arguments]

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Let this thread make its sockets inside, for the block."""
        with open("/proc/thread-self/ns/net") as home:
            self._enter()
            try:
                yield
            finally:
                self._entered = False
                move(home.fileno())

    def _enter(self) -> None:
        with open(f"/proc/{self._holder.pid}/ns/net") as inside:
            move(inside.fileno())
        self._entered = True

    def processes(self) -> list[int]:
        """Everything that runs inside, also in namespaces that were made there; without its holder."""
        if not (space := _space(self._holder.pid)):
            return []
        parents = {pid: parent for pid in _everything() if (parent := _parent(pid)) is not None}
        found = {pid for pid in parents if _space(pid) == space} - {os.getpid(), self._holder.pid}
        while more := {pid for pid, parent in parents.items() if parent in found} - found:
            found |= more
        return sorted(found)

    def lose_power(self) -> None:
        """End everything inside at one stroke, and begin anew with nothing but what lies on disks: a reboot of the
        machine. Servers have a new `prefix` afterwards; a thread that had entered has entered again."""
        self.close()
        self._begin()
        if self._entered:
            self._enter()

    def end(self) -> None:
        """End everything that runs inside, at one stroke."""
        for number in (signal.SIGSTOP, signal.SIGKILL):  # stopped first, so that nobody sees another one end
            for pid in self.processes():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
        deadline = time.monotonic() + 30
        while any(_lives(pid) for pid in self.processes()):
            assert time.monotonic() < deadline, "processes in the sandbox do not end"
            time.sleep(0.02)

    def close(self) -> None:
        """End everything inside, daemons and guests that were to outlive their servers, too; the namespaces go."""
        self.end()
        self._holder.communicate()

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _everything() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _space(pid: int) -> str:
    """The network namespace of a process; "" when it is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def _stat(pid: int) -> list[str]:
    """State, parent and more of a process; nothing when it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def _parent(pid: int) -> int | None:
    about = _stat(pid)
    return int(about[1]) if about else None


def _lives(pid: int) -> bool:
    return bool(about := _stat(pid)) and about[0] not in "ZX"


def move(namespace: int) -> None:
    """Take this thread into the network namespace behind a file descriptor."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def has(commands: Sequence[str]) -> str:
    """Which of some commands this machine lacks, in words; empty when it has all."""
    lacking = [command for command in commands if shutil.which(command) is None]
    return f"needs {', '.join(lacking)}" if lacking else ""
