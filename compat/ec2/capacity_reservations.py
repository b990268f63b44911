"""Capacity Reservations: how many instances of a type may count on room in a zone, and which of them do.

Kept in the books: an instance that fits is counted in, and one that may run in a reservation only is refused when none
has room. Hosts do not know of it, so nothing is set aside on real machinery.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select

from backends.compute.models import Guest, GuestState
from compat.context import Context
from compat.describe import page
from compat.ec2.flavors import flavors
from compat.ec2.listing import at
from compat.ec2.regions import zone_named
from compat.errors import AWSError
from compat.filters import Filters
from compat.operation import Params, Result, operation
from compat.records import Document, Record, member, record_kind

IN_USE = (GuestState.PENDING, GuestState.RUNNING, GuestState.STOPPING)
"""An instance gives its place back when it has stopped."""
HELD = "reservation"
"""The note of a guest that says which reservation it counts on."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What instance and reservation must have in common."""

    type: str
    platform: str
    zone: str
    tenancy: str

    @classmethod
    def of(cls, guest: Guest) -> Wish:
        """That of an instance that is there."""
        shown = guest.notes["shown"]
        return cls(guest.flavor, shown["PlatformDetails"], guest.zone, shown["Placement"]["Tenancy"])


def _attributes(document: Document) -> Wish:
    return Wish(
        document["InstanceType"], document["InstancePlatform"], document["AvailabilityZone"], document["Tenancy"]
    )


def _users(ctx: Context, id: str) -> Any:
    return Guest.notes[HELD].as_string() == id, Guest.state.in_(IN_USE)


def _used(ctx: Context, row: Record) -> int:
    ctx.unit.flush()
    return ctx.session.scalar(select(func.count()).select_from(Guest).where(*_users(ctx, row.id))) or 0


def _ends(row: Record) -> datetime | None:
    end: str | None = row.document.get("_end")
    return datetime.fromisoformat(end) if end else None


def state_of(ctx: Context, row: Record) -> str:
    """`active`, `expired` once its end has come, or `cancelled`."""
    ends = _ends(row)
    return "expired" if row.state == "active" and ends is not None and ends <= ctx.now else row.state


def _room(ctx: Context, row: Record) -> int:
    """How many more instances may count on it."""
    if state_of(ctx, row) != "active":
        return 0
    total: int = row.document["TotalInstanceCount"]
    return max(0, total - _used(ctx, row))


def _extras(ctx: Context, row: Record) -> Document:
    state, room = state_of(ctx, row), _room(ctx, row)
    total: int = row.document["TotalInstanceCount"]
    found: Document = {
        "CapacityReservationArn": ctx.arn("ec2", f"capacity-reservation/{row.id}"),
        "OwnerId": ctx.account,
        "State": state,
        "AvailableInstanceCount": room,
        "StartDate": row.created,
        "CreateDate": row.created,
        "CapacityAllocations": [{"AllocationType": "used", "Count": total - room}] if state == "active" else [],
    }
    ends = _ends(row)
    return found | ({"EndDate": ends} if ends is not None else {})


RESERVATIONS = record_kind(
    "capacity-reservation",
    prefix="cr-",
    missing="InvalidCapacityReservationId.NotFound",
    malformed="InvalidCapacityReservationId.Malformed",
    id_member="CapacityReservationId",
    label="capacity reservation ID",
    extras=_extras,
)


def _end(ctx: Context, kind: str | None, date: datetime | None) -> tuple[str, str | None]:
    """When a reservation ends: how that is said, and the instant."""
    kind = kind or ("limited" if date is not None else "unlimited")
    if (kind == "limited") != (date is not None):
        raise AWSError(
            "InvalidParameterCombination", "EndDate must be given when, and only when, EndDateType is 'limited'."
        )
    if date is not None and date <= ctx.now:
        raise AWSError("InvalidParameterValue", "EndDate must be in the future.")
    return kind, None if date is None else date.isoformat()


@operation("ec2:CreateCapacityReservation", on="capacity-reservation/*")
def create_capacity_reservation(ctx: Context, p: Params) -> Result:
    """Reserve room for instances; running ones that fit and count on nothing else are counted in."""
    for name in ("StartDate", "CommitmentDuration", "DeliveryPreference", "OutpostArn"):
        if p.get(name):
            raise AWSError("Unsupported", f"{name} is not offered by Nephele.")
    if p["InstanceType"] not in flavors():
        raise AWSError("InvalidParameterValue", f"Invalid value '{p['InstanceType']}' for InstanceType.")
    if p["InstanceCount"] < 1:
        raise AWSError("InvalidParameterValue", f"InstanceCount ({p['InstanceCount']}) must be at least 1.")
    if (p.get("Tenancy") or "default") != "default":
        raise AWSError("Unsupported", "Dedicated Instances (Tenancy 'dedicated') are not offered by Nephele.")
    if not p.get("AvailabilityZone") and not p.get("AvailabilityZoneId"):
        raise AWSError("MissingParameter", "The request must contain the parameter AvailabilityZone")
    zone = zone_named(ctx, p.get("AvailabilityZone"), p.get("AvailabilityZoneId"))
    kind, end = _end(ctx, p.get("EndDateType"), p.get("EndDate"))
    document: Document = {
        "InstanceType": p["InstanceType"],
        "InstancePlatform": p["InstancePlatform"],
        "AvailabilityZone": zone.name,
        "AvailabilityZoneId": zone.id,
        "Tenancy": "default",
        "TotalInstanceCount": p["InstanceCount"],
        "EbsOptimized": bool(p.get("EbsOptimized")),
        "EphemeralStorage": bool(p.get("EphemeralStorage")),
        "EndDateType": kind,
        "InstanceMatchCriteria": p.get("InstanceMatchCriteria") or "open",
        "_end": end,
    }
    if p.get("PlacementGroupArn"):
        document["PlacementGroupArn"] = p["PlacementGroupArn"]
    row = RESERVATIONS.add(ctx, document, state="active")
    if document["InstanceMatchCriteria"] == "open":
        _take_in(ctx, row)
    return {"CapacityReservation": RESERVATIONS.render(ctx, row)}


def _take_in(ctx: Context, row: Record) -> None:
    """Count in the oldest of the running instances that fit and count on no reservation."""
    wanted, room = _attributes(row.document), row.document["TotalInstanceCount"]
    fitting = (Guest.flavor == wanted.type, Guest.zone == wanted.zone, Guest.state.in_(IN_USE))
    for guest in ctx.session.scalars(select(Guest).where(*fitting).order_by(Guest.created, Guest.id)):
        preference = guest.notes["shown"]["CapacityReservationSpecification"].get("CapacityReservationPreference")
        free = guest.notes.get(HELD) is None and not guest.notes["shown"].get("SpotInstanceRequestId")
        if room and free and preference in ("open", "capacity-reservations-only") and Wish.of(guest) == wanted:
            guest.notes = guest.notes | {HELD: row.id}
            room -= 1


RESERVATION_FILTERS: Filters = {
    "availability-zone": member("AvailabilityZone"),
    "end-date": at(RESERVATIONS.render, "EndDate"),
    "end-date-type": member("EndDateType"),
    "instance-match-criteria": member("InstanceMatchCriteria"),
    "instance-platform": member("InstancePlatform"),
    "instance-type": member("InstanceType"),
    "outpost-arn": lambda ctx, row: None,
    "owner-id": RESERVATIONS.row.tenant,
    "placement-group-arn": member("PlacementGroupArn"),
    "start-date": lambda ctx, row: row.created,
    "state": state_of,
    "tenancy": member("Tenancy"),
}


@operation("ec2:DescribeCapacityReservations")
def describe_capacity_reservations(ctx: Context, p: Params) -> Result:
    """The caller's reservations."""
    return page(ctx, p, RESERVATIONS.name, RESERVATION_FILTERS, RESERVATIONS.render)


def _active(ctx: Context, id: str) -> Record:
    row: Record = ctx.find(RESERVATIONS.name, id)
    state = state_of(ctx, row)
    if state != "active":
        raise AWSError(
            "InvalidCapacityReservationState", f"The Capacity Reservation {id} is {state}, so it can't be changed."
        )
    return row


@operation("ec2:ModifyCapacityReservation", on="capacity-reservation/{CapacityReservationId}")
def modify_capacity_reservation(ctx: Context, p: Params) -> Result:
    """Change how many instances a reservation is for, when it ends, or which instances count on it."""
    for name in ("StartDate", "QuoteId"):
        if p.get(name):
            raise AWSError("Unsupported", f"{name} is not offered by Nephele.")
    row = _active(ctx, p["CapacityReservationId"])
    document = dict(row.document)
    if p.get("EndDateType") or p.get("EndDate"):
        document["EndDateType"], document["_end"] = _end(ctx, p.get("EndDateType"), p.get("EndDate"))
    if p.get("InstanceMatchCriteria"):
        document["InstanceMatchCriteria"] = p["InstanceMatchCriteria"]
    if (count := p.get("InstanceCount")) is not None:
        used = _used(ctx, row)
        if count < max(1, used):
            raise AWSError(
                "InvalidParameterValue", f"InstanceCount ({count}) must be at least {max(1, used)}: {used} are in use."
            )
        document["TotalInstanceCount"] = count
    row.document = document
    return {"Return": True}


@operation("ec2:CancelCapacityReservation", on="capacity-reservation/{CapacityReservationId}")
def cancel_capacity_reservation(ctx: Context, p: Params) -> Result:
    """Give the room back; instances that counted on it run on."""
    row = _active(ctx, p["CapacityReservationId"])
    for guest in ctx.session.scalars(select(Guest).where(Guest.notes[HELD].as_string() == row.id)):
        release(guest)
    row.state = "cancelled"
    return {"Return": True}


@operation("ec2:GetCapacityReservationUsage", on="capacity-reservation/{CapacityReservationId}")
def get_capacity_reservation_usage(ctx: Context, p: Params) -> Result:
    """How much of a reservation is used, by account."""
    row: Record = ctx.find(RESERVATIONS.name, p["CapacityReservationId"])
    used = _used(ctx, row)
    return {
        "CapacityReservationId": row.id,
        "InstanceType": row.document["InstanceType"],
        "TotalInstanceCount": row.document["TotalInstanceCount"],
        "AvailableInstanceCount": _room(ctx, row),
        "State": state_of(ctx, row),
        "InstanceUsages": [{"AccountId": ctx.account, "UsedInstanceCount": used}] if used else [],
    }


# --- what instances say of it ---------------------------------------------------------------------------------------


def capacity_specification(asked: Mapping[str, Any]) -> dict[str, Any]:
    """The CapacityReservationSpecification of a launch, complete. It names a preference or a target, not both."""
    given = asked.get("CapacityReservationSpecification") or {}
    preference, target = given.get("CapacityReservationPreference"), given.get("CapacityReservationTarget")
    if target:
        if preference not in (None, "capacity-reservations-only"):
            raise AWSError(
                "InvalidParameterCombination",
                "CapacityReservationPreference and CapacityReservationTarget may not be specified together.",
            )
        if target.get("CapacityReservationResourceGroupArn"):
            raise AWSError("Unsupported", "Resource groups of Capacity Reservations are not offered by Nephele.")
        found = {"CapacityReservationTarget": {"CapacityReservationId": target.get("CapacityReservationId")}}
        return found | ({"CapacityReservationPreference": preference} if preference else {})
    return {"CapacityReservationPreference": preference or "open"}


def claim(ctx: Context, wish: Wish, specification: Mapping[str, Any]) -> str | None:
    """The reservation that a new or starting instance counts on; None when it needs none and has none."""
    target = (specification.get("CapacityReservationTarget") or {}).get("CapacityReservationId")
    if target:
        row: Record = ctx.find(RESERVATIONS.name, target)
        if state_of(ctx, row) != "active":
            raise AWSError(
                "InvalidCapacityReservationState", f"The Capacity Reservation {target} is {state_of(ctx, row)}."
            )
        if _attributes(row.document) != wish:
            raise AWSError(
                "InvalidParameterCombination",
                f"The attributes of the instance do not match those of the Capacity Reservation {target}: instance "
                "type, platform, Availability Zone and tenancy must be the same.",
            )
        if not _room(ctx, row):
            raise AWSError(
                "ReservationCapacityExceeded",
                f"The requested reservation {target} does not have sufficient compatible and available capacity.",
            )
        return row.id
    preference = specification.get("CapacityReservationPreference")
    if preference == "none":
        return None
    for row in ctx.session.scalars(select(RESERVATIONS.row).order_by(RESERVATIONS.row.created, RESERVATIONS.row.id)):
        open_ = row.document["InstanceMatchCriteria"] == "open"
        if open_ and _attributes(row.document) == wish and _room(ctx, row):
            return row.id
    if preference == "capacity-reservations-only":
        raise AWSError(
            "InsufficientInstanceCapacity", "No Capacity Reservation matches the instance and has available capacity."
        )
    return None


def release(guest: Guest) -> None:
    """The instance counts on no reservation any more."""
    guest.notes = {name: value for name, value in guest.notes.items() if name != HELD}


def claim_again(ctx: Context, guest: Guest) -> None:
    """A stopped instance starts: find it a reservation, as at its launch."""
    release(guest)
    if guest.notes["shown"].get("SpotInstanceRequestId"):
        return
    found = claim(ctx, Wish.of(guest), guest.notes["shown"]["CapacityReservationSpecification"])
    if found is not None:
        guest.notes = guest.notes | {HELD: found}
