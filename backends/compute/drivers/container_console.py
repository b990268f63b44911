"""Consoles of containers: each is kept by a process of its own (`container_keeper`), which is found by its socket."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

from backends.compute.drivers import container_keeper
from backends.compute.drivers.libvirt_console import BLOCK
from backends.errors import DriverError, Unavailable

LOCK = ".lock"
"""What is added to a socket's name: the file that its keeper has locked."""
OPENING = 5.0
"""Seconds in which a keeper that was just started has to let somebody in."""
TYPING = 10.0
"""Seconds in which what is typed has to be taken."""


def is_kept(door: Path) -> bool:
    """Whether a process keeps the console behind the socket `door`."""
    with open(f"{door}{LOCK}", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def keep(door: Path, terminal: str, log: Path, verdict: Path, controller: int, first: int) -> None:
    """Start a process that keeps the console at `terminal`, if none does. It goes on
    without us (see `container_keeper.main`)."""
    words = [terminal, str(log), str(door), str(verdict), str(controller), str(first)]
    with open(f"{door}{LOCK}", "a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        # It inherits the lock, which is held as long as it lives.
        keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", container_keeper.__file__, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=(lock.fileno(),),
        )
    threading.Thread(target=keeper.wait, name="keeper-reaper", daemon=True).start()


def forget(door: Path) -> None:
    """Remove what a keeper that ended left."""
    door.unlink(missing_ok=True)
    Path(f"{door}{LOCK}").unlink(missing_ok=True)


class ContainerConsole:
    """A `ConsoleStream` over a keeper's socket."""

    def __init__(self, door: Path) -> None:
        """Sit down at the console behind `door`. Raises `Unavailable` when nobody lets us in."""
        self._socket = socket.socket(socket.AF_UNIX)
        self._closed = False
        folder = os.open(door.parent, os.O_PATH | os.O_DIRECTORY)  # its name may be too long for an address
        deadline = time.monotonic() + OPENING
        try:
            while True:
                try:
                    self._socket.connect(f"/proc/self/fd/{folder}/{door.name}")
                    break
                except OSError as error:
                    if time.monotonic() > deadline:
                        self._socket.close()
                        raise Unavailable(f"the console is not kept at this moment: {error}") from error
                    time.sleep(0.02)
        finally:
            os.close(folder)
        self._socket.setblocking(False)

    def read(self, timeout: float) -> bytes | None:
        """See `ConsoleStream`."""
        try:
            if not self._ready(select.POLLIN, timeout):
                return b""
            return self._socket.recv(BLOCK) or None
        except BlockingIOError:
            return b""
        except OSError:
            return None

    def write(self, data: bytes) -> None:
        """See `ConsoleStream`."""
        deadline = time.monotonic() + TYPING
        while data:
            try:
                if not self._ready(select.POLLOUT, max(0.0, deadline - time.monotonic())):
                    raise DriverError("the console takes nothing")
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise DriverError(f"the console is closed: {error}") from error

    def _ready(self, what: int, timeout: float) -> bool:
        if self._closed:
            raise OSError("it was closed here")
        poll = select.poll()
        poll.register(self._socket, what)
        return bool(poll.poll(timeout * 1000))

    def close(self) -> None:
        """See `ConsoleStream`."""
        self._closed = True
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
