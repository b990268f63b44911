"""Put, get, delete and list against a model in plain Python, over both databases, in every mode of versioning."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from backends.object.versions import Description, Head
from tests.postgres import Cluster
from tests.unit.object_worlds import MemoryBlobs, World

KEYS = st.sampled_from(["a", "a/", "a/b", "a/b/c", "b", "b/é", "é", "a\x00b", "\U0001f600", "\uffff", "a b+c"])
SMALL, LARGE = b"x" * 5, b"y" * 40


class Versions(RuleBasedStateMachine):
    """The model: for each key its versions, newest first, as (name, content or None for a marker)."""

    cluster: Cluster | None = None

    @initialize()
    def start(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        url = self.cluster.new_database() if self.cluster else f"sqlite:///{self.folder}/db"
        self.world = World(url, MemoryBlobs(), inline=16)
        self.box = self.world.add()
        self.keeping = ""
        self.model: dict[str, list[tuple[str, bytes | None]]] = {}
        self.count = 0

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()
            shutil.rmtree(self.folder)

    @rule(keeping=st.sampled_from(["Enabled", "Suspended"]))
    def keep(self, keeping: str) -> None:
        self.world.keep_versions("box", keeping)
        self.keeping = keeping

    def add(self, key: str, version: str, content: bytes | None) -> None:
        held = [one for one in self.model.get(key, []) if version or one[0]]
        self.model[key] = [(version, content), *held]

    @rule(key=KEYS, large=st.booleans())
    def put(self, key: str, large: bool) -> None:
        self.count += 1
        content = (LARGE if large else SMALL) + str(self.count).encode()
        published = self.world.put(self.box, key, content)
        assert published.keeping == self.keeping
        assert bool(published.version) == (self.keeping == "Enabled")
        self.add(key, published.version, content)

    @rule(key=KEYS)
    def delete(self, key: str) -> None:
        deleted = self.world.delete(self.box, key)
        assert deleted.marker == bool(self.keeping)
        if self.keeping:
            assert bool(deleted.version) == (self.keeping == "Enabled")
            self.add(key, deleted.version, None)
        else:
            self.model.pop(key, None)

    @rule(key=KEYS, pick=st.integers(0, 5))
    def delete_version(self, key: str, pick: int) -> None:
        held = self.model.get(key, [])
        version = held[pick % len(held)][0] if held else "0" * 32
        deleted = self.world.delete(self.box, key, version)
        assert deleted.found == bool(held)
        self.model[key] = [one for one in held if one[0] != version]

    @rule(key=KEYS, onto=KEYS, pick=st.integers(0, 5))
    def copy(self, key: str, onto: str, pick: int) -> None:
        held = [one for one in self.model.get(key, []) if one[1] is not None]
        if held:
            version, content = held[pick % len(held)]
            head = self.world.store.head(self.box, key, version)
            assert head is not None
            self.world.clock += 1
            about = Description(self.world.clock, head.etag, head.size)
            published = self.world.store.copy((self.box, key, head), self.box, onto, about)
            self.add(onto, published.version, content)

    @rule(key=KEYS)
    def stopped_put(self, key: str) -> None:
        class Stop(Exception):
            pass

        def expect(head: Head | None) -> None:
            newest = (self.model.get(key) or [("", None)])[0]
            assert (head is None) == (newest[1] is None)
            raise Stop

        with pytest.raises(Stop):
            self.world.put(self.box, key, LARGE, expect)

    @invariant()
    def reads_agree(self) -> None:
        if not hasattr(self, "world"):
            return
        for key, held in self.model.items():
            assert self.world.get(self.box, key) == (held[0][1] if held else None)
            for version, content in held:
                assert self.world.get(self.box, key, version) == content

    @invariant()
    def nothing_is_lost_or_left(self) -> None:
        if hasattr(self, "world"):
            assert self.world.used() == self.world.stored()
            assert self.world.sweep() == 0

    @rule(
        prefix=st.sampled_from(["", "a", "a/", "b/", "é", "zz"]),
        delimiter=st.sampled_from(["", "/", "b", "\x00"]),
        limit=st.integers(1, 4),
    )
    def list(self, prefix: str, delimiter: str, limit: int) -> None:
        live = sorted(key.encode() for key, held in self.model.items() if held and held[0][1] is not None)
        entries, prefixes, after = [], [], ""
        while True:
            page = self.world.store.list_keys(self.box, prefix=prefix, delimiter=delimiter, after=after, limit=limit)
            assert len(page.entries) + len(page.prefixes) <= limit
            entries += [entry.key for entry in page.entries]
            prefixes += page.prefixes
            if not page.more:
                break
            assert len(page.entries) + len(page.prefixes) == limit
            assert page.last is not None
            after = (page.last if isinstance(page.last, bytes) else page.last.key).decode()
        assert (entries, prefixes) == rolled(live, prefix.encode(), delimiter.encode())

    @rule(prefix=st.sampled_from(["", "a", "b/"]), delimiter=st.sampled_from(["", "/"]), limit=st.integers(1, 4))
    def list_versions(self, prefix: str, delimiter: str, limit: int) -> None:
        seen, prefixes, after, version = [], [], "", None
        while True:
            page = self.world.store.list_versions(
                self.box, prefix=prefix, delimiter=delimiter, after=after, after_version=version, limit=limit
            )
            seen += [
                (e.key.decode(), e.version, bool(e.marker), new)
                for e, new in zip(page.entries, page.latest, strict=True)
            ]
            prefixes += page.prefixes
            if not page.more:
                break
            assert page.last is not None
            if isinstance(page.last, bytes):
                after, version = page.last.decode(), None
            else:
                after, version = page.last.key.decode(), page.last.version
        keys = sorted(key.encode() for key, held in self.model.items() if held)
        shown, expected_prefixes = rolled(keys, prefix.encode(), delimiter.encode())
        assert prefixes == expected_prefixes
        assert seen == [
            (key.decode(), name, content is None, place == 0)
            for key in shown
            for place, (name, content) in enumerate(self.model[key.decode()])
        ]


def rolled(keys: list[bytes], prefix: bytes, delimiter: bytes) -> tuple[list[bytes], list[bytes]]:
    """What a listing of sorted keys shows."""
    entries, prefixes = [], []
    for key in keys:
        if key.startswith(prefix):
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            if cut < 0:
                entries.append(key)
            elif (roll := key[: cut + len(delimiter)]) not in prefixes:
                prefixes.append(roll)
    return entries, prefixes


Versions.TestCase.settings = settings(max_examples=15, stateful_step_count=25, suppress_health_check=list(HealthCheck))
TestOnSqlite = Versions.TestCase


def test_on_postgresql(postgresql: Cluster) -> None:
    class OnPostgres(Versions):
        cluster = postgresql

    run_state_machine_as_test(
        OnPostgres,
        settings=settings(max_examples=3, stateful_step_count=20, suppress_health_check=list(HealthCheck)),
    )
