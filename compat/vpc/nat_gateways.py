"""NAT gateways and their addresses."""

from __future__ import annotations

from typing import Any

from backends.errors import Missing, WrongState
from backends.network.errors import AlreadyBound, Malformed
from backends.network.models import Address, Nat
from compat.context import Context
from compat.describe import page
from compat.errors import AWSError
from compat.filters import Filters
from compat.kinds import kind
from compat.operation import Params, Result, operation
from compat.vpc.facts import ADDRESS_FACTS, GATEWAY_FACTS, Raises, fresh, missing

kind(
    "natgateway",
    prefix="nat-",
    row=Nat,
    missing="NatGatewayNotFound",
    malformed="NatGatewayMalformed",
    label="NAT gateway ID",
    message="The Nat Gateway {id} was not found",
    quota=None,
)


def _addresses(nat: Nat) -> list[dict[str, Any]]:
    """The addresses of a NAT gateway: those of its interface, or those it had."""
    if nat.port is None:
        return [
            _address(old["private"], old["public"], old["elastic"], old["port"], old["primary"], None)
            for old in nat.notes.get("addresses", ())
        ]
    return [
        _address(row.ip, row.public_ip, row.elastic_id, nat.port.id, row.primary, row.association_id)
        for row in nat.port.addresses
    ]


def _address(
    private: str, public: str | None, elastic: str | None, port: str, primary: bool, association: str | None
) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "PrivateIp": private,
        "NetworkInterfaceId": port,
        "IsPrimary": primary,
        "Status": "succeeded",
    }
    for member, value in (("PublicIp", public), ("AllocationId", elastic), ("AssociationId", association)):
        if value is not None:
            shown[member] = value
    return shown


def render_nat_gateway(ctx: Context, nat: Nat) -> dict[str, Any]:
    """A NAT gateway; a deleted one is shown for an hour."""
    shown: dict[str, Any] = {
        "NatGatewayId": nat.id,
        "SubnetId": nat.segment_id,
        "VpcId": nat.network_id,
        "State": nat.state,
        "ConnectivityType": "public" if nat.public else "private",
        "AvailabilityMode": "zonal",
        "CreateTime": nat.created,
        "NatGatewayAddresses": _addresses(nat),
        "Tags": ctx.tags(nat.id),
    }
    if nat.deleted is not None:
        shown["DeleteTime"] = nat.deleted
    if nat.state == "failed":
        shown["FailureCode"] = "Gateway.NotAttached"
        shown["FailureMessage"] = f"Network {nat.network_id} has no Internet gateway attached"
    return shown


TAKEN: Raises = {
    AlreadyBound: lambda fact: AWSError(
        "Resource.AlreadyAssociated", f"Elastic IP address [{fact.id}] is already associated"
    )
}


@operation(
    "ec2:CreateNatGateway",
    on=("subnet/{SubnetId}", "natgateway/*", "elastic-ip/{AllocationId}"),
    raises={**ADDRESS_FACTS, **TAKEN},
)
def create_nat_gateway(ctx: Context, p: Params) -> Result:
    """A NAT gateway in a subnet: pending, then available; failed where the VPC has no internet gateway."""
    if not p.get("SubnetId"):
        raise missing("SubnetId")
    public = p.get("ConnectivityType", "public") == "public"
    if public and not p.get("AllocationId"):
        raise missing("AllocationId")
    if not public and p.get("AllocationId"):
        raise AWSError("InvalidParameterCombination", "AllocationId can not be used with a private NAT gateway")
    subnet = ctx.find("subnet", p["SubnetId"])
    others = [ctx.find("elastic-ip", id) for id in p.get("SecondaryAllocationIds") or ()]
    nat = ctx.network.add_nat(
        id=ctx.mint("natgateway"),
        segment=subnet,
        port_id=fresh("network-interface"),
        attachment_id="ela-attach-" + fresh("network-interface").removeprefix("eni-"),
        elastic=ctx.find("elastic-ip", p["AllocationId"]) if public else None,
        association_id=fresh("elastic-ip-association"),
        private_ip=p.get("PrivateIpAddress"),
        secondary=tuple(p.get("SecondaryPrivateIpAddresses") or ()),
        secondary_count=p.get("SecondaryPrivateIpAddressCount") or 0,
    )
    if others:
        _bind(ctx, nat, others, p.get("SecondaryPrivateIpAddresses") or ())
    ctx.session.expire(nat, ["port"])
    return {"NatGateway": render_nat_gateway(ctx, nat), "ClientToken": p.get("ClientToken")}


NAT_FILTERS: Filters = {
    "nat-gateway-id": Nat.id,
    "state": Nat.state,
    "subnet-id": Nat.segment_id,
    "vpc-id": Nat.network_id,
}


@operation("ec2:DescribeNatGateways")
def describe_nat_gateways(ctx: Context, p: Params) -> Result:
    """The NAT gateways of the account in the region, those deleted in the last hour too."""
    return page(ctx, p, "natgateway", NAT_FILTERS, render_nat_gateway)


@operation("ec2:DeleteNatGateway", on="natgateway/{NatGatewayId}")
def delete_nat_gateway(ctx: Context, p: Params) -> Result:
    """Begin to delete a NAT gateway; its addresses are free once it is deleted."""
    nat = ctx.find("natgateway", p["NatGatewayId"])
    ctx.network.end_nat(nat)
    return {"NatGatewayId": nat.id}


def _live(ctx: Context, id: str) -> Nat:
    nat: Nat = ctx.find("natgateway", id)
    if nat.port is None:
        raise AWSError("IncorrectState", f"The Nat Gateway {id} is in the state {nat.state}")
    return nat


def _bind(ctx: Context, nat: Nat, addresses: list[Address], wishes: Any) -> None:
    """Give a NAT gateway further elastic addresses, each with a private address of its own."""
    port = ctx.network.port(nat.port_id or "")
    free = [row.ip for row in port.addresses if row.elastic_id is None and not row.primary]
    new = [ip for ip in wishes if ip not in free]
    if new or len(free) < len(addresses):
        free += ctx.network.assign(port, new, max(0, len(addresses) - len(free) - len(new)))
    for address, ip in zip(addresses, free, strict=False):
        ctx.network.bind(address, port, association_id=fresh("elastic-ip-association"), private_ip=ip, move=False)


def _answer(nat: Nat) -> Result:
    return {"NatGatewayId": nat.id, "NatGatewayAddresses": _addresses(nat)}


@operation(
    "ec2:AssociateNatGatewayAddress",
    on=("natgateway/{NatGatewayId}", "elastic-ip/{AllocationIds}"),
    raises={**ADDRESS_FACTS, **TAKEN, **GATEWAY_FACTS},
)
def associate_nat_gateway_address(ctx: Context, p: Params) -> Result:
    """Give a public NAT gateway more elastic addresses."""
    nat = _live(ctx, p["NatGatewayId"])
    if not nat.public:
        raise AWSError("InvalidParameter", f"{nat.id} is a private NAT gateway")
    _bind(ctx, nat, ctx.find_all("elastic-ip", p["AllocationIds"]), p.get("PrivateIpAddresses") or ())
    return _answer(nat)


@operation(
    "ec2:DisassociateNatGatewayAddress", on="natgateway/{NatGatewayId}", raises={Missing: "InvalidAddress.NotFound"}
)
def disassociate_nat_gateway_address(ctx: Context, p: Params) -> Result:
    """Take secondary elastic addresses from a NAT gateway, with their private ones."""
    nat = _live(ctx, p["NatGatewayId"])
    port = ctx.network.port(nat.port_id or "")
    for id in p["AssociationIds"]:
        row = next((row for row in port.addresses if row.association_id == id), None)
        if row is None:
            raise AWSError("InvalidAssociationID.NotFound", f"The association ID '{id}' does not exist")
        if row.primary:
            raise AWSError("InvalidParameter", f"The primary address of {nat.id} can not be disassociated")
        ctx.network.unbind(ctx.find("elastic-ip", row.elastic_id))
        ctx.network.unassign(port, [row.ip])
    return _answer(nat)


@operation("ec2:AssignPrivateNatGatewayAddress", on="natgateway/{NatGatewayId}", raises={**ADDRESS_FACTS})
def assign_private_nat_gateway_address(ctx: Context, p: Params) -> Result:
    """Give a private NAT gateway more private addresses."""
    nat = _live(ctx, p["NatGatewayId"])
    port = ctx.network.port(nat.port_id or "")
    ctx.network.assign(port, p.get("PrivateIpAddresses") or (), p.get("PrivateIpAddressCount") or 0)
    return _answer(nat)


@operation(
    "ec2:UnassignPrivateNatGatewayAddress",
    on="natgateway/{NatGatewayId}",
    raises={
        Malformed: lambda fact: AWSError("InvalidParameterValue", f"{fact.value} is no secondary address"),
        WrongState: "IncorrectState",
    },
)
def unassign_private_nat_gateway_address(ctx: Context, p: Params) -> Result:
    """Take secondary private addresses from a NAT gateway."""
    nat = _live(ctx, p["NatGatewayId"])
    ctx.network.unassign(ctx.network.port(nat.port_id or ""), p["PrivateIpAddresses"])
    return _answer(nat)
