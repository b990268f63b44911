"""What follows from a change to an object: whoever is to be told, and where it is to be copied.

Asked by every change; where the bucket has no such configuration, the answer is None at once, and nothing is paid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import orjson

from backends.object.containers import Known
from backends.object.ledger import Transaction
from backends.object.store import Also
from backends.object.versions import Deleted, Description, Head, Published
from compat.s3 import replication_document as replication
from compat.s3.replication_document import plan_of
from compat.s3.telling import Thing, cause_of, outbox, tell

if TYPE_CHECKING:
    from compat.context import Context


def marked(bucket: Known, key: str, about: Description) -> Description:
    """A new version as it is to be kept: it says where it is to be copied."""
    return about if "replication" not in bucket.documents else replication.marked(bucket, key, about)


def is_silent(bucket: Known) -> bool:
    """Whether nothing follows from any change."""
    return "notification" not in bucket.documents and "replication" not in bucket.documents


def created(
    ctx: Context, bucket: Known, key: str, event: str, about: Callable[[], Description]
) -> Also[Published] | None:
    """What follows from a new version; `about` gives what `marked` made of it, once it is there."""
    if is_silent(bucket):
        return None

    def also(tx: Transaction, published: Published) -> None:
        made = about()
        if "notification" in bucket.documents:
            thing = Thing(key, published.version, made.size, made.etag)
            tell(ctx.cloud, tx, bucket, event, cause_of(ctx), thing)
        if published.version and made.terms and (targets := orjson.loads(made.terms).get("replicas")):
            replication.order(ctx.cloud, tx, bucket, key, published.version, list(targets))

    return also


def removed(ctx: Context, bucket: Known, key: str, version: str | None) -> Also[Deleted] | None:
    """What follows from a delete of a key (`version` None) or a version."""
    if is_silent(bucket):
        return None

    def also(tx: Transaction, deleted: Deleted) -> None:
        is_marked = version is None and deleted.marker
        if "notification" in bucket.documents and (is_marked or deleted.found):
            event = "ObjectRemoved:DeleteMarkerCreated" if is_marked else "ObjectRemoved:Delete"
            tell(ctx.cloud, tx, bucket, event, cause_of(ctx), Thing(key, deleted.version))
        if is_marked and deleted.version and (plan := plan_of(bucket)) is not None:
            targets = [rule.bucket for rule in plan.targets(key, {}) if rule.markers]
            replication.order(ctx.cloud, tx, bucket, key, deleted.version, targets)

    return also


def amended(ctx: Context, bucket: Known, key: str, event: str) -> Also[Head] | None:
    """What follows from a change of tags, lists or terms; `event` is empty where nobody is told of it."""
    if is_silent(bucket):
        return None

    def also(tx: Transaction, head: Head) -> None:
        if event and "notification" in bucket.documents:
            bridged = {"source-storage-class": head.storage} if event == "ObjectRestore:Post" else {}
            thing = Thing(key, head.version, head.size, head.etag, bridged=bridged)
            tell(ctx.cloud, tx, bucket, event, cause_of(ctx), thing)
        if head.version and head.terms and (targets := replication.followers(bucket, key, head)):
            replication.order(ctx.cloud, tx, bucket, key, head.version, targets)

    return also


def wake(ctx: Context, also: object) -> None:
    """After a change: have what followed from it done soon."""
    if also is not None:
        outbox(ctx.cloud).wake()
