"""Waiting for a signal without missing it.

The kernel hands a signal to any thread that is there, or to the main one just before that begins to wait. Python's
handlers run when the main thread next runs something, so that one that waits for an event, without an end, sleeps on. A
byte in a socket wakes it, whichever thread the signal came to.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def heard(handle: Callable[[int, object], object] = lambda number, frame: None) -> Iterator[socket.socket]:
    """Have SIGINT and SIGTERM handled, for the block: gives a socket that can be read when one came. On the main
    thread."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    numbers = (signal.SIGINT, signal.SIGTERM)
    with ours, theirs:
        before = signal.set_wakeup_fd(ours.fileno(), warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, handle) for number in numbers}
        try:
            yield theirs
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)
