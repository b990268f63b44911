"""Object stores to test: a driver in memory that is the reference, one that fails, and short ways to use a store."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from backends.db import Base, Database, Scope
from backends.errors import DriverError, Exists, Missing
from backends.object.cipher import ContentKeys
from backends.object.containers import Containers, ContainerService
from backends.object.contents import INLINE
from backends.object.drivers.base import Blob, BlobDriver, Block, Writer
from backends.object.store import ObjectStore, Span
from backends.object.sweep import Sweeper
from backends.object.uploads import Piece, Upload
from backends.object.versions import Description, Expect, Head, Published
from tests.unit.fresh import fresh_database

T = TypeVar("T")
SCOPE = Scope("tenant", "here")


class MemoryBlobs:
    """The reference: a dict."""

    def __init__(self) -> None:
        self.kept: dict[str, bytes] = {}
        self.aside: dict[str, bytes] = {}

    def check_room(self) -> None:
        pass

    def create(self, name: str) -> Writer:
        return MemoryWriter(self, name)

    def open(self, name: str) -> Blob:
        if name not in self.kept:
            raise Missing(name)
        return MemoryBlob(self.kept[name])

    def remove(self, name: str) -> None:
        self.kept.pop(name, None)

    def set_aside(self, name: str) -> None:
        if name in self.kept:
            self.aside[name] = self.kept.pop(name)

    def names(self, after: str = "") -> Iterator[tuple[str, float]]:
        for name in sorted(self.kept):
            if name > after:
                yield name, 1e9

    def close(self) -> None:
        pass


class MemoryWriter:
    def __init__(self, driver: MemoryBlobs, name: str) -> None:
        self.driver, self.name, self.blocks = driver, name, [b""]

    def write(self, block: Block) -> None:
        self.blocks.append(bytes(block))

    def keep(self) -> None:
        if self.name in self.driver.kept:
            raise Exists(self.name)
        self.driver.kept[self.name] = b"".join(self.blocks)

    def discard(self) -> None:
        self.blocks = [b""]


class MemoryBlob:
    descriptor: int | None = None

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)

    def read(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]

    def close(self) -> None:
        pass


class FailingBlobs:
    """Passes calls on, and fails at the n-th; `after` fails once the call was done, as a lost answer does."""

    def __init__(self, inner: BlobDriver, at: int, *, after: bool) -> None:
        self.inner, self.left, self.after, self.failed = inner, at, after, False

    def step(self, call: Callable[[], T]) -> T:
        self.left -= 1
        if self.left == 0:
            self.failed = True
            if self.after:
                call()
            raise DriverError("injected")
        return call()

    def check_room(self) -> None:
        self.inner.check_room()

    def create(self, name: str) -> Writer:
        return self.step(lambda: FailingWriter(self, self.inner.create(name)))

    def open(self, name: str) -> Blob:
        return self.step(lambda: self.inner.open(name))

    def remove(self, name: str) -> None:
        self.step(lambda: self.inner.remove(name))

    def set_aside(self, name: str) -> None:
        self.step(lambda: self.inner.set_aside(name))

    def names(self, after: str = "") -> Iterator[tuple[str, float]]:
        return self.inner.names(after)

    def close(self) -> None:
        self.inner.close()


class FailingWriter:
    def __init__(self, driver: FailingBlobs, inner: Writer) -> None:
        self.driver, self.inner = driver, inner

    def write(self, block: Block) -> None:
        self.driver.step(lambda: self.inner.write(block))

    def keep(self) -> None:
        self.driver.step(lambda: self.inner.keep())

    def discard(self) -> None:
        self.inner.discard()


class World:
    """A store with one container, and short ways to use it."""

    def __init__(self, url: str, driver: BlobDriver, *, inline: int = INLINE) -> None:
        if url.startswith("sqlite"):
            path = Path(url.removeprefix("sqlite:///"))
            self.database = fresh_database(path.parent, exclusive=True, name=path.name)
        else:
            self.database = Database(url)
            Base.metadata.create_all(self.database.engine)
        self.store = ObjectStore(self.database, driver, ContentKeys(b"m" * 32), inline=inline)
        self.containers = Containers(self.database, self.store)
        self.driver = driver
        self.clock = 1_000_000

    def add(self, name: str = "box", keeping: str = "") -> int:
        with self.database.unit(SCOPE, write=True) as unit:
            number = ContainerService(unit, self.store).add(name, region="here", tenant="tenant").number
        self.keep_versions(name, keeping)
        return number

    def keep_versions(self, name: str, keeping: str) -> None:
        with self.database.unit(SCOPE, write=True) as unit:
            ContainerService(unit, self.store).keep_versions(name, keeping)

    def put(self, box: int, key: str, data: bytes, expect: Expect | None = None) -> Published:
        self.clock += 1
        received = self.store.receive([data[:7], data[7:]] if data else [])
        try:
            about = Description(self.clock, received.etag, received.size)
            return self.store.publish(box, key, about, received, expect)
        finally:
            received.close()

    def get(self, box: int, key: str, version: str | None = None) -> bytes | None:
        """The content; None when there is none or a marker stands for it."""

        def choose(head: Head) -> Span | None:
            return None if head.marker else Span(0, head.size)

        try:
            head, content = self.store.read(box, key, version, choose)
        except Missing:
            return None
        return None if head.marker else content if isinstance(content, bytes) else b"".join(content)

    def delete(self, box: int, key: str, version: str | None = None):  # type: ignore[no-untyped-def]
        self.clock += 1
        return self.store.delete(box, key, version, self.clock)

    def sweep(self) -> int:
        """Remove orphans; how many there were."""
        sweeper = Sweeper(self.store.ledger, self.store.contents, grace=0)
        while sweeper.step():
            pass
        return sweeper.removed

    def used(self) -> set[str]:
        """The blobs that the index knows."""
        with self.database.engine.connect() as connection:
            return {row[0] for row in connection.exec_driver_sql("SELECT name FROM blob")}

    def stored(self) -> set[str]:
        """The blobs that the driver has."""
        return {name for name, _ in self.driver.names()}

    def close(self) -> None:
        self.store.close()
        self.database.close()
        self.driver.close()


def whole(numbers: Sequence[int]) -> Callable[[Upload, Sequence[Piece]], tuple[Description, Sequence[int]]]:
    def judge(upload: Upload, pieces: Sequence[Piece]) -> tuple[Description, Sequence[int]]:
        size = sum(piece.size for piece in pieces if piece.number in numbers)
        return Description(7, "whole", size, parts=len(numbers)), numbers

    return judge


def send(world: World, upload: Upload, number: int, data: bytes) -> None:
    received = world.store.receive_part(upload, [data] if data else [])
    try:
        world.store.publish_part(upload, number, received, etag=received.etag, checksum="", now=number)
    finally:
        received.close()


def multipart(world: World, box: int) -> None:
    """An object `m` of two parts."""
    id = world.store.open_upload(box, "m", 1, owner="", storage="", facts="")
    upload = world.store.upload(box, "m", id)
    send(world, upload, 1, b"p" * 100)
    send(world, upload, 2, b"q" * 100)
    world.store.complete(box, "m", id, whole([1, 2]))
