"""The serial console of a guest over a websocket, opened with a token that is good for a minute.

`POST /_nephele/console/{instance}` gives the token to who holds a root key; `GET /_nephele/console/{token}` is the
websocket: binary messages both ways, what is typed and what the guest writes. It ends when the console is closed, or
taken by somebody who opened it later.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

PATH = "/_nephele/console/"
VALID = 60
"""Seconds for which a token opens a console."""
LOOK = 0.5
"""Seconds after which a silent console is looked at again, to see whether its reader left."""
KEY_FILE = "console.key"
NOT_ALLOWED, GONE = 4403, 4404
"""Codes with which the websocket is closed (4000 and above are the application's own)."""


def protocol(config: Any, server_state: Any, app_state: Any) -> Any:
    """uvicorn's websocket protocol; what it needs is loaded for the first websocket."""
    from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

    return WebSocketsSansIOProtocol(config, server_state, app_state)


class CannotOpen(Exception):
    """A console that cannot be opened; the message says why."""


class Stream(Protocol):
    """An open console."""

    def read(self, timeout: float) -> bytes | None:
        """What was written; b"" when nothing came in time, None when it is closed."""

    def write(self, data: bytes) -> None:
        """Type."""

    def close(self) -> None:
        """Let go of it."""


class Consoles:
    """Opens consoles by `open`, which may raise `CannotOpen`."""

    def __init__(self, folder: Path, open: Callable[[str], Stream]) -> None:
        """`folder` keeps the key that tokens are made with, so that all processes know each other's."""
        self._open, self._file = open, folder / KEY_FILE

    def token(self, guest: str) -> str:
        """What opens the guest's console for a minute."""
        body = f"{guest}.{int(time.time()) + VALID}"
        return f"{body}.{self._proof(body)}"

    def guest(self, token: str) -> str | None:
        """The guest whose console a token opens; None for one that opens none, or none any more."""
        body, _, proof = token.rpartition(".")
        guest, _, until = body.rpartition(".")
        if not hmac.compare_digest(proof, self._proof(body)) or not until.isdigit() or int(until) < time.time():
            return None
        return guest

    def _proof(self, body: str) -> str:
        digest = hmac.digest(self._key(), body.encode(), "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def _key(self) -> bytes:
        if not self._file.exists():
            draft = self._file.with_name(f".{KEY_FILE}.{os.getpid()}")
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
                out.write(os.urandom(32))
            with contextlib.suppress(FileExistsError):  # another process was faster
                os.link(draft, self._file)
            draft.unlink()
        return self._file.read_bytes()

    async def serve(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one websocket."""
        await receive()
        path: str = scope["path"]
        guest = self.guest(path.removeprefix(PATH)) if path.startswith(PATH) else None
        if guest is None:
            await send({"type": "websocket.close", "code": NOT_ALLOWED})
            return
        try:
            stream = await asyncio.to_thread(self._open, guest)
        except CannotOpen as error:
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": GONE, "reason": str(error)[:120]})
            return
        await send({"type": "websocket.accept"})
        showing = asyncio.create_task(_show(stream, send))
        typing = asyncio.create_task(_type(stream, receive))
        await asyncio.wait([showing, typing], return_when=asyncio.FIRST_COMPLETED)
        await asyncio.to_thread(stream.close)
        typing.cancel()
        await asyncio.gather(showing, typing, return_exceptions=True)
        with contextlib.suppress(RuntimeError):  # the client may have closed it
            await send({"type": "websocket.close", "code": 1000})


async def _show(stream: Stream, send: Any) -> None:
    while (data := await asyncio.to_thread(stream.read, LOOK)) is not None:
        if data:
            await send({"type": "websocket.send", "bytes": data})


async def _type(stream: Stream, receive: Any) -> None:
    while (message := await receive())["type"] != "websocket.disconnect":
        data = message.get("bytes") or (message.get("text") or "").encode()
        if data:
            await asyncio.to_thread(stream.write, data)
