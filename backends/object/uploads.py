"""Uploads in parts: opened, filled in any order, then completed by reference or aborted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, delete, insert, literal_column, select, update

from backends.errors import Missing
from backends.object import upload_ids
from backends.object.ledger import Reader, Statement, Transaction
from backends.object.models import Assembly, Blob, Part
from backends.object.uses import Content, drop_assembly, leave_blob
from backends.object.versions import Description, Expect, Published, keeping_of, put


class Upload(NamedTuple):
    """An upload. While `uses` is 0 it is open; afterwards `version` and `etag` tell what it became. `crossed`: the key
    was deleted since."""

    id: str
    container: int
    key: bytes
    opened: int
    uses: int
    version: str
    etag: str
    owner: str
    storage: str
    facts: str
    sealed_key: bytes | None
    crossed: int = 0


class Piece(NamedTuple):
    """A part."""

    number: int
    start: int
    size: int
    modified: int
    etag: str
    checksum: str
    blob: str | None


Judge = Callable[[Upload, Sequence[Piece]], tuple[Description, Sequence[int]]]
"""Looks at the parts that have arrived; gives the description of the whole and the numbers of its parts, or raises."""

_UPLOAD = [getattr(Assembly, name) for name in Upload._fields]
_PIECE = [getattr(Part, name) for name in Piece._fields]
_OF = Part.assembly == bindparam("at")

OPEN = Statement(insert(Assembly).values({name: bindparam(name) for name in Upload._fields}), *Upload._fields)
FIND = Statement(select(*_UPLOAD).where(Assembly.id == bindparam("at")), "at")
PIECES = Statement(select(*_PIECE).where(_OF).order_by(Part.number), "at")
PIECES_AFTER = Statement(
    select(*_PIECE).where(_OF, Part.number > bindparam("after")).order_by(Part.number).limit(bindparam("most")),
    "at", "after", "most",
)  # fmt: skip
PIECE = Statement(select(*_PIECE).where(_OF, Part.number == bindparam("number")), "at", "number")
PIECES_WITHIN = Statement(
    select(*_PIECE, Blob.damage)
    .join(Blob, Blob.name == Part.blob)
    .where(_OF, Part.start < bindparam("stop"), Part.start + Part.size > bindparam("start"))
    .where(Part.size > literal_column("0"))
    .order_by(Part.number),
    "at", "stop", "start",
)  # fmt: skip
DROP_PIECE = Statement(delete(Part).where(_OF, Part.number == bindparam("number")), "at", "number")
_VALUES = ("assembly", *Piece._fields)
ADD_PIECE = Statement(insert(Part).values({name: bindparam(name) for name in _VALUES}), *_VALUES)
PLACE_PIECE = Statement(
    update(Part).where(_OF, Part.number == bindparam("at_number")).values(start=bindparam("new_start")),
    "new_start", "at", "at_number",
)  # fmt: skip
COMPLETE = Statement(
    update(Assembly)
    .where(Assembly.id == bindparam("at"))
    .values(uses=literal_column("1"), version=bindparam("new_version"), etag=bindparam("new_etag")),
    "new_version", "new_etag", "at",
)  # fmt: skip


def open_upload(
    tx: Transaction,
    container: int,
    key: bytes,
    now: int,
    *,
    owner: str,
    storage: str,
    facts: str,
    sealed_key: bytes | None,
) -> str:
    """A new upload's id. Raises `Missing` without the container."""
    keeping_of(tx, container)
    id = upload_ids.fresh(container, key, now)
    tx.run(OPEN, id, container, key, now, 0, "", "", owner, storage, facts, sealed_key, 0)
    return id


def find_upload(reader: Reader, container: int, key: bytes, id: str) -> Upload:
    """An upload to that key, open or complete. Raises `Missing`."""
    row = None if "\0" in id else reader.one(FIND, id)
    upload = None if row is None else Upload._make(row)
    if upload is None or upload.container != container or bytes(upload.key) != key:
        raise Missing("no such upload", upload=id)
    return upload


def put_piece(tx: Transaction, upload: Upload, piece: Piece) -> None:
    """Add a part, whose blob is entered already, in place of one with the same number.

    Raises `Missing` when the upload is not open any more.
    """
    current = find_upload(tx, upload.container, upload.key, upload.id)
    if current.uses:
        raise Missing("the upload is complete", upload=upload.id)
    old = tx.one(PIECE, upload.id, piece.number)
    if old is not None:
        tx.run(DROP_PIECE, upload.id, piece.number)
        if old[6] is not None:
            leave_blob(tx, old[6])
    tx.run(ADD_PIECE, upload.id, *piece)


def complete(
    tx: Transaction,
    container: int,
    key: bytes,
    id: str,
    judge: Judge,
    expect: Expect | None,
    also: Callable[[Transaction, Published], None] | None = None,
) -> tuple[Published, str]:
    """Make one version of the parts, without moving a byte; what it is, and its etag.

    An upload that is complete already gives what it became. Raises `Missing`, and whatever `judge` and `expect` raise.
    """
    upload = find_upload(tx, container, key, id)
    pieces = [Piece._make(row) for row in tx.all(PIECES, id)]
    about, numbers = judge(upload, pieces)
    if upload.uses:
        return Published(upload.version, keeping_of(tx, container)), upload.etag
    chosen = set(numbers)
    starts, start = [], 0
    for piece in pieces:
        if piece.number in chosen:
            starts.append((start, id, piece.number))
            start += piece.size
        else:
            tx.run(DROP_PIECE, id, piece.number)
            if piece.blob is not None:
                leave_blob(tx, piece.blob)
    tx.run_many(PLACE_PIECE, starts)
    published = put(tx, container, key, about, Content(assembly=id, sealed_key=upload.sealed_key), expect)
    tx.run(COMPLETE, published.version, about.etag, id)
    if also is not None:
        also(tx, published)
    return published, about.etag


def abort(tx: Transaction, container: int, key: bytes, id: str) -> None:
    """Drop an open upload and its parts. Raises `Missing`."""
    if find_upload(tx, container, key, id).uses:
        raise Missing("the upload is complete", upload=id)
    drop_assembly(tx, id)
