"""The metadata service on a connection: a small HTTP/1.1 for guests, which the AWS endpoint's has nothing to do with.

What a guest may cost is bounded: bytes of a request, time that a connection may be silent, connections at a time.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from email.utils import formatdate
from http import HTTPStatus

import httptools

from backends import shares
from compat.metadata.service import Asked, Finder, MetadataService, Told

MOST_HEAD = 16384
"""Bytes of a request's line and headers; more of a body than that is not read, either."""
SILENCE = 30.0
"""Seconds that a connection may take for its next request."""
MOST_CONNECTIONS = 512
"""Connections at a time on one listening socket."""
MOST_OF_ONE = 128
"""The part of them that one instance may have."""
USUAL_HOPS = 64

Origin = Callable[[str, str], tuple[object, Finder | None]]
"""From the addresses of both ends (theirs, ours) of a connection to what tells origins apart, and how the instance is
found."""


class MetadataConnection(asyncio.Protocol):
    """One connection. Requests are answered one after the other, in place: they are short reads."""

    def __init__(self, service: MetadataService, origin: Origin, share: shares.Share) -> None:
        self._service, self._origin, self._share = service, origin, share
        self._counted = False
        self._read = 0
        self._path = b""
        self._headers: dict[str, str] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._timer = self._loop.call_later(SILENCE, transport.abort)
        theirs, ours = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        self._place, self._find = self._origin(theirs[0], ours[0])
        self._parser = httptools.HttpRequestParser(self)
        self._counted = self._share.take(str(self._place))
        if not self._counted:
            transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._timer.cancel()
        if self._counted:
            self._share.give(str(self._place))

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        self._read += len(data)
        if self._read > MOST_HEAD:
            self._refuse()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._refuse()

    # --- called by the parser ----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self._path, self._headers = b"", {}

    def on_url(self, url: bytes) -> None:
        """A piece of the target."""
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_message_complete(self) -> None:
        """A request is there, whole."""
        self._read = 0
        self._timer.cancel()
        self._timer = self._loop.call_later(SILENCE, self._transport.abort)
        method = self._parser.get_method().decode("latin-1")
        target = self._path.decode("latin-1")
        if target.startswith("http://"):  # absolute form, as proxies are asked
            target = "/" + target[7:].partition("/")[2]
        asked = Asked(method, target, self._headers)
        find = self._find
        told = Told(404) if find is None else self._service.answer(self._place, find, asked)
        self._send(told, method, self._parser.should_keep_alive())

    # --- answering ---------------------------------------------------------------------------------------------------

    def _send(self, told: Told, method: str, keep: bool) -> None:
        lines = [
            f"HTTP/1.1 {told.status} {HTTPStatus(told.status).phrase}",
            f"Content-Type: {told.kind}",
            f"Content-Length: {len(told.body)}",
            f"Date: {formatdate(usegmt=True)}",
            "Server: EC2ws",
            "Accept-Ranges: none",
            *(f"{name}: {value}" for name, value in told.headers.items()),
            f"Connection: {'keep-alive' if keep else 'close'}",
        ]
        if told.hops is not None:
            self._limit_hops(told.hops)
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        self._transport.write(head if method == "HEAD" else head + told.body)
        if not keep:
            self._transport.close()

    def _limit_hops(self, hops: int) -> None:
        """Let what this connection sends from now on, also when it is sent again, make so many hops."""
        found: socket.socket = self._transport.get_extra_info("socket")
        found.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, min(max(hops, 1), USUAL_HOPS))

    def _refuse(self) -> None:
        if not self._transport.is_closing():
            self._send(Told(400), "GET", False)


async def serve(service: MetadataService, origin: Origin, listener: socket.socket) -> asyncio.Server:
    """Serve the metadata service on a listening socket, on the running loop, until the server is closed."""
    share = shares.Share(MOST_CONNECTIONS, MOST_OF_ONE)
    loop = asyncio.get_running_loop()
    return await loop.create_server(lambda: MetadataConnection(service, origin, share), sock=listener)
