"""The engine in a process of its own: `nephele engine`. It makes wishes come true, and serves guests beside them.

It has the privileges that its drivers need; those who answer calls (`nephele serve --no-engine`) have none. Both meet
in the database. What the engine makes outlives it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from compat.dispatch import RESET
from gateway import logs
from gateway.settings import Settings, StartError
from gateway.signals import heard

if TYPE_CHECKING:
    from gateway.parts import Parts


class _Resets:
    """Looks at the machine anew when a server threw state away: what is there may be nobody's now."""

    def __init__(self, parts: Parts) -> None:
        self._parts, self._seen = parts, self._count(parts)

    def step(self) -> bool:
        """Survey after a reset; there is nothing to be done later."""
        count = self._count(self._parts)
        if count != self._seen:
            self._seen = count
            self._parts.survey()
        return False

    @staticmethod
    def _count(parts: Parts) -> int:
        return parts.cloud.database.stamps.read().get(RESET, 0)


def run_engine(settings: Settings) -> int:
    """Work until told to end; the exit status. Raises `gateway.settings.StartError`."""
    from gateway.serve import check_machine, hold, metadata_listener

    if settings.ephemeral:
        raise StartError("the engine works on the data of a server, which ephemeral data cannot be")
    logs.configure(settings)
    settings = settings.model_copy(update={"engine": "apart"})
    with contextlib.ExitStack() as stack:
        stack.enter_context(hold(settings.data_dir, "engine.lock"))
        settings, listener = metadata_listener(settings, stack, drives=True)
        check_machine(settings)
        from gateway.app import prepare
        from gateway.compose import compose
        from gateway.engine_link import EngineDoor

        prepare(settings)
        ending = stack.enter_context(heard())
        parts = compose(settings, drives=True)
        stack.callback(parts.close)
        parts.survey()
        drivers = {name: parts.cloud.hosts[name].driver for name in ("network", "compute", "volumes")}
        stack.callback(EngineDoor(settings.data_dir, drivers, parts.cloud.database.nudge).close)
        parts.reconciler.add(RESET, _Resets(parts).step)
        parts.start()
        stack.callback(parts.stop)
        if listener is not None or parts.attendance is not None:
            from gateway.guest_services import GuestServices

            guests = GuestServices(parts, listener)
            guests.start()
            stack.callback(guests.stop)
        print(  # noqa: T201
            f"Nephele engine on {settings.data_dir}\n"
            f"  drivers    compute {settings.compute}, volume {settings.volume}, network {settings.network}\n"
            + (f"  metadata   port {settings.metadata_port} of loopback\n" if settings.metadata_port else "")
            + "Ready.",
            flush=True,
        )
        ending.recv(1)
    return 0
