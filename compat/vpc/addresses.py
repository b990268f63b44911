"""Elastic IP addresses."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from backends.errors import InUse, WrongState
from backends.network.errors import AlreadyBound, NoPublicAddresses, NotAttached
from backends.network.models import Address, Port, PortAddress
from compat.context import Context
from compat.describe import page
from compat.ec2.listing import cut
from compat.errors import AWSError
from compat.filters import Filters
from compat.kinds import kind
from compat.operation import Params, Result, operation
from compat.tags import drop_tags
from compat.vpc import named
from compat.vpc.facts import GATEWAY_FACTS, fresh, missing

kind(
    "elastic-ip",
    prefix="eipalloc-",
    row=Address,
    missing="InvalidAllocationID.NotFound",
    malformed="InvalidAllocationID.Malformed",
    label="allocation ID",
    ids="AllocationIds",
    quota=500,
    quota_code="AddressLimitExceeded",
)
kind(
    "elastic-ip-association",
    prefix="eipassoc-",
    row=Address,
    missing="InvalidAssociationID.NotFound",
    malformed="InvalidAssociationID.Malformed",
    label="association ID",
)


def render_address(ctx: Context, address: Address) -> dict[str, Any]:
    """An elastic address and what it stands for."""
    shown: dict[str, Any] = {
        "AllocationId": address.id,
        "PublicIp": address.ip,
        "Domain": "vpc",
        "PublicIpv4Pool": address.notes.get("pool", "amazon"),
        "NetworkBorderGroup": address.notes.get("border_group", address.region),
        "Tags": ctx.tags(address.id),
    }
    port = address.port
    if address.association_id is not None and port is not None:
        shown["AssociationId"] = address.association_id
        shown["NetworkInterfaceId"] = port.id
        shown["NetworkInterfaceOwnerId"] = port.tenant
        shown["PrivateIpAddress"] = address.private_ip
        if port.guest_id is not None:
            shown["InstanceId"] = port.guest_id
    return shown


@operation("ec2:AllocateAddress", on="elastic-ip/*", raises={NoPublicAddresses: "InsufficientAddressCapacity"})
def allocate_address(ctx: Context, p: Params) -> Result:
    """A public address that stays the account's until it is released."""
    notes = {"border_group": p.get("NetworkBorderGroup") or ctx.region, "pool": p.get("PublicIpv4Pool") or "amazon"}
    wish = p.get("Address")
    address = ctx.network.add_address(id=ctx.mint("elastic-ip"), wish=wish, notes=notes)
    if wish is not None and address.ip != wish:
        raise AWSError("InvalidAddress.NotFound", f"Address '{wish}' not found.")
    return {
        "AllocationId": address.id,
        "PublicIp": address.ip,
        "Domain": "vpc",
        "PublicIpv4Pool": notes["pool"],
        "NetworkBorderGroup": notes["border_group"],
    }


ADDRESS_FILTERS: Filters = {
    "allocation-id": Address.id,
    "association-id": Address.association_id,
    "domain": lambda ctx, address: "vpc",
    "instance-id": lambda ctx, address: address.port.guest_id if address.port is not None else None,
    "network-border-group": lambda ctx, address: address.notes.get("border_group", address.region),
    "network-interface-id": Address.port_id,
    "network-interface-owner-id": lambda ctx, address: address.port.tenant if address.port is not None else None,
    "private-ip-address": Address.private_ip,
    "public-ip": Address.ip,
    "public-ipv4-pool": lambda ctx, address: address.notes.get("pool", "amazon"),
}


@operation("ec2:DescribeAddresses")
def describe_addresses(ctx: Context, p: Params) -> Result:
    """The elastic addresses of the account in the region."""
    named = list(p.get("PublicIps") or ())
    for ip in named:
        _by_ip(ctx, ip)
    where = (Address.ip.in_(named),) if named else ()
    return page(ctx, p, "elastic-ip", ADDRESS_FILTERS, render_address, where=where)


def _by_ip(ctx: Context, ip: str) -> Address:
    address = ctx.session.scalar(select(Address).where(Address.ip == ip))
    if address is None:
        raise AWSError("InvalidAddress.NotFound", f"Address '{ip}' not found.")
    return address


def _named(ctx: Context, p: Params) -> Address:
    """The address that a call names by allocation or by its IP."""
    if p.get("AllocationId"):
        address: Address = ctx.find("elastic-ip", p["AllocationId"])
        return address
    if p.get("PublicIp"):
        return _by_ip(ctx, p["PublicIp"])
    raise missing("AllocationId")


@operation(
    "ec2:ReleaseAddress",
    on=named.address,
    raises={InUse: lambda fact: AWSError("InvalidIPAddress.InUse", f"The address '{fact.ip}' is in use.")},
)
def release_address(ctx: Context, p: Params) -> Result:
    """Give an address back that stands for nothing."""
    address = _named(ctx, p)
    if not p.get("AllocationId") and address.association_id is not None:
        ctx.network.unbind(address)
    ctx.network.release_address(address)
    drop_tags(ctx, address.id)
    return {}


def _target(ctx: Context, p: Params) -> Port:
    """The interface that an address is to stand for: the one named, or the instance's first."""
    if p.get("NetworkInterfaceId"):
        port: Port = ctx.find("network-interface", p["NetworkInterfaceId"])
        return port
    if not p.get("InstanceId"):
        raise missing("InstanceId or NetworkInterfaceId")
    ctx.find("instance", p["InstanceId"])
    ports = ctx.network.ports_of(p["InstanceId"])
    if not ports:
        raise AWSError("InvalidInstanceID", f"The instance '{p['InstanceId']}' has no network interface.")
    if len(ports) > 1 and not p.get("PrivateIpAddress"):
        raise AWSError(
            "InvalidInstanceID",
            f"There are multiple interfaces attached to instance '{p['InstanceId']}'. "
            "Please specify an interface ID for the operation instead.",
        )
    wanted = p.get("PrivateIpAddress")
    return next((port for port in ports if any(row.ip == wanted for row in port.addresses)), ports[0])


@operation(
    "ec2:AssociateAddress",
    on=named.address_and_target,
    raises={
        **GATEWAY_FACTS,
        AlreadyBound: lambda fact: AWSError(
            "Resource.AlreadyAssociated", f"resource {fact.id} is already associated with associate-id {fact.by}"
        ),
        WrongState: lambda fact: AWSError(
            "InvalidParameterValue", f"Address {fact.ip} does not belong to network interface {fact.id}"
        ),
    },
)
def associate_address(ctx: Context, p: Params) -> Result:
    """Let an elastic address stand for a private one. An address named by allocation moves unless that is forbidden."""
    address = _named(ctx, p)
    port = _target(ctx, p)
    move = p.get("AllowReassociation")
    bound = ctx.network.bind(
        address,
        port,
        association_id=fresh("elastic-ip-association"),
        private_ip=p.get("PrivateIpAddress"),
        move=True if move is None else move,
    )
    return {"AssociationId": bound.association_id}


@operation(
    "ec2:DisassociateAddress",
    on=named.address,
    raises={
        NotAttached: lambda fact: AWSError("InvalidAssociationID.NotFound", f"The address {fact.id} is not associated")
    },
)
def disassociate_address(ctx: Context, p: Params) -> Result:
    """Let an elastic address stand for nothing."""
    id = p.get("AssociationId")
    if id:
        address = ctx.session.scalar(select(Address).where(Address.association_id == id))
        if address is None:
            raise AWSError("InvalidAssociationID.NotFound", f"The association ID '{id}' does not exist")
    elif p.get("PublicIp"):
        address = _by_ip(ctx, p["PublicIp"])
    else:
        raise missing("AssociationId")
    ctx.network.unbind(address)
    return {}


def public_ip_owner(address: PortAddress) -> str:
    """Who owns the public address of an interface: the account, or Amazon when it was only lent."""
    return address.tenant if address.elastic_id is not None else "amazon"


def _attribute(address: Address) -> dict[str, Any]:
    shown = {"PublicIp": address.ip, "AllocationId": address.id}
    if "ptr" in address.notes:
        shown["PtrRecord"] = address.notes["ptr"]
    return shown


@operation("ec2:DescribeAddressesAttribute", on="elastic-ip/*")
def describe_addresses_attribute(ctx: Context, p: Params) -> Result:
    """The addresses that have a reverse name."""
    ids = p.get("AllocationIds")
    rows = ctx.find_all("elastic-ip", ids) if ids else ctx.session.scalars(select(Address).order_by(Address.id))
    found, token = cut(ctx, p, [row for row in rows if "ptr" in row.notes], lambda row: row.id)
    return {"Addresses": [_attribute(row) for row in found]} | ({"NextToken": token} if token else {})


@operation("ec2:ModifyAddressAttribute", on="elastic-ip/{AllocationId}")
def modify_address_attribute(ctx: Context, p: Params) -> Result:
    """Give an address a reverse name."""
    address = ctx.find("elastic-ip", p["AllocationId"])
    if p.get("DomainName"):
        address.notes = {**address.notes, "ptr": p["DomainName"].rstrip(".") + "."}
    return {"Address": _attribute(address)}


@operation("ec2:ResetAddressAttribute", on="elastic-ip/{AllocationId}")
def reset_address_attribute(ctx: Context, p: Params) -> Result:
    """Take the reverse name from an address."""
    address = ctx.find("elastic-ip", p["AllocationId"])
    address.notes = {key: value for key, value in address.notes.items() if key != "ptr"}
    return {"Address": _attribute(address)}
