"""The network interfaces of a launch: which subnets and security groups they are in, and how they are attached."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backends.compute.models import Guest
from backends.network.models import Port, Segment
from compat.context import Context
from compat.ec2.flavors import Flavor
from compat.ec2.regions import zone_named
from compat.errors import AWSError
from compat.vpc.facts import fresh


@dataclass(frozen=True, slots=True)
class Card:
    """A network card of a new guest. `port` names one that is there already; `public` None: as the subnet says.

    `spec` is what the call says of it: a member of NetworkInterfaces, empty where the call itself says all there is.
    """

    index: int
    segment: Segment
    groups: Sequence[str]
    port: str | None
    ends: bool
    public: bool | None
    spec: Mapping[str, Any]


SIMPLE = ("PrivateIpAddress", "Ipv6Addresses", "Ipv6AddressCount")
"""What a call without NetworkInterfaces says of the one interface that its instance gets."""


def find_cards(ctx: Context, spec: Mapping[str, Any], flavor: Flavor) -> list[Card]:
    """The cards of a new guest by their device index, as a launch says; the first is the primary one, and all are in
    one zone. Raises what RunInstances answers to interfaces that cannot be together, or are more than the type has.
    """
    asked = spec.get("NetworkInterfaces") or ()
    if not asked:
        if spec.get("SubnetId") and spec.get("SecurityGroups"):
            raise AWSError(
                "InvalidParameterCombination", "The parameter groupName cannot be used with the parameter subnet"
            )
        segment = _segment(ctx, spec, spec.get("SubnetId"))
        simple = {member: spec[member] for member in SIMPLE if member in spec}
        return [Card(0, segment, _groups(ctx, spec, segment), None, True, None, simple)]
    for member, word in (
        ("SubnetId", "subnet ID"),
        ("SecurityGroupIds", "security groups"),
        ("SecurityGroups", "security groups"),
    ):
        if spec.get(member):
            raise AWSError(
                "InvalidParameterCombination",
                f"Network interfaces and an instance-level {word} may not be specified on the same request",
            )
    cards = sorted((_card(ctx, spec, number, one) for number, one in enumerate(asked)), key=lambda card: card.index)
    if cards[0].index != 0:
        raise AWSError("InvalidParameterCombination", "You must specify a network interface at device index 0.")
    places = [(card.index, card.spec.get("NetworkCardIndex") or 0) for card in cards]
    if len(set(places)) < len(places):
        raise AWSError("InvalidParameterValue", "Each network interface requires a unique device index.")
    if any(card.segment.zone != cards[0].segment.zone for card in cards):
        raise AWSError("InvalidParameterCombination", "All network interfaces must be in the same availability zone.")
    if len(cards) > flavor.cards:
        raise AWSError(
            "AttachmentLimitExceeded",
            f"Interface count {len(cards)} exceeds the limit for {flavor.name}: {flavor.cards}",
        )
    return cards


def _card(ctx: Context, spec: Mapping[str, Any], number: int, one: Mapping[str, Any]) -> Card:
    index, ends, port = one.get("DeviceIndex"), one.get("DeleteOnTermination"), one.get("NetworkInterfaceId")
    if port:
        segment = ctx.find("subnet", ctx.find("network-interface", port).segment_id)
    else:
        segment = _segment(ctx, spec, one.get("SubnetId"))
    return Card(
        number if index is None else index,
        segment,
        one.get("Groups") or (),
        port,
        (not port) if ends is None else ends,
        one.get("AssociatePublicIpAddress"),
        one,
    )


def _segment(ctx: Context, spec: Mapping[str, Any], subnet: str | None) -> Segment:
    """The subnet that is named, else the default one of the zone that is; they must agree."""
    placement = spec.get("Placement") or {}
    zone = None
    if placement.get("AvailabilityZone") or placement.get("AvailabilityZoneId"):
        zone = zone_named(ctx, placement.get("AvailabilityZone"), placement.get("AvailabilityZoneId")).name
    if subnet:
        segment: Segment = ctx.find("subnet", subnet)
        if zone is not None and segment.zone != zone:
            raise AWSError(
                "InvalidParameterCombination",
                f"The availability zone '{zone}' does not match that of the subnet '{segment.id}'.",
            )
        return segment
    default = ctx.network.default_segment(zone)
    if default is None:
        if ctx.network.default_network() is None:
            raise AWSError(
                "VPCIdNotSpecified",
                "No default VPC for this user. GroupName is only supported for EC2-Classic and default VPC.",
            )
        raise AWSError("MissingInput", f"No default subnet for availability zone: '{zone}'.")
    return default


def _groups(ctx: Context, spec: Mapping[str, Any], segment: Segment) -> list[str]:
    ids = list(spec.get("SecurityGroupIds") or ())
    for name in spec.get("SecurityGroups") or ():
        group = ctx.network.group_named(segment.network_id, name)
        if group is None:
            raise AWSError(
                "InvalidGroup.NotFound",
                f"The security group '{name}' does not exist in VPC '{segment.network_id}'",
            )
        ids.append(group.id)
    return ids


def plug_in(ctx: Context, guest: Guest, cards: Sequence[Card], mint: Callable[[str], str]) -> None:
    """Attach the interfaces of a new guest, and make those that are not there yet, with ids of `mint`; the guest has
    its primary address then. Raises the network's errors of addresses and ports."""
    for card in cards:
        port = _new_port(ctx, guest, card, mint) if card.port is None else _attached(ctx, guest, card, card.port)
        public = card.public if card.public is not None else card.port is None and card.segment.public_on_launch
        private = port.private()
        if public and private is not None:
            ctx.network.lend_public(port)
            guest.notes = guest.notes | {"public": True}
        if card.index == 0 and private is not None:
            guest.address = private.ip


def _new_port(ctx: Context, guest: Guest, card: Card, mint: Callable[[str], str]) -> Port:
    spec = card.spec
    listed = spec.get("PrivateIpAddresses") or ()
    primary = spec.get("PrivateIpAddress") or next(
        (one["PrivateIpAddress"] for one in listed if one.get("Primary")), None
    )
    wanted6 = [one["Ipv6Address"] for one in spec.get("Ipv6Addresses") or () if one.get("Ipv6Address")]
    count6 = spec.get("Ipv6AddressCount")
    port = ctx.network.add_port(
        mint("network-interface"),
        card.segment,
        card.groups,
        address=primary,
        secondary=[
            one["PrivateIpAddress"]
            for one in listed
            if not one.get("Primary") and one.get("PrivateIpAddress") != primary
        ],
        secondary_count=spec.get("SecondaryPrivateIpAddressCount") or 0,
        addresses6=wanted6,
        count6=count6 if count6 is not None else int(card.segment.ipv6_on_launch and not wanted6),
        description=spec.get("Description") or "",
    )
    ctx.network.plug_in(
        port,
        guest.id,
        card.index,
        attachment_id=fresh("network-interface-attachment"),
        delete_on_termination=card.ends,
        card_index=spec.get("NetworkCardIndex") or 0,
    )
    return port


def _attached(ctx: Context, guest: Guest, card: Card, port: str) -> Port:
    return ctx.network.attach_port(
        port,
        guest.id,
        card.index,
        attachment_id=fresh("network-interface-attachment"),
        delete_on_termination=card.ends,
        card_index=card.spec.get("NetworkCardIndex") or 0,
    )
