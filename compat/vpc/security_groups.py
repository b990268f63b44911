"""Security groups."""

from __future__ import annotations

import re
from typing import Any

from sqlalchemy import select

from backends.errors import Exists, InUse
from backends.network.errors import DefaultThing
from backends.network.models import FirewallGroup, FirewallRule
from compat.context import Context
from compat.describe import page
from compat.ec2.listing import cut
from compat.errors import AWSError
from compat.filters import Filters
from compat.kinds import kind
from compat.operation import Params, Result, operation
from compat.tags import drop_tags
from compat.vpc import named
from compat.vpc.facts import fresh, missing

kind(
    "security-group",
    prefix="sg-",
    row=FirewallGroup,
    missing="InvalidGroup.NotFound",
    malformed="InvalidGroupId.Malformed",
    label="security group",
    message="The security group '{id}' does not exist",
    ids="GroupIds",
    quota=2500,
)

PLAIN = re.compile(r"[A-Za-z0-9 ._\-:/()#,@\[\]+=&;{}!$*]{0,255}")
PEER_MEMBERS = {
    "cidr4": ("IpRanges", "CidrIp"),
    "cidr6": ("Ipv6Ranges", "CidrIpv6"),
    "prefixes": ("PrefixListIds", "PrefixListId"),
    "group": ("UserIdGroupPairs", "GroupId"),
}
"""For each kind of peer: the list of a permission that holds it, and the member that names it."""


def group_arn(ctx: Context, group: FirewallGroup) -> str:
    """The ARN of a security group."""
    return ctx.arn("ec2", f"security-group/{group.id}", account=group.tenant)


def _peer(rule: FirewallRule) -> dict[str, Any]:
    shown: dict[str, Any] = {PEER_MEMBERS[rule.peer_kind][1]: rule.peer}
    if rule.peer_kind == "group":
        shown["UserId"] = rule.notes.get("user", rule.tenant)
    if rule.description is not None:
        shown["Description"] = rule.description
    return shown


def permissions(rules: list[FirewallRule]) -> list[dict[str, Any]]:
    """Rules as permissions: those of one protocol and one port range together, as EC2 shows them."""
    found: dict[tuple[str, int, int], dict[str, Any]] = {}
    for rule in rules:
        span = (rule.protocol, rule.from_port, rule.to_port)
        if span not in found:
            found[span] = {
                "IpProtocol": rule.protocol,
                "UserIdGroupPairs": [],
                "IpRanges": [],
                "Ipv6Ranges": [],
                "PrefixListIds": [],
            }
            if rule.protocol in ("tcp", "udp", "icmp", "icmpv6"):
                found[span].update(FromPort=rule.from_port, ToPort=rule.to_port)
        found[span][PEER_MEMBERS[rule.peer_kind][0]].append(_peer(rule))
    return list(found.values())


def render_security_group(ctx: Context, group: FirewallGroup) -> dict[str, Any]:
    """A security group with its permissions."""
    return {
        "GroupId": group.id,
        "GroupName": group.name,
        "Description": group.description,
        "VpcId": group.network_id,
        "OwnerId": group.tenant,
        "SecurityGroupArn": group_arn(ctx, group),
        "IpPermissions": permissions([rule for rule in group.rules if not rule.egress]),
        "IpPermissionsEgress": permissions([rule for rule in group.rules if rule.egress]),
        "Tags": ctx.tags(group.id),
    }


@operation(
    "ec2:CreateSecurityGroup",
    on=("vpc/{VpcId}", "security-group/*"),
    raises={
        Exists: lambda fact: AWSError(
            "InvalidGroup.Duplicate", f"The security group '{fact.name}' already exists for VPC '{fact.network}'"
        )
    },
)
def create_security_group(ctx: Context, p: Params) -> Result:
    """A security group that lets everything out; in the default VPC unless another is named."""
    name, description = p["GroupName"], p["Description"]
    if not description:
        raise AWSError("MissingParameter", "The request must contain the parameter GroupDescription")
    if name.lower() == "default":
        raise AWSError("InvalidParameterValue", "Cannot use reserved security group name: default")
    if name.lower().startswith("sg-"):
        raise AWSError("InvalidParameterValue", f"Invalid value '{name}' for groupName. It must not start with 'sg-'.")
    for value, parameter in ((name, "groupName"), (description, "GroupDescription")):
        if not PLAIN.fullmatch(value):
            raise AWSError(
                "InvalidParameterValue",
                f"Value ({value}) for parameter {parameter} is invalid. Character sets beyond ASCII are not supported.",
            )
    vpc = ctx.find("vpc", p["VpcId"]) if p.get("VpcId") else ctx.network.default_network()
    if vpc is None:
        raise AWSError("VPCIdNotSpecified", "No default VPC for this user")
    group = ctx.network.add_group(
        id=ctx.mint("security-group"),
        network=vpc,
        name=name,
        description=description,
        rule_out=fresh("security-group-rule"),
        rule_out6=fresh("security-group-rule"),
    )
    ctx.session.flush()
    return {"GroupId": group.id, "SecurityGroupArn": group_arn(ctx, group), "Tags": ctx.tags(group.id)}


def _rules(egress: bool, attribute: str, peer_kind: str | None = None) -> Any:
    return lambda ctx, group: [
        getattr(rule, attribute)
        for rule in group.rules
        if rule.egress is egress and peer_kind in (None, rule.peer_kind)
    ]


def _permission_filters(prefix: str, egress: bool) -> dict[str, Any]:
    def names(ctx: Context, group: FirewallGroup) -> list[str]:
        peers = _rules(egress, "peer", "group")(ctx, group)
        return list(ctx.session.scalars(select(FirewallGroup.name).where(FirewallGroup.id.in_(peers)))) if peers else []

    return {
        f"{prefix}.cidr": _rules(egress, "peer", "cidr4"),
        f"{prefix}.from-port": _rules(egress, "from_port"),
        f"{prefix}.group-id": _rules(egress, "peer", "group"),
        f"{prefix}.group-name": names,
        f"{prefix}.ipv6-cidr": _rules(egress, "peer", "cidr6"),
        f"{prefix}.prefix-list-id": _rules(egress, "peer", "prefixes"),
        f"{prefix}.protocol": _rules(egress, "protocol"),
        f"{prefix}.to-port": _rules(egress, "to_port"),
        f"{prefix}.user-id": _rules(egress, "tenant", "group"),
    }


GROUP_FILTERS: Filters = {
    "description": FirewallGroup.description,
    "group-id": FirewallGroup.id,
    "group-name": FirewallGroup.name,
    "owner-id": FirewallGroup.tenant,
    "vpc-id": FirewallGroup.network_id,
    **_permission_filters("ip-permission", egress=False),
    **_permission_filters("egress.ip-permission", egress=True),
}


@operation("ec2:DescribeSecurityGroups")
def describe_security_groups(ctx: Context, p: Params) -> Result:
    """The security groups of the account in the region. Names are looked up in the default VPC."""
    names = list(p.get("GroupNames") or ())
    if not names:
        return page(ctx, p, "security-group", GROUP_FILTERS, render_security_group)
    ids = [group_named(ctx, name).id for name in names]
    return page(ctx, p, "security-group", GROUP_FILTERS, render_security_group, where=(FirewallGroup.id.in_(ids),))


def group_named(ctx: Context, name: str) -> FirewallGroup:
    """The group of that name in the default VPC."""
    vpc = ctx.network.default_network()
    group = None if vpc is None else ctx.network.group_named(vpc.id, name)
    if group is None:
        where = "" if vpc is None else f" in default VPC '{vpc.id}'"
        raise AWSError("InvalidGroup.NotFound", f"The security group '{name}' does not exist{where}")
    return group


def named_group(ctx: Context, p: Params) -> FirewallGroup:
    """The group that a call names by id, or by its name in the default VPC."""
    if p.get("GroupId"):
        group: FirewallGroup = ctx.find("security-group", p["GroupId"])
        return group
    if p.get("GroupName"):
        return group_named(ctx, p["GroupName"])
    raise missing("GroupName or GroupId")


@operation(
    "ec2:DeleteSecurityGroup",
    on=named.group,
    raises={
        DefaultThing: lambda fact: AWSError(
            "CannotDelete", f'the specified group: "{fact.id}" name: "{fact.name}" cannot be deleted by a user'
        ),
        InUse: lambda fact: AWSError("DependencyViolation", f"resource {fact.id} has a dependent object"),
    },
)
def delete_security_group(ctx: Context, p: Params) -> Result:
    """Delete a group that no interface is in and no other group's rule names."""
    group = named_group(ctx, p)
    ctx.network.remove_group(group)
    drop_tags(ctx, group.id)
    for rule in group.rules:
        drop_tags(ctx, rule.id)
    return {"Return": True, "GroupId": group.id}


@operation("ec2:DescribeSecurityGroupReferences", on="security-group/{GroupId}")
def describe_security_group_references(ctx: Context, p: Params) -> Result:
    """The VPCs on the other side of a peering whose groups name the given ones."""
    found = []
    for group in ctx.find_all("security-group", p["GroupId"]):
        namers = select(FirewallRule.group_id).where(FirewallRule.peer == group.id)
        for vpc_id in ctx.session.scalars(
            select(FirewallGroup.network_id)
            .where(FirewallGroup.id.in_(namers), FirewallGroup.network_id != group.network_id)
            .distinct()
        ):
            found.append({"GroupId": group.id, "ReferencingVpcId": vpc_id})
    return {"SecurityGroupReferenceSet": found}


@operation("ec2:DescribeStaleSecurityGroups", on="vpc/{VpcId}")
def describe_stale_security_groups(ctx: Context, p: Params) -> Result:
    """The groups of a VPC whose rules name a group that is gone."""
    vpc = ctx.find("vpc", p["VpcId"])
    known = set(ctx.session.scalars(select(FirewallGroup.id)))
    found = []
    for group in ctx.session.scalars(select(FirewallGroup).where(FirewallGroup.network_id == vpc.id)):
        stale = [rule for rule in group.rules if rule.peer_kind == "group" and rule.peer not in known]
        if stale:
            found.append(
                {
                    "GroupId": group.id,
                    "GroupName": group.name,
                    "Description": group.description,
                    "VpcId": vpc.id,
                    "StaleIpPermissions": permissions([rule for rule in stale if not rule.egress]),
                    "StaleIpPermissionsEgress": permissions([rule for rule in stale if rule.egress]),
                }
            )
    part, token = cut(ctx, p, found, lambda one: str(one["GroupId"]))
    return {"StaleSecurityGroupSet": part} | ({"NextToken": token} if token else {})


def _render_for_vpc(ctx: Context, group: FirewallGroup) -> dict[str, Any]:
    return {
        "GroupId": group.id,
        "GroupName": group.name,
        "Description": group.description,
        "OwnerId": group.tenant,
        "PrimaryVpcId": group.network_id,
        "Tags": ctx.tags(group.id),
    }


@operation("ec2:GetSecurityGroupsForVpc", on="vpc/{VpcId}")
def get_security_groups_for_vpc(ctx: Context, p: Params) -> Result:
    """The groups that interfaces of a VPC can be in."""
    vpc = ctx.find("vpc", p["VpcId"])
    filters: Filters = {
        "group-id": FirewallGroup.id,
        "description": FirewallGroup.description,
        "group-name": FirewallGroup.name,
        "owner-id": FirewallGroup.tenant,
        "primary-vpc-id": FirewallGroup.network_id,
    }
    return page(ctx, p, "security-group", filters, _render_for_vpc, where=(FirewallGroup.network_id == vpc.id,))
