"""Ports: the network cards of guests, translators and endpoints."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from sqlalchemy import select

from backends.errors import InUse, Missing
from backends.network.errors import AlreadyAttached, Malformed, NotAttached, TooManyGroups, WrongNetwork
from backends.network.models import Address, FirewallGroup, Port, PortAddress, PortGroup, Segment
from backends.network.routes import Routes


def mac_of(port_id: str) -> str:
    """The hardware address of a port: locally administered, and always the same for the same port."""
    digest = hashlib.sha256(port_id.encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (0x0A, *digest[:5]))


MOST_GROUPS = 5
"""Firewall groups that a port may be in."""


class Ports(Routes):
    """Ports, their addresses and groups, and what they are plugged into."""

    def port(self, id: str) -> Port:
        """The port with that id. Raises `Missing`."""
        found = self.session.execute(select(Port).where(Port.id == id)).scalars().first()
        if found is None:
            raise Missing(f"there is no port {id}", id=id)
        return found

    def port_attached_as(self, attachment_id: str) -> Port | None:
        """The port of an attachment."""
        return self.session.execute(select(Port).where(Port.attachment_id == attachment_id)).scalars().first()

    def ports_of(self, guest_id: str) -> Sequence[Port]:
        """The ports plugged into a guest, by device index."""
        return (
            self.session.execute(select(Port).where(Port.guest_id == guest_id).order_by(Port.device_index))
            .scalars()
            .all()
        )

    def add_port(
        self,
        id: str,
        segment: Segment,
        groups: Sequence[str] = (),
        *,
        address: str | None = None,
        secondary: Sequence[str] = (),
        secondary_count: int = 0,
        addresses6: Sequence[str] = (),
        count6: int = 0,
        description: str = "",
        role: str = "interface",
        keeper: str | None = None,
        checked: bool = True,
        notes: dict[str, Any] | None = None,
    ) -> Port:
        """A port in `segment`, in the firewall groups with those ids (the network's default group when there are none).

        It has the IPv4 `address` (any free one when None), the `secondary` ones and `secondary_count` more, and as many
        IPv6 ones; a port in a segment with IPv6 only has no IPv4 address. Raises `Malformed`, `AddressReserved`,
        `AddressTaken`, `NoAddresses`, `Missing` (a group), `WrongNetwork` (a group of another network)."""
        members: list[PortGroup] = []
        if role != "nat":
            wanted = groups or (self.default_group(segment.network_id),)
            members = self._members(wanted, segment.network_id)
        addresses = self._addresses(segment, address, secondary, secondary_count)
        if not segment.cidr and not addresses6 and not count6:
            count6 = 1
        if addresses6 or count6:
            found = self.take_addresses6(segment, addresses6, count6)
            addresses += _rows(segment.id, found, 6, len(addresses))
        port = Port(
            id=id,
            network_id=segment.network_id,
            segment_id=segment.id,
            zone=segment.zone,
            zone_id=segment.zone_id,
            mac=mac_of(id),
            description=description,
            role=role,
            keeper=keeper,
            state="available",
            checked=checked,
            ends_with_guest=False,
            created=self.now,
            notes=notes or {},
            addresses=addresses,
            groups=members,
        )
        self.add(port)
        self.session.flush()
        return port

    def _addresses(
        self, segment: Segment, first: str | None, secondary: Sequence[str], count: int
    ) -> list[PortAddress]:
        """Rows for the IPv4 addresses of a new port, the primary one in front."""
        if not segment.cidr:
            return []
        wishes = ([first] if first else []) + list(secondary)
        found = self.take_addresses(segment, wishes, count + (0 if first else 1))
        if not first:
            found = _primary_first(found, len(wishes))
        rows = _rows(segment.id, found, 4, 0)
        rows[0].primary = True
        return rows

    def default_group(self, network_id: str) -> str:
        """The id of the firewall group that a network came with."""
        return self.session.execute(
            select(FirewallGroup.id).where(FirewallGroup.network_id == network_id, FirewallGroup.is_default)
        ).scalar_one()

    def _members(self, groups: Sequence[str], network_id: str) -> list[PortGroup]:
        """Memberships in groups of a network, for a port to be. Raises `Missing`, `WrongNetwork`, `TooManyGroups`."""
        wanted = list(dict.fromkeys(groups))
        if len(wanted) > MOST_GROUPS:
            raise TooManyGroups(f"{len(wanted)} firewall groups are too many for a port", limit=MOST_GROUPS)
        columns = select(FirewallGroup.id, FirewallGroup.name, FirewallGroup.network_id)
        known = {row.id: row for row in self.session.execute(columns.where(FirewallGroup.id.in_(wanted)))}
        for id in wanted:
            if id not in known:
                raise Missing(f"there is no firewall group {id}", id=id)
            if known[id].network_id != network_id:
                raise WrongNetwork(f"{id} belongs to another network", id=id, network=network_id)
        return [PortGroup(group_id=id, name=known[id].name, position=place) for place, id in enumerate(wanted)]

    def set_groups(self, port: Port, groups: Sequence[str]) -> None:
        """Put a port into exactly these firewall groups. Raises `Missing`, `WrongNetwork` (each with `id`), and
        `TooManyGroups`."""
        held = {link.group_id: link for link in port.groups}
        wanted = self._members(groups, port.network_id)
        for link in wanted:
            if link.group_id in held:
                held[link.group_id].position = link.position
        port.groups[:] = [held.get(link.group_id) or link for link in wanted]

    def attach_port(
        self,
        port_id: str,
        guest_id: str,
        device_index: int,
        *,
        attachment_id: str,
        delete_on_termination: bool = False,
        card_index: int = 0,
    ) -> Port:
        """Plug a port into a guest. Raises `Missing`, `AlreadyAttached` (the port, or the guest's place is taken)."""
        port = self.port(port_id)
        self.hold(port)
        if port.guest_id is not None or port.attachment_id is not None:
            raise AlreadyAttached(f"{port_id} is in {port.guest_id}", id=port_id, by=port.guest_id, index=None)
        for other in self.ports_of(guest_id):
            if (other.device_index, other.card_index or 0) == (device_index, card_index):
                raise AlreadyAttached(f"{guest_id} has a port there", id=guest_id, by=other.id, index=device_index)
        self.plug_in(
            port,
            guest_id,
            device_index,
            attachment_id=attachment_id,
            delete_on_termination=delete_on_termination,
            card_index=card_index,
        )
        self.relight(port.id)
        return port

    def plug_in(
        self,
        port: Port,
        guest_id: str,
        device_index: int,
        *,
        attachment_id: str,
        delete_on_termination: bool,
        card_index: int = 0,
    ) -> None:
        """As `attach_port`, for a port that was made in this very unit, into a place of the guest known to be free."""
        port.guest_id, port.device_index, port.card_index = guest_id, device_index, card_index
        port.attachment_id, port.attached_at = attachment_id, self.now
        port.ends_with_guest, port.state = delete_on_termination, "in-use"

    def detach_port(self, port_id: str) -> Port:
        """Unplug a port; an address that was only lent goes back. Raises `Missing`, `NotAttached`."""
        port = self.port(port_id)
        if port.attachment_id is None:
            raise NotAttached(f"{port_id} is not attached", id=port_id)
        self.return_public(port)
        port.guest_id = port.device_index = port.card_index = port.attachment_id = port.attached_at = None
        port.ends_with_guest, port.state = False, "available"
        self.relight(port.id)
        return port

    def remove_port(self, port_id: str) -> None:
        """Remove a port and free its addresses; elastic ones stay with their owner. Raises `Missing`, `InUse`
        (attached)."""
        port = self.port(port_id)
        self.hold(port)
        if port.attachment_id is not None:
            raise InUse(f"{port_id} is attached", id=port_id, by=port.guest_id or port.attachment_id)
        self.return_public(port)
        for address in self.session.execute(select(Address).where(Address.port_id == port.id)).scalars():
            address.port_id = address.private_ip = address.association_id = None
        segment = self._segment_of(port)
        self.hold(segment)
        segment.free += sum(row.family == 4 for row in port.addresses)
        self.session.delete(port)
        self.session.flush()
        self.relight(port_id)

    def _segment_of(self, port: Port) -> Segment:
        return self.session.execute(select(Segment).where(Segment.id == port.segment_id)).scalars().one()

    def assign(
        self, port: Port, wishes: Sequence[str] = (), count: int = 0, family: int = 4, move: bool = False
    ) -> list[str]:
        """Give a port more private addresses; those given. With `move`, one of another port may be taken from it.

        Raises as `add_port` does."""
        segment = self._segment_of(port)
        mine = {row.ip for row in port.addresses}
        wishes = [ip for ip in wishes if ip not in mine]
        if move:
            for ip in wishes:
                self._take_from_holder(segment, ip)
        take = self.take_addresses if family == 4 else self.take_addresses6
        found = take(segment, wishes, count)
        place = max((row.position for row in port.addresses), default=-1) + 1
        port.addresses.extend(_rows(segment.id, found, family, place))
        self.session.flush()
        return found

    def _take_from_holder(self, segment: Segment, ip: str) -> None:
        row = (
            self.session.execute(select(PortAddress).where(PortAddress.segment_id == segment.id, PortAddress.ip == ip))
            .scalars()
            .first()
        )
        if row is not None and not row.primary:
            self.unassign(self.port(row.port_id), [ip])

    def unassign(self, port: Port, ips: Sequence[str]) -> None:
        """Take secondary private addresses from a port. Raises `Malformed` (with `value`) for one that it has not, or
        its primary one."""
        for ip in ips:
            row = next((row for row in port.addresses if row.ip == ip and not row.primary), None)
            if row is None:
                raise Malformed(f"{ip} is no secondary address of {port.id}", value=ip, what="secondary")
            for address in self.session.execute(
                select(Address).where(Address.port_id == port.id, Address.private_ip == ip)
            ).scalars():
                address.port_id = address.private_ip = address.association_id = None
            if row.family == 4:
                segment = self._segment_of(port)
                self.hold(segment)
                segment.free += 1
            port.addresses.remove(row)
        self.session.flush()

    def lend_public(self, port: Port) -> str:
        """Let a public address stand for the port's primary one until it is returned; the one it has, if it has one."""
        private = port.private()
        if private is None:
            raise Malformed(f"{port.id} has no IPv4 address", value=port.id, what="port")
        if private.public_ip is None:
            private.public_ip = self.lease()
        return private.public_ip

    def return_public(self, port: Port) -> None:
        """Give back what `lend_public` lent, if anything."""
        private = port.private()
        if private is not None and private.public_ip is not None and private.elastic_id is None:
            self.release_lease(private.public_ip)
            private.public_ip = None


def _rows(segment_id: str, ips: Sequence[str], family: int, place: int) -> list[PortAddress]:
    """Secondary addresses for a port, from position `place` on."""
    return [
        PortAddress(segment_id=segment_id, ip=ip, family=family, position=place + number, primary=False)
        for number, ip in enumerate(ips)
    ]


def _primary_first(found: list[str], wished: int) -> list[str]:
    """Addresses as `take_addresses` gives them (wished first), with the first of the free ones in front."""
    return [found[wished], *found[:wished], *found[wished + 1 :]]
