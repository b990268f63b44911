"""Packet filters: the numbered, stateless rules at the edge of segments."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select

from backends.errors import Exists, InUse, Missing
from backends.network import cidr as ranges
from backends.network.errors import DefaultThing, Malformed, TooManyRules, WrongNetwork
from backends.network.firewalls import Firewalls
from backends.network.models import Network, PacketFilter, PacketFilterAssociation, PacketFilterEntry, Segment
from backends.network.networks import LAST_NUMBER, closing_entries
from backends.network.rules import protocol_number

ROOM = 20
"""Rules for each direction and family of a packet filter, beside those that come with it."""


@dataclass(frozen=True)
class EntrySpec:
    """A rule of a packet filter, as wished."""

    egress: bool
    number: int
    allow: bool
    protocol: str
    cidr: str
    from_port: int | None = None
    to_port: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None


class Filters(Firewalls):
    """Packet filters, their entries, and the segments that they guard."""

    def add_filter(self, *, id: str, network: Network) -> PacketFilter:
        """A packet filter that lets nothing pass yet."""
        guard = PacketFilter(id=id, network_id=network.id, is_default=False, created=self.now)
        guard.entries.extend(closing_entries(id))
        if any(block.family == 6 for block in network.ranges):
            guard.entries.extend(closing_entries(id, 6))
        self.add(guard)
        return guard

    def remove_filter(self, guard: PacketFilter) -> None:
        """Remove a packet filter. Raises `DefaultThing`, and `InUse` (with `by`) while it guards a segment."""
        if guard.is_default:
            raise DefaultThing(f"{guard.id} is its network's default", id=guard.id)
        if guard.associations:
            raise InUse(
                f"{guard.id} guards {guard.associations[0].segment_id}",
                id=guard.id,
                by=guard.associations[0].segment_id,
            )
        self.session.delete(guard)

    def add_entry(self, guard: PacketFilter, spec: EntrySpec) -> PacketFilterEntry:
        """Add a rule. Raises `Malformed`, `Exists` (with `number`) when the number is taken in that direction, and
        `TooManyRules`: each direction has `ROOM`, of each family."""
        if self._entry(guard, spec.egress, _number(spec.number)) is not None:
            raise Exists(f"{guard.id} has a rule {spec.number}", id=guard.id, number=spec.number)
        entry = _written(PacketFilterEntry(egress=spec.egress, number=spec.number), spec)
        held = [one for one in guard.entries if (one.egress, one.family) == (entry.egress, entry.family)]
        if sum(one.number < LAST_NUMBER for one in held) >= ROOM:
            raise TooManyRules(f"{guard.id} is full", id=guard.id, limit=ROOM)
        guard.entries.append(entry)
        return entry

    def replace_entry(self, guard: PacketFilter, spec: EntrySpec) -> PacketFilterEntry:
        """Rewrite the rule of that number. Raises `Malformed`, `Missing` (with `number`)."""
        entry = self._entry(guard, spec.egress, _number(spec.number))
        if entry is None:
            raise Missing(f"{guard.id} has no rule {spec.number}", id=guard.id, number=spec.number)
        return _written(entry, spec)

    def remove_entry(self, guard: PacketFilter, egress: bool, number: int) -> None:
        """Remove the rule of that number. Raises `Malformed`, `Missing` (with `number`)."""
        entry = self._entry(guard, egress, _number(number))
        if entry is None:
            raise Missing(f"{guard.id} has no rule {number}", id=guard.id, number=number)
        guard.entries.remove(entry)

    def _entry(self, guard: PacketFilter, egress: bool, number: int) -> PacketFilterEntry | None:
        return next((entry for entry in guard.entries if (entry.egress, entry.number) == (egress, number)), None)

    def guard_instead(self, old: PacketFilterAssociation, guard: PacketFilter, *, id: str) -> PacketFilterAssociation:
        """Let `guard` guard the segment that `old` tells, under a new id. Raises `WrongNetwork`."""
        segment = self.session.execute(select(Segment).where(Segment.id == old.segment_id)).scalars().one()
        if segment.network_id != guard.network_id:
            raise WrongNetwork(f"{guard.id} is in another network", id=guard.id, network=segment.network_id)
        former = self.session.execute(select(PacketFilter).where(PacketFilter.id == old.filter_id)).scalars().one()
        former.associations.remove(old)
        self.session.flush()
        fresh = PacketFilterAssociation(id=id, segment_id=segment.id)
        guard.associations.append(fresh)
        return fresh


def _number(number: int) -> int:
    if not 1 <= number < LAST_NUMBER:
        raise Malformed(f"{number} is not 1 to {LAST_NUMBER - 1}", value=number, what="number")
    return number


def _written(entry: PacketFilterEntry, spec: EntrySpec) -> PacketFilterEntry:
    """The entry, saying what `spec` says."""
    block = ranges.parse(spec.cidr)
    entry.protocol, entry.allow = protocol_number(spec.protocol), spec.allow
    entry.cidr, entry.family = str(block), block.version
    ported = entry.protocol in ("6", "17")
    typed = entry.protocol in ("1", "58")
    if ported and (spec.from_port is None or spec.to_port is None):
        raise Malformed("the rule needs both ports", value=spec.protocol, what="ports")
    if ported and not 0 <= (spec.from_port or 0) <= (spec.to_port or 0) <= 65535:
        raise Malformed("the ports are out of order or range", value=f"{spec.from_port}-{spec.to_port}", what="ports")
    if typed and spec.icmp_type is None:
        raise Malformed("the rule needs an ICMP type and code", value=spec.protocol, what="icmp")
    entry.from_port, entry.to_port = (spec.from_port, spec.to_port) if ported else (None, None)
    entry.icmp_type, entry.icmp_code = (spec.icmp_type, spec.icmp_code) if typed else (None, None)
    return entry
