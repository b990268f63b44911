"""The engine in a process of its own: `nephele engine`. It makes wishes come true, and serves guests beside them.

It has the privileges that its drivers need; those who answer calls (`nephele serve --no-engine`) have none. Both meet
in the database. What the engine makes outlives it.
"""

from __future__ import annotations

import contextlib
import signal
import threading

from gateway import logs
from gateway.settings import Settings


def run_engine(settings: Settings) -> int:
    """Work until told to end; the exit status. Raises `gateway.serve.StartError`."""
    from gateway.serve import StartError, check_machine, hold, metadata_listener

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
        ending = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda number, frame: ending.set())
        parts = compose(settings, drives=True)
        stack.callback(parts.close)
        parts.survey()
        drivers = {name: parts.cloud.hosts[name].driver for name in ("network", "compute", "volumes")}
        stack.callback(EngineDoor(settings.data_dir, drivers, parts.cloud.database.nudge).close)
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
        ending.wait()
    return 0
