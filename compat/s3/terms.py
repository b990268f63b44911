"""The terms under which a version is kept: Object Lock, restored copies, replication. One JSON text, empty for none.

    {"mode": "GOVERNANCE", "until": µs, "event": "ON", "term": {"Days": 1}, "hold": "ON", "replication": "PENDING",
     "restore": {"ready": µs, "ends": µs}}

Times count microseconds since 1970.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from backends.db import EPOCH, MICROSECOND
from backends.object.versions import Amendment, Head, Revise
from compat.iam.authorize import ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from backends.object.containers import Known
    from compat.context import Context
    from compat.operation import Result

DAY = 86_400_000_000
Terms = dict[str, Any]
RETENTION = ("mode", "until", "event", "term")
"""What terms say of a retention."""


def terms_of(head: Head) -> Terms:
    """What is kept of a version, as a dict of its own."""
    return orjson.loads(head.terms) if head.terms else {}


def kept(terms: Terms) -> str:
    """Terms as they are kept."""
    return orjson.dumps(terms).decode() if terms else ""


def revision(change: Callable[[Terms, Head], None]) -> Revise:
    """A change of a version's terms, for `ObjectStore.amend`: `change` edits the dict, or raises."""

    def revise(head: Head) -> Amendment | None:
        terms = terms_of(head)
        change(terms, head)
        text = kept(terms)
        return None if text == head.terms else Amendment(terms=text)

    return revise


def show(ctx: Context, bucket: Known, key: str, head: Head, result: Result) -> None:
    """Add what a version's terms say to an answer; the lock only for those who may ask for it."""
    terms = terms_of(head)
    if "mode" in terms and _may(ctx, "s3:GetObjectRetention", bucket, key):
        result["ObjectLockMode"] = terms["mode"]
        if terms["until"]:
            result["ObjectLockRetainUntilDate"] = EPOCH + terms["until"] * MICROSECOND
        if "event" in terms:
            result["ObjectLockEventHold"] = terms["event"]
            result |= {f"ObjectLockEventHoldDuration{name}": number for name, number in terms["term"].items()}
    if "hold" in terms and _may(ctx, "s3:GetObjectLegalHold", bucket, key):
        result["ObjectLockLegalHoldStatus"] = terms["hold"]
    if "replication" in terms:
        result["ReplicationStatus"] = terms["replication"]
    if "restore" in terms and (shown := restored(terms, (ctx.now - EPOCH) // MICROSECOND)) is not None:
        result["Restore"] = shown


def _may(ctx: Context, action: str, bucket: Known, key: str) -> bool:
    return ctx.rules.auth != "enforce" or ask(ctx, action, f"arn:{ctx.partition}:s3:::{bucket.name}/{key}").allowed


def is_restored(terms: Terms, now: int) -> bool:
    """Whether a copy of an archived object can be read."""
    restore = terms.get("restore")
    return restore is not None and restore["ready"] <= now and now < restore["ends"]


def is_restoring(terms: Terms, now: int) -> bool:
    """Whether such a copy is being made."""
    restore = terms.get("restore")
    return restore is not None and now < restore["ready"]


def restored(terms: Terms, now: int) -> str | None:
    """`x-amz-restore`; None where no copy is there or on its way."""
    if is_restoring(terms, now):
        return 'ongoing-request="true"'
    if not is_restored(terms, now):
        return None
    ends = EPOCH + terms["restore"]["ends"] * MICROSECOND
    return f'ongoing-request="false", expiry-date="{ends.strftime("%a, %d %b %Y %H:%M:%S GMT")}"'
