"""Faults at every driver call, and kill -9: nothing half, nothing lost, nothing left."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.errors import DriverError
from backends.object.drivers.files import FileBlobs
from tests.unit.object_worlds import FailingBlobs, World, multipart


class Trial:
    """A run of steps over a driver that fails at its n-th call."""

    def __init__(self, url: str, files: FileBlobs, n: int, after: bool) -> None:
        self.world = World(url, files, inline=64)
        self.failing = self.world.store.contents.driver = FailingBlobs(files, n, after=after)
        self.box = self.world.add()
        self.state: dict[str, bytes] = {}

    def look(self, key: str) -> bytes | None:
        try:
            return self.world.get(self.box, key)
        except DriverError:
            return self.world.get(self.box, key)

    def step(self, act: Callable[[], object], key: str, done: bytes | None) -> None:
        before = self.state.pop(key, None)
        try:
            act()
        except DriverError:
            assert self.look(key) in (before, done)
        else:
            assert self.look(key) == done
        if (now := self.look(key)) is not None:
            self.state[key] = now

    def run(self) -> bool:
        """All steps, then tidying up; whether a fault happened."""
        world, box = self.world, self.box
        self.step(lambda: world.put(box, "a", b"1" * 200), "a", b"1" * 200)
        self.step(lambda: world.put(box, "a", b"2" * 300), "a", b"2" * 300)
        self.step(lambda: multipart(world, box), "m", b"p" * 100 + b"q" * 100)
        self.step(lambda: world.delete(box, "a"), "a", None)
        self.step(lambda: world.put(box, "b", b"3" * 200), "b", b"3" * 200)
        self.failing.left = -1
        for upload in world.store.list_uploads(box).entries:
            world.store.abort(box, upload.key.decode(), upload.id)
        world.sweep()
        assert world.used() == world.stored()
        assert {entry.key.decode() for entry in world.store.list_keys(box).entries} == set(self.state)
        for key in self.state:
            world.delete(box, key)
        assert world.stored() == set()
        world.store.close()
        world.database.close()
        return self.failing.failed


@pytest.mark.parametrize("after", [False, True])
def test_a_fault_at_any_driver_call_changes_nothing_half(tmp_path: Path, after: bool) -> None:
    """Each step either took effect as a whole or not at all; once the sweeper was there, nothing is left over."""
    files = FileBlobs(tmp_path / "blobs")
    n = 1
    while Trial(f"sqlite:///{tmp_path}/{n}", files, n, after).run():
        n += 1
    files.close()
    assert n > 15


VICTIM = """
import random, sys
from pathlib import Path
from backends.object.drivers.files import FileBlobs
from tests.unit.object_worlds import World

seed, folder = int(sys.argv[1]), Path(sys.argv[2])
world = World(f"sqlite:///{folder}/db", FileBlobs(folder / "blobs"), inline=64)
known = world.containers.find("box")
box = known.number if known else world.add()
rng = random.Random(seed)
print("ready", flush=True)
for count in range(100000):
    key = f"k{rng.randrange(20)}"
    if rng.random() < 0.2:
        print("begin", key, "-", flush=True)
        world.delete(box, key)
        print("done", key, "-", flush=True)
    else:
        data = rng.randbytes(rng.choice((10, 60, 100, 5000, 1500000)))
        print("begin", key, data[:8].hex(), flush=True)
        world.put(box, key, data + b"." * 8 + data[:8])
        print("done", key, data[:8].hex(), flush=True)
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    state: dict[str, str] = {}
    World(f"sqlite:///{tmp_path}/db", FileBlobs(tmp_path / "blobs"), inline=64).close()
    for round in range(4):
        command = [sys.executable, "-c", VICTIM, str(round), str(tmp_path)]
        victim = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2])
        assert victim.stdout is not None
        wanted = random.Random(round).randrange(5, 60)
        unsure: tuple[str, str] | None = None
        for count, line in enumerate(victim.stdout):
            word, *rest = line.split()
            if word == "begin":
                unsure = (rest[0], rest[1])
            elif word == "done":
                unsure = None
                state[rest[0]] = rest[1]
            if count == wanted:
                os.kill(victim.pid, signal.SIGKILL)
        victim.stdout.close()
        victim.wait()
        world = World(f"sqlite:///{tmp_path}/db", FileBlobs(tmp_path / "blobs"), inline=64)
        known = world.containers.find("box")
        assert known is not None
        world.sweep()
        assert world.used() == world.stored()
        for key in {*state, *([unsure[0]] if unsure else [])}:
            content = world.get(known.number, key)
            found = "-" if content is None else content[:8].hex()
            assert content is None or content.endswith(b"." * 8 + content[:8])
            head = world.store.head(known.number, key)
            assert content is None or (head is not None and hashlib.md5(content).hexdigest() == head.etag)
            if unsure is not None and key == unsure[0]:
                assert found in (state.get(key, "-"), unsure[1])
                state[key] = found
            else:
                assert found == state[key]
        world.close()
