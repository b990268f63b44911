"""The store over both databases: objects, containers, uploads in parts, long listings, readers and writers at once."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.db import Scope
from backends.errors import Changed, Exists, InUse, Missing
from backends.object import upload_ids
from backends.object.containers import ContainerService, drop_tenant
from backends.object.contents import Reading
from backends.object.drivers.files import FileBlobs
from backends.object.store import Doomed, Span
from backends.object.versions import Description, Head
from tests.unit.object_worlds import SCOPE, World, send, whole


@pytest.fixture
def world(database_url: str, tmp_path: Path) -> Iterator[World]:
    world = World(database_url, FileBlobs(tmp_path / "blobs"), inline=64)
    yield world
    world.close()


# --- objects ----------------------------------------------------------------------------------------------------------


def test_small_contents_need_no_blob_and_large_ones_one(world: World) -> None:
    box = world.add()
    world.put(box, "small", b"s" * 64)
    assert world.stored() == set()
    world.put(box, "large", b"l" * 65)
    assert len(world.stored()) == 1
    assert (world.get(box, "small"), world.get(box, "large")) == (b"s" * 64, b"l" * 65)
    world.put(box, "large", b"")
    assert world.stored() == set()
    assert world.get(box, "large") == b""


def test_a_range_reads_only_what_is_wanted(world: World) -> None:
    box = world.add()
    for key, size in (("small", 60), ("large", 3_000_000)):
        data = random.Random(key).randbytes(size)
        world.put(box, key, data)
        _, content = world.store.read(box, key, None, lambda head: Span(7, 50))
        assert (content if isinstance(content, bytes) else b"".join(content)) == data[7:57]


def test_a_reader_goes_on_when_the_object_is_replaced_and_deleted(world: World) -> None:
    box = world.add()
    world.put(box, "k", b"a" * 3_000_000)
    _, reading = world.store.read(box, "k", None, lambda head: Span(0, head.size))
    assert isinstance(reading, Reading)
    blocks = iter(reading)
    first = next(blocks)
    world.put(box, "k", b"b" * 100)
    world.delete(box, "k")
    assert first + b"".join(blocks) == b"a" * 3_000_000
    assert world.stored() == set()


def test_a_stream_that_breaks_leaves_nothing(world: World) -> None:
    box = world.add()

    def broken() -> Iterator[bytes]:
        yield b"x" * 2_000_000
        raise ConnectionError

    with pytest.raises(ConnectionError):
        world.store.receive(broken())
    assert world.stored() == set()
    assert world.store.list_keys(box).entries == []


def test_a_copy_shares_the_bytes_until_the_last_user_goes(world: World) -> None:
    box = world.add()
    world.put(box, "k", b"c" * 1000)
    head = world.store.head(box, "k")
    assert head is not None
    for name in ("copy", "k"):
        world.store.copy((box, "k", head), box, name, Description(9, head.etag, head.size))
    assert len(world.stored()) == 1
    world.delete(box, "k")
    assert world.get(box, "copy") == b"c" * 1000
    with pytest.raises(Changed):
        world.store.copy((box, "k", head), box, "again", Description(9, head.etag, head.size))
    world.delete(box, "copy")
    assert world.stored() == set()


def test_writers_at_once_lose_nothing(world: World) -> None:
    box = world.add(keeping="Enabled")
    done: list[tuple[str, str, bytes]] = []
    faults: list[Exception] = []

    def work(seed: int) -> None:
        rng = random.Random(seed)
        try:
            for count in range(20):
                data = f"{seed} {count} ".encode() * rng.choice((1, 20))
                key = rng.choice(("one", "two"))
                published = world.put(box, key, data)
                done.append((key, published.version, data))
        except Exception as fault:  # noqa: BLE001 - shown by the test
            faults.append(fault)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert len({version for _, version, _ in done}) == 160
    for key, version, data in done:
        assert world.get(box, key, version) == data
    assert world.used() == world.stored()


def test_only_one_of_many_creates_wins(world: World) -> None:
    box = world.add()
    outcomes: list[str] = []

    class Taken(Exception):
        pass

    def absent(head: Head | None) -> None:
        if head is not None:
            raise Taken

    def work(name: str) -> None:
        try:
            world.put(box, "k", name.encode() * 100, absent)
            outcomes.append(name)
        except Taken:
            outcomes.append("")

    threads = [threading.Thread(target=work, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [name for name in outcomes if name]
    assert len(winners) == 1
    assert world.get(box, "k") == winners[0].encode() * 100
    assert len(world.stored()) == 1


def test_many_deletes_are_one_commit_and_refusals_stand_alone(world: World) -> None:
    box = world.add()
    for number in range(10):
        world.put(box, f"k{number}", b"x" * 100)

    def refuse(head: Head | None) -> None:
        raise PermissionError

    doomed = [Doomed(f"k{number}", None, refuse if number == 3 else None) for number in range(10)]
    results = world.store.delete_many(box, doomed, 1)
    assert [isinstance(result, PermissionError) for result in results] == [number == 3 for number in range(10)]
    assert [entry.key for entry in world.store.list_keys(box).entries] == [b"k3"]
    assert len(world.stored()) == 1


def test_a_prefix_of_many_keys_costs_a_few_statements(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    box = world.add()
    for folder in range(5):
        for number in range(80):
            world.put(box, f"{folder}/{number}", b"")
    reader = world.store.ledger.read()
    rows = 0
    whole = type(reader).all

    def counted(self, statement, *values):  # type: ignore[no-untyped-def]
        nonlocal rows
        found = whole(self, statement, *values)
        rows += len(found)
        return found

    monkeypatch.setattr(type(reader), "all", counted)
    page = world.store.list_keys(box, delimiter="/")
    assert page.prefixes == [f"{folder}/".encode() for folder in range(5)]
    assert rows < 150  # of 400


# --- containers -------------------------------------------------------------------------------------------------------


def test_a_container_goes_only_when_empty_and_takes_its_uploads_along(world: World) -> None:
    box = world.add(keeping="Enabled")
    version = world.put(box, "k", b"x" * 100).version
    marker = world.delete(box, "k").version
    upload = world.store.upload(box, "u", world.store.open_upload(box, "u", 1, owner="", storage="", facts=""))
    world.store.publish_part(upload, 1, world.store.receive_part(upload, [b"p" * 10]), etag="e", checksum="", now=1)

    def drop() -> None:
        with world.database.unit(SCOPE, write=True) as unit:
            ContainerService(unit, world.store).drop("box")

    for held in (version, marker):
        with pytest.raises(InUse):
            drop()
        world.delete(box, "k", held)
    drop()
    assert world.containers.find("box") is None
    assert world.stored() == world.used() == set()
    with pytest.raises(Missing):
        world.put(box, "k", b"late")


def test_a_container_is_known_afresh_after_each_change(world: World) -> None:
    world.add()
    for keeping in ("Enabled", "Suspended"):
        world.keep_versions("box", keeping)
        known = world.containers.find("box")
        assert known is not None
        assert known.keeping == keeping
    with world.database.unit(SCOPE, write=True) as unit:
        ContainerService(unit, world.store).put_document("box", "rules", {"a": [1]})
    known = world.containers.find("box")
    assert known is not None
    assert known.documents == {"rules": {"a": [1]}}
    with pytest.raises(Exists):
        world.add()


def test_a_tenant_goes_with_all_that_it_has(world: World) -> None:
    boxes = [world.add(name, "Enabled") for name in ("one", "two")]
    for box in boxes:
        for key in ("a", "a", "b"):
            world.put(box, key, b"x" * 100)
        world.delete(box, "b")
        world.store.open_upload(box, "u", 1, owner="", storage="", facts="")
    with world.database.unit(Scope("other", "here"), write=True) as unit:
        kept = ContainerService(unit, world.store).add("kept", region="here", tenant="other").number
    world.put(kept, "k", b"y" * 100)
    drop_tenant(world.database, world.store, "tenant")
    assert world.containers.find("one") is None
    assert world.get(kept, "k") == b"y" * 100
    assert len(world.stored()) == len(world.used()) == 1


def test_containers_are_listed_in_byte_order(world: World) -> None:
    for name in ("b-1", "b.1", "b1", "a", "ba"):
        world.add(name)
    with world.database.unit(SCOPE, write=False) as unit:
        service = ContainerService(unit, world.store)
        assert [row.name for row in service.of("tenant")] == ["a", "b-1", "b.1", "b1", "ba"]
        assert [row.name for row in service.of("tenant", prefix="b", after="b-1", limit=2)] == ["b.1", "b1"]
        assert service.of("other") == []


# --- uploads in parts -------------------------------------------------------------------------------------------------


def test_parts_in_any_order_make_one_object_without_copying(world: World) -> None:
    box = world.add()
    id = world.store.open_upload(box, "k", 1, owner="o", storage="s", facts="{}")
    upload = world.store.upload(box, "k", id)
    parts = {5: b"e" * 1000, 2: b"b" * 500, 9: b"z" * 3, 7: b"unused"}
    for number, data in parts.items():
        send(world, upload, number, data)
    send(world, upload, 2, b"B" * 700)
    assert len(world.stored()) == 4
    assert [piece.number for piece in world.store.parts(id)] == [2, 5, 7, 9]
    assert [page.id for page in world.store.list_uploads(box).entries] == [id]
    first = world.store.complete(box, "k", id, whole([2, 5, 9]))
    assert world.store.complete(box, "k", id, whole([2, 5, 9]))[1] == first[1]
    expected = b"B" * 700 + b"e" * 1000 + b"z" * 3
    assert world.get(box, "k") == expected
    for start, length in ((0, 1), (699, 2), (650, 1060 - 7), (1702, 1), (700, 1000)):
        _, content = world.store.read(box, "k", None, lambda head, s=start, n=length: Span(s, n))  # type: ignore[misc]
        assert b"".join(content) == expected[start : start + length]  # type: ignore[arg-type]
    assert len(world.stored()) == 3
    assert world.store.list_uploads(box).entries == []
    with pytest.raises(Missing):
        world.store.abort(box, "k", id)
    with pytest.raises(Missing):
        send(world, upload, 1, b"late")
    head = world.store.head(box, "k")
    assert head is not None
    world.store.copy((box, "k", head), box, "copy", Description(8, "", head.size))
    world.delete(box, "k")
    assert world.get(box, "copy") == expected
    world.delete(box, "copy")
    assert world.stored() == world.used() == set()


def test_an_aborted_upload_leaves_nothing(world: World) -> None:
    box = world.add()
    id = world.store.open_upload(box, "k", 1, owner="", storage="", facts="")
    send(world, world.store.upload(box, "k", id), 1, b"x" * 100)
    world.store.abort(box, "k", id)
    assert world.stored() == world.used() == set()
    with pytest.raises(Missing):
        world.store.upload(box, "k", id)


def test_the_name_of_an_upload_tells_when_it_began(world: World) -> None:
    box = world.add()
    id = world.store.open_upload(box, "k", 1_900_000_000_000_000, owner="", storage="", facts="")
    assert upload_ids.begun(box, b"k", id) == 1_900_000_000_000_000
    assert upload_ids.begun(box, b"l", id) is upload_ids.begun(box + 1, b"k", id) is None


def test_a_reader_of_parts_goes_on_when_the_object_is_deleted(world: World) -> None:
    box = world.add()
    id = world.store.open_upload(box, "k", 1, owner="", storage="", facts="")
    for number in (1, 2, 3):
        send(world, world.store.upload(box, "k", id), number, bytes((number,)) * 1000)
    world.store.complete(box, "k", id, whole([1, 2, 3]))
    _, reading = world.store.read(box, "k", None, lambda head: Span(0, head.size))
    assert isinstance(reading, Reading)
    blocks = iter(reading)
    first = next(blocks)
    world.delete(box, "k")
    assert first + b"".join(blocks) == b"\1" * 1000 + b"\2" * 1000 + b"\3" * 1000
    assert world.stored() == set()


def test_uploads_are_listed_by_key_then_age_in_pages(world: World) -> None:
    box = world.add()
    opened = []
    for moment, key in enumerate(["b", "a/1", "b", "a/2", "c", "b"]):
        opened.append((key, world.store.open_upload(box, key, moment, owner="", storage="", facts="")))
    expected = sorted(opened, key=lambda one: one[0])
    seen, after, after_upload = [], "", ""
    while True:
        page = world.store.list_uploads(box, after=after, after_upload=after_upload, limit=2)
        seen += [(entry.key.decode(), entry.id) for entry in page.entries]
        if not page.more:
            break
        after, after_upload = seen[-1]
    assert seen == expected
    page = world.store.list_uploads(box, delimiter="/")
    assert (page.prefixes, len(page.entries)) == ([b"a/"], 4)


def test_what_was_read_lately_comes_from_memory_until_anybody_writes(world: World) -> None:
    box = world.add()

    def read() -> Head:
        head, content = world.store.read(box, "k", None, lambda head: Span(2, 3))
        assert content == b"cde"
        return head

    world.put(box, "k", b"abcdef")
    known = read()
    assert (read() is known) == world.database.is_sqlite
    world.put(box, "other", b"x")
    assert read() is not known and read() == known
    world.delete(box, "k")
    with pytest.raises(Missing):
        read()
