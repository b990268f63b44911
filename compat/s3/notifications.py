"""A bucket's notification configuration: put, and shown. Who is named in it gets a record of a test at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat.operation import Params, Result, operation
from compat.s3 import faults
from compat.s3.documents import keep, rich
from compat.s3.notification_document import EVENT_BRIDGE, KINDS, check
from compat.s3.places import bucket_of
from compat.s3.telling import tell_of_test

if TYPE_CHECKING:
    from compat.context import Context


@operation("s3:PutBucketNotificationConfiguration", on="{Bucket}", action="s3:PutBucketNotification")
def put_bucket_notification_configuration(ctx: Context, p: Params) -> None:
    bucket, document = bucket_of(ctx, p), p.get("NotificationConfiguration")
    if document is None:
        raise faults.malformed()
    targets = check(bucket, document)
    if not any(document.get(member) for member in KINDS) and EVENT_BRIDGE not in document:
        ctx.containers.drop_document(bucket.name, "notification")
        return
    keep(ctx, bucket, "notification", document)
    tell_of_test(ctx, bucket, targets)


@operation("s3:GetBucketNotificationConfiguration", on="{Bucket}", action="s3:GetBucketNotification", streams=True)
def get_bucket_notification_configuration(ctx: Context, p: Params) -> Result:
    shown: Result = rich(bucket_of(ctx, p).documents.get("notification") or {})
    return shown
