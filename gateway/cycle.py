"""One request and its answer on an HTTP/1.1 connection: uvicorn's cycle, with files that the kernel sends.

It adds ASGI's extension `http.response.zerocopysend`: the bytes go from the page cache to the socket, by the kernel.
And two of its own. `WHOLE`: an answer that is there in one piece is written in one piece. `POURED`: bytes are filled
into a buffer and sent out of it by one thread, so that a long answer costs the event loop nothing.
"""

from __future__ import annotations

import asyncio
import os
import select
from collections import deque
from collections.abc import Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from compat.streams import ClientGone
from gateway.head import POURED, WHOLE, ZERO_COPY
from gateway.lines import Headers, head_lines, respelled

EXTENSIONS: dict[str, dict[str, Any]] = {ZERO_COPY: {}, WHOLE: {}, POURED: {}}
BODILESS = frozenset({204, 304})
"""Statuses of answers that have no body."""
MOST_COPIED = 1 << 16
"""Length of a body from which it is not copied behind its head."""
STEP = 8 << 20
"""Bytes handed to the kernel in one call."""
POT = 1 << 19
"""Bytes that are filled and sent at a time: small enough for the processor's own memory."""
PATIENCE = 20
"""Milliseconds for which a thread waits for a slow client before the event loop does."""

_senders = ThreadPoolExecutor(32, thread_name_prefix="send")


def head_of_answer(status: int, default_lines: bytes, lines: bytes) -> bytes:
    """Status line and headers."""
    return STATUS_LINE[status] + default_lines + lines + b"\r\n"


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
    """One request and its answer. Of its body, pieces are kept and handed out as they came: appending them to one
    buffer costs a copy of every byte, and taking them out of it another."""

    pieces: deque[bytes]
    held: int
    """Bytes that came since all were handed out."""

    async def receive(self) -> Any:
        """ASGI's receive."""
        if self.waiting_for_100_continue and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            self.waiting_for_100_continue = False
        if not self.disconnected and not self.response_complete and not self.pieces:
            self.held = 0
            self.flow.resume_reading()
            await self.message_event.wait()
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body = self.pieces.popleft() if self.pieces else b""
        if not self.pieces:
            self.message_event.clear()
        return {"type": "http.request", "body": body, "more_body": self.more_body or bool(self.pieces)}

    async def send(self, message: MutableMapping[str, Any]) -> None:  # type: ignore[override]
        """ASGI's send. A zero-copy message needs `file` (a descriptor), `offset` and `count`, a poured one `fill` and
        `count`. Both raise `ClientGone`, the latter also what `fill` raises."""
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
                joining.held = [respelled(b"".join(head.held))]
                self.transport = joining  # type: ignore[assignment]
            return
        if kind not in (ZERO_COPY, POURED):
            await super().send(message)  # type: ignore[arg-type]
            if isinstance(self.transport, _Joining):
                self.transport.flush()  # a body that sends nothing: HEAD, 304
            return
        if isinstance(self.transport, _Joining):
            self.transport.flush()
        if not self.response_started or self.chunked_encoding or message["count"] > self.expected_content_length:
            raise RuntimeError("a file can be sent only inside a body whose length was announced")
        if self.scope["method"] != "HEAD":
            count = message["count"]
            if kind == POURED:
                await self._push(_Pot(message["fill"], count))
            else:
                await self._push(_File(message["file"], message["offset"], message["offset"] + count))
            self.expected_content_length -= message["count"]
        if not message.get("more_body", False):
            await super().send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_whole(self, status: int, headers: Headers, body: bytes) -> None:
        """What uvicorn does in two messages, header by header. Anything unusual is left to it."""
        if self.response_started or not self.keep_alive or (status in BODILESS and body):
            await self.send({"type": "http.response.start", "status": status, "headers": headers})
            await self.send({"type": "http.response.body", "body": body})
            return
        head = head_of_answer(status, head_lines(self.default_headers), head_lines(headers))
        if self.flow.write_paused and not self.disconnected:
            await self.flow.drain()
        if self.disconnected:
            return
        self.response_started = self.response_complete = True
        self.waiting_for_100_continue = False
        if self.scope["method"] == "HEAD":
            self.transport.write(head)
        elif len(body) < MOST_COPIED:
            self.transport.write(head + body)
        else:
            self.transport.writelines((head, body))
        self.message_event.set()
        self.on_response()

    async def _push(self, source: _File | _Pot) -> None:
        """Have all of it sent by a thread, which is given back while the client takes nothing."""
        await self._flush()
        if self.disconnected or self.transport.is_closing():
            raise ClientGone
        loop = asyncio.get_running_loop()
        # A descriptor of our own: the loop watches the connection's, and could close it under a working thread.
        out = os.dup(self.transport.get_extra_info("socket").fileno())
        try:
            while not source.done:
                try:
                    await loop.run_in_executor(_senders, _push, out, source)
                except (BrokenPipeError, ConnectionResetError):
                    raise ClientGone from None
                if not source.done:
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


class _File:
    """Bytes of an open file, from `offset` to `end`."""

    __slots__ = ("_end", "_file", "offset")

    def __init__(self, file: int, offset: int, end: int) -> None:
        self._file, self.offset, self._end = file, offset, end

    @property
    def done(self) -> bool:
        return self.offset >= self._end

    def send(self, out: int) -> None:
        """Send some. Raises `BlockingIOError` when the socket is full."""
        sent = os.sendfile(out, self._file, self.offset, min(self._end - self.offset, STEP))
        if sent == 0:
            raise EOFError("a file ended before the body that was announced from it")
        self.offset += sent


class _Pot:
    """`count` bytes that `fill` puts, some at a time, into one buffer."""

    __slots__ = ("_buffer", "_fill", "_left", "_unsent")

    def __init__(self, fill: Callable[[memoryview], int], count: int) -> None:
        self._fill, self._left = fill, count
        self._buffer = memoryview(bytearray(min(POT, count)))
        self._unsent = self._buffer[:0]

    @property
    def done(self) -> bool:
        return not self._left and not self._unsent

    def send(self, out: int) -> None:
        """Send some. Raises `BlockingIOError` when the socket is full."""
        if not self._unsent:
            filled = self._fill(self._buffer[: min(len(self._buffer), self._left)])
            if filled == 0:
                raise EOFError("what was to be sent ended before the body that was announced of it")
            self._left -= filled
            self._unsent = self._buffer[:filled]
        self._unsent = self._unsent[os.write(out, self._unsent) :]


def _push(out: int, source: _File | _Pot) -> None:
    """Send until the end, or until the socket has been full for a while."""
    poll = None
    while not source.done:
        try:
            source.send(out)
        except BlockingIOError:
            if poll is None:
                poll = select.poll()
                poll.register(out, select.POLLOUT)
            if not poll.poll(PATIENCE):
                return
