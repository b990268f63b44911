"""New material for keys: every so often, or at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backends.keys.ring import Known, Turn
from backends.keys.service import AUTOMATIC, ON_DEMAND
from compat.errors import AWSError
from compat.kms import faults
from compat.kms.pages import paged
from compat.kms.places import arn_of, check_enabled, find, material_id, ring, the_key
from compat.kms.rows import row_of, service
from compat.operation import operation

if TYPE_CHECKING:
    from backends.keys.models import MasterKey
    from compat.context import Context
    from compat.operation import Params, Result

USUAL, LEAST, MOST = 365, 90, 2560
MOST_ON_DEMAND = 25
TYPES = {AUTOMATIC: "AUTOMATIC", ON_DEMAND: "ON_DEMAND"}


def _check_turns(ctx: Context, key: MasterKey | Known) -> None:
    if key.spec != "SYMMETRIC":
        raise faults.unsupported(f"{arn_of(ctx, key)} is not a symmetric encryption key: it has one material for good.")


def _check_makes(ctx: Context, key: MasterKey) -> None:
    """Refuse a key whose material is made elsewhere: by its owner, or in the region of its primary."""
    arn = arn_of(ctx, key)
    if key.outside:
        raise faults.unsupported(f"{arn} origin is EXTERNAL which is not valid for this operation.")
    if key.original is not None:
        raise faults.unsupported(f"{arn} is a replica: its primary key is rotated, and it with that.")


def _turning(ctx: Context, key: Known) -> Known:
    """The key that says how often it, and a replica with it, is turned."""
    return (ring(ctx).find(key.original) if key.original is not None else None) or key


def _row(ctx: Context, p: Params) -> MasterKey:
    row = row_of(ctx, p)
    check_enabled(arn_of(ctx, row), row)
    _check_turns(ctx, row)
    _check_makes(ctx, row)
    return row


@operation("kms:EnableKeyRotation", on=the_key)
def enable_key_rotation(ctx: Context, p: Params) -> None:
    days = p.get("RotationPeriodInDays") or USUAL
    if not LEAST <= days <= MOST:
        raise faults.invalid(f"RotationPeriodInDays must be between {LEAST} and {MOST}")
    service(ctx).turn_by_itself(_row(ctx, p), days)


@operation("kms:DisableKeyRotation", on=the_key)
def disable_key_rotation(ctx: Context, p: Params) -> None:
    service(ctx).turn_by_itself(_row(ctx, p), 0)


@operation("kms:GetKeyRotationStatus", on=the_key, streams=True)
def get_key_rotation_status(ctx: Context, p: Params) -> Result:
    """Whether a key is given new material by itself; one that never can be is said not to be."""
    key = find(ctx, p["KeyId"])
    turning = _turning(ctx, key)
    shown: dict[str, Any] = {"KeyId": arn_of(ctx, key), "KeyRotationEnabled": bool(turning.turn_days)}
    if turning.turn_days:
        shown |= {"RotationPeriodInDays": turning.turn_days, "NextRotationDate": turning.turns}
    return shown


@operation("kms:RotateKeyOnDemand", on=the_key)
def rotate_key_on_demand(ctx: Context, p: Params) -> Result:
    row = _row(ctx, p)
    known = find(ctx, p["KeyId"])
    if sum(turn.cause == ON_DEMAND for turn in known.past) >= MOST_ON_DEMAND:
        raise AWSError("LimitExceededException", f"A key can be rotated on demand {MOST_ON_DEMAND} times.")
    service(ctx).turn(row, ON_DEMAND)
    return {"KeyId": arn_of(ctx, row)}


@operation("kms:ListKeyRotations", on=the_key, streams=True)
def list_key_rotations(ctx: Context, p: Params) -> Result:
    key = find(ctx, p["KeyId"])
    _check_turns(ctx, key)

    def shown(turn: Turn) -> dict[str, Any]:
        about: dict[str, Any] = {"KeyId": arn_of(ctx, key), "KeyMaterialId": material_id(key, turn)}
        if key.outside:
            about["ImportState"] = "IMPORTED" if turn.there else "PENDING_IMPORT"
        if turn.cause:
            about |= {"RotationDate": turn.created, "RotationType": TYPES[turn.cause]}
        if all_material:
            about["KeyMaterialState"] = "CURRENT" if turn == key.past[-1] else "NON_CURRENT"
        return about

    all_material = p.get("IncludeKeyMaterial") == "ALL_KEY_MATERIAL"
    turns = [turn for turn in key.past if turn.cause or all_material]
    return paged(p, "Rotations", turns, lambda turn: f"{turn.number:010}", shown, most=100)
