"""Versions of objects: the steps that put, find, replace and delete them, inside a transaction or outside any.

The rules: in a container that never kept versions a key has one row, live, with the null version. In one that keeps
them a put or delete moves the live row to the past. In a suspended one a put or delete replaces the null version,
wherever it stands, and moves any other live row to the past.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import bindparam, delete, exists, insert, literal_column, select, update

from backends.errors import Missing
from backends.object.ledger import Reader, Statement, Transaction
from backends.object.models import LIVE, PAST, Assembly, Container, Keeping, Small, Version
from backends.object.names import rank_of, version_name
from backends.object.uses import Content, Place, drop_book, leave, place, replace_small

NULL = ""


class Head(NamedTuple):
    """A version as it stands in the index. `data` is there only where it was asked for, and small."""

    version: str
    rank: int
    marker: int
    size: int
    modified: int
    etag: str
    storage: str
    checksum: str
    owner: str
    parts: int
    facts: str
    tags: str
    grants: str
    terms: str
    blob: str | None
    assembly: str | None
    small: int | None
    sealed_key: bytes | None = None
    book: str | None = None
    data: bytes | None = None


class Description(NamedTuple):
    """What a front end says of a new version. `modified` is in microseconds since 1970."""

    modified: int
    etag: str
    size: int
    storage: str = ""
    checksum: str = ""
    owner: str = ""
    parts: int = 0
    facts: str = ""
    tags: str = ""
    grants: str = ""
    terms: str = ""


class Amendment(NamedTuple):
    """What is to change of a version that stays; None leaves a thing as it is."""

    tags: str | None = None
    grants: str | None = None
    terms: str | None = None
    storage: str | None = None
    facts: str | None = None
    sealed_key: bytes | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """A version that is in the index now. `version` is empty for the null version of a container that keeps none."""

    version: str
    keeping: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """What a delete did. `marker`: a delete marker was made, or the deleted version was one; `version` is its name.

    `keeping` is empty where versions were never kept; `found` says whether anything was removed.
    """

    version: str
    marker: bool
    found: bool
    keeping: str


Expect = Callable[[Head | None], None]
"""Looks at the version that is about to be replaced or deleted (None: there is none), and raises to stop it."""

Revise = Callable[[Head], Amendment | None]
"""Looks at a version in the transaction, and gives what is to change of it (None: nothing), or raises."""

_COLUMNS = Head._fields[:-1]
_HEAD = [getattr(Version, name) for name in _COLUMNS]
_WHOLE = select(*_HEAD, Small.data).join(Small, Small.number == Version.small, isouter=True)
_AT = (Version.container == bindparam("container"), Version.key == bindparam("key"))
_LIVE = Version.shelf == literal_column(str(LIVE))
_PAST = Version.shelf == literal_column(str(PAST))
_RANKED = (*_AT, Version.shelf == bindparam("shelf"), Version.rank == bindparam("rank"))
_PLACE = ("container", "shelf", "key", "rank")
_NULL = Version.version == literal_column("''")

LIVE_HEAD = Statement(select(*_HEAD).where(*_AT, _LIVE), "container", "key")
LIVE_WHOLE = Statement(_WHOLE.where(*_AT, _LIVE), "container", "key")
PAST_HEAD = Statement(
    select(*_HEAD).where(*_AT, _PAST).order_by(Version.rank).limit(literal_column("1")), "container", "key"
)
NULL_PAST = Statement(_WHOLE.where(*_AT, _PAST, _NULL), "container", "key")
BY_RANK = Statement(_WHOLE.where(*_RANKED), *_PLACE)

_OPEN = (
    Assembly.container == bindparam("container"),
    Assembly.key == bindparam("key"),
    Assembly.uses == literal_column("0"),
)
KEEPING = Statement(select(Container.keeping).where(Container.number == bindparam("container")), "container")
_VALUES = tuple(dict.fromkeys(("container", "shelf", "key", *_COLUMNS)))
KEEPING_AND_OPEN = Statement(
    select(Container.keeping, exists().where(*_OPEN)).where(Container.number == bindparam("container")),
    "container", "key",
)  # fmt: skip
CROSS = Statement(update(Assembly).where(*_OPEN).values(crossed=literal_column("1")), "container", "key")
INSERT = Statement(insert(Version).values({name: bindparam(name) for name in _VALUES}), *_VALUES)
_CHANGED = tuple(name for name in _COLUMNS if name != "rank")
REPLACE = Statement(
    update(Version).where(*_AT, _LIVE).values({name: bindparam("new_" + name) for name in _CHANGED}),
    *("new_" + name for name in _CHANGED),
    "container",
    "key",
)
REMOVE = Statement(delete(Version).where(*_RANKED), *_PLACE)
SHELVE = Statement(
    update(Version).where(*_AT, Version.rank == bindparam("at"), Version.shelf == bindparam("from"))
    .values(shelf=bindparam("to")),
    "to", "container", "key", "at", "from",
)  # fmt: skip
AMEND = Statement(
    update(Version).where(*_RANKED).values({name: bindparam("new_" + name) for name in Amendment._fields}),
    *("new_" + name for name in Amendment._fields),
    *_PLACE,
)


def find(reader: Reader, container: int, key: bytes, version: str | None) -> tuple[int, Head] | None:
    """The shelf and row of a version; of the newest one (which may be a marker) where `version` is None."""
    if version is None:
        row = reader.one(LIVE_WHOLE, container, key)
        if row is not None:
            return LIVE, Head(*row)
        row = reader.one(PAST_HEAD, container, key)
        return None if row is None else (PAST, Head(*row))
    rank = rank_of(version) if version else 0
    if rank is None:
        return None
    for shelf in (LIVE, PAST, LIVE):  # again, since it may have become live between the two looks
        if version:
            row = reader.one(BY_RANK, container, shelf, key, rank)
        else:
            row = reader.one(LIVE_WHOLE if shelf == LIVE else NULL_PAST, container, key)
        if row is not None and row[0] == version:
            return shelf, Head(*row)
    return None


def put(
    tx: Transaction, container: int, key: bytes, about: Description, content: Content, expect: Expect | None
) -> Published:
    """Make a new version the live one. The content's use is counted already. Raises `Missing` without the container."""
    keeping = keeping_of(tx, container)
    row = tx.one(LIVE_HEAD, container, key)
    live = None if row is None else Head(*row)
    if expect is not None:
        expect(live)
    keeps = keeping == Keeping.ENABLED
    if live is not None and not keeps and live.version == NULL:
        if live.small is not None and content.data is not None:
            replace_small(tx, live.small, content.data)
            there = (None, None, live.small, content.sealed_key, content.book)
            _write(tx, REPLACE, NULL, None, about, there, (container, key))
            drop_book(tx, live)
        else:
            _write(tx, REPLACE, NULL, None, about, place(tx, content), (container, key))
            leave(tx, live)
        return Published(NULL, keeping)
    rank = _next_rank(tx, container, key, live, about.modified, keeping)
    if live is not None:
        tx.run(SHELVE, PAST, container, key, live.rank, LIVE)
    if not keeps and keeping:
        _drop_past_null(tx, container, key)
    version = version_name(rank) if keeps else NULL
    _write(tx, INSERT, version, rank, about, place(tx, content), (container, LIVE, key))
    return Published(version, keeping)


def insert_named(
    tx: Transaction,
    container: int,
    key: bytes,
    version: str,
    rank: int,
    about: Description,
    content: Content,
    *,
    marker: int = 0,
) -> None:
    """Insert a version, or a delete marker, under a name from elsewhere: at the place in the key's history that its
    rank says. The content's use is counted already, and the container keeps versions."""
    row = tx.one(LIVE_HEAD, container, key)
    live = None if row is None else Head(*row)
    row = tx.one(PAST_HEAD, container, key)
    newest = min((head.rank for head in (live, None if row is None else Head(*row)) if head is not None), default=rank)
    shelf = LIVE if rank <= newest and not marker else PAST
    if live is not None and rank < live.rank:
        tx.run(SHELVE, PAST, container, key, live.rank, LIVE)
    _write(tx, INSERT, version, rank, about, place(tx, content), (container, shelf, key), marker=marker)


def remove(
    tx: Transaction, container: int, key: bytes, version: str | None, now: int, owner: str, expect: Expect | None
) -> Deleted:
    """Delete a version, or (`version` None) the key, which leaves a delete marker where versions are kept.

    What is not there is deleted already: no error. Raises `Missing` without the container. Open uploads to a key whose
    live version goes are told (`crossed`).
    """
    state = tx.one(KEEPING_AND_OPEN, container, key)
    if state is None:
        raise Missing("the container is gone", container=container)
    keeping: str = state[0]
    if version is not None:
        return _remove_version(tx, container, key, version, keeping, expect, is_awaited=bool(state[1]))
    row = tx.one(LIVE_HEAD, container, key)
    live = None if row is None else Head(*row)
    if expect is not None:
        expect(live)
    if live is not None and state[1]:
        tx.run(CROSS, container, key)
    if not keeping:
        if live is not None:
            tx.run(REMOVE, container, LIVE, key, live.rank)
            leave(tx, live)
        return Deleted(NULL, False, live is not None, keeping)
    rank = _next_rank(tx, container, key, live, now, keeping)
    if keeping == Keeping.SUSPENDED and live is not None and live.version == NULL:
        tx.run(REMOVE, container, LIVE, key, live.rank)
        leave(tx, live)
    elif live is not None:
        tx.run(SHELVE, PAST, container, key, live.rank, LIVE)
    name = version_name(rank) if keeping == Keeping.ENABLED else NULL
    if name == NULL:
        _drop_past_null(tx, container, key)
    about = Description(modified=now, etag="", size=0, owner=owner)
    _write(tx, INSERT, name, rank, about, (None, None, None, None, None), (container, PAST, key), marker=1)
    return Deleted(name, True, live is not None, keeping)


def amend(tx: Transaction, container: int, key: bytes, version: str | None, revise: Revise) -> Head:
    """Change a version in place; it, as it was before. Raises `Missing` where there is none, or a marker."""
    found = find(tx, container, key, version)
    if found is None or found[1].marker:
        raise Missing("no such object", key=key)
    shelf, head = found
    change = revise(head)
    if change is not None:
        new = (had if given is None else given for had, given in zip(head_values(head), change, strict=True))
        tx.run(AMEND, *new, container, shelf, key, head.rank)
    return head


def head_values(head: Head) -> tuple[str | bytes | None, ...]:
    """What of a version an `Amendment` may change, in its order."""
    return head.tags, head.grants, head.terms, head.storage, head.facts, head.sealed_key


def keeping_of(tx: Transaction, container: int) -> str:
    """Whether the container keeps versions, as committed now. Raises `Missing`."""
    row = tx.one(KEEPING, container)
    if row is None:
        raise Missing("the container is gone", container=container)
    keeping: str = row[0]
    return keeping


def _next_rank(tx: Transaction, container: int, key: bytes, live: Head | None, now: int, keeping: str) -> int:
    """A rank before all others of the key, whatever the clock says."""
    if live is not None:
        return min(-now, live.rank - 1)
    head = tx.one(PAST_HEAD, container, key) if keeping else None
    return -now if head is None else min(-now, head[1] - 1)


def _remove_version(
    tx: Transaction, container: int, key: bytes, version: str, keeping: str, expect: Expect | None, *, is_awaited: bool
) -> Deleted:
    found = find(tx, container, key, version)
    if expect is not None:
        expect(None if found is None else found[1])
    if found is None:
        return Deleted(version, False, False, keeping)
    shelf, head = found
    tx.run(REMOVE, container, shelf, key, head.rank)
    leave(tx, head)
    if shelf == LIVE and is_awaited:
        tx.run(CROSS, container, key)
    if keeping:
        _promote(tx, container, key)
    return Deleted(version, bool(head.marker), True, keeping)


def _promote(tx: Transaction, container: int, key: bytes) -> None:
    """Without a live row, the newest past version becomes live, unless it is a delete marker."""
    if tx.one(LIVE_HEAD, container, key) is None:
        row = tx.one(PAST_HEAD, container, key)
        if row is not None and not row[2]:
            tx.run(SHELVE, LIVE, container, key, row[1], PAST)


def _drop_past_null(tx: Transaction, container: int, key: bytes) -> None:
    row = tx.one(NULL_PAST, container, key)
    if row is not None:
        head = Head(*row)
        tx.run(REMOVE, container, PAST, key, head.rank)
        leave(tx, head)


def _write(
    tx: Transaction,
    statement: Statement,
    version: str,
    rank: int | None,
    about: Description,
    content: Place,
    at: tuple[object, ...],
    marker: int = 0,
) -> None:
    """Run `INSERT` or `REPLACE` with the values in the order of `Head`."""
    modified, etag, size, storage, checksum, owner, parts, facts, tags, grants, terms = about
    rest = (marker, size, modified, etag, storage, checksum, owner, parts, facts, tags, grants, terms, *content)
    if rank is None:
        tx.run(statement, version, *rest, *at)
    else:
        tx.run(statement, *at, version, rank, *rest)
