"""Lifecycle configurations: what S3 takes for one, and how a bucket gets and loses it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.s3 import faults
from compat.s3.directory_rules import is_directory
from compat.s3.documents import deleter, document_of, keep
from compat.s3.lifecycle_rules import VARIES, WATERFALL
from compat.s3.places import bucket_of

if TYPE_CHECKING:
    from compat.context import Context

SIZES = ("all_storage_classes_128K", VARIES)
MOST_RULES = 1000
MOST_ID = 255
MOST_PREFIX = 1024
MOST_SPARED = 100
FARTHEST = 2**31 - 1
TARGETS = frozenset(WATERFALL[2:])
INFREQUENT = ("STANDARD_IA", "ONEZONE_IA")
PREDICATES = ("Prefix", "Tag", "ObjectSizeGreaterThan", "ObjectSizeLessThan", "And")
SIZE_PREDICATES = PREDICATES[2:4]
Document = dict[str, Any]


def check(rules: list[Document]) -> None:
    """Refuse what S3 refuses."""
    if not 1 <= len(rules) <= MOST_RULES:
        raise faults.malformed()
    ids = [rule["ID"] for rule in rules if rule.get("ID")]
    if any(len(id) > MOST_ID for id in ids):
        raise faults.invalid_argument("ID length should not exceed allowed limit of 255")
    if len(set(ids)) != len(ids):
        raise faults.invalid_argument("Rule ID must be unique. Found same ID for more than one rule")
    for rule in rules:
        if rule.get("Status") not in ("Enabled", "Disabled") or ("Filter" in rule) == ("Prefix" in rule):
            raise faults.malformed()
        both = _check_filter(rule.get("Filter") or {})
        prefix = rule.get("Prefix") or both.get("Prefix") or ""
        if len(prefix.encode()) > MOST_PREFIX:
            raise faults.invalid_request("The maximum size of a prefix is 1024.")
        _check_actions(rule, both, prefix)


def _check_filter(given: Document) -> Document:
    """The predicates of a filter, taken together."""
    named = [name for name in PREDICATES if given.get(name) is not None]
    if len(named) > 1:
        raise faults.malformed()
    both: Document = given.get("And") or {}
    if "And" in named:
        tags = both.get("Tags") or []
        if len(tags) + sum(both.get(name) is not None for name in ("Prefix", *SIZE_PREDICATES)) < 2:
            raise faults.malformed()
        if len({tag.get("Key") for tag in tags}) != len(tags):
            raise faults.invalid_request("Duplicate Tag Keys are not allowed.")
    else:
        both = given | {"Tags": [given["Tag"]] if given.get("Tag") else []}
    for tag in both.get("Tags") or ():
        key, value = tag.get("Key"), tag.get("Value")
        if not key or len(key) > 128:
            raise AWSError("InvalidTag", "The TagKey you have provided is invalid", 400, TagKey=key)
        if value is None or len(value) > 256:
            raise AWSError("InvalidTag", "The TagValue you have provided is invalid", 400, TagKey=key, TagValue=value)
    above, below = (both.get(name) for name in SIZE_PREDICATES)
    for name, size in zip(SIZE_PREDICATES, (above, below), strict=True):
        if size is not None and size < (name == "ObjectSizeLessThan"):
            raise faults.invalid_request(f"'{name}' should be a positive number")
    if above is not None and below is not None and above >= below:
        raise faults.invalid_request("'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'.")
    return both


def _check_actions(rule: Document, both: Document, prefix: str) -> None:
    expire, moves = rule.get("Expiration"), rule.get("Transitions") or []
    stale, stale_moves = rule.get("NoncurrentVersionExpiration"), rule.get("NoncurrentVersionTransitions") or []
    unfinished = rule.get("AbortIncompleteMultipartUpload")
    if expire is None and stale is None and unfinished is None and not moves and not stale_moves:
        raise faults.invalid_request("At least one action needs to be specified in a rule.")
    sized = any(both.get(name) is not None for name in SIZE_PREDICATES)
    if expire is not None:
        _check_expiration(expire, both, sized)
    _check_moves(moves, expire or {}, prefix)
    _check_stale(stale, stale_moves, prefix)
    if unfinished is not None:
        if both.get("Tags"):
            raise faults.invalid_request("AbortIncompleteMultipartUpload cannot be specified with Tags.")
        if sized:
            raise faults.invalid_request("AbortIncompleteMultipartUpload cannot be specified with Object Size.")
        _check_days(unfinished.get("DaysAfterInitiation"), "DaysAfterInitiation", "AbortIncompleteMultipartUpload")


def _check_expiration(expire: Document, both: Document, sized: bool) -> None:
    named = [name for name in ("Days", "Date", "ExpiredObjectDeleteMarker") if expire.get(name) is not None]
    if len(named) != 1:
        raise faults.malformed()
    if named == ["ExpiredObjectDeleteMarker"]:
        if both.get("Tags"):
            raise faults.invalid_request("ExpiredObjectDeleteMarker cannot be specified with Tags.")
        if sized:
            raise faults.invalid_request("ExpiredObjectDeleteMarker cannot be specified with Object Size.")
    _check_when(expire, "Expiration", least=1)


def _check_when(action: Document, name: str, *, least: int) -> None:
    date = action.get("Date")
    if action.get("Days") is not None:
        _check_days(action["Days"], "Days", name, least=least)
    if date is not None and (date.hour, date.minute, date.second, date.microsecond) != (0, 0, 0, 0):
        raise faults.invalid_argument("'Date' must be at midnight GMT", "Date", f"{date:%Y-%m-%dT%H:%M:%SZ}")


def _check_days(days: int | None, member: str, action: str, *, least: int = 1) -> None:
    if days is None:
        raise faults.malformed()
    if not least <= days <= FARTHEST:
        word = "positive" if least else "nonnegative"
        raise faults.invalid_argument(f"'{member}' for {action} action must be a {word} integer")


def _check_moves(moves: list[Document], expire: Document, prefix: str) -> None:
    for move in moves:
        if sum(move.get(name) is not None for name in ("Days", "Date")) != 1:
            raise faults.malformed()
        _check_class(move)
        _check_when(move, "Transition", least=0)
    kinds = {"Days" if "Days" in one else "Date" for one in (*moves, expire) if "Days" in one or "Date" in one}
    if len(kinds) > 1:
        raise faults.invalid_request(
            "Found mixed 'Date' and 'Days' based Expiration and Transition actions in lifecycle rule for prefix "
            f"'{prefix}'"
        )
    _check_different(moves, "Transition", prefix)
    if kinds == {"Days"}:
        _check_order(((move["StorageClass"], move["Days"]) for move in moves), "Transition", "Days", prefix)
        last = max((move["Days"] for move in moves), default=None)
        if last is not None and expire.get("Days") is not None and expire["Days"] <= last:
            raise faults.invalid_argument(
                f"'Days' in the Expiration action for prefix '{prefix}' must be greater than 'Days' in the Transition "
                "action"
            )
    elif kinds == {"Date"}:
        last = max((move["Date"] for move in moves), default=None)
        if last is not None and expire.get("Date") is not None and expire["Date"] <= last:
            raise faults.invalid_argument(
                f"'Date' in the Expiration action for prefix '{prefix}' must be later than 'Date' in the Transition "
                "action"
            )


def _check_class(move: Document) -> None:
    if move.get("StorageClass") not in TARGETS:
        raise faults.malformed()


def _check_different(moves: list[Document], name: str, prefix: str) -> None:
    if len({move["StorageClass"] for move in moves}) != len(moves):
        raise faults.invalid_request(
            f"'StorageClass' must be different for '{name}' actions in same 'Rule' with prefix '{prefix}'"
        )


def _check_order(moves: Iterable[tuple[str, int]], name: str, member: str, prefix: str) -> None:
    """Infrequent access begins after 30 days, and lasts 30 days before anything colder follows."""
    ordered = sorted(moves, key=lambda move: WATERFALL.index(move[0]))
    for storage, days in ordered:
        if storage in INFREQUENT and days < 30:
            raise faults.invalid_argument(
                f"'{member}' in {name} action must be greater than or equal to 30 for storageClass '{storage}'"
            )
    for (former, before), (storage, days) in zip(ordered, ordered[1:], strict=False):
        least = before + 30 if former in INFREQUENT else before + 1
        if days < least:
            distance = f"{30} days more than" if former in INFREQUENT else "greater than"
            raise faults.invalid_argument(
                f"'{member}' in the '{storage}' {name} action for prefix '{prefix}' must be {distance} '{member}' in "
                f"the '{former}' {name} action"
            )


def _check_stale(stale: Document | None, moves: list[Document], prefix: str) -> None:
    for move in moves:
        _check_class(move)
        _check_days(move.get("NoncurrentDays"), "NoncurrentDays", "NoncurrentVersionTransition", least=0)
        _check_spared(move, "NoncurrentVersionTransition")
    _check_different(moves, "NoncurrentVersionTransition", prefix)
    days = [(move["StorageClass"], move["NoncurrentDays"]) for move in moves]
    _check_order(days, "NoncurrentVersionTransition", "NoncurrentDays", prefix)
    if stale is None:
        return
    _check_days(stale.get("NoncurrentDays"), "NoncurrentDays", "NoncurrentVersionExpiration")
    _check_spared(stale, "NoncurrentVersionExpiration")
    last = max((count for _, count in days), default=None)
    if last is not None and stale["NoncurrentDays"] <= last:
        raise faults.invalid_argument(
            f"'NoncurrentDays' in the NoncurrentVersionExpiration action for prefix '{prefix}' must be greater than "
            "'NoncurrentDays' in the NoncurrentVersionTransition action"
        )


def _check_spared(action: Document, name: str) -> None:
    spared = action.get("NewerNoncurrentVersions")
    if spared is not None and not 1 <= spared <= MOST_SPARED:
        raise faults.invalid_argument(
            f"'NewerNoncurrentVersions' for {name} action must be a positive integer not greater than {MOST_SPARED}"
        )


def _check_directory(rules: list[Document]) -> None:
    """Refuse what rules of a directory bucket cannot do: its objects only end, and have no tags."""
    for rule in rules:
        given = rule.get("Filter") or {}
        if rule.keys() & {"Transitions", "NoncurrentVersionTransitions", "NoncurrentVersionExpiration"}:
            raise faults.invalid_request("Rules of a directory bucket only expire objects and abort uploads.")
        if "Tag" in given or (given.get("And") or {}).get("Tags"):
            raise faults.invalid_request("Rules of a directory bucket do not filter by tags.")


@operation("s3:PutBucketLifecycleConfiguration", on="{Bucket}", action="s3:PutLifecycleConfiguration")
def put_bucket_lifecycle_configuration(ctx: Context, p: Params) -> Result:
    bucket = bucket_of(ctx, p)
    rules = (p.get("LifecycleConfiguration") or {}).get("Rules") or []
    check(rules)
    if is_directory(bucket.name):
        _check_directory(rules)
    size = p.get("TransitionDefaultMinimumObjectSize") or SIZES[0]
    if size not in SIZES:
        raise faults.invalid_request(f"Invalid TransitionDefaultMinimumObjectSize found: {size}")
    for number, rule in enumerate(rules):
        if not rule.get("ID"):
            rule["ID"] = f"{ctx.request_id}-{number}" if number else ctx.request_id
    keep(ctx, bucket, "lifecycle", {"Rules": rules, "TransitionDefaultMinimumObjectSize": size})
    ctx.unit.nudge("life")
    return {"TransitionDefaultMinimumObjectSize": size}


@operation("s3:GetBucketLifecycleConfiguration", on="{Bucket}", action="s3:GetLifecycleConfiguration", streams=True)
def get_bucket_lifecycle_configuration(ctx: Context, p: Params) -> Result:
    return document_of(bucket_of(ctx, p), "lifecycle")


deleter("s3:DeleteBucketLifecycle", "lifecycle", action="s3:PutLifecycleConfiguration")
