"""DeleteSnapshot: not of locked snapshots, nor of those that an image needs."""

from __future__ import annotations

from datetime import datetime

from backends.errors import InUse
from backends.volume.models import Snapshot
from compat.context import Context
from compat.ec2.fast_restores import forget_restores
from compat.ec2.snapshots import LOCK, own_snapshot, snapshot_arn
from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.tags import drop_tags


def delete(ctx: Context, row: Snapshot) -> None:
    """Delete a snapshot with what is kept about it. Raises SnapshotLocked, and natively `InUse`."""
    lock = row.notes.get(LOCK)
    if lock is not None and datetime.fromisoformat(lock["ends"]) > ctx.now:
        raise AWSError(
            "SnapshotLocked", f"The snapshot {row.id} is locked in {lock['mode']} mode, until {lock['ends']}."
        )
    ctx.volumes.remove_snapshot(row)
    forget_restores(ctx, row.id)
    drop_tags(ctx, row.id)


@operation(
    "ec2:DeleteSnapshot",
    on=lambda ctx, p: [snapshot_arn(ctx, p["SnapshotId"])],
    raises={
        InUse: lambda fact: AWSError(
            "InvalidSnapshot.InUse", f"The snapshot {fact.snapshot} is currently in use by {fact.by}"
        )
    },
)
def delete_snapshot(ctx: Context, p: Params) -> Result:
    """Delete a snapshot that no image needs and that is not locked."""
    delete(ctx, own_snapshot(ctx, p["SnapshotId"]))
    return {}
