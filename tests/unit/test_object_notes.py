"""Annotations below S3: they go with their version, whatever becomes of it, and leave nothing behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from backends.errors import Changed, Damaged, DriverError, Missing, OutOfRange
from backends.object import notes
from backends.object.audit import Auditor
from backends.object.books import Note
from backends.object.notes import Place
from backends.object.versions import Description
from tests.unit.object_worlds import FailingBlobs, MemoryBlobs, World

SMALL, LARGE = b"s" * 10, b"l" * 500


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    world = World(database_url, MemoryBlobs(), inline=64)
    yield world
    world.close()


def write(world: World, box: int, key: str, name: str, text: bytes, version: str | None = None, most: int = 9) -> None:
    world.clock += 1
    received = world.store.receive([text])
    try:
        note = Note(name.encode(), len(text), world.clock, received.etag)
        notes.annotate(world.store, Place(box, key, version), note, received, most, lambda head: None, None)
    finally:
        received.close()


def read(world: World, box: int, key: str, name: str, version: str | None = None) -> bytes:
    head = world.store.head(box, key, version)
    assert head is not None
    return notes.read(world.store, head, name.encode(), lambda sealed: pytest.fail("the key is the store's"))[1]


def copy(world: World, box: int, key: str, to: str) -> None:
    head = world.store.head(box, key)
    assert head is not None
    about = Description(world.clock, head.etag, head.size)
    every = notes.every(world.store, head)
    world.store.copy((box, key, head), box, to, about, notes=every, book=head.book)


def rows(world: World, table: str) -> int:
    with world.database.engine.connect() as connection:
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())


def annotated(world: World, box: int, key: str = "k", version: str | None = None) -> None:
    write(world, box, key, "small", SMALL, version)
    write(world, box, key, "large", LARGE, version)


@pytest.mark.parametrize("content", [b"x", b"x" * 100], ids=["small", "large"])
@pytest.mark.parametrize("keeping", ["", "Suspended"])
@pytest.mark.parametrize("how", ["replaced", "deleted", "deleted by version"])
def test_nothing_is_left_behind(world: World, content: bytes, keeping: str, how: str) -> None:
    box = world.add(keeping=keeping)
    world.put(box, "k", content)
    annotated(world, box)
    write(world, box, "k", "large", LARGE[1:])
    assert (read(world, box, "k", "small"), read(world, box, "k", "large")) == (SMALL, LARGE[1:])
    if how == "replaced":
        world.put(box, "k", content)
        assert notes.every(world.store, world.store.head(box, "k")) == []  # type: ignore[arg-type]
        world.delete(box, "k", "")
    else:
        world.delete(box, "k", "" if "version" in how else None)
    assert (rows(world, "object_annotation"), rows(world, "object_small")) == (0, 0)
    assert world.stored() == world.used() == set()


def test_every_version_keeps_its_own(world: World) -> None:
    box = world.add(keeping="Enabled")
    first = world.put(box, "k", b"1").version
    annotated(world, box)
    world.put(box, "k", b"2")
    write(world, box, "k", "small", b"of two")
    assert read(world, box, "k", "small", first) == SMALL
    assert read(world, box, "k", "small") == b"of two"
    write(world, box, "k", "small", b"late", first)
    assert read(world, box, "k", "small", first) == b"late"
    world.delete(box, "k", first)
    assert rows(world, "object_annotation") == 1


def test_copies_share_contents(world: World) -> None:
    box = world.add()
    world.put(box, "k", b"x" * 100)
    annotated(world, box)
    copy(world, box, "k", "copy")
    copy(world, box, "copy", "copy")
    assert len(world.stored()) == 2
    world.delete(box, "k")
    assert (read(world, box, "copy", "small"), read(world, box, "copy", "large")) == (SMALL, LARGE)
    world.delete(box, "copy")
    assert world.stored() == world.used() == set()
    assert (rows(world, "object_annotation"), rows(world, "object_small")) == (0, 0)


def test_a_copy_takes_what_it_saw_or_nothing(world: World) -> None:
    box = world.add()
    world.put(box, "k", b"x")
    annotated(world, box)
    head = world.store.head(box, "k")
    assert head is not None
    seen = notes.every(world.store, head)
    write(world, box, "k", "small", b"changed")
    about = Description(world.clock, head.etag, head.size)
    with pytest.raises(Changed):
        world.store.copy((box, "k", head), box, "copy", about, notes=seen, book=head.book)
    assert world.store.head(box, "copy") is None


def test_what_is_refused_changes_nothing(world: World) -> None:
    box = world.add()
    world.put(box, "k", b"x")
    annotated(world, box)
    with pytest.raises(OutOfRange):
        write(world, box, "k", "third", LARGE, most=2)
    write(world, box, "k", "large", LARGE, most=2)
    with pytest.raises(Missing):
        write(world, box, "none", "a", LARGE)
    assert world.stored() == world.used()
    assert len(world.stored()) == 1


@pytest.mark.parametrize("after", [False, True])
def test_a_driver_that_fails_leaves_the_old_one_or_the_new_one(world: World, after: bool) -> None:
    blobs, at = world.driver, 0
    while True:
        at += 1
        box = world.add(f"box{at}")
        world.put(box, "k", b"x")
        write(world, box, "k", "a", LARGE)
        failing = world.store.contents.driver = FailingBlobs(blobs, at, after=after)
        try:
            write(world, box, "k", "a", LARGE[1:])
        except DriverError:
            assert failing.failed
        failing.left = -1
        assert read(world, box, "k", "a") in ((LARGE, LARGE[1:]) if failing.failed else (LARGE[1:],))
        world.sweep()
        assert world.stored() == world.used()
        if not failing.failed:
            break
    assert at > 2


def test_rot_is_found(world: World) -> None:
    box = world.add()
    world.put(box, "k", b"x" * 100)
    before = world.stored()
    write(world, box, "k", "large", LARGE)
    (name,) = world.stored() - before
    assert isinstance(world.driver, MemoryBlobs)
    world.driver.kept[name] = b"?" + world.driver.kept[name][1:]
    auditor = Auditor(world.store.ledger, world.driver)
    list(auditor.round())
    assert [(one.container, one.key) for one in auditor.damages()] == [("box", "k")]
    with pytest.raises(Damaged):
        read(world, box, "k", "large")
    assert world.get(box, "k") == b"x" * 100
