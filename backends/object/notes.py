"""Annotations: named contents beside a version's own. They go with their version, and have no versions themselves."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from sqlalchemy import bindparam, delete, func, insert, literal_column, select, update

from backends.errors import Changed, Damaged, Missing, OutOfRange
from backends.object import uses, versions
from backends.object.cipher import open_small
from backends.object.contents import Extent, Reading, Received
from backends.object.ledger import Reader, Statement, Transaction
from backends.object.models import Annotation, Small, Version
from backends.object.versions import Head

if TYPE_CHECKING:
    from backends.object.store import Also, ObjectStore


class Place(NamedTuple):
    """A version: by its name (empty: the null version), or the newest one."""

    container: int
    key: str
    version: str | None


class Note(NamedTuple):
    """An annotation. `modified` is in microseconds since 1970; `data` is there where it was asked for, and small."""

    name: bytes
    size: int
    modified: int
    etag: str
    checksum: str = ""
    blob: str | None = None
    small: int | None = None
    sealed_key: bytes | None = None
    data: bytes | None = None


Check = Callable[[Head], None]
"""Looks at the version whose annotations are to change, in the transaction, and raises to stop it."""

_COLUMNS = Note._fields[:-1]
_NOTE = [getattr(Annotation, name) for name in _COLUMNS]
_BOOK = Annotation.book == bindparam("book")
_NAMED = (_BOOK, Annotation.name == bindparam("name"))
ONE = Statement(
    select(*_NOTE, Small.data).join(Small, Small.number == Annotation.small, isouter=True).where(*_NAMED),
    *("book", "name"),
)
ALL = Statement(select(*_NOTE).where(_BOOK).order_by(Annotation.name), "book")
BEHIND = Statement(
    select(*_NOTE)
    .where(_BOOK, Annotation.name > bindparam("after"), Annotation.name >= bindparam("prefix"))
    .order_by(Annotation.name)
    .limit(bindparam("most")),
    *("book", "after", "prefix", "most"),
)
COUNT = Statement(select(func.count()).select_from(Annotation).where(_BOOK), "book")
ADD = Statement(insert(Annotation).values({name: bindparam(name) for name in ("book", *_COLUMNS)}), "book", *_COLUMNS)
DROP = Statement(delete(Annotation).where(*_NAMED), "book", "name")
OPEN_BOOK = Statement(
    update(Version)
    .where(
        Version.container == bindparam("container"),
        Version.shelf == bindparam("at_shelf"),
        Version.key == bindparam("at_key"),
        Version.rank == bindparam("at_rank"),
    )
    .values(book=bindparam("new_book")),
    *("new_book", "container", "at_shelf", "at_key", "at_rank"),
)
DATA = Statement(select(Small.data).where(Small.number == literal_column("0") + bindparam("at")), "at")


def annotate(
    store: ObjectStore, place: Place, note: Note, received: Received, most: int, check: Check, also: Also[Head] | None
) -> Head:
    """Attach a received content to a version, in place of one of that name; the version.

    Raises `Missing` where there is no such version, or a marker, and `OutOfRange` where it has `most` others.
    """

    def job(tx: Transaction) -> Head:
        shelf, head = _version(tx, place)
        check(head)
        uses.add_blob(tx, received)
        book = head.book
        if book is None:
            book = os.urandom(16).hex()
            tx.run(OPEN_BOOK, book, place.container, shelf, place.key.encode(), head.rank)
        _tear(tx, book, note.name)
        count = tx.one(COUNT, book)
        if count is not None and count[0] >= most:
            raise OutOfRange("there is no room for another annotation", limit=most)
        small = None if received.data is None else uses.add_small(tx, received.data)
        sealed = None if received.key is None else received.key.sealed
        tx.run(ADD, book, *note._replace(blob=received.name, small=small, sealed_key=sealed)[:-1])
        if also is not None:
            also(tx, head)
        return head

    return store.act_with((received,), job)


def erase(store: ObjectStore, place: Place, name: bytes, check: Check, also: Also[Head] | None) -> tuple[Head, bool]:
    """Remove an annotation; its version, and whether there was one of that name. Raises `Missing` for the version."""

    def job(tx: Transaction) -> tuple[Head, bool]:
        _, head = _version(tx, place)
        check(head)
        found = head.book is not None and _tear(tx, head.book, name)
        if found and also is not None:
            also(tx, head)
        return head, found

    return store.act(job)


def read(store: ObjectStore, head: Head, name: bytes, unlock: Callable[[bytes], bytes]) -> tuple[Note, bytes]:
    """An annotation with its bytes. Raises `Missing` and `Damaged`."""
    before: Note | None = None
    while True:
        note = _find(store.ledger.read(), head.book, name)
        if note is None:
            raise Missing("no such annotation", name=name)
        secret = None if note.sealed_key is None else store.open_key(note.sealed_key, unlock)
        if note.data is not None:
            if note.size and not note.data:
                raise Damaged("the content is damaged", reason="its bytes are gone")
            return note, note.data if secret is None else open_small(secret, note.data)
        if before == note:
            raise Damaged("the content is damaged", reason="its bytes are gone")
        try:
            assert note.blob is not None
            reading = Reading(store.contents, [Extent(note.blob, 0, note.size)], 0, note.size, secret)
        except Missing:
            before = note  # replaced since the look into the index, or lost
            continue
        try:
            return note, b"".join(reading)
        finally:
            reading.close()


def page(store: ObjectStore, head: Head, prefix: bytes, after: bytes, most: int) -> list[Note]:
    """The annotations of a version behind `after` whose names begin with `prefix`, in byte order."""
    if head.book is None:
        return []
    rows = store.ledger.read().all(BEHIND, head.book, after, prefix, most)
    notes = [Note(row[0] if isinstance(row[0], bytes) else bytes(row[0]), *row[1:]) for row in rows]
    return [note for note in notes if note.name.startswith(prefix)]


def every(store: ObjectStore, head: Head) -> list[Note]:
    """All annotations of a version, without their bytes."""
    return [] if head.book is None else _all(store.ledger.read(), head.book)


def copy_notes(tx: Transaction, notes: Sequence[Note], seen: str | None) -> str | None:
    """A book of copies of annotations, whose contents are used once more; None where there are none.

    `seen` is the book that they stand in. Raises `Changed` where they do not stand there any more, and `Damaged`.
    """
    if seen is None and not notes:
        return None
    there = [] if seen is None else _all(tx, seen)
    if [(one.name, one.etag, one.small, one.blob) for one in there] != [
        (one.name, one.etag, one.small, one.blob) for one in notes
    ]:
        raise Changed("the annotations were changed meanwhile")
    if not notes:
        return None
    book = os.urandom(16).hex()
    for note in notes:
        small = None
        if note.small is not None:
            row = tx.one(DATA, note.small)
            if row is None or (note.size and not row[0]):
                raise Damaged("an annotation is damaged", reason="its bytes are gone")
            small = uses.add_small(tx, row[0])
        elif note.blob is not None:
            uses.use_blob(tx, note.blob)
        tx.run(ADD, book, *note._replace(small=small)[:-1])
    return book


def rewrite_book(
    tx: Transaction, place: tuple[int, int, bytes], head: Head, notes: Sequence[Note], seen: str | None
) -> None:
    """Give a version (container, shelf and key) copies of annotations (see `copy_notes`) in place of its own."""
    own = [] if head.book is None else _all(tx, head.book)
    if [(one.name, one.etag, one.modified) for one in own] == [(one.name, one.etag, one.modified) for one in notes]:
        return
    uses.drop_book(tx, head)
    tx.run(OPEN_BOOK, copy_notes(tx, notes, seen), *place, head.rank)


def _version(tx: Transaction, place: Place) -> tuple[int, Head]:
    key = place.key.encode()
    tx.lock(place.container, key)
    found = versions.find(tx, place.container, key, place.version)
    if found is None or found[1].marker:
        raise Missing("no such object", key=place.key)
    return found


def _find(reader: Reader, book: str | None, name: bytes) -> Note | None:
    row = None if book is None else reader.one(ONE, book, name)
    return None if row is None else Note(*row)


def _all(reader: Reader, book: str) -> list[Note]:
    return [Note(bytes(row[0]), *row[1:]) for row in reader.all(ALL, book)]


def _tear(tx: Transaction, book: str, name: bytes) -> bool:
    note = _find(tx, book, name)
    if note is None:
        return False
    uses.leave_note(tx, note.small, note.blob)
    tx.run(DROP, book, name)
    return True
