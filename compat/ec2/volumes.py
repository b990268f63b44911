"""EBS volumes and their attachments."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import select

from backends.compute.models import Guest, GuestState
from backends.errors import Exists, InUse, OutOfRange, WrongState
from backends.volume.models import Attachment, ChangeState, Disk, DiskChange, Wish
from compat.context import Context
from compat.describe import page
from compat.ec2.abilities import refuse_while_running
from compat.ec2.disk_keys import encryption
from compat.ec2.listing import at, cut, matching
from compat.ec2.regions import zone_named
from compat.ec2.volume_types import performance
from compat.errors import AWSError
from compat.filters import Filters
from compat.kinds import kind
from compat.operation import Params, Raises, Result, operation
from compat.regions import zones
from compat.tags import drop_tags

kind(
    "volume",
    prefix="vol-",
    row=Disk,
    missing="InvalidVolume.NotFound",
    malformed="InvalidParameterValue",
    label="volume",
    message="The volume '{id}' does not exist.",
)


class _Attachments:
    """Attachments of the volumes of one answer, fetched once."""

    def __init__(self, ctx: Context, disks: Iterable[str]) -> None:
        self._held: dict[str, list[Attachment]] = defaultdict(list)
        for attachment in ctx.volumes.attachments(disks=disks):
            self._held[attachment.disk].append(attachment)

    def __getitem__(self, disk: str) -> list[Attachment]:
        return self._held.get(disk, [])


def render_attachment(attachment: Attachment) -> dict[str, Any]:
    """An attachment in AWS's form."""
    return {
        "VolumeId": attachment.disk,
        "InstanceId": attachment.guest,
        "Device": attachment.device,
        "State": attachment.state,
        "AttachTime": attachment.created,
        "DeleteOnTermination": not attachment.keep,
    }


def render_volume(ctx: Context, disk: Disk, attachments: Sequence[Attachment]) -> dict[str, Any]:
    """A volume in AWS's form."""
    answer: dict[str, Any] = {
        "VolumeId": disk.id,
        "Size": disk.size,
        "SnapshotId": disk.snapshot or "",
        "AvailabilityZone": disk.zone,
        "AvailabilityZoneId": zone_id(ctx, disk.zone),
        "State": disk.state,
        "CreateTime": disk.created,
        "VolumeType": disk.kind,
        "Encrypted": disk.encrypted,
        "MultiAttachEnabled": disk.shareable,
        "Attachments": [render_attachment(one) for one in attachments],
        "Tags": ctx.tags(disk.id),
        "Operator": {"Managed": False},
    }
    if disk.iops is not None:
        answer["Iops"] = disk.iops
    if disk.throughput is not None:
        answer["Throughput"] = disk.throughput
    if disk.key is not None:
        answer["KmsKeyId"] = disk.key
        answer["SseType"] = "sse-kms"
    if disk.notes.get("source"):
        answer["SourceVolumeId"] = disk.notes["source"]
    return answer


def zone_id(ctx: Context, name: str) -> str | None:
    """The id of a zone of the caller's region."""
    return next((zone.id for zone in zones(ctx.region) if zone.name == name), None)


def _source(fact: WrongState) -> AWSError:
    if "snapshot" in fact.facts:
        return AWSError("IncorrectState", f"Snapshot is in invalid state - {fact.state}")
    return AWSError("IncorrectState", f"The volume '{fact.disk}' is not 'available'.")


CREATING: Raises = {
    WrongState: _source,
    OutOfRange: lambda fact: AWSError(
        "InvalidParameterValue", f"The specified size must be at least the size of the snapshot: {fact.least} GiB."
    ),
}


def _creation_targets(ctx: Context, p: Params) -> list[str]:
    snapshot = p.get("SnapshotId")
    return ["volume/*", *([ctx.arn("ec2", f"snapshot/{snapshot}", account="")] if snapshot else [])]


@operation("ec2:CreateVolume", on=_creation_targets, raises=CREATING)
def create_volume(ctx: Context, p: Params) -> Result:
    """Make a volume, empty or from a snapshot."""
    if not p.get("AvailabilityZone") and not p.get("AvailabilityZoneId"):
        raise AWSError(
            "MissingParameter", "The request must contain the parameter AvailabilityZone or AvailabilityZoneId"
        )
    zone = zone_named(ctx, p.get("AvailabilityZone"), p.get("AvailabilityZoneId"))
    source = ctx.find("snapshot", p["SnapshotId"]) if p.get("SnapshotId") else None
    size = p.get("Size") or (source.size if source is not None else None)
    if size is None:
        raise AWSError("MissingParameter", "The request must contain the parameter size/snapshot")
    shape = p.get("VolumeType") or "gp2"
    iops, throughput = performance(shape, size, p.get("Iops"), p.get("Throughput"))
    if p.get("MultiAttachEnabled") and shape not in ("io1", "io2"):
        raise AWSError("InvalidParameterCombination", f"Multi-Attach is not supported for {shape} volumes.")
    own = source is not None and source.tenant == ctx.account
    inherited = source.key if source is not None and own else None
    sealing = encryption(ctx, p.get("Encrypted"), p.get("KmsKeyId"), source is not None and source.encrypted, inherited)
    disk = ctx.volumes.add_disk(
        id=ctx.mint("volume"),
        zone=zone.name,
        size=size,
        kind=shape,
        iops=iops,
        throughput=throughput,
        source=source,
        encrypted=sealing.encrypted,
        key=sealing.key,
        shareable=bool(p.get("MultiAttachEnabled")),
        fault=sealing.fault,
    )
    return render_volume(ctx, disk, ()) | {"State": "creating"}


def loaded(ctx: Context, rows: Sequence[Disk]) -> None:
    """Fetch what volumes are rendered with."""
    ids = [row.id for row in rows]
    ctx.preload_tags(ids)
    ctx.prepared = _Attachments(ctx, ids)


def _render(ctx: Context, disk: Disk) -> dict[str, Any]:
    return render_volume(ctx, disk, ctx.prepared[disk.id])


VOLUME_FILTERS: Filters = {
    "attachment.attach-time": at(_render, "Attachments.AttachTime"),
    "attachment.delete-on-termination": at(_render, "Attachments.DeleteOnTermination"),
    "attachment.device": at(_render, "Attachments.Device"),
    "attachment.instance-id": at(_render, "Attachments.InstanceId"),
    "attachment.status": at(_render, "Attachments.State"),
    "availability-zone": Disk.zone,
    "availability-zone-id": at(_render, "AvailabilityZoneId"),
    "create-time": lambda ctx, disk: disk.created,
    "encrypted": Disk.encrypted,
    "fast-restored": lambda ctx, disk: False,
    "multi-attach-enabled": Disk.shareable,
    "operator.managed": lambda ctx, disk: False,
    "operator.principal": lambda ctx, disk: None,
    "size": Disk.size,
    "snapshot-id": Disk.snapshot,
    "status": Disk.state,
    "volume-id": Disk.id,
    "volume-type": Disk.kind,
}


@operation("ec2:DescribeVolumes")
def describe_volumes(ctx: Context, p: Params) -> Result:
    """The caller's volumes."""
    return page(ctx, p, "volume", VOLUME_FILTERS, _render, prepare=loaded)


@operation(
    "ec2:DeleteVolume",
    on="volume/{VolumeId}",
    raises={
        InUse: lambda fact: AWSError("VolumeInUse", f"Volume {fact.disk} is currently attached to {fact.by}"),
        WrongState: lambda fact: AWSError("IncorrectState", f"The volume '{fact.disk}' is not 'available'."),
    },
)
def delete_volume(ctx: Context, p: Params) -> Result:
    """Delete a volume that no instance holds."""
    disk = ctx.find("volume", p["VolumeId"])
    if disk.wanted == Wish.ABSENT:
        return {}
    ctx.volumes.remove_disk(disk)
    drop_tags(ctx, disk.id)
    return {}


# --- attachments ------------------------------------------------------------------------------------------------------

READY_FOR_DISKS = (GuestState.RUNNING, GuestState.STOPPED, GuestState.PENDING, GuestState.STOPPING)

ATTACHING: Raises = {
    InUse: lambda fact: AWSError("VolumeInUse", f"{fact.disk} is already attached to an instance"),
    Exists: lambda fact: AWSError(
        "InvalidParameterValue",
        f"Invalid value '{fact.device}' for unixDevice. Attachment point {fact.device} is already in use",
    ),
    WrongState: lambda fact: AWSError("IncorrectState", f"Volume '{fact.disk}' is not 'available'."),
}


@operation("ec2:AttachVolume", on=("volume/{VolumeId}", "instance/{InstanceId}"), raises=ATTACHING)
def attach_volume(ctx: Context, p: Params) -> Result:
    """Put a volume into an instance of its zone."""
    disk: Disk = ctx.find("volume", p["VolumeId"])
    guest: Guest = ctx.find("instance", p["InstanceId"])
    if disk.zone != guest.zone:
        raise AWSError(
            "InvalidVolume.ZoneMismatch",
            f"The volume '{disk.id}' is not in the same availability zone as instance '{guest.id}'",
        )
    if guest.state not in READY_FOR_DISKS:
        raise AWSError("IncorrectState", f"Instance '{guest.id}' is not 'running'.")
    if disk.state == "creating":
        raise AWSError("IncorrectState", f"Volume '{disk.id}' is not 'available'.")
    refuse_while_running(ctx, guest, "plugs_disks")
    attachment = ctx.volumes.attach(disk, guest.id, p["Device"], keep=True)
    return render_attachment(attachment)


@operation("ec2:DetachVolume", on=lambda ctx, p: [f"volume/{p['VolumeId']}", f"instance/{p.get('InstanceId') or '*'}"])
def detach_volume(ctx: Context, p: Params) -> Result:
    """Take a volume out of an instance."""
    disk: Disk = ctx.find("volume", p["VolumeId"])
    held = ctx.volumes.attachments(disks=[disk.id])
    if not held:
        raise AWSError("IncorrectState", f"Volume '{disk.id}' is in the 'available' state.")
    if p.get("InstanceId"):
        ctx.find("instance", p["InstanceId"])
        held = [one for one in held if one.guest == p["InstanceId"]]
    if p.get("Device"):
        held = [one for one in held if one.device == p["Device"]]
    if not held:
        raise AWSError(
            "InvalidAttachment.NotFound",
            f"The volume '{disk.id}' is not attached to instance '{p.get('InstanceId')}' as '{p.get('Device') or ''}'.",
        )
    attachment = held[0]
    guest = ctx.session.get(Guest, attachment.guest)
    if guest is not None and guest.root_device == attachment.device and guest.state != GuestState.STOPPED:
        raise AWSError(
            "OperationNotPermitted", f"Unable to detach root volume '{disk.id}' from instance '{attachment.guest}'"
        )
    if guest is not None:
        refuse_while_running(ctx, guest, "plugs_disks")
    ctx.volumes.detach(attachment)
    return render_attachment(attachment)


# --- changes of shape -------------------------------------------------------------------------------------------------


def render_change(ctx: Context, change: DiskChange) -> dict[str, Any]:
    """A modification in AWS's form."""
    answer: dict[str, Any] = {
        "VolumeId": change.disk,
        "ModificationState": change.state,
        "Progress": 100 if change.state == ChangeState.COMPLETED else 0,
        "StartTime": change.started,
        "EndTime": change.ended,
    }
    for prefix, shape in (("Original", change.before), ("Target", change.after)):
        answer |= {
            f"{prefix}Size": shape["size"],
            f"{prefix}Iops": shape["iops"],
            f"{prefix}VolumeType": shape["kind"],
            f"{prefix}Throughput": shape["throughput"],
            f"{prefix}MultiAttachEnabled": shape["shareable"],
        }
    return {member: value for member, value in answer.items() if value is not None}


@operation(
    "ec2:ModifyVolume",
    on="volume/{VolumeId}",
    raises={
        OutOfRange: lambda fact: AWSError(
            "InvalidParameterValue", f"New size cannot be smaller than existing size ({fact.least} GiB)"
        ),
        WrongState: lambda fact: AWSError("IncorrectState", f"Volume {fact.disk} is in state '{fact.state}'."),
        Exists: lambda fact: AWSError(
            "IncorrectModificationState", f"Volume {fact.disk} has a modification under way: wait until it is complete."
        ),
    },
)
def modify_volume(ctx: Context, p: Params) -> Result:
    """Give a volume another size, type or performance while it is in use."""
    disk: Disk = ctx.find("volume", p["VolumeId"])
    asked = [p.get(member) for member in ("Size", "VolumeType", "Iops", "Throughput", "MultiAttachEnabled")]
    if all(value is None for value in asked):
        raise AWSError(
            "InvalidParameterCombination", "At least one of Size, VolumeType, Iops or Throughput must be given."
        )
    size, kind = p.get("Size") or disk.size, p.get("VolumeType") or disk.kind
    same = kind == disk.kind
    iops = p.get("Iops")
    if iops is None and kind in ("gp3", "io1", "io2") and (same or disk.kind in ("io1", "io2")):
        iops = disk.iops
    throughput = p.get("Throughput")
    if throughput is None and same:
        throughput = disk.throughput
    iops, throughput = performance(kind, size, iops, throughput)
    shareable = disk.shareable if p.get("MultiAttachEnabled") is None else p["MultiAttachEnabled"]
    change = ctx.volumes.change_disk(disk, size=size, kind=kind, iops=iops, throughput=throughput, shareable=shareable)
    return {"VolumeModification": render_change(ctx, change)}


CHANGE_FILTERS: Filters = {
    "modification-state": DiskChange.state,
    "original-iops": at(render_change, "OriginalIops"),
    "original-size": at(render_change, "OriginalSize"),
    "original-volume-type": at(render_change, "OriginalVolumeType"),
    "originalMultiAttachEnabled": at(render_change, "OriginalMultiAttachEnabled"),
    "start-time": lambda ctx, change: change.started,
    "target-iops": at(render_change, "TargetIops"),
    "target-size": at(render_change, "TargetSize"),
    "target-volume-type": at(render_change, "TargetVolumeType"),
    "targetMultiAttachEnabled": at(render_change, "TargetMultiAttachEnabled"),
    "volume-id": DiskChange.disk,
}


@operation("ec2:DescribeVolumesModifications")
def describe_volumes_modifications(ctx: Context, p: Params) -> Result:
    """The last modification of each volume that ever had one."""
    statement = select(DiskChange)
    if ids := p.get("VolumeIds"):
        ctx.find_all("volume", ids)
        statement = statement.where(DiskChange.disk.in_(ids))
    rows = matching(ctx, p, statement, CHANGE_FILTERS, DiskChange.disk)
    for id in ids or ():
        if not any(row.disk == id for row in rows) and not p.get("Filters"):
            raise AWSError("InvalidVolumeModification.NotFound", f"Modification for volume '{id}' does not exist.")
    chosen, token = cut(ctx, p, rows, lambda row: row.disk)
    result: Result = {"VolumesModifications": [render_change(ctx, row) for row in chosen]}
    return result if token is None else result | {"NextToken": token}


# --- attributes -------------------------------------------------------------------------------------------------------


@operation("ec2:DescribeVolumeAttribute", on="volume/{VolumeId}")
def describe_volume_attribute(ctx: Context, p: Params) -> Result:
    """One attribute of a volume."""
    disk = ctx.find("volume", p["VolumeId"])
    if p["Attribute"] == "autoEnableIO":
        return {"VolumeId": disk.id, "AutoEnableIO": {"Value": disk.notes.get("auto_enable_io", False)}}
    return {"VolumeId": disk.id, "ProductCodes": []}


@operation("ec2:ModifyVolumeAttribute", on="volume/{VolumeId}")
def modify_volume_attribute(ctx: Context, p: Params) -> Result:
    """Change an attribute of a volume."""
    disk = ctx.find("volume", p["VolumeId"])
    if p.get("AutoEnableIO") is not None:
        disk.notes = disk.notes | {"auto_enable_io": bool(p["AutoEnableIO"].get("Value"))}
    return {}


@operation("ec2:EnableVolumeIO", on="volume/{VolumeId}")
def enable_volume_io(ctx: Context, p: Params) -> Result:
    """Let an instance use a volume again whose data may be inconsistent."""
    ctx.find("volume", p["VolumeId"])
    return {}
