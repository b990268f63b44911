"""Instances in AWS's form: what belongs to them is fetched for a whole answer at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from backends.compute.models import Cause, Guest, GuestState
from backends.network.models import Network, Port, PortAddress, PortGroup
from backends.volume.models import Attachment
from compat.context import Context
from compat.ec2.capacity_reservations import HELD, IN_USE
from compat.regions import zones
from compat.vpc.names import private_domain, private_name, public_name

CODES = {
    GuestState.PENDING: 0,
    GuestState.RUNNING: 16,
    GuestState.SHUTTING_DOWN: 32,
    GuestState.TERMINATED: 48,
    GuestState.STOPPING: 64,
    GuestState.STOPPED: 80,
}

REASONS: dict[str, tuple[str, str]] = {
    Cause.ASKED: ("Client.UserInitiatedShutdown", "Client.UserInitiatedShutdown: User initiated shutdown"),
    Cause.SLEEP: ("Client.UserInitiatedHibernate", "Client.UserInitiatedHibernate: User initiated hibernate"),
    Cause.CRASH: ("Server.InternalError", "Server.InternalError: The instance broke down"),
    Cause.INSIDE: ("Client.InstanceInitiatedShutdown", "Client.InstanceInitiatedShutdown: Instance initiated shutdown"),
    Cause.NO_ROOM: ("Server.InsufficientInstanceCapacity", "Server.InsufficientInstanceCapacity: no host has room"),
    Cause.NO_DISK: ("Client.InternalError", "Client.InternalError: a volume could not be made"),
    Cause.FAULT: ("Server.InternalError", "Server.InternalError: Internal error on launch"),
}
TOLD = (Cause.NO_ROOM, Cause.NO_DISK, Cause.FAULT, Cause.CRASH)
"""Reasons that have more to tell: what was in the way."""

FEW = 32
"""Up to so many instances are named one by one in the queries below; more of them are nearly all there are."""

_DISKS = select(
    Attachment.guest, Attachment.device, Attachment.disk, Attachment.state, Attachment.created, Attachment.keep
).order_by(Attachment.guest, Attachment.device)
_PORTS = (
    select(
        Port.id,
        Port.guest_id,
        Port.network_id,
        Port.segment_id,
        Port.mac,
        Port.description,
        Port.state,
        Port.checked,
        Port.attachment_id,
        Port.device_index,
        Port.card_index,
        Port.attached_at,
        Port.ends_with_guest,
        Port.notes,
    )
    .where(Port.guest_id.is_not(None))
    .order_by(Port.guest_id, Port.device_index, Port.card_index)
)
_ADDRESSES = (
    select(
        PortAddress.port_id,
        PortAddress.ip,
        PortAddress.family,
        PortAddress.primary,
        PortAddress.public_ip,
        PortAddress.elastic_id,
        PortAddress.association_id,
    )
    .join(Port, Port.id == PortAddress.port_id)
    .where(Port.guest_id.is_not(None))
    .order_by(PortAddress.port_id, PortAddress.primary.desc(), PortAddress.position)
)
_GROUPS = (
    select(PortGroup.port_id, PortGroup.group_id, PortGroup.name)
    .join(Port, Port.id == PortGroup.port_id)
    .where(Port.guest_id.is_not(None))
    .order_by(PortGroup.port_id, PortGroup.position)
)


def _of(statement: Any, guest: Any, few: list[str] | None) -> Any:
    return statement if few is None else statement.where(guest.in_(few))


def state(name: str) -> dict[str, Any]:
    """A state with its code."""
    return {"Code": CODES[GuestState(name)], "Name": name}


class Belongings:
    """Attachments and interfaces of the instances of one answer."""

    def __init__(self, ctx: Context, guests: Sequence[Guest]) -> None:
        ids = [guest.id for guest in guests]
        session = ctx.session
        self.disks: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.ports: dict[str, list[dict[str, Any]]] = defaultdict(list)
        self.elastic: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self.zone_ids = {zone.name: zone.id for zone in zones(ctx.region)}
        if not ids:
            return
        few = ids if len(ids) <= FEW else None
        for guest, device, disk, status, created, keep in session.execute(_of(_DISKS, Attachment.guest, few)):
            ebs = {"VolumeId": disk, "Status": status, "AttachTime": created, "DeleteOnTermination": not keep}
            self.disks[guest].append({"DeviceName": device, "Ebs": ebs})
        self._load_ports(ctx, few)

    def _load_ports(self, ctx: Context, few: list[str] | None) -> None:
        session = ctx.session
        ports = session.execute(_of(_PORTS, Port.guest_id, few)).all()
        if not ports:
            return
        addresses: dict[str, list[Any]] = defaultdict(list)
        for row in session.execute(_of(_ADDRESSES, Port.guest_id, few)):
            addresses[row.port_id].append(row)
            if row.elastic_id is not None:
                self.elastic[row.port_id].append((row.elastic_id, row.association_id))
        groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for port_id, group_id, name in session.execute(_of(_GROUPS, Port.guest_id, few)):
            groups[port_id].append({"GroupId": group_id, "GroupName": name})
        named = {port.network_id for port in ports}
        self._with_names = set(session.scalars(select(Network.id).where(Network.id.in_(named), Network.hostnames)))
        for port in ports:
            self.ports[port.guest_id].append(self._render_port(ctx, port, addresses[port.id], groups[port.id]))

    def _render_port(
        self, ctx: Context, port: Any, addresses: list[Any], groups: list[dict[str, Any]]
    ) -> dict[str, Any]:
        private = []
        for row in addresses:
            if row.family != 4:
                continue
            one: dict[str, Any] = {
                "Primary": row.primary,
                "PrivateIpAddress": row.ip,
                "PrivateDnsName": private_name(ctx.region, row.ip),
            }
            if row.public_ip is not None:
                one["Association"] = {
                    "IpOwnerId": "amazon" if row.elastic_id is None else ctx.account,
                    "PublicIp": row.public_ip,
                    "PublicDnsName": public_name(ctx.region, row.public_ip)
                    if port.network_id in self._with_names
                    else "",
                }
            private.append(one)
        answer: dict[str, Any] = {
            "NetworkInterfaceId": port.id,
            "SubnetId": port.segment_id,
            "VpcId": port.network_id,
            "OwnerId": ctx.account,
            "Description": port.description,
            "MacAddress": port.mac,
            "Status": port.state,
            "SourceDestCheck": port.checked,
            "InterfaceType": port.notes.get("type") or "interface",
            "PrivateIpAddresses": private,
            "Ipv6Addresses": [
                {"Ipv6Address": row.ip, "IsPrimaryIpv6": port.notes.get("primary6") == row.ip}
                for row in addresses
                if row.family == 6
            ],
            "Groups": groups,
            "Attachment": {
                "AttachmentId": port.attachment_id,
                "AttachTime": port.attached_at,
                "DeleteOnTermination": port.ends_with_guest,
                "DeviceIndex": port.device_index or 0,
                "NetworkCardIndex": port.card_index or 0,
                "Status": "attached",
            },
            "Operator": {"Managed": False},
        }
        if private:
            first = private[0]
            answer |= {"PrivateIpAddress": first["PrivateIpAddress"], "PrivateDnsName": first["PrivateDnsName"]}
            if "Association" in first:
                answer["Association"] = first["Association"]
        return answer


def load(ctx: Context, guests: Sequence[Guest]) -> None:
    """Fetch what the renderer needs for these instances."""
    ctx.preload_tags([guest.id for guest in guests])
    ctx.prepared = Belongings(ctx, guests)


def render_instance(ctx: Context, guest: Guest) -> dict[str, Any]:
    """An instance in AWS's form. Call `load` before."""
    held: Belongings = ctx.prepared
    ports = held.ports.get(guest.id, [])
    shown = guest.notes["shown"]
    answer: dict[str, Any] = {
        **shown,
        "InstanceId": guest.id,
        "ImageId": guest.image,
        "InstanceType": guest.flavor,
        "State": state(guest.state),
        "AmiLaunchIndex": guest.position,
        "Architecture": guest.architecture,
        "LaunchTime": guest.launched,
        "UsageOperationUpdateTime": guest.created,
        "Monitoring": {"State": "enabled" if guest.monitored else "disabled"},
        "Placement": {
            **shown["Placement"],
            "AvailabilityZone": guest.zone,
            "AvailabilityZoneId": held.zone_ids.get(guest.zone),
        },
        "BlockDeviceMappings": held.disks.get(guest.id, []),
        "NetworkInterfaces": ports,
        "SecurityGroups": [],
        "PrivateDnsName": "",
        "PublicDnsName": "",
        "StateTransitionReason": "",
        "Tags": ctx.tags(guest.id),
    }
    if guest.notes.get(HELD) is not None and guest.state in IN_USE:
        answer["CapacityReservationId"] = guest.notes[HELD]
    if guest.key_name is not None:
        answer["KeyName"] = guest.key_name
    if guest.root_device is not None:
        answer["RootDeviceName"] = guest.root_device
    if guest.notes.get("profile") is not None:
        profile = guest.notes["profile"]
        answer["IamInstanceProfile"] = {"Arn": profile["Arn"], "Id": profile["Id"]}
    if ports:
        answer |= _from_port(ports[0])
        if (shown.get("PrivateDnsNameOptions") or {}).get("HostnameType") == "resource-name":
            answer["PrivateDnsName"] = f"{guest.id}.{private_domain(ctx.region)}"
    if guest.state == GuestState.PENDING:
        trouble = guest.notes.get("trouble")
        answer["StateReason"] = {"Code": "pending", "Message": f"pending: {trouble}" if trouble else "pending"}
        answer["MetadataOptions"] = {**shown["MetadataOptions"], "State": "pending"}
    elif guest.cause in REASONS and guest.state != GuestState.RUNNING:
        code, message = REASONS[guest.cause]
        if guest.cause in TOLD and guest.notes.get("trouble"):
            message += f" ({guest.notes['trouble']})"
        answer["StateReason"] = {"Code": code, "Message": message}
        by = (
            "User"
            if guest.cause in (Cause.ASKED, Cause.SLEEP)
            else "Instance"
            if guest.cause == Cause.INSIDE
            else "Server"
        )
        answer["StateTransitionReason"] = f"{by} initiated ({guest.changed:%Y-%m-%d %H:%M:%S} GMT)"
    return answer


def _from_port(port: dict[str, Any]) -> dict[str, Any]:
    """What an instance shows of its first interface."""
    answer: dict[str, Any] = {
        "SubnetId": port["SubnetId"],
        "VpcId": port["VpcId"],
        "SourceDestCheck": port["SourceDestCheck"],
        "SecurityGroups": port["Groups"],
    }
    if "PrivateIpAddress" in port:
        answer |= {"PrivateIpAddress": port["PrivateIpAddress"], "PrivateDnsName": port["PrivateDnsName"]}
    if "Association" in port:
        answer["PublicIpAddress"] = port["Association"]["PublicIp"]
        answer["PublicDnsName"] = port["Association"]["PublicDnsName"]
    if port["Ipv6Addresses"]:
        answer["Ipv6Address"] = port["Ipv6Addresses"][0]["Ipv6Address"]
    return answer
