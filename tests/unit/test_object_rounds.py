"""Rounds over containers see every version once, in order, whatever the pages, and go on where they stopped."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from backends.object import replicas, rounds
from backends.object.listing import Open
from backends.object.rounds import Fate, Plan, Rounds, Sight, Verdict
from backends.object.versions import Description
from tests.unit.object_worlds import MemoryBlobs, World

Judge = Callable[[Sight], Verdict | None]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(f"sqlite:///{tmp_path / 'index.db'}", MemoryBlobs())
    yield made
    made.close()


@pytest.fixture(params=[2, 3, 500], ids="pages of {}".format)
def pages(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PAGE", "BATCH", "SLICE"):
        monkeypatch.setattr(rounds, name, request.param)


class Rules:
    """A plan whose parts can be looked at and changed."""

    def __init__(self, box: int, judge: Judge, *, name: str = "rules", until: int = 10**15) -> None:
        self.seen: list[Sight] = []
        self.done: list[tuple[bytes, Fate]] = []
        self.standing = True

        def look(sight: Sight) -> Verdict | None:
            self.seen.append(sight)
            return judge(sight)

        self.plan = Plan(
            container=box,
            name=name,
            until=until,
            holds=lambda: self.standing,
            judge=look,
            ends=lambda one: one.key == b"old upload",
            followed=lambda tx, sight, verdict, deleted: self.done.append((sight.key, verdict.fate)),
        )

    def go(self, world: World) -> int:
        """Make the round; in how many slices."""
        going, slices = Rounds(world.store, lambda: [self.plan]), 1
        while going.step():
            slices += 1
        return slices


def history(world: World, box: int) -> list[str]:
    """A container with a history of puts and deletes; its keys in order."""
    chance = random.Random(4)
    keys = [f"k{number}" for number in range(9)]
    for _ in range(60):
        key = chance.choice(keys)
        if chance.random() < 0.2:
            world.delete(box, key)
        else:
            world.put(box, key, b"x")
    return keys


@pytest.mark.usefixtures("pages")
def test_every_version_is_seen_once_with_its_place_in_the_history(world: World) -> None:
    box = world.add(keeping="Enabled")
    history(world, box)
    rules = Rules(box, lambda sight: None)
    rules.go(world)
    listed = world.store.list_versions(box, limit=1000)
    assert [(one.key, one.version) for one in rules.seen] == [(one.key, one.version) for one in listed.entries]
    newer: Sight | None = None
    for sight, newest in zip(rules.seen, listed.latest, strict=True):
        assert (sight.since is None) == newest
        if newer is not None and newer.key == sight.key:
            assert sight.since == newer.modified
            assert sight.behind == (0 if newer.since is None else newer.behind + 1)
        assert sight.alone == ([one.key for one in rules.seen].count(sight.key) == 1)
        newer = sight
    rules.seen.clear()
    rules.go(world)
    assert rules.seen == []  # the round is over


@pytest.mark.usefixtures("pages")
def test_verdicts_are_carried_out(world: World) -> None:
    box = world.add(keeping="Enabled")
    keys = history(world, box)
    rules = Rules(box, lambda sight: Verdict(Fate.REMOVE) if sight.since is not None and sight.behind >= 1 else None)
    rules.go(world)
    left = [one.key for one in world.store.list_versions(box, limit=1000).entries]
    assert left and all(left.count(key.encode()) <= 2 for key in keys)
    expire = Rules(box, lambda sight: None if sight.since or sight.marker else Verdict(Fate.DELETE), name="other")
    expire.go(world)
    assert world.store.list_keys(box).entries == []
    assert {fate for _, fate in expire.done} == {Fate.DELETE}


def test_what_changed_since_it_was_seen_is_left_alone(world: World) -> None:
    box = world.add()
    world.put(box, "k", b"old")
    changes = [lambda: world.put(box, "k", b"new")]

    def judge(sight: Sight) -> Verdict | None:
        if changes:
            changes.pop()()
        return Verdict(Fate.DELETE)

    Rules(box, judge).go(world)
    # A null version keeps its place, so the new content is judged again; one that moved would be left.
    assert world.get(box, "k") is None
    kept = world.add("kept", keeping="Enabled")
    world.put(kept, "k", b"old")
    changes.append(lambda: world.put(kept, "k", b"new"))
    Rules(kept, judge).go(world)
    assert world.get(kept, "k") == b"new"


def test_classes_change_and_nothing_else(world: World) -> None:
    box = world.add()
    world.put(box, "k", b"x" * 20_000)
    before = world.store.head(box, "k")
    Rules(box, lambda sight: Verdict(Fate.MOVE, "COLD") if sight.storage != "COLD" else None).go(world)
    after = world.store.head(box, "k")
    assert before is not None and after == before._replace(storage="COLD")


def test_a_round_goes_on_behind_the_last_key_that_is_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "PAGE", 2)
    monkeypatch.setattr(rounds, "SLICE", 2)
    box = world.add()
    for number in range(9):
        world.put(box, f"{number}", b"x")
    rules = Rules(box, lambda sight: Verdict(Fate.DELETE) if sight.key != b"8" else None)
    assert Rounds(world.store, lambda: [rules.plan]).step()  # and then the process ends
    gone = 9 - len(world.store.list_keys(box).entries)
    assert 0 < gone < 8
    again = Rules(box, rules.plan.judge)
    assert again.go(world) > 1
    assert again.seen[0].key == str(gone).encode()
    assert [one.key for one in world.store.list_keys(box).entries] == [b"8"]


def test_a_round_ends_with_its_rules(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "PAGE", 1)
    box = world.add()
    for number in range(5):
        world.put(box, f"{number}", b"x")
    rules = Rules(box, lambda sight: Verdict(Fate.DELETE))
    rules.standing = False
    rules.go(world)
    assert len(world.store.list_keys(box).entries) > 2


def test_old_uploads_end(world: World) -> None:
    box = world.add()
    for key in ("old upload", "other"):
        world.store.open_upload(box, key, 1, owner="", storage="", facts="")
    Rules(box, lambda sight: None).go(world)
    left: list[Open] = world.store.list_uploads(box).entries
    assert [one.key for one in left] == [b"other"]


def test_replicas_stand_where_their_sources_stand(world: World) -> None:
    here, there = world.add("here", keeping="Enabled"), world.add("there", keeping="Enabled")
    for _ in range(3):
        world.put(here, "k", b"x" * 20_000)
    world.delete(here, "k")
    world.put(here, "k", b"newest")
    listed = world.store.list_versions(here).entries
    order = listed[:]
    random.Random(1).shuffle(order)
    for entry in order * 2:
        head = world.store.head(here, "k", entry.version)
        assert head is not None
        about = Description(head.modified, head.etag, head.size)
        replicas.replicate(world.store, (here, "k", head), there, about)
    copied = world.store.list_versions(there)
    assert [(one.version, one.marker) for one in copied.entries] == [(one.version, one.marker) for one in listed]
    assert copied.latest == [True, False, False, False, False]
    assert world.get(there, "k") == b"newest"
    for entry in listed:
        world.delete(here, "k", entry.version)
    contents = [world.get(there, "k", entry.version) for entry in listed if not entry.marker]
    assert contents == [b"newest"] + [b"x" * 20_000] * 3
    assert world.sweep() == 0
