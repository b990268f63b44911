"""Locks of snapshots: for as long as one lasts, nobody deletes the snapshot.

A lock is a note of its snapshot; its state follows from the time.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from backends.volume.models import Snapshot
from compat.context import Context
from compat.describe import page
from compat.ec2.snapshots import LOCK, own_snapshot, snapshot_arn
from compat.errors import AWSError
from compat.filters import Filters
from compat.operation import Params, Result, operation

LONGEST = 36500  # days
_DAY, _HOUR = timedelta(days=1), timedelta(hours=1)


def _instant(lock: dict[str, Any], name: str) -> datetime:
    return datetime.fromisoformat(lock[name])


def lock_of(row: Snapshot) -> dict[str, Any] | None:
    """The lock of a snapshot, one that is over included."""
    found: dict[str, Any] | None = row.notes.get(LOCK)
    return found


def lock_state(ctx: Context, lock: dict[str, Any]) -> str:
    """`governance`, `compliance-cooloff`, `compliance` or `expired`."""
    if _instant(lock, "ends") <= ctx.now:
        return "expired"
    if lock["mode"] == "compliance" and lock["cooling"] and _instant(lock, "cooled") > ctx.now:
        return "compliance-cooloff"
    mode: str = lock["mode"]
    return mode


def _render(ctx: Context, row: Snapshot) -> dict[str, Any]:
    lock = lock_of(row)
    assert lock is not None
    answer: dict[str, Any] = {
        "SnapshotId": row.id,
        "LockState": lock_state(ctx, lock),
        "LockDuration": lock["days"],
        "LockCreatedOn": _instant(lock, "created"),
        "LockDurationStartTime": _instant(lock, "began"),
        "LockExpiresOn": _instant(lock, "ends"),
    }
    if lock["cooling"]:
        answer |= {"CoolOffPeriod": lock["cooling"], "CoolOffPeriodExpiresOn": _instant(lock, "cooled")}
    return answer


def _check(p: Params) -> None:
    days, until, cooling = p.get("LockDuration"), p.get("ExpirationDate"), p.get("CoolOffPeriod")
    if (days is None) == (until is None):
        raise AWSError(
            "InvalidParameterCombination", "Give either LockDuration or ExpirationDate, and not both of them."
        )
    if days is not None and not 1 <= days <= LONGEST:
        raise AWSError("InvalidParameterValue", f"LockDuration ({days}) must be between 1 and {LONGEST} days.")
    if cooling is not None and p["LockMode"] != "compliance":
        raise AWSError("InvalidParameterCombination", "CoolOffPeriod is for the lock mode 'compliance' only.")
    if cooling is not None and not 1 <= cooling <= 72:
        raise AWSError("InvalidParameterValue", f"CoolOffPeriod ({cooling}) must be between 1 and 72 hours.")


@operation("ec2:LockSnapshot", on=lambda ctx, p: [snapshot_arn(ctx, p["SnapshotId"])])
def lock_snapshot(ctx: Context, p: Params) -> Result:
    """Lock a snapshot, or change its lock as far as that allows."""
    row = own_snapshot(ctx, p["SnapshotId"])
    _check(p)
    held, now = lock_of(row), ctx.now
    state = lock_state(ctx, held) if held is not None else "expired"
    firm = held is not None and state == "compliance"
    began = now if held is None or state == "expired" else _instant(held, "began")
    if p.get("LockDuration") is not None:
        days: int = p["LockDuration"]
        ends = began + days * _DAY
    else:
        ends = p["ExpirationDate"]
        days = max(1, (ends - began).days)
        if ends < now + _DAY:
            raise AWSError("InvalidParameterValue", "ExpirationDate must be at least one day in the future.")
    if firm:
        assert held is not None
        shorter = ends < _instant(held, "ends")
        if p["LockMode"] != "compliance" or p.get("CoolOffPeriod") is not None or shorter:
            raise AWSError(
                "SnapshotLocked",
                f"The snapshot {row.id} is locked in compliance mode: its lock can be made longer, and nothing else.",
            )
    cooling = held["cooling"] if firm and held is not None else p.get("CoolOffPeriod") or 0
    cooled = held["cooled"] if firm and held is not None else (now + cooling * _HOUR).isoformat()
    lock = {
        "mode": p["LockMode"],
        "days": days,
        "created": held["created"] if held is not None and state != "expired" else now.isoformat(),
        "began": began.isoformat(),
        "ends": ends.isoformat(),
        "cooling": cooling,
        "cooled": cooled,
    }
    row.notes = row.notes | {LOCK: lock}
    return _render(ctx, row)


@operation("ec2:UnlockSnapshot", on=lambda ctx, p: [snapshot_arn(ctx, p["SnapshotId"])])
def unlock_snapshot(ctx: Context, p: Params) -> Result:
    """Take a lock away: one in governance mode, or one that has not cooled off yet."""
    row = own_snapshot(ctx, p["SnapshotId"])
    lock = lock_of(row)
    if lock is None or lock_state(ctx, lock) == "expired":
        raise AWSError("IncorrectState", f"The snapshot {row.id} is not locked.")
    if lock_state(ctx, lock) == "compliance":
        raise AWSError("SnapshotLocked", f"The snapshot {row.id} is locked in compliance mode and can't be unlocked.")
    row.notes = {name: value for name, value in row.notes.items() if name != LOCK}
    return {"SnapshotId": row.id}


def _state(ctx: Context, row: Snapshot) -> str:
    lock = lock_of(row)
    assert lock is not None
    return lock_state(ctx, lock)


LOCK_FILTERS: Filters = {"lock-state": _state}


@operation("ec2:DescribeLockedSnapshots")
def describe_locked_snapshots(ctx: Context, p: Params) -> Result:
    """The locks of the caller's snapshots, those that are over included."""
    where = (Snapshot.tenant == ctx.account, Snapshot.notes[LOCK]["mode"].as_string().is_not(None))
    return page(
        ctx, p, "snapshot", LOCK_FILTERS, lambda ctx, row: _render(ctx, row) | {"OwnerId": ctx.account}, where=where
    )
