"""Calls to a libvirtd that hangs: one waits at its door, others are told at once, and none is carried out too late."""

from __future__ import annotations

import socket
import sys
import threading
import time
import types
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from backends.compute.drivers import libvirt_session
from backends.compute.drivers.libvirt_session import HANGING, Session
from backends.errors import Away


class Fault(Exception):
    """What libvirt raises."""


class Connection:
    def isAlive(self) -> bool:  # libvirt's name
        return True

    def setKeepAlive(self, interval: int, count: int) -> None:  # libvirt's name
        assert interval * count < 30

    def close(self) -> None:
        pass


class Door:
    """A daemon that opens when it is told to."""

    def __init__(self) -> None:
        self.opened, self.knocks = threading.Event(), 0

    def open(self, uri: str) -> Connection:
        self.knocks += 1
        assert self.opened.wait(30)
        return Connection()


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    made = Door()
    libvirt: Any = types.SimpleNamespace(libvirtError=Fault, open=made.open)
    monkeypatch.setitem(sys.modules, "libvirt", libvirt)
    monkeypatch.setattr(libvirt_session, "_run_events", lambda: None)
    monkeypatch.setattr(libvirt_session, "HANGS", 0.05)
    yield made
    made.opened.set()


def test_only_one_waits_for_a_daemon_that_hangs(door: Door) -> None:
    session, done = Session("test:///default"), list[str]()
    for name in ("first", "second", "third"):
        with pytest.raises(Away, match=HANGING):
            session.run(lambda connection, name=name: done.append(name))  # type: ignore[misc]
    assert door.knocks == 1
    connected = threading.Event()
    session.prepare = lambda connection: connected.set()
    door.opened.set()
    assert connected.wait(30), "who comes back is told to those who look"
    session.run(lambda connection: done.append("last"))
    session.close()
    assert done == ["last"], "what its caller gave up is not carried out later"


def test_calls_at_the_same_time_have_a_connection_each_and_leave_it_to_the_next(door: Door) -> None:
    door.opened.set()
    session, both = Session("test:///default"), threading.Barrier(2, timeout=30)
    watched: list[Connection] = []
    session.prepare = watched.append

    def call(connection: Any) -> Any:
        both.wait()
        return connection

    with ThreadPoolExecutor(2) as callers:
        first, second = callers.map(lambda _: session.run(call), range(2))
    assert len({first, second, *watched}) == 3
    assert session.run(lambda connection: connection) in (first, second)
    assert door.knocks == 3
    session.close()


class Wired(Connection):
    """A connection over a real socket, which hears nothing from the other end."""

    alive = True

    def __init__(self, path: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)

    def isAlive(self) -> bool:
        return self.alive

    def ask(self) -> bytes:
        return self.socket.recv(1)


def test_who_waits_for_a_daemon_that_gives_no_sign_of_life_is_cut_off(door: Door, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path := str(tmp_path / "libvirt-sock"))
        listener.listen()
        made, heard = list[Wired](), list[bytes]()

        def connect(uri: str) -> Wired:
            made.append(Wired(path))
            return made[-1]

        sys.modules["libvirt"].open = connect  # type: ignore[attr-defined]
        session = Session("test:///default")

        def call(connection: Wired) -> None:
            made[0].alive = False
            heard.append(connection.ask())

        with pytest.raises(Away):
            session.run(call)
        until = time.monotonic() + 30
        while not heard:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert heard == [b""]
        session.close()
        for one in made:
            one.socket.close()


def test_a_daemon_that_opens_in_time_is_waited_for(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libvirt_session, "HANGS", 60.0)
    door.opened.set()
    session = Session("test:///default")
    assert session.run(lambda connection: "answer") == "answer"
    session.close()
