"""`kill -9` before and after every single call of the driver and every commit: what was acknowledged stands, the rest
took effect as a whole or not at all, and the sweeper leaves nothing over."""

from __future__ import annotations

import os
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from backends.object.audit import Auditor
from backends.object.drivers.files import FileBlobs
from backends.object.versions import Description
from tests.unit.object_worlds import FailingBlobs, World, multipart

Step = tuple[str, Callable[[World, int], object], dict[str, bytes | None]]


def copy(world: World, box: int) -> None:
    head = world.store.head(box, "a")
    assert head is not None
    world.store.copy((box, "a", head), box, "c", Description(9, head.etag, head.size))


STEPS: list[Step] = [
    ("put", lambda world, box: world.put(box, "a", b"1" * 200), {"a": b"1" * 200}),
    ("replace", lambda world, box: world.put(box, "a", b"2" * 300), {"a": b"2" * 300}),
    ("small", lambda world, box: world.put(box, "s", b"3" * 9), {"s": b"3" * 9}),
    ("parts", multipart, {"m": b"p" * 100 + b"q" * 100}),
    ("copy", copy, {"c": b"2" * 300}),
    ("shrink", lambda world, box: world.put(box, "a", b"4"), {"a": b"4"}),
    ("delete", lambda world, box: world.delete(box, "m"), {"m": None}),
    ("delete the last", lambda world, box: world.delete(box, "c"), {"c": None}),
]


T = TypeVar("T")


class Killer:
    """Ends the process at the n-th thing it is told of."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.left, self.after = at, after

    def step(self, call: Callable[[], T]) -> T:
        self.left -= 1
        if self.left == 0:
            if self.after:
                call()
            os.kill(os.getpid(), signal.SIGKILL)
        return call()


class KillingBlobs(FailingBlobs):
    """Passes calls on, until one is the last."""

    def __init__(self, inner: FileBlobs, killer: Killer) -> None:
        super().__init__(inner, 0, after=False)
        self.step = killer.step  # type: ignore[method-assign]


def live(folder: Path, at: int, after: bool, told: int) -> None:
    """The life of the process: all steps, each acknowledged by a byte."""
    killer = Killer(at, after=after)
    world = World(f"sqlite:///{folder}/db", KillingBlobs(FileBlobs(folder / "blobs"), killer), inline=64)
    known = world.containers.find("box")
    assert known is not None
    write = world.store.ledger.write
    world.store.ledger.write = lambda job: killer.step(lambda: write(job))  # type: ignore[method-assign]
    for _, act, _ in STEPS:
        act(world, known.number)
        os.write(told, b".")


def run(folder: Path, at: int, after: bool) -> tuple[int, bool]:
    """How many steps were acknowledged, and whether the process was killed."""
    folder.mkdir()
    world = World(f"sqlite:///{folder}/db", FileBlobs(folder / "blobs"), inline=64)
    world.add()
    world.close()
    here, there = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests do nothing in the child
        child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(here)
            live(folder, at, after, there)
            status = 0
        finally:
            os._exit(status)
    os.close(there)
    with open(here, "rb") as ear:
        done = len(ear.read())
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, "the child failed by itself"
    return done, os.WIFSIGNALED(status)


@pytest.mark.parametrize("after", [False, True])
def test_a_kill_at_every_step(tmp_path: Path, after: bool) -> None:
    at = 1
    while True:
        folder = tmp_path / str(at)
        done, killed = run(folder, at, after)
        expected: dict[str, bytes | None] = {}
        for _, _, changes in STEPS[:done]:
            expected |= changes
        unsure = STEPS[done][2] if killed and done < len(STEPS) else {}
        files = FileBlobs(folder / "blobs")
        files.tidy()
        world = World(f"sqlite:///{folder}/db", files, inline=64)
        known = world.containers.find("box")
        assert known is not None
        box = known.number
        for key in {*expected, *unsure}:
            allowed = {expected.get(key)} | ({unsure[key]} if key in unsure else set())
            assert world.get(box, key) in allowed, (at, key)
        for upload in world.store.list_uploads(box).entries:
            world.store.abort(box, upload.key.decode(), upload.id)
        world.sweep()
        assert world.used() == world.stored(), at
        auditor = Auditor(world.store.ledger, files)
        list(auditor.round())
        assert (auditor.progress.damaged, auditor.progress.unread) == (0, []), at
        for entry in world.store.list_keys(box).entries:
            world.delete(box, entry.key.decode())
        assert world.stored() == set(), at
        world.close()
        if not killed:
            break
        at += 1
    assert at > 25
