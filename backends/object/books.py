"""Books of annotations in the index: a version's, by name, each made of a content of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, delete, func, insert, literal_column, select, update

from backends.errors import Changed, Damaged
from backends.object import uses
from backends.object.ledger import Reader, Statement, Transaction
from backends.object.models import Annotation, Small, Version
from backends.object.versions import Head


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


def find_note(reader: Reader, book: str | None, name: bytes) -> Note | None:
    """An annotation by its name, with its bytes where they are small; None where there is none."""
    row = None if book is None else reader.one(ONE, book, name)
    return None if row is None else Note(*row)


def notes_in(reader: Reader, book: str) -> list[Note]:
    """All annotations of a book by their names, without their bytes."""
    return [Note(bytes(row[0]), *row[1:]) for row in reader.all(ALL, book)]


def open_book(tx: Transaction, place: tuple[int, int, bytes], head: Head) -> str:
    """A new book for a version (container, shelf and key) that has none."""
    book = os.urandom(16).hex()
    tx.run(OPEN_BOOK, book, *place, head.rank)
    return book


def tear(tx: Transaction, book: str, name: bytes) -> bool:
    """Take an annotation out of a book; whether there was one."""
    note = find_note(tx, book, name)
    if note is None:
        return False
    uses.leave_note(tx, note.small, note.blob)
    tx.run(DROP, book, name)
    return True


def copy_notes(tx: Transaction, notes: Sequence[Note], seen: str | None) -> str | None:
    """A book of copies of annotations, whose contents are used once more; None where there are none.

    `seen` is the book that they stand in. Raises `Changed` where they do not stand there any more, and `Damaged`.
    """
    if seen is None and not notes:
        return None
    there = [] if seen is None else notes_in(tx, seen)
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
    own = [] if head.book is None else notes_in(tx, head.book)
    if [(one.name, one.etag, one.modified) for one in own] == [(one.name, one.etag, one.modified) for one in notes]:
        return
    uses.drop_book(tx, head)
    tx.run(OPEN_BOOK, copy_notes(tx, notes, seen), *place, head.rank)
