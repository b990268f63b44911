"""Between processes that answer calls and the engine: a nudge, and the few questions that only a driver can answer.

The truth is in the database; what passes here may be lost without harm. Two sockets in the data folder: datagrams that
wake the engine, and a stream on which a driver is asked. Nothing but JSON and bytes passes, and only verbs that look at
things, or take in a snapshot's bytes: who may call the API must not thereby command the engine.
"""

from __future__ import annotations

import base64
import contextlib
import json
import logging
import os
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

from compat.errors import AWSError
from gateway.relay import within

log = logging.getLogger("nephele.engine")

NUDGES, QUESTIONS = "engine.nudge", "engine.sock"
VERBS: Mapping[str, frozenset[str]] = {
    "network": frozenset(),
    "compute": frozenset({"capabilities", "console", "screenshot"}),
    "volumes": frozenset({"extents", "read", "begin_upload", "upload", "finish_upload"}),
}
"""What may be asked of each host's driver. What is no function is read."""
PATIENCE = 60.0
"""Seconds that an answer may take."""
MOST_QUESTION = 4 << 20

Drivers = Mapping[str, Any]


def _listener(path: Path, kind: socket.SocketKind) -> socket.socket:
    """A socket at `path`, for the owner of the folder and nobody else, in the place of one that was left behind."""
    path.unlink(missing_ok=True)
    made = socket.socket(socket.AF_UNIX, kind)
    with within(path.parent) as folder:
        made.bind(f"{folder}/{path.name}")
    os.chmod(path, 0o600)
    owner = path.parent.stat()
    if os.geteuid() == 0:
        os.chown(path, owner.st_uid, owner.st_gid)
    return made


# --- the engine's side ------------------------------------------------------------------------------------------------


class EngineDoor:
    """Listens for nudges and questions, on two threads, until it is closed."""

    def __init__(self, folder: Path, drivers: Drivers, nudge: Callable[[str], None]) -> None:
        self._drivers, self._nudge = drivers, nudge
        self._nudges = _listener(folder / NUDGES, socket.SOCK_DGRAM)
        self._questions = _listener(folder / QUESTIONS, socket.SOCK_STREAM)
        self._questions.listen(64)
        for work in (self._hear, self._accept):
            threading.Thread(target=work, name=f"engine-{work.__name__}", daemon=True).start()

    def close(self) -> None:
        """Hear nothing any more."""
        for one in (self._nudges, self._questions):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()

    def _hear(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                topic = self._nudges.recv(256).decode("ascii", "replace")
                if not topic:
                    return
                self._nudge(topic)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._questions.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """One connection, one question."""
        client.settimeout(PATIENCE)
        with client, contextlib.suppress(OSError), client.makefile("rwb") as stream:
            line = stream.readline(MOST_QUESTION)
            try:
                told = _spell(self._answer(json.loads(line)))
            except Exception as error:  # an edge: the asker is told, whatever it was
                log.exception("a question to a driver failed")
                told = {"fault": type(error).__name__, "message": str(error)}
            stream.write(json.dumps(told).encode() + b"\n")

    def _answer(self, asked: Mapping[str, Any]) -> Any:
        host, verb = str(asked["host"]), str(asked["verb"])
        if verb not in VERBS.get(host, ()):
            raise PermissionError(f"{host}.{verb} may not be asked")
        found = getattr(self._drivers[host], verb)
        return found(*[_read(value) for value in asked["given"]]) if callable(found) else found


def _spell(value: Any) -> dict[str, Any]:
    """A value in JSON: bytes and dataclasses say what they are."""
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if is_dataclass(value) and not isinstance(value, type):
        return {"record": asdict(value)}
    return {"value": value}


def _read(told: Mapping[str, Any]) -> Any:
    """The value that `_spell` wrote."""
    if "bytes" in told:
        return base64.b64decode(told["bytes"])
    return Record(told["record"]) if "record" in told else told["value"]


class Record:
    """What was a dataclass, at the other end."""

    def __init__(self, members: Mapping[str, Any]) -> None:
        self.__dict__.update(members)


# --- the side of those who answer calls -------------------------------------------------------------------------------


class RemoteDriver:
    """A driver that lives in the engine; it answers what may be asked of it, and nothing else."""

    applies: bool

    def __init__(self, folder: Path, host: str) -> None:
        self._folder, self._host = folder, host

    def __getattr__(self, verb: str) -> Any:
        if verb.startswith("_") or verb not in VERBS[self._host]:
            raise AttributeError(f"{verb} of {self._host} is for the engine only")
        if verb == "capabilities":
            return self._ask(verb)
        return lambda *given: self._ask(verb, *given)

    def _ask(self, verb: str, *given: Any) -> Any:
        asked = {"host": self._host, "verb": verb, "given": [_spell(value) for value in given]}
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client, within(self._folder) as folder:
                client.settimeout(PATIENCE)
                client.connect(f"{folder}/{QUESTIONS}")
                with client.makefile("rwb") as stream:
                    stream.write(json.dumps(asked).encode() + b"\n")
                    stream.flush()
                    told = json.loads(stream.readline())
        except (OSError, ValueError) as error:
            raise AWSError("Unavailable", "The engine does not answer (`nephele engine`).", 503) from error
        if "fault" in told:
            raise AWSError("Unavailable", f"The engine could not do it: {told['message']}", 503)
        return _read(told)


class RemoteDrivers(NamedTuple):
    """All drivers, at the engine."""

    network: Any
    disks: Any
    guests: Any


def remote_drivers(folder: Path, *, applies: bool) -> RemoteDrivers:
    """The drivers of the engine that works on a data folder. `applies`: its networks carry packets."""
    network = RemoteDriver(folder, "network")
    network.applies = applies  # known without asking: a server may start before its engine
    return RemoteDrivers(network, RemoteDriver(folder, "volumes"), RemoteDriver(folder, "compute"))


class Nudger:
    """Wakes the engine. A nudge that is lost delays; the engine looks by itself, too."""

    def __init__(self, folder: Path) -> None:
        self._folder = os.open(folder, os.O_PATH | os.O_DIRECTORY)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)

    def nudge(self, topic: str) -> None:
        """Say that something of `topic` is wanted."""
        with contextlib.suppress(OSError):
            self._socket.sendto(topic.encode(), f"/proc/self/fd/{self._folder}/{NUDGES}")
