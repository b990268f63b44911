"""Between event loop and threads: order, back pressure, clients that leave, and what becomes of unread bodies."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compat.errors import AWSError
from compat.streams import BLOCK, ClientGone, FileRange, Stream
from gateway import streaming
from gateway.body import BytesSource
from gateway.head import ZERO_COPY, Head
from gateway.streaming import AHEAD, DRAIN, QueueBody, drain, open_source, read_all, send_last_bytes, send_stream

Message = dict[str, Any]
GONE: Message = {"type": "http.disconnect"}


class Server:
    """The server's side of one request: hands out `messages`, then waits for ever; keeps what is sent."""

    def __init__(self, *messages: Message) -> None:
        self.messages = list(messages)
        self.received = 0
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        if self.received == len(self.messages):
            await asyncio.Event().wait()
        self.received += 1
        return self.messages[self.received - 1]

    async def send(self, message: Any) -> None:
        self.sent.append(dict(message))

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


def pieces(*bodies: bytes, ended: bool = True) -> list[Message]:
    last = len(bodies) - 1
    return [
        {"type": "http.request", "body": body, "more_body": not ended or number < last}
        for number, body in enumerate(bodies)
    ]


def everything(source: Any) -> bytes:
    blocks = []
    while block := source.read():
        assert len(block) <= BLOCK
        blocks.append(block)
    assert source.read() == b""
    return b"".join(blocks)


# --- receiving --------------------------------------------------------------------------------------------------------


@settings(max_examples=25)
@given(st.lists(st.binary(max_size=50), min_size=1, max_size=6))
def test_read_all(bodies: list[bytes]) -> None:
    whole = b"".join(bodies)
    assert asyncio.run(read_all(Server(*pieces(*bodies)).receive, 300)) == whole
    if whole:
        with pytest.raises(AWSError) as caught:
            asyncio.run(read_all(Server(*pieces(*bodies)).receive, len(whole) - 1))
        assert caught.value.status == 413
    for end in range(len(bodies)):
        with pytest.raises(ClientGone):
            asyncio.run(read_all(Server(*pieces(*bodies)[:end], GONE).receive, 300))


def test_read_all_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "IDLE", 0.02)
    with pytest.raises(AWSError) as caught:
        asyncio.run(read_all(Server(*pieces(b"abc", ended=False)).receive, 300))
    assert (caught.value.code, caught.value.status) == ("RequestTimeout", 400)


def test_read_all_stops_at_its_limit() -> None:
    server = Server(*pieces(*[b"x" * 10] * 100))
    with pytest.raises(AWSError):
        asyncio.run(read_all(server.receive, 25))
    assert server.received == 3


async def on_thread(work: Callable[[], Any]) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, work)


@settings(max_examples=25)
@given(st.lists(st.one_of(st.binary(max_size=50), st.integers(1, 3 * BLOCK).map(bytes)), min_size=1, max_size=6))
def test_a_queue_hands_on_every_byte_in_order(bodies: list[bytes]) -> None:
    async def run() -> None:
        body = QueueBody(Server(*pieces(*bodies)).receive)
        assert await on_thread(lambda: everything(body)) == b"".join(bodies)
        assert await body.settle() is True

    asyncio.run(run())


def test_nothing_is_received_before_it_is_read() -> None:
    async def run() -> None:
        server = Server(*pieces(b"abc"))
        body = QueueBody(server.receive, expected=True)
        await asyncio.sleep(0)
        assert server.received == 0
        assert await body.settle() is False  # the client was not told to go on: what comes next is no body
        assert server.received == 0

    asyncio.run(run())


def test_a_slow_reader_stops_the_sender() -> None:
    async def run() -> None:
        server = Server(*pieces(*[bytes(BLOCK // 2)] * 40))
        body = QueueBody(server.receive)
        assert len(await on_thread(body.read)) <= BLOCK
        for _ in range(100):
            await asyncio.sleep(0)
        ahead = AHEAD // (BLOCK // 2) + 4
        assert server.received <= ahead
        rest = await on_thread(lambda: everything(body))
        assert server.received == 40
        assert len(rest) == 20 * BLOCK - BLOCK // 2 or len(rest) == 19 * BLOCK

    asyncio.run(run())


def test_a_reader_is_released_when_the_client_leaves() -> None:
    async def run() -> None:
        body = QueueBody(Server(*pieces(b"abc", ended=False), GONE).receive)
        with pytest.raises(ClientGone):
            await on_thread(lambda: everything(body))
        with pytest.raises(ClientGone):
            body.read()
        assert await body.settle() is False

    asyncio.run(run())


def test_a_reader_is_released_when_the_exchange_ends() -> None:
    async def run() -> None:
        body = QueueBody(Server(*pieces(b"abc", ended=False)).receive)
        reading = asyncio.ensure_future(on_thread(lambda: everything(body)))
        while body._pump is None:
            await asyncio.sleep(0)
        assert body._pump is not None
        body._pump.cancel()
        with pytest.raises(ClientGone):
            await reading

    asyncio.run(run())


@pytest.mark.parametrize(
    ("rest", "usable"),
    [
        ([b"x" * 1000], True),
        ([b"x" * DRAIN, b"y"], True),
        ([b"x" * DRAIN, b"y", b"z"], False),
        ([bytes(DRAIN)] * 100, False),
    ],
)
def test_a_small_unread_rest_is_thrown_away(rest: list[bytes], usable: bool) -> None:
    async def run() -> None:
        server = Server(*pieces(b"first" * BLOCK, *rest))
        body = QueueBody(server.receive)
        await on_thread(body.read)
        assert await body.settle() is usable
        assert server.received <= 4

    asyncio.run(run())


def test_a_rest_that_does_not_come_is_not_waited_for() -> None:
    async def run() -> None:
        assert await drain(Server().receive, 100, seconds=0.01) is False
        assert await drain(Server(GONE).receive, 100) is False

    asyncio.run(run())


class Skipping(asyncio.SelectorEventLoop):
    """A loop whose clock can be moved on."""

    ahead = 0.0

    def time(self) -> float:
        return super().time() + self.ahead


@pytest.mark.parametrize(("count", "ends"), [(10, True), (100, False)])
def test_a_rest_that_comes_slowly_is_waited_for_but_not_for_ever(count: int, ends: bool) -> None:
    server = Server(*pieces(*[b"x"] * count))

    async def slowly() -> Message:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, Skipping)
        loop.ahead += 0.9 * streaming.LINGER
        for _ in range(3):
            await asyncio.sleep(0)
        return await server.receive()

    with asyncio.Runner(loop_factory=Skipping) as runner:
        assert runner.run(drain(slowly, 1000)) is ends
    assert 10 <= server.received <= 1 + streaming.LONGEST / (0.9 * streaming.LINGER)


@pytest.mark.parametrize(
    ("headers", "small"),
    [
        ({}, True),
        ({b"content-length": b"0"}, True),
        ({b"content-length": b"65536"}, True),
        ({b"content-length": b"65537"}, False),
        ({b"content-length": b"3", b"expect": b"100-Continue"}, True),
        ({b"content-length": b"65537", b"expect": b"100-Continue"}, False),
        ({b"transfer-encoding": b"chunked"}, False),
        ({b"content-length": b"1e3"}, False),
    ],
)
def test_small_bodies_need_no_thread(headers: dict[bytes, bytes], small: bool) -> None:
    async def run() -> None:
        server = Server(*pieces(b"abc"))
        source = await open_source(Head("PUT", b"/", b"", list(headers.items())), server.receive)
        assert isinstance(source, BytesSource) is small
        assert server.received == (1 if small and headers else 0)
        if small and headers:
            assert everything(source) == b"abc"

    asyncio.run(run())


# --- sending ----------------------------------------------------------------------------------------------------------


def counted(blocks: list[bytes], log: list[str]) -> Iterator[bytes]:
    for block in blocks:
        log.append(threading.current_thread().name)
        yield block


def sent(blocks: list[bytes], length: int, server: Server, **options: Any) -> list[str]:
    log: list[str] = []
    stream = Stream(length, counted(blocks, log), lambda: log.append("closed"), options.pop("files", ()))

    async def run() -> None:
        with ThreadPoolExecutor(2, thread_name_prefix="worker") as pool:
            await send_stream(server.send, server.receive, 200, [], stream, pool, **options)

    try:
        asyncio.run(run())
    finally:
        assert log.count("closed") == 1
    return log


@given(st.lists(st.binary(min_size=1, max_size=9), max_size=6))
def test_a_stream_is_sent_whole(blocks: list[bytes]) -> None:
    server = Server()
    log = sent(blocks, len(b"".join(blocks)), server)
    assert server.body == b"".join(blocks)
    assert [message.get("more_body", False) for message in server.sent[1:]] == [True] * (len(server.sent) - 2) + [False]
    assert all(name == "closed" or name.startswith("worker") for name in log)


@pytest.mark.parametrize(("blocks", "length"), [([b"abc"], 4), ([b"abc"], 2), ([], 1), ([b"ab", b"cd"], 3)])
def test_a_stream_of_another_length_is_a_fault(blocks: list[bytes], length: int) -> None:
    with pytest.raises(EOFError):
        sent(blocks, length, Server())


def test_a_stream_that_breaks_is_closed() -> None:
    def broken() -> Iterator[bytes]:
        yield b"abc"
        raise OSError("disk")

    closed: list[bool] = []
    stream = Stream(6, broken(), lambda: closed.append(True))
    server = Server()
    with pytest.raises(OSError, match="disk"):
        asyncio.run(send_stream(server.send, server.receive, 200, [], stream))
    assert closed == [True]


def test_a_long_stream_stops_when_the_client_leaves() -> None:
    server = Server(*pieces(b""), GONE)
    log: list[str] = []

    async def slow(message: Any) -> None:
        server.sent.append(dict(message))
        await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def run() -> None:
        stream = Stream(100 * BLOCK, counted([bytes(BLOCK)] * 100, log), lambda: log.append("closed"))
        await send_stream(slow, server.receive, 200, [], stream)

    with pytest.raises(ClientGone):
        asyncio.run(run())
    assert log[-1] == "closed"
    assert len(server.sent) < 10


def test_files_are_left_to_a_server_that_can_send_them() -> None:
    files = (FileRange(7, 100, 3), FileRange(8, 0, 2))
    server = Server()
    assert sent([b"abc", b"de"], 5, server, files=files, zero_copy=True) == ["closed"]
    assert [message["type"] for message in server.sent] == [
        "http.response.start", ZERO_COPY, ZERO_COPY, "http.response.body",
    ]  # fmt: skip
    assert [(m["file"], m["offset"], m["count"], m["more_body"]) for m in server.sent[1:3]] == [
        (7, 100, 3, True), (8, 0, 2, True),
    ]  # fmt: skip
    other = Server()
    sent([b"abc", b"de"], 5, other, files=files)
    assert other.body == b"abcde"


def test_the_last_answer_waits_for_the_client() -> None:
    server = Server(*pieces(b"x", b"y", ended=False), GONE)
    asyncio.run(send_last_bytes(server.send, server.receive, 400, [(b"a", b"b")], b"no"))
    assert server.sent[0]["headers"] == [(b"a", b"b"), (b"connection", b"close")]
    assert [message.get("more_body") for message in server.sent[1:]] == [True, None]
    assert server.received == 3


def test_a_client_that_stops_sending_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming, "IDLE", 0.02)

    async def run() -> None:
        body = QueueBody(Server(*pieces(b"abc", ended=False)).receive)
        with pytest.raises(AWSError) as caught:
            await on_thread(lambda: everything(body))
        assert (caught.value.code, caught.value.status) == ("RequestTimeout", 400)

    asyncio.run(run())
