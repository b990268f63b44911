"""Calls to libvirt that always end: in threads of their own, each with a deadline, over a connection that heals itself.

libvirt blocks while its daemon does; a daemon that is stopped in the middle would block us for ever.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
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


class Session:
    """A connection to one libvirt URI, made when first needed and again when it broke."""

    def __init__(self, uri: str, daemon: Daemon | None = None, *, prepare: Callable[[Any], None] | None = None) -> None:
        """`prepare` is called with every new connection: to register for events."""
        self.uri, self._daemon, self.prepare = uri, daemon, prepare
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="libvirt")
        self._lock = threading.Lock()
        self._connection: Any = None
        self._not_before = 0.0
        self._knocked: float | None = None
        """When, by the monotonic clock, a connection was asked for that is not there yet."""

    def run(self, work: Callable[[Any], T], *, within: float = CALL) -> T:
        """`work(connection)` on a thread of the pool.

        Raises `Away` when the daemon is away or does not answer in time, `Exhausted` when the machine is full,
        `DriverError` for other errors of libvirt's.
        """
        if time.monotonic() < self._not_before:
            raise Away("libvirt does not answer")
        if self._hangs():
            raise Away(HANGING)
        left = threading.Event()
        future = self._pool.submit(self._work, work, left)
        first = min(HANGS, within)
        try:
            try:
                return future.result(first)
            except Late:
                if self._hangs():
                    raise Away(HANGING) from None
                return future.result(within - first)
        except Late as error:
            self._give_up()
            raise Away(f"libvirt did not answer within {within:g} s") from error
        finally:
            left.set()
            future.cancel()

    def renew(self) -> bool:
        """Have a daemon of ours end, so that the next one asks everything that runs how it is. False where it is
        somebody else's."""
        if self._daemon is None:
            return False
        self._daemon.end()
        return True

    def close(self) -> None:
        """Leave the daemon; guests go on."""
        with self._lock:
            connection, self._connection = self._connection, None
        self._pool.shutdown(wait=False, cancel_futures=True)
        if connection is not None:
            with translated():
                connection.close()

    def _hangs(self) -> bool:
        """Whether the daemon lets somebody wait at its door."""
        knocked = self._knocked
        return knocked is not None and time.monotonic() - knocked >= HANGS

    def _work(self, work: Callable[[Any], T], left: threading.Event) -> T:
        """Do the work, unless the caller has `left` before there was a connection: it may want something else now."""
        with translated():
            connection = self._connected()
            if left.is_set():
                raise Away(HANGING)
            return work(connection)

    def _connected(self) -> Any:
        with self._lock:
            if self._connection is not None and self._connection.isAlive():
                return self._connection
            self._connection = None
            self._connection = self._connect()
            return self._connection

    def _connect(self) -> Any:
        import libvirt

        _run_events()
        try:
            connection = self._knock()
        except libvirt.libvirtError:
            if self._daemon is None:
                raise
            self._daemon.ensure()
            connection = self._knock()
        connection.setKeepAlive(PULSE, MISSED)
        if self.prepare is not None:
            self.prepare(connection)
        return connection

    def _knock(self) -> Any:
        """Open a connection, which takes as long as the daemon hangs."""
        import libvirt

        self._knocked = time.monotonic()
        try:
            return libvirt.open(self.uri)
        finally:
            self._knocked = None

    def _give_up(self) -> None:
        """The daemon hangs: leave the threads that wait for it alone, and begin with new ones."""
        self._not_before = time.monotonic() + PAUSE
        self._connection = self._knocked = None
        old, self._pool = self._pool, ThreadPoolExecutor(THREADS, thread_name_prefix="libvirt")
        self._lock = threading.Lock()
        old.shutdown(wait=False, cancel_futures=True)


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
