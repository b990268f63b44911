"""RequestSpotInstances and what follows: requests are fulfilled by launches, persistent ones again and again."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from backends.compute.models import Guest
from compat.context import Context
from compat.describe import page
from compat.ec2.launch import RUN_FACTS, Launch, launch_targets
from compat.ec2.listing import at
from compat.ec2.placement import find_site
from compat.ec2.spot_market import GONE, REQUESTS, check, fate
from compat.errors import AWSError
from compat.filters import Filters
from compat.operation import Params, Result, operation
from compat.records import Record, member

_KEPT = (
    "ImageId", "InstanceType", "KernelId", "RamdiskId", "KeyName", "SubnetId", "EbsOptimized", "BlockDeviceMappings",
    "IamInstanceProfile", "NetworkInterfaces", "Placement", "AddressingType",
)  # fmt: skip
"""What a request's answer tells of the launch as it was asked for."""


def _targets(ctx: Context, p: Params) -> Iterable[str]:
    return [*launch_targets(ctx, p.get("LaunchSpecification") or {}), "spot-instances-request/*"]


@operation("ec2:RequestSpotInstances", on=_targets, raises=RUN_FACTS)
def request_spot_instances(ctx: Context, p: Params) -> Result:
    """Ask for Spot Instances; each is launched at once."""
    for one in p.get("TagSpecifications") or ():
        if one.get("ResourceType") != "spot-instances-request":
            raise AWSError(
                "InvalidParameterValue",
                f"'{one.get('ResourceType')}' is not a valid taggable resource type for this operation.",
            )
    options = {
        "MaxPrice": p.get("SpotPrice"),
        "SpotInstanceType": p.get("Type") or "one-time",
        **{name: p.get(name) for name in ("ValidUntil", "InstanceInterruptionBehavior", "BlockDurationMinutes")},
        **{name: p.get(name) for name in ("LaunchGroup", "AvailabilityZoneGroup")},
    }
    check(options)
    if p.get("ValidFrom") and p["ValidFrom"] > ctx.now:
        raise AWSError("Unsupported", "Spot Instance requests that begin later (ValidFrom) are not offered by Nephele.")
    count = 1 if p.get("InstanceCount") is None else p["InstanceCount"]
    if count < 1:
        raise AWSError("InvalidParameterValue", f"InstanceCount ({count}) must be at least 1.")
    specification = p.get("LaunchSpecification")
    if not specification:
        raise AWSError("MissingParameter", "The request must contain the parameter LaunchSpecification")
    rows = [_fulfil(ctx, specification, options) for _ in range(count)]
    pending = {"Code": "pending-evaluation", "Message": "Your Spot request has been submitted for review."}
    answers = []
    for row in rows:
        shown = REQUESTS.render(ctx, row)
        shown |= {"State": "open", "Status": pending | {"UpdateTime": row.created}}
        answers.append({name: value for name, value in shown.items() if name != "InstanceId"})
    return {"SpotInstanceRequests": answers}


def _launch(ctx: Context, specification: Mapping[str, Any], options: Mapping[str, Any]) -> Guest:
    spec = dict(specification) | {"InstanceMarketOptions": {"MarketType": "spot", "SpotOptions": options}}
    launch = Launch(ctx, spec, {})
    if launch.market is not None:
        groups = [{"GroupId": id} for id in specification.get("SecurityGroupIds") or ()]
        groups += [{"GroupName": name} for name in specification.get("SecurityGroups") or ()]
        shown = {name: specification[name] for name in _KEPT if specification.get(name) is not None}
        monitored = bool((specification.get("Monitoring") or {}).get("Enabled"))
        launch.market.shown_spec = shown | {"SecurityGroups": groups, "Monitoring": {"Enabled": monitored}}
        launch.market.spec = specification
    site = find_site(ctx, launch.flavor, launch.zone, launch.group, launch.partition)
    guest = launch.guest(0, site)
    ctx.session.flush()
    return guest


def _fulfil(ctx: Context, specification: Mapping[str, Any], options: Mapping[str, Any]) -> Record:
    guest = _launch(ctx, specification, options)
    row: Record = ctx.find(REQUESTS.name, guest.notes["shown"]["SpotInstanceRequestId"])
    return row


_SPEC = "LaunchSpecification"
_CARD = f"{_SPEC}.NetworkInterfaces"
_DISK = f"{_SPEC}.BlockDeviceMappings"


def _place(path: str) -> Any:
    return at(REQUESTS.render, path)


REQUEST_FILTERS: Filters = {
    "availability-zone-group": member("AvailabilityZoneGroup"),
    "create-time": lambda ctx, row: row.created,
    "fault-code": lambda ctx, row: None,
    "fault-message": lambda ctx, row: None,
    "instance-id": member("InstanceId"),
    "launch-group": member("LaunchGroup"),
    "launch.block-device-mapping.delete-on-termination": _place(f"{_DISK}.Ebs.DeleteOnTermination"),
    "launch.block-device-mapping.device-name": _place(f"{_DISK}.DeviceName"),
    "launch.block-device-mapping.snapshot-id": _place(f"{_DISK}.Ebs.SnapshotId"),
    "launch.block-device-mapping.volume-size": _place(f"{_DISK}.Ebs.VolumeSize"),
    "launch.block-device-mapping.volume-type": _place(f"{_DISK}.Ebs.VolumeType"),
    "launch.group-id": _place(f"{_SPEC}.SecurityGroups.GroupId"),
    "launch.group-name": _place(f"{_SPEC}.SecurityGroups.GroupName"),
    "launch.image-id": _place(f"{_SPEC}.ImageId"),
    "launch.instance-type": _place(f"{_SPEC}.InstanceType"),
    "launch.kernel-id": _place(f"{_SPEC}.KernelId"),
    "launch.key-name": _place(f"{_SPEC}.KeyName"),
    "launch.monitoring-enabled": _place(f"{_SPEC}.Monitoring.Enabled"),
    "launch.ramdisk-id": _place(f"{_SPEC}.RamdiskId"),
    "launched-availability-zone": member("LaunchedAvailabilityZone"),
    "launched-availability-zone-id": lambda ctx, row: None,
    "network-interface.addresses.primary": _place(f"{_CARD}.PrivateIpAddresses.Primary"),
    "network-interface.delete-on-termination": _place(f"{_CARD}.DeleteOnTermination"),
    "network-interface.description": _place(f"{_CARD}.Description"),
    "network-interface.device-index": _place(f"{_CARD}.DeviceIndex"),
    "network-interface.group-id": _place(f"{_CARD}.Groups"),
    "network-interface.network-interface-id": _place(f"{_CARD}.NetworkInterfaceId"),
    "network-interface.private-ip-address": _place(f"{_CARD}.PrivateIpAddress"),
    "network-interface.subnet-id": _place(f"{_CARD}.SubnetId"),
    "product-description": member("ProductDescription"),
    "spot-instance-request-id": REQUESTS.row.id,
    "spot-price": member("SpotPrice"),
    "state": lambda ctx, row: fate(ctx, row)[0],
    "status-code": lambda ctx, row: fate(ctx, row)[1],
    "status-message": lambda ctx, row: fate(ctx, row)[2],
    "type": member("Type"),
    "valid-from": lambda ctx, row: row.created,
    "valid-until": _place("ValidUntil"),
}


@operation("ec2:DescribeSpotInstanceRequests")
def describe_spot_instance_requests(ctx: Context, p: Params) -> Result:
    """The caller's requests."""
    return page(ctx, p, REQUESTS.name, REQUEST_FILTERS, REQUESTS.render)


@operation("ec2:CancelSpotInstanceRequests", on="spot-instances-request/{SpotInstanceRequestIds}")
def cancel_spot_instance_requests(ctx: Context, p: Params) -> Result:
    """Ask for no more of them; their instances run on."""
    rows = ctx.find_all(REQUESTS.name, p["SpotInstanceRequestIds"])
    for row in rows:
        if fate(ctx, row)[0] != "closed":
            row.state = "cancelled"
    answer = [{"SpotInstanceRequestId": row.id, "State": fate(ctx, row)[0]} for row in rows]
    return {"CancelledSpotInstanceRequests": answer}


def fulfil_again(ctx: Context, guests: Iterable[Guest]) -> None:
    """Instances were terminated: launch others for those of persistent requests that nobody cancelled."""
    for guest in guests:
        request = guest.notes["shown"].get("SpotInstanceRequestId")
        row = ctx.session.get(REQUESTS.row, request) if request else None
        if row is None or guest.state not in GONE or row.document["InstanceId"] != guest.id:
            continue
        specification = row.document.get("_spec")
        if row.state == "active" and specification is not None:
            launch = Launch(ctx, specification, {})
            site = find_site(ctx, launch.flavor, launch.zone, launch.group, launch.partition)
            launch.shown |= {"InstanceLifecycle": "spot", "SpotInstanceRequestId": row.id}
            row.document = row.document | {"InstanceId": launch.guest(0, site).id}
            ctx.session.flush()
