"""Network ACLs: stateless, numbered rules at the edge of subnets."""

from __future__ import annotations

from typing import Any

from backends.errors import Exists, InUse, Missing
from backends.network.errors import DefaultThing, Malformed, TooManyRules, WrongNetwork
from backends.network.filters import EntrySpec
from backends.network.models import PacketFilter, PacketFilterAssociation, PacketFilterEntry
from compat.context import Context
from compat.describe import page
from compat.errors import AWSError
from compat.filters import Filters
from compat.kinds import kind
from compat.operation import Params, Result, operation
from compat.tags import drop_tags
from compat.vpc import named
from compat.vpc.facts import dependency, fresh, mismatch, missing

kind(
    "network-acl",
    prefix="acl-",
    row=PacketFilter,
    missing="InvalidNetworkAclID.NotFound",
    malformed="InvalidNetworkAclId.Malformed",
    label="networkAcl ID",
    quota=2000,
)
kind(
    "network-acl-association",
    prefix="aclassoc-",
    row=PacketFilterAssociation,
    missing="InvalidAssociationID.NotFound",
    malformed="InvalidAssociationID.Malformed",
    label="association ID",
)


def _action(entry: PacketFilterEntry) -> str:
    return "allow" if entry.allow else "deny"


def render_entry(entry: PacketFilterEntry) -> dict[str, Any]:
    """An entry of a network ACL."""
    shown: dict[str, Any] = {
        "RuleNumber": entry.number,
        "Egress": entry.egress,
        "Protocol": entry.protocol,
        "RuleAction": _action(entry),
        "CidrBlock" if entry.family == 4 else "Ipv6CidrBlock": entry.cidr,
    }
    if entry.from_port is not None:
        shown["PortRange"] = {"From": entry.from_port, "To": entry.to_port}
    if entry.icmp_type is not None:
        shown["IcmpTypeCode"] = {"Type": entry.icmp_type, "Code": entry.icmp_code}
    return shown


def render_network_acl(ctx: Context, acl: PacketFilter) -> dict[str, Any]:
    """A network ACL with its entries and associations."""
    return {
        "NetworkAclId": acl.id,
        "VpcId": acl.network_id,
        "OwnerId": acl.tenant,
        "IsDefault": acl.is_default,
        "Entries": [render_entry(entry) for entry in sorted(acl.entries, key=lambda e: (not e.egress, e.number))],
        "Associations": [
            {"NetworkAclAssociationId": row.id, "NetworkAclId": row.filter_id, "SubnetId": row.segment_id}
            for row in acl.associations
        ],
        "Tags": ctx.tags(acl.id),
    }


@operation("ec2:CreateNetworkAcl", on=("vpc/{VpcId}", "network-acl/*"))
def create_network_acl(ctx: Context, p: Params) -> Result:
    """A network ACL that lets nothing pass yet."""
    vpc = ctx.find("vpc", p["VpcId"])
    acl = ctx.network.add_filter(id=ctx.mint("network-acl"), network=vpc)
    ctx.session.flush()
    return {"NetworkAcl": render_network_acl(ctx, acl), "ClientToken": p.get("ClientToken")}


def _entries(attribute: str, family: int | None = None) -> Any:
    return lambda ctx, acl: [
        getattr(entry, attribute) for entry in acl.entries if family is None or entry.family == family
    ]


ACL_FILTERS: Filters = {
    "association.association-id": lambda ctx, acl: [row.id for row in acl.associations],
    "association.network-acl-id": lambda ctx, acl: [row.filter_id for row in acl.associations],
    "association.subnet-id": lambda ctx, acl: [row.segment_id for row in acl.associations],
    "default": PacketFilter.is_default,
    "entry.cidr": _entries("cidr", 4),
    "entry.icmp.code": _entries("icmp_code"),
    "entry.icmp.type": _entries("icmp_type"),
    "entry.ipv6-cidr": _entries("cidr", 6),
    "entry.port-range.from": _entries("from_port"),
    "entry.port-range.to": _entries("to_port"),
    "entry.protocol": _entries("protocol"),
    "entry.rule-action": lambda ctx, acl: [_action(entry) for entry in acl.entries],
    "entry.egress": _entries("egress"),
    "entry.rule-number": _entries("number"),
    "network-acl-id": PacketFilter.id,
    "owner-id": PacketFilter.tenant,
    "vpc-id": PacketFilter.network_id,
}


@operation("ec2:DescribeNetworkAcls")
def describe_network_acls(ctx: Context, p: Params) -> Result:
    """The network ACLs of the account in the region."""
    return page(ctx, p, "network-acl", ACL_FILTERS, render_network_acl)


@operation(
    "ec2:DeleteNetworkAcl",
    on="network-acl/{NetworkAclId}",
    raises={
        InUse: dependency("networkAcl"),
        DefaultThing: lambda fact: AWSError("InvalidParameterValue", f"cannot delete default network ACL {fact.id}"),
    },
)
def delete_network_acl(ctx: Context, p: Params) -> Result:
    """Delete a network ACL that guards nothing."""
    ctx.network.remove_filter(ctx.find("network-acl", p["NetworkAclId"]))
    drop_tags(ctx, p["NetworkAclId"])
    return {}


def _spec(p: Params) -> EntrySpec:
    cidr = p.get("CidrBlock") or p.get("Ipv6CidrBlock")
    if not cidr:
        raise missing("cidrBlock")
    ports, icmp = p.get("PortRange") or {}, p.get("IcmpTypeCode") or {}
    return EntrySpec(
        egress=p["Egress"],
        number=p["RuleNumber"],
        allow=p["RuleAction"] == "allow",
        protocol=p["Protocol"],
        cidr=cidr,
        from_port=ports.get("From"),
        to_port=ports.get("To"),
        icmp_type=icmp.get("Type"),
        icmp_code=icmp.get("Code"),
    )


def _bad_entry(fact: Any) -> AWSError:
    if fact.what in ("ports", "icmp"):
        return AWSError(
            "InvalidParameterValue", f"Invalid or missing port range or ICMP type for protocol {fact.value}"
        )
    return AWSError("InvalidParameterValue", f"Value ({fact.value}) for parameter {fact.what} is invalid.")


def _no_entry(fact: Any) -> AWSError:
    return AWSError(
        "InvalidNetworkAclEntry.NotFound",
        f"The network acl entry identified by {fact.number} does not exist in {fact.id}.",
    )


@operation(
    "ec2:CreateNetworkAclEntry",
    on="network-acl/{NetworkAclId}",
    raises={
        Malformed: _bad_entry,
        Exists: lambda fact: AWSError(
            "NetworkAclEntryAlreadyExists", f"The network acl entry identified by {fact.number} already exists."
        ),
        TooManyRules: lambda fact: AWSError(
            "NetworkAclEntryLimitExceeded",
            f"The maximum number of network acl entries per network acl has been reached: {fact.limit}.",
        ),
    },
)
def create_network_acl_entry(ctx: Context, p: Params) -> Result:
    """Add an entry."""
    ctx.network.add_entry(ctx.find("network-acl", p["NetworkAclId"]), _spec(p))
    return {}


@operation(
    "ec2:ReplaceNetworkAclEntry",
    on="network-acl/{NetworkAclId}",
    raises={Malformed: _bad_entry, Missing: _no_entry},
)
def replace_network_acl_entry(ctx: Context, p: Params) -> Result:
    """Rewrite the entry of that number."""
    ctx.network.replace_entry(ctx.find("network-acl", p["NetworkAclId"]), _spec(p))
    return {}


@operation(
    "ec2:DeleteNetworkAclEntry",
    on="network-acl/{NetworkAclId}",
    raises={Malformed: _bad_entry, Missing: _no_entry},
)
def delete_network_acl_entry(ctx: Context, p: Params) -> Result:
    """Remove the entry of that number."""
    ctx.network.remove_entry(ctx.find("network-acl", p["NetworkAclId"]), p["Egress"], p["RuleNumber"])
    return {}


@operation("ec2:ReplaceNetworkAclAssociation", on=named.guarded, raises={WrongNetwork: mismatch})
def replace_network_acl_association(ctx: Context, p: Params) -> Result:
    """Let another network ACL guard a subnet."""
    acl = ctx.find("network-acl", p["NetworkAclId"])
    old = ctx.find("network-acl-association", p["AssociationId"])
    row = ctx.network.guard_instead(old, acl, id=fresh("network-acl-association"))
    return {"NewAssociationId": row.id}
