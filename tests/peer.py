"""A client that sends what it likes, byte by byte."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from tests.server import Server


class Peer:
    """A client that sends what it likes."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.buffer = b""

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def more(self) -> bool:
        """Receive some; False at the end."""
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            return False
        self.buffer += data
        return bool(data)

    def answer(self, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers, body."""
        while b"\r\n\r\n" not in self.buffer:
            assert self.more(), f"the server closed the connection after {self.buffer!r}"
        head, self.buffer = self.buffer.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0")) if body else 0
        while len(self.buffer) < length:
            assert self.more(), "the server closed the connection within a body"
        content, self.buffer = self.buffer[:length], self.buffer[length:]
        return int(first.split(" ")[1]), headers, content

    def is_closed(self) -> bool:
        """Whether the server has closed, or closes now, without another byte."""
        return not self.more() and not self.buffer


@contextmanager
def peer(server: Server) -> Iterator[Peer]:
    """A connection to a server, closed at the end of the block."""
    made = Peer(server.port)
    try:
        yield made
    finally:
        made.socket.close()


def code(content: bytes) -> str:
    """The code in an error document."""
    found = re.search(rb"<Code>([^<]*)</Code>", content)
    return found[1].decode() if found else ""
