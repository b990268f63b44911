"""Instances: looked at, started, stopped, rebooted, terminated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from backends.compute.models import Guest, GuestState
from backends.errors import Exhausted, WrongState
from compat.context import Context
from compat.describe import page
from compat.ec2.capacity_reservations import claim_again
from compat.ec2.instance_status import can_hibernate, load_status, render_status
from compat.ec2.instance_view import load, render_instance, state
from compat.ec2.launch import RUN_FACTS
from compat.ec2.listing import at
from compat.ec2.spot_market import refuse_to_stop
from compat.ec2.spot_requests import fulfil_again
from compat.errors import AWSError
from compat.filters import Filters
from compat.kinds import kind
from compat.operation import Params, Raises, Result, operation

kind(
    "instance",
    prefix="i-",
    row=Guest,
    missing="InvalidInstanceID.NotFound",
    malformed="InvalidInstanceID.Malformed",
    label="instance ID",
    several="The instance IDs '{ids}' do not exist",
)


def _place(path: str) -> Any:
    return at(render_instance, path)


def _nothing(ctx: Context, guest: Guest) -> None:
    """A filter on what no instance here has."""


def _elastic(place: int) -> Any:
    """A filter on the allocation ids (0) or association ids (1) of an instance's elastic addresses."""
    return lambda ctx, guest: [
        pair[place] for port in _ports(ctx, guest) for pair in ctx.prepared.elastic[port["NetworkInterfaceId"]]
    ]


_ASSOCIATION = "NetworkInterfaces.PrivateIpAddresses.Association"

INSTANCE_FILTERS: Filters = {
    "affinity": _place("Placement.Affinity"),
    "architecture": Guest.architecture,
    "availability-zone": Guest.zone,
    "availability-zone-id": _place("Placement.AvailabilityZoneId"),
    "block-device-mapping.attach-time": _place("BlockDeviceMappings.Ebs.AttachTime"),
    "block-device-mapping.delete-on-termination": _place("BlockDeviceMappings.Ebs.DeleteOnTermination"),
    "block-device-mapping.device-name": _place("BlockDeviceMappings.DeviceName"),
    "block-device-mapping.status": _place("BlockDeviceMappings.Ebs.Status"),
    "block-device-mapping.volume-id": _place("BlockDeviceMappings.Ebs.VolumeId"),
    "boot-mode": _place("BootMode"),
    "capacity-reservation-id": _place("CapacityReservationId"),
    "capacity-reservation-specification.capacity-reservation-preference": _place(
        "CapacityReservationSpecification.CapacityReservationPreference"
    ),
    "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-id": _place(
        "CapacityReservationSpecification.CapacityReservationTarget.CapacityReservationId"
    ),
    "capacity-reservation-specification.capacity-reservation-target.capacity-reservation-resource-group-arn": _nothing,
    "client-token": _place("ClientToken"),
    "current-instance-boot-mode": _place("CurrentInstanceBootMode"),
    "dns-name": _place("PublicDnsName"),
    "ebs-optimized": _place("EbsOptimized"),
    "ena-support": _place("EnaSupport"),
    "enclave-options.enabled": _place("EnclaveOptions.Enabled"),
    "hibernation-options.configured": _place("HibernationOptions.Configured"),
    "host-id": _place("Placement.HostId"),
    "hypervisor": _place("Hypervisor"),
    "iam-instance-profile.arn": _place("IamInstanceProfile.Arn"),
    "iam-instance-profile.id": _place("IamInstanceProfile.Id"),
    "iam-instance-profile.name": lambda ctx, guest: (
        guest.notes["profile"]["Arn"].rpartition("/")[2] if guest.notes.get("profile") else None
    ),
    "image-id": Guest.image,
    "instance-id": Guest.id,
    "instance-lifecycle": _place("InstanceLifecycle"),
    "instance-state-code": _place("State.Code"),
    "instance-state-name": Guest.state,
    "instance-type": Guest.flavor,
    "instance.group-id": _place("SecurityGroups.GroupId"),
    "instance.group-name": _place("SecurityGroups.GroupName"),
    "ip-address": _place("PublicIpAddress"),
    "ipv6-address": _place("NetworkInterfaces.Ipv6Addresses.Ipv6Address"),
    "kernel-id": _place("KernelId"),
    "key-name": Guest.key_name,
    "launch-index": Guest.position,
    "launch-time": lambda ctx, guest: guest.launched,
    "maintenance-options.auto-recovery": _place("MaintenanceOptions.AutoRecovery"),
    "metadata-options.http-endpoint": _place("MetadataOptions.HttpEndpoint"),
    "metadata-options.http-protocol-ipv4": lambda ctx, guest: "enabled",
    "metadata-options.http-protocol-ipv6": _place("MetadataOptions.HttpProtocolIpv6"),
    "metadata-options.http-put-response-hop-limit": _place("MetadataOptions.HttpPutResponseHopLimit"),
    "metadata-options.http-tokens": _place("MetadataOptions.HttpTokens"),
    "metadata-options.instance-metadata-tags": _place("MetadataOptions.InstanceMetadataTags"),
    "metadata-options.state": _place("MetadataOptions.State"),
    "monitoring-state": _place("Monitoring.State"),
    "network-interface.addresses.association.allocation-id": _elastic(0),
    "network-interface.addresses.association.association-id": _elastic(1),
    "network-interface.addresses.association.carrier-ip": _nothing,
    "network-interface.addresses.association.customer-owned-ip": _nothing,
    "network-interface.addresses.association.ip-owner-id": _place(f"{_ASSOCIATION}.IpOwnerId"),
    "network-interface.addresses.association.public-dns-name": _place(f"{_ASSOCIATION}.PublicDnsName"),
    "network-interface.addresses.association.public-ip": _place(f"{_ASSOCIATION}.PublicIp"),
    "network-interface.addresses.primary": _place("NetworkInterfaces.PrivateIpAddresses.Primary"),
    "network-interface.addresses.private-dns-name": _place("NetworkInterfaces.PrivateIpAddresses.PrivateDnsName"),
    "network-interface.addresses.private-ip-address": _place("NetworkInterfaces.PrivateIpAddresses.PrivateIpAddress"),
    "network-interface.association.allocation-id": _elastic(0),
    "network-interface.association.association-id": _elastic(1),
    "network-interface.association.carrier-ip": _nothing,
    "network-interface.association.customer-owned-ip": _nothing,
    "network-interface.association.ip-owner-id": _place("NetworkInterfaces.Association.IpOwnerId"),
    "network-interface.association.public-dns-name": _place("NetworkInterfaces.Association.PublicDnsName"),
    "network-interface.association.public-ip": _place("NetworkInterfaces.Association.PublicIp"),
    "network-interface.attachment.attach-time": _place("NetworkInterfaces.Attachment.AttachTime"),
    "network-interface.attachment.attachment-id": _place("NetworkInterfaces.Attachment.AttachmentId"),
    "network-interface.attachment.delete-on-termination": _place("NetworkInterfaces.Attachment.DeleteOnTermination"),
    "network-interface.attachment.device-index": _place("NetworkInterfaces.Attachment.DeviceIndex"),
    "network-interface.attachment.instance-id": lambda ctx, guest: guest.id if _ports(ctx, guest) else None,
    "network-interface.attachment.instance-owner-id": lambda ctx, guest: ctx.account if _ports(ctx, guest) else None,
    "network-interface.attachment.network-card-index": _place("NetworkInterfaces.Attachment.NetworkCardIndex"),
    "network-interface.attachment.status": _place("NetworkInterfaces.Attachment.Status"),
    "network-interface.availability-zone": lambda ctx, guest: guest.zone if _ports(ctx, guest) else None,
    "network-interface.deny-all-igw-traffic": lambda ctx, guest: False if _ports(ctx, guest) else None,
    "network-interface.description": _place("NetworkInterfaces.Description"),
    "network-interface.group-id": _place("NetworkInterfaces.Groups.GroupId"),
    "network-interface.group-name": _place("NetworkInterfaces.Groups.GroupName"),
    "network-interface.ipv4-prefixes.ipv4-prefix": _nothing,
    "network-interface.ipv6-address": _place("NetworkInterfaces.Ipv6Addresses.Ipv6Address"),
    "network-interface.ipv6-addresses.ipv6-address": _place("NetworkInterfaces.Ipv6Addresses.Ipv6Address"),
    "network-interface.ipv6-addresses.is-primary-ipv6": _place("NetworkInterfaces.Ipv6Addresses.IsPrimaryIpv6"),
    "network-interface.ipv6-native": _nothing,
    "network-interface.ipv6-prefixes.ipv6-prefix": _nothing,
    "network-interface.mac-address": _place("NetworkInterfaces.MacAddress"),
    "network-interface.network-interface-id": _place("NetworkInterfaces.NetworkInterfaceId"),
    "network-interface.operator.managed": _place("NetworkInterfaces.Operator.Managed"),
    "network-interface.operator.principal": _nothing,
    "network-interface.outpost-arn": _nothing,
    "network-interface.owner-id": _place("NetworkInterfaces.OwnerId"),
    "network-interface.private-dns-name": _place("NetworkInterfaces.PrivateDnsName"),
    "network-interface.private-ip-address": _place("NetworkInterfaces.PrivateIpAddress"),
    "network-interface.public-dns-name": _place("NetworkInterfaces.Association.PublicDnsName"),
    "network-interface.requester-id": _nothing,
    "network-interface.requester-managed": lambda ctx, guest: False if _ports(ctx, guest) else None,
    "network-interface.status": _place("NetworkInterfaces.Status"),
    "network-interface.source-dest-check": _place("NetworkInterfaces.SourceDestCheck"),
    "network-interface.subnet-id": _place("NetworkInterfaces.SubnetId"),
    "network-interface.tag-key": lambda ctx, guest: [tag["Key"] for tag in _port_tags(ctx, guest)],
    "network-interface.tag-value": lambda ctx, guest: [tag["Value"] for tag in _port_tags(ctx, guest)],
    "network-interface.vpc-id": _place("NetworkInterfaces.VpcId"),
    "network-performance-options.bandwidth-weighting": _place("NetworkPerformanceOptions.BandwidthWeighting"),
    "operator.managed": _place("Operator.Managed"),
    "operator.principal": _nothing,
    "outpost-arn": _nothing,
    "owner-id": Guest.tenant,
    "placement-group-name": _place("Placement.GroupName"),
    "placement-partition-number": _place("Placement.PartitionNumber"),
    "platform": _place("Platform"),
    "platform-details": _place("PlatformDetails"),
    "private-dns-name": _place("PrivateDnsName"),
    "private-dns-name-options.enable-resource-name-dns-a-record": _place(
        "PrivateDnsNameOptions.EnableResourceNameDnsARecord"
    ),
    "private-dns-name-options.enable-resource-name-dns-aaaa-record": _place(
        "PrivateDnsNameOptions.EnableResourceNameDnsAAAARecord"
    ),
    "private-dns-name-options.hostname-type": _place("PrivateDnsNameOptions.HostnameType"),
    "private-ip-address": _place("NetworkInterfaces.PrivateIpAddresses.PrivateIpAddress"),
    "product-code": _nothing,
    "product-code.type": _nothing,
    "ramdisk-id": _place("RamdiskId"),
    "reason": _place("StateTransitionReason"),
    "requester-id": _nothing,
    "reservation-id": Guest.batch,
    "root-device-name": Guest.root_device,
    "root-device-type": _place("RootDeviceType"),
    "source-dest-check": _place("SourceDestCheck"),
    "spot-instance-request-id": _place("SpotInstanceRequestId"),
    "state-reason-code": _place("StateReason.Code"),
    "state-reason-message": _place("StateReason.Message"),
    "subnet-id": _place("SubnetId"),
    "tenancy": _place("Placement.Tenancy"),
    "tpm-support": _place("TpmSupport"),
    "usage-operation": _place("UsageOperation"),
    "usage-operation-update-time": lambda ctx, guest: guest.created,
    "virtualization-type": _place("VirtualizationType"),
    "vpc-id": _place("VpcId"),
}


def _ports(ctx: Context, guest: Guest) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ctx.prepared.ports.get(guest.id, [])
    return found


def _port_tags(ctx: Context, guest: Guest) -> list[dict[str, str]]:
    return [tag for port in _ports(ctx, guest) for tag in ctx.tags(port["NetworkInterfaceId"])]


@operation("ec2:DescribeInstances")
def describe_instances(ctx: Context, p: Params) -> Result:
    """The caller's instances, by reservation."""
    seen: list[Guest] = []

    def render(ctx: Context, guest: Guest) -> dict[str, Any]:
        seen.append(guest)
        return render_instance(ctx, guest)

    result = page(ctx, p, "instance", INSTANCE_FILTERS, render, prepare=load)
    reservations: dict[str, list[dict[str, Any]]] = {}
    for guest, instance in zip(seen, result["Reservations"], strict=True):
        reservations.setdefault(guest.batch, []).append(instance)
    result["Reservations"] = [
        {
            "ReservationId": batch,
            "OwnerId": ctx.account,
            "Groups": [],
            "Instances": sorted(instances, key=lambda one: one["AmiLaunchIndex"]),
        }
        for batch, instances in reservations.items()
    ]
    return result


# --- power -----------------------------------------------------------------------------------------------------------


def _wrong(verb: str) -> Raises:
    return {
        WrongState: lambda fact: AWSError(
            "IncorrectInstanceState",
            f"The instance '{fact.guest}' is not in a state from which it can be {verb}.",
        ),
        Exhausted: lambda fact: AWSError(
            "InsufficientInstanceCapacity", "We currently do not have sufficient capacity: no host has room."
        ),
    }


def _change(ctx: Context, ids: Sequence[str], step: Callable[[Guest], None]) -> list[dict[str, Any]]:
    """Do one step with every instance, or with none; tell the states before and after."""
    changes = []
    for guest in ctx.find_all("instance", ids):
        before = guest.state
        step(guest)
        changes.append({"InstanceId": guest.id, "PreviousState": state(before), "CurrentState": state(guest.state)})
    return changes


@operation("ec2:StartInstances", on="instance/{InstanceIds}", raises=_wrong("started"))
def start_instances(ctx: Context, p: Params) -> Result:
    """Start stopped instances."""

    def start(guest: Guest) -> None:
        stopped = guest.state == GuestState.STOPPED
        if stopped:
            claim_again(ctx, guest)
        ctx.compute.start(guest)
        if stopped and guest.notes.get("public"):
            for port in ctx.network.ports_of(guest.id):
                if port.device_index == 0 and port.private() is not None:
                    ctx.network.lend_public(port)

    return {"StartingInstances": _change(ctx, p["InstanceIds"], start)}


@operation("ec2:StopInstances", on="instance/{InstanceIds}", raises=_wrong("stopped"))
def stop_instances(ctx: Context, p: Params) -> Result:
    """Stop running instances."""
    sleep = bool(p.get("Hibernate"))

    def stop(guest: Guest) -> None:
        refuse_to_stop(ctx, guest)
        if guest.stop_locked:
            raise AWSError(
                "OperationNotPermitted",
                f"The instance '{guest.id}' may not be stopped. Modify its 'disableApiStop' instance attribute and "
                "try again.",
            )
        if guest.notes["shown"]["RootDeviceType"] == "instance-store":
            raise AWSError(
                "UnsupportedOperation",
                f"The instance '{guest.id}' does not have an 'ebs' root device type and cannot be stopped.",
            )
        if sleep and not (guest.notes["shown"]["HibernationOptions"]["Configured"] and can_hibernate(ctx)):
            raise AWSError(
                "UnsupportedHibernationConfiguration",
                f"The instance '{guest.id}' is not configured for hibernation, or its host cannot hibernate.",
            )
        ctx.compute.stop(guest, force=bool(p.get("Force")), sleep=sleep)

    return {"StoppingInstances": _change(ctx, p["InstanceIds"], stop)}


@operation("ec2:RebootInstances", on="instance/{InstanceIds}", raises=_wrong("rebooted"))
def reboot_instances(ctx: Context, p: Params) -> Result:
    """Start running instances anew."""
    _change(ctx, p["InstanceIds"], ctx.compute.reboot)
    return {}


@operation("ec2:TerminateInstances", on="instance/{InstanceIds}", raises=RUN_FACTS)
def terminate_instances(ctx: Context, p: Params) -> Result:
    """End instances for good."""

    def terminate(guest: Guest) -> None:
        if guest.locked and guest.state not in (GuestState.TERMINATED, GuestState.SHUTTING_DOWN):
            raise AWSError(
                "OperationNotPermitted",
                f"The instance '{guest.id}' may not be terminated. Modify its 'disableApiTermination' instance "
                "attribute and try again.",
            )
        ctx.compute.terminate(guest)

    changes = _change(ctx, p["InstanceIds"], terminate)
    fulfil_again(ctx, ctx.find_all("instance", p["InstanceIds"]))
    return {"TerminatingInstances": changes}


# --- status ----------------------------------------------------------------------------------------------------------


def _status(path: str) -> Any:
    return at(render_status, path)


STATUS_FILTERS: Filters = {
    "availability-zone": Guest.zone,
    "availability-zone-id": lambda ctx, guest: ctx.prepared.zone_ids.get(guest.zone),
    "event.code": _nothing,
    "event.description": _nothing,
    "event.instance-event-id": _nothing,
    "event.not-after": _nothing,
    "event.not-before": _nothing,
    "event.not-before-deadline": _nothing,
    "instance-state-code": _status("InstanceState.Code"),
    "instance-state-name": Guest.state,
    "instance-status.reachability": _status("InstanceStatus.Details.Status"),
    "instance-status.status": _status("InstanceStatus.Status"),
    "operator.managed": lambda ctx, guest: False,
    "operator.principal": _nothing,
    "system-status.reachability": _status("SystemStatus.Details.Status"),
    "system-status.status": _status("SystemStatus.Status"),
    "attached-ebs-status.status": _status("AttachedEbsStatus.Status"),
    "application-status.status": _nothing,
}


@operation("ec2:DescribeInstanceStatus")
def describe_instance_status(ctx: Context, p: Params) -> Result:
    """The health of the caller's running instances; of all, when the call says so."""
    where = () if p.get("IncludeAllInstances") else (Guest.state == GuestState.RUNNING,)
    return page(ctx, p, "instance", STATUS_FILTERS, render_status, where=where, prepare=load_status)
