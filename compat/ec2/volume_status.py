"""Whether volumes are well, in the words of AWS's volume status checks: what is wrong is told as an event."""

from __future__ import annotations

import hashlib
from datetime import datetime
from typing import Any

from backends.volume.models import GONE, STALLED, Disk, DiskState
from compat.context import Context
from compat.describe import page
from compat.ec2.listing import at
from compat.ec2.volumes import loaded, zone_id
from compat.filters import Filters
from compat.operation import Params, Result, operation

INCONSISTENT, STALL = "potential-data-inconsistency", "io-performance:stalled"


def _events(ctx: Context, disk: Disk) -> list[dict[str, Any]]:
    """What is wrong with a volume now: it could not be made, its file is not there, or there is no room to write."""
    found: list[tuple[str, str, datetime]] = []
    if disk.state == DiskState.ERROR:
        found.append((INCONSISTENT, disk.reason or "The volume could not be made.", disk.created))
    for note, kind in ((GONE, INCONSISTENT), (STALLED, STALL)):
        if note in disk.notes:
            about = disk.notes[note]
            found.append((kind, about["reason"], datetime.fromisoformat(about["since"])))
    holder = next((one.guest for one in ctx.prepared[disk.id]), None)
    events = []
    for kind, reason, since in found:
        digest = hashlib.sha256(f"{disk.id}/{kind}/{since.isoformat()}".encode()).hexdigest()
        event = {"EventId": f"evol-{digest[:17]}", "EventType": kind, "Description": reason, "NotBefore": since}
        events.append(event | ({"InstanceId": holder} if holder else {}))
    return events


def _render(ctx: Context, disk: Disk) -> dict[str, Any]:
    events = _events(ctx, disk)
    kinds = {event["EventType"] for event in events}
    stalled = STALL in kinds
    status = "impaired" if events else "insufficient-data" if disk.state == DiskState.CREATING else "ok"
    return {
        "VolumeId": disk.id,
        "AvailabilityZone": disk.zone,
        "AvailabilityZoneId": zone_id(ctx, disk.zone),
        "Actions": [],
        "Events": events,
        "AttachmentStatuses": [
            {"InstanceId": one.guest, "IoPerformance": "stalled" if stalled else "normal"}
            for one in ctx.prepared[disk.id]
        ],
        "VolumeStatus": {
            "Status": status,
            "Details": [
                {"Name": "io-enabled", "Status": "failed" if INCONSISTENT in kinds else "passed"},
                {"Name": "io-performance", "Status": "stalled" if stalled else "not-applicable"},
            ],
        },
    }


STATUS_FILTERS: Filters = {
    "action.code": lambda ctx, disk: None,
    "action.description": lambda ctx, disk: None,
    "action.event-id": lambda ctx, disk: None,
    "attachment-status.instance-id": at(_render, "AttachmentStatuses.InstanceId"),
    "attachment-status.io-performance": at(_render, "AttachmentStatuses.IoPerformance"),
    "availability-zone": Disk.zone,
    "event.description": at(_render, "Events.Description"),
    "event.event-id": at(_render, "Events.EventId"),
    "event.event-type": at(_render, "Events.EventType"),
    "event.not-after": lambda ctx, disk: None,
    "event.not-before": at(_render, "Events.NotBefore"),
    "volume-status.details-name": at(_render, "VolumeStatus.Details.Name"),
    "volume-status.details-status": at(_render, "VolumeStatus.Details.Status"),
    "volume-status.status": at(_render, "VolumeStatus.Status"),
}


@operation("ec2:DescribeVolumeStatus")
def describe_volume_status(ctx: Context, p: Params) -> Result:
    """The health of the caller's volumes."""
    return page(ctx, p, "volume", STATUS_FILTERS, _render, prepare=loaded)
