"""Drivers of blobs: one contract for all."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.errors import DriverError, Exists, Missing
from backends.object.drivers.base import BlobDriver
from backends.object.drivers.files import FileBlobs
from tests.unit.object_worlds import MemoryBlobs

NAME = "0123456789abcdef" * 2


@pytest.fixture(params=["files", "memory"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobDriver]:
    if request.param == "memory":
        yield MemoryBlobs()
    else:
        files = FileBlobs(tmp_path / "blobs")
        yield files
        files.close()


def test_what_is_kept_is_read_back_in_any_range(driver: BlobDriver) -> None:
    data = random.Random(1).randbytes(3_000_000)
    writer = driver.create(NAME)
    for start in range(0, len(data), 700_000):
        writer.write(data[start : start + 700_000])
    writer.keep()
    writer.discard()
    blob = driver.open(NAME)
    assert blob.size == len(data)
    assert blob.read(0, len(data)) == data
    assert blob.read(2_999_990, 100) == data[-10:]
    assert blob.read(5_000_000, 10) == b""
    blob.close()
    blob.close()
    assert [name for name, _ in driver.names()] == [NAME]


def test_what_is_not_kept_leaves_nothing(driver: BlobDriver) -> None:
    writer = driver.create(NAME)
    writer.write(b"x" * 5_000_000)
    writer.discard()
    writer.discard()
    assert list(driver.names()) == []
    with pytest.raises(Missing):
        driver.open(NAME)


def test_a_name_is_given_once(driver: BlobDriver) -> None:
    for expected in (None, Exists):
        writer = driver.create(NAME)
        writer.write(str(expected).encode())
        if expected is None:
            writer.keep()
        else:
            with pytest.raises(expected):
                writer.keep()
        writer.discard()
    assert driver.open(NAME).read(0, 10) == b"None"


def test_an_open_blob_outlives_its_removal(driver: BlobDriver) -> None:
    writer = driver.create(NAME)
    writer.write(b"still here")
    writer.keep()
    writer.discard()
    blob = driver.open(NAME)
    driver.remove(NAME)
    driver.remove(NAME)
    assert blob.read(0, 100) == b"still here"
    blob.close()
    with pytest.raises(Missing):
        driver.open(NAME)


def test_names_come_in_order_from_anywhere(driver: BlobDriver) -> None:
    names = [f"{i:032x}" for i in (0, 5, 0xFF)] + [f"{i:02x}{'7' * 30}" for i in (1, 0x80, 0xFF)]
    for name in reversed(names):
        writer = driver.create(name)
        writer.write(b"x")
        writer.keep()
        writer.discard()
    names.sort()
    assert [name for name, age in driver.names() if age >= 0] == names
    assert [name for name, _ in driver.names(names[2])] == names[3:]


def test_what_is_set_aside_is_found_no_more(driver: BlobDriver) -> None:
    writer = driver.create(NAME)
    writer.write(b"rotten")
    writer.keep()
    writer.discard()
    driver.set_aside(NAME)
    driver.set_aside(NAME)
    assert list(driver.names()) == []
    with pytest.raises(Missing):
        driver.open(NAME)


def test_files_with_names_serve_where_there_are_none_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backends.object.drivers.files._has_unnamed_files", lambda root: False)
    files = FileBlobs(tmp_path)
    kept, lost = files.create(NAME), files.create(NAME[::-1])
    kept.write(b"kept")
    lost.write(b"lost")
    kept.keep()
    kept.discard()
    assert files.open(NAME).read(0, 9) == b"kept"
    assert len(list((tmp_path / "incoming").iterdir())) == 1
    files.tidy()
    assert not list((tmp_path / "incoming").iterdir())
    files.close()


def test_a_symbolic_link_in_the_store_is_not_followed(tmp_path: Path) -> None:
    files = FileBlobs(tmp_path / "blobs")
    (tmp_path / "secret").write_bytes(b"secret")
    (tmp_path / "blobs" / NAME[:2] / NAME).symlink_to(tmp_path / "secret")
    with pytest.raises(DriverError):
        files.open(NAME)
    files.close()
