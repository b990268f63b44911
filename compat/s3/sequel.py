"""What follows from a change to an object: whoever is to be told, and what is to be copied elsewhere.

Asked by every change; where the bucket has no such configuration, the answer is None at once, and nothing is paid.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from backends.object.containers import Known
from backends.object.ledger import Transaction
from backends.object.store import Also
from backends.object.versions import Deleted, Description, Head, Published
from compat.s3.telling import Thing, cause_of, outbox, tell

if TYPE_CHECKING:
    from compat.context import Context


def created(
    ctx: Context, bucket: Known, key: str, event: str, about: Callable[[], Description]
) -> Also[Published] | None:
    """What follows from a new version; `about` tells of it once it is there."""
    if "notification" not in bucket.documents:
        return None

    def also(tx: Transaction, published: Published) -> None:
        made = about()
        thing = Thing(key, published.version, made.size, made.etag)
        tell(ctx.cloud, tx, bucket, event, cause_of(ctx), thing)

    return also


def removed(ctx: Context, bucket: Known, key: str, version: str | None) -> Also[Deleted] | None:
    """What follows from a delete of a key (`version` None) or a version."""
    if "notification" not in bucket.documents:
        return None

    def also(tx: Transaction, deleted: Deleted) -> None:
        marked = version is None and deleted.marker
        if not marked and not deleted.found:
            return
        event = "ObjectRemoved:DeleteMarkerCreated" if marked else "ObjectRemoved:Delete"
        tell(ctx.cloud, tx, bucket, event, cause_of(ctx), Thing(key, deleted.version))

    return also


def amended(ctx: Context, bucket: Known, key: str, event: str) -> Also[Head] | None:
    """What follows from a change of tags, lists or terms; `event` is empty where nobody is told of it."""
    if "notification" not in bucket.documents:
        return None

    def also(tx: Transaction, head: Head) -> None:
        if event:
            tell(ctx.cloud, tx, bucket, event, cause_of(ctx), Thing(key, head.version, head.size, head.etag))

    return also


def wake(ctx: Context, also: object) -> None:
    """After a change: have what followed from it done soon."""
    if also is not None:
        outbox(ctx.cloud).wake()
