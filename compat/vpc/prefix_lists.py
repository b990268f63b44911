"""Prefix lists: those that AWS keeps of its services, and the account's own."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from backends.errors import Changed, Exhausted, InUse, Missing
from backends.network.errors import Malformed
from backends.network.models import FirewallRule, PrefixList, Route
from compat.context import Context
from compat.describe import decode_token, encode_token, page
from compat.errors import AWSError
from compat.filters import Filters
from compat.kinds import kind
from compat.operation import Params, Result, operation
from compat.tags import drop_tags
from compat.vpc.facts import Raises, bad_value

kind(
    "prefix-list",
    prefix="pl-",
    row=PrefixList,
    missing="InvalidPrefixListID.NotFound",
    malformed="InvalidPrefixListId.Malformed",
    label="prefix list ID",
    quota=200,
)


def render_managed_prefix_list(ctx: Context, row: PrefixList) -> dict[str, Any]:
    """A prefix list without its entries."""
    owner = row.keeper or row.tenant
    shown: dict[str, Any] = {
        "PrefixListId": row.id,
        "PrefixListName": row.name,
        "PrefixListArn": ctx.arn("ec2", f"prefix-list/{row.id}", account=owner.lower() if row.keeper else owner),
        "AddressFamily": f"IPv{row.family}",
        "State": row.state,
        "OwnerId": owner,
        "Tags": ctx.tags(row.id),
    }
    if row.keeper is None:
        shown.update(MaxEntries=row.size, Version=row.version)
    return shown


def _render_prefix_list(ctx: Context, row: PrefixList) -> dict[str, Any]:
    return {"PrefixListId": row.id, "PrefixListName": row.name, "Cidrs": [entry["cidr"] for entry in row.entries()]}


@operation("ec2:DescribePrefixLists")
def describe_prefix_lists(ctx: Context, p: Params) -> Result:
    """The prefix lists of AWS's services in the region, with their ranges."""
    filters: Filters = {"prefix-list-id": PrefixList.id, "prefix-list-name": PrefixList.name}
    return page(ctx, p, "prefix-list", filters, _render_prefix_list, where=(PrefixList.keeper.is_not(None),))


MANAGED_FILTERS: Filters = {
    "owner-id": lambda ctx, row: row.keeper or row.tenant,
    "prefix-list-id": PrefixList.id,
    "prefix-list-name": PrefixList.name,
}


@operation("ec2:DescribeManagedPrefixLists")
def describe_managed_prefix_lists(ctx: Context, p: Params) -> Result:
    """The account's own prefix lists, and those of AWS."""
    return page(ctx, p, "prefix-list", MANAGED_FILTERS, render_managed_prefix_list)


def _entries(given: Any) -> list[dict[str, Any]]:
    return [{"cidr": one["Cidr"], "description": one.get("Description")} for one in given or ()]


RAISES: Raises = {
    Malformed: bad_value("Cidr"),
    Exhausted: lambda fact: AWSError(
        "PrefixListMaxEntriesExceeded", f"The prefix list can hold {fact.limit} entries at most."
    ),
    Changed: lambda fact: AWSError(
        "PrefixListVersionMismatch", f"The prefix list has the incorrect version number; it is at {fact.version}."
    ),
    Missing: lambda fact: AWSError("InvalidParameterValue", f"The prefix list has no entry {fact.cidr}."),
}


@operation("ec2:CreateManagedPrefixList", on="prefix-list/*", raises=RAISES)
def create_managed_prefix_list(ctx: Context, p: Params) -> Result:
    """A prefix list of the account's own."""
    if p["PrefixListName"].startswith("com.amazonaws"):
        raise AWSError("InvalidParameterValue", "The name of a prefix list cannot start with com.amazonaws.")
    if p["AddressFamily"] not in ("IPv4", "IPv6"):
        raise AWSError("InvalidParameterValue", f"Value ({p['AddressFamily']}) for parameter AddressFamily is invalid.")
    row = ctx.network.add_prefixes(
        id=ctx.mint("prefix-list"),
        name=p["PrefixListName"],
        family=int(p["AddressFamily"][-1]),
        size=p["MaxEntries"],
        entries=_entries(p.get("Entries")),
    )
    ctx.session.flush()
    return {"PrefixList": {**render_managed_prefix_list(ctx, row), "State": "create-in-progress"}}


def _own(ctx: Context, p: Params) -> PrefixList:
    row: PrefixList = ctx.find("prefix-list", p["PrefixListId"])
    if row.keeper is not None:
        raise AWSError("OperationNotPermitted", f"The prefix list {row.id} is not the account's own.")
    return row


@operation("ec2:ModifyManagedPrefixList", on="prefix-list/{PrefixListId}", raises=RAISES)
def modify_managed_prefix_list(ctx: Context, p: Params) -> Result:
    """Change entries, which makes a version; or the name, or how many entries there may be."""
    row = _own(ctx, p)
    changes = bool(p.get("AddEntries") or p.get("RemoveEntries"))
    if changes and p.get("MaxEntries"):
        raise AWSError("InvalidParameterCombination", "MaxEntries can not be changed together with entries.")
    if changes and p.get("CurrentVersion") is None:
        raise AWSError("MissingParameter", "The request must contain the parameter CurrentVersion")
    ctx.network.change_prefixes(
        row,
        version=p.get("CurrentVersion") if changes else None,
        add=_entries(p.get("AddEntries")),
        remove=[one["Cidr"] for one in p.get("RemoveEntries") or ()],
        name=p.get("PrefixListName"),
        size=p.get("MaxEntries"),
    )
    return {"PrefixList": {**render_managed_prefix_list(ctx, row), "State": "modify-in-progress"}}


@operation("ec2:RestoreManagedPrefixListVersion", on="prefix-list/{PrefixListId}", raises=RAISES)
def restore_managed_prefix_list_version(ctx: Context, p: Params) -> Result:
    """Make a version that says what an earlier one said."""
    row = _own(ctx, p)
    if str(p["PreviousVersion"]) not in row.versions:
        raise AWSError("InvalidPrefixListVersion.NotFound", f"There is no version {p['PreviousVersion']} of {row.id}")
    former = row.entries(p["PreviousVersion"])
    kept = {entry["cidr"] for entry in former}
    ctx.network.change_prefixes(
        row,
        version=p["CurrentVersion"],
        add=former,
        remove=[entry["cidr"] for entry in row.entries() if entry["cidr"] not in kept],
    )
    row.state = "restore-complete"
    return {"PrefixList": {**render_managed_prefix_list(ctx, row), "State": "restore-in-progress"}}


@operation(
    "ec2:DeleteManagedPrefixList",
    on="prefix-list/{PrefixListId}",
    raises={InUse: lambda fact: AWSError("DependencyViolation", f"The prefix list '{fact.id}' is used by {fact.by}.")},
)
def delete_managed_prefix_list(ctx: Context, p: Params) -> Result:
    """Delete a prefix list that nothing names."""
    row = _own(ctx, p)
    shown = render_managed_prefix_list(ctx, row)
    ctx.network.remove_prefixes(row)
    drop_tags(ctx, row.id)
    return {"PrefixList": {**shown, "State": "delete-in-progress"}}


def _slice(ctx: Context, p: Params, found: list[dict[str, Any]], most: int) -> tuple[list[dict[str, Any]], str | None]:
    """A page of a list that has no ids: the token says how far it went."""
    start = int(decode_token(ctx.operation.key, p["NextToken"])) if p.get("NextToken") else 0
    end = start + (p.get("MaxResults") or most)
    return found[start:end], encode_token(ctx.operation.key, str(end)) if end < len(found) else None


@operation("ec2:GetManagedPrefixListEntries", on="prefix-list/{PrefixListId}", reads=True)
def get_managed_prefix_list_entries(ctx: Context, p: Params) -> Result:
    """The entries of a version, the newest one unless another is named."""
    row = ctx.find("prefix-list", p["PrefixListId"])
    version = p.get("TargetVersion")
    if version is not None and str(version) not in row.versions:
        raise AWSError("InvalidPrefixListVersion.NotFound", f"There is no version {version} of {row.id}")
    shown = []
    for entry in row.entries(version):
        one = {"Cidr": entry["cidr"]}
        if entry.get("description") is not None:
            one["Description"] = entry["description"]
        shown.append(one)
    part, token = _slice(ctx, p, shown, 100)
    return {"Entries": part, "NextToken": token} if token else {"Entries": part}


@operation("ec2:GetManagedPrefixListAssociations", on="prefix-list/{PrefixListId}", reads=True)
def get_managed_prefix_list_associations(ctx: Context, p: Params) -> Result:
    """What names a prefix list: security groups and route tables."""
    row = ctx.find("prefix-list", p["PrefixListId"])
    groups = ctx.session.scalars(select(FirewallRule.group_id).where(FirewallRule.peer == row.id).distinct())
    tables = ctx.session.scalars(select(Route.table_id).where(Route.destination == row.id).distinct())
    found = [{"ResourceId": id, "ResourceOwner": ctx.account} for id in sorted({*groups, *tables})]
    part, token = _slice(ctx, p, found, 100)
    return {"PrefixListAssociations": part, "NextToken": token} if token else {"PrefixListAssociations": part}
