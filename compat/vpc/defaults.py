"""What every account finds in every region: a default VPC with a subnet in each zone, and AWS's prefix lists."""

from __future__ import annotations

import hashlib

from sqlalchemy import select

from backends.db import Scope
from backends.errors import Overlap
from backends.network.models import Network, PrefixList, Segment
from backends.network.service import NetworkService
from compat.context import Context
from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.preparing import prepares
from compat.regions import Zone, zones
from compat.vpc.facts import fresh
from compat.vpc.names import private_domain
from compat.vpc.subnets import render_subnet, zone_of
from compat.vpc.vpcs import default_options_id, new_ids, render_vpc

DEFAULT_CIDR = "172.31.0.0/16"
DEFAULT_BITS = 20
KEEPER = "AWS"

# Ids that AWS publishes.
PREFIX_LISTS = {
    ("us-east-1", "s3"): "pl-63a5400a",
    ("us-east-1", "dynamodb"): "pl-02cd2c6b",
    ("us-east-2", "s3"): "pl-7ba54012",
    ("us-east-2", "dynamodb"): "pl-4ca54025",
    ("us-west-1", "s3"): "pl-6ba54002",
    ("us-west-1", "dynamodb"): "pl-6ea54007",
    ("us-west-2", "s3"): "pl-68a54001",
    ("us-west-2", "dynamodb"): "pl-00a54069",
    ("eu-west-1", "s3"): "pl-6da54004",
    ("eu-west-1", "dynamodb"): "pl-6fa54006",
    ("eu-central-1", "s3"): "pl-6ea54007",
    ("eu-central-1", "dynamodb"): "pl-66a5400f",
}
# Ranges for the services' own addresses: where they are real is AWS's business, here none is routed (RFC 5737).
SERVICE_RANGES = {"s3": ("192.0.2.0/25", "192.0.2.128/26"), "dynamodb": ("192.0.2.192/26",)}


@prepares("ec2")
def ensure_defaults(ctx: Context) -> None:
    """Make the defaults of the call's account and region, if it never had them. All of them or none; once for all time:
    a default VPC that was deleted does not come back by itself. Two processes at once collide on the ids of the prefix
    lists, and one of them finds the work done."""
    scope = Scope(ctx.account, ctx.region)
    with ctx.cloud.database.unit(scope, write=False) as unit:
        if unit.session.scalar(MADE):
            return
    with ctx.cloud.database.unit(scope, write=True) as unit:
        if not unit.session.scalar(MADE):
            _make(ctx.cloud.services["network"](unit), ctx.region)


MADE = select(PrefixList.id).where(PrefixList.keeper == KEEPER).limit(1)


def prefix_list_id(region: str, service: str) -> str:
    """The id of a service's prefix list: the same for all accounts of a region."""
    digest = hashlib.sha256(f"{region}/{service}".encode()).hexdigest()
    return PREFIX_LISTS.get((region, service)) or f"pl-{digest[:8]}"


def _make(network: NetworkService, region: str) -> None:
    network.add_options(
        id=fresh("dhcp-options"),
        options=[
            {"key": "domain-name", "values": [private_domain(region)]},
            {"key": "domain-name-servers", "values": ["AmazonProvidedDNS"]},
        ],
        is_default=True,
    )
    for service, cidrs in SERVICE_RANGES.items():
        network.add_prefixes(
            id=prefix_list_id(region, service),
            name=f"com.amazonaws.{region}.{service}",
            family=4,
            size=100,
            entries=[{"cidr": cidr} for cidr in cidrs],
            keeper=KEEPER,
        )
    network.session.flush()
    make_default_vpc(network, region)


def make_default_vpc(network: NetworkService, region: str) -> Network:
    """A default VPC: open to the internet, with a default subnet in each zone."""
    ids = new_ids()
    vpc = network.add_network(
        id=fresh("vpc"),
        cidr=DEFAULT_CIDR,
        ids=ids,
        dhcp_options_id=default_options_id(network),
        is_default=True,
    )
    network.session.flush()
    for zone in zones(region):
        make_default_subnet(network, vpc, zone)
    gateway = network.add_gateway(id=fresh("internet-gateway"))
    network.attach_gateway(gateway, vpc)
    network.add_route(network.table(ids.table), "0.0.0.0/0", "gateway", gateway.id)
    return vpc


def make_default_subnet(network: NetworkService, vpc: Network, zone: Zone) -> Segment:
    """The default subnet of a zone, in the first free part of the default VPC. Raises `Overlap` when there is none."""
    block = network.room(vpc, DEFAULT_BITS)
    if block is None:
        raise Overlap(f"{vpc.id} has no room for another default subnet", cidr=vpc.cidr)
    return network.add_segment(
        id=fresh("subnet"),
        network=vpc,
        cidr=block,
        zone=zone.name,
        zone_id=zone.id,
        filter_association=fresh("network-acl-association"),
        is_default=True,
    )


@operation("ec2:CreateDefaultVpc")
def create_default_vpc(ctx: Context, p: Params) -> Result:
    """Make a default VPC again, after the first one was deleted."""
    held = ctx.network.default_network()
    if held is not None:
        raise AWSError("DefaultVpcAlreadyExists", "A Default VPC already exists for this account in this region.")
    return {"Vpc": {**render_vpc(ctx, make_default_vpc(ctx.network, ctx.region)), "State": "pending"}}


@operation("ec2:CreateDefaultSubnet", raises={Overlap: "InsufficientFreeAddressesInSubnet"})
def create_default_subnet(ctx: Context, p: Params) -> Result:
    """Make the default subnet of a zone again, after it was deleted."""
    if not p.get("AvailabilityZone") and not p.get("AvailabilityZoneId"):
        raise AWSError("MissingParameter", "The request must contain the parameter availabilityZone")
    zone = zone_of(ctx, p.get("AvailabilityZone"), p.get("AvailabilityZoneId"))
    vpc = ctx.network.default_network()
    if vpc is None:
        raise AWSError("DefaultVpcDoesNotExist", "There is no default VPC for this account in this region.")
    held = ctx.network.default_segment(zone.name)
    if held is not None:
        raise AWSError(
            "DefaultSubnetAlreadyExistsInAvailabilityZone",
            f"'{held.id}' is already the default subnet in {zone.name}.",
        )
    return {"Subnet": render_subnet(ctx, make_default_subnet(ctx.network, vpc, zone))}
