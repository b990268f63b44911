"""EBS snapshots."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import false, or_, select

from backends.compute.models import Guest
from backends.db import Scope, Share
from backends.errors import WrongState
from backends.image.service import grant, granted
from backends.volume.models import Disk, Snapshot, SnapshotState
from backends.volume.service import SET
from compat.context import Context
from compat.describe import page
from compat.ec2.disk_keys import encryption, refuse_plain_copy
from compat.ec2.settings import read_setting
from compat.errors import AWSError
from compat.filters import Filters
from compat.kinds import KINDS, kind
from compat.operation import Params, Raises, Result, operation
from compat.tags import put_tags

kind(
    "snapshot",
    prefix="snap-",
    row=Snapshot,
    missing="InvalidSnapshot.NotFound",
    malformed="InvalidParameterValue",
    label="snapshot",
    message="The snapshot '{id}' does not exist.",
)


def render_snapshot(ctx: Context, snapshot: Snapshot) -> dict[str, Any]:
    """A snapshot in AWS's form."""
    done = snapshot.state == SnapshotState.COMPLETED
    answer: dict[str, Any] = {
        "SnapshotId": snapshot.id,
        "VolumeId": snapshot.disk,
        "VolumeSize": snapshot.size,
        "State": snapshot.state,
        "Progress": "100%" if done else f"{snapshot.progress}%",
        "StartTime": snapshot.started,
        "OwnerId": snapshot.tenant or ctx.account,
        "Description": snapshot.description,
        "Encrypted": snapshot.encrypted,
        "StorageTier": "standard",
        "Tags": ctx.tags(snapshot.id),
    }
    if done:
        answer["CompletionTime"] = snapshot.completed
        answer["FullSnapshotSizeInBytes"] = snapshot.stored
    if snapshot.key is not None:
        answer["KmsKeyId"] = snapshot.key
        answer["SseType"] = "sse-kms"
    if snapshot.parent is not None:
        answer["TransferType"] = "standard"
    if snapshot.state == SnapshotState.ERROR:
        answer["StateMessage"] = snapshot.reason or "The bytes could not be stored."
    return answer


def snapshot_arn(ctx: Context, id: str) -> str:
    """Snapshots bear no account in their ARNs."""
    return ctx.arn("ec2", f"snapshot/{id}", account="")


def own_snapshot(ctx: Context, id: str) -> Snapshot:
    """A snapshot of the caller's own: those of others can be seen, not changed."""
    row: Snapshot = ctx.find("snapshot", id)
    if row.tenant != ctx.account:
        raise AWSError("AuthFailure", f"Not authorized for snapshot:{id}", 403)
    return row


LOCK = "lock"
"""The note of a snapshot that says how it is locked: see `snapshot_locks`."""


NOT_THERE: Raises = {
    WrongState: lambda fact: AWSError(
        "IncorrectState",
        f"Snapshot {fact.snapshot} is in state '{fact.state}'."
        if "snapshot" in fact.facts
        else f"Volume '{fact.disk}' is in state '{fact.state}'.",
    )
}


@operation(
    "ec2:CreateSnapshot", on=lambda ctx, p: [f"volume/{p['VolumeId']}", snapshot_arn(ctx, "*")], raises=NOT_THERE
)
def create_snapshot(ctx: Context, p: Params) -> Result:
    """Keep what a volume holds now."""
    disk = ctx.find("volume", p["VolumeId"])
    id = ctx.mint("snapshot")
    row = ctx.volumes.add_snapshot(id=id, disk=disk, description=p.get("Description") or "")
    return render_snapshot(ctx, row)


@operation(
    "ec2:CreateSnapshots",
    on=lambda ctx, p: [f"instance/{p['InstanceSpecification']['InstanceId']}", "volume/*", snapshot_arn(ctx, "*")],
    raises=NOT_THERE,
)
def create_snapshots(ctx: Context, p: Params) -> Result:
    """Keep what all volumes of an instance hold now, at one moment."""
    wanted = p["InstanceSpecification"]
    guest: Guest = ctx.find("instance", wanted.get("InstanceId"))
    left_out = set(wanted.get("ExcludeDataVolumeIds") or ())
    made: list[Snapshot] = []
    for attachment in ctx.volumes.attachments(guests=[guest.id]):
        root = attachment.device == guest.root_device
        if attachment.disk in left_out or (root and wanted.get("ExcludeBootVolume")):
            continue
        disk = ctx.session.get_one(Disk, attachment.disk)
        id = ctx.mint("snapshot")
        if p.get("CopyTagsFromSource") == "volume":
            held = [tag for tag in ctx.tags(disk.id) if not tag["Key"].startswith("aws:")]
            put_tags(ctx, "snapshot", id, held)
        together = made[0].id if made else id
        row = ctx.volumes.add_snapshot(id=id, disk=disk, description=p.get("Description") or "", notes={SET: together})
        made.append(row)
    keep = (
        "Description",
        "Tags",
        "Encrypted",
        "VolumeId",
        "State",
        "VolumeSize",
        "StartTime",
        "Progress",
        "OwnerId",
        "SnapshotId",
    )
    return {"Snapshots": [{member: render_snapshot(ctx, row)[member] for member in keep} for row in made]}


def foreign(ctx: Context, kind: str, region: str, id: str) -> Any:
    """The row of an image or snapshot in another region, as the caller would see it there."""
    if region == ctx.region:
        return ctx.find(kind, id)
    about = KINDS[kind]
    about.check(id)
    with ctx.cloud.database.unit(Scope(ctx.account, region), write=False) as unit:
        row = unit.session.scalar(select(about.row).where(about.row.id == id))
    if row is None:
        raise about.absent(id)
    return row


@operation("ec2:CopySnapshot", on=lambda ctx, p: [snapshot_arn(ctx, "*")], raises=NOT_THERE)
def copy_snapshot(ctx: Context, p: Params) -> Result:
    """Copy a snapshot from a region into this one."""
    parent: Snapshot = foreign(ctx, "snapshot", p["SourceRegion"], p["SourceSnapshotId"])
    refuse_plain_copy(p.get("Encrypted"), parent.id, parent.encrypted)
    sealing = encryption(ctx, p.get("Encrypted"), p.get("KmsKeyId"), parent.encrypted)
    id = ctx.mint("snapshot")
    ctx.volumes.copy_snapshot(
        id=id,
        parent=parent,
        description=p.get("Description") or "",
        encrypted=sealing.encrypted,
        key=sealing.key,
        fault=sealing.fault,
    )
    return {"SnapshotId": id, "Tags": ctx.tags(id)}


SNAPSHOT_FILTERS: Filters = {
    "description": Snapshot.description,
    "encrypted": Snapshot.encrypted,
    "owner-alias": lambda ctx, row: None,
    "owner-id": Snapshot.tenant,
    "progress": lambda ctx, row: "100%" if row.state == SnapshotState.COMPLETED else f"{row.progress}%",
    "snapshot-id": Snapshot.id,
    "start-time": lambda ctx, row: row.started,
    "status": Snapshot.state,
    "storage-tier": lambda ctx, row: "standard",
    "transfer-type": lambda ctx, row: "standard" if row.parent is not None else None,
    "volume-id": Snapshot.disk,
    "volume-size": Snapshot.size,
}


@operation("ec2:DescribeSnapshots")
def describe_snapshots(ctx: Context, p: Params) -> Result:
    """The snapshots that the caller may use: its own, public ones, and those shared with it."""
    where: list[Any] = []
    if owners := p.get("OwnerIds"):
        tenants = [ctx.account if owner == "self" else owner for owner in owners if owner not in ("amazon", "all")]
        where.append(Snapshot.tenant.in_(tenants))
    if users := p.get("RestorableByUserIds"):
        where.append(usable_by(ctx, Snapshot, users))
    return page(ctx, p, "snapshot", SNAPSHOT_FILTERS, render_snapshot, where=where)


def usable_by(ctx: Context, row: type[Any], users: Iterable[str]) -> Any:
    """The condition that rows are public (`all`), the caller's own (`self`), or granted to an account named."""
    ways: list[Any] = [false()]
    for user in users:
        if user == "all":
            ways.append(row.public)
        elif user in ("self", ctx.account):
            ways += [row.tenant == ctx.account, row.id.in_(select(Share.resource).where(Share.tenant == ctx.account))]
        else:
            ways.append(row.id.in_(select(Share.resource).where(Share.tenant == user)))
    return or_(*ways)


@operation("ec2:DescribeSnapshotAttribute", on=lambda ctx, p: [snapshot_arn(ctx, p["SnapshotId"])])
def describe_snapshot_attribute(ctx: Context, p: Params) -> Result:
    """Who may make volumes from a snapshot."""
    row = own_snapshot(ctx, p["SnapshotId"])
    if p["Attribute"] == "productCodes":
        return {"SnapshotId": row.id, "ProductCodes": []}
    users = [{"UserId": tenant} for tenant in granted(ctx.unit, row.id)]
    everybody = [{"Group": "all"}] if row.public else []
    return {"SnapshotId": row.id, "CreateVolumePermissions": [*everybody, *users]}


@operation("ec2:ModifySnapshotAttribute", on=lambda ctx, p: [snapshot_arn(ctx, p["SnapshotId"])])
def modify_snapshot_attribute(ctx: Context, p: Params) -> Result:
    """Share a snapshot with accounts or everybody, or stop that."""
    row = own_snapshot(ctx, p["SnapshotId"])
    permission = p.get("CreateVolumePermission") or {}
    add, remove = list(permission.get("Add") or ()), list(permission.get("Remove") or ())
    flat = [{"UserId": user} for user in p.get("UserIds") or ()] + [{"Group": one} for one in p.get("GroupNames") or ()]
    (remove if p.get("OperationType") == "remove" else add).extend(flat)
    if row.encrypted and any(one.get("Group") for one in add):
        raise AWSError("InvalidParameterValue", "Encrypted snapshots with EBS default key cannot be shared")
    share(ctx, row, add, remove, blocked=read_setting(ctx, "snapshot-block-public-access", "unblocked") != "unblocked")
    return {}


def share(ctx: Context, row: Any, add: list[dict[str, Any]], remove: list[dict[str, Any]], *, blocked: bool) -> None:
    """Change who may use an image or snapshot; `blocked`: the account lets nothing become public."""
    if any(one.get("Group") == "all" for one in add):
        if blocked:
            raise AWSError(
                "OperationNotPermitted",
                "You can't publicly share this resource because block public access is enabled.",
            )
        row.public = True
    if any(one.get("Group") == "all" for one in remove):
        row.public = False
    for one in (*add, *remove):
        user = one.get("UserId")
        if user is not None and not (len(user) == 12 and user.isdigit()):
            raise AWSError("InvalidUserID.Malformed", f'Invalid user id: "{user}"')
    grant(
        ctx.unit,
        row.id,
        add=[one["UserId"] for one in add if one.get("UserId")],
        remove=[one["UserId"] for one in remove if one.get("UserId")],
    )
    ctx.unit.touch("share")


@operation("ec2:ResetSnapshotAttribute", on=lambda ctx, p: [snapshot_arn(ctx, p["SnapshotId"])])
def reset_snapshot_attribute(ctx: Context, p: Params) -> Result:
    """Share a snapshot with nobody."""
    row = own_snapshot(ctx, p["SnapshotId"])
    row.public = False
    grant(ctx.unit, row.id, remove=granted(ctx.unit, row.id))
    return {}
