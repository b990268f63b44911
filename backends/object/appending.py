"""More bytes behind an object's own, in a container that keeps no versions. What is there already does not move."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, func, select

from backends.errors import Changed, Missing
from backends.object.contents import Received
from backends.object.ledger import Statement, Transaction
from backends.object.models import Part
from backends.object.uploads import ADD_PIECE, FIND, OPEN, PIECES, Piece, Upload
from backends.object.uses import Content, add_blob, use_assembly, use_blob
from backends.object.versions import Description, Expect, Head, Published, find, keeping_of, put

if TYPE_CHECKING:
    from backends.object.store import ObjectStore

Pieces = Callable[[], Sequence[Piece]]
"""Gives all pieces of a content in order."""
Describe = Callable[[Pieces], Description]
"""Describes the whole."""
LAST = Statement(select(func.max(Part.number)).where(Part.assembly == bindparam("at")), "at")


def append(
    store: ObjectStore,
    container: int,
    key: str,
    seen: Head,
    first: tuple[Piece, Received | None],
    more: tuple[Piece, Received],
    describe: Describe,
    expect: Expect | None = None,
) -> Published:
    """Put a content that `store.receive_more` gave behind that of `seen`, the key's newest version.

    `first` is what is there as one piece, where it is not made of pieces yet; a content out of the index has to arrive
    with it anew. Pieces get their numbers, places and blobs here. Raises `Missing` without the object, `Changed` where
    it is another one by now or the container keeps versions, and what `expect` raises.
    """
    name = key.encode()

    def job(tx: Transaction) -> Published:
        tx.lock(container, name)
        if keeping_of(tx, container):
            raise Changed("the container keeps versions", container=container)
        found = find(tx, container, name, None)
        if found is None:
            raise Missing("no such object", key=key)
        live = found[1]
        if expect is not None:
            expect(live)
        if live[:7] != seen[:7]:
            raise Changed("the object was replaced meanwhile", key=key)
        assembly = _assembly_of(tx, container, name, live, first)
        piece, arrived = more
        add_blob(tx, arrived)
        last = tx.one(LAST, assembly)
        number = ((last[0] if last is not None else None) or 0) + 1
        tx.run(
            ADD_PIECE,
            assembly,
            *piece._replace(number=number, start=live.size, size=arrived.size, blob=arrived.name),
        )
        about = describe(lambda: [Piece._make(row) for row in tx.all(PIECES, assembly)])
        return put(tx, container, name, about, Content(assembly=assembly, sealed_key=live.sealed_key), None)

    return store.act_with([one for one in (first[1], more[1]) if one is not None], job)


def _assembly_of(tx: Transaction, container: int, key: bytes, live: Head, first: tuple[Piece, Received | None]) -> str:
    """An assembly that holds the content, with one use for the version to come, and no other version's."""
    pieces: list[Piece] = []
    if live.assembly is not None:
        row = tx.one(FIND, live.assembly)
        if row is None:
            raise Missing("the content is gone")
        if Upload._make(row).uses == 1:
            use_assembly(tx, live.assembly)
            return live.assembly
        pieces = [Piece._make(one) for one in tx.all(PIECES, live.assembly)]
    elif live.size:
        piece, arrived = first
        if arrived is not None:
            add_blob(tx, arrived)
        blob = live.blob if arrived is None else arrived.name
        pieces = [piece._replace(number=1, start=0, size=live.size, blob=blob)]
    id = secrets.token_urlsafe(40).replace("-", ".")
    made = Upload(
        id,
        container,
        key,
        live.modified,
        1,
        "",
        live.etag,
        live.owner,
        live.storage,
        facts="",
        sealed_key=live.sealed_key,
    )
    tx.run(OPEN, *made)
    for one in pieces:
        if one.blob is not None and live.small is None:
            use_blob(tx, one.blob)  # which the content that is there uses still
        tx.run(ADD_PIECE, id, *one)
    return id
