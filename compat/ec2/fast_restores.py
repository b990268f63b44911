"""Fast snapshot restores: in which zones a snapshot is to make volumes that are fast at once.

Every volume is, here: the books are kept, and nothing else follows. States go on with the time.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import select

from compat.context import Context
from compat.ec2.listing import cut, matching
from compat.ec2.regions import zone_named
from compat.ec2.snapshots import own_snapshot, snapshot_arn
from compat.errors import AWSError
from compat.filters import Filters
from compat.operation import Params, Result, operation
from compat.records import Record, member, record_kind

RESTORES = record_kind(
    "fast-snapshot-restore",
    prefix="fsr-",
    missing="InvalidFastSnapshotRestore.NotFound",
    malformed=None,
    id_member="_id",
)
MOST = 5
"""Zones, of all snapshots together, that an account may enable in a region."""
_STEP = timedelta(seconds=1)
_REASON = "Client.UserInitiated - Lifecycle state transition"


def _state(ctx: Context, row: Record) -> str:
    age = ctx.now - row.created
    return "enabling" if age < _STEP else "optimizing" if age < 2 * _STEP else "enabled"


def _render(ctx: Context, row: Record, state: str | None = None) -> dict[str, Any]:
    state = state or _state(ctx, row)
    answer = {
        "SnapshotId": row.document["SnapshotId"],
        "AvailabilityZone": row.document["AvailabilityZone"],
        "AvailabilityZoneId": row.document["AvailabilityZoneId"],
        "OwnerId": ctx.account,
        "State": state,
        "StateTransitionReason": "Client.UserInitiated" if state in ("enabling", "disabling") else _REASON,
        "EnablingTime": row.created,
    }
    if state in ("optimizing", "enabled", "disabling"):
        answer["OptimizingTime"] = row.created + _STEP
    if state in ("enabled", "disabling"):
        answer["EnabledTime"] = row.created + 2 * _STEP
    return answer | ({"DisablingTime": ctx.now} if state == "disabling" else {})


def _zones(ctx: Context, p: Params) -> list[Any]:
    names, ids = p.get("AvailabilityZones") or (), p.get("AvailabilityZoneIds") or ()
    if not names and not ids:
        raise AWSError("MissingParameter", "The request must contain the parameter AvailabilityZones")
    return [zone_named(ctx, name) for name in names] + [zone_named(ctx, None, id) for id in ids]


def _row(ctx: Context, snapshot: str, zone: str) -> Record | None:
    return RESTORES.named(ctx, f"{snapshot}/{zone}")


def _failed(snapshot: str, zone: Any, code: str, message: str) -> dict[str, Any]:
    error = {
        "AvailabilityZone": zone.name,
        "AvailabilityZoneId": zone.id,
        "Error": {"Code": code, "Message": message},
    }
    return {"SnapshotId": snapshot, "FastSnapshotRestoreStateErrors": [error]}


def _snapshots(ctx: Context, p: Params) -> Sequence[str]:
    return [snapshot_arn(ctx, id) for id in p["SourceSnapshotIds"]]


@operation("ec2:EnableFastSnapshotRestores", on=_snapshots)
def enable_fast_snapshot_restores(ctx: Context, p: Params) -> Result:
    """Let snapshots make fast volumes in zones."""
    done, failed = [], []
    zones = _zones(ctx, p)
    for id in p["SourceSnapshotIds"]:
        snapshot = own_snapshot(ctx, id)
        for zone in zones:
            row = _row(ctx, snapshot.id, zone.name)
            if row is None:
                ctx.unit.flush()
                if len(ctx.session.scalars(select(RESTORES.row.id)).all()) >= MOST:
                    message = f"You have reached the limit of {MOST} fast snapshot restores."
                    failed.append(_failed(id, zone, "FastSnapshotRestoreLimitExceeded", message))
                    continue
                place = {"SnapshotId": id, "AvailabilityZone": zone.name, "AvailabilityZoneId": zone.id}
                row = RESTORES.add(ctx, place, name=f"{id}/{zone.name}")
            done.append(_render(ctx, row))
    return {"Successful": done, "Unsuccessful": failed}


@operation("ec2:DisableFastSnapshotRestores", on=_snapshots)
def disable_fast_snapshot_restores(ctx: Context, p: Params) -> Result:
    """Have it no more."""
    done, failed = [], []
    zones = _zones(ctx, p)
    for id in p["SourceSnapshotIds"]:
        for zone in zones:
            row = _row(ctx, id, zone.name)
            if row is None:
                message = "The fast snapshot restore is not enabled for this snapshot in this Availability Zone."
                failed.append(_failed(id, zone, "InvalidFastSnapshotRestoreState", message))
                continue
            done.append(_render(ctx, row, "disabling"))
            RESTORES.drop(ctx, row)
    return {"Successful": done, "Unsuccessful": failed}


RESTORE_FILTERS: Filters = {
    "availability-zone": member("AvailabilityZone"),
    "availability-zone-id": member("AvailabilityZoneId"),
    "owner-id": RESTORES.row.tenant,
    "snapshot-id": member("SnapshotId"),
    "state": _state,
}


@operation("ec2:DescribeFastSnapshotRestores")
def describe_fast_snapshot_restores(ctx: Context, p: Params) -> Result:
    """The caller's fast snapshot restores."""
    rows = matching(ctx, p, select(RESTORES.row), RESTORE_FILTERS, RESTORES.row.id)
    chosen, token = cut(ctx, p, rows, lambda row: row.id)
    answer: Result = {"FastSnapshotRestores": [_render(ctx, row) for row in chosen]}
    return answer | ({"NextToken": token} if token else {})


def forget_restores(ctx: Context, snapshot: str) -> None:
    """The snapshot goes."""
    for row in ctx.session.scalars(select(RESTORES.row).where(RESTORES.row.name.startswith(f"{snapshot}/"))):
        RESTORES.drop(ctx, row)
