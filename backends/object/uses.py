"""Uses of contents: counted by those who are made of them, in the transaction that makes or removes them.

A content that nobody is made of any more is garbage. Small contents have one user each and go with it.
"""

from __future__ import annotations

from typing import NamedTuple, Protocol

from sqlalchemy import bindparam, delete, insert, literal_column, select, update

from backends.errors import Changed, Damaged
from backends.object.contents import Received, digest_of
from backends.object.ledger import Statement, Transaction
from backends.object.models import Annotation, Assembly, Blob, Part, Small


class Made(Protocol):
    """A version, as far as it is made of a content: in a blob, an assembly of parts or a small row, or empty. `data`
    is what a small row holds, where it was asked for; `size` counts bytes."""

    @property
    def size(self) -> int: ...
    @property
    def blob(self) -> str | None: ...
    @property
    def assembly(self) -> str | None: ...
    @property
    def small(self) -> int | None: ...
    @property
    def sealed_key(self) -> bytes | None: ...
    @property
    def book(self) -> str | None: ...
    @property
    def data(self) -> bytes | None: ...


class Content(NamedTuple):
    """Where a new version's bytes are: one of the first three; the key that opens them, sealed; and the book of its
    annotations, which are there already."""

    blob: str | None = None
    assembly: str | None = None
    data: bytes | None = None
    sealed_key: bytes | None = None
    book: str | None = None


Place = tuple[str | None, str | None, int | None, bytes | None, str | None]
"""The columns of a version that say where its content is: blob, assembly, small row, sealed key, book."""


ADD_SMALL = Statement(
    insert(Small).values(data=bindparam("data"), digest=bindparam("digest")).returning(Small.number), "data", "digest"
)
REPLACE_SMALL = Statement(
    update(Small)
    .where(Small.number == bindparam("at"))
    .values(data=bindparam("new_data"), digest=bindparam("new_digest"), damage=literal_column("''")),
    "new_data",
    "new_digest",
    "at",
)
DROP_SMALL = Statement(delete(Small).where(Small.number == bindparam("at")), "at")
ADD_BLOB = Statement(
    insert(Blob).values(
        name=bindparam("name"),
        size=bindparam("size"),
        uses=literal_column("1"),
        digest=bindparam("digest"),
    ),
    "name",
    "size",
    "digest",
)
USE_BLOB = Statement(
    update(Blob)
    .where(Blob.name == bindparam("at"))
    .values(uses=Blob.uses + literal_column("1"))
    .returning(Blob.damage),
    "at",
)
LEAVE_BLOB = Statement(
    update(Blob).where(Blob.name == bindparam("at")).values(uses=Blob.uses - literal_column("1")).returning(Blob.uses),
    "at",
)
DROP_BLOB = Statement(delete(Blob).where(Blob.name == bindparam("at")), "at")
USE_ASSEMBLY = Statement(
    update(Assembly)
    .where(Assembly.id == bindparam("at"), Assembly.uses > literal_column("0"))
    .values(uses=Assembly.uses + literal_column("1"))
    .returning(literal_column("''")),
    "at",
)
LEAVE_ASSEMBLY = Statement(
    update(Assembly).where(Assembly.id == bindparam("at"))
    .values(uses=Assembly.uses - literal_column("1")).returning(Assembly.uses),
    "at",
)  # fmt: skip
DROP_ASSEMBLY = Statement(delete(Assembly).where(Assembly.id == bindparam("at")), "at")
IN_BOOK = Statement(select(Annotation.small, Annotation.blob).where(Annotation.book == bindparam("at")), "at")
DROP_BOOK = Statement(delete(Annotation).where(Annotation.book == bindparam("at")), "at")
PART_BLOBS = Statement(select(Part.blob).where(Part.assembly == bindparam("at"), Part.blob.is_not(None)), "at")


def add_blob(tx: Transaction, received: Received) -> None:
    """Enter the blob of a received content, if it has one, with one use."""
    tally = received.tally
    if tally is not None:
        tx.run(ADD_BLOB, tally.name, tally.size, tally.digest)


def add_small(tx: Transaction, data: bytes) -> int:
    """Enter a small content; the number of its row."""
    row = tx.one(ADD_SMALL, data, digest_of(data))
    assert row is not None
    number: int = row[0]
    return number


def replace_small(tx: Transaction, number: int, data: bytes) -> None:
    """Put a small content into the row of another, which goes."""
    tx.run(REPLACE_SMALL, data, digest_of(data), number)


def place(tx: Transaction, content: Content) -> Place:
    """The columns of a version that is to be made of a content; small ones get their row."""
    if content.data is None:
        return content.blob, content.assembly, None, content.sealed_key, content.book
    return None, None, add_small(tx, content.data), content.sealed_key, content.book


def use(tx: Transaction, made: Made) -> Content:
    """Count one more use of an existing content. Raises `Changed` when it has gone meanwhile, and `Damaged`."""
    if made.blob is not None:
        use_blob(tx, made.blob)
    elif made.assembly is not None:
        use_assembly(tx, made.assembly)
    elif made.data is not None and len(made.data) < made.size:
        raise Damaged("the content is damaged", reason="its bytes are gone")
    return Content(made.blob, made.assembly, made.data, made.sealed_key)


def use_blob(tx: Transaction, name: str) -> None:
    """Count one more use of a blob. Raises `Changed` when it has gone meanwhile, and `Damaged`."""
    _use(tx, USE_BLOB, name)


def use_assembly(tx: Transaction, id: str) -> None:
    """The same of an assembly that is in use."""
    _use(tx, USE_ASSEMBLY, id)


def _use(tx: Transaction, statement: Statement, name: str) -> None:
    row = tx.one(statement, name)
    if row is None:
        raise Changed("the content was deleted meanwhile")
    if row[0]:
        raise Damaged("the content is damaged", reason=row[0])


def leave(tx: Transaction, made: Made) -> None:
    """Count one use of a version's content less; at none it becomes garbage. Its annotations go."""
    drop_book(tx, made)
    if made.small is not None:
        tx.run(DROP_SMALL, made.small)
    elif made.blob is not None:
        leave_blob(tx, made.blob)
    elif made.assembly is not None:
        left = tx.one(LEAVE_ASSEMBLY, made.assembly)
        if left is not None and left[0] <= 0:
            drop_assembly(tx, made.assembly)


def drop_book(tx: Transaction, made: Made) -> None:
    """Remove a version's annotations, and what they are made of where nothing else is."""
    if made.book is not None:
        for small, blob in tx.all(IN_BOOK, made.book):
            leave_note(tx, small, blob)
        tx.run(DROP_BOOK, made.book)


def leave_note(tx: Transaction, small: int | None, blob: str | None) -> None:
    """Count one use of an annotation's content less."""
    if small is not None:
        tx.run(DROP_SMALL, small)
    elif blob is not None:
        leave_blob(tx, blob)


def leave_blob(tx: Transaction, name: str) -> None:
    """Count one use of a blob less; at none it becomes garbage."""
    left = tx.one(LEAVE_BLOB, name)
    if left is not None and left[0] <= 0:
        tx.run(DROP_BLOB, name)
        tx.garbage.append(name)


def drop_assembly(tx: Transaction, id: str) -> None:
    """Remove an assembly, its parts, and their blobs where nothing else uses them."""
    for (blob,) in tx.all(PART_BLOBS, id):
        leave_blob(tx, blob)
    tx.run(DROP_ASSEMBLY, id)
