"""The HTTP connection over a socket pair: files by the kernel, clients that are slow, and heads that do not end."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from compat.streams import ClientGone
from gateway import connection, cycle
from gateway.connection import HttpConnection
from gateway.head import POURED, ZERO_COPY, Head, head_of

App = Callable[[Any, Any, Any], Awaitable[None]]
CONTENT = os.urandom(3_000_000)


@pytest.fixture
def file(tmp_path: Path) -> Any:
    path = tmp_path / "file"
    path.write_bytes(CONTENT)
    descriptor = os.open(path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


class Skipping(asyncio.SelectorEventLoop):
    """A loop whose clock can be moved on."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


def talk(
    app: App, client: Callable[[socket.socket], Awaitable[None]], ends: list[HttpConnection] | None = None
) -> None:
    """Serve `app` on one end of a socket pair while `client` uses the other (non-blocking). `ends`: gets the end of the
    server, and the loop is one whose clock can be moved on."""

    async def run() -> None:
        ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        config = uvicorn.Config(app, lifespan="off", ws="none", log_config=None, proxy_headers=False)
        config.load()
        state = ServerState()
        loop = asyncio.get_running_loop()
        _, end = await loop.connect_accepted_socket(lambda: HttpConnection(config, state, {}), ours)
        if ends is not None:
            ends.append(end)
        try:
            async with asyncio.timeout(60):
                await client(theirs)
        finally:
            theirs.close()
            for one in list(state.connections):
                one.transport.abort()
            if state.tasks:
                await asyncio.wait(state.tasks)
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=Skipping if ends is not None else None) as runner:
        runner.run(run())


async def read(client: socket.socket, count: int | None = None) -> bytes:
    """At least so many bytes, or all up to the end."""
    loop, found = asyncio.get_running_loop(), b""
    while count is None or len(found) < count:
        data = await loop.sock_recv(client, 1 << 16)
        if not data:
            break
        found += data
    return found


async def answer_body(client: socket.socket, *, has_body: bool = True) -> bytes:
    """The body of the next answer, as long as the answer says."""
    answer = b""
    while b"\r\n\r\n" not in answer:
        answer += await read(client, 1)
    head, _, body = answer.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]) if has_body else 0
    return body + await read(client, length - len(body))


async def send(client: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(client, data)


def file_app(file: int, log: list[str], *ranges: tuple[int, int]) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert head_of(scope).zero_copy
        length = sum(count for _, count in ranges)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % length)]})
        try:
            for offset, count in ranges:
                await send({"type": ZERO_COPY, "file": file, "offset": offset, "count": count, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            log.append("sent")
        except ClientGone:
            log.append("gone")

    return app


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def test_files_are_sent_by_the_kernel(file: int) -> None:
    log: list[str] = []

    async def client(peer: socket.socket) -> None:
        expected = CONTENT[5:2_500_005] + CONTENT[:7]
        for request, body in ((GET, expected), (GET.replace(b"GET", b"HEAD"), b""), (GET, expected)):
            await send(peer, request)
            assert await answer_body(peer, has_body=request[:1] == b"G") == body
        while log != ["sent"] * 3:  # the last byte can be read before its sender knows that it went
            await asyncio.sleep(0.001)

    talk(file_app(file, log, (5, 2_500_000), (0, 7)), client)


def test_a_slow_client_is_waited_for_without_a_thread(file: int, monkeypatch: pytest.MonkeyPatch) -> None:
    log: list[str] = []
    begun: list[int] = []
    ended: list[int] = []
    push = cycle._push

    def counted(out: int, source: Any) -> None:
        begun.append(source.offset)
        push(out, source)
        ended.append(source.offset)

    monkeypatch.setattr(cycle, "_push", counted)
    monkeypatch.setattr(cycle, "PATIENCE", 1)

    async def client(peer: socket.socket) -> None:
        await send(peer, GET)
        while not ended:
            await asyncio.sleep(0.001)
        whole = await read(peer, len(CONTENT))
        rest = await read(peer, len(CONTENT) + whole.index(b"\r\n\r\n") + 4 - len(whole))
        assert (whole + rest).partition(b"\r\n\r\n")[2] == CONTENT
        assert ended[0] < len(CONTENT) and len(begun) > 1

    talk(file_app(file, log, (0, len(CONTENT))), client)


def test_a_client_that_leaves_a_file_half_read(file: int) -> None:
    log: list[str] = []

    async def client(peer: socket.socket) -> None:
        await send(peer, GET)
        await read(peer, 1000)
        peer.close()
        while not log:
            await asyncio.sleep(0.001)
        assert log == ["gone"]

    talk(file_app(file, log, (0, len(CONTENT))), client)


def test_a_file_that_is_shorter_than_announced_ends_the_connection(file: int) -> None:
    async def client(peer: socket.socket) -> None:
        await send(peer, GET)
        assert len((await read(peer)).partition(b"\r\n\r\n")[2]) == 1000

    talk(file_app(file, [], (len(CONTENT) - 1000, 2000)), client)


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


def test_a_body_arrives_whole_and_in_order() -> None:
    async def client(peer: socket.socket) -> None:
        for content in (b"", b"abc", CONTENT):
            sending = asyncio.ensure_future(
                send(peer, b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(content) + content)
            )
            assert await answer_body(peer) == content
            await sending

    talk(echo, client)


@pytest.mark.parametrize("sent", [b"", b"GE", b"GET / HTTP/1.1\r\nHost: x\r\nX-Lo"])
def test_a_head_that_does_not_come_is_not_waited_for(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MOST_WAIT", 0.05)

    async def client(peer: socket.socket) -> None:
        if sent:
            await send(peer, sent)
        assert await read(peer) == b""

    talk(echo, client)


def test_a_refusal_can_be_read_by_a_client_that_still_sends() -> None:
    async def client(peer: socket.socket) -> None:
        await send(peer, b"GET / HTTP/1.1\r\nX-Long: ")
        await send(peer, b"a" * 1_000_000)
        answer = await read(peer)
        assert answer.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert answer.count(b"<Code>RequestHeaderSectionTooLarge</Code>") == 1

    talk(echo, client)


@pytest.mark.parametrize(("steps", "stays"), [(5, True), (100, False)])
def test_a_refused_client_is_heard_as_long_as_it_sends_but_not_for_ever(steps: int, stays: bool) -> None:
    ends: list[HttpConnection] = []

    async def client(peer: socket.socket) -> None:
        loop, (end,) = asyncio.get_running_loop(), ends
        assert isinstance(loop, Skipping)
        await send(peer, b"no request\r\n\r\n")
        assert (await read(peer)).startswith(b"HTTP/1.1 400 Bad Request\r\n")
        for _ in range(steps):
            before = end._heard
            loop.ahead += 0.9 * connection.LINGER
            await send(peer, b"more")
            while end._heard == before and not end.transport.is_closing():
                await asyncio.sleep(0)
            if end.transport.is_closing():
                break
        assert end.transport.is_closing() is not stays
        loop.ahead += 2 * connection.LINGER
        while not end.transport.is_closing():
            await asyncio.sleep(0)

    talk(echo, client, ends)


def test_a_broken_body_releases_the_handler() -> None:
    log: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] == "http.request":
            log.append(message["body"].decode())
        log.append("gone")

    async def client(peer: socket.socket) -> None:
        await send(peer, b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        while log != ["abc"]:
            await asyncio.sleep(0.001)
        await send(peer, b"zzz\r\n")
        answer = await read(peer)
        assert answer.count(b"HTTP/1.1 ") == 1
        assert b"<Code>BadRequest</Code>" in answer
        assert log == ["abc", "gone"]

    talk(app, client)


class Quick:
    """An application that answers at once what it can: `/later` after a while, `/long` over ASGI."""

    def __init__(self) -> None:
        self.ways: list[str] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.ways.append("ASGI")
        await echo(scope, receive, send)

    def at_once(self, head: Head, body: bytes, line: connection.Line) -> Any:
        self.ways.append("line")
        if head.raw_path == b"/later":
            return self._later(body, line)
        if head.raw_path == b"/long":
            return self._long(line)
        line.answer(200, b"content-length: %d\r\n" % len(body), body)
        return None

    async def _later(self, body: bytes, line: connection.Line) -> None:
        await asyncio.sleep(0.01)
        line.answer(200, b"content-length: %d\r\n" % len(body), body)

    async def _long(self, line: connection.Line) -> None:
        scope, receive, send = line.open()
        assert scope["path"] == "/long"
        await echo(scope, receive, send)


def put(path: bytes, body: bytes, more: bytes = b"") -> bytes:
    return b"PUT %b HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n%b" % (path, more, len(body), body)


def test_what_came_whole_is_answered_at_once_and_in_order() -> None:
    app = Quick()

    async def client(peer: socket.socket) -> None:
        for path in (b"/", b"/later", b"/long"):
            await send(peer, put(path, b"abc"))
            assert await answer_body(peer) == b"abc"
        assert app.ways == ["line"] * 3
        await send(peer, put(b"/later", b"1") + put(b"/", b"2") + put(b"/long", b"3"))
        answers = b""
        while answers.count(b"\r\n\r\n") < 3 or not answers.endswith(b"3"):
            answers += await read(peer, 1)
        assert [part[:1] for part in answers.split(b"\r\n\r\n")[1:]] == [b"1", b"2", b"3"]

    talk(app, client)


@pytest.mark.parametrize("more", [b"Expect: 100-continue\r\n", b"Connection: close\r\n", b"Upgrade: h2c\r\n"])
def test_what_is_unusual_goes_the_long_way(more: bytes) -> None:
    app = Quick()

    async def client(peer: socket.socket) -> None:
        await send(peer, put(b"/", b"abc", more))
        answer = b""
        while not answer.endswith(b"\r\n\r\nabc"):
            answer += await read(peer, 1)
        assert app.ways == ["ASGI"]

    talk(app, client)


def test_a_body_that_comes_later_goes_the_long_way_and_long_ones_past_the_parser() -> None:
    app = Quick()

    async def client(peer: socket.socket) -> None:
        request = put(b"/", b"abc")
        await send(peer, request[:-2])
        while app.ways != ["ASGI"]:
            await asyncio.sleep(0.001)
        await send(peer, request[-2:])
        assert await answer_body(peer) == b"abc"
        sending = asyncio.ensure_future(send(peer, put(b"/", CONTENT) + put(b"/", b"next")))
        answer = b""
        while not answer.endswith(b"\r\n\r\nnext"):
            answer += await read(peer, 1)
        await sending
        assert answer.count(b"HTTP/1.1 200") == 2 and CONTENT in answer

    talk(app, client)


def test_what_is_poured_arrives_and_what_fails_half_way_ends_the_connection() -> None:
    at = [0]

    def fill(place: memoryview) -> int:
        count = min(len(place), 100_001, len(CONTENT) - at[0])
        place[:count] = CONTENT[at[0] : at[0] + count]
        at[0] += count
        return count

    async def app(scope: Any, receive: Any, send: Any) -> None:
        at[0] = 0
        length = len(CONTENT) + (scope["path"] == "/short")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % length)]})
        await send({"type": POURED, "fill": fill, "count": length})

    async def client(peer: socket.socket) -> None:
        await send(peer, GET)
        assert await answer_body(peer) == CONTENT
        await send(peer, GET.replace(b"/", b"/short", 1))
        assert (await read(peer)).partition(b"\r\n\r\n")[2] == CONTENT

    talk(app, client)
