"""Drivers of blobs: one contract for all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.errors import DriverError
from backends.object.drivers.base import BlobDriver
from backends.object.drivers.files import FileBlobs
from tests.unit.blob_contract import NAME, BlobContract
from tests.unit.object_worlds import MemoryBlobs


@pytest.fixture(params=["files", "memory"])
def driver(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobDriver]:
    if request.param == "memory":
        yield MemoryBlobs()
    else:
        files = FileBlobs(tmp_path / "blobs")
        yield files
        files.close()


class TestDrivers(BlobContract):
    """The contract over the drivers that need no server."""


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


def test_a_folder_that_somebody_removed_is_made_again(tmp_path: Path) -> None:
    driver = FileBlobs(tmp_path / "blobs")
    writer = driver.create(NAME)
    for folder in (tmp_path / "blobs").glob("[0-9a-f][0-9a-f]"):
        folder.rmdir()
    assert list(driver.names()) == []
    writer.write(b"here")
    writer.keep()
    writer.discard()
    assert [name for name, _ in driver.names()] == [NAME]
    assert driver.open(NAME).read(0, 10) == b"here"
    driver.close()


def test_a_store_that_is_gone_is_no_missing_blob(tmp_path: Path) -> None:
    """`Missing` would say that a bucket or an upload is."""
    driver = FileBlobs(tmp_path / "blobs")
    shutil.rmtree(tmp_path / "blobs")
    with pytest.raises(DriverError):
        driver.create(NAME)
    assert list(driver.names()) == []
    driver.close()
