"""An ASGI application that does nothing but answer 1 KiB."""

from __future__ import annotations

from typing import Any

BODY = bytes(1024)


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Answer 200 and 1 KiB to everything."""
    if scope["type"] == "http":
        headers = [(b"content-length", b"1024"), (b"content-type", b"binary/octet-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": BODY})
