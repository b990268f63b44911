"""What every driver of blobs must hold to, whatever it keeps them in. A test module gives the fixture `driver`."""

from __future__ import annotations

import random

import pytest

from backends.errors import Exists, Missing
from backends.object.drivers.base import BlobDriver

NAME = "0123456789abcdef" * 2


def keep(driver: BlobDriver, name: str, data: bytes, block: int = 700_000) -> None:
    """Write a blob, block by block."""
    writer = driver.create(name)
    try:
        for start in range(0, len(data), block):
            writer.write(data[start : start + block])
        writer.keep()
    finally:
        writer.discard()


class BlobContract:
    """The tests; `driver` is empty at the beginning of each."""

    def test_what_is_kept_is_read_back_in_any_range(self, driver: BlobDriver) -> None:
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

    def test_what_is_not_kept_leaves_nothing(self, driver: BlobDriver) -> None:
        writer = driver.create(NAME)
        writer.write(b"x" * 5_000_000)
        writer.discard()
        writer.discard()
        assert list(driver.names()) == []
        with pytest.raises(Missing):
            driver.open(NAME)

    def test_a_name_is_given_once(self, driver: BlobDriver) -> None:
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

    def test_an_open_blob_outlives_its_removal(self, driver: BlobDriver) -> None:
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

    def test_names_come_in_order_from_anywhere(self, driver: BlobDriver) -> None:
        names = [f"{i:032x}" for i in (0, 5, 0xFF)] + [f"{i:02x}{'7' * 30}" for i in (1, 0x80, 0xFF)]
        for name in reversed(names):
            writer = driver.create(name)
            writer.write(b"x")
            writer.keep()
            writer.discard()
        names.sort()
        assert [name for name, age in driver.names() if age >= 0] == names
        assert [name for name, _ in driver.names(names[2])] == names[3:]

    def test_what_is_set_aside_is_found_no_more(self, driver: BlobDriver) -> None:
        writer = driver.create(NAME)
        writer.write(b"rotten")
        writer.keep()
        writer.discard()
        driver.set_aside(NAME)
        driver.set_aside(NAME)
        assert list(driver.names()) == []
        with pytest.raises(Missing):
            driver.open(NAME)

    def test_a_large_blob_is_read_in_order_and_out_of_it(self, driver: BlobDriver) -> None:
        data = random.Random(2).randbytes((20 << 20) + 12345)
        keep(driver, NAME, data, 1 << 20)
        blob = driver.open(NAME)
        assert blob.size == len(data)
        read = b""
        while block := blob.read(len(read), 1 << 20):
            read += block
        assert read == data
        for at in (19 << 20, 5, 10 << 20):
            assert blob.read(at, 1000) == data[at : at + 1000]
        blob.close()
        assert [name for name, _ in driver.names()] == [NAME]
        with pytest.raises(Exists):
            keep(driver, NAME, data[::-1], 1 << 20)
        blob = driver.open(NAME)
        assert blob.read(0, 100) == data[:100]
        blob.close()

    def test_an_empty_blob_is_one(self, driver: BlobDriver) -> None:
        keep(driver, NAME, b"")
        blob = driver.open(NAME)
        assert (blob.size, blob.read(0, 10)) == (0, b"")
        blob.close()

    def test_removing_what_is_not_there_is_no_error(self, driver: BlobDriver) -> None:
        driver.remove(NAME)
        driver.set_aside(NAME)
        assert list(driver.names()) == []
