"""Two ends of a connection held together: what comes from one goes to the other."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from backends import shares

PIECE = 1 << 16
MOST = 256
"""Connections through one listening socket at a time."""
MOST_OF_ONE = 64
"""The part of them that one address may have."""


async def serve_relay(path: Path, listener: socket.socket) -> asyncio.Server:
    """Hold every connection to `listener` together with one to the socket at `path`, until the server is closed."""
    share = shares.Share(MOST, MOST_OF_ONE)

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sender = writer.get_extra_info("peername")[0]
        if share.take(sender):
            await share.use(sender, relay(path, reader, writer))
        else:
            writer.close()

    return await asyncio.start_server(one, sock=listener)


async def relay(path: Path, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hold a connection together with a new one to the socket at `path`, until both have said all."""
    try:
        with within(path.parent) as folder:
            other_reader, other_writer = await asyncio.open_unix_connection(f"{folder}/{path.name}")
    except OSError:
        writer.close()
        return
    try:
        await asyncio.gather(_copy(reader, other_writer), _copy(other_reader, writer))
    finally:
        other_writer.close()
        writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Until the end of one side, which the other is told."""
    try:
        while piece := await reader.read(PIECE):
            writer.write(piece)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()  # the other direction ends, too


@contextlib.contextmanager
def within(folder: Path) -> Iterator[str]:
    """A short name for a folder, for the block: the path of a socket may have 108 bytes only (unix(7))."""
    held = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{held}"
    finally:
        os.close(held)
