"""What guests are served with from beside them: metadata today by loopback, inside real networks by their sockets.

It lives on an event loop of its own in a thread of its own, in the process that reconciles, so that neither a burst of
API calls nor a slow disk keeps a guest waiting for its address.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

from compat.metadata.service import Finder, MetadataService, asked_at, asking_from
from compat.vpc.resolving import LINK_LOCAL
from gateway import metadata
from gateway.relay import serve_relay

if TYPE_CHECKING:
    from gateway.parts import Parts

API_PORT = 4566
"""Where guests find the AWS endpoint at the link-local address; the same whatever port it listens on outside."""
Serve = Callable[[str, socket.socket], Awaitable[asyncio.Server]]


class CannotListen(Exception):
    """A socket that the settings ask for cannot be had; the message says why."""


def loopback_listener(port: int) -> socket.socket:
    """A socket that takes connections to every loopback address (127.0.0.0/8), and to no other. Raises `CannotListen`.

    It is bound to the device: what comes over a network does not reach it."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        listener.bind(("0.0.0.0", port))
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise CannotListen(f"cannot serve instance metadata on port {port} of lo: {error.strerror}") from error
    return listener


def _by_loopback(theirs: str, ours: str) -> tuple[object, Finder | None]:
    return ours, asked_at(ours)


class GuestServices:
    """Starts with the reconciler, and ends with it."""

    def __init__(self, parts: Parts, listener: socket.socket | None) -> None:
        """`listener`: where metadata is served on loopback, if it is."""
        self._parts, self._listener = parts, listener
        self._thread: threading.Thread | None = None
        self._loop = asyncio.new_event_loop()
        self._ending = asyncio.Event()

    def start(self) -> None:
        """Serve, on a thread."""
        self._thread = threading.Thread(target=self._run, name="guest-services", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and close every socket."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._ending.set)
            self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._live())

    async def _live(self) -> None:
        server = None
        if self._listener is not None:
            server = await metadata.serve(self._parts.metadata, _by_loopback, self._listener)
        attending = None
        if self._parts.attendance is not None:
            attending = asyncio.create_task(self._parts.attendance.run())
        await self._ending.wait()
        if server is not None:
            server.close()
        if attending is not None:
            attending.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await attending


def streams_for_guests(service: MetadataService, api: Path | None) -> dict[tuple[str, int], Serve]:
    """What is served inside every real network, by address and port; `api` is the socket of the AWS endpoint."""

    async def serve_metadata(network: str, listener: socket.socket) -> asyncio.Server:
        return await metadata.serve(
            service, lambda theirs, ours: ((network, theirs), asking_from(network, theirs)), listener
        )

    found: dict[tuple[str, int], Serve] = {(LINK_LOCAL, 80): serve_metadata}
    if api is not None:
        found[LINK_LOCAL, API_PORT] = lambda network, listener: serve_relay(api, listener)
    return found
