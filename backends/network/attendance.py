"""Having sockets open in every real network, as networks come and go."""

from __future__ import annotations

import asyncio
import contextlib
import logging

from sqlalchemy import select

from backends.errors import DriverError
from backends.network.models import Network
from backends.network.sockets import NetworkSockets, Surroundings

log = logging.getLogger("nephele.guests")

LOOK = 0.25
"""Seconds between looks at whether networks came or went."""
EVERY = 10.0
"""Seconds after which every network is looked at, changed or not: one may have been made anew behind our back."""


class Attendance:
    """Attends to networks while `run` runs, on the running event loop."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._open: dict[str, NetworkSockets] = {}

    async def run(self) -> None:
        """Follow the networks until cancelled; then every socket is closed."""
        try:
            await self._watch()
        finally:
            for sockets in self._open.values():
                sockets.close()
            self._open.clear()

    async def _watch(self) -> None:
        stamps, loop = self._around.database.stamps, asyncio.get_running_loop()
        seen, due, missing = -1, 0.0, False
        while True:
            try:
                now, stamp = loop.time(), stamps.read().get("network", 0)
                if stamp != seen or missing or now >= due:
                    if now >= due:
                        due = now + EVERY
                        await self._close_stale()
                    missing = await self._follow()
                    seen = stamp
            except Exception:  # an edge: the next look may find it well
                log.exception("opening the sockets of networks failed")
            await asyncio.sleep(LOOK)

    async def _close_stale(self) -> None:
        for id, sockets in list(self._open.items()):
            if not await sockets.stands():
                sockets.close()
                del self._open[id]

    async def _follow(self) -> bool:
        """Open and close what is wanted. True while a network is not there that should be."""
        with self._around.database.unit(None, write=False) as unit:
            wanted = set(unit.session.scalars(select(Network.id)))
        for id in self._open.keys() - wanted:
            self._open.pop(id).close()
        missing = False
        for id in sorted(wanted - self._open.keys()):
            with contextlib.suppress(DriverError):
                try:
                    self._open[id] = await NetworkSockets.open(id, self._around)
                    continue
                except OSError as error:
                    log.warning("the sockets of %s cannot be opened: %s", id, error)
            missing = True
        return missing
