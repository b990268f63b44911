"""The ASGI application of one worker: AWS's endpoint, Nephele's own paths, and the parts behind them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
from collections import Counter
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError, SQLAlchemyError

from backends import checksum, schema
from backends.compute.models import Guest, GuestState
from backends.db import Database
from backends.errors import NativeError
from backends.object.access import AccessLines
from backends.object.containers import Containers
from compat.errors import AWSError
from compat.iam.credentials import lookup
from compat.operation import load
from compat.tables import load_tables
from gateway import __version__, internal, logs, visits
from gateway.chores import LIFE
from gateway.compose import GUEST_SOCKET, compose
from gateway.console import CannotOpen, Consoles, Stream
from gateway.endpoint import Endpoint
from gateway.exchange import Exchange
from gateway.guest_api import for_guests, serve_guests
from gateway.head import Head, head_of
from gateway.metrics import Metrics
from gateway.parts import Parts
from gateway.reset import reset
from gateway.seed import make_buckets
from gateway.settings import Settings, StartError
from gateway.tls import Certificates

if TYPE_CHECKING:
    from gateway.connection import Line
    from gateway.guest_services import GuestServices


def prepare(settings: Settings) -> None:
    """Bring the database up to date, before any worker answers. Raises `StartError` where it cannot be reached, or was
    made by a newer version."""
    if settings.workers > 1:
        load()  # once, before the workers part ways
    database = Database(settings.database)
    try:
        schema.prepare(database, models=load_tables)
    except OperationalError as error:
        shown = make_url(settings.database).render_as_string(hide_password=True)
        raise StartError(f"cannot use the database {shown}: {error.orig}") from error
    except schema.NewerSchema as error:
        raise StartError(str(error)) from error
    finally:
        database.close()


FIRST = (b"_", b"h", b"m", b"/")
"""What Nephele's own paths begin with, behind the slash: nearly every request differs there."""
PERIOD_OF_ACCESS_LINES = 1.0
"""Seconds after which lines of access logs are kept for good."""


class App:
    """Tells Nephele's own paths from AWS's, and lives as long as the worker."""

    def __init__(
        self, settings: Settings, parts: Parts, *, reconcile: bool, worker: int, metadata: socket.socket | None
    ) -> None:
        folder = settings.data_dir / "metrics" if settings.workers > 1 else None
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
        self._settings, self._parts, self._reconcile = settings, parts, reconcile
        self._first = worker == 0
        self._guest_api = settings.data_dir / GUEST_SOCKET
        self._for_guests: Endpoint | None = None
        if worker == 0 and settings.network != "simulated" and settings.auth != "off":
            find = for_guests(lookup(parts.cloud), parts.cloud.rules)
            self._for_guests = Endpoint(parts.cloud, parts.dispatcher, observe=self._observe, find=find)
        self._guests: GuestServices | None = None
        if reconcile and (metadata is not None or parts.attendance is not None):
            self._guests = _guest_services(parts, metadata)
        self._metrics = Metrics(__version__, folder=folder, worker=worker)
        self._log = logs.RequestLog(settings)
        self._containers: Containers = parts.cloud.hosts["containers"]
        self._endpoint = Endpoint(parts.cloud, parts.dispatcher, observe=self._observe)
        self._consoles = Consoles(settings.data_dir, lambda guest: _open_console(parts, guest))
        self.certificates = Certificates(settings.data_dir, settings.tls_certificate)
        """For those who speak TLS (see `gateway.connection`)."""
        state = _State(parts, self._consoles, self.certificates)
        self._internal = internal.make(settings, __version__, _implemented, state, self._metrics)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one ASGI scope."""
        if scope["type"] == "http":
            path = scope["raw_path"]
            if path[1:2] in FIRST and internal.claims(head_of(scope)):
                await self._internal(scope, receive, send)
            else:
                await self._endpoint(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "websocket":
            await self._consoles.serve(scope, receive, send)

    def at_once(self, head: Head, body: bytes, line: Line) -> Coroutine[Any, Any, None] | None:
        """Answer a request that is here whole (see `gateway.connection.AtOnce`)."""
        if head.raw_path[1:2] in FIRST and internal.claims(head):
            return self._internally(line)
        return self._endpoint.at_once(head, body, line)

    async def _internally(self, line: Line) -> None:
        await self._internal(*line.open())

    async def _live(self, receive: Any, send: Any) -> None:
        await receive()
        sharing = asyncio.create_task(self._metrics.share())
        keeping = asyncio.create_task(self._keep_access_lines())
        guests = await serve_guests(self._for_guests, self._guest_api) if self._for_guests is not None else None
        if self._reconcile:
            await asyncio.to_thread(self._parts.survey)
        if self._first:
            try:
                await asyncio.to_thread(make_buckets, self._parts.dispatcher, self._settings)
            except AWSError as error:
                await send({"type": "lifespan.startup.failed", "message": f"buckets: {error}"})
                return
        if self._reconcile:
            self._parts.start()
            if self._guests is not None:
                self._guests.start()
        await send({"type": "lifespan.startup.complete"})
        asyncio.get_running_loop().run_in_executor(None, _warm)
        await receive()
        if guests is not None:
            guests.close()
        for task in (sharing, keeping):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        if self._guests is not None:
            await asyncio.to_thread(self._guests.stop)
        if self._reconcile:
            await asyncio.to_thread(self._parts.stop)
        self._endpoint.close()
        if self._for_guests is not None:
            self._for_guests.close()
        self._log.flush()
        self._parts.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _keep_access_lines(self) -> None:
        """Write the lines of access logs into the index, where there are any."""
        lines: AccessLines = self._parts.cloud.hosts["access"]
        try:
            while True:
                await asyncio.sleep(PERIOD_OF_ACCESS_LINES)
                if lines.waiting:
                    await asyncio.to_thread(lines.keep)
        finally:
            lines.keep()

    def _observe(self, exchange: Exchange, status: int, seconds: float) -> None:
        route = exchange.route
        operation = f"{route.service}:{route.operation}" if route is not None else "unknown"
        self._metrics.count(operation, status, seconds)
        if self._containers.keeps_logs and route is not None and route.service == "s3":
            visits.note(self._parts.cloud, exchange, status, seconds)
        if self._log.enabled:
            self._log.write(exchange.request_id, operation, exchange.principal.arn, status, seconds)


def _warm() -> None:
    """Import, while nobody waits for it, what the first call of each service would import."""
    load()
    checksum.of("CRC32", b"")
    gc.freeze()


def _implemented() -> dict[str, int]:
    """How many operations of each service are implemented."""
    return dict(Counter(service for service, _ in load()))


def _open_console(parts: Parts, guest: str) -> Stream:
    try:
        return parts.compute.driver.open_console(guest)
    except (NativeError, AttributeError) as error:  # a driver in another process passes no streams
        raise CannotOpen(str(error)) from error


class _State:
    """What Nephele's own paths may know of the cloud and do to it."""

    def __init__(self, parts: Parts, consoles: Consoles, certificates: Certificates) -> None:
        self._parts, self._consoles, self._certificates = parts, consoles, certificates

    def authority(self) -> bytes | None:
        return self._certificates.authority()

    def console(self, instance: str) -> str | None:
        with self._parts.cloud.database.unit(None, write=False) as unit:
            guest = unit.session.get(Guest, instance)
            if guest is None or guest.state != GuestState.RUNNING:
                return None
        return self._consoles.token(instance)

    def is_well(self) -> bool:
        try:
            with self._parts.cloud.database.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return False
        return True

    def reset(self, account: str | None) -> None:
        reset(self._parts, account)

    def events(self, bucket: str | None, after: int, most: int) -> list[dict[str, Any]]:
        from compat.s3.telling import shown  # with much of S3: not at start

        return [shown(told) for told in self._parts.cloud.hosts["outbox"].read(bucket, after, most)]

    def ahead(self) -> float:
        return self._parts.clock.ahead

    def advance(self, seconds: float) -> None:
        self._parts.clock.advance(seconds)
        with self._parts.cloud.database.unit(None, write=True) as unit:
            unit.touch(LIFE)
            unit.nudge(LIFE)


def _guest_services(parts: Parts, metadata: socket.socket | None) -> GuestServices:
    """What serves guests from beside them; loaded only where there is something to serve."""
    from gateway.guest_services import GuestServices

    return GuestServices(parts, metadata)


def create_app(
    settings: Settings, *, reconcile: bool = True, worker: int = 0, metadata: socket.socket | None = None
) -> App:
    """The application of one worker; exactly one worker of a cloud reconciles, and serves guests' metadata on the
    listening socket `metadata`."""
    return App(settings, compose(settings), reconcile=reconcile, worker=worker, metadata=metadata)
