"""Listings in byte order of keys, by keyset: a page costs what it shows, not what the container holds.

With a delimiter, keys that share a prefix up to it are rolled up into that prefix; the keys under it are skipped by a
seek behind it, so that a prefix over a million keys costs one index look-up.
"""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Generic, NamedTuple, TypeVar

from sqlalchemy import BindParameter, and_, bindparam, literal_column, or_, select

from backends.object.ledger import Reader, Row, Statement
from backends.object.models import LIVE, PAST, Assembly, Version

FIRST_BATCH = 48
LARGEST_BATCH = 1000
KEY = itemgetter(0)


class Entry(NamedTuple):
    """A version as listings show it."""

    key: bytes
    rank: int
    version: str
    marker: int
    size: int
    modified: int
    etag: str
    storage: str
    checksum: str
    owner: str


class Open(NamedTuple):
    """An open upload as listings show it."""

    key: bytes
    opened: int
    id: str
    owner: str
    storage: str
    facts: str


E = TypeVar("E", Entry, Open)


@dataclass(slots=True)
class Page(Generic[E]):
    """A page: entries and rolled-up prefixes, each in byte order; `more` says that the listing goes on behind `last`.

    `last` is the entry or the prefix with which the page ends. `latest` says of each entry whether it is the newest
    version of its key (listings of versions only).
    """

    entries: list[E] = field(default_factory=list)
    prefixes: list[bytes] = field(default_factory=list)
    more: bool = False
    last: E | bytes | None = None
    latest: list[bool] = field(default_factory=list)


def behind(prefix: bytes) -> bytes | None:
    """The least key that sorts behind every key with this prefix; None when there is none."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,)) if stripped else None


_ENTRY = [getattr(Version, name) for name in Entry._fields]
_IN = Version.container == bindparam("container")
_LIVE = Version.shelf == literal_column(str(LIVE))
_PAST = Version.shelf == literal_column(str(PAST))
_FROM = Version.key >= bindparam("start")
_LIMIT: BindParameter[int] = bindparam("most")
_PAGE = ("container", "start", "most")

LIVE_FROM = Statement(select(*_ENTRY).where(_IN, _LIVE, _FROM).order_by(Version.key).limit(_LIMIT), *_PAGE)
PAST_FROM = Statement(
    select(*_ENTRY).where(_IN, _PAST, _FROM).order_by(Version.key, Version.rank).limit(_LIMIT), *_PAGE
)
PAST_WITHIN = Statement(
    select(*_ENTRY)
    .where(_IN, _PAST, Version.key == bindparam("key"), Version.rank > bindparam("rank"))
    .order_by(Version.rank)
    .limit(_LIMIT),
    "container", "key", "rank", "most",
)  # fmt: skip
_OPEN = [getattr(Assembly, name) for name in Open._fields]
_UNUSED = Assembly.uses == literal_column("0")
_OPENS = select(*_OPEN).where(Assembly.container == bindparam("container"), _UNUSED)
_OPEN_ORDER = (Assembly.key, Assembly.opened, Assembly.id)
OPEN_FROM = Statement(_OPENS.where(Assembly.key >= bindparam("start")).order_by(*_OPEN_ORDER).limit(_LIMIT), *_PAGE)
OPEN_WITHIN = Statement(
    _OPENS.where(
        Assembly.key == bindparam("key"),
        or_(
            Assembly.opened > bindparam("opened"),
            and_(Assembly.opened == bindparam("opened"), Assembly.id > bindparam("id")),
        ),
    )
    .order_by(*_OPEN_ORDER)
    .limit(_LIMIT),
    "container", "key", "opened", "id", "most",
)  # fmt: skip

Fetch = Callable[["bytes | Row", int], list[Row]]
"""Rows in order, at most so many: from a key on, or behind a row."""


def roll_up(make: type[E], fetch: Fetch, at: bytes | Row, prefix: bytes, delimiter: bytes, limit: int) -> Page[E]:
    """A page of at most `limit` entries and prefixes from the position `at` on."""
    page: Page[E] = Page()
    if limit <= 0:
        return page
    end, room, skip = behind(prefix), limit, b""
    if isinstance(at, bytes):
        at = max(at, prefix)
    batch = FIRST_BATCH if delimiter else min(limit + 1, LARGEST_BATCH + 1)
    while True:
        rows = fetch(at, batch)
        if not delimiter:
            # Nothing to roll up: the rows are the page, as far as the prefix and the room go.
            within = len(rows) if end is None or not rows or rows[-1][0] < end else bisect_left(rows, end, key=KEY)
            page.entries += map(make._make, rows[: min(within, room)])
            page.last = page.entries[-1] if page.entries else None
            page.more = within > room
            room -= min(within, room)
            if page.more or within < len(rows) or len(rows) < batch:
                return page
            at, batch = rows[-1], min(batch * 2, LARGEST_BATCH)
            continue
        for row in rows:
            key: bytes = row[0]
            if key < skip:
                continue
            if end is not None and key >= end:
                return page
            if not room:
                page.more = True
                return page
            room -= 1
            cut = key.find(delimiter, len(prefix))
            if cut < 0:
                page.last = entry = make._make(row)
                page.entries.append(entry)
                continue
            page.last = rolled = key[: cut + len(delimiter)]
            page.prefixes.append(rolled)
            skip = behind(rolled) or b""
            if not skip:
                return page
        if len(rows) < batch:
            return page
        if rows[-1][0] < skip:
            at, batch = skip, max(batch // 2, 4)
        else:
            at, batch = rows[-1], min(batch * 2, LARGEST_BATCH)


def position(prefix: bytes, delimiter: bytes, after: bytes) -> bytes:
    """Where a page behind the key `after` begins: not in the middle of what is rolled up."""
    if not after:
        return b""
    cut = after.find(delimiter, len(prefix)) if delimiter and after.startswith(prefix) else -1
    if cut >= 0:
        return behind(after[: cut + len(delimiter)]) or after + b"\0"
    return after + b"\0"


def live(reader: Reader, container: int, prefix: bytes, delimiter: bytes, after: bytes, limit: int) -> Page[Entry]:
    """The live keys behind `after`."""

    def fetch(at: bytes | Row, most: int) -> list[Row]:
        return reader.all(LIVE_FROM, container, at if isinstance(at, bytes) else at[0] + b"\0", most)

    return roll_up(Entry, fetch, position(prefix, delimiter, after), prefix, delimiter, limit)


def versions(
    reader: Reader, container: int, prefix: bytes, delimiter: bytes, after: bytes, after_rank: int | None, limit: int
) -> Page[Entry]:
    """Every version and marker behind `after` (behind one version of it, where `after_rank` is given)."""

    def fetch(at: bytes | Row, most: int) -> list[Row]:
        within: list[Row] = []
        if not isinstance(at, bytes):
            # What was behind it may be the newest by now, if those before are gone.
            live = [row for row in reader.all(LIVE_FROM, container, at[0], 1) if row[0] == at[0] and row[1] > at[1]]
            within = [*live, *reader.all(PAST_WITHIN, container, at[0], at[1], most)][:most]
            if len(within) >= most:
                return within
            at = at[0] + b"\0"
        merged = heapq.merge(reader.all(LIVE_FROM, container, at, most), reader.all(PAST_FROM, container, at, most))
        return within + list(itertools.islice(merged, most - len(within)))

    start = position(prefix, delimiter, after) if after_rank is None else (after, after_rank)
    page = roll_up(Entry, fetch, start, prefix, delimiter, limit)
    before = None if after_rank is None else after
    for entry in page.entries:
        page.latest.append(entry.key != before)
        before = entry.key
    if page.entries and after_rank is not None and page.entries[0].key == after:
        page.latest[0] = page.entries[0].rank == _newest(reader, container, after)
    return page


def _newest(reader: Reader, container: int, key: bytes) -> int:
    """The rank of the newest version of a key that has some."""
    rows = [*reader.all(LIVE_FROM, container, key, 1), *reader.all(PAST_FROM, container, key, 1)]
    return min(int(row[1]) for row in rows if row[0] == key)


def uploads(
    reader: Reader,
    container: int,
    prefix: bytes,
    delimiter: bytes,
    after: bytes,
    after_upload: tuple[int, str] | None,
    limit: int,
) -> Page[Open]:
    """The open uploads behind the key `after` (behind one upload to it, given `after_upload`), oldest first."""

    def fetch(at: bytes | Row, most: int) -> list[Row]:
        within: list[Row] = []
        if not isinstance(at, bytes):
            within = reader.all(OPEN_WITHIN, container, at[0], at[1], at[2], most)
            at = at[0] + b"\0"
        return within + reader.all(OPEN_FROM, container, at, most - len(within)) if len(within) < most else within

    start = position(prefix, delimiter, after) if after_upload is None else (after, *after_upload)
    return roll_up(Open, fetch, start, prefix, delimiter, limit)
