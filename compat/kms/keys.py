"""Keys: made, described, switched on and off, and dropped after a while."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from backends.keys.models import State
from compat.errors import AWSError
from compat.kms import faults
from compat.kms.pages import paged
from compat.kms.places import STATES, arn_of, check_filled, check_lasting, find, id_of, metadata, the_key
from compat.kms.policies import check_policy, default_policy
from compat.kms.rows import lasting_row_of, row_of, service
from compat.kms.specs import SPECS, SYMMETRIC
from compat.kms.tags import kept_tags
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

USUAL_WINDOW, LEAST_WINDOW, MOST_WINDOW = 30, 7, 30


@operation("kms:CreateKey", slow=True)
def create_key(ctx: Context, p: Params) -> Result:
    from backends.keys import material

    outside = p.get("Origin") == "EXTERNAL"
    if p.get("Origin", "AWS_KMS") not in ("AWS_KMS", "EXTERNAL") or p.get("CustomKeyStoreId") or p.get("XksKeyId"):
        raise AWSError("NotImplemented", "Keys in custom key stores are not implemented by Nephele.", 501)
    spec = p.get("KeySpec") or p.get("CustomerMasterKeySpec") or SYMMETRIC
    about = SPECS.get(spec)
    if about is None:
        raise AWSError("NotImplemented", f"Keys of spec {spec} are not implemented by Nephele.", 501)
    usage = p.get("KeyUsage") or about.default
    if usage is None:
        raise faults.invalid("You must specify a KeyUsage value for all KMS keys except for symmetric encryption keys.")
    if usage not in about.uses:
        raise faults.invalid(f"KeyUsage {usage} is not compatible with KeySpec {spec}")
    rules = p.get("Policy") or default_policy(ctx)
    check_policy(ctx, rules, lockout=not p.get("BypassPolicyLockoutSafetyCheck"))
    id = f"mrk-{uuid.uuid4().hex}" if p.get("MultiRegion") else str(uuid.uuid4())
    row = service(ctx).add(
        id,
        tenant=ctx.account,
        region=ctx.region,
        spec=about.native,
        purpose=usage,
        rules=rules,
        secret=None if outside else material.make(about.native),
        note=p.get("Description") or "",
        tags=kept_tags({}, p.get("Tags") or ()),
    )
    return {"KeyMetadata": metadata(ctx, row)}


@operation("kms:DescribeKey", on=the_key, streams=True)
def describe_key(ctx: Context, p: Params) -> Result:
    return {"KeyMetadata": metadata(ctx, find(ctx, p["KeyId"]))}


@operation("kms:ListKeys")
def list_keys(ctx: Context, p: Params) -> Result:
    rows = service(ctx).keys_of(ctx.account, ctx.region)
    return paged(
        p, "Keys", rows, lambda row: row.id, lambda row: {"KeyId": id_of(row), "KeyArn": arn_of(ctx, row)}, most=100
    )


@operation("kms:EnableKey", on=the_key)
def enable_key(ctx: Context, p: Params) -> None:
    row = lasting_row_of(ctx, p)
    check_filled(arn_of(ctx, row), row)
    row.state = State.ENABLED


@operation("kms:DisableKey", on=the_key)
def disable_key(ctx: Context, p: Params) -> None:
    row = lasting_row_of(ctx, p)
    check_filled(arn_of(ctx, row), row)
    row.state = State.DISABLED


@operation("kms:UpdateKeyDescription", on=the_key)
def update_key_description(ctx: Context, p: Params) -> None:
    row = lasting_row_of(ctx, p)
    row.note = p["Description"]


@operation("kms:ScheduleKeyDeletion", on=the_key)
def schedule_key_deletion(ctx: Context, p: Params) -> Result:
    row = row_of(ctx, p)
    arn = arn_of(ctx, row)
    check_lasting(arn, row)
    window = p.get("PendingWindowInDays") or USUAL_WINDOW
    if not LEAST_WINDOW <= window <= MOST_WINDOW:
        raise faults.invalid(f"PendingWindowInDays must be between {LEAST_WINDOW} and {MOST_WINDOW}")
    service(ctx).doom(row, window)
    told = {"KeyId": arn, "KeyState": STATES[State(row.state)], "PendingWindowInDays": window}
    return told if row.goes is None else told | {"DeletionDate": row.goes}


@operation("kms:CancelKeyDeletion", on=the_key)
def cancel_key_deletion(ctx: Context, p: Params) -> Result:
    row = row_of(ctx, p)
    arn = arn_of(ctx, row)
    if row.state not in (State.DOOMED, State.WAITING):
        raise faults.invalid_state(arn, "not pending deletion")
    known = find(ctx, p["KeyId"])
    row.state = State.DISABLED if any(turn.there for turn in known.past) else State.EMPTY
    row.goes = None
    return {"KeyId": arn}
