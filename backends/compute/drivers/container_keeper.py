"""A process beside each container: keeps what its console says, lets one person sit at it, and sees how it ends.

It outlives the engine, as the container does: nobody else reads the console meanwhile, and a console that nobody reads
holds up whoever writes to it. It is started by its path, on its own, and so leans on nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import sys
import termios
import tty
from pathlib import Path

BLOCK = 65536


class Keeper:
    """Watches one container until its first process and its controller have ended."""

    def __init__(self, console: int, log: int, door: socket.socket, verdict: Path, controller: int, first: int) -> None:
        """`console` is the terminal's host end; the last two are descriptors of processes. `verdict` is a file that is
        made when the controller ends before the first process does, as it never does by itself."""
        self._console, self._log, self._door, self._verdict = console, log, door, verdict
        self._controller, self._first = controller, first
        self._visitor: socket.socket | None = None
        self._poll = select.poll()
        for one in (console, door.fileno(), controller, first):
            self._poll.register(one, select.POLLIN)

    def run(self) -> None:
        """Until nothing is left to be watched."""
        alive = {self._controller, self._first}
        while alive:
            ready = {number for number, _ in self._poll.poll()}
            ended = ready & alive
            if self._controller in ended and self._first in alive - ended:
                self._verdict.touch()
            for one in ended:
                self._poll.unregister(one)
            alive -= ended
            if self._console in ready:
                self._hear()
            if self._door.fileno() in ready:
                self._receive()
            if self._visitor is not None and self._visitor.fileno() in ready:
                self._pass_on()
        while self._hear():
            pass

    def _hear(self) -> bool:
        """Take what the container says. False when there is nothing more."""
        try:
            said = os.read(self._console, BLOCK)
        except BlockingIOError:
            return False
        except OSError:
            said = b""  # the other end is closed
        if not said:
            with contextlib.suppress(KeyError):
                self._poll.unregister(self._console)
            return False
        with contextlib.suppress(OSError):  # a full disk must not hold up the container
            os.write(self._log, said)
        if self._visitor is not None:
            try:
                self._visitor.send(said)
            except BlockingIOError:
                pass  # nobody reads: what is old is not worth keeping
            except OSError:
                self._dismiss()
        return True

    def _receive(self) -> None:
        """Somebody comes; whoever sat here goes."""
        self._dismiss()
        self._visitor, _ = self._door.accept()
        self._visitor.setblocking(False)
        self._poll.register(self._visitor.fileno(), select.POLLIN)

    def _pass_on(self) -> None:
        """Type what the visitor types."""
        assert self._visitor is not None
        try:
            typed = self._visitor.recv(BLOCK)
        except BlockingIOError:
            return
        except OSError:
            typed = b""
        if not typed:
            self._dismiss()
        while typed:
            try:
                typed = typed[os.write(self._console, typed) :]
            except BlockingIOError:
                if not select.select([], [self._console], [], 1.0)[1]:
                    return  # it takes nothing
            except OSError:
                return

    def _dismiss(self) -> None:
        if self._visitor is not None:
            self._poll.unregister(self._visitor.fileno())
            self._visitor.close()
            self._visitor = None


def main(terminal: str, log: str, door: str, verdict: str, controller: int, first: int) -> None:
    """Keep the console at `terminal`, in the file `log` and behind the socket `door`."""
    processes = [os.pidfd_open(controller), os.pidfd_open(first)]
    console = os.open(terminal, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    tty.setraw(console, termios.TCSANOW)  # what was said already must not be thrown away
    kept = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(door)
    with socket.socket(socket.AF_UNIX) as listener:
        # Its folder's name may be longer than addresses of sockets are.
        os.chdir(os.path.dirname(door))
        listener.bind(os.path.basename(door))
        listener.listen(4)
        listener.setblocking(False)
        Keeper(console, kept, listener, Path(verdict), *processes).run()
        os.unlink(os.path.basename(door))


if __name__ == "__main__":
    _, one, two, three, four, five, six = sys.argv
    main(one, two, three, four, int(five), int(six))
