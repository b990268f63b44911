"""CreateSubnet, DescribeSubnets, DeleteSubnet, and what may be changed of a subnet."""

from __future__ import annotations

from typing import Any

from backends.errors import InUse, Overlap
from backends.network.errors import BadSize, Malformed
from backends.network.models import Segment, SegmentRange
from compat.context import Context
from compat.describe import page
from compat.errors import AWSError
from compat.filters import Filters
from compat.kinds import kind
from compat.operation import Params, Result, operation
from compat.regions import Zone, zones
from compat.tags import drop_tags
from compat.vpc import named
from compat.vpc.facts import bad_range, bad_value, dependency, fresh, missing
from compat.vpc.subnet_cidr_reservations import forget_reservations

kind(
    "subnet",
    prefix="subnet-",
    row=Segment,
    missing="InvalidSubnetID.NotFound",
    malformed="InvalidSubnetID.Malformed",
    label="subnet ID",
    quota=2000,
)
kind(
    "subnet-cidr-block-association",
    prefix="subnet-cidr-assoc-",
    row=SegmentRange,
    missing="InvalidSubnetCidrBlockAssociationID.NotFound",
    malformed="InvalidSubnetCidrBlockAssociationID.Malformed",
    label="subnet cidr block association ID",
)

OVERLAP = "InvalidSubnet.Conflict"


def render_cidr6(block: SegmentRange, state: str | None = None) -> dict[str, Any]:
    """An IPv6 block of a subnet."""
    return {
        "AssociationId": block.id,
        "Ipv6CidrBlock": block.cidr,
        "Ipv6CidrBlockState": {"State": state or block.state},
        "Ipv6AddressAttribute": "public",
        "IpSource": "amazon",
    }


def name_options(subnet: Segment) -> dict[str, Any]:
    """How instances of a subnet are named in DNS, unless they say otherwise."""
    return {
        "HostnameType": subnet.notes.get("hostname_type", "ip-name"),
        "EnableResourceNameDnsARecord": bool(subnet.notes.get("name_a")),
        "EnableResourceNameDnsAAAARecord": bool(subnet.notes.get("name_aaaa")),
    }


def render_subnet(ctx: Context, subnet: Segment) -> dict[str, Any]:
    """A subnet as DescribeSubnets shows it."""
    shown: dict[str, Any] = {
        "SubnetId": subnet.id,
        "SubnetArn": ctx.arn("ec2", f"subnet/{subnet.id}", account=subnet.tenant),
        "VpcId": subnet.network_id,
        "OwnerId": subnet.tenant,
        "State": subnet.state,
        "AvailabilityZone": subnet.zone,
        "AvailabilityZoneId": subnet.zone_id,
        "AvailableIpAddressCount": subnet.free,
        "DefaultForAz": subnet.is_default,
        "MapPublicIpOnLaunch": subnet.public_on_launch,
        "MapCustomerOwnedIpOnLaunch": False,
        "AssignIpv6AddressOnCreation": subnet.ipv6_on_launch,
        "Ipv6CidrBlockAssociationSet": [render_cidr6(block) for block in subnet.ranges],
        "EnableDns64": bool(subnet.notes.get("dns64")),
        "Ipv6Native": not subnet.cidr,
        "PrivateDnsNameOptionsOnLaunch": name_options(subnet),
        "BlockPublicAccessStates": {"InternetGatewayBlockMode": "off"},
        "Tags": ctx.tags(subnet.id),
    }
    if subnet.cidr:
        shown["CidrBlock"] = subnet.cidr
    if "lni" in subnet.notes:
        shown["EnableLniAtDeviceIndex"] = subnet.notes["lni"]
    return shown


def zone_of(ctx: Context, name: str | None, id: str | None = None) -> Zone:
    """The zone of that name or id in the call's region; the first one when neither is given."""
    known = zones(ctx.region)
    if name is None and id is None:
        return known[0]
    for zone in known:
        if (name is None or zone.name == name) and (id is None or zone.id == id):
            return zone
    wanted = name or id
    raise AWSError(
        "InvalidParameterValue",
        f"Value ({wanted}) for parameter availabilityZone is invalid. Subnets can currently only be created in the "
        f"following availability zones: {', '.join(zone.name for zone in known)}.",
    )


@operation(
    "ec2:CreateSubnet",
    on=("vpc/{VpcId}", "subnet/*"),
    raises={
        Malformed: bad_value("cidrBlock"),
        BadSize: bad_range("InvalidSubnet.Range"),
        Overlap: lambda fact: AWSError(OVERLAP, f"The CIDR '{fact.cidr}' conflicts with another subnet"),
    },
)
def create_subnet(ctx: Context, p: Params) -> Result:
    """A subnet of a VPC in one zone."""
    cidr = p.get("CidrBlock")
    if not cidr and not p.get("Ipv6Native"):
        raise missing("cidrBlock")
    if p.get("Ipv6Native") and not p.get("Ipv6CidrBlock"):
        raise AWSError("MissingParameter", "Either 'ipv6CidrBlock' or 'ipv6IpamPoolId' should be provided.")
    if p.get("Ipv6Native") and cidr:
        raise AWSError(
            "InvalidParameterCombination",
            "When specifying ipv4 parameters, cidrBlock or ipv4IpamPoolId, you cannot set ipv6Native to true.",
        )
    vpc = ctx.find("vpc", p["VpcId"])
    zone = zone_of(ctx, p.get("AvailabilityZone"), p.get("AvailabilityZoneId"))
    subnet = ctx.network.add_segment(
        id=ctx.mint("subnet"),
        network=vpc,
        cidr=cidr,
        zone=zone.name,
        zone_id=zone.id,
        filter_association=fresh("network-acl-association"),
        cidr6=p.get("Ipv6CidrBlock"),
        range6_id=fresh("subnet-cidr-block-association"),
    )
    if not cidr:
        subnet.ipv6_on_launch = True
    return {"Subnet": render_subnet(ctx, subnet)}


def _cidr6(attribute: str) -> Any:
    return lambda ctx, subnet: [getattr(block, attribute) for block in subnet.ranges]


SUBNET_FILTERS: Filters = {
    "availability-zone": Segment.zone,
    "availabilityZone": Segment.zone,
    "availability-zone-id": Segment.zone_id,
    "availabilityZoneId": Segment.zone_id,
    "available-ip-address-count": Segment.free,
    "cidr-block": Segment.cidr,
    "cidr": Segment.cidr,
    "cidrBlock": Segment.cidr,
    "customer-owned-ipv4-pool": lambda ctx, subnet: None,
    "default-for-az": Segment.is_default,
    "defaultForAz": Segment.is_default,
    "enable-dns64": lambda ctx, subnet: bool(subnet.notes.get("dns64")),
    "enable-lni-at-device-index": lambda ctx, subnet: subnet.notes.get("lni"),
    "ipv6-cidr-block-association.ipv6-cidr-block": _cidr6("cidr"),
    "ipv6-cidr-block-association.association-id": _cidr6("id"),
    "ipv6-cidr-block-association.state": _cidr6("state"),
    "ipv6-native": lambda ctx, subnet: not subnet.cidr,
    "map-customer-owned-ip-on-launch": lambda ctx, subnet: False,
    "map-public-ip-on-launch": Segment.public_on_launch,
    "outpost-arn": lambda ctx, subnet: None,
    "owner-id": Segment.tenant,
    "private-dns-name-options-on-launch.hostname-type": lambda ctx, subnet: name_options(subnet)["HostnameType"],
    "private-dns-name-options-on-launch.enable-resource-name-dns-a-record": lambda ctx, subnet: bool(
        subnet.notes.get("name_a")
    ),
    "private-dns-name-options-on-launch.enable-resource-name-dns-aaaa-record": lambda ctx, subnet: bool(
        subnet.notes.get("name_aaaa")
    ),
    "state": Segment.state,
    "subnet-arn": lambda ctx, subnet: ctx.arn("ec2", f"subnet/{subnet.id}", account=subnet.tenant),
    "subnet-id": Segment.id,
    "vpc-id": Segment.network_id,
}


@operation("ec2:DescribeSubnets")
def describe_subnets(ctx: Context, p: Params) -> Result:
    """The subnets of the account in the region."""
    return page(ctx, p, "subnet", SUBNET_FILTERS, render_subnet)


@operation("ec2:DeleteSubnet", on="subnet/{SubnetId}", raises={InUse: dependency("subnet")})
def delete_subnet(ctx: Context, p: Params) -> Result:
    """Delete a subnet that no network interface is in."""
    subnet = ctx.find("subnet", p["SubnetId"])
    ctx.network.remove_segment(subnet)
    forget_reservations(ctx, subnet)
    drop_tags(ctx, p["SubnetId"])
    return {}


NOTED = {
    "EnableDns64": "dns64",
    "EnableResourceNameDnsARecordOnLaunch": "name_a",
    "EnableResourceNameDnsAAAARecordOnLaunch": "name_aaaa",
}


@operation("ec2:ModifySubnetAttribute", on="subnet/{SubnetId}")
def modify_subnet_attribute(ctx: Context, p: Params) -> Result:
    """Set what instances of a subnet get at launch."""
    subnet = ctx.find("subnet", p["SubnetId"])
    if "MapPublicIpOnLaunch" in p:
        subnet.public_on_launch = bool(p["MapPublicIpOnLaunch"].get("Value"))
    if "AssignIpv6AddressOnCreation" in p:
        if p["AssignIpv6AddressOnCreation"].get("Value") and not subnet.ranges:
            raise AWSError("InvalidParameterValue", f"The subnet {subnet.id} has no IPv6 CIDR block.")
        subnet.ipv6_on_launch = bool(p["AssignIpv6AddressOnCreation"].get("Value"))
    notes = dict(subnet.notes)
    notes.update({note: bool(p[name].get("Value")) for name, note in NOTED.items() if name in p})
    if "PrivateDnsHostnameTypeOnLaunch" in p:
        notes["hostname_type"] = p["PrivateDnsHostnameTypeOnLaunch"]
    if "EnableLniAtDeviceIndex" in p:
        notes["lni"] = p["EnableLniAtDeviceIndex"]
    if (p.get("DisableLniAtDeviceIndex") or {}).get("Value"):
        notes.pop("lni", None)
    subnet.notes = notes
    return {}


@operation(
    "ec2:AssociateSubnetCidrBlock",
    on="subnet/{SubnetId}",
    raises={
        Malformed: bad_value("ipv6CidrBlock"),
        BadSize: bad_range("InvalidSubnet.Range"),
        Overlap: lambda fact: AWSError(OVERLAP, f"The CIDR '{fact.cidr}' conflicts with another subnet"),
    },
)
def associate_subnet_cidr_block(ctx: Context, p: Params) -> Result:
    """Give a subnet an IPv6 block of its VPC."""
    subnet = ctx.find("subnet", p["SubnetId"])
    if not p.get("Ipv6CidrBlock"):
        raise missing("ipv6CidrBlock")
    block = ctx.network.add_segment_range(
        subnet,
        id=fresh("subnet-cidr-block-association"),
        cidr=p["Ipv6CidrBlock"],
        network=ctx.network.network_of(subnet),
    )
    return {"SubnetId": subnet.id, "Ipv6CidrBlockAssociation": render_cidr6(block, "associating")}


@operation(
    "ec2:DisassociateSubnetCidrBlock",
    on=named.subnet_of_block,
    raises={
        InUse: lambda fact: AWSError("InvalidCidr.InUse", f"An address of association {fact.id} is used by {fact.by}")
    },
)
def disassociate_subnet_cidr_block(ctx: Context, p: Params) -> Result:
    """Take an IPv6 block from a subnet."""
    block = ctx.find("subnet-cidr-block-association", p["AssociationId"])
    shown = render_cidr6(block, "disassociating")
    subnet = ctx.find("subnet", block.segment_id)
    ctx.network.remove_segment_range(subnet, block)
    return {"SubnetId": subnet.id, "Ipv6CidrBlockAssociation": shown}
