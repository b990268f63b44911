"""Segments: parts of a network, each in one zone, and the addresses in them."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import select

from backends.errors import InUse, Overlap
from backends.network import cidr as ranges
from backends.network.errors import AddressReserved, AddressTaken, BadSize, NoAddresses
from backends.network.models import (
    Endpoint,
    Network,
    PacketFilter,
    PacketFilterAssociation,
    Port,
    PortAddress,
    RouteTableAssociation,
    Segment,
    SegmentRange,
)
from backends.network.networks import Networks

SEGMENT_BITS6 = 64
KEPT = "kept"
"""The note of a segment that lists the ranges of which no address is given out unasked."""


class Segments(Networks):
    """Segments, and the giving out of their addresses."""

    def add_segment(
        self,
        *,
        id: str,
        network: Network,
        cidr: str | None,
        zone: str,
        zone_id: str,
        filter_association: str,
        cidr6: str | None = None,
        range6_id: str | None = None,
        is_default: bool = False,
        notes: dict[str, Any] | None = None,
    ) -> Segment:
        """A segment of `network` in `zone`, guarded by the network's default packet filter.

        `cidr` None makes a segment with IPv6 only. Raises `Malformed`, `BadSize` (outside the network, or a size that
        segments cannot have), `Overlap` with another segment."""
        self.hold(network)
        block = None if cidr is None else self._fitting(network, ranges.sized(cidr), cidr)
        segment = Segment(
            id=id,
            network_id=network.id,
            zone=zone,
            zone_id=zone_id,
            cidr="" if block is None else str(block),
            state="available",
            free=ranges.capacity(ipaddress.IPv4Network(str(block))) if block is not None else 0,
            cursor=ranges.RESERVED_LOW,
            is_default=is_default,
            public_on_launch=is_default,
            created=self.now,
            notes=notes or {},
        )
        if cidr6 is not None and range6_id is not None:
            self.add_segment_range(segment, id=range6_id, cidr=cidr6, network=network)
        self.add(segment)
        guard = self.session.execute(
            select(PacketFilter.id).where(PacketFilter.network_id == network.id, PacketFilter.is_default)
        ).scalar_one()
        self.add(PacketFilterAssociation(id=filter_association, filter_id=guard, segment_id=id))
        return segment

    def _fitting(self, network: Network, block: ranges.Range, text: str) -> ranges.Range:
        if not ranges.inside(block, [ranges.parse(row.cidr) for row in network.ranges]):
            raise BadSize(f"{text} is not inside {network.id}", cidr=text)
        other = ranges.clash(block, self._held(network.id))
        if other is not None:
            raise Overlap(f"{text} overlaps {other}", cidr=text, other=str(other))
        return block

    def _held(self, network_id: str) -> list[ranges.Range]:
        """The ranges of all segments of a network."""
        own = select(Segment.cidr).where(Segment.network_id == network_id, Segment.cidr != "")
        six = select(SegmentRange.cidr).join(Segment, Segment.id == SegmentRange.segment_id)
        texts = [*self.session.execute(own).scalars()]
        texts += self.session.execute(six.where(Segment.network_id == network_id)).scalars()
        return [ranges.parse(text) for text in texts]

    def room(self, network: Network, bits: int) -> str | None:
        """The first part of a network's first range, of prefix length `bits`, that overlaps no segment."""
        found = ranges.carve(ranges.parse(network.cidr), bits, self._held(network.id))
        return None if found is None else str(found)

    def add_segment_range(self, segment: Segment, *, id: str, cidr: str, network: Network) -> SegmentRange:
        """Give a segment an IPv6 range (a /64, or wider by fours). Raises `Malformed`, `BadSize`, `Overlap`."""
        block = ranges.parse6(cidr)
        if not 44 <= block.prefixlen <= SEGMENT_BITS6 or block.prefixlen % 4:
            raise BadSize(f"{cidr} is not a /44 to /64", cidr=cidr)
        row = SegmentRange(
            id=id,
            segment_id=segment.id,
            cidr=str(self._fitting(network, block, cidr)),
            state="associated",
            created=self.now,
        )
        segment.ranges.append(row)
        return row

    def keep_back(self, segment: Segment, cidrs: Sequence[str]) -> None:
        """Give out no address of these ranges of a segment unless it is wished for by name."""
        self.hold(segment)
        segment.notes = {**segment.notes, KEPT: list(cidrs)}

    def remove_segment_range(self, segment: Segment, row: SegmentRange) -> None:
        """Take an IPv6 range from a segment. Raises `InUse` while a port has an address of it."""
        block = ranges.parse6(row.cidr)
        for ip, port in self.session.execute(
            select(PortAddress.ip, PortAddress.port_id).where(
                PortAddress.segment_id == segment.id, PortAddress.family == 6
            )
        ):
            if ipaddress.IPv6Address(ip) in block:
                raise InUse(f"{port} has {ip}", id=row.id, by=port)
        segment.ranges.remove(row)

    def remove_segment(self, segment: Segment) -> None:
        """Remove a segment. Raises `InUse` (with `by`) while a port is in it."""
        self.hold(segment)
        holder = self.session.execute(select(Port.id).where(Port.segment_id == segment.id).limit(1)).scalar()
        if holder is None:
            holder = next(
                (
                    door.id
                    for door in self.session.execute(
                        select(Endpoint).where(Endpoint.network_id == segment.network_id, Endpoint.state != "deleted")
                    ).scalars()
                    if segment.id in door.segments
                ),
                None,
            )
        if holder is not None:
            raise InUse(f"{holder} is in {segment.id}", id=segment.id, by=holder)
        for model in (RouteTableAssociation, PacketFilterAssociation):
            for row in self.session.execute(select(model).where(model.segment_id == segment.id)).scalars():
                self.session.delete(row)
        self.session.delete(segment)

    def default_segment(self, zone: str | None = None) -> Segment | None:
        """The default segment of a zone, of any zone when None."""
        query = select(Segment).where(Segment.is_default).order_by(Segment.zone)
        if zone is not None:
            query = query.where(Segment.zone == zone)
        return self.session.execute(query).scalars().first()

    def take_addresses(self, segment: Segment, wishes: Iterable[str], count: int = 0) -> list[str]:
        """Take the wished IPv4 addresses of a segment, then `count` free ones; the caller puts them on a port.

        Raises `Malformed`, `AddressReserved`, `AddressTaken` (each with `ip`), `NoAddresses`."""
        self.hold(segment)
        wanted = list(wishes)
        block = ranges.parse4(segment.cidr) if segment.cidr else None
        if block is None or len(wanted) + count > segment.free:
            raise NoAddresses(f"{segment.id} has {segment.free} free addresses", id=segment.id)
        kept = [ipaddress.ip_network(part) for part in segment.notes.get(KEPT, ())]

        taken: list[str] = []

        def held(ip: str) -> bool:
            given = ip in taken or any(ipaddress.ip_address(ip) in part for part in kept)
            return given or self._is_taken(segment.id, ip)

        for ip in wanted:
            if not ranges.assignable(block, ip):
                raise AddressReserved(f"{ip} cannot be given in {segment.cidr}", ip=ip, cidr=segment.cidr)
            ip = str(ranges.address(ip))
            if ip in taken or self._is_taken(segment.id, ip):
                raise AddressTaken(f"{ip} is in use", ip=ip)
            taken.append(ip)
        for _ in range(count):
            found = ranges.next_free(block, segment.cursor, held)
            if found is None:
                raise NoAddresses(f"{segment.id} is full", id=segment.id)
            taken.append(found[0])
            segment.cursor = found[1]
        segment.free -= len(taken)
        return taken

    def take_addresses6(self, segment: Segment, wishes: Iterable[str], count: int = 0) -> list[str]:
        """The same for IPv6; free ones are drawn at random."""
        blocks = [ranges.parse6(row.cidr) for row in segment.ranges]
        taken: list[str] = []
        for ip in wishes:
            if not any(ranges.assignable(block, ip) for block in blocks):
                raise AddressReserved(f"{ip} cannot be given in {segment.id}", ip=ip, cidr=", ".join(map(str, blocks)))
            ip = str(ranges.address(ip))
            if ip in taken or self._is_taken(segment.id, ip):
                raise AddressTaken(f"{ip} is in use", ip=ip)
            taken.append(ip)
        if count and not blocks:
            raise NoAddresses(f"{segment.id} has no IPv6 range", id=segment.id)
        while count:
            offset = self.host.dice.randrange(1 << 16, blocks[0].num_addresses - 1)
            ip = str(ipaddress.IPv6Address(int(blocks[0].network_address) + offset))
            kept = any(ipaddress.ip_address(ip) in ipaddress.ip_network(one) for one in segment.notes.get(KEPT, ()))
            if ip not in taken and not kept and not self._is_taken(segment.id, ip):
                taken.append(ip)
                count -= 1
        return taken

    def _is_taken(self, segment_id: str, ip: str) -> bool:
        return (
            self.session.execute(
                select(PortAddress.ip).where(PortAddress.segment_id == segment_id, PortAddress.ip == ip)
            ).first()
            is not None
        )
