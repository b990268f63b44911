"""Rules of security groups: authorize, revoke, describe, modify."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from backends.errors import Missing
from backends.network.errors import DuplicateRule, Malformed, MissingRule, TooManyRules, WrongNetwork
from backends.network.models import FirewallGroup, FirewallRule
from backends.network.rules import RuleSpec, spell
from compat.context import Context
from compat.describe import page
from compat.errors import AWSError
from compat.filters import Filters
from compat.kinds import KINDS, kind
from compat.operation import Params, Result, operation
from compat.tags import drop_tags
from compat.vpc import named
from compat.vpc.facts import Raises, missing
from compat.vpc.security_groups import PEER_MEMBERS, group_named, named_group

kind(
    "security-group-rule",
    prefix="sgr-",
    row=FirewallRule,
    missing="InvalidSecurityGroupRuleId.NotFound",
    malformed="InvalidSecurityGroupRuleId.Malformed",
    label="security group rule ID",
)

RULE_MEMBERS = {"cidr4": "CidrIpv4", "cidr6": "CidrIpv6", "prefixes": "PrefixListId"}


def render_rule(ctx: Context, rule: FirewallRule) -> dict[str, Any]:
    """A rule as DescribeSecurityGroupRules shows it."""
    shown: dict[str, Any] = {
        "SecurityGroupRuleId": rule.id,
        "SecurityGroupRuleArn": ctx.arn("ec2", f"security-group-rule/{rule.id}", account=rule.tenant),
        "GroupId": rule.group_id,
        "GroupOwnerId": rule.tenant,
        "IsEgress": rule.egress,
        "IpProtocol": rule.protocol,
        "FromPort": rule.from_port,
        "ToPort": rule.to_port,
        "Tags": ctx.tags(rule.id),
    }
    if rule.peer_kind == "group":
        shown["ReferencedGroupInfo"] = {"GroupId": rule.peer, "UserId": rule.notes.get("user", rule.tenant)}
    else:
        shown[RULE_MEMBERS[rule.peer_kind]] = rule.peer
    if rule.description is not None:
        shown["Description"] = rule.description
    return shown


def _revoked(rule: FirewallRule) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "SecurityGroupRuleId": rule.id,
        "GroupId": rule.group_id,
        "IsEgress": rule.egress,
        "IpProtocol": rule.protocol,
        "FromPort": rule.from_port,
        "ToPort": rule.to_port,
    }
    shown["ReferencedGroupId" if rule.peer_kind == "group" else RULE_MEMBERS[rule.peer_kind]] = rule.peer
    if rule.description is not None:
        shown["Description"] = rule.description
    return shown


# --- what a call asks for ------------------------------------------------------------------------------------------


def _specs(ctx: Context, p: Params, group: FirewallGroup) -> list[RuleSpec]:
    """The rules that a call spells out, as a list of permissions or, as of old, in single parameters."""
    given = list(p.get("IpPermissions") or ())
    if not given and (p.get("IpProtocol") or p.get("SourceSecurityGroupName")):
        given = [_old_style(p)]
    if not given:
        raise missing("ipPermissions")
    specs = [spec for permission in given for spec in _of_permission(ctx, permission, group)]
    if not specs:
        raise missing("ipRanges, ipv6Ranges, prefixListIds or groups")
    return specs


def _old_style(p: Params) -> dict[str, Any]:
    permission: dict[str, Any] = {
        "IpProtocol": p.get("IpProtocol") or "-1",
        "FromPort": p.get("FromPort"),
        "ToPort": p.get("ToPort"),
    }
    if p.get("SourceSecurityGroupName"):
        permission["UserIdGroupPairs"] = [{"GroupName": p["SourceSecurityGroupName"]}]
    else:
        cidr = p.get("CidrIp") or ""
        permission["Ipv6Ranges" if ":" in cidr else "IpRanges"] = [{("CidrIpv6" if ":" in cidr else "CidrIp"): cidr}]
    return permission


def _of_permission(ctx: Context, permission: Params, group: FirewallGroup) -> Iterable[RuleSpec]:
    protocol = permission.get("IpProtocol")
    if protocol is None:
        raise missing("ipProtocol")
    for peer_kind, (listed, member) in PEER_MEMBERS.items():
        for peer in permission.get(listed) or ():
            value = peer.get(member) if peer_kind != "group" else _group_id(ctx, peer, group)
            if not value:
                raise missing(member)
            yield spell(
                protocol,
                permission.get("FromPort"),
                permission.get("ToPort"),
                peer_kind,
                value,
                _description(peer.get("Description")),
            )


def _description(text: str | None) -> str | None:
    if text is not None and len(text) > 255:
        raise AWSError("InvalidParameterValue", "Invalid rule description. Length exceeds maximum of 255 characters.")
    return text


def _group_id(ctx: Context, peer: Params, group: FirewallGroup) -> str | None:
    if peer.get("GroupId"):
        return str(peer["GroupId"])
    name = peer.get("GroupName")
    if not name:
        return None
    found = ctx.network.group_named(group.network_id, name)
    return (found or group_named(ctx, name)).id


def _told(spec: RuleSpec) -> str:
    """A rule as EC2's messages spell it."""
    protocol = {"-1": "ALL"}.get(spec.protocol, spec.protocol.upper())
    ports = (
        ""
        if spec.from_port == -1 and spec.protocol == "-1"
        else (f", from port: {spec.from_port}, to port: {spec.to_port}")
    )
    return f"peer: {spec.peer}, {protocol}{ports}, ALLOW"


def _bad(fact: Any) -> AWSError:
    """Why a rule cannot be read."""
    if fact.what == "range":
        return AWSError("InvalidParameterValue", f"CIDR block {fact.value} is malformed")
    if fact.what == "protocol":
        return AWSError(
            "InvalidPermission.Malformed",
            f'Unsupported IP protocol "{fact.value}"  - supported: [tcp, udp, icmp, icmpv6, -1]',
        )
    if fact.what == "order":
        low, _, high = fact.value.partition("-")
        return AWSError("InvalidParameterValue", f"Invalid TCP/UDP port range ({low}:{high})")
    if fact.what == "port":
        return AWSError(
            "InvalidParameterValue",
            f"Invalid value for portRange. Must specify both from and to ports with TCP/UDP: {fact.value}",
        )
    return AWSError("InvalidParameterValue", f"ICMP code (-1 to 255) or type is invalid: {fact.value}")


def _absent(fact: Any) -> AWSError:
    if fact.what == "prefixes":
        return AWSError("InvalidPrefixListID.NotFound", f"The prefix list ID '{fact.id}' does not exist")
    return AWSError("InvalidGroup.NotFound", f"The security group '{fact.id}' does not exist")


RAISES: Raises = {
    Malformed: _bad,
    DuplicateRule: lambda fact: AWSError(
        "InvalidPermission.Duplicate", f'the specified rule "{_told(fact.spec)}" already exists'
    ),
    TooManyRules: lambda fact: AWSError(
        "RulesPerSecurityGroupLimitExceeded",
        "The maximum number of rules per security group has been reached.",
    ),
    Missing: _absent,
    WrongNetwork: lambda fact: AWSError(
        "InvalidGroup.NotFound", "You have specified two resources that belong to different networks."
    ),
    MissingRule: lambda fact: (
        AWSError("InvalidPermission.NotFound", "The specified rule does not exist in this security group.")
        if "spec" in fact.facts
        else AWSError("InvalidSecurityGroupRuleId.NotFound", f"The security group rule ID '{fact.id}' does not exist")
    ),
}


# --- the operations ------------------------------------------------------------------------------------------------


def _authorize(ctx: Context, p: Params, egress: bool) -> Result:
    group = named_group(ctx, p)
    specs = _specs(ctx, p, group)
    if len({spec.key for spec in specs}) < len(specs):
        raise AWSError("InvalidParameterValue", "The same permission must not appear multiple times")
    added = ctx.network.allow(group, egress, specs, lambda: ctx.mint("security-group-rule"))
    ctx.session.flush()
    return {"Return": True, "SecurityGroupRules": [render_rule(ctx, rule) for rule in added]}


@operation("ec2:AuthorizeSecurityGroupIngress", on=named.group, raises=RAISES)
def authorize_security_group_ingress(ctx: Context, p: Params) -> Result:
    """Let traffic in."""
    return _authorize(ctx, p, egress=False)


@operation("ec2:AuthorizeSecurityGroupEgress", on=named.group, raises=RAISES)
def authorize_security_group_egress(ctx: Context, p: Params) -> Result:
    """Let traffic out."""
    return _authorize(ctx, p, egress=True)


def _revoke(ctx: Context, p: Params, egress: bool) -> Result:
    group = named_group(ctx, p)
    ids = list(p.get("SecurityGroupRuleIds") or ())
    if ids:
        ctx.find_all("security-group-rule", ids)
        rules = ctx.network.rules_by_id(group, ids, egress)
    else:
        rules = ctx.network.find_rules(group, egress, _specs(ctx, p, group))
    shown = [_revoked(rule) for rule in rules]
    ctx.network.forbid(group, rules)
    for rule in rules:
        drop_tags(ctx, rule.id)
    return {"Return": True, "RevokedSecurityGroupRules": shown}


@operation("ec2:RevokeSecurityGroupIngress", on=named.group, raises=RAISES)
def revoke_security_group_ingress(ctx: Context, p: Params) -> Result:
    """Let traffic in no more."""
    return _revoke(ctx, p, egress=False)


@operation("ec2:RevokeSecurityGroupEgress", on=named.group, raises=RAISES)
def revoke_security_group_egress(ctx: Context, p: Params) -> Result:
    """Let traffic out no more."""
    return _revoke(ctx, p, egress=True)


RULE_FILTERS: Filters = {"group-id": FirewallRule.group_id, "security-group-rule-id": FirewallRule.id}


@operation("ec2:DescribeSecurityGroupRules")
def describe_security_group_rules(ctx: Context, p: Params) -> Result:
    """The rules of the account in the region."""
    for one in p.get("Filters") or ():
        for id in (one.get("Values") or ()) if one.get("Name") == "group-id" else ():
            if not {"*", "?"} & set(id) and not KINDS["security-group"].pattern.fullmatch(id):
                raise AWSError("InvalidGroupId.Malformed", f"The security group ID '{id}' is malformed")
    return page(ctx, p, "security-group-rule", RULE_FILTERS, render_rule)


@operation("ec2:ModifySecurityGroupRules", on=("security-group/{GroupId}",), raises=RAISES)
def modify_security_group_rules(ctx: Context, p: Params) -> Result:
    """Let rules say something else, each under its id."""
    group = ctx.find("security-group", p["GroupId"])
    for change in p["SecurityGroupRules"]:
        ctx.find("security-group-rule", change["SecurityGroupRuleId"])
        (rule,) = ctx.network.rules_by_id(group, [change["SecurityGroupRuleId"]])
        wanted = change.get("SecurityGroupRule") or {}
        ctx.network.change_rule(group, rule, _changed(wanted))
    return {"Return": True}


def _changed(wanted: Params) -> RuleSpec:
    """What a rule is to say: all of it is given anew, the peer by the one member that names it."""
    members = {"CidrIpv4": "cidr4", "CidrIpv6": "cidr6", "PrefixListId": "prefixes", "ReferencedGroupId": "group"}
    named = [member for member in members if wanted.get(member)]
    if len(named) > 1:
        raise AWSError(
            "InvalidParameterCombination",
            "Only one of cidrIp, cidrIpv6, prefixListId, or referencedGroupId can be specified",
        )
    protocol, ports = wanted.get("IpProtocol"), (wanted.get("FromPort"), wanted.get("ToPort"))
    if not protocol:
        raise AWSError(
            "InvalidParameterValue",
            "Invalid value 'null' for protocol. VPC security group rules must specify protocols explicitly.",
        )
    if protocol.lower() in ("tcp", "udp", "6", "17") and None in ports:
        raise AWSError(
            "InvalidParameterValue",
            "Invalid value for portRange. Must specify both from and to ports with TCP/UDP.",
        )
    if not named:
        raise AWSError(
            "MissingParameter",
            "The request must contain exactly one of: cidrIp, cidrIpv6, prefixListId, or referencedGroupId",
        )
    return spell(
        protocol,
        *ports,
        members[named[0]],
        wanted[named[0]],
        _description(wanted.get("Description")),
    )


def _describe_rules(ctx: Context, p: Params, egress: bool) -> Result:
    group = named_group(ctx, p)
    for change in p.get("SecurityGroupRuleDescriptions") or ():
        (rule,) = ctx.network.rules_by_id(group, [change.get("SecurityGroupRuleId") or ""], egress)
        rule.description = _description(change.get("Description"))
    if p.get("IpPermissions"):
        specs = _specs(ctx, p, group)
        for rule, spec in zip(ctx.network.find_rules(group, egress, specs), specs, strict=True):
            rule.description = spec.description
    elif not p.get("SecurityGroupRuleDescriptions"):
        raise missing("ipPermissions")
    return {"Return": True}


@operation("ec2:UpdateSecurityGroupRuleDescriptionsIngress", on=named.group, raises=RAISES)
def update_security_group_rule_descriptions_ingress(ctx: Context, p: Params) -> Result:
    """Describe rules that let traffic in."""
    return _describe_rules(ctx, p, egress=False)


@operation("ec2:UpdateSecurityGroupRuleDescriptionsEgress", on=named.group, raises=RAISES)
def update_security_group_rule_descriptions_egress(ctx: Context, p: Params) -> Result:
    """Describe rules that let traffic out."""
    return _describe_rules(ctx, p, egress=True)
