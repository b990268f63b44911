"""A request on its way through the endpoint: what is known of it so far, and how it is gone on with."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Generator, Iterator, Mapping
from dataclasses import dataclass
from types import coroutine
from typing import TYPE_CHECKING, Any

from compat.context import Call
from compat.iam.principal import ANONYMOUS, Principal
from gateway.body import Source
from gateway.head import Head
from gateway.route import Route
from gateway.streaming import Receive, Send
from gateway.wire import WireResponse

if TYPE_CHECKING:
    from gateway.connection import Line


class Headers(Mapping[str, str]):
    """Request headers as text by lower-case name, decoded when asked for."""

    __slots__ = ("_view",)

    def __init__(self, view: Mapping[bytes, bytes]) -> None:
        self._view = view

    def __getitem__(self, name: str) -> str:
        return self._view[name.encode("latin-1", "replace")].decode("latin-1").strip()

    def __iter__(self) -> Iterator[str]:
        return (name.decode("latin-1") for name in self._view)

    def __len__(self) -> int:
        return len(self._view)


async def unopened(_: Any = None) -> Any:
    """Neither receives nor sends: the exchange is on a line."""
    raise RuntimeError("this request did not come over ASGI")


@dataclass(slots=True, eq=False)
class Exchange:
    """A request on its way: what is known of it so far. It came over ASGI, or, whole, on a `line`."""

    head: Head
    request_id: str
    receive: Receive = unopened
    send: Send = unopened
    line: Line | None = None
    arrived: bytes | None = None
    """The whole raw body, where it came with the head."""
    route: Route | None = None
    principal: Principal = ANONYMOUS
    source: Source | None = None
    """Where the body comes from, once it may be read."""
    read: bool = False
    """Whether the whole body was received already."""
    call: Call | None = None
    sent: WireResponse | None = None
    """The answer, and the code of the error that it is, if it is one."""
    fault: str | None = None


async def open_up(exchange: Exchange) -> None:
    """Go over to ASGI, if that is not done: what is to be sent is not there in one piece."""
    if exchange.line is not None:
        await asyncio.sleep(0)  # from here on in a task, which waiting for a while needs
        _, exchange.receive, exchange.send = exchange.line.open()
        exchange.line = None


@coroutine
def rest_of(walk: Coroutine[Any, Any, None], awaited: Any) -> Generator[Any, Any, None]:
    """Goes on with what was begun outside any task and now waits for `awaited`."""
    try:
        yield awaited
    except BaseException as fault:  # noqa: BLE001 - cancelled, say: the walk is to know
        try:
            awaited = walk.throw(fault)
        except StopIteration:
            return
        yield awaited
    yield from walk


def new_request_id() -> str:
    """A request id in the form of a UUID, which every service's clients accept."""
    if not _ids:
        _ids.extend(_some_ids())
    return _ids.pop()


def _some_ids() -> Iterator[str]:
    digits = os.urandom(16 * 256).hex()  # one call to the kernel for many requests
    for at in range(0, len(digits), 32):
        each = digits[at : at + 32]
        yield f"{each[:8]}-{each[8:12]}-4{each[13:16]}-a{each[17:20]}-{each[20:]}"


_ids: list[str] = []
