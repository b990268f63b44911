"""Calls to libvirt that always end: in threads of their own, each with a deadline, over connections that heal.

libvirt blocks while its daemon does; a daemon that is stopped in the middle would block us for ever.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import stat
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

from backends.errors import Away, DriverError, Exhausted

T = TypeVar("T")

CALL = 30.0
"""Seconds that a call may take, unless said otherwise."""
THREADS = 12
PAUSE = 2.0
"""Seconds for which nothing is tried after the daemon did not answer."""
HANGS = 4.0
"""Seconds that a daemon takes at most to greet whoever connects; one that takes longer hangs. Only the thread that
knocks waits for it then: everybody else is told at once, until it opens or is gone."""
LOOK = 1.0
"""Seconds between two looks whether the daemon still is there, while an answer is waited for."""
PULSE, MISSED = 2, 3
"""Seconds between two signs of life of a daemon, and how many it may miss before all calls to it are given up."""
HANGING = "libvirtd hangs: it takes calls, and answers none"

_log = logging.getLogger(__name__)
_loop_lock = threading.Lock()
_loop_runs = False


class Daemon(Protocol):
    """What brings the daemon up."""

    def ensure(self) -> None:
        """After success the daemon listens. Raises `Away`."""

    def end(self) -> None:
        """Have it end; what it runs goes on."""


class _Line:
    """A connection of one thread at a time, and its socket where it is known."""

    __slots__ = ("connection", "socket")

    def __init__(self, connection: Any, end: socket.socket | None) -> None:
        self.connection, self.socket = connection, end

    def cut(self) -> None:
        """Whatever is said on it fails from now on, and who waits for an answer waits no longer."""
        if self.socket is not None:
            with contextlib.suppress(OSError):  # the other end may have gone
                self.socket.shutdown(socket.SHUT_RDWR)
            self.socket.close()


class Session:
    """Connections to one libvirt URI, made when first needed and again when they broke.

    Two threads that speak on one connection can crash the process: older clients of libvirt's (9.0 for one) may use the
    stack of one for the other when both wait for answers (CVE-2024-4418), and their signs of life count as a thread's.
    So each call has a connection to itself while it lasts, without signs of life; events and these have another, on
    which nobody calls. When the daemon misses its signs of life, all connections are cut.
    """

    def __init__(self, uri: str, daemon: Daemon | None = None, *, prepare: Callable[[Any], None] | None = None) -> None:
        """`prepare` is called with every new connection for events: to register for them."""
        self.uri, self._daemon, self.prepare = uri, daemon, prepare
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="libvirt")
        self._lock = threading.Lock()
        self._watch: _Line | None = None
        self._idle: list[_Line] = []
        self._lines: set[_Line] = set()
        """All that are open, but for the one that is watched."""
        self._closed = False
        self._not_before = 0.0
        self._knocked: float | None = None
        """When, by the monotonic clock, a connection was asked for that is not there yet."""

    def run(self, work: Callable[[Any], T], *, within: float = CALL) -> T:
        """`work(connection)` on a thread of the pool. The connection is not its any more when it returns.

        Raises `Away` when the daemon is away or does not answer in time, `Exhausted` when the machine is full,
        `DriverError` for other errors of libvirt's.
        """
        if time.monotonic() < self._not_before:
            raise Away("libvirt does not answer")
        if self._hangs():
            raise Away(HANGING)
        left, deadline = threading.Event(), time.monotonic() + within
        try:
            future = self._pool.submit(self._work, work, left)
        except RuntimeError as error:  # the pool was given up at this moment
            raise Away(HANGING) from error
        try:
            while not wait([future], min(LOOK, HANGS, max(0.0, deadline - time.monotonic()))).done:
                if self._hangs():
                    raise Away(HANGING)
                if self._is_deaf():
                    self._give_up()
                    raise Away(HANGING)
                if time.monotonic() >= deadline:
                    self._give_up()
                    raise Away(f"libvirt did not answer within {within:g} s")
            return future.result()
        except CancelledError as error:
            raise Away(HANGING) from error
        finally:
            left.set()
            future.cancel()

    @contextmanager
    def apart(self) -> Iterator[Any]:
        """A connection for as long as the block takes, however long that is, on the caller's own thread. Raises as
        `run` does."""
        with translated():
            line = self._line(fresh=True)
            try:
                yield line.connection
            finally:
                self._end(line)

    def keep(self, work: Callable[[Any], T]) -> tuple[T, Callable[[], None]]:
        """What `work(connection)` made on a connection that it may keep, and what ends that. Raises as `run` does."""

        def made(connection: Any) -> tuple[T, Callable[[], None]]:
            line = self._line(fresh=True)
            try:
                return work(line.connection), lambda: self._end(line)
            except BaseException:
                self._end(line)
                raise

        return self.run(made)

    def renew(self) -> bool:
        """Have a daemon of ours end, so that the next one asks everything that runs how it is. False where it is
        somebody else's."""
        if self._daemon is None:
            return False
        self._daemon.end()
        return True

    def close(self) -> None:
        """Leave the daemon; guests go on."""
        self._closed = True
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._cut()

    def _hangs(self) -> bool:
        """Whether the daemon lets somebody wait at its door."""
        knocked = self._knocked
        return knocked is not None and time.monotonic() - knocked >= HANGS

    def _is_deaf(self) -> bool:
        """Whether the daemon has missed its signs of life, or went."""
        watch = self._watch
        return watch is not None and not watch.connection.isAlive()

    def _work(self, work: Callable[[Any], T], left: threading.Event) -> T:
        """Do the work, unless the caller has `left` before there was a connection: it may want something else now."""
        with translated():
            line = self._line()
            try:
                if left.is_set():
                    raise Away(HANGING)
                return work(line.connection)
            finally:
                self._give_back(line)

    def _line(self, *, fresh: bool = False) -> _Line:
        """A connection that nobody else has: one that is there, unless a `fresh` one is asked for."""
        with self._lock:
            if self._closed:
                raise Away("the connection to libvirt was closed")
            if self._watch is None or not self._watch.connection.isAlive():
                old, self._watch = self._watch, None
                if old is not None:
                    old.cut()
                self._watch = self._open_watch()
            while self._idle and not fresh:
                line = self._idle.pop()
                if line.connection.isAlive():
                    return line
                self._drop(line)
            line = self._knock()
            self._lines.add(line)
            return line

    def _give_back(self, line: _Line) -> None:
        with self._lock:
            if line in self._lines and line.connection.isAlive():
                self._idle.append(line)
            else:
                self._drop(line)

    def _end(self, line: _Line) -> None:
        with self._lock:
            self._drop(line)

    def _drop(self, line: _Line) -> None:
        """Forget a connection, without a word to the daemon, which might not hear it."""
        self._lines.discard(line)
        line.cut()

    def _open_watch(self) -> _Line:
        import libvirt

        _run_events()
        try:
            watch = self._knock()
        except libvirt.libvirtError:
            if self._daemon is None:
                raise
            self._daemon.ensure()
            watch = self._knock()
        try:
            if self.prepare is not None:
                self.prepare(watch.connection)
            watch.connection.setKeepAlive(PULSE, MISSED)
        except BaseException:
            watch.cut()
            raise
        return watch

    def _knock(self) -> _Line:
        """Open a connection, which takes as long as the daemon hangs."""
        import libvirt

        before = _daemon_sockets()
        self._knocked = time.monotonic()
        try:
            connection = libvirt.open(self.uri)
        finally:
            self._knocked = None
        return _Line(connection, _socket_since(before))

    def _give_up(self) -> None:
        """The daemon hangs: cut the threads that wait for it off, and begin with new ones."""
        self._not_before = time.monotonic() + PAUSE
        self._knocked = None
        old, self._pool = self._pool, ThreadPoolExecutor(THREADS, thread_name_prefix="libvirt")
        self._lock = threading.Lock()  # somebody may wait at the door with the old one
        old.shutdown(wait=False, cancel_futures=True)
        self._cut()

    def _cut(self) -> None:
        lines, self._lines, self._idle = self._lines, set(), []
        watch, self._watch = self._watch, None
        for line in (*lines, *(() if watch is None else (watch,))):
            line.cut()


def _daemon_sockets() -> dict[int, int]:
    """This process's connections to daemons of libvirt's: descriptors by the socket's number."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # others close theirs meanwhile
            status = os.fstat(int(name))
            if stat.S_ISSOCK(status.st_mode):
                with socket.fromfd(int(name), socket.AF_UNIX, socket.SOCK_STREAM) as one:
                    if str(one.getpeername()).endswith("-sock"):
                        found[status.st_ino] = int(name)
    return found


def _socket_since(before: Collection[int]) -> socket.socket | None:
    """A hold on the socket of the connection that was made since then. libvirt tells nobody which it is; without it,
    as with a daemon of another machine's, calls that hang are waited for."""
    for number, descriptor in _daemon_sockets().items():
        if number not in before:
            with contextlib.suppress(OSError):
                return socket.fromfd(descriptor, socket.AF_UNIX, socket.SOCK_STREAM)
    return None


def _run_events() -> None:
    """Run libvirt's event loop, once a process, on a thread of its own."""
    global _loop_runs
    import libvirt

    with _loop_lock:
        if _loop_runs:
            return
        libvirt.registerErrorHandler(lambda context, error: None, None)  # else it writes to standard error
        libvirt.virEventRegisterDefaultImpl()
        threading.Thread(target=_loop, name="libvirt-events", daemon=True).start()
        _loop_runs = True


def _loop() -> None:
    import libvirt

    while True:
        if libvirt.virEventRunDefaultImpl() < 0:
            _log.error("libvirt's event loop failed")
            time.sleep(1)


@contextmanager
def translated() -> Iterator[None]:
    """Errors of libvirt's as native ones."""
    import libvirt

    try:
        yield
    except libvirt.libvirtError as error:
        raise _native(error) from error


def _native(error: Any) -> DriverError | Exhausted:
    import libvirt

    code, domain = error.get_error_code(), error.get_error_domain()
    text = str(error)
    if code in (libvirt.VIR_ERR_NO_CONNECT, libvirt.VIR_ERR_RPC, libvirt.VIR_ERR_AUTH_FAILED) or (
        domain in (libvirt.VIR_FROM_RPC, libvirt.VIR_FROM_REMOTE)
    ):
        return Away(f"libvirt: {text}")
    if "client socket is closed" in text or "connection closed" in text.lower():
        return Away(f"libvirt: {text}")
    if code == libvirt.VIR_ERR_NO_MEMORY or "Cannot allocate memory" in text or "No space left" in text:
        return Exhausted(f"libvirt: {text}")
    return DriverError(f"libvirt: {text}")
