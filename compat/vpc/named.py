"""Whom a call is about, where it names it by something else than its id: for authorisation, so a miss names nothing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Select, select

from backends.network.models import (
    Address,
    FirewallGroup,
    Network,
    PacketFilterAssociation,
    Port,
    RouteTableAssociation,
    SegmentRange,
)
from compat.context import Context
from compat.operation import Params


def _one(ctx: Context, query: Select[Any], form: str) -> list[str]:
    row = ctx.session.execute(query.limit(1)).first()
    return [] if row is None else [form.format(value) for value in row if value is not None]


def group(ctx: Context, p: Params) -> list[str]:
    """A security group by id, or by its name in the default VPC."""
    if p.get("GroupId"):
        return [f"security-group/{p['GroupId']}"]
    query = (
        select(FirewallGroup.id)
        .join(Network, Network.id == FirewallGroup.network_id)
        .where(FirewallGroup.name == (p.get("GroupName") or ""), Network.is_default)
    )
    return _one(ctx, query, "security-group/{}")


def address(ctx: Context, p: Params) -> list[str]:
    """An elastic address by allocation, by association, or by the address itself."""
    if p.get("AllocationId"):
        return [f"elastic-ip/{p['AllocationId']}"]
    if p.get("AssociationId"):
        return _one(ctx, select(Address.id).where(Address.association_id == p["AssociationId"]), "elastic-ip/{}")
    return _one(ctx, select(Address.id).where(Address.ip == (p.get("PublicIp") or "")), "elastic-ip/{}")


def address_and_target(ctx: Context, p: Params) -> list[str]:
    """An elastic address, and what it is to stand for."""
    found = address(ctx, p)
    if p.get("InstanceId"):
        found.append(f"instance/{p['InstanceId']}")
    if p.get("NetworkInterfaceId"):
        found.append(f"network-interface/{p['NetworkInterfaceId']}")
    return found


def attached_interface(ctx: Context, p: Params) -> list[str]:
    """An interface by its attachment, and the instance that it is attached to."""
    where = Port.attachment_id == p["AttachmentId"]
    return [
        *_one(ctx, select(Port.id).where(where), "network-interface/{}"),
        *_one(ctx, select(Port.guest_id).where(where), "instance/{}"),
    ]


def served(ctx: Context, p: Params) -> list[str]:
    """A route table by an association, and the subnet that it serves; the table that a call names besides."""
    where = RouteTableAssociation.id == p["AssociationId"]
    found = _one(ctx, select(RouteTableAssociation.table_id).where(where), "route-table/{}")
    found += _one(ctx, select(RouteTableAssociation.segment_id).where(where), "subnet/{}")
    return found + ([f"route-table/{p['RouteTableId']}"] if p.get("RouteTableId") else [])


def guarded(ctx: Context, p: Params) -> list[str]:
    """A network ACL, the one that an association tells, and the subnet that both guard."""
    where = PacketFilterAssociation.id == p["AssociationId"]
    return [
        f"network-acl/{p['NetworkAclId']}",
        *_one(ctx, select(PacketFilterAssociation.filter_id).where(where), "network-acl/{}"),
        *_one(ctx, select(PacketFilterAssociation.segment_id).where(where), "subnet/{}"),
    ]


def subnet_of_block(ctx: Context, p: Params) -> list[str]:
    """A subnet by the association of its IPv6 block."""
    return _one(ctx, select(SegmentRange.segment_id).where(SegmentRange.id == p["AssociationId"]), "subnet/{}")
