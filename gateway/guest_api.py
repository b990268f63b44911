"""The AWS endpoint as guests see it: nobody is root by a well-known key, and Nephele's own paths are not there.

Guests reach it through a socket in the data folder, to which the sockets inside their networks are relayed: that way it
is known of each request that it comes from a guest, though all come from this machine.
"""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from compat.cloud import Rules
from compat.iam.principal import Credential
from gateway.authenticated import Lookup
from gateway.connection import HttpConnection
from gateway.relay import within


def for_guests(lookup: Lookup, rules: Rules) -> Lookup:
    """`lookup` without the open roots, which loopback has and guests have not."""

    def find(access_key: str) -> Credential | None:
        open_root = access_key == "test" or (len(access_key) == 12 and access_key.isdigit())
        return None if open_root and access_key not in rules.root_keys else lookup(access_key)

    return find


def listener_at(path: Path) -> socket.socket:
    """A socket at `path`, for this user only, in the place of one that a killed process left."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    with within(path.parent) as folder:
        listener.bind(f"{folder}/{path.name}")
    os.chmod(path, 0o600)
    listener.listen(128)
    return listener


async def serve_guests(application: Any, path: Path) -> asyncio.AbstractServer:
    """Serve an ASGI application at the socket `path`, until the server is closed."""
    config = uvicorn.Config(
        application, http=HttpConnection, ws="none", lifespan="off", access_log=False, log_config=None,
        proxy_headers=False, server_header=False,
    )  # fmt: skip
    config.load()
    state, loop = ServerState(), asyncio.get_running_loop()
    return await loop.create_unix_server(
        lambda: HttpConnection(config=config, server_state=state, app_state={}, _loop=loop), sock=listener_at(path)
    )
