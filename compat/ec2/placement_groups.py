"""Placement groups: kept as records; `placement` says what they mean for instances."""

from __future__ import annotations

from typing import Any

from sqlalchemy import func, select

from backends.compute.models import Guest, GuestState
from compat.context import Context
from compat.describe import page
from compat.errors import AWSError
from compat.filters import Filters
from compat.operation import Params, Result, operation
from compat.records import Record, member, record_kind

GROUP = record_kind(
    "placement-group",
    prefix="pg-",
    missing="InvalidPlacementGroupId.Unknown",
    malformed="InvalidPlacementGroupId.Malformed",
    id_member="GroupId",
    label="Placement Group",
    message="The {label} '{id}' is unknown.",
    ids="GroupIds",
    extras=lambda ctx, row: {"GroupName": row.name, "GroupArn": ctx.arn("ec2", f"placement-group/{row.name}")},
)


def placement_group(ctx: Context, name: str | None, id: str | None) -> Record:
    """The group of that name, or else of that id."""
    if name is None:
        row: Record = ctx.find(GROUP.name, id)
        return row
    found = GROUP.named(ctx, name)
    if found is None:
        raise AWSError("InvalidPlacementGroup.Unknown", f"The Placement Group '{name}' is unknown.")
    return found


@operation("ec2:CreatePlacementGroup", on="placement-group/{GroupName}")
def create_placement_group(ctx: Context, p: Params) -> Result:
    """Declare a group."""
    name, strategy = p.get("GroupName"), p.get("Strategy") or "cluster"
    if not name:
        raise AWSError("MissingParameter", "The request must contain the parameter GroupName")
    if GROUP.named(ctx, name) is not None:
        raise AWSError("InvalidPlacementGroup.Duplicate", f"The Placement Group '{name}' already exists.")
    document: dict[str, Any] = {"Strategy": strategy}
    if strategy == "partition":
        document["PartitionCount"] = p.get("PartitionCount") or 2
    elif p.get("PartitionCount"):
        raise AWSError("InvalidParameterCombination", "PartitionCount is only for the strategy 'partition'.")
    if strategy == "spread":
        document["SpreadLevel"] = p.get("SpreadLevel") or "rack"
    return {"PlacementGroup": GROUP.render(ctx, GROUP.add(ctx, document, name=name))}


GROUP_FILTERS: Filters = {
    "group-name": GROUP.row.name,
    "group-arn": lambda ctx, row: ctx.arn("ec2", f"placement-group/{row.name}"),
    "spread-level": member("SpreadLevel"),
    "state": GROUP.row.state,
    "strategy": member("Strategy"),
}


@operation("ec2:DescribePlacementGroups")
def describe_placement_groups(ctx: Context, p: Params) -> Result:
    """The caller's groups."""
    names = p.get("GroupNames") or ()
    for name in names:
        placement_group(ctx, name, None)
    where = (GROUP.row.name.in_(list(names)),) if names else ()
    return page(ctx, p, GROUP.name, GROUP_FILTERS, GROUP.render, where=where)


@operation("ec2:DeletePlacementGroup", on="placement-group/{GroupName}")
def delete_placement_group(ctx: Context, p: Params) -> Result:
    """Forget a group that no instance is in."""
    row = placement_group(ctx, p["GroupName"], None)
    inside = Guest.notes["shown"]["Placement"]["GroupName"].as_string() == row.name
    held = select(func.count()).select_from(Guest).where(inside, Guest.state != GuestState.TERMINATED)
    if ctx.session.scalar(held):
        raise AWSError(
            "InvalidPlacementGroup.InUse", f"The placement group {row.name} is in use and may not be deleted."
        )
    GROUP.drop(ctx, row)
    return {}
