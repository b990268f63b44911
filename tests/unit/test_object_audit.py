"""The auditor finds every changed byte, changes nothing else, and goes on where it was broken off; so does the
sweeper."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.errors import Damaged, DriverError
from backends.object import sweep
from backends.object.audit import Auditor, BackgroundAudit
from backends.object.drivers.base import Blob
from backends.object.drivers.files import FileBlobs
from backends.object.store import Span
from backends.object.sweep import Sweeper
from backends.object.versions import Description, Head
from tests.unit.object_worlds import MemoryBlobs, World, multipart


@pytest.fixture
def world(database_url: str) -> Iterator[World]:
    world = World(database_url, MemoryBlobs(), inline=64)
    yield world
    world.close()


def blobs(world: World) -> MemoryBlobs:
    assert isinstance(world.driver, MemoryBlobs)
    return world.driver


def audit(world: World) -> Auditor:
    auditor = Auditor(world.store.ledger, world.driver)
    assert sum(auditor.round()) == auditor.progress.bytes
    return auditor


def rot(world: World, name: str) -> None:
    kept = blobs(world).kept
    kept[name] = bytes([kept[name][0] ^ 0xFF]) + kept[name][1:]  # sealed bytes may begin with anything


def execute(world: World, sql: str) -> None:
    with world.database.writer.begin() as connection:
        connection.exec_driver_sql(sql)


def test_a_sound_store_is_left_as_it_is(world: World) -> None:
    box = world.add()
    for number in range(300):
        world.put(box, f"k{number}", b"x" * (number % 2 * 100 + 1))
    multipart(world, box)
    before = dict(blobs(world).kept)
    progress = audit(world).progress
    assert (progress.contents, progress.damaged, progress.unread) == (302, 0, [])
    assert progress.ended >= progress.began > 0
    assert blobs(world).kept == before


@pytest.mark.parametrize("how", ["changed", "shortened", "gone"])
def test_a_rotten_blob_is_set_aside_and_its_readers_told(world: World, how: str) -> None:
    box = world.add()
    world.put(box, "rotten", b"r" * 200)
    (name,) = blobs(world).kept
    world.put(box, "sound", b"s" * 200)
    if how == "changed":
        rot(world, name)
    elif how == "shortened":
        blobs(world).kept[name] = b"r" * 199
    else:
        del blobs(world).kept[name]
    auditor = audit(world)
    assert auditor.progress.damaged == 1
    assert [(one.container, one.key) for one in auditor.damages()] == [("box", "rotten")]
    assert (name in blobs(world).aside) == (how != "gone")
    with pytest.raises(Damaged):
        world.get(box, "rotten")
    head = world.store.head(box, "rotten")
    assert head is not None
    with pytest.raises(Damaged):
        world.store.copy((box, "rotten", head), box, "copy", head_to_description(head))
    assert world.get(box, "sound") == b"s" * 200
    world.put(box, "rotten", b"n" * 200)
    assert world.get(box, "rotten") == b"n" * 200
    again = audit(world)
    assert (again.progress.damaged, again.damages()) == (0, [])


def head_to_description(head: Head) -> Description:
    return Description(head.modified, head.etag, head.size)


def test_a_rotten_content_in_the_index_is_found_too(world: World) -> None:
    box = world.add()
    world.put(box, "rotten", b"r" * 20)
    world.put(box, "sound", b"s" * 20)
    blob = "X'" + (b"R" * 20).hex() + "'" if world.database.is_sqlite else f"'\\x{(b'R' * 20).hex()}'::bytea"
    execute(world, f"UPDATE object_small SET data = {blob} WHERE number = (SELECT min(number) FROM object_small)")
    with pytest.raises(Damaged):
        world.get(box, "rotten")
    auditor = audit(world)
    assert [one.key for one in auditor.damages()] == ["rotten"]
    assert list(blobs(world).aside.values()) == [b"R" * 20]
    with pytest.raises(Damaged):
        world.get(box, "rotten")
    assert world.get(box, "sound") == b"s" * 20
    world.put(box, "rotten", b"n" * 20)
    assert world.get(box, "rotten") == b"n" * 20
    assert audit(world).damages() == []


def test_a_rotten_part_spoils_its_bytes_only(world: World) -> None:
    box = world.add()
    multipart(world, box)
    head = world.store.head(box, "m")
    assert head is not None and head.assembly is not None
    name = world.store.parts(head.assembly)[1].blob
    assert name is not None
    rot(world, name)
    assert [one.key for one in audit(world).damages()] == ["m"]
    with pytest.raises(Damaged):
        world.get(box, "m")
    _, content = world.store.read(box, "m", None, lambda head: Span(10, 50))
    assert not isinstance(content, bytes) and b"".join(content) == b"p" * 50


def test_what_comes_back_sound_is_healed(world: World) -> None:
    box = world.add()
    world.put(box, "k", b"r" * 200)
    (name,) = blobs(world).kept
    good = blobs(world).kept.pop(name)
    assert audit(world).progress.damaged == 1
    blobs(world).kept[name] = good
    auditor = audit(world)
    assert (auditor.progress.healed, auditor.damages()) == (1, [])
    assert world.get(box, "k") == b"r" * 200


def test_a_driver_that_cannot_be_asked_is_no_proof(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    box = world.add()
    world.put(box, "k", b"r" * 200)

    def refuse(name: str) -> Blob:
        raise DriverError("the network is down")

    monkeypatch.setattr(blobs(world), "open", refuse)
    progress = audit(world).progress
    assert progress.damaged == 0
    assert len(progress.unread) == 1
    monkeypatch.undo()
    assert world.get(box, "k") == b"r" * 200


def test_checksums_that_were_never_recorded_are_now(world: World) -> None:
    box = world.add()
    world.put(box, "large", b"r" * 200)
    world.put(box, "small", b"r")
    execute(world, "UPDATE blob SET digest = NULL")
    execute(world, "UPDATE object_small SET digest = NULL")
    assert audit(world).progress.recorded == 2
    (name,) = blobs(world).kept
    rot(world, name)
    progress = audit(world).progress
    assert (progress.recorded, progress.damaged) == (0, 1)


def test_a_round_that_was_broken_off_goes_on(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.object.audit.NOTED", 1000)
    box = world.add()
    for number in range(50):
        world.put(box, f"k{number}", bytes([number]) * 100)
    rot(world, min(blobs(world).kept))
    first = Auditor(world.store.ledger, world.driver)
    for _ in zip(range(30), first.round(), strict=False):
        pass
    second = Auditor(world.store.ledger, world.driver)  # as after a kill
    assert 0 < second.progress.contents < 30
    rest = sum(second.round())
    assert 0 < rest < 5000
    assert second.progress.contents == 50
    assert len(second.damages()) == 1  # by whichever of the two found it
    third = Auditor(world.store.ledger, world.driver)
    list(third.round())
    assert third.progress.contents == 50  # the round had ended: a new one


def test_the_background_keeps_to_its_rate(world: World) -> None:
    box = world.add()
    for number in range(20):
        world.put(box, f"k{number}", bytes([number]) * 10_000)
    rot(world, max(blobs(world).kept))
    background = BackgroundAudit(world.store.ledger, world.driver, rate=400_000, period=3600, glance=0.1)
    steps = 1
    while background.step():
        steps += 1
    assert 5 <= steps <= 7  # 200,000 bytes, and a little for each
    assert len(Auditor(world.store.ledger, world.driver).damages()) == 1
    assert not background.step()  # not due


def test_a_kill_between_mark_and_move_is_finished_by_the_next_round(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    box = world.add()
    world.put(box, "k", b"r" * 200)
    (name,) = blobs(world).kept
    rot(world, name)

    def die(name: str) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(blobs(world), "set_aside", die)
    with pytest.raises(KeyboardInterrupt):
        audit(world)
    monkeypatch.undo()
    assert audit(world).progress.damaged == 1
    assert name in blobs(world).aside


def test_a_sweep_goes_on_where_it_was_broken_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep, "SLICE", 10)
    kept = blobs(world).kept
    for number in range(35):
        kept[f"{number * 7:02x}" + "0" * 30] = b"orphan"
    first = Sweeper(world.store.ledger, world.store.contents, grace=0)
    assert first.step() and first.step()
    assert first.removed == 20
    assert 0.4 < first.fraction < 0.7
    kept["00" + "1" * 30] = kept["ff" + "1" * 30] = b"left meanwhile"
    second = Sweeper(world.store.ledger, world.store.contents, grace=0)
    assert second.step()
    assert min(kept) == "00" + "1" * 30  # the new round goes around from where the old one stood
    while second.step():
        pass
    assert kept == {}
    assert second.removed == 17


def test_files_are_set_aside_in_a_folder_of_their_own(tmp_path: Path) -> None:
    world = World(f"sqlite:///{tmp_path}/db", FileBlobs(tmp_path / "blobs"), inline=64)
    box = world.add()
    world.put(box, "k", b"r" * 200)
    (name,) = world.stored()
    file = tmp_path / "blobs" / name[:2] / name
    file.write_bytes(b"R" * 200)
    assert len(audit(world).damages()) == 1
    assert (tmp_path / "blobs" / "quarantine" / name).read_bytes() == b"R" * 200
    assert world.stored() == set()
    assert world.sweep() == 0
    world.close()
