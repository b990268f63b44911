"""The ways out: gateways to the internet, translators, elastic addresses."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from backends.errors import InUse, WrongState
from backends.network.book import TOPIC
from backends.network.errors import AlreadyAttached, AlreadyBound, NotAttached
from backends.network.models import (
    Address,
    Gateway,
    Nat,
    Network,
    Port,
    PortAddress,
    RouteTable,
    RouteTableAssociation,
    Segment,
)
from backends.network.ports import Ports


class Gateways(Ports):
    """Gateways, translators and elastic addresses."""

    def add_gateway(self, *, id: str, outbound_only: bool = False, network: Network | None = None) -> Gateway:
        """A gateway, attached to `network` at once if one is given."""
        gateway = Gateway(
            id=id, outbound_only=outbound_only, network_id=None if network is None else network.id, created=self.now
        )
        self.add(gateway)
        return gateway

    def attach_gateway(self, gateway: Gateway, network: Network) -> None:
        """Open a network to the outside. Raises `AlreadyAttached` (with `id`): the gateway, or the network has one."""
        self.hold(network)
        self.hold(gateway)
        if gateway.network_id is not None:
            raise AlreadyAttached(
                f"{gateway.id} is attached to {gateway.network_id}", id=gateway.id, by=gateway.network_id
            )
        other = self.gateway_of(network.id)
        if other is not None:
            raise AlreadyAttached(f"{network.id} has {other.id}", id=network.id, by=other.id)
        gateway.network_id = network.id
        self.session.flush()
        self.relight(gateway.id)

    def gateway_of(self, network_id: str) -> Gateway | None:
        """The internet gateway of a network."""
        return (
            self.session.execute(
                select(Gateway).where(Gateway.network_id == network_id, Gateway.outbound_only.is_(False))
            )
            .scalars()
            .first()
        )

    def detach_gateway(self, gateway: Gateway, network_id: str) -> None:
        """Close a network. Raises `NotAttached`, and `InUse` while public addresses stand for ports of the network."""
        if gateway.network_id != network_id:
            raise NotAttached(f"{gateway.id} is not attached to {network_id}", id=gateway.id, network=network_id)
        holder = self.session.execute(
            select(PortAddress.port_id)
            .join(Port, Port.id == PortAddress.port_id)
            .where(Port.network_id == network_id, PortAddress.public_ip.is_not(None))
            .limit(1)
        ).scalar()
        if holder is not None:
            raise InUse(f"{holder} has a public address", id=network_id, by=holder)
        gateway.network_id = None
        for row in self.session.execute(
            select(RouteTableAssociation).where(RouteTableAssociation.gateway_id == gateway.id)
        ).scalars():
            table = self.session.execute(select(RouteTable).where(RouteTable.id == row.table_id)).scalars().one()
            table.associations.remove(row)
        self.session.flush()
        self.relight(gateway.id)

    def remove_gateway(self, gateway: Gateway) -> None:
        """Remove a gateway. Raises `InUse` while it is attached (an outbound-only one may go)."""
        if gateway.network_id is not None and not gateway.outbound_only:
            raise InUse(f"{gateway.id} is attached to {gateway.network_id}", id=gateway.id, by=gateway.network_id)
        self.session.delete(gateway)
        self.session.flush()
        self.relight(gateway.id)

    def add_address(self, *, id: str, wish: str | None = None, notes: dict[str, Any] | None = None) -> Address:
        """An elastic public address, `wish` if it is free. Raises `NoPublicAddresses`."""
        address = Address(id=id, ip=self.lease(wish), created=self.now, notes=notes or {})
        self.add(address)
        return address

    def release_address(self, address: Address) -> None:
        """Give an elastic address back. Raises `InUse` (with `by`) while it stands for anything."""
        if address.association_id is not None:
            raise InUse(f"{address.ip} is bound to {address.port_id}", id=address.id, ip=address.ip, by=address.port_id)
        self.release_lease(address.ip)
        self.session.delete(address)

    def bind(
        self, address: Address, port: Port, *, association_id: str, private_ip: str | None = None, move: bool = True
    ) -> Address:
        """Let an elastic address stand for a private one of a port (its primary one by default).

        What was lent to that private address goes back. Raises `AlreadyBound` (with `id`) when the address is bound
        elsewhere, or the private one has another elastic address, and `move` is false; `NotAttached` when the network
        has no gateway; `WrongState` when the port has no such private address."""
        self.hold(port)
        self.hold(address)
        target = next((row for row in port.addresses if row.ip == private_ip), None) if private_ip else port.private()
        if target is None:
            raise WrongState(f"{port.id} has no address {private_ip}", id=port.id, ip=private_ip)
        if self.gateway_of(port.network_id) is None:
            raise NotAttached(f"{port.network_id} has no gateway", id=port.network_id, network=port.network_id)
        if address.association_id is not None:
            if address.port_id == port.id and address.private_ip == target.ip:
                return address
            if not move:
                raise AlreadyBound(f"{address.id} is bound to {address.port_id}", id=address.id, by=address.port_id)
            self.unbind(address)
        if target.elastic_id is not None:
            if not move:
                raise AlreadyBound(f"{target.ip} has {target.elastic_id}", id=port.id, by=target.elastic_id)
            other = self.session.execute(select(Address).where(Address.id == target.elastic_id)).scalars().one()
            self.unbind(other)
        elif target.primary:
            self.return_public(port)
        address.association_id, address.port_id, address.private_ip = association_id, port.id, target.ip
        target.public_ip, target.elastic_id, target.association_id = address.ip, address.id, association_id
        self.session.flush()
        self.session.expire(address, ["port"])
        return address

    def unbind(self, address: Address) -> None:
        """Let an elastic address stand for nothing. Raises `NotAttached`."""
        if address.association_id is None or address.port_id is None:
            raise NotAttached(f"{address.id} is not bound", id=address.id)
        for row in self.port(address.port_id).addresses:
            if row.elastic_id == address.id:
                row.public_ip = row.elastic_id = row.association_id = None
        address.association_id = address.port_id = address.private_ip = None
        self.session.flush()
        self.session.expire(address, ["port"])

    def add_nat(
        self,
        *,
        id: str,
        segment: Segment,
        port_id: str,
        attachment_id: str,
        elastic: Address | None,
        association_id: str | None,
        private_ip: str | None = None,
        secondary: tuple[str, ...] = (),
        secondary_count: int = 0,
        notes: dict[str, Any] | None = None,
    ) -> Nat:
        """A translator in `segment`, with a port of its own; public when it gets an elastic address.

        It is "pending" until reconciled; without a gateway in its network a public one ends "failed". Raises
        `AlreadyBound` when the elastic address is bound elsewhere, and as `add_port` does."""
        if elastic is not None and elastic.association_id is not None:
            raise AlreadyBound(f"{elastic.id} is bound to {elastic.port_id}", id=elastic.id, by=elastic.port_id)
        port = self.add_port(
            port_id,
            segment,
            address=private_ip,
            secondary=secondary,
            secondary_count=secondary_count,
            description=f"Interface for NAT Gateway {id}",
            role="nat",
            keeper="nat",
            checked=False,
            notes={"nat": id},
        )
        port.state, port.attachment_id, port.attached_at, port.device_index = "in-use", attachment_id, self.now, 1
        nat = Nat(
            id=id,
            network_id=segment.network_id,
            segment_id=segment.id,
            public=elastic is not None,
            wanted="available",
            state="pending",
            port_id=port.id,
            created=self.now,
            notes=notes or {},
        )
        self.add(nat)
        if elastic is not None and association_id is not None and self.gateway_of(segment.network_id) is not None:
            self.bind(elastic, port, association_id=association_id, move=False)
        self.session.flush()
        self.unit.nudge(TOPIC)
        return nat

    def end_nat(self, nat: Nat) -> None:
        """Wish a translator gone: it is "deleting" until reconciled. Nothing happens to one that is gone already."""
        if nat.state in ("deleting", "deleted"):
            return
        nat.wanted, nat.state = "deleted", "deleting"
        self.session.flush()
        self.relight(nat.id)
        self.unit.nudge(TOPIC)

    def finish_nat(self, nat: Nat) -> None:
        """Free what a translator that is wished gone still holds; it is "deleted" then, and shown for a while."""
        if nat.port_id is not None:
            port = self.port(nat.port_id)
            nat.notes = {
                **nat.notes,
                "addresses": [
                    {
                        "private": row.ip,
                        "public": row.public_ip,
                        "elastic": row.elastic_id,
                        "port": port.id,
                        "primary": row.primary,
                    }
                    for row in port.addresses
                ],
            }
            for address in self.session.execute(select(Address).where(Address.port_id == port.id)).scalars().all():
                self.unbind(address)
            port.attachment_id = None
            nat.port_id = None
            self.session.flush()
            self.remove_port(port.id)
        nat.state, nat.deleted = "deleted", self.now
