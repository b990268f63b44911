"""Between the event loop, where bytes arrive and leave, and the worker threads, where handlers block.

Nothing is received before a handler asks for it: the first `receive()` makes the server send `100 Continue`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, MutableMapping, Sequence
from concurrent.futures import Executor
from typing import Any

from compat.errors import AWSError
from compat.streams import BLOCK, ClientGone, FileRange, Stream
from gateway.body import BytesSource, Source
from gateway.head import POURED, WHOLE, ZERO_COPY, Head

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

SMALL = 1 << 16
"""Bodies of up to this many bytes are received on the event loop, before the handler runs."""
AHEAD = 4 * BLOCK
"""How much of a body is received before the handler has read it."""
WAKE = BLOCK // 4
"""A waiting handler is woken when this much has come."""
DRAIN = 1 << 20
"""How much of an unread body is thrown away so that the connection can be used again."""
IDLE = 60.0
"""Seconds for which a handler waits for more of a body; it holds a thread meanwhile."""
LINGER, LONGEST = 2.0, 30.0
"""Seconds for which a connection that is to be closed waits for more, so that the client can read the answer: between
two pieces of a body, and for all of them."""


async def read_all(receive: Receive, limit: int) -> bytes:
    """The whole raw body. Raises `AWSError` (413 when it is longer than `limit` bytes, 400 when nothing of it came for
    `IDLE` seconds), and `ClientGone`."""
    message = await _soon(receive)
    if message["type"] == "http.disconnect":
        raise ClientGone
    first: bytes = message.get("body", b"")
    if not message.get("more_body", False):
        if len(first) > limit:
            raise _too_large(limit)
        return first
    parts, size = [first], len(first)
    while message.get("more_body", False):
        if size > limit:
            raise _too_large(limit)
        message = await _soon(receive)
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
    if size > limit:
        raise _too_large(limit)
    return b"".join(parts)


async def _soon(receive: Receive) -> Any:
    try:
        async with asyncio.timeout(IDLE):
            return await receive()
    except TimeoutError:
        raise _too_slow() from None


def _too_large(limit: int) -> AWSError:
    return AWSError("RequestEntityTooLarge", f"The request body is longer than {limit} bytes.", 413)


def _too_slow() -> AWSError:
    return AWSError(
        "RequestTimeout",
        "Your socket connection to the server was not read from or written to within the timeout period. Idle "
        "connections will be closed.",
        400,
    )


def expects_continue(head: Head) -> bool:
    """Whether the client waits for `100 Continue` before it sends the body."""
    return head.text(b"expect").lower() == "100-continue"


async def open_source(head: Head, receive: Receive) -> Source:
    """Where the raw body can be read from: bytes when it is small, else a `QueueBody`.

    A small body is received here, and the client told to send it: so the caller must be authorised by now.
    """
    length = head.text(b"content-length")
    if not length and b"transfer-encoding" not in head.view:
        return BytesSource(b"")
    if length.isascii() and length.isdigit() and len(length) < 6 and int(length) <= SMALL:
        return BytesSource(await read_all(receive, SMALL))
    return QueueBody(receive, expects_continue(head))


class QueueBody:
    """A body that arrives while a handler, on another thread, reads it; at most `AHEAD` bytes wait in between."""

    def __init__(self, receive: Receive, expected: bool = False) -> None:
        """To be made on the event loop. `expected`: the client waits for `100 Continue`."""
        self._receive, self._expected = receive, expected
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Condition()
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._started = self._complete = self._gone = self._left = self._paused = self._arrived = False
        self._room = asyncio.Event()
        self._pump: asyncio.Task[None] | None = None

    # --- the handler's thread ---------------------------------------------------------------------------------------

    def read(self) -> bytes:
        """The next bytes, at most `BLOCK`; empty at the end. Raises `ClientGone` when the client left before that,
        and `AWSError` when it sent nothing for `IDLE` seconds."""
        with self._lock:
            if not self._started:
                self._started = True
                self._loop.call_soon_threadsafe(self._start)
            while self._size < WAKE and not (self._complete or self._gone):
                if not self._lock.wait(IDLE) and not self._arrived:
                    raise _too_slow()
                self._arrived = False
            if self._gone:
                raise ClientGone
            parts = self._take()
            if self._paused and self._size <= AHEAD // 2:
                self._paused = False
                self._loop.call_soon_threadsafe(self._room.set)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _take(self) -> list[bytes]:
        """Pieces of together at most `BLOCK` bytes; none at the end."""
        if not self._pieces:
            return []
        first = self._pieces.popleft()
        size = len(first)
        if size > BLOCK:
            self._pieces.appendleft(first[BLOCK:])
            first, size = first[:BLOCK], BLOCK
        parts = [first]
        while self._pieces and size + len(self._pieces[0]) <= BLOCK:
            parts.append(self._pieces.popleft())
            size += len(parts[-1])
        self._size -= size
        return parts

    # --- the event loop ---------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._pump = self._loop.create_task(self._run())
        self._pump.add_done_callback(self._end)

    async def _run(self) -> None:
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._left = True
                return
            if self._put(message.get("body", b"")):
                await self._room.wait()
            if not message.get("more_body", False):
                self._complete = True
                return

    def _end(self, pump: asyncio.Task[None]) -> None:
        """However the pump ended (even before it began), a waiting reader is released."""
        with self._lock:
            self._gone = not self._complete
            self._lock.notify()
        if not pump.cancelled():
            pump.exception()  # the reader learns of it; the loop need not complain

    def _put(self, piece: bytes) -> bool:
        """Queue a piece; whether the pump must pause."""
        with self._lock:
            if piece:
                self._arrived = True
                self._pieces.append(piece)
                self._size += len(piece)
            if self._size >= WAKE:
                self._lock.notify()
            if self._size < AHEAD:
                return False
            self._paused = True
            self._room.clear()
            return True

    async def settle(self) -> bool:
        """Called when the handler is done: throws away a small rest. Whether the connection can be used again; when
        not, answer by `send_last_bytes`."""
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.wait((self._pump,))
        if self._complete or self._left:
            return self._complete
        if self._expected and not self._started:
            return False
        return await drain(self._receive, DRAIN)


async def drain(receive: Receive, most: int, seconds: float = LINGER) -> bool:
    """Receive and forget up to `most` bytes, as long as some come within `seconds` and all within `LONGEST`; whether
    the body came to its end."""
    clock = asyncio.get_running_loop().time
    last = clock() + LONGEST
    try:
        async with asyncio.timeout(seconds) as patience:
            while most >= 0:
                message = await receive()
                patience.reschedule(min(clock() + seconds, last))
                if message["type"] == "http.disconnect":
                    return False
                if not message.get("more_body", False):
                    return True
                most -= len(message.get("body", b""))
    except TimeoutError:
        pass
    return False


async def send_bytes(send: Send, status: int, headers: Headers, payload: bytes = b"", *, whole: bool = False) -> None:
    """Send a whole answer. `headers` hold content-length already; `whole`: see `Head.whole`."""
    if whole:
        await send({"type": WHOLE, "status": status, "headers": headers, "body": payload})
        return
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": payload})


async def send_last_bytes(send: Send, receive: Receive, status: int, headers: Headers, payload: bytes = b"") -> None:
    """Send a whole answer to a client that may still be sending its body, then close.

    Closing with unread bytes would reset the connection, and the client would lose the answer; so the rest is received
    for a while before the end.
    """
    closing = [*headers, (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": closing})
    await send({"type": "http.response.body", "body": payload, "more_body": True})
    await drain(receive, 64 * BLOCK)
    await send({"type": "http.response.body", "body": b""})


async def send_stream(
    send: Send,
    receive: Receive,
    status: int,
    headers: Headers,
    stream: Stream,
    executor: Executor | None = None,
    *,
    zero_copy: bool = False,
) -> None:
    """Send an answer whose body is a stream; a block is read on a thread while the one before it is sent.

    `zero_copy`: the server can send from open files, and out of a buffer (`Head.zero_copy`). The stream is closed
    whatever happens. Raises `ClientGone` when the client left, and what reading raised; the server then drops the
    connection, so that nobody takes a part for the whole.
    """
    watch: asyncio.Task[None] | None = None
    try:
        await send({"type": "http.response.start", "status": status, "headers": headers})
        if zero_copy and stream.files:
            await _send_files(send, stream.files)
            return
        if zero_copy and stream.fill is not None and stream.length:
            await send({"type": POURED, "fill": stream.fill, "count": stream.length})
            return
        if stream.length is None or stream.length > BLOCK:
            watch = asyncio.get_running_loop().create_task(_until_gone(receive))
        await _send_blocks(send, stream, executor, watch)
    finally:
        if watch is not None:
            watch.cancel()
        stream.close()


async def _send_files(send: Send, files: Sequence[FileRange]) -> None:
    for file, offset, length in files:
        await send({"type": ZERO_COPY, "file": file, "offset": offset, "count": length, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _send_blocks(send: Send, stream: Stream, executor: Executor | None, watch: asyncio.Task[None] | None) -> None:
    loop = asyncio.get_running_loop()
    if stream.length is None:
        await _send_all(send, stream, executor, watch)
        return
    left = stream.length
    reading = loop.run_in_executor(executor, _next, stream.blocks) if left else None
    try:
        while reading is not None:
            block = await reading
            reading = None
            if block is None or len(block) > left:
                raise EOFError(f"a stream of {stream.length} bytes was not as long as it said")
            left -= len(block)
            if left:
                reading = loop.run_in_executor(executor, _next, stream.blocks)
            if watch is not None and watch.done():
                raise ClientGone
            await send({"type": "http.response.body", "body": block, "more_body": left > 0})
        if not stream.length:
            await send({"type": "http.response.body", "body": b""})
    finally:
        if reading is not None:
            await asyncio.wait((reading,))  # whoever closes the stream must not close it under a thread that reads it


async def _send_all(send: Send, stream: Stream, executor: Executor | None, watch: asyncio.Task[None] | None) -> None:
    """Send blocks until there are no more."""
    loop = asyncio.get_running_loop()
    while (block := await loop.run_in_executor(executor, _next, stream.blocks)) is not None:
        if watch is not None and watch.done():
            raise ClientGone
        await send({"type": "http.response.body", "body": block, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _next(blocks: Iterator[bytes]) -> bytes | None:
    return next(blocks, None)


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
