"""Rounds over containers: what time has done to versions and open uploads comes true, in slices.

What is to happen is decided by a `Plan` that the front end hands down. A round walks the keys of a container in order,
commits what it decided in small transactions, in which everything is looked at again, and notes the key that it has
come to: after a crash it goes on from there, and doing a thing twice does nothing.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from sqlalchemy import bindparam, delete, func, insert, literal_column, select, update

from backends.errors import Changed, Missing
from backends.object import listing, uploads, versions
from backends.object.ledger import Statement, Transaction
from backends.object.listing import Open
from backends.object.models import LIVE, PAST, Round, Version
from backends.object.store import ObjectStore
from backends.object.versions import Deleted, Head

PAGE = 500
SLICE = 2000
"""Versions that are looked at before others have their turn."""
BATCH = 100
"""Decisions in one transaction."""
DEAR = 4
"""As many looks as one decision costs, carried out."""


class Sight(NamedTuple):
    """A version as a round sees it. Times are microseconds since 1970.

    `since`: when a newer version replaced it (None: none did, it is the newest). `behind`: how many replaced versions
    of the key are newer. `alone`: the key has no other version.
    """

    key: bytes
    rank: int
    shelf: int
    version: str
    marker: int
    size: int
    modified: int
    storage: str
    tags: str
    terms: str
    since: int | None = None
    behind: int = 0
    alone: bool = False


class Fate(StrEnum):
    """What becomes of a version."""

    DELETE = "delete"
    """Its key is deleted, as a caller would do it: a marker where versions are kept."""
    REMOVE = "remove"
    """This version goes for good."""
    MOVE = "move"
    """It moves to another storage class."""


class Verdict(NamedTuple):
    """A version's fate; `storage` is the class to which it moves."""

    fate: Fate
    storage: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a round over a container goes by.

    `name` changes with the rules; `until` is the moment up to which everything is to come true; `holds` says whether
    the rules still stand. `judge` and `ends` (of an open upload) decide; `followed` writes, in the same transaction,
    what follows from a verdict that was carried out; `ended` hears of every open upload that was dropped.
    """

    container: int
    name: str
    until: int
    holds: Callable[[], bool]
    judge: Callable[[Sight], Verdict | None]
    ends: Callable[[Open], bool]
    followed: Callable[[Transaction, Sight, Verdict, Deleted | None], None]
    ended: Callable[[Open], None] = lambda one: None


_COLUMNS = [getattr(Version, name) for name in Sight._fields[:10]]
_IN = Version.container == bindparam("container")
_BEHIND = Version.key > bindparam("after")
_ORDER = (Version.key, Version.rank)


def _page(shelf: int) -> Statement:
    held = Version.shelf == literal_column(str(shelf))
    page = select(*_COLUMNS).where(_IN, held, _BEHIND).order_by(*_ORDER).limit(bindparam("most"))
    return Statement(page, "container", "after", "most")


LIVE_BEHIND, PAST_BEHIND = _page(LIVE), _page(PAST)
PAST_WITHIN = Statement(
    select(*_COLUMNS)
    .where(_IN, Version.shelf == literal_column(str(PAST)), Version.key == bindparam("key"))
    .where(Version.rank > bindparam("rank"))
    .order_by(Version.rank)
    .limit(bindparam("most")),
    "container", "key", "rank", "most",
)  # fmt: skip
# Both shelves by name: the primary key has the shelf before the key.
_BOTH = Version.shelf.in_((literal_column(str(LIVE)), literal_column(str(PAST))))
OF_KEY = Statement(select(func.count()).where(_IN, _BOTH, Version.key == bindparam("key")), "container", "key")
_AT = Round.container == bindparam("at")
FIND = Statement(select(Round.plan, Round.until, Round.key).where(_AT), "at")
BEGIN = Statement(
    insert(Round).values(container=bindparam("at"), plan=bindparam("plan"), until=bindparam("until"), key=b""),
    "at", "plan", "until",
)  # fmt: skip
FORGET = Statement(delete(Round).where(_AT), "at")
NOTE = Statement(update(Round).where(_AT).values(key=bindparam("new")), "new", "at")


class Rounds:
    """Makes the rounds that are due, a slice at a time. For one reconciler."""

    def __init__(self, store: ObjectStore, plans: Callable[[], Iterable[Plan]]) -> None:
        """`plans` gives the plan of every container that has one, as of now."""
        self._store, self._plans = store, plans
        self._running: Iterator[int] | None = None

    def step(self) -> bool:
        """A slice of what is due; whether some of it is left."""
        if self._running is None:
            self._running = itertools.chain.from_iterable(self._round(plan) for plan in self._plans())
        seen = 0
        try:
            for looked in self._running:
                seen += looked
                if seen >= SLICE:
                    return True
        except BaseException:
            self._running = None  # whatever it was, the note in the database says where to go on
            raise
        self._running = None
        return False

    def _round(self, plan: Plan) -> Iterator[int]:
        row = self._store.ledger.read().one(FIND, plan.container)
        if row is not None and row[:2] == (plan.name, plan.until):
            if row[2] is None:
                return
            after = bytes(row[2])
        else:
            after = b""

            def begin(tx: Transaction) -> None:
                versions.keeping_of(tx, plan.container)
                tx.run(FORGET, plan.container)
                tx.run(BEGIN, plan.container, plan.name, plan.until)

            try:
                self._store.act(begin)
            except Missing:
                return
        yield from self._walk(plan, after)

    def _walk(self, plan: Plan, after: bytes) -> Iterator[int]:
        decided: list[tuple[Sight, Verdict]] = []
        last, seen = after, 0
        for sight in self._sights(plan.container, after):
            if sight.key != last:
                if len(decided) >= BATCH or seen >= PAGE:
                    self._carry_out(plan, decided, last)
                    yield seen + DEAR * len(decided)
                    decided, seen = [], 0
                    if not plan.holds():
                        return
                last = sight.key
            seen += 1
            if (verdict := plan.judge(sight)) is not None:
                decided.append((sight, verdict))
                if len(decided) >= BATCH:  # many versions of one key: the note stays before the key
                    self._carry_out(plan, decided, None)
                    yield seen + DEAR * len(decided)
                    decided, seen = [], 0
        self._carry_out(plan, decided, last)
        yield seen
        yield from self._end_uploads(plan)
        self._store.act(lambda tx: tx.run(NOTE, None, plan.container))

    def _sights(self, container: int, after: bytes) -> Iterator[Sight]:
        """Every version behind a key, in order, newest first within a key."""
        live = self._rows(container, after, LIVE_BEHIND)
        past = self._rows(container, after, PAST_BEHIND)
        merged = deque[Sight]()
        live_row, past_row = next(live, None), next(past, None)
        newer: Sight | None = None
        while live_row is not None or past_row is not None or merged:
            while len(merged) < 2 and (live_row is not None or past_row is not None):
                if past_row is None or (live_row is not None and live_row[:2] < past_row[:2]):
                    assert live_row is not None
                    merged.append(live_row)
                    live_row = next(live, None)
                else:
                    merged.append(past_row)
                    past_row = next(past, None)
            sight = merged.popleft()
            if newer is not None and newer.key == sight.key:
                behind = 0 if newer.since is None else newer.behind + 1
                sight = sight._replace(since=newer.modified, behind=behind)
            else:
                sight = sight._replace(alone=not merged or merged[0].key != sight.key)
            newer = sight
            yield sight

    def _rows(self, container: int, after: bytes, page: Statement) -> Iterator[Sight]:
        reader = self._store.ledger.read()
        while True:
            rows = reader.all(page, container, after, PAGE)
            yield from itertools.starmap(Sight, rows)
            if len(rows) < PAGE:
                return
            after, rank = rows[-1][0], rows[-1][1]
            while page is PAST_BEHIND and (rows := reader.all(PAST_WITHIN, container, after, rank, PAGE)):
                yield from itertools.starmap(Sight, rows)
                rank = rows[-1][1]

    def _carry_out(self, plan: Plan, decided: list[tuple[Sight, Verdict]], done: bytes | None) -> None:
        """Commit verdicts, and (`done`) that everything up to a key is done."""

        def job(tx: Transaction) -> None:
            for sight, verdict in decided:
                tx.lock(plan.container, sight.key)
                if self._stands(tx, plan, sight, verdict):
                    plan.followed(tx, sight, verdict, _do(tx, plan, sight, verdict))
            if done is not None:
                tx.run(NOTE, done, plan.container)

        if decided or done is not None:
            try:
                self._store.act(job)
            except Missing:
                return  # the container is gone, and everything in it

    def _stands(self, tx: Transaction, plan: Plan, sight: Sight, verdict: Verdict) -> bool:
        """Whether a version is still what was seen, and the verdict the same."""
        found = versions.find(tx, plan.container, sight.key, sight.version)
        if found is None or found[1].rank != sight.rank or found[0] != sight.shelf:
            return False
        newest = versions.find(tx, plan.container, sight.key, None)
        if newest is None or (newest[1].rank == sight.rank) != (sight.since is None):
            return False
        if sight.marker and sight.alone and tx.one(OF_KEY, plan.container, sight.key) != (1,):
            return False
        head: Head = found[1]
        now = sight._replace(modified=head.modified, storage=head.storage, tags=head.tags, terms=head.terms)
        return plan.judge(now) == verdict

    def _end_uploads(self, plan: Plan) -> Iterator[int]:
        after, at = b"", None
        while True:
            page = listing.uploads(self._store.ledger.read(), plan.container, b"", b"", after, at, PAGE)
            for one in page.entries:
                if plan.ends(one):
                    self._end_upload(plan, one)
            if not page.more:
                return
            yield len(page.entries)
            last = page.entries[-1]
            after, at = last.key, (last.opened, last.id)

    def _end_upload(self, plan: Plan, one: Open) -> None:
        def job(tx: Transaction) -> None:
            tx.lock(plan.container, one.key)
            uploads.abort(tx, plan.container, one.key, one.id)

        try:
            self._store.act(job)
        except Missing:
            return  # completed or aborted meanwhile
        plan.ended(one)


def _do(tx: Transaction, plan: Plan, sight: Sight, verdict: Verdict) -> Deleted | None:
    if verdict.fate is Fate.MOVE:
        revise = versions.Amendment(storage=verdict.storage)
        versions.amend(tx, plan.container, sight.key, sight.version, lambda _: revise)
        return None
    version = None if verdict.fate is Fate.DELETE else sight.version

    def expect(head: Head | None) -> None:
        if head is None or head.rank != sight.rank:
            raise Changed("the version was replaced meanwhile")

    return versions.remove(tx, plan.container, sight.key, version, plan.until, "", expect)
