"""Nephele's own paths, and those that LocalStack and moto have in their place: health, info, metrics, reset.

They stand under names that no bucket can have (a bucket's name never begins with `_`). Three aliases could be buckets
(`health`, `metrics`, `moto-api`): they are served only to a bare, unsigned request for exactly that path, at a host
that names no bucket; everything else is left to S3. A second slash before a path, which endpoints that end in one bring
along, changes nothing: no bucket is called nothing.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import platform
import re
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import orjson
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from gateway import hooks
from gateway.head import Head
from gateway.metrics import CONTENT_TYPE, Metrics
from gateway.settings import Settings

MOST_BODY = 65536
MOST_EVENTS = 10000
ALIASES = {("GET", b"/health"), ("GET", b"/metrics"), ("POST", b"/moto-api/reset")}
PREFIXES = (b"/_nephele/", b"/_localstack/")
# Hosts that name a bucket, or a service of its own.
ELSEWHERE = re.compile(r"\.localhost$|\.amazonaws\.com(\.cn)?$|[^.]\.s3[.-]|[^.]\.s3-website[.-]|\.s3-control\.")
ACCOUNT = re.compile(r"\d{12}")
SIGNED = (b"X-Amz-", b"AWSAccessKeyId=", b"Signature=")


Services = Callable[[], dict[str, int]]
"""Tells how many operations of each service are implemented; may have to import them first."""


class State(Protocol):
    """What these paths need to know of the cloud, and may do to it. Both are called on a thread."""

    def is_well(self) -> bool:
        """Whether the database answers."""

    def reset(self, account: str | None) -> None:
        """Throw away everything, or everything of one account. With everything, time is the machine's again."""

    def events(self, bucket: str | None, after: int, most: int) -> list[dict[str, Any]]:
        """Events of buckets with a notification configuration, behind a number, in order."""

    def console(self, instance: str) -> str | None:
        """A token that opens the console of a running instance; None where there is no such instance."""

    def authority(self) -> bytes | None:
        """The certificate that clients have to trust, in PEM; None where one was given that others signed."""

    def ahead(self) -> float:
        """Seconds that the cloud's clock is ahead of the machine's."""

    def advance(self, seconds: float) -> None:
        """Move the cloud's clock on, for all processes. Raises `ValueError` for a move back or too far."""


def claims(head: Head) -> bool:
    """Whether a request is for these paths; when not, it is S3's or another service's."""
    path = head.raw_path
    if path.startswith(b"//"):
        path = path[1:]
    if path.startswith(b"/_"):
        ours = path.startswith(PREFIXES)
    else:
        ours = (head.method, path) in ALIASES and not head.raw_query
    if not ours or any(sign in head.raw_query for sign in SIGNED):
        return False
    authorization = head.view.get(b"authorization", b"")
    if authorization and not authorization[:6].lower() == b"basic ":
        return False
    host = head.host
    name = host[: host.rfind(":")] if re.search(r":\d*$", host) and not host.endswith("]") else host
    return ELSEWHERE.search(name.lower()) is None


def make(settings: Settings, version: str, services: Services, state: State, metrics: Metrics) -> ASGIApp:
    """The application behind these paths."""
    internal = _Internal(settings, version, services, state, metrics)
    application = Starlette(
        routes=[
            Route("/_nephele/health", internal.health),
            Route("/_nephele/info", internal.info),
            Route("/_nephele/ca.pem", internal.authority),
            Route("/_nephele/reset", internal.reset, methods=["POST"]),
            Route("/_nephele/console/{instance}", internal.console, methods=["POST"]),
            Route("/_nephele/events", internal.events),
            Route("/_nephele/time", internal.time),
            Route("/_nephele/time", internal.advance, methods=["POST"]),
            Route("/_nephele/metrics", internal.numbers),
            Route("/health", internal.health),
            Route("/metrics", internal.numbers),
            Route("/_localstack/health", internal.health),
            Route("/_localstack/health", internal.act, methods=["POST"]),
            Route("/_localstack/info", internal.localstack_info),
            Route("/_localstack/init", internal.init),
            Route("/_localstack/init/{stage}", internal.init),
            Route("/_localstack/state/reset", internal.reset_all, methods=["POST"]),
            Route("/moto-api/reset", internal.reset_all, methods=["POST"]),
        ],
        exception_handlers={404: _not_here, 405: _not_here},
    )

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"].startswith("//"):
            scope = {**scope, "path": scope["path"][1:], "raw_path": scope["raw_path"][1:]}
        await application(scope, receive, send)

    return answer


async def _not_here(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return JSONResponse({"message": f"Nephele has no {request.method} {request.url.path}"}, status)


class _Internal:
    def __init__(self, settings: Settings, version: str, services: Services, state: State, metrics: Metrics) -> None:
        self.settings, self.version, self.services = settings, version, services
        self.state, self.metrics = state, metrics
        self.started = time.monotonic()

    # --- looking -----------------------------------------------------------------------------------------------------

    async def health(self, request: Request) -> Response:
        well = await run_in_threadpool(self.state.is_well)
        word = "running" if well else "error"
        return JSONResponse(
            {
                "status": word,
                "services": dict.fromkeys(sorted(await run_in_threadpool(self.services)), word),
                "edition": "nephele",
                "version": self.version,
            },
            200 if well else 503,
        )

    async def info(self, request: Request) -> Response:
        settings = self.settings
        return JSONResponse(
            {
                "version": self.version,
                "uptime_seconds": round(time.monotonic() - self.started, 3),
                "listening": f"{settings.host}:{settings.port}",
                "ephemeral": settings.ephemeral,
                "database": settings.database.partition(":")[0],
                "auth": settings.auth,
                "workers": settings.workers,
                "drivers": settings.drivers,
                "default_account": settings.default_account,
                "default_region": settings.default_region,
                "operations": dict(sorted((await run_in_threadpool(self.services)).items())),
            }
        )

    async def authority(self, request: Request) -> Response:
        """GET /_nephele/ca.pem: the certificate that clients who speak TLS have to trust."""
        found = await run_in_threadpool(self.state.authority)
        if found is None:
            return JSONResponse({"message": "the certificate was given: trust whoever signed it"}, 404)
        return Response(found, media_type="application/x-pem-file")

    async def localstack_info(self, request: Request) -> Response:
        return JSONResponse(
            {
                "version": self.version,
                "edition": "nephele",
                "is_license_activated": False,
                "is_docker": os.path.exists("/.dockerenv"),
                "system": f"{platform.system()} {platform.release()}",
                "server_time_utc": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()),
                "uptime": int(time.monotonic() - self.started),
            }
        )

    async def init(self, request: Request) -> Response:
        """GET /_localstack/init[/{stage}]: how the scripts fare that run at start and at the end."""
        told, stage = hooks.told(self.settings.data_dir), request.path_params.get("stage", "").upper()
        if not stage:
            return JSONResponse(told)
        if stage not in told["completed"]:
            return JSONResponse({"message": f"no such stage {stage.lower()}"}, 404)
        scripts = [script for script in told["scripts"] if script["stage"] == stage]
        return JSONResponse({"completed": told["completed"][stage], "scripts": scripts})

    async def events(self, request: Request) -> Response:
        """GET /_nephele/events?bucket=&after=&limit=: for roots, since keys of all accounts stand in it."""
        if refusal := self._refusal(request):
            return refusal
        query = request.query_params
        after, most = query.get("after", "0"), query.get("limit", "1000")
        if not (after.isdecimal() and most.isdecimal() and len(after) < 19 and 1 <= int(most[:9]) <= MOST_EVENTS):
            return JSONResponse({"message": f"after is a number, limit one from 1 to {MOST_EVENTS}"}, 400)
        found = await run_in_threadpool(self.state.events, query.get("bucket"), int(after), int(most))
        return JSONResponse({"events": found})

    async def time(self, request: Request) -> Response:
        """The cloud's time, and by how many seconds it is ahead of the machine's."""
        ahead = self.state.ahead()
        return JSONResponse({"now": (datetime.now(UTC) + timedelta(seconds=ahead)).isoformat(), "ahead": ahead})

    async def numbers(self, request: Request) -> Response:
        return Response(await run_in_threadpool(self.metrics.render), headers={"content-type": CONTENT_TYPE})

    # --- acting ------------------------------------------------------------------------------------------------------

    async def reset(self, request: Request) -> Response:
        """POST /_nephele/reset: everything, or the account in `?account=` or in the body `{"account": …}`."""
        if refusal := self._refusal(request):
            return refusal
        found = await _json(request)
        if not isinstance(found, dict) or set(found) - {"account"}:
            return JSONResponse({"message": 'the body must be empty or {"account": "<12 digits>"}'}, 400)
        account = request.query_params.get("account", found.get("account"))
        if account is not None and not (isinstance(account, str) and ACCOUNT.fullmatch(account)):
            return JSONResponse({"message": "an account is 12 digits"}, 400)
        await run_in_threadpool(self.state.reset, account)
        return JSONResponse({"reset": f"account {account}" if account else "everything"})

    async def console(self, request: Request) -> Response:
        """POST /_nephele/console/{instance}: what opens the websocket at /_nephele/console/{token}, for a minute."""
        if refusal := self._refusal(request):
            return refusal
        instance = request.path_params["instance"]
        token = await run_in_threadpool(self.state.console, instance)
        if token is None:
            return JSONResponse({"message": f"no running instance {instance}"}, 404)
        return JSONResponse({"token": token, "seconds": 60})

    async def advance(self, request: Request) -> Response:
        """POST /_nephele/time {"advance": seconds}: for tests of what happens with time."""
        if refusal := self._refusal(request):
            return refusal
        found = await _json(request)
        seconds = found.get("advance") if isinstance(found, dict) and set(found) == {"advance"} else None
        if isinstance(seconds, bool) or not isinstance(seconds, int | float):
            return JSONResponse({"message": 'the body must be {"advance": <seconds>}'}, 400)
        try:
            await run_in_threadpool(self.state.advance, seconds)
        except ValueError as fault:
            return JSONResponse({"message": str(fault)}, 400)
        return await self.time(request)

    async def reset_all(self, request: Request) -> Response:
        if refusal := self._refusal(request):
            return refusal
        await run_in_threadpool(self.state.reset, None)
        return JSONResponse({"status": "ok"})

    async def act(self, request: Request) -> Response:
        """POST /_localstack/health {"action": "kill"}: an orderly end."""
        if refusal := self._refusal(request):
            return refusal
        found = await _json(request)
        if not isinstance(found, dict) or found.get("action") != "kill":
            return JSONResponse({"message": 'the only action here is "kill"'}, 400)
        os.kill(os.getpid() if self.settings.workers == 1 else os.getppid(), signal.SIGTERM)
        return JSONResponse({"status": "ok"})

    def _refusal(self, request: Request) -> Response | None:
        """Why this request may not change anything. Other sites' pages may not (a browser names them), and where
        `test` is no root, neither may those who do not prove a root key (HTTP Basic: access key and secret)."""
        origin = request.headers.get("origin")
        if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin") or (
            origin is not None and origin.partition("://")[2] != request.headers.get("host")
        ):
            return JSONResponse({"message": "not from another site"}, 403)
        if self.settings.has_open_root or self._is_root(request.headers.get("authorization", "")):
            return None
        message = "needs a root key: HTTP Basic with its access key and secret"
        return JSONResponse({"message": message}, 401, {"WWW-Authenticate": 'Basic realm="nephele"'})

    def _is_root(self, authorization: str) -> bool:
        try:
            proof = base64.b64decode(authorization[6:], validate=True)
        except (binascii.Error, ValueError):
            return False
        keys = [f"{key.access_key}:{key.secret_key}".encode() for key in self.settings.root_keys]
        return any([hmac.compare_digest(proof, key) for key in keys])


async def _json(request: Request) -> Any:
    """The JSON of a small body, {} for none, None for what is no JSON or too long."""
    body = b""
    try:
        async for block in request.stream():
            body += block
            if len(body) > MOST_BODY:
                return None
    except ClientDisconnect:
        return None
    if not body.strip():
        return {}
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
