"""Rows of the network backend.

Facts that only a front end understands live in a row's `notes`; a note that a filter or the machinery needs is a
column. Collections that are always shown with their owner load with it, by one query for all owners (`selectin`).
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backends.db import Base, Scoped

Id = String(64)
Cidr = String(64)
Word = String(64)
OWNED = "all, delete-orphan"


def reference(column: str) -> ForeignKey:
    """A foreign key that is checked at commit, so that rows may come and go in any order inside a unit of work."""
    return ForeignKey(column, deferrable=True, initially="DEFERRED")


class Network(Base, Scoped):
    """A tenant's private address space. `cidr` is its first range; all of them stand in `ranges`."""

    __tablename__ = "network"
    __topic__ = "network"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    cidr: Mapped[str] = mapped_column(Cidr)
    state: Mapped[str] = mapped_column(Word, default="available")
    is_default: Mapped[bool] = mapped_column(Boolean, default=False)
    dhcp_options_id: Mapped[str | None] = mapped_column(Id)
    resolver: Mapped[bool] = mapped_column(Boolean, default=True)
    hostnames: Mapped[bool] = mapped_column(Boolean, default=False)
    created: Mapped[datetime]
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    ranges: Mapped[list["NetworkRange"]] = relationship(
        lazy="selectin", cascade=OWNED, order_by="NetworkRange.created, NetworkRange.id"
    )


class NetworkRange(Base, Scoped):
    """One address range of a network, of IP version `family`."""

    __tablename__ = "network_range"
    __topic__ = "network"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    network_id: Mapped[str] = mapped_column(reference("network.id"), index=True)
    cidr: Mapped[str] = mapped_column(Cidr)
    family: Mapped[int]
    state: Mapped[str] = mapped_column(Word, default="associated")
    created: Mapped[datetime]
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Segment(Base, Scoped):
    """A part of a network in one zone. `free` counts the IPv4 addresses that a port can still have; `cursor` is the
    offset where the search for the next one begins. `cidr` is empty for a segment with IPv6 only."""

    __tablename__ = "segment"
    __topic__ = "network"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    network_id: Mapped[str] = mapped_column(reference("network.id"), index=True)
    zone: Mapped[str] = mapped_column(Word)
    zone_id: Mapped[str] = mapped_column(Word)
    cidr: Mapped[str] = mapped_column(Cidr)
    state: Mapped[str] = mapped_column(Word, default="available")
    free: Mapped[int]
    cursor: Mapped[int] = mapped_column(default=4)
    is_default: Mapped[bool] = mapped_column(Boolean, default=False)
    public_on_launch: Mapped[bool] = mapped_column(Boolean, default=False)
    ipv6_on_launch: Mapped[bool] = mapped_column(Boolean, default=False)
    created: Mapped[datetime]
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    ranges: Mapped[list["SegmentRange"]] = relationship(
        lazy="selectin", cascade=OWNED, order_by="SegmentRange.created, SegmentRange.id"
    )


class SegmentRange(Base, Scoped):
    """An IPv6 range of a segment."""

    __tablename__ = "segment_range"
    __topic__ = "network"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    segment_id: Mapped[str] = mapped_column(reference("segment.id"), index=True)
    cidr: Mapped[str] = mapped_column(Cidr)
    state: Mapped[str] = mapped_column(Word, default="associated")
    created: Mapped[datetime]


class Gateway(Base, Scoped):
    """The way from a network to the outside; `outbound_only` lets only answers in (IPv6). Attached when it has a
    network."""

    __tablename__ = "gateway"
    __topic__ = "network"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    outbound_only: Mapped[bool] = mapped_column(Boolean, default=False)
    network_id: Mapped[str | None] = mapped_column(reference("network.id"), index=True)
    created: Mapped[datetime]


class Port(Base, Scoped):
    """A network card: its addresses, its firewall groups, and the guest that it is plugged into.

    `role` is "interface" for a tenant's own, else what uses it ("nat", "endpoint"); `keeper` names who manages it, if
    not the tenant. `ends_with_guest`: the port is dropped when its guest is."""

    __tablename__ = "port"
    __topic__ = "network"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    network_id: Mapped[str] = mapped_column(reference("network.id"), index=True)
    segment_id: Mapped[str] = mapped_column(reference("segment.id"), index=True)
    zone: Mapped[str] = mapped_column(Word)
    zone_id: Mapped[str] = mapped_column(Word)
    mac: Mapped[str] = mapped_column(Word)
    description: Mapped[str] = mapped_column(String(255), default="")
    role: Mapped[str] = mapped_column(Word, default="interface")
    keeper: Mapped[str | None] = mapped_column(Word)
    state: Mapped[str] = mapped_column(Word, default="available")
    checked: Mapped[bool] = mapped_column(Boolean, default=True)
    guest_id: Mapped[str | None] = mapped_column(Id, index=True)
    attachment_id: Mapped[str | None] = mapped_column(Id, index=True)
    device_index: Mapped[int | None]
    card_index: Mapped[int | None]
    attached_at: Mapped[datetime | None]
    ends_with_guest: Mapped[bool] = mapped_column(Boolean, default=False)
    created: Mapped[datetime]
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    addresses: Mapped[list["PortAddress"]] = relationship(
        lazy="selectin", cascade=OWNED, order_by="PortAddress.primary.desc(), PortAddress.position"
    )
    groups: Mapped[list["PortGroup"]] = relationship(lazy="selectin", cascade=OWNED, order_by="PortGroup.position")

    def private(self) -> "PortAddress | None":
        """The primary IPv4 address; None for a card with IPv6 only."""
        return next((address for address in self.addresses if address.primary and address.family == 4), None)


class PortAddress(Base, Scoped):
    """A private address of a port, with the public one that stands for it outside: an elastic one when `elastic_id` is
    set, else one lent until the guest stops."""

    __tablename__ = "port_address"
    __topic__ = "network"
    segment_id: Mapped[str] = mapped_column(reference("segment.id"), primary_key=True)
    ip: Mapped[str] = mapped_column(Cidr, primary_key=True)
    port_id: Mapped[str] = mapped_column(reference("port.id"), index=True)
    family: Mapped[int]
    primary: Mapped[bool] = mapped_column(Boolean, default=False)
    position: Mapped[int] = mapped_column(default=0)
    public_ip: Mapped[str | None] = mapped_column(Cidr)
    elastic_id: Mapped[str | None] = mapped_column(Id)
    association_id: Mapped[str | None] = mapped_column(Id)


class PortGroup(Base, Scoped):
    """A port is a member of a firewall group. The group's name never changes, so it is kept here too."""

    __tablename__ = "port_group"
    __topic__ = "network"
    port_id: Mapped[str] = mapped_column(reference("port.id"), primary_key=True)
    group_id: Mapped[str] = mapped_column(reference("firewall_group.id"), primary_key=True, index=True)
    name: Mapped[str] = mapped_column(String(255))
    position: Mapped[int] = mapped_column(default=0)


class Lease(Base):
    """A public address that is taken, by whomever."""

    __tablename__ = "public_lease"
    __topic__ = None
    ip: Mapped[str] = mapped_column(Cidr, primary_key=True)


class Address(Base, Scoped):
    """An elastic public address; bound to one private address of a port while it has an `association_id`."""

    __tablename__ = "address"
    __topic__ = "network"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    ip: Mapped[str] = mapped_column(Cidr, unique=True)
    association_id: Mapped[str | None] = mapped_column(Id, index=True)
    port_id: Mapped[str | None] = mapped_column(reference("port.id"), index=True)
    private_ip: Mapped[str | None] = mapped_column(Cidr)
    created: Mapped[datetime]
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    port: Mapped[Port | None] = relationship(lazy="selectin", viewonly=True)


class Nat(Base, Scoped):
    """A translator: lets ports without public addresses call out. `public` ones own elastic addresses, on their
    port."""

    __tablename__ = "nat"
    __topic__ = "network"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    network_id: Mapped[str] = mapped_column(reference("network.id"), index=True)
    segment_id: Mapped[str] = mapped_column(Id, index=True)
    public: Mapped[bool] = mapped_column(Boolean)
    wanted: Mapped[str] = mapped_column(Word, default="available")
    state: Mapped[str] = mapped_column(Word, default="pending", index=True)
    port_id: Mapped[str | None] = mapped_column(reference("port.id"))
    created: Mapped[datetime]
    deleted: Mapped[datetime | None]
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    port: Mapped[Port | None] = relationship(lazy="selectin", viewonly=True)


class RouteTable(Base, Scoped):
    """Where packets of its segments go. The main table of a network serves every segment without one of its own."""

    __tablename__ = "route_table"
    __topic__ = "network"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    network_id: Mapped[str] = mapped_column(reference("network.id"), index=True)
    created: Mapped[datetime]
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)
    routes: Mapped[list["Route"]] = relationship(
        lazy="selectin", cascade=OWNED, order_by="Route.position, Route.destination"
    )
    associations: Mapped[list["RouteTableAssociation"]] = relationship(
        lazy="selectin", cascade=OWNED, order_by="RouteTableAssociation.main.desc(), RouteTableAssociation.id"
    )

    @property
    def main(self) -> bool:
        """Whether this is its network's main table."""
        return any(association.main for association in self.associations)

    def changed_parts(self) -> Collection[str]:
        """As promised in `Base`."""
        return (self.network_id,)


class Route(Base, Scoped):
    """`destination` (a range, or the id of a prefix list) goes to the target; "blackhole" when the target is gone.

    `target_kind`: local, gateway, egress, nat, port, peering, endpoint or, for what has no machinery here, its own
    word. `guest_id` is set when the target was named by its guest; `origin` is "table" for what came with the table."""

    __tablename__ = "route"
    __topic__ = "network"
    table_id: Mapped[str] = mapped_column(reference("route_table.id"), primary_key=True)
    destination: Mapped[str] = mapped_column(Cidr, primary_key=True)
    target_kind: Mapped[str] = mapped_column(Word)
    target_id: Mapped[str] = mapped_column(Id, index=True)
    guest_id: Mapped[str | None] = mapped_column(Id)
    origin: Mapped[str] = mapped_column(Word, default="request")
    state: Mapped[str] = mapped_column(Word, default="active")
    position: Mapped[int] = mapped_column(default=0)

    def changed_parts(self) -> Collection[str]:
        """As promised in `Base`. A new one in the list of its owner, which then changes, too, has no id of it yet."""
        return (self.table_id,) if self.table_id else ()


class RouteTableAssociation(Base, Scoped):
    """A route table serves a segment, a gateway, or (main) the network."""

    __tablename__ = "route_table_association"
    __topic__ = "network"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    table_id: Mapped[str] = mapped_column(reference("route_table.id"), index=True)
    network_id: Mapped[str] = mapped_column(Id, index=True)
    segment_id: Mapped[str | None] = mapped_column(reference("segment.id"), unique=True)
    gateway_id: Mapped[str | None] = mapped_column(Id, unique=True)
    main: Mapped[bool] = mapped_column(Boolean, default=False)


class FirewallGroup(Base, Scoped):
    """What may reach, and be reached from, the ports in it; stateful."""

    __tablename__ = "firewall_group"
    __topic__ = "network"
    __table_args__ = (UniqueConstraint("network_id", "name"),)
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    network_id: Mapped[str] = mapped_column(reference("network.id"), index=True)
    name: Mapped[str] = mapped_column(String(255))
    description: Mapped[str] = mapped_column(String(255))
    is_default: Mapped[bool] = mapped_column(Boolean, default=False)
    created: Mapped[datetime]
    rules: Mapped[list["FirewallRule"]] = relationship(
        lazy="selectin", cascade=OWNED, order_by="FirewallRule.created, FirewallRule.id"
    )

    def changed_parts(self) -> Collection[str]:
        """As promised in `Base`: network and group."""
        return (f"{self.network_id} {self.id}",)


class FirewallRule(Base, Scoped):
    """One allowance. `protocol` is tcp, udp, icmp, icmpv6, a number, or -1 for all; ports are -1 where they mean
    nothing (for ICMP they are type and code). `peer_kind` is cidr4, cidr6, group or prefixes, and `peer` the range or
    id."""

    __tablename__ = "firewall_rule"
    __topic__ = "network"
    __table_args__ = (
        UniqueConstraint("group_id", "egress", "protocol", "from_port", "to_port", "peer_kind", "peer"),
        Index("ix_firewall_rule_peer", "peer"),
    )
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    group_id: Mapped[str] = mapped_column(reference("firewall_group.id"))
    egress: Mapped[bool] = mapped_column(Boolean)
    protocol: Mapped[str] = mapped_column(Word)
    from_port: Mapped[int]
    to_port: Mapped[int]
    peer_kind: Mapped[str] = mapped_column(Word)
    peer: Mapped[str] = mapped_column(Cidr)
    description: Mapped[str | None] = mapped_column(String(255))
    created: Mapped[datetime]
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)

    def changed_parts(self) -> Collection[str]:
        """As promised in `Base`. A new one in the list of its owner, which then changes, too, has no id of it yet."""
        return (self.group_id,) if self.group_id else ()


class PacketFilter(Base, Scoped):
    """Numbered rules at the edge of segments, first match decides; stateless."""

    __tablename__ = "packet_filter"
    __topic__ = "network"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    network_id: Mapped[str] = mapped_column(reference("network.id"), index=True)
    is_default: Mapped[bool] = mapped_column(Boolean, default=False)
    created: Mapped[datetime]
    entries: Mapped[list["PacketFilterEntry"]] = relationship(
        lazy="selectin", cascade=OWNED, order_by="PacketFilterEntry.egress.desc(), PacketFilterEntry.number"
    )
    associations: Mapped[list["PacketFilterAssociation"]] = relationship(
        lazy="selectin", cascade=OWNED, order_by="PacketFilterAssociation.id"
    )

    def changed_parts(self) -> Collection[str]:
        """As promised in `Base`."""
        return (self.network_id,)


class PacketFilterEntry(Base, Scoped):
    """One rule. `protocol` is a number, "-1" for all; ports and ICMP fields are None where the protocol has none."""

    __tablename__ = "packet_filter_entry"
    __topic__ = "network"
    filter_id: Mapped[str] = mapped_column(reference("packet_filter.id"), primary_key=True)
    egress: Mapped[bool] = mapped_column(Boolean, primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    allow: Mapped[bool] = mapped_column(Boolean)
    protocol: Mapped[str] = mapped_column(Word)
    cidr: Mapped[str] = mapped_column(Cidr)
    family: Mapped[int]
    from_port: Mapped[int | None]
    to_port: Mapped[int | None]
    icmp_type: Mapped[int | None]
    icmp_code: Mapped[int | None]

    def changed_parts(self) -> Collection[str]:
        """As promised in `Base`. A new one in the list of its owner, which then changes, too, has no id of it yet."""
        return (self.filter_id,) if self.filter_id else ()


class PacketFilterAssociation(Base, Scoped):
    """A packet filter guards a segment; every segment has exactly one."""

    __tablename__ = "packet_filter_association"
    __topic__ = "network"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    filter_id: Mapped[str] = mapped_column(reference("packet_filter.id"), index=True)
    segment_id: Mapped[str] = mapped_column(reference("segment.id"), unique=True)


class DhcpOptions(Base, Scoped):
    """What guests are told at start: a list of {"key", "values"}."""

    __tablename__ = "dhcp_options"
    __topic__ = "network"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    is_default: Mapped[bool] = mapped_column(Boolean, default=False)
    options: Mapped[list[Any]]
    created: Mapped[datetime]


class Peering(Base, Scoped):
    """A link between two networks, as one side sees it: one row for each tenant and region that takes part.

    `requester` and `accepter` describe the sides: {"tenant", "region", "network", "cidrs", "options"}."""

    __tablename__ = "peering"
    __topic__ = "network"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant: Mapped[str] = mapped_column(Word, primary_key=True)
    region: Mapped[str] = mapped_column(String(32), primary_key=True)
    state: Mapped[str] = mapped_column(Word)
    message: Mapped[str] = mapped_column(String(255))
    requester_network_id: Mapped[str] = mapped_column(Id, index=True)
    accepter_network_id: Mapped[str] = mapped_column(Id, index=True)
    requester: Mapped[dict[str, Any]]
    accepter: Mapped[dict[str, Any]]
    expires: Mapped[datetime | None]
    created: Mapped[datetime]


class PrefixList(Base, Scoped):
    """Named ranges that rules and routes may refer to; every change makes a version. `keeper` is set when it is not the
    tenant's own."""

    __tablename__ = "prefix_list"
    __topic__ = "network"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    tenant: Mapped[str] = mapped_column(Word, primary_key=True)
    region: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    family: Mapped[int]
    size: Mapped[int]
    version: Mapped[int] = mapped_column(default=1)
    state: Mapped[str] = mapped_column(Word, default="create-complete")
    keeper: Mapped[str | None] = mapped_column(Word)
    versions: Mapped[dict[str, Any]]
    created: Mapped[datetime]

    def entries(self, version: int | None = None) -> list[dict[str, Any]]:
        """The entries ({"cidr", "description"}) of a version, the newest by default."""
        found: list[dict[str, Any]] = self.versions.get(str(version or self.version), [])
        return found


class Endpoint(Base, Scoped):
    """A private door of a network to a service: by routes (`kind` "gateway") or by ports ("interface", "balancer")."""

    __tablename__ = "endpoint"
    __topic__ = "network"
    id: Mapped[str] = mapped_column(Id, primary_key=True)
    network_id: Mapped[str] = mapped_column(reference("network.id"), index=True)
    kind: Mapped[str] = mapped_column(Word)
    service: Mapped[str] = mapped_column(String(255))
    wanted: Mapped[str] = mapped_column(Word, default="available")
    state: Mapped[str] = mapped_column(Word, default="pending", index=True)
    tables: Mapped[list[str]] = mapped_column(default=list)
    segments: Mapped[list[str]] = mapped_column(default=list)
    groups: Mapped[list[str]] = mapped_column(default=list)
    ports: Mapped[list[str]] = mapped_column(default=list)
    created: Mapped[datetime]
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)
