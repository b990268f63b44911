"""Calls to a libvirtd that hangs: one waits at its door, others are told at once, and none is carried out too late."""

from __future__ import annotations

import sys
import threading
import types
from collections.abc import Iterator
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
    assert (done, door.knocks) == (["last"], 1), "what its caller gave up is not carried out later"


def test_a_daemon_that_opens_in_time_is_waited_for(door: Door) -> None:
    door.opened.set()
    session = Session("test:///default")
    assert session.run(lambda connection: "answer") == "answer"
    session.close()
