"""The HTTP/1.1 connection: uvicorn's, with a limit on the head of a request and files sent without being read.

It adds ASGI's extension `http.response.zerocopysend`: the bytes go from the page cache to the socket, by the kernel.
And one of its own, `WHOLE`: an answer that is there in one piece is written in one piece.
"""

from __future__ import annotations

import asyncio
import os
import re
import select
from collections.abc import MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from compat.streams import ClientGone
from gateway.head import WHOLE, ZERO_COPY

EXTENSIONS: dict[str, dict[str, Any]] = {ZERO_COPY: {}, WHOLE: {}}
MOST_HEAD = 1 << 16
"""Longest request line and headers together, in bytes."""
MOST_HEADERS = 256
MOST_HELD = 3 << 18
"""Bytes of a body that are read before anybody asks for them; with the read that goes beyond, still one block."""
MOST_COPIED = 1 << 16
"""Length of a body from which it is not copied behind its head."""
STEP = 8 << 20
"""Bytes handed to the kernel in one call."""
PATIENCE = 20
"""Milliseconds for which a thread waits for a slow client before the event loop does."""

MOST_WAIT = 60.0
"""Seconds within which the head of a request must come, once it or the connection began."""
LINGER = 1.0
"""Seconds until a refused connection is closed: closing at once could take the refusal away from the client."""

_TOO_LARGE = (
    "RequestHeaderSectionTooLarge",
    f"Your request header section exceeds the maximum allowed size of {MOST_HEAD} bytes.",
)
_UNREADABLE = ("BadRequest", "An error occurred when parsing the HTTP request.")
_CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]").search
_senders = ThreadPoolExecutor(32, thread_name_prefix="send")


class HeadTooLarge(Exception):
    """The request line and headers are longer than any client's of AWS."""


class _Joining:
    """A transport that holds the head of an answer back until the first bytes of its body: one call to the kernel, not
    two, for nearly every answer."""

    __slots__ = ("_transport", "held")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.held: list[bytes] = []

    def write(self, data: bytes) -> None:
        """Hold a head, or send what is held with what follows."""
        if self.held:
            self.held.append(data)
            self.flush()
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Send what is held."""
        if self.held:
            held, self.held = self.held, []
            self._transport.writelines(held)

    def close(self) -> None:
        """Send what is held, and close."""
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class _Head:
    """Takes the head that uvicorn writes."""

    __slots__ = ("held",)

    def __init__(self) -> None:
        self.held: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.held.append(data)


class Cycle(RequestResponseCycle):
    """One request and its answer. Of its body, pieces are kept as they came: appending them to one buffer costs a copy
    of every byte, and taking them out of it another."""

    pieces: list[bytes]
    held: int

    async def receive(self) -> Any:
        """ASGI's receive."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not self.disconnected and not self.response_complete:
            self.flow.resume_reading()
            await self.message_event.wait()
            self.message_event.clear()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        pieces = self.pieces
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.pieces, self.held = [], 0
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: MutableMapping[str, Any]) -> None:  # type: ignore[override]
        """ASGI's send. A zero-copy message needs `file` (a descriptor), `offset`, `count`, and raises `ClientGone`."""
        kind = message["type"]
        if kind == WHOLE:
            await self._send_whole(message["status"], message["headers"], message["body"])
            return
        if kind == "http.response.start" and not self.disconnected:
            transport, head = self.transport, _Head()
            self.transport = head  # type: ignore[assignment]
            try:
                await super().send(message)  # type: ignore[arg-type]
            finally:
                joining = _Joining(transport)
                joining.held = head.held
                self.transport = joining  # type: ignore[assignment]
            return
        if kind != ZERO_COPY:
            await super().send(message)  # type: ignore[arg-type]
            if isinstance(self.transport, _Joining):
                self.transport.flush()  # a body that sends nothing: HEAD, 304
            return
        if isinstance(self.transport, _Joining):
            self.transport.flush()
        if not self.response_started or self.chunked_encoding or message["count"] > self.expected_content_length:
            raise RuntimeError("a file can be sent only inside a body whose length was announced")
        if self.scope["method"] != "HEAD":
            await self._send_file(message["file"], message["offset"], message["count"])
            self.expected_content_length -= message["count"]
        if not message.get("more_body", False):
            await super().send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_whole(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """What uvicorn does in two messages, header by header. Anything unusual is left to it."""
        lines = b"".join([b"%b: %b\r\n" % pair for pair in (*self.default_headers, *headers)])
        usual = lines.count(b"\n") == len(headers) + len(self.default_headers) and not _CONTROLS(lines)
        if not usual or self.response_started or not self.keep_alive or (status in (204, 304) and body):
            await self.send({"type": "http.response.start", "status": status, "headers": headers})
            await self.send({"type": "http.response.body", "body": body})
            return
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        head = STATUS_LINE[status] + lines + b"\r\n"
        if self.scope["method"] == "HEAD":
            self.transport.write(head)
        elif len(body) < MOST_COPIED:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))
        self.message_event.set()
        self.on_response()

    async def _send_file(self, file: int, offset: int, count: int) -> None:
        await self._flush()
        if self.disconnected or self.transport.is_closing():
            raise ClientGone
        loop = asyncio.get_running_loop()
        # A descriptor of our own: the loop watches the connection's, and could close it under a working thread.
        out = os.dup(self.transport.get_extra_info("socket").fileno())
        try:
            end = offset + count
            while offset < end:
                try:
                    offset = await loop.run_in_executor(_senders, _push, out, file, offset, end)
                except (BrokenPipeError, ConnectionResetError):
                    raise ClientGone from None
                if offset < end:
                    await self._writable(loop, out)
        finally:
            os.close(out)

    async def _flush(self) -> None:
        """Wait until what was written before is with the kernel, so that nothing overtakes it."""
        rounds = 0
        while self.transport.get_write_buffer_size() and not self.disconnected:
            rounds += 1
            await asyncio.sleep(0 if rounds < 4 else 0.002)

    async def _writable(self, loop: asyncio.AbstractEventLoop, out: int) -> None:
        """Wait for room in the socket. Raises `ClientGone`."""
        ready = asyncio.Event()
        loop.add_writer(out, ready.set)
        try:
            while not self.disconnected:
                try:
                    await asyncio.wait_for(ready.wait(), 1)
                except TimeoutError:
                    continue
                return
            raise ClientGone
        finally:
            loop.remove_writer(out)


def _push(out: int, file: int, offset: int, end: int) -> int:
    """Send until the end, or until the socket has been full for a while; how far it came."""
    poll = None
    while offset < end:
        try:
            sent = os.sendfile(out, file, offset, min(end - offset, STEP))
        except BlockingIOError:
            if poll is None:
                poll = select.poll()
                poll.register(out, select.POLLOUT)
            if not poll.poll(PATIENCE):
                return offset
            continue
        if sent == 0:
            raise EOFError("a file ended before the body that was announced from it")
        offset += sent
    return offset


class HttpConnection(HttpToolsProtocol):
    """uvicorn's protocol, to be given to it as `http=`."""

    _size = 0
    _raw = 0
    _in_head = False
    _refused = False
    _deadline = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came. One that says nothing is not waited for."""
        super().connection_made(transport)
        self._deadline = self.loop.time() + MOST_WAIT
        self._hurry()

    def _hurry(self) -> None:
        wait = max(0.0, self._deadline - self.loop.time())
        self.timeout_keep_alive_task = self.loop.call_later(wait, self._give_up)

    def _give_up(self) -> None:
        if self.cycle is None or self.cycle.response_complete:
            self.timeout_keep_alive_handler()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        if self.scheme == "http":
            self.scope["extensions"] = EXTENSIONS  # type: ignore[typeddict-item]
        self._size = self._raw = 0
        self._in_head = True
        self._deadline = self.loop.time() + MOST_WAIT

    def on_url(self, url: bytes) -> None:
        """A part of the request's target came."""
        super().on_url(url)
        self._grow(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header came whole."""
        super().on_header(name, value)
        self._grow(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """The head is complete."""
        self._in_head = False
        super().on_headers_complete()
        cycle = self.cycle
        if cycle is None:  # a websocket's beginning
            return
        cycle.__class__ = Cycle
        cycle.pieces, cycle.held = [], 0  # type: ignore[attr-defined]

    def on_body(self, body: bytes) -> None:
        """A piece of the body came."""
        cycle: Cycle = self.cycle  # type: ignore[assignment]
        if cycle.response_complete:
            return
        cycle.pieces.append(body)
        cycle.held += len(body)
        if cycle.held > MOST_HELD:
            self.flow.pause_reading()
        cycle.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Bytes came. A head that does not end is cut off, even where the parser has nothing to tell of it yet."""
        if self._refused:
            return
        begun = self._in_head
        super().data_received(data)
        if not self._in_head or self._refused:
            return
        self._raw += len(data) if begun else 0
        if self._raw > MOST_HEAD:
            self._refuse(*_TOO_LARGE)
        else:
            self._hurry()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request."""
        self._refuse(*(_TOO_LARGE if self._is_too_large() else _UNREADABLE))

    def _grow(self, size: int) -> None:
        self._size += size
        if self._is_too_large():
            raise HeadTooLarge

    def _is_too_large(self) -> bool:
        return self._in_head and (self._size > MOST_HEAD or len(self.headers) > MOST_HEADERS)

    def _refuse(self, code: str, message: str) -> None:
        """Answer for the parser, unless an answer is on its way; read no further; close a little later.

        What follows a request that came whole is not that request's fault: it is answered, and then this closes.
        """
        self._refused = True
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and not cycle.more_body and not self.pipeline:
            cycle.keep_alive = False
            return
        if self.transport.is_closing() or (
            cycle is not None and cycle.response_started and not cycle.response_complete
        ):
            self.transport.close()
            return
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\nserver: Nephele\r\ncontent-type: application/xml\r\nconnection: close\r\n"
            b"content-length: %d\r\n\r\n%s" % (len(body), body.encode())
        )
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER, self.transport.close)
