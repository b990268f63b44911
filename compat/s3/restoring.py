"""Archived objects: refused until a copy has been asked for and made; for how long the copy stays.

Nothing moves here: the copy is there from one moment to another, by the cloud's clock. AWS names the times; an hour is
a twenty-fourth of what lifecycle rules take for a day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backends.errors import Missing
from backends.object.ledger import Transaction
from backends.object.versions import Head
from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.s3 import faults, properties, sequel
from compat.s3.places import bucket_of, key_of, version_of
from compat.s3.restored import GONE, THERE, watch
from compat.s3.terms import Terms, is_restored, is_restoring, revision, terms_of

if TYPE_CHECKING:
    from compat.context import Context

MINUTES = {
    ("GLACIER", "Expedited"): 5,
    ("GLACIER", "Standard"): 5 * 60,
    ("GLACIER", "Bulk"): 12 * 60,
    ("DEEP_ARCHIVE", "Standard"): 12 * 60,
    ("DEEP_ARCHIVE", "Bulk"): 48 * 60,
}
"""How long it takes at most, by storage class and tier."""
TIERS = ("Expedited", "Standard", "Bulk")
MOST_DAYS = 2**31 - 1


def check_readable(ctx: Context, head: Head) -> None:
    """Refuse an archived object of which there is no copy."""
    if _is_away(ctx, head):
        raise AWSError(
            "InvalidObjectState",
            "The operation is not valid for the object's storage class",
            403,
            StorageClass=head.storage,
        )


def check_copyable(ctx: Context, head: Head) -> None:
    """The same of the source of a copy."""
    if _is_away(ctx, head):
        raise AWSError(
            "ObjectNotInActiveTierError",
            "The source object of the COPY action is not in the active tier and is only stored in Amazon S3 Glacier.",
            403,
        )


def _is_away(ctx: Context, head: Head) -> bool:
    return head.storage in properties.ARCHIVED and not is_restored(terms_of(head), properties.now(ctx))


@operation("s3:RestoreObject", on="{Bucket}/{Key}", streams=True)
def restore_object(ctx: Context, p: Params) -> Result:
    bucket, key, version = bucket_of(ctx, p), key_of(p), version_of(p)
    head = ctx.objects.head(bucket.number, key, version)
    if head is None or (head.marker and version is None):
        raise faults.no_such_key(key) if version is None else faults.no_such_version(key, p["VersionId"])
    if head.marker:
        raise faults.method_not_allowed("POST", "DeleteMarker", {"x-amz-delete-marker": "true", "Allow": "DELETE"})
    days, tier = _asked(p.get("RestoreRequest") or {})
    now, day = properties.now(ctx), ctx.rules.lifecycle_day * 1_000_000
    statuses: list[int] = []
    moments: list[int] = []

    def change(terms: Terms, now_head: Head) -> None:
        if now_head.storage not in properties.ARCHIVED:
            raise AWSError(
                "InvalidObjectState",
                "Restore is not allowed for the object's current storage class",
                403,
                StorageClass=now_head.storage or "STANDARD",
            )
        minutes = MINUTES.get((now_head.storage, tier))
        if minutes is None:
            raise faults.invalid_argument("Retrieval option is not supported by this storage class", "Tier", tier)
        ready = now + minutes * day // 1440
        statuses[:] = [202]
        if is_restoring(terms, now):
            if ready >= terms["restore"]["ready"]:
                raise AWSError("RestoreAlreadyInProgress", "Object restore is already in progress", 409)
        elif is_restored(terms, now):
            ready = terms["restore"]["ready"]
            statuses[:] = [200]
        begins = max(ready, now)
        moments[:] = [ready, -((begins + days * day) // -day) * day]
        terms["restore"] = {"ready": ready, "ends": moments[1]}

    try:
        told = sequel.amended(ctx, bucket, key, "ObjectRestore:Post")

        def also(tx: Transaction, before: Head) -> None:
            if told is not None:
                told(tx, before)
                what, due = (THERE, moments[0]) if statuses[0] == 202 else (GONE, moments[1])
                watch(ctx.cloud, tx, bucket, key.encode(), before.version, what, due)

        ctx.objects.amend(bucket.number, key, head.version, revision(change), also)
        sequel.wake(ctx, told)
    except Missing:
        raise faults.no_such_key(key) from None
    return {"$status": statuses[0]}


def _asked(request: dict[str, Any]) -> tuple[int, str]:
    """For how many days a copy is asked, and by which tier."""
    if request.get("Type") is not None or request.get("SelectParameters") or request.get("OutputLocation"):
        raise faults.not_offered("A restore that selects (at AWS, S3 Select is closed to new customers)")
    days = request.get("Days")
    tier = (request.get("GlacierJobParameters") or {}).get("Tier") or request.get("Tier") or "Standard"
    if tier not in TIERS or days is None:
        raise faults.malformed()
    if not 1 <= days <= MOST_DAYS:
        raise faults.invalid_argument("Days must be a positive integer", "Days", days)
    return days, tier
