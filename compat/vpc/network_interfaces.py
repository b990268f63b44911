"""Network interfaces: create, describe, delete, attach."""

from __future__ import annotations

from typing import Any

from backends.errors import InUse, Missing
from backends.network.errors import AlreadyAttached, NotAttached, WrongNetwork
from backends.network.models import Port, PortAddress
from compat.context import Context
from compat.describe import page
from compat.ec2.abilities import refuse_while_running
from compat.errors import AWSError
from compat.filters import Filters
from compat.kinds import kind
from compat.operation import Params, Result, operation
from compat.tags import drop_tags
from compat.vpc import named
from compat.vpc.addresses import public_ip_owner
from compat.vpc.facts import ADDRESS_FACTS, TOO_MANY_GROUPS, Raises, fresh
from compat.vpc.names import private_name, public_name

kind(
    "network-interface",
    prefix="eni-",
    row=Port,
    missing="InvalidNetworkInterfaceID.NotFound",
    malformed="InvalidNetworkInterfaceId.Malformed",
    label="networkInterface ID",
    quota=5000,
)
kind(
    "network-interface-attachment",
    prefix="eni-attach-",
    row=Port,
    missing="InvalidAttachmentID.NotFound",
    malformed="InvalidAttachmentID.Malformed",
    label="attachment ID",
)

TYPES = {"nat": "nat_gateway", "endpoint": "vpc_endpoint", "interface": "interface"}
KEEPERS = {"nat": "amazon-aws", "endpoint": "amazon-aws"}


def render_association(ctx: Context, row: PortAddress) -> dict[str, Any]:
    """The public address that stands for a private one."""
    shown: dict[str, Any] = {
        "PublicIp": row.public_ip,
        "PublicDnsName": public_name(ctx.region, row.public_ip or ""),
        "IpOwnerId": public_ip_owner(row),
    }
    if row.elastic_id is not None:
        shown.update(AllocationId=row.elastic_id, AssociationId=row.association_id)
    return shown


def render_attachment(port: Port) -> dict[str, Any]:
    """What an interface is attached to."""
    shown: dict[str, Any] = {
        "AttachmentId": port.attachment_id,
        "AttachTime": port.attached_at,
        "DeleteOnTermination": port.ends_with_guest,
        "DeviceIndex": port.device_index or 0,
        "NetworkCardIndex": port.card_index or 0,
        "InstanceOwnerId": port.tenant if port.guest_id is not None else KEEPERS.get(port.role, "amazon-aws"),
        "Status": "attached",
    }
    if port.guest_id is not None:
        shown["InstanceId"] = port.guest_id
    return shown


def render_private_addresses(ctx: Context, port: Port) -> list[dict[str, Any]]:
    """The private IPv4 addresses of an interface."""
    shown = []
    for row in port.addresses:
        if row.family == 4:
            one: dict[str, Any] = {
                "PrivateIpAddress": row.ip,
                "Primary": row.primary,
                "PrivateDnsName": private_name(ctx.region, row.ip),
            }
            if row.public_ip is not None:
                one["Association"] = render_association(ctx, row)
            shown.append(one)
    return shown


def render_network_interface(ctx: Context, port: Port) -> dict[str, Any]:
    """An interface as DescribeNetworkInterfaces shows it."""
    private = port.private()
    shown: dict[str, Any] = {
        "NetworkInterfaceId": port.id,
        "SubnetId": port.segment_id,
        "VpcId": port.network_id,
        "OwnerId": port.tenant,
        "AvailabilityZone": port.zone,
        "AvailabilityZoneId": port.zone_id,
        "Description": port.description,
        "InterfaceType": port.notes.get("type") or TYPES[port.role],
        "MacAddress": port.mac,
        "Status": port.state,
        "SourceDestCheck": port.checked,
        "RequesterManaged": port.keeper is not None,
        "Groups": [{"GroupId": link.group_id, "GroupName": link.name} for link in port.groups],
        "PrivateIpAddresses": render_private_addresses(ctx, port),
        "Ipv6Addresses": [
            {"Ipv6Address": row.ip, "IsPrimaryIpv6": bool(port.notes.get("primary6") == row.ip)}
            for row in port.addresses
            if row.family == 6
        ],
        "Operator": {"Managed": False},
        "TagSet": ctx.tags(port.id),
    }
    if port.keeper is not None:
        shown["RequesterId"] = port.keeper if port.keeper.isdecimal() else f"amazon-{port.keeper}"
    if private is not None:
        shown["PrivateIpAddress"] = private.ip
        shown["PrivateDnsName"] = private_name(ctx.region, private.ip)
        if private.public_ip is not None:
            shown["Association"] = render_association(ctx, private)
    else:
        shown["Ipv6Native"] = True
    if port.attachment_id is not None:
        shown["Attachment"] = render_attachment(port)
    if "tracking" in port.notes:
        shown["ConnectionTrackingConfiguration"] = port.notes["tracking"]
    return shown


GROUP_RAISES: Raises = {
    Missing: lambda fact: AWSError("InvalidGroup.NotFound", f"The security group '{fact.id}' does not exist"),
    WrongNetwork: lambda fact: AWSError(
        "InvalidGroup.NotFound", f"The security group '{fact.id}' does not exist in VPC '{fact.network}'"
    ),
    **TOO_MANY_GROUPS,
}


@operation(
    "ec2:CreateNetworkInterface",
    on=("subnet/{SubnetId}", "network-interface/*", "security-group/{Groups}"),
    raises={**ADDRESS_FACTS, **GROUP_RAISES},
)
def create_network_interface(ctx: Context, p: Params) -> Result:
    """An interface in a subnet, attached to nothing."""
    subnet = ctx.find("subnet", p["SubnetId"])
    listed = [(one.get("PrivateIpAddress"), bool(one.get("Primary"))) for one in p.get("PrivateIpAddresses") or ()]
    primary = p.get("PrivateIpAddress") or next((ip for ip, first in listed if first), None)
    if sum(first for _, first in listed) > 1:
        raise AWSError("InvalidParameterCombination", "Only one primary private IP address can be specified.")
    notes: dict[str, Any] = {}
    if p.get("InterfaceType"):
        notes["type"] = p["InterfaceType"]
    if p.get("ConnectionTrackingSpecification"):
        notes["tracking"] = dict(p["ConnectionTrackingSpecification"])
    port = ctx.network.add_port(
        ctx.mint("network-interface"),
        subnet,
        p.get("Groups") or (),
        address=primary,
        secondary=[ip for ip, first in listed if ip and not first and ip != primary],
        secondary_count=p.get("SecondaryPrivateIpAddressCount") or 0,
        addresses6=[one["Ipv6Address"] for one in p.get("Ipv6Addresses") or () if one.get("Ipv6Address")],
        count6=p.get("Ipv6AddressCount") or (1 if subnet.ipv6_on_launch and not p.get("Ipv6Addresses") else 0),
        description=p.get("Description") or "",
        notes=notes,
    )
    shown = {**render_network_interface(ctx, port), "Status": "pending"}
    return {"NetworkInterface": shown, "ClientToken": p.get("ClientToken")}


def _addresses(attribute: str, elastic: bool = False) -> Any:
    return lambda ctx, port: [
        getattr(row, attribute) for row in port.addresses if row.family == 4 and (not elastic or row.public_ip)
    ]


INTERFACE_FILTERS: Filters = {
    "association.allocation-id": _addresses("elastic_id"),
    "association.association-id": _addresses("association_id"),
    "association.ip-owner-id": lambda ctx, port: [public_ip_owner(row) for row in port.addresses if row.public_ip],
    "association.public-ip": _addresses("public_ip"),
    "association.public-dns-name": lambda ctx, port: [
        public_name(ctx.region, row.public_ip) for row in port.addresses if row.public_ip
    ],
    "addresses.association.owner-id": lambda ctx, port: [
        public_ip_owner(row) for row in port.addresses if row.public_ip
    ],
    "addresses.association.public-ip": _addresses("public_ip"),
    "addresses.primary": _addresses("primary"),
    "addresses.private-ip-address": _addresses("ip"),
    "attachment.attach-time": lambda ctx, port: port.attached_at,
    "attachment.attachment-id": Port.attachment_id,
    "attachment.delete-on-termination": lambda ctx, port: port.ends_with_guest if port.attachment_id else None,
    "attachment.device-index": Port.device_index,
    "attachment.instance-id": Port.guest_id,
    "attachment.instance-owner-id": lambda ctx, port: (
        render_attachment(port)["InstanceOwnerId"] if port.attachment_id else None
    ),
    "attachment.nat-gateway-id": lambda ctx, port: port.notes.get("nat"),
    "attachment.status": lambda ctx, port: "attached" if port.attachment_id else None,
    "availability-zone": Port.zone,
    "availability-zone-id": Port.zone_id,
    "description": Port.description,
    "group-id": lambda ctx, port: [link.group_id for link in port.groups],
    "group-name": lambda ctx, port: [link.name for link in port.groups],
    "ipv6-addresses.ipv6-address": lambda ctx, port: [row.ip for row in port.addresses if row.family == 6],
    "interface-type": lambda ctx, port: port.notes.get("type") or TYPES[port.role],
    "mac-address": Port.mac,
    "network-interface-id": Port.id,
    "operator.managed": lambda ctx, port: False,
    "operator.principal": lambda ctx, port: None,
    "owner-id": Port.tenant,
    "private-dns-name": lambda ctx, port: [private_name(ctx.region, row.ip) for row in port.addresses if row.primary],
    "private-ip-address": lambda ctx, port: [row.ip for row in port.addresses if row.family == 4],
    "requester-id": lambda ctx, port: None if port.keeper is None else f"amazon-{port.keeper}",
    "requester-managed": lambda ctx, port: port.keeper is not None,
    "source-dest-check": Port.checked,
    "status": Port.state,
    "subnet-id": Port.segment_id,
    "vpc-id": Port.network_id,
}


@operation("ec2:DescribeNetworkInterfaces")
def describe_network_interfaces(ctx: Context, p: Params) -> Result:
    """The interfaces of the account in the region."""
    return page(ctx, p, "network-interface", INTERFACE_FILTERS, render_network_interface)


@operation(
    "ec2:DeleteNetworkInterface",
    on="network-interface/{NetworkInterfaceId}",
    raises={
        InUse: lambda fact: AWSError("InvalidParameterValue", f"Network interface '{fact.id}' is currently in use.")
    },
)
def delete_network_interface(ctx: Context, p: Params) -> Result:
    """Delete an interface that is attached to nothing."""
    ctx.network.remove_port(ctx.find("network-interface", p["NetworkInterfaceId"]).id)
    drop_tags(ctx, p["NetworkInterfaceId"])
    return {}


@operation(
    "ec2:AttachNetworkInterface",
    on=("instance/{InstanceId}", "network-interface/{NetworkInterfaceId}"),
    raises={
        AlreadyAttached: lambda fact: (
            AWSError("InvalidNetworkInterface.InUse", f"Interface: [{fact.id}] in use.")
            if fact.index is None
            else AWSError(
                "InvalidParameterValue",
                f"Instance '{fact.id}' already has an interface attached at device index '{fact.index}'.",
            )
        )
    },
)
def attach_network_interface(ctx: Context, p: Params) -> Result:
    """Plug an interface into an instance of its zone."""
    instance = ctx.find("instance", p["InstanceId"])
    port = ctx.find("network-interface", p["NetworkInterfaceId"])
    if instance.zone != port.zone:
        raise AWSError(
            "InvalidParameterCombination",
            f"You may not attach a network interface to an instance if they are not in the same availability zone: "
            f"{port.zone} and {instance.zone}",
        )
    refuse_while_running(ctx, instance, "plugs_ports")
    card = p.get("NetworkCardIndex") or 0
    attached = ctx.network.attach_port(
        port.id,
        instance.id,
        p["DeviceIndex"],
        attachment_id=fresh("network-interface-attachment"),
        card_index=card,
    )
    ctx.compute.look_again(instance.id)
    return {"AttachmentId": attached.attachment_id, "NetworkCardIndex": card}


@operation(
    "ec2:DetachNetworkInterface", on=named.attached_interface, raises={NotAttached: "InvalidAttachmentID.NotFound"}
)
def detach_network_interface(ctx: Context, p: Params) -> Result:
    """Unplug an interface; an instance keeps its first one."""
    port = attached_port(ctx, p["AttachmentId"])
    if port.keeper is not None:
        raise AWSError("OperationNotPermitted", f"You do not have permission to detach interface '{port.id}'.")
    if port.device_index == 0 and not port.card_index:
        raise AWSError(
            "OperationNotPermitted",
            "The network interface at device index 0 and networkCard index 0 cannot be detached.",
        )
    holder = port.guest_id
    if holder is not None:
        refuse_while_running(ctx, ctx.find("instance", holder), "plugs_ports")
    ctx.network.detach_port(port.id)
    if holder is not None:
        ctx.compute.look_again(holder)
    return {}


def attached_port(ctx: Context, attachment_id: str) -> Port:
    """The interface of an attachment."""
    port = ctx.network.port_attached_as(attachment_id)
    if port is None:
        raise AWSError("InvalidAttachmentID.NotFound", f"The attachment '{attachment_id}' does not exist")
    return port
