"""The HTTP/1.1 connection: uvicorn's, with a limit on the head of a request, and a short way for small requests.

A request that came whole in one piece, as nearly all do, is given to the application at once (`AtOnce`), on a `Line`:
no scope, no task, no queue of messages is made for it unless it turns out to need them. Everything else is ASGI.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol
from urllib.parse import unquote

from httptools import HttpRequestParser
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.cycle import BODILESS, EXTENSIONS, Cycle, head_of_answer
from gateway.head import TLS, Head
from gateway.lines import head_lines
from gateway.tls import HELLO, Certificates, seal

log = logging.getLogger("nephele.connection")

MOST_HEAD = 1 << 16
"""Longest request line and headers together, in bytes."""
MOST_HEADERS = 256
MOST_HELD = 3 << 18
"""Bytes of a body that are read before anybody asks for them; with the read that goes beyond, still one block."""
MOST_AT_ONCE = 1 << 16
"""Longest body of a request that is answered at once."""

MOST_WAIT = 60.0
"""Seconds within which the head of a request must come, once it or the connection began."""
LINGER, LONGEST = 1.0, 30.0
"""Seconds until a refused connection is closed, after the last that came of it, and after the refusal: closing at once
could take the refusal away from the client."""

_TOO_LARGE = (
    "RequestHeaderSectionTooLarge",
    f"Your request header section exceeds the maximum allowed size of {MOST_HEAD} bytes.",
)
_UNREADABLE = ("BadRequest", "An error occurred when parsing the HTTP request.")
_BODIES = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade", b"connection"})
"""Headers that say something of the body or of the connection."""


class HeadTooLarge(Exception):
    """The request line and headers are longer than any client's of AWS."""


class AtOnce(Protocol):
    """An application that can answer without ASGI. It raises nothing."""

    def at_once(self, head: Head, body: bytes, line: Line) -> Coroutine[Any, Any, None] | None:
        """Answer on the line; or what remains to be done until then, to be run as a task."""


class _Nobody:
    """Waits for nothing."""

    def set(self) -> None: ...


class Line:
    """What a request that is answered at once is answered on. For uvicorn it stands where a cycle would.

    One serves all requests of a connection, since only one of them is under way at a time.
    """

    __slots__ = ("_connection", "body", "disconnected", "head", "keep_alive", "response_complete", "response_started")
    message_event = _Nobody()
    more_body = False
    head: Head
    body: bytes

    def __init__(self, connection: HttpConnection) -> None:
        self._connection = connection
        self.keep_alive = True
        self.disconnected = self.response_started = False
        self.response_complete = True

    def begin(self, head: Head, body: bytes) -> None:
        """A request came."""
        self.head, self.body = head, body
        self.response_started = self.response_complete = False

    def answer(self, status: int, lines: bytes, body: bytes) -> None:
        """Send the whole answer, whose headers are the lines; nobody minds when the client is gone."""
        connection = self._connection
        head = head_of_answer(status, connection.default_lines, lines)
        transport = connection.transport
        self.response_started = self.response_complete = True
        if self.disconnected or transport.is_closing():
            return
        if not self.keep_alive:
            head = head[:-2] + b"connection: close\r\n\r\n"
        transport.write(head if self.head.method == "HEAD" or status in BODILESS else head + body)
        if not self.keep_alive:
            transport.close()
        connection.on_response_complete()

    def open(self) -> tuple[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]]:
        """ASGI's scope, receive and send, for an answer that is not there in one piece. The line's work ends here."""
        cycle = self._connection.open_cycle(self)
        self.response_complete = True
        return cycle.scope, cycle.receive, cycle.send


class HttpConnection(HttpToolsProtocol):
    """uvicorn's protocol, to be given to it as `http=`."""

    cycle: Cycle | Line | None  # type: ignore[assignment]
    _size = 0
    """Bytes of the target, and, where they are counted, of the headers."""
    _raw = 0
    """Bytes of a head that did not come in one read."""
    _longest = 0
    """Bytes than which the head cannot be longer."""
    _in_head = False
    _refused = False
    _heard = 0.0
    """When the last came of a connection that was refused."""
    _deadline = 0.0
    _watch: asyncio.TimerHandle | None = None
    _pieces: list[bytes] | None = None
    """The body of a request that is answered at once, as far as it came; None for other requests."""
    _coming = 0
    """Bytes of a long body that are still to come, past the parser."""
    _plain = True
    """Whether the headers say nothing of a body or of the connection."""
    _at_once: Any = None
    _certificates: Certificates | None = None
    _told: list[tuple[bytes, bytes]] | None = None
    _lines = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client came. One that says nothing is not waited for."""
        super().connection_made(transport)
        self._line = Line(self)
        self._at_once = getattr(self.app, "at_once", None)
        self._certificates = getattr(self.app, "certificates", None) if self.scheme == "http" else None
        self._deadline = self.loop.time() + MOST_WAIT
        self._hurry()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client went."""
        if self._watch is not None:
            self._watch.cancel()
        super().connection_lost(exc)

    # --- patience: one timer, which looks when it fires whether the deadline has moved ------------------------------

    def _hurry(self) -> None:
        if self._watch is not None:
            self._watch.cancel()
        self._watch = self.loop.call_at(self._deadline, self._look)

    def _look(self) -> None:
        now = self.loop.time()
        if self.cycle is not None and not self.cycle.response_complete:
            self._deadline = max(self._deadline, now + self.timeout_keep_alive)
        if now < self._deadline:
            self._watch = self.loop.call_at(self._deadline, self._look)
        else:
            self.timeout_keep_alive_handler()

    def on_response_complete(self) -> None:
        """An answer was sent. What came behind the request is next, or the client may think for a while."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self._deadline = self.loop.time() + self.timeout_keep_alive

    # --- the parser's callbacks ---------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """A request begins."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._size = self._raw = 0
        self._in_head = self._plain = True
        self._pieces = None
        self._deadline = self.loop.time() + MOST_WAIT

    def on_url(self, url: bytes) -> None:
        """A part of the request's target came."""
        self.url += url
        self._size += len(url)
        if self._size > MOST_HEAD:
            raise HeadTooLarge

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header came whole."""
        name = name.lower()
        self.headers.append((name, value))
        if name in _BODIES:
            self._plain = False
            if name == b"expect" and value.lower() == b"100-continue":
                self.expect_100_continue = True

    def on_headers_complete(self) -> None:
        """The head is complete. Until then it is bounded by what one read gives, and by `data_received`."""
        headers = self.headers
        if len(headers) > MOST_HEADERS or self._longest > MOST_HEAD:
            self._size += sum([len(name) + len(value) for name, value in headers])
            if self._size > MOST_HEAD or len(headers) > MOST_HEADERS:
                raise HeadTooLarge
        self._in_head = False
        if self._may_be_at_once():
            self._pieces = []
        else:
            self._begin_cycle()
            self._expect_body()

    def on_body(self, body: bytes) -> None:
        """A piece of the body came."""
        if self._coming:
            self._coming -= len(body)
        if self._pieces is not None:
            self._pieces.append(body)
            return
        cycle = self.cycle
        if not isinstance(cycle, Cycle) or cycle.response_complete:
            return
        cycle.pieces.append(body)
        cycle.held += len(body)
        if cycle.held > MOST_HELD:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """The request is complete."""
        pieces = self._pieces
        if pieces is None:
            super().on_message_complete()
            return
        self._pieces = None
        path, _, query = self.url.partition(b"?")
        method = self.parser.get_method().decode("ascii")
        client = self.client[0] if self.client else ""
        head = Head(method, path, query, self.headers, client, "http", True, True)
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        self.cycle = line = self._line
        line.begin(head, body)
        rest = self._at_once(head, body, line)
        if rest is not None:
            task = self.loop.create_task(rest)
            task.add_done_callback(self._ended)
            self.tasks.add(task)

    def data_received(self, data: bytes) -> None:
        """Bytes came. A head that does not end is cut off, even where the parser has nothing to tell of it yet."""
        if self._refused:
            self._heard = self.loop.time()
            return
        if data[0] == HELLO and self.cycle is None and not self._in_head and self._certificates is not None:
            self._go_under_tls(data)
            return
        begun = self._in_head
        if self._coming:
            data = self._take_body(data)
            if not data:
                return
        self._longest = self._longest + len(data) if begun else len(data)
        super().data_received(data)
        if self._pieces is not None:
            self._wait_for_body(self._pieces)
        if not self._in_head or self._refused:
            return
        self._raw += len(data) if begun else 0
        if self._raw > MOST_HEAD:
            self._refuse(*_TOO_LARGE)
        else:
            self._hurry()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The client will send no more, and may listen still: then it is told that its body is too short."""
        cycle = self.cycle
        if not isinstance(cycle, Cycle) or cycle.response_complete or not cycle.more_body or self._refused:
            return False
        cycle.keep_alive = cycle.more_body = False
        self._refused = True
        cycle.message_event.set()
        return True

    def _take_body(self, data: bytes) -> bytes:
        """Take of a long body what came; what came behind it. The parser would only copy the bytes."""
        taken = min(len(data), self._coming)
        self.on_body(data if taken == len(data) else data[:taken])
        if not self._coming:
            self.parser = HttpRequestParser(self)  # the old one still waits for the body
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn does
            self.on_message_complete()
        return data[taken:]

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no request."""
        too_large = self._in_head and (self._size > MOST_HEAD or len(self.headers) > MOST_HEADERS)
        self._refuse(*(_TOO_LARGE if too_large else _UNREADABLE))

    def _go_under_tls(self, data: bytes) -> None:
        """A client that speaks TLS came: another connection takes this one's place, behind the sealing of it."""
        assert self._certificates is not None and self.server is not None
        inner = type(self)(
            config=self.config, server_state=self.server_state, app_state=self.app_state, _loop=self.loop
        )
        if self._watch is not None:
            self._watch.cancel()
        self.connections.discard(self)
        self._refused = True
        seal(self.transport, inner, self._certificates.context(self.server[0]), data, self.loop)

    # --- the short way and the long one ------------------------------------------------------------------------------

    def _may_be_at_once(self) -> bool:
        """Whether nothing about the request is unusual, as far as its head tells."""
        if (
            self._at_once is None
            or self.url[:1] != b"/"
            or b"#" in self.url
            or not self.url.isascii()
            or not (self.cycle is None or self.cycle.response_complete)
            or self.flow.write_paused
            or self.scheme != "http"
            or self.parser.get_http_version() != "1.1"
            or not self.parser.should_keep_alive()
        ):
            return False
        if self._plain:
            return True
        for name, value in self.headers:
            if name == b"content-length":
                if len(value) > 5 or int(value) > MOST_AT_ONCE:  # the parser has seen that it is a number
                    return False
            elif name in _BODIES and name != b"connection":
                return False
        return True

    def _begin_cycle(self) -> None:
        """Go the long way, uvicorn's."""
        url, headers, expects = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expects
        self.headers = self.scope["headers"] = headers
        if self.scheme == "http":
            self.scope["extensions"] = EXTENSIONS  # type: ignore[typeddict-item]
        elif (sealed := self.transport.get_extra_info("ssl_object")) is not None:
            told: Any = (sealed.version(), sealed.cipher()[0])
            self.scope["extensions"] = {TLS: told}
        before = self.cycle
        super().on_headers_complete()
        cycle = self.cycle
        if cycle is None or cycle is before:  # a websocket's beginning
            return
        cycle.__class__ = Cycle
        cycle.pieces, cycle.held = deque(), 0  # type: ignore[union-attr]

    def _expect_body(self) -> None:
        """Note how much of a long body is to come, where that is all that there is to know of it."""
        told = [(name, value) for name, value in self.headers if name in _BODIES and name != b"connection"]
        names = {name for name, _ in told}
        if not isinstance(self.cycle, Cycle) or not names <= {b"content-length", b"expect"} or len(told) != len(names):
            return
        length = int(dict(told).get(b"content-length", b"0"))
        if length > MOST_AT_ONCE:
            self._coming = length

    def _wait_for_body(self, pieces: list[bytes]) -> None:
        """The body did not come with the head: whoever answers decides when to wait for it."""
        self._pieces = None
        self._begin_cycle()
        for piece in pieces:
            self.on_body(piece)

    def open_cycle(self, line: Line) -> Cycle:
        """A cycle of uvicorn's for the request on the line, whose body is there."""
        head = line.head
        path = head.raw_path.decode("ascii")
        scope = {
            "type": "http",
            "asgi": {"version": self.asgi_version, "spec_version": "2.3"},
            "http_version": "1.1",
            "server": self.server,
            "client": self.client,
            "scheme": head.scheme,
            "method": head.method,
            "root_path": self.root_path,
            "path": unquote(path),
            "raw_path": head.raw_path,
            "query_string": head.raw_query,
            "headers": head.headers,
            "state": self.app_state.copy(),
            "extensions": EXTENSIONS,
        }
        cycle = Cycle(
            scope=scope,  # type: ignore[arg-type]
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=line.keep_alive,
            on_response=self.on_response_complete,
        )
        cycle.pieces, cycle.held, cycle.more_body = deque([line.body]), 0, False
        cycle.disconnected = line.disconnected
        cycle.message_event.set()
        if self.cycle is line:
            self.cycle = cycle
        return cycle

    def _ended(self, task: asyncio.Task[None]) -> None:
        """A task that answered on the line is done."""
        self.tasks.discard(task)
        if not task.cancelled() and (fault := task.exception()) is not None:
            log.error("an answer was not finished", exc_info=fault)
            self.transport.close()

    @property
    def default_lines(self) -> bytes:
        """The headers of every answer, `Date` among them, which changes every second."""
        told = self.server_state.default_headers
        if told is not self._told:
            self._told, self._lines = told, head_lines(told)
        return self._lines

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
        self._heard = self.loop.time()
        self.loop.call_later(LINGER, self._leave, self._heard + LONGEST)

    def _leave(self, last: float) -> None:
        """Close, unless the client sends still: what it has under way would reset the connection."""
        now = self.loop.time()
        if self._heard > now - LINGER and now < last and not self.transport.is_closing():
            self.loop.call_at(self._heard + LINGER, self._leave, last)
        else:
            self.transport.close()
