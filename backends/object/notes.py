"""Annotations: named contents beside a version's own. They go with their version, and have no versions themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from backends.errors import Damaged, Missing, OutOfRange
from backends.object import uses, versions
from backends.object.books import ADD, BEHIND, COUNT, Note, find_note, notes_in, open_book, tear
from backends.object.cipher import open_small
from backends.object.contents import Extent, Reading, Received
from backends.object.ledger import Transaction
from backends.object.versions import Head

if TYPE_CHECKING:
    from backends.object.store import Also, ObjectStore


class Place(NamedTuple):
    """A version: by its name (empty: the null version), or the newest one."""

    container: int
    key: str
    version: str | None


Check = Callable[[Head], None]
"""Looks at the version whose annotations are to change, in the transaction, and raises to stop it."""


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
        book = head.book or open_book(tx, (place.container, shelf, place.key.encode()), head)
        tear(tx, book, note.name)
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
        found = head.book is not None and tear(tx, head.book, name)
        if found and also is not None:
            also(tx, head)
        return head, found

    return store.act(job)


def read(store: ObjectStore, head: Head, name: bytes, unlock: Callable[[bytes], bytes]) -> tuple[Note, bytes]:
    """An annotation with its bytes. Raises `Missing` and `Damaged`."""
    before: Note | None = None
    while True:
        note = find_note(store.ledger.read(), head.book, name)
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
    return [] if head.book is None else notes_in(store.ledger.read(), head.book)


def _version(tx: Transaction, place: Place) -> tuple[int, Head]:
    key = place.key.encode()
    tx.lock(place.container, key)
    found = versions.find(tx, place.container, key, place.version)
    if found is None or found[1].marker:
        raise Missing("no such object", key=place.key)
    return found
