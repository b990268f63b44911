"""What S3 has had or has elsewhere, and is refused here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat.operation import Params, Result, operation, withheld
from compat.s3 import faults
from compat.s3.places import bucket_of

if TYPE_CHECKING:
    from compat.context import Context


@operation("s3:GetObjectTorrent", on="{Bucket}/{Key}", streams=True)
def get_object_torrent(ctx: Context, p: Params) -> Result:
    """Torrents ended in 2022; there is none of any object."""
    bucket_of(ctx, p)
    raise faults.no_such_key(p["Key"])


withheld("there are no functions that S3 Object Lambda could call", "s3:WriteGetObjectResponse")
withheld(
    "the older form of a newer operation with the same method and path, which answers",
    "s3:GetBucketLifecycle",
    "s3:PutBucketLifecycle",
    "s3:GetBucketNotification",
    "s3:PutBucketNotification",
)
