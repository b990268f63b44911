"""Contents on disk: sealed, read back in any range, and refused when somebody touched them."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from backends.object import cipher
from backends.object.cipher import (
    FOREIGN,
    SEGMENT,
    STORED,
    ContentKey,
    ContentKeys,
    Locked,
    SealedBlob,
    SealedWriter,
    Tampered,
    open_small,
    seal_small,
    stored_size,
)
from backends.object.contents import Reading
from backends.object.drivers.base import Block, Writer
from backends.object.drivers.files import FileBlobs
from backends.object.store import Span
from backends.object.versions import Description, Head
from tests.unit.object_worlds import MemoryBlobs, MemoryWriter, World, send, whole

NAME = "0123456789abcdef" * 2
KEY = b"k" * 32
SIZES = (0, 1, 15, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 3 * SEGMENT - 1, 40 * SEGMENT + 7)


def kept(driver: MemoryBlobs, data: bytes, name: str = NAME, seed: int = 0) -> None:
    """Write `data` in blocks of chance."""
    writer, chance, at = SealedWriter(driver.create(name), KEY, name), random.Random(seed), 0
    while at < len(data):
        step = chance.choice((1, 700, SEGMENT - 1, SEGMENT, SEGMENT + 1, 300_000))
        writer.write(data[at : at + step])
        at += step
    writer.keep()
    writer.discard()


def opened(driver: MemoryBlobs, size: int, name: str = NAME) -> SealedBlob:
    return SealedBlob(driver.open(name), KEY, name, size)


@pytest.mark.parametrize("size", SIZES)
def test_ranges_are_slices(size: int) -> None:
    driver, chance = MemoryBlobs(), random.Random(size)
    data = chance.randbytes(size)
    kept(driver, data, seed=size)
    assert len(driver.kept[NAME]) == stored_size(size)
    blob = opened(driver, size)
    assert blob.size == size and blob.descriptor is None
    assert blob.read(0, size) == data and blob.read(0, size + 9) == data
    edges = [0, 1, SEGMENT - 1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, size - 1, size, size + 1]
    for _ in range(150):
        start, length = (max(0, chance.choice((chance.randint(0, size), *edges))) for _ in range(2))
        assert blob.read(start, length) == data[start : start + length], (start, length)


def test_nothing_plain_lies_on_disk_and_equal_contents_differ() -> None:
    driver, data = MemoryBlobs(), b"a secret that repeats " * 9000
    kept(driver, data)
    kept(driver, data, "f" * 32)
    assert b"secret" not in driver.kept[NAME]
    assert driver.kept[NAME] != driver.kept["f" * 32]


@pytest.mark.parametrize("segment", range(4))
def test_a_changed_bit_is_found_where_it_is(segment: int) -> None:
    driver, data = MemoryBlobs(), random.Random(5).randbytes(3 * SEGMENT + 500)
    kept(driver, data)
    raw = bytearray(driver.kept[NAME])
    raw[segment * STORED + 77] ^= 4
    driver.kept[NAME] = bytes(raw)
    blob = opened(driver, len(data))
    for number in range(4):
        if number == segment:
            with pytest.raises(Tampered):
                blob.read(number * SEGMENT + 3, 5)
        else:
            assert blob.read(number * SEGMENT + 3, 5) == data[number * SEGMENT + 3 :][:5]


def test_segments_can_neither_move_nor_go() -> None:
    driver, data = MemoryBlobs(), random.Random(6).randbytes(3 * SEGMENT)
    kept(driver, data)
    raw = driver.kept[NAME]
    driver.kept[NAME] = raw[STORED : 2 * STORED] + raw[:STORED] + raw[2 * STORED :]
    with pytest.raises(Tampered):
        opened(driver, len(data)).read(0, 1)
    driver.kept[NAME] = raw[:STORED] + raw[2 * STORED :]  # one is missing, and the size in the index says so
    with pytest.raises(Tampered):
        opened(driver, len(data))
    driver.kept[NAME] = raw[: 2 * STORED]  # cut off, and the index made to agree
    with pytest.raises(Tampered):
        opened(driver, 2 * SEGMENT).read(SEGMENT, 1)


def test_blobs_cannot_change_places() -> None:
    driver = MemoryBlobs()
    kept(driver, b"one")
    driver.kept["f" * 32] = driver.kept[NAME]
    with pytest.raises(Tampered):
        opened(driver, 3, "f" * 32).read(0, 3)


def test_a_wrong_key_opens_nothing() -> None:
    driver = MemoryBlobs()
    kept(driver, b"one")
    with pytest.raises(Tampered):
        SealedBlob(driver.open(NAME), b"x" * 32, NAME, 3).read(0, 3)
    sealed = seal_small(KEY, b"one")
    assert open_small(KEY, sealed) == b"one"
    with pytest.raises(Tampered):
        open_small(b"x" * 32, sealed)


def test_keys_are_opened_by_whoever_sealed_them() -> None:
    keys = ContentKeys(b"m" * 32)
    fresh = keys.fresh()
    again = ContentKeys(b"m" * 32)
    assert again.open(fresh.sealed) == fresh.plain and keys.open(fresh.sealed) == fresh.plain
    assert keys.fresh().plain != fresh.plain
    wrapped = keys.wrap(fresh.plain)
    assert again.open(wrapped) == fresh.plain and fresh.plain not in wrapped
    assert ContentKeys(b"n" * 32).open(fresh.sealed) != fresh.plain
    with pytest.raises(Tampered):
        ContentKeys(b"n" * 32).open(wrapped)
    with pytest.raises(Locked):
        keys.open(FOREIGN + b"whatever")


def test_the_fault_of_a_slow_disk_reaches_the_writer() -> None:
    class Broken(MemoryBlobs):
        def create(self, name: str) -> Writer:
            return Full(self, name)

    class Full(MemoryWriter):
        def write(self, block: Block) -> None:
            raise OSError("no")

    writer = SealedWriter(Broken().create(NAME), KEY, NAME)
    with pytest.raises(OSError, match="no"):
        for _ in range(64):
            writer.write(b"x" * (1 << 20))
    with pytest.raises(OSError, match="no"):
        writer.keep()
    writer.discard()


# --- through a store --------------------------------------------------------------------------------------------------


def test_a_store_seals_what_it_keeps(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/db"
    world = World(url, FileBlobs(tmp_path / "blobs"))
    box = world.add()
    small, large = b"small-and-private" * 9, b"large-and-private" * 200_000
    world.put(box, "small", small)
    world.put(box, "large", large)
    assert world.get(box, "small") == small and world.get(box, "large") == large
    world.close()
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert b"and-private" not in file.read_bytes(), file


def test_contents_that_lie_plain_stay_readable(tmp_path: Path) -> None:
    """What older versions wrote has no key."""
    world = World(f"sqlite:///{tmp_path}/db", FileBlobs(tmp_path / "blobs"))
    box = world.add()
    for name, data in (("small", b"plain"), ("large", b"plain" * 10_000)):
        received = world.store.contents.receive([data], key=None)
        world.store.publish(box, name, Description(1, received.etag, received.size), received)
        received.close()
        assert world.get(box, name) == data
        head = world.store.head(box, name)
        assert head is not None and head.sealed_key is None
        world.store.copy((box, name, head), box, "copy", Description(2, head.etag, head.size))
        assert world.get(box, "copy") == data
    world.close()


def test_a_foreign_key_is_asked_for(tmp_path: Path) -> None:
    world = World(f"sqlite:///{tmp_path}/db", FileBlobs(tmp_path / "blobs"))
    box, data = world.add(), random.Random(7).randbytes(200_000)
    received = world.store.receive([data], key=ContentKey(KEY, FOREIGN + b"mine"))
    world.store.publish(box, "a", Description(1, "etag", received.size), received)
    received.close()
    asked = []

    def unlock(sealed: bytes) -> bytes:
        asked.append(sealed)
        return KEY

    def choose(head: Head) -> Span:
        return Span(70_000, 9)

    with pytest.raises(Locked):
        world.store.read(box, "a", None, choose)
    head, reading = world.store.read(box, "a", None, choose, unlock)
    assert b"".join(reading) == data[70_000:70_009] and asked == [FOREIGN + b"mine"]  # type: ignore[arg-type]
    # A copy under another lock is the same bytes: only the key is sealed anew.
    world.store.copy(
        (box, "a", head), box, "b", Description(2, "etag", head.size), sealed_key=world.store.keys.wrap(KEY)
    )
    assert world.get(box, "b") == data and len(world.used()) == 1
    world.close()


def test_parts_are_sealed_under_one_key(tmp_path: Path) -> None:
    world = World(f"sqlite:///{tmp_path}/db", FileBlobs(tmp_path / "blobs"))
    box, chance = world.add(), random.Random(8)
    parts = [chance.randbytes(size) for size in (300_000, 65_536, 0, 10)]
    id = world.store.open_upload(box, "whole", 1, owner="", storage="", facts="")
    upload = world.store.upload(box, "whole", id)
    for number, data in enumerate(parts, 1):
        send(world, upload, number, data)
    world.store.complete(box, "whole", id, whole([1, 2, 3, 4]))
    assert world.get(box, "whole") == b"".join(parts)
    head = world.store.head(box, "whole")
    assert head is not None and head.sealed_key == upload.sealed_key is not None
    world.close()


def test_the_sizes_agree() -> None:
    assert cipher.stored_size(0) == 16
    assert cipher.stored_size(SEGMENT) == STORED and cipher.stored_size(SEGMENT + 1) == STORED + 17


def reading_of(world: World, box: int, key: str, start: int, length: int) -> Reading:
    _, reading = world.store.read(box, key, None, lambda head: Span(start, length))
    assert isinstance(reading, Reading)
    return reading


def filled(reading: Reading, step: int) -> bytes:
    """All that `filler` gives into a buffer of `step` bytes."""
    fill, found, place = reading.filler, b"", memoryview(bytearray(step))
    assert fill is not None
    while count := fill(place):
        found += bytes(place[:count])
    reading.close()
    return found


def test_buffers_are_filled_with_what_was_sent(tmp_path: Path) -> None:
    world = World(f"sqlite:///{tmp_path}/db", FileBlobs(tmp_path / "blobs"), inline=100)
    box, chance = world.add(), random.Random(3)
    for size in SIZES[3:]:
        data = chance.randbytes(size)
        world.put(box, "large", data)
        for step in (5 * SEGMENT, SEGMENT, 100_000):
            assert filled(reading_of(world, box, "large", 0, size), step) == data
        start = chance.randrange(size)
        length = chance.randint(1, size - start)
        assert filled(reading_of(world, box, "large", start, length), 2 * SEGMENT) == data[start : start + length]
    id = world.store.open_upload(box, "parts", 1, owner="", storage="", facts="")
    upload, parts = world.store.upload(box, "parts", id), [chance.randbytes(size) for size in (SEGMENT * 2 + 5, 300, 9)]
    for number, part in enumerate(parts, 1):
        send(world, upload, number, part)
    world.store.complete(box, "parts", id, whole((1, 2, 3)))
    data = b"".join(parts)
    for start, length in ((0, len(data)), (SEGMENT * 2, 307)):
        assert filled(reading_of(world, box, "parts", start, length), SEGMENT) == data[start : start + length]
    world.close()


def test_a_changed_bit_stops_the_filling(tmp_path: Path) -> None:
    world = World(f"sqlite:///{tmp_path}/db", FileBlobs(tmp_path / "blobs"))
    box = world.add()
    world.put(box, "large", bytes(3 * SEGMENT))
    (path,) = [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    stored = bytearray(path.read_bytes())
    stored[STORED + 9] ^= 1
    path.write_bytes(stored)
    with pytest.raises(Tampered):
        filled(reading_of(world, box, "large", 0, 3 * SEGMENT), 4 * SEGMENT)
    world.close()
