"""Condition keys of EC2: from the parameters of a call for what is to be made, from the rows for what is there."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from compat.iam.keys import FAMILIES, Keys, service_keys, text, truth
from compat.iam.policy.request import ContextValue
from compat.kinds import KINDS

MEMBERS = {
    "instancetype": "InstanceType",
    "imageid": "ImageId",
    "keypairname": "KeyName",
    "ebsoptimized": "EbsOptimized",
    "encrypted": "Encrypted",
    "volumesize": "Size",
    "volumetype": "VolumeType",
    "volumeiops": "Iops",
    "volumethroughput": "Throughput",
    "kmskeyid": "KmsKeyId",
    "domain": "Domain",
    "quantity": "Quantity",
    "vpceservicename": "ServiceName",
    "gatewaytype": "Type",
    "keypairtype": "KeyType",
    "location": "LogDestination",
}
"""Key -> input member, for what a call makes."""

FACTS: dict[str, dict[str, Callable[[Any], object]]] = {
    "instance": {
        "instancetype": lambda row: row.flavor,
        "availabilityzone": lambda row: row.zone,
        "instanceid": lambda row: row.id,
        "tenancy": lambda row: row.notes.get("shown", {}).get("Placement", {}).get("Tenancy", "default"),
        "rootdevicetype": lambda row: "ebs",
    },
    "volume": {
        "volumeid": lambda row: row.id,
        "volumesize": lambda row: row.size,
        "volumetype": lambda row: row.kind,
        "volumeiops": lambda row: row.iops,
        "volumethroughput": lambda row: row.throughput,
        "encrypted": lambda row: bool(row.encrypted),
        "availabilityzone": lambda row: row.zone,
    },
    "snapshot": {
        "snapshotid": lambda row: row.id,
        "owner": lambda row: row.tenant,
        "volumesize": lambda row: row.size,
        "snapshottime": lambda row: row.started.strftime("%Y-%m-%dT%H:%M:%SZ"),
    },
    "image": {
        "imageid": lambda row: row.id,
        "owner": lambda row: row.notes.get("ImageOwnerAlias") or row.tenant,
        "public": lambda row: bool(row.public),
        "imagetype": lambda row: "machine",
        "rootdevicetype": lambda row: "ebs",
    },
    "subnet": {
        "subnetid": lambda row: row.id,
        "availabilityzone": lambda row: row.zone,
        "availabilityzoneid": lambda row: row.zone_id,
        "vpc": lambda row: f"vpc/{row.network_id}",
    },
    "vpc": {"vpcid": lambda row: row.id, "tenancy": lambda row: row.notes.get("tenancy", "default")},
    "security-group": {"securitygroupid": lambda row: row.id, "vpc": lambda row: f"vpc/{row.network_id}"},
    "network-interface": {
        "networkinterfaceid": lambda row: row.id,
        "availabilityzone": lambda row: row.zone,
        "availabilityzoneid": lambda row: row.zone_id,
        "subnet": lambda row: f"subnet/{row.segment_id}",
        "vpc": lambda row: f"vpc/{row.network_id}",
    },
    "route-table": {"routetableid": lambda row: row.id, "vpc": lambda row: f"vpc/{row.network_id}"},
    "network-acl": {"networkaclid": lambda row: row.id, "vpc": lambda row: f"vpc/{row.network_id}"},
    "internet-gateway": {"internetgatewayid": lambda row: row.id},
    "dhcp-options": {"dhcpoptionsid": lambda row: row.id},
    "elastic-ip": {"allocationid": lambda row: row.id, "publicipaddress": lambda row: row.ip},
    "key-pair": {"keypairname": lambda row: row.name, "keypairtype": lambda row: row.kind},
}
"""Resource type -> key -> the fact of a row. Texts like `vpc/vpc-1` stand for that ARN."""
ARNS = frozenset({"vpc", "subnet"})


@service_keys("ec2")
def _ec2_keys(keys: Keys, name: str) -> ContextValue:
    if name == "region":
        return keys.ctx.region
    fact = FACTS.get(keys.type, {}).get(name)
    if fact is not None and keys.id not in ("", "*"):
        row = _row(keys)
        if row is not None:
            return _shown(keys, name, fact(row))
    special = SPECIAL.get(name)
    if special is not None:
        return special(keys)
    member = MEMBERS.get(name)
    return text(keys.p.get(member)) if member is not None else None


def _row(keys: Keys) -> Any | None:
    about = KINDS.get(keys.type)
    if about is None:
        return None
    column = about.row.name if keys.type == "key-pair" and not keys.id.startswith(about.prefix) else about.row.id
    return keys.ctx.session.scalar(select(about.row).where(column == keys.id))


def _shown(keys: Keys, name: str, value: object) -> ContextValue:
    if name in ARNS and isinstance(value, str):
        return keys.ctx.arn("ec2", value)
    return text(value)


def _zone(keys: Keys) -> ContextValue:
    return text((keys.p.get("Placement") or {}).get("AvailabilityZone") or keys.p.get("AvailabilityZone"))


def _tenancy(keys: Keys) -> ContextValue:
    if keys.ctx.operation.name == "CreateVpc":
        return keys.p.get("InstanceTenancy") or "default"
    if keys.type in ("instance", "vpc"):
        return (keys.p.get("Placement") or {}).get("Tenancy") or "default"
    return None


def _metadata(member: str, default: str) -> Callable[[Keys], ContextValue]:
    def answer(keys: Keys) -> ContextValue:
        options = keys.p.get("MetadataOptions") or keys.p
        return text(options.get(member)) or default

    return answer


def _profile(keys: Keys) -> ContextValue:
    given = keys.p.get("IamInstanceProfile") or {}
    if given.get("Arn"):
        return str(given["Arn"])
    name = given.get("Name")
    return keys.ctx.arn("iam", f"instance-profile/{name}", region="") if name else None


def _subnet(keys: Keys) -> ContextValue:
    chosen = keys.p.get("SubnetId")
    return keys.ctx.arn("ec2", f"subnet/{chosen}") if chosen else None


def _vpc(keys: Keys) -> ContextValue:
    """The VPC that something is to be made in: named in the call, or the named subnet's."""
    chosen = keys.p.get("VpcId")
    if not chosen and keys.p.get("SubnetId"):
        row = KINDS["subnet"].row
        chosen = keys.ctx.session.scalar(select(row.network_id).where(row.id == keys.p["SubnetId"]))
    return keys.ctx.arn("ec2", f"vpc/{chosen}") if chosen else None


def _block(member: str) -> Callable[[Keys], ContextValue]:
    """A fact of a volume that is to be made: of CreateVolume, or of the mappings of RunInstances."""

    def answer(keys: Keys) -> ContextValue:
        for mapping in keys.p.get("BlockDeviceMappings") or ():
            if (mapping.get("Ebs") or {}).get(member) is not None:
                return text(mapping["Ebs"][member])
        named = MEMBERS_OF_VOLUME[member]
        return text(keys.p.get(named))

    return answer


MEMBERS_OF_VOLUME = {
    "VolumeSize": "Size",
    "VolumeType": "VolumeType",
    "Iops": "Iops",
    "Throughput": "Throughput",
    "Encrypted": "Encrypted",
}


def _encrypted(keys: Keys) -> ContextValue:
    return _block("Encrypted")(keys) or (truth(False) if keys.type == "volume" else None)


def _attribute(keys: Keys) -> ContextValue:
    """The attribute that a Modify…Attribute call names or sets: `InstanceType`, say."""
    if keys.p.get("Attribute"):
        return text(keys.p["Attribute"])
    if keys.ctx.operation.name.startswith("Modify"):
        changed = tuple(name for name in keys.p if not name.endswith(("Id", "Ids", "DryRun")))
        return changed or None
    return None


SPECIAL: dict[str, Callable[[Keys], ContextValue]] = {
    "availabilityzone": _zone,
    "tenancy": _tenancy,
    "metadatahttptokens": _metadata("HttpTokens", "optional"),
    "metadatahttpendpoint": _metadata("HttpEndpoint", "enabled"),
    "metadatahttpputresponsehoplimit": _metadata("HttpPutResponseHopLimit", "1"),
    "instanceprofile": _profile,
    "newinstanceprofile": _profile,
    "subnet": _subnet,
    "vpc": _vpc,
    "volumesize": _block("VolumeSize"),
    "volumetype": _block("VolumeType"),
    "volumeiops": _block("Iops"),
    "volumethroughput": _block("Throughput"),
    "encrypted": _encrypted,
    "attribute": _attribute,
    "associatepublicipaddress": lambda keys: truth(
        next((one.get("AssociatePublicIpAddress") for one in keys.p.get("NetworkInterfaces") or ()), None)
    ),
    "instancemarkettype": lambda keys: (
        ((keys.p.get("InstanceMarketOptions") or {}).get("MarketType") or "on-demand")
        if keys.ctx.operation.name == "RunInstances"
        else None
    ),
    "islaunchtemplateresource": lambda keys: (
        truth(bool(keys.p.get("LaunchTemplate"))) if keys.ctx.operation.name == "RunInstances" else None
    ),
}


def _attribute_value(keys: Keys, name: str) -> ContextValue:
    for member, value in keys.p.items():
        if member.lower() == name:
            return text(value.get("Value") if isinstance(value, dict) else value)
    return None


FAMILIES["ec2:attribute"] = _attribute_value
