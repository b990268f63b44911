"""What a lifecycle configuration says of an object: rules compiled once, asked by rounds and by answers' headers.

Days are counted from a moment and rounded up to the next midnight, UTC. A day is as long as the operator says.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import orjson

from backends.db import EPOCH, MICROSECOND
from backends.object.containers import Known
from backends.object.listing import Open
from backends.object.rounds import Fate, Sight, Verdict
from compat.s3.documents import rich
from compat.s3.locking import is_locked

if TYPE_CHECKING:
    from compat.context import Context

WATERFALL = (
    "STANDARD",
    "REDUCED_REDUNDANCY",
    "STANDARD_IA",
    "INTELLIGENT_TIERING",
    "ONEZONE_IA",
    "GLACIER_IR",
    "GLACIER",
    "DEEP_ARCHIVE",
)
"""Storage classes from the first to the last: objects only move down."""
SMALLEST = 128 << 10
"""Bytes below which AWS does not move an object, unless a rule names sizes itself."""
VARIES = "varies_by_storage_class"
ARCHIVES = ("GLACIER", "DEEP_ARCHIVE")


class When(NamedTuple):
    """After so many days, or on a date (microseconds since 1970)."""

    days: int | None
    date: int | None

    def at(self, start: int, day: int) -> int:
        """The moment for something that began at `start`; `day` in microseconds."""
        if self.date is not None:
            return self.date
        assert self.days is not None
        return -((start + self.days * day) // -day) * day


class Move(NamedTuple):
    """A transition; `spared`: how many of the newest replaced versions stay (replaced versions only)."""

    when: When
    storage: str
    spared: int = 0


class Rule(NamedTuple):
    """An enabled rule."""

    id: str
    prefix: bytes
    tags: tuple[tuple[str, str], ...]
    above: int | None
    below: int | None
    expire: When | None
    markers: bool
    moves: tuple[Move, ...]
    stale: Move | None
    stale_moves: tuple[Move, ...]
    unfinished: When | None

    def fits(self, key: bytes, size: int, tags: Mapping[str, str]) -> bool:
        """Whether the rule's filter lets an object through."""
        return (
            key.startswith(self.prefix)
            and (self.above is None or size > self.above)
            and (self.below is None or size < self.below)
            and all(tags.get(name) == value for name, value in self.tags)
        )


class Rules(NamedTuple):
    """The enabled rules of a bucket. `day`: microseconds; `varies`: small objects may be archived."""

    rules: tuple[Rule, ...]
    day: int
    varies: bool

    def midnight(self, now: int) -> int:
        """The last midnight: up to then everything is to have come true."""
        return now // self.day * self.day

    def expiry(self, key: bytes, size: int, tags: str, modified: int) -> tuple[int, str] | None:
        """When the newest version of a key expires, and by which rule."""
        named = _tags(tags)
        found = [
            (rule.expire.at(modified, self.day), rule.id)
            for rule in self.rules
            if rule.expire is not None and rule.fits(key, size, named)
        ]
        return min(found, key=lambda one: one[0], default=None)  # the first of those that come together

    def abortion(self, key: bytes, opened: int) -> tuple[int, str] | None:
        """When an open upload is dropped, and by which rule."""
        found = [
            (rule.unfinished.at(opened, self.day), rule.id)
            for rule in self.rules
            if rule.unfinished is not None and key.startswith(rule.prefix)
        ]
        return min(found, default=None)

    def ends(self, one: Open, now: int) -> bool:
        """Whether an open upload is to be dropped."""
        due = self.abortion(one.key, one.opened)
        return due is not None and due[0] <= now

    def judge(self, sight: Sight, now: int) -> Verdict | None:
        """What has become of a version by now. To expire comes before to move."""
        named = _tags(sight.tags)
        rules = [rule for rule in self.rules if rule.fits(sight.key, sight.size, named)]
        if not rules or '"replication":"PENDING"' in sight.terms:  # what is still to be copied waits for that
            return None
        if sight.since is not None:
            return self._replaced(sight, sight.since, rules, now)
        if sight.marker:
            return Verdict(Fate.REMOVE) if sight.alone and self._is_over(sight, rules, now) else None
        if any(rule.expire is not None and rule.expire.at(sight.modified, self.day) <= now for rule in rules):
            return Verdict(Fate.DELETE)
        due = [
            move.storage
            for rule in rules
            for move in rule.moves
            if self._may_move(rule, sight, move.storage) and move.when.at(sight.modified, self.day) <= now
        ]
        return _move(sight, due)

    def _is_over(self, marker: Sight, rules: Sequence[Rule], now: int) -> bool:
        return any(
            rule.markers
            or (rule.expire is not None and not rule.tags and rule.expire.at(marker.modified, self.day) <= now)
            for rule in rules
        )

    def _replaced(self, sight: Sight, since: int, rules: Sequence[Rule], now: int) -> Verdict | None:
        for rule in rules:
            stale = rule.stale
            if stale is not None and sight.behind >= stale.spared and stale.when.at(since, self.day) <= now:
                terms = orjson.loads(sight.terms) if sight.terms else {}
                if not is_locked(terms, now):
                    return Verdict(Fate.REMOVE)
        if sight.marker:
            return None
        due = [
            move.storage
            for rule in rules
            for move in rule.stale_moves
            if sight.behind >= move.spared
            and self._may_move(rule, sight, move.storage)
            and move.when.at(since, self.day) <= now
        ]
        return _move(sight, due)

    def _may_move(self, rule: Rule, sight: Sight, storage: str) -> bool:
        if sight.size >= SMALLEST or rule.above is not None or rule.below is not None:
            return True
        return self.varies and storage in ARCHIVES


def _move(sight: Sight, due: Iterable[str]) -> Verdict | None:
    """To the last class that is due, if that is further down."""
    last = max(due, key=WATERFALL.index, default=None)
    if last is None or WATERFALL.index(last) <= WATERFALL.index(sight.storage or "STANDARD"):
        return None
    return Verdict(Fate.MOVE, last)


def _tags(text: str) -> dict[str, str]:
    return dict(orjson.loads(text)) if text else {}


# --- from documents ---------------------------------------------------------------------------------------------------

_compiled: dict[int, tuple[Any, Rules]] = {}
_MOST_KEPT = 1024


def rules_of(bucket: Known, day: int) -> Rules | None:
    """The compiled lifecycle configuration of a bucket; None where it has none. `day` in seconds."""
    document = bucket.documents.get("lifecycle")
    if document is None:
        return None
    found = _compiled.get(bucket.number)
    if found is None or found[0] is not document or found[1].day != day * 1_000_000:
        if len(_compiled) > _MOST_KEPT:
            _compiled.clear()
        found = _compiled[bucket.number] = (document, _compile(rich(document), day))
    return found[1]


def _compile(document: dict[str, Any], day: int) -> Rules:
    enabled = [rule for rule in document["Rules"] if rule["Status"] == "Enabled"]
    varies = document.get("TransitionDefaultMinimumObjectSize") == VARIES
    return Rules(tuple(_rule(rule) for rule in enabled), day * 1_000_000, varies)


def _rule(rule: dict[str, Any]) -> Rule:
    given = rule.get("Filter") or {}
    both = given.get("And") or given
    tags = both.get("Tags") or ([both["Tag"]] if both.get("Tag") else [])
    expire, stale = rule.get("Expiration"), rule.get("NoncurrentVersionExpiration")
    unfinished = rule.get("AbortIncompleteMultipartUpload")
    return Rule(
        id=rule["ID"],
        prefix=(rule.get("Prefix") or both.get("Prefix") or "").encode(),
        tags=tuple((tag["Key"], tag["Value"]) for tag in tags),
        above=both.get("ObjectSizeGreaterThan"),
        below=both.get("ObjectSizeLessThan"),
        expire=_when(expire) if expire and ("Days" in expire or "Date" in expire) else None,
        markers=bool(expire and expire.get("ExpiredObjectDeleteMarker")),
        moves=tuple(Move(_when(one), one["StorageClass"]) for one in rule.get("Transitions") or ()),
        stale=None if not stale else Move(_when(stale), "", stale.get("NewerNoncurrentVersions") or 0),
        stale_moves=tuple(
            Move(_when(one), one["StorageClass"], one.get("NewerNoncurrentVersions") or 0)
            for one in rule.get("NoncurrentVersionTransitions") or ()
        ),
        unfinished=When(unfinished["DaysAfterInitiation"], None) if unfinished else None,
    )


def _when(action: dict[str, Any]) -> When:
    date: datetime | None = action.get("Date")
    days = action.get("Days", action.get("NoncurrentDays"))
    return When(days if date is None else None, None if date is None else (date - EPOCH) // MICROSECOND)


# --- for answers ------------------------------------------------------------------------------------------------------


def show_expiration(
    ctx: Context, bucket: Known, key: str, size: int, tags: str, modified: int, result: dict[str, Any]
) -> None:
    """Add `x-amz-expiration` to an answer about the newest version, where a rule expires it. Directory buckets keep it
    to themselves, and say so."""
    if "directory" in bucket.documents:
        result["Expiration"] = "NotImplemented"
        return
    rules = rules_of(bucket, ctx.rules.lifecycle_day)
    due = None if rules is None else rules.expiry(key.encode(), size, tags, modified)
    if due is not None:
        result["Expiration"] = _header(*due)


def show_abortion(ctx: Context, bucket: Known, key: str, opened: int, result: dict[str, Any]) -> None:
    """Add `x-amz-abort-date` and its rule to an answer about an open upload, where a rule drops it."""
    rules = None if "directory" in bucket.documents else rules_of(bucket, ctx.rules.lifecycle_day)
    due = None if rules is None else rules.abortion(key.encode(), opened)
    if due is not None:
        result["AbortDate"], result["AbortRuleId"] = EPOCH + due[0] * MICROSECOND, due[1]


@lru_cache(1024)
def _header(at: int, rule: str) -> str:
    moment = EPOCH + at * MICROSECOND
    return f'expiry-date="{moment.strftime("%a, %d %b %Y %H:%M:%S GMT")}", rule-id="{quote(rule, safe="")}"'
