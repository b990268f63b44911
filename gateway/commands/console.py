"""`nephele console`: sit at an instance's serial console."""

from __future__ import annotations

import contextlib
import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from gateway.clients import Config, Endpoint, ask, fail
from gateway.settings import load

ESCAPE = b"\x1d"
"""What is typed to leave: Ctrl-]."""


def console(
    instance: Annotated[str, typer.Argument(help="The instance's id.")],
    endpoint: Endpoint = None,
    config: Config = None,
) -> None:
    """Connect this terminal to the serial console of a running instance. Ctrl-] leaves; the instance goes on."""
    try:
        from websockets.exceptions import ConnectionClosed
        from websockets.sync.client import connect
    except ImportError:
        fail("the Python package websockets is not here: make .venv/.real")
    base, told = ask(load(config=config), endpoint, "POST", f"/_nephele/console/{instance}")
    url = base.replace("http", "ws", 1) + "/_nephele/console/" + told["token"]
    with connect(url, max_size=None, compression=None, proxy=None) as socket, _raw_terminal():
        reader = threading.Thread(target=_type, args=(socket,), daemon=True)
        reader.start()
        try:
            while True:
                data = socket.recv()
                sys.stdout.buffer.write(data if isinstance(data, bytes) else data.encode())
                sys.stdout.buffer.flush()
        except ConnectionClosed as closed:
            if closed.rcvd is not None and closed.rcvd.code >= 4000:
                fail(closed.rcvd.reason or "the console cannot be opened")


def _type(socket: Any) -> None:
    """Send what is typed until Ctrl-], or until there is nothing more."""
    with contextlib.suppress(OSError, ValueError):
        while data := os.read(sys.stdin.fileno(), 4096):
            kept, left, _ = data.partition(ESCAPE)
            if kept:
                socket.send(kept)
            if left:
                socket.close()
                return
        if not sys.stdin.isatty():
            select.select([], [], [], 1.0)  # let the answer to what was piped in arrive
        socket.close()


@contextlib.contextmanager
def _raw_terminal() -> Iterator[None]:
    """Every key goes to the guest as it is."""
    if not sys.stdin.isatty():
        yield
        return
    before = termios.tcgetattr(sys.stdin)
    typer.echo("Connected; Ctrl-] leaves.", err=True)
    try:
        tty.setraw(sys.stdin)
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
