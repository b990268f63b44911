"""What one guest has under way keeps none of the others waiting."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

import pytest

from backends.shares import Share
from gateway import relay


def test_one_asker_has_its_part_and_all_have_the_whole() -> None:
    share = Share(5, 2)
    assert [share.take(asker) for asker in "aaabbbcc"] == [True, True, False, True, True, False, True, False]
    share.give("a")
    assert [share.take("c"), share.take("a")] == [True, False]


def test_a_place_is_given_back_whatever_happens() -> None:
    async def fail() -> None:
        raise ValueError

    share = Share(1, 1)
    for _ in range(3):
        assert share.take("a")
        with pytest.raises(ValueError):
            asyncio.run(share.use("a", fail()))


def test_connections_of_one_guest_leave_room_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "MOST_OF_ONE", 3)

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while told := await reader.read(10):
            writer.write(told)
        writer.close()

    async def answered(source: str, held: list[asyncio.StreamWriter], port: int) -> bool:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
        held.append(writer)
        writer.write(b"x")
        with contextlib.suppress(ConnectionError):
            return await reader.read(1) == b"x"
        return False

    async def scene() -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        held: list[asyncio.StreamWriter] = []
        async with (
            await asyncio.start_unix_server(echo, tmp_path / "api"),
            await relay.serve_relay(tmp_path / "api", listener),
        ):
            assert [await answered("127.0.0.2", held, port) for _ in range(4)] == [True, True, True, False]
            assert await answered("127.0.0.3", held, port)
            held[0].close()
            await held[0].wait_closed()
            for _ in range(100):
                if await answered("127.0.0.2", held, port):
                    break
                await asyncio.sleep(0.01)
            else:
                raise AssertionError("the place is never given back")
            for writer in held:
                writer.close()
            while len(asyncio.all_tasks()) > 1:
                await asyncio.sleep(0.001)

    asyncio.run(scene())
