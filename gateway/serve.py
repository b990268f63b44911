"""From settings to a serving process: data folder, lock, root key, socket, workers, banner, and an orderly end.

`gateway.app` is asked for two things: `prepare(settings)` brings the database up to date before anything answers, and
`create_app(settings, reconcile=…, worker=…)` makes the ASGI application of one worker.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import fcntl
import gc
import json
import logging
import multiprocessing
import multiprocessing.connection
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from multiprocessing.context import ForkProcess
from pathlib import Path
from typing import Any

import uvicorn
from sqlalchemy.engine import make_url

from gateway import __version__, console, logs
from gateway.clients import ROOT_KEY_FILE, client_environment, endpoint_of
from gateway.connection import HttpConnection
from gateway.hooks import LONGEST_END, Hooks
from gateway.settings import RootKey, Settings, StartError
from gateway.signals import heard
from gateway.tls import Certificates

log = logging.getLogger("nephele.serve")

GRACE = 10
"""Seconds that running requests get at the end."""
HASTE = 2.0
"""A worker that dies within so many seconds of its start is not started again."""
SWITCH = 0.001
"""Seconds after which a thread that computes lets another one run; Python's own default is five times that."""
ACCEPTS = 8
"""Connections that a worker accepts in one turn of its loop at most. libuv accepts one for each descriptor that
listens: with one descriptor, the last of 64 clients that come together waits for 63 turns, each of them full of the
others' requests."""
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def run(settings: Settings) -> int:
    """Serve until told to end; the exit status. Raises `StartError`."""
    gc.disable()  # until everything is loaded: what is made now stays
    _spare_runtime()
    logs.configure(settings)
    with contextlib.ExitStack() as stack:
        if settings.ephemeral:
            folder = Path(tempfile.mkdtemp(prefix="nephele-"))
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            settings = settings.model_copy(update={"data_dir": folder})
        stack.enter_context(hold(settings.data_dir, "lock"))
        if settings.engine == "inside":
            stack.enter_context(hold(settings.data_dir, "engine.lock"))
        settings, fresh_key = _with_root(settings)
        listener = stack.enter_context(_bind(settings))
        settings = settings.model_copy(update={"port": listener.getsockname()[1]})
        settings, metadata = metadata_listener(settings, stack)
        _check_certificate(settings)
        hooks = Hooks(settings, client_environment(settings, None, None))
        hooks.run("boot")
        from gateway.app import prepare  # slow to import: what can be refused is refused before

        if settings.engine == "inside":
            check_machine(settings)
        prepare(settings)
        hooks.run("start")
        gc.freeze()
        shown = banner(settings, fresh_key)

        def ready() -> None:
            _say(shown)
            hooks.run_aside("ready")

        def end() -> None:
            hooks.run("shutdown", LONGEST_END)

        if settings.workers == 1:
            return _work(settings, listener, 0, ready, metadata, end)
        return _supervise(settings, listener, ready, metadata, end)


def _spare_runtime() -> None:
    """Keep botocore from loading the whole AWS common runtime at start, which it does even where it is told not to use
    it: of botocore the models are used, not the signers."""
    os.environ.setdefault("BOTO_DISABLE_CRT", "true")
    if "botocore.compat" not in sys.modules and "awscrt" not in sys.modules:
        sys.modules["awscrt"] = None  # type: ignore[assignment]  # importing it fails
        try:
            import botocore.compat  # noqa: F401
        finally:
            del sys.modules["awscrt"]


def _check_certificate(settings: Settings) -> None:
    """Refuse a certificate that cannot be used."""
    try:
        Certificates(settings.data_dir, settings.tls_certificate)
    except OSError as error:  # ssl's errors among them
        raise StartError(f"cannot use the certificate {settings.tls_certificate}: {error}") from error


def check_machine(settings: Settings) -> None:
    """Refuse drivers that this machine cannot carry, before anything is made, and tell what is doubtful."""
    if (settings.compute, settings.network) != ("simulated", "simulated"):
        from gateway.drivers import CannotRun, preflight, worry

        try:
            preflight(settings)
        except CannotRun as error:
            raise StartError(str(error)) from error
        told, mend = worry(settings)
        if told:
            log.warning("%s%s", told, f" ({mend} does not)" if mend else "")


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


# --- before serving --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def hold(folder: Path, name: str) -> Iterator[None]:
    """Make the data folder, for its owner only, and keep others who would hold the same lock out of it: servers hold
    `lock`, engines `engine.lock`."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = (folder / name).open("a+b", buffering=0)
    except OSError as error:
        raise StartError(f"cannot use the data folder {folder}: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().decode() or "?"
            raise StartError(f"another Nephele (process {holder}) uses the data folder {folder}") from None
        lock.truncate(0)
        lock.write(b"%d" % os.getpid())
        yield


def _with_root(settings: Settings) -> tuple[Settings, RootKey | None]:
    """Settings that have a root key; the key too when it was made just now.

    Where `test` is no root and no key is given, a random one is made at the first start and kept in the data folder.
    """
    if settings.has_open_root or settings.root_keys:
        return settings, None
    file = settings.data_dir / ROOT_KEY_FILE
    fresh = None
    if file.exists():
        key = RootKey.model_validate_json(file.read_bytes())
    else:
        key = fresh = RootKey(access_key="AKIA" + _letters(16), secret_key=secrets.token_urlsafe(30))
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            json.dump(key.model_dump(exclude_none=True), out)
            out.flush()
            os.fsync(out.fileno())
    return settings.model_copy(update={"root_keys": (key,)}), fresh


def _letters(count: int) -> str:
    return "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(count))


def _bind(settings: Settings) -> socket.socket:
    """The listening socket, shared by all workers."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            settings.host, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise StartError(f"cannot listen on {settings.host}: {error.strerror}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise StartError(f"cannot listen on {settings.host} port {settings.port}: {error.strerror}") from error
    listener.set_inheritable(True)
    return listener


def metadata_listener(
    settings: Settings, stack: contextlib.ExitStack, *, drives: bool = False
) -> tuple[Settings, socket.socket | None]:
    """The socket of the metadata service on loopback, where the settings ask for one, and settings with its port."""
    if settings.metadata_port is None or settings.engine == "apart" and not drives:
        return settings, None
    from gateway.guest_services import CannotListen, loopback_listener

    try:
        listener = stack.enter_context(loopback_listener(settings.metadata_port))
    except CannotListen as error:
        raise StartError(str(error)) from error
    return settings.model_copy(update={"metadata_port": listener.getsockname()[1]}), listener


def banner(settings: Settings, fresh_key: RootKey | None) -> str:
    """What the user sees at start: where, what is kept where, what is enforced, which drivers; last line `Ready.`"""
    policies = {
        "enforce": "enforced on every operation",
        "soft": "SOFT: what they deny is only logged",
        "off": "OFF: every known key may do everything",
    }
    roots = ["`test` and keys of 12 digits (secret `test`)"] if settings.has_open_root else []
    roots += [key.access_key for key in settings.root_keys]
    signatures = "verified; roots: " + ", ".join(roots)
    if settings.auth == "off":
        signatures = "NOT verified: a request is from whomever it says"
    rows = [
        ("endpoint", endpoint_of(settings) + ("" if settings.is_loopback else f"  (listening on {settings.host})")),
        ("data", f"{settings.data_dir}" + ("  (ephemeral: gone at the end)" if settings.ephemeral else "")),
        ("database", make_url(settings.database).render_as_string(hide_password=True)),
        ("signatures", signatures),
        ("policies", policies[settings.auth]),
        ("drivers", ", ".join(f"{kind} {name}" for kind, name in settings.drivers.items())),
    ]
    if settings.workers > 1:
        rows.append(("workers", str(settings.workers)))
    if settings.engine == "apart":
        rows.append(("engine", "apart: start it with `nephele engine`"))
    elif settings.metadata_port is not None:
        rows.append(("metadata", f"port {settings.metadata_port} of each instance's loopback address"))
    lines = [f"Nephele {__version__}", *(f"  {name:<11}{text}" for name, text in rows)]
    if fresh_key is not None:
        lines += [
            "",
            "  A root key was made; it is shown this once:",
            f"    AWS_ACCESS_KEY_ID={fresh_key.access_key}",
            f"    AWS_SECRET_ACCESS_KEY={fresh_key.secret_key}",
            "",
        ]
    return "\n".join([*lines, "Ready.", ""])


# --- serving ---------------------------------------------------------------------------------------------------------


class _Server(uvicorn.Server):
    """uvicorn, which says when it is ready and when it ends, and for which being told to end is no error."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], object], end: Callable[[], object]) -> None:
        super().__init__(config)
        self._ready, self._end = ready, end

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await asyncio.to_thread(self._end)  # requests are still answered
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def _work(
    settings: Settings,
    listener: socket.socket,
    worker: int,
    ready: Callable[[], object],
    metadata: socket.socket | None,
    end: Callable[[], object] = lambda: None,
) -> int:
    """Answer requests in this process until told to end. Worker 0 reconciles for all."""
    from gateway.app import create_app

    app = create_app(settings, reconcile=worker == 0 and settings.engine == "inside", worker=worker, metadata=metadata)
    gc.freeze()
    gc.enable()
    config = uvicorn.Config(
        app,
        loop="uvloop",
        http=HttpConnection,
        ws=console.protocol,  # type: ignore[arg-type]  # called as the class would be
        lifespan="on",
        access_log=False,
        proxy_headers=False,
        log_config=None,
        server_header=False,
        backlog=2048,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=GRACE,
    )
    server = _Server(config, ready, end)
    # Commits, streams and the reconciler work on other threads: none may keep the event loop waiting for long.
    sys.setswitchinterval(SWITCH)
    try:
        server.run(sockets=[listener, *(listener.dup() for _ in range(ACCEPTS - 1))])
    except SystemExit as end:
        return int(end.code or 0) if isinstance(end.code, int) else 1
    return 0


def _supervise(
    settings: Settings,
    listener: socket.socket,
    ready: Callable[[], object],
    metadata: socket.socket | None,
    before_end: Callable[[], object],
) -> int:
    """Keep `settings.workers` processes answering on one socket; end them all when told to end."""
    forking = multiprocessing.get_context("fork")
    serving = forking.Semaphore(0)
    born: dict[ForkProcess, tuple[int, float]] = {}
    ending: list[int] = []

    def start(worker: int) -> None:
        process = forking.Process(
            target=_fledge, args=(settings, listener, worker, os.getpid(), serving.release, metadata)
        )
        process.start()
        born[process] = worker, time.monotonic()

    def end(number: int, frame: object) -> None:
        ending.append(number)
        if len(ending) == 1:
            before_end()
        for process in born:
            process.terminate()

    with heard(end) as woken:
        for worker in range(settings.workers):
            start(worker)
        status, waiting = 0, settings.workers
        while born:
            places: list[Any] = [woken, *(process.sentinel for process in born)]
            if woken in multiprocessing.connection.wait(places, timeout=0.02 if waiting else None):
                woken.recv(64)
            while waiting and serving.acquire(block=False):
                waiting -= 1
                if not waiting and not ending:
                    ready()
            for process in [process for process in born if not process.is_alive()]:
                worker, since = born.pop(process)
                if ending:
                    continue
                if waiting or time.monotonic() - since < HASTE:
                    status = 1
                    end(signal.SIGTERM, None)
                else:
                    start(worker)
    return status


def _fledge(
    settings: Settings,
    listener: socket.socket,
    worker: int,
    parent: int,
    ready: Callable[[], object],
    metadata: socket.socket | None,
) -> None:
    """The life of a worker process. It ends with its parent, even when that was killed."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return
    sys.exit(_work(settings, listener, worker, ready, metadata))
