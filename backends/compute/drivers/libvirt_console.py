"""What guests say: the log of the serial console, the console live, the screen."""

from __future__ import annotations

import contextlib
import io
import select
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backends.compute.drivers.base import CONSOLE_KEPT
from backends.errors import DriverError

LOG_LIMIT = 4 << 20
"""Bytes after which a console's log is shortened to what is shown of it."""
BLOCK = 65536


def tail(log: Path) -> bytes:
    """The end of the log; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, file.seek(0, io.SEEK_END) - CONSOLE_KEPT))
            return file.read(CONSOLE_KEPT)
    except FileNotFoundError:
        return b""


def shorten(log: Path) -> None:
    """Keep the log from growing for ever. Its writer appends, so that it goes on at the new end; what it writes in
    these microseconds is lost."""
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LOG_LIMIT:
            kept = tail(log)
            with log.open("r+b") as file:
                file.truncate(0)
                file.write(kept)


def forget(log: Path) -> None:
    """Remove the log."""
    log.unlink(missing_ok=True)


class LiveConsole:
    """A `ConsoleStream` over a stream of libvirt's, which has a connection to itself; `end` ends that."""

    def __init__(self, stream: Any, end: Callable[[], None]) -> None:
        self._stream, self._end, self._closed = stream, end, False
        self._buffer = bytearray()
        self._ready = threading.Condition()
        import libvirt

        stream.eventAddCallback(
            libvirt.VIR_STREAM_EVENT_READABLE | libvirt.VIR_STREAM_EVENT_ERROR | libvirt.VIR_STREAM_EVENT_HANGUP,
            self._event,
            None,
        )

    def _event(self, stream: Any, events: int, opaque: Any) -> None:
        """On libvirt's own thread: take what is there. Nothing more is taken while nobody reads."""
        import libvirt

        with self._ready:
            try:
                while len(self._buffer) < 16 * BLOCK:
                    data = stream.recv(BLOCK)
                    if data == -2:
                        break
                    if not data:
                        self._closed = True
                        break
                    self._buffer += data
                else:
                    self._buffer.clear()  # nobody reads: what is old is not worth keeping
            except libvirt.libvirtError:
                self._closed = True
            if events & (libvirt.VIR_STREAM_EVENT_ERROR | libvirt.VIR_STREAM_EVENT_HANGUP):
                self._closed = True
            if self._closed:
                with contextlib.suppress(libvirt.libvirtError):
                    stream.eventRemoveCallback()
            self._ready.notify_all()

    def read(self, timeout: float) -> bytes | None:
        """See `ConsoleStream`."""
        with self._ready:
            self._ready.wait_for(lambda: self._buffer or self._closed, timeout)
            data = bytes(self._buffer)
            self._buffer.clear()
            return data if data or not self._closed else None

    def write(self, data: bytes) -> None:
        """See `ConsoleStream`."""
        import libvirt

        deadline = time.monotonic() + 10
        while data:
            if self._closed or time.monotonic() > deadline:
                raise DriverError("the console is closed, or takes nothing")
            try:
                sent = self._stream.send(data)
            except libvirt.libvirtError as error:
                raise DriverError(f"libvirt: {error}") from error
            if sent == -2:
                select.select([], [], [], 0.01)
                continue
            data = data[sent:]

    def close(self) -> None:
        """See `ConsoleStream`."""
        import libvirt

        with self._ready:
            was_open, self._closed = not self._closed, True
            self._ready.notify_all()
        if was_open:
            with contextlib.suppress(libvirt.libvirtError):
                self._stream.eventRemoveCallback()
        self._end()


def take_screenshot(connection: Any, domain: Any) -> bytes:
    """The screen as a JPEG."""
    import libvirt
    from PIL import Image

    stream = connection.newStream()
    try:
        domain.screenshot(stream, 0)
        picture = bytearray()
        while block := stream.recv(BLOCK):
            picture += block
        stream.finish()
    except BaseException:
        with contextlib.suppress(libvirt.libvirtError):
            stream.abort()
        raise
    out = io.BytesIO()
    with Image.open(io.BytesIO(bytes(picture))) as image:
        image.convert("RGB").save(out, "JPEG", quality=85)
    return out.getvalue()
