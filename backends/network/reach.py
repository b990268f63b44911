"""May this packet pass, and what decided? Answered from the plan alone, in the order in which packets meet the rules.

Out of the sender's port: its own address, its firewall groups, its segment's packet filter, its route table. Into the
receiver's: its segment's packet filter, its firewall groups. Groups are stateful, so an answer passes them; packet
filters are not, so `answer` asks them again, the other way round. Between ports of one segment no packet filter is met.

This file judges inside one network; `paths` follows packets from network to network, and their answers back.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, field

from backends.network.cidr import Range
from backends.network.plan import EntryPlan, NetworkPlan, PortPlan, RoutePlan, RulePlan, SegmentPlan

NUMBERS = {"icmp": "1", "tcp": "6", "udp": "17", "icmpv6": "58"}
WITH_TYPES = ("1", "58")
TRANSLATED = ("1", "6", "17")
"""What translators pass on."""
LINK_LOCAL = "169.254.0.0/16"
"""Never routed; what is served there is no port's."""


@dataclass(frozen=True)
class Packet:
    """A packet that a port sends. `protocol` is a number; for ICMP `port` is the type and `source_port` the code."""

    port_id: str
    source: str
    destination: str
    protocol: str = "6"
    port: int = 0
    source_port: int = 49152


@dataclass(frozen=True)
class Verdict:
    """Whether a packet passes, where that was decided, and by which rule; `by` is empty where nothing allowed it. `to`
    is the port that a packet was handed to."""

    passes: bool
    at: str
    by: str = ""
    to: str = field(default="", compare=False)


def judge(plan: NetworkPlan, packet: Packet) -> Verdict:
    """What becomes of the first packet of a connection: delivered to a port ("port"), handed out of the network at the
    target of a route (its kind), or stopped."""
    ports = {port.id: port for port in plan.ports}
    sender = ports[packet.port_id]
    if sender.checked and packet.source not in sender.addresses:
        return Verdict(False, "source", sender.id)
    receiver = owner(plan, packet.destination)
    segments = {segment.id: segment for segment in plan.segments}
    here = segments[sender.segment]
    way = route(plan, here.table, packet.destination)
    hop = receiver if way is not None and way.kind == "local" else target_port(plan, way)
    near = receiver if receiver is not None and receiver.segment == sender.segment else hop
    beyond = near.id if near is not None else way.target if way is not None and way.kind != "blackhole" else None
    if _allowing(plan, sender, True, packet, beyond) is None:
        return Verdict(False, "firewall-out")
    if receiver is not None and receiver.segment == sender.segment:
        return into(plan, receiver, packet, None, sender.id)
    if among(packet.destination, (*here.cidrs, LINK_LOCAL)):
        return Verdict(False, "address")
    if hop is None or hop.segment != here.id:
        out = filtered(plan, here, True, packet.destination, packet.protocol, packet.port, packet.source_port)
        if not out.passes:
            return out
    if way is None or way.kind == "blackhole":
        return Verdict(False, "route", "" if way is None else way.target)
    if hop is None:
        return Verdict(False, "address") if way.kind == "local" else Verdict(True, way.kind, way.target)
    edge = None if hop.segment == here.id else segments[hop.segment]
    if way.kind == "nat":
        found = entered(plan, edge, packet)
        # A translator takes nothing that comes, as if from itself, under its own address.
        if found is None and (packet.protocol not in TRANSLATED or packet.source == hop.addresses[0]):
            return Verdict(False, "nat", way.target)
        return Verdict(True, "nat", way.target, hop.id) if found is None else found
    return into(plan, hop, packet, edge, sender.id)


def answer(plan: NetworkPlan, packet: Packet) -> Verdict:
    """What becomes of the answer to a packet that was delivered to a port of the same network: firewalls know the
    connection, packet filters do not."""
    ports = {port.id: port for port in plan.ports}
    sender, receiver = ports[packet.port_id], owner(plan, packet.destination)
    if receiver is None:
        return Verdict(False, "address")
    if receiver.segment != sender.segment:
        segments = {segment.id: segment for segment in plan.segments}
        kind, code = (0, 0) if packet.protocol == "1" else (packet.source_port, packet.port)
        for segment, egress, peer in (
            (segments[receiver.segment], True, packet.source),
            (segments[sender.segment], False, packet.destination),
        ):
            found = filtered(plan, segment, egress, peer, packet.protocol, kind, code)
            if not found.passes:
                return found
    return Verdict(True, "port", sender.id)


def route(plan: NetworkPlan, table: str, destination: str) -> RoutePlan | None:
    """The route of a table that a packet to `destination` takes: the longest match."""
    wanted = ipaddress.ip_address(destination)
    best: tuple[int, RoutePlan] | None = None
    for way in plan.tables[table]:
        for text in way.destinations:
            block = ipaddress.ip_network(text)
            if wanted.version == block.version and wanted in block and (best is None or block.prefixlen > best[0]):
                best = (block.prefixlen, way)
    return None if best is None else best[1]


def owner(plan: NetworkPlan, ip: str) -> PortPlan | None:
    """The port that has an address."""
    return next((port for port in plan.ports if ip in port.addresses), None)


def target_port(plan: NetworkPlan, way: RoutePlan | None) -> PortPlan | None:
    """The port that a route leads to, if it leads to one."""
    if way is None or way.kind not in ("port", "nat"):
        return None
    target = next((nat.port for nat in plan.nats if nat.id == way.target), way.target)
    return next((port for port in plan.ports if port.id == target), None)


def entered(plan: NetworkPlan, segment: SegmentPlan | None, packet: Packet) -> Verdict | None:
    """What keeps a packet out of a segment; None when nothing does, or it comes from the segment itself."""
    if segment is None:
        return None
    found = filtered(plan, segment, False, packet.source, packet.protocol, packet.port, packet.source_port)
    return None if found.passes else found


def into(
    plan: NetworkPlan, receiver: PortPlan, packet: Packet, segment: SegmentPlan | None, beyond: str = ""
) -> Verdict:
    """What becomes of a packet that is handed to a port; `segment` is the one that it enters, if it enters one, and
    `beyond` the port or peering that it came by."""
    if receiver.checked and packet.destination not in receiver.addresses:
        return Verdict(False, "destination", receiver.id)
    found = entered(plan, segment, packet)
    if found is not None:
        return found
    nat = next((nat.id for nat in plan.nats if nat.port == receiver.id), None)
    if nat is not None:  # a translator answers nobody whom it did not ask
        return Verdict(False, "nat", nat)
    rule = _allowing(plan, receiver, False, packet, beyond)
    if rule is None:
        return Verdict(False, "firewall-in")
    return Verdict(True, "port", rule.id, receiver.id)


def _allowing(plan: NetworkPlan, port: PortPlan, egress: bool, packet: Packet, beyond: str | None) -> RulePlan | None:
    """The first rule of a port's groups that allows a packet. A translator's port has no groups, and lets all pass.

    `beyond` is the port or peering that the packet comes from, or goes to, at this port; None where it goes nowhere, so
    that its address alone counts."""
    if not port.groups:
        return RulePlan("", egress, "-1", -1, -1, ())
    peer = packet.destination if egress else packet.source
    for group in port.groups:
        for rule in plan.groups[group]:
            if rule.egress == egress and _rule_matches(rule, packet) and _is_peer(rule, peer, beyond):
                return rule
    return None


def _is_peer(rule: RulePlan, ip: str, beyond: str | None) -> bool:
    if rule.links is None or beyond is None:
        return among(ip, rule.peers)
    return (ip, beyond) in zip(rule.peers, rule.links, strict=True)


def _rule_matches(rule: RulePlan, packet: Packet) -> bool:
    if rule.protocol == "-1":
        return True
    number = NUMBERS.get(rule.protocol, rule.protocol)
    if number != packet.protocol:
        return False
    if number in WITH_TYPES:
        return rule.from_port in (-1, packet.port) and rule.to_port in (-1, packet.source_port)
    return rule.from_port == -1 or rule.from_port <= packet.port <= rule.to_port


def among(ip: str, peers: Iterable[str]) -> bool:
    """Whether an address lies in one of some ranges."""
    wanted = ipaddress.ip_address(ip)
    blocks: Iterable[Range] = (ipaddress.ip_network(peer) for peer in peers)
    return any(wanted.version == block.version and wanted in block for block in blocks)


def filtered(
    plan: NetworkPlan, segment: SegmentPlan, egress: bool, peer: str, protocol: str, port: int, code: int
) -> Verdict:
    """What the packet filter of a segment says: the entry with the lowest number that matches decides."""
    for entry in plan.filters[segment.packet_filter]:
        if entry.egress == egress and _entry_matches(entry, peer, protocol, port, code):
            return Verdict(
                entry.allow, "filter-out" if egress else "filter-in", f"{segment.packet_filter}#{entry.number}"
            )
    return Verdict(False, "filter-out" if egress else "filter-in")


def _entry_matches(entry: EntryPlan, peer: str, protocol: str, port: int, code: int) -> bool:
    if entry.protocol not in ("-1", protocol) or not among(peer, (entry.cidr,)):
        return False
    if entry.from_port is not None and entry.to_port is not None:
        return entry.from_port <= port <= entry.to_port
    if entry.icmp_type is not None:
        return entry.icmp_type in (-1, port) and entry.icmp_code in (-1, None, code)
    return True
