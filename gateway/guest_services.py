"""What guests are served with from beside them: metadata today by loopback, inside real networks by their sockets.

It lives on an event loop of its own in a thread of its own, in the process that reconciles, so that neither a burst of
API calls nor a slow disk keeps a guest waiting for its address.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading

from compat.metadata.service import Finder, MetadataService, asked_at
from gateway import metadata
from gateway.compose import Parts
from gateway.settings import Settings

log = logging.getLogger("nephele.guests")


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

    def __init__(self, settings: Settings, parts: Parts, listener: socket.socket | None) -> None:
        """`listener`: where metadata is served on loopback, if it is."""
        hosts = parts.cloud.hosts
        self._service = MetadataService(parts.cloud, hosts["identity"], hosts["signet"])
        self._listener = listener
        self._thread: threading.Thread | None = None
        self._loop = asyncio.new_event_loop()

    def start(self) -> None:
        """Serve, on a thread."""
        self._thread = threading.Thread(target=self._run, name="guest-services", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End, and close every socket."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(self._begin())
        self._loop.run_forever()
        if server is not None:
            server.close()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                self._loop.run_until_complete(task)

    async def _begin(self) -> asyncio.Server | None:
        if self._listener is None:
            return None
        return await metadata.serve(self._service, _by_loopback, self._listener)
