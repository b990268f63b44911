"""CreateVpc, DescribeVpcs, DeleteVpc and the CIDR blocks of a VPC."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from backends.errors import InUse, Overlap
from backends.network.errors import BadSize, DefaultThing, Malformed
from backends.network.models import Network, NetworkRange
from backends.network.networks import NetworkIds
from backends.network.service import NetworkService
from compat.context import Context
from compat.describe import page
from compat.errors import AWSError
from compat.filters import Filters
from compat.kinds import kind
from compat.operation import Params, Result, operation
from compat.tags import drop_tags
from compat.vpc.facts import bad_range, bad_value, dependency, fresh, missing
from compat.vpc.vpn_gateways import vpn_gateway_of

kind(
    "vpc",
    prefix="vpc-",
    row=Network,
    missing="InvalidVpcID.NotFound",
    malformed="InvalidVpcID.Malformed",
    label="vpc ID",
    quota=200,
)
kind(
    "vpc-cidr-block-association",
    prefix="vpc-cidr-assoc-",
    row=NetworkRange,
    missing="InvalidVpcCidrBlockAssociationID.NotFound",
    malformed="InvalidVpcCidrBlockAssociationID.Malformed",
    label="vpc cidr block association ID",
)

MOST_BLOCKS = 5
GROUP_DESCRIPTION = "default VPC security group"


def render_cidr(block: NetworkRange) -> dict[str, Any]:
    """An IPv4 block of a VPC."""
    return {"AssociationId": block.id, "CidrBlock": block.cidr, "CidrBlockState": {"State": block.state}}


def render_cidr6(block: NetworkRange) -> dict[str, Any]:
    """An IPv6 block of a VPC."""
    return {
        "AssociationId": block.id,
        "Ipv6CidrBlock": block.cidr,
        "Ipv6CidrBlockState": {"State": block.state},
        "NetworkBorderGroup": block.notes.get("border_group", ""),
        "Ipv6Pool": block.notes.get("pool", "Amazon"),
        "Ipv6AddressAttribute": "public",
        "IpSource": "amazon",
    }


def render_vpc(ctx: Context, vpc: Network) -> dict[str, Any]:
    """A VPC as DescribeVpcs shows it."""
    return {
        "VpcId": vpc.id,
        "State": vpc.state,
        "CidrBlock": vpc.cidr,
        "DhcpOptionsId": vpc.dhcp_options_id or "default",
        "OwnerId": vpc.tenant,
        "InstanceTenancy": vpc.notes.get("tenancy", "default"),
        "IsDefault": vpc.is_default,
        "CidrBlockAssociationSet": [render_cidr(block) for block in vpc.ranges if block.family == 4],
        "Ipv6CidrBlockAssociationSet": [render_cidr6(block) for block in vpc.ranges if block.family == 6],
        "BlockPublicAccessStates": {"InternetGatewayBlockMode": "off"},
        "Tags": ctx.tags(vpc.id),
    }


def new_ids() -> NetworkIds:
    """Ids for what every VPC comes with."""
    return NetworkIds(
        range=fresh("vpc-cidr-block-association"),
        table=fresh("route-table"),
        table_association=fresh("route-table-association"),
        packet_filter=fresh("network-acl"),
        group=fresh("security-group"),
        rule_in=fresh("security-group-rule"),
        rule_out=fresh("security-group-rule"),
        group_description=GROUP_DESCRIPTION,
    )


def default_options_id(network: NetworkService) -> str | None:
    """The DHCP options that new VPCs get; None once the account deleted them."""
    options = network.default_options()
    return None if options is None else options.id


@operation(
    "ec2:CreateVpc",
    on="vpc/*",
    raises={Malformed: bad_value("cidrBlock"), BadSize: bad_range("InvalidVpc.Range")},
)
def create_vpc(ctx: Context, p: Params) -> Result:
    """A VPC with its main route table, default network ACL and default security group."""
    if not p.get("CidrBlock"):
        raise missing("CidrBlock")
    vpc = ctx.network.add_network(
        id=ctx.mint("vpc"),
        cidr=p["CidrBlock"],
        ids=new_ids(),
        dhcp_options_id=default_options_id(ctx.network),
        notes={"tenancy": p.get("InstanceTenancy") or "default"},
    )
    if p.get("AmazonProvidedIpv6CidrBlock") or p.get("Ipv6CidrBlock"):
        _add_ipv6(ctx, vpc, p)
    return {"Vpc": {**render_vpc(ctx, vpc), "State": "pending"}}


def _add_ipv6(ctx: Context, vpc: Network, p: Params) -> NetworkRange:
    """Give a VPC IPv6 addresses; whatever else has some has them from its VPC's range."""
    if ctx.cloud.hosts["network"].driver.applies:
        raise AWSError(
            "NotImplemented",
            "IPv6 is not implemented by Nephele in networks that carry packets (--network linux).",
        )
    return ctx.network.add_range(
        vpc,
        id=fresh("vpc-cidr-block-association"),
        cidr=p.get("Ipv6CidrBlock"),
        family=6,
        rule_out6=fresh("security-group-rule"),
        notes={
            "border_group": p.get("Ipv6CidrBlockNetworkBorderGroup") or ctx.region,
            "pool": p.get("Ipv6Pool") or "Amazon",
        },
    )


VPC_FILTERS: Filters = {
    "vpc-id": Network.id,
    "state": Network.state,
    "owner-id": Network.tenant,
    "cidr": Network.cidr,
    "cidr-block": Network.cidr,
    "cidrBlock": Network.cidr,
    "dhcp-options-id": lambda ctx, vpc: vpc.dhcp_options_id or "default",
    "is-default": Network.is_default,
    "isDefault": Network.is_default,
    "cidr-block-association.cidr-block": lambda ctx, vpc: [r.cidr for r in vpc.ranges if r.family == 4],
    "cidr-block-association.association-id": lambda ctx, vpc: [r.id for r in vpc.ranges if r.family == 4],
    "cidr-block-association.state": lambda ctx, vpc: [r.state for r in vpc.ranges if r.family == 4],
    "ipv6-cidr-block-association.ipv6-cidr-block": lambda ctx, vpc: [r.cidr for r in vpc.ranges if r.family == 6],
    "ipv6-cidr-block-association.ipv6-pool": lambda ctx, vpc: [
        r.notes.get("pool", "Amazon") for r in vpc.ranges if r.family == 6
    ],
    "ipv6-cidr-block-association.association-id": lambda ctx, vpc: [r.id for r in vpc.ranges if r.family == 6],
    "ipv6-cidr-block-association.state": lambda ctx, vpc: [r.state for r in vpc.ranges if r.family == 6],
}


@operation("ec2:DescribeVpcs")
def describe_vpcs(ctx: Context, p: Params) -> Result:
    """The VPCs of the account in the region."""
    return page(ctx, p, "vpc", VPC_FILTERS, render_vpc)


@operation("ec2:DeleteVpc", on="vpc/{VpcId}", raises={InUse: dependency("vpc")})
def delete_vpc(ctx: Context, p: Params) -> Result:
    """Delete a VPC that nothing of the user's is in, with all that it came with."""
    vpc = ctx.find("vpc", p["VpcId"])
    if vpn_gateway_of(ctx, vpc.id) is not None:
        raise InUse(id=vpc.id)
    for gone in ctx.network.remove_network(vpc):
        drop_tags(ctx, gone)
    return {}


@operation(
    "ec2:AssociateVpcCidrBlock",
    on="vpc/{VpcId}",
    raises={
        Malformed: bad_value("cidrBlock"),
        BadSize: bad_range("InvalidVpc.Range"),
        Overlap: lambda fact: AWSError(
            "InvalidVpc.Range", f"The CIDR '{fact.cidr}' conflicts with another CIDR of the VPC, '{fact.other}'."
        ),
    },
)
def associate_vpc_cidr_block(ctx: Context, p: Params) -> Result:
    """Widen a VPC by an IPv4 block, or by an IPv6 block that Amazon provides."""
    vpc = ctx.find("vpc", p["VpcId"])
    family = 4 if p.get("CidrBlock") else 6
    if sum(block.family == family for block in vpc.ranges) >= MOST_BLOCKS:
        raise AWSError(
            "CidrLimitExceeded", f"This network {vpc.id} has met its maximum number of allowed CIDRs: {MOST_BLOCKS}"
        )
    if family == 4:
        block = ctx.network.add_range(vpc, id=fresh("vpc-cidr-block-association"), cidr=p["CidrBlock"])
        shown = {**render_cidr(block), "CidrBlockState": {"State": "associating"}}
        return {"VpcId": vpc.id, "CidrBlockAssociation": shown}
    if not (p.get("AmazonProvidedIpv6CidrBlock") or p.get("Ipv6CidrBlock")):
        raise missing("CidrBlock")
    shown = {**render_cidr6(_add_ipv6(ctx, vpc, p)), "Ipv6CidrBlockState": {"State": "associating"}}
    return {"VpcId": vpc.id, "Ipv6CidrBlockAssociation": shown}


def _vpc_of_association(ctx: Context, p: Params) -> list[str]:
    owner = ctx.session.scalar(select(NetworkRange.network_id).where(NetworkRange.id == p["AssociationId"]))
    return [f"vpc/{owner or '*'}"]


@operation(
    "ec2:DisassociateVpcCidrBlock",
    on=_vpc_of_association,
    raises={
        InUse: lambda fact: AWSError(
            "InvalidCidr.InUse", f"The vpc cidr block with association {fact.id} has subnets in it: {fact.by}."
        ),
        DefaultThing: lambda fact: AWSError(
            "OperationNotPermitted",
            f"The vpc CIDR block with association ID {fact.id} may not be disassociated. "
            "It is the primary IPv4 CIDR block of the VPC",
        ),
    },
)
def disassociate_vpc_cidr_block(ctx: Context, p: Params) -> Result:
    """Take a block from a VPC; not its first one, and none that a subnet lies in."""
    block = ctx.find("vpc-cidr-block-association", p["AssociationId"])
    vpc = ctx.find("vpc", block.network_id)
    family, state = block.family, {"State": "disassociating"}
    shown = render_cidr(block) if family == 4 else render_cidr6(block)
    ctx.network.remove_range(vpc, block)
    if family == 4:
        return {"VpcId": vpc.id, "CidrBlockAssociation": {**shown, "CidrBlockState": state}}
    return {"VpcId": vpc.id, "Ipv6CidrBlockAssociation": {**shown, "Ipv6CidrBlockState": state}}


@operation("ec2:ModifyVpcTenancy", on="vpc/{VpcId}")
def modify_vpc_tenancy(ctx: Context, p: Params) -> Result:
    """Bring a VPC back to shared hardware; AWS knows no other change."""
    vpc = ctx.find("vpc", p["VpcId"])
    vpc.notes = {**vpc.notes, "tenancy": p["InstanceTenancy"]}
    return {"ReturnValue": True}
