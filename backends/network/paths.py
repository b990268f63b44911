"""Following a packet from network to network: through peerings, translators and gateways, to the outside and back.

`follow` and `arrive` tell where a first packet ends, `reply` what becomes of its answer. A journey has a leg for each
network, and for each translator, that it passes. All from plans alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from backends.network.plan import NetworkPlan, PortPlan, SegmentPlan
from backends.network.reach import Packet, Verdict, among, entered, filtered, into, judge, owner, route, target_port

LONGEST = 8
"""Legs after which a packet that goes round in circles is given up."""
ECHO_REPLY = (0, 0)

Plans = Mapping[str, NetworkPlan]


@dataclass(frozen=True)
class Leg:
    """What happened in one network: `entry` is "port" (its sender's), or how the packet came in: "peering" or
    "gateway"; `via` is the peering or gateway that it came in, or went out, by."""

    network: str
    packet: Packet
    entry: str
    verdict: Verdict
    via: str = ""


@dataclass(frozen=True)
class Journey:
    """All legs of a first packet; the last one's verdict is the end."""

    legs: tuple[Leg, ...]

    @property
    def verdict(self) -> Verdict:
        """What became of the packet."""
        return self.legs[-1].verdict

    @property
    def receiver(self) -> tuple[str, str] | None:
        """(network, port) where it was delivered."""
        last = self.legs[-1]
        return (last.network, last.verdict.to) if last.verdict.passes and last.verdict.at == "port" else None


def follow(plans: Plans, network_id: str, packet: Packet) -> Journey:
    """The journey of the first packet that a port of a network sends.

    It ends at a port ("port"), outside ("gateway", with the gateway's id), at what has no machinery (the kind of
    target), or where it was stopped."""
    legs: list[Leg] = []
    while len(legs) < LONGEST:
        plan = plans[network_id]
        verdict = judge(plan, packet)
        leg = Leg(network_id, packet, "port", verdict, verdict.by)
        if not verdict.passes or verdict.at not in ("nat", "peering", "gateway"):
            return Journey((*legs, leg))
        if verdict.at == "nat":
            legs.append(leg)
            port = _port(plan, verdict.to)
            packet = replace(packet, port_id=port.id, source=port.addresses[0])
        elif verdict.at == "peering":
            return Journey((*legs, *_over(plans, plan, leg)))
        else:
            return Journey((*legs, *_out(plans, plan, leg)))
    return Journey((*legs, replace(legs[-1], verdict=Verdict(False, "route", legs[-1].via))))


def arrive(plans: Plans, packet: Packet) -> Journey:
    """The journey of a first packet from outside to a public address (`packet.port_id` counts for nothing)."""
    for plan in plans.values():
        for port in plan.ports:
            for private, public in port.publics:
                if public == packet.destination and plan.gateway is not None:
                    return Journey((_in(plan, port, replace(packet, destination=private)),))
    return Journey((Leg("", packet, "gateway", Verdict(False, "address")),))


def reply(plans: Plans, journey: Journey) -> Verdict:
    """What becomes of the answer to a packet that was delivered, or went outside and is answered from there."""
    for leg in reversed(journey.legs):
        found = _back(plans[leg.network], leg)
        if not found.passes:
            return found
    return Verdict(True, "port", journey.legs[0].packet.port_id, journey.legs[0].packet.port_id)


def _over(plans: Plans, plan: NetworkPlan, leg: Leg) -> list[Leg]:
    """Through a peering, which leads to the other network's own ports and from this one's own ranges, no further."""
    packet = leg.packet
    here = next((one for one in plan.peerings if one.id == leg.verdict.by), None)
    if here is None or not among(packet.destination, here.cidrs):
        return [replace(leg, verdict=Verdict(False, "peering", leg.verdict.by))]
    other = plans.get(here.network)
    there = None if other is None else next((one for one in other.peerings if one.id == here.id), None)
    if other is None or there is None or not among(packet.source, there.cidrs):
        return [replace(leg, verdict=Verdict(False, "peering", here.id))]
    receiver = owner(other, packet.destination)
    if receiver is None:
        verdict = Verdict(False, "address")
    else:
        verdict = into(other, receiver, packet, _segment(other, receiver), here.id)
    return [leg, Leg(other.id, packet, "peering", verdict, here.id)]


def _out(plans: Plans, plan: NetworkPlan, leg: Leg) -> list[Leg]:
    """Through a gateway: under a public address only; it may lead to another network's, or this one's, public one."""
    publics = {private: public for port in plan.ports for private, public in port.publics}
    if leg.packet.source not in publics:
        return [replace(leg, verdict=Verdict(False, "gateway", leg.verdict.by))]
    beyond = arrive(plans, replace(leg.packet, source=publics[leg.packet.source], port_id=""))
    if beyond.legs[0].network:
        return [leg, *beyond.legs]
    return [leg]


def _in(plan: NetworkPlan, receiver: PortPlan, packet: Packet) -> Leg:
    """From outside to the port behind a public address."""
    gateway = plan.gateway or ""
    hop: PortPlan | None = receiver
    if plan.edge_table is not None:
        way = route(plan, plan.edge_table, packet.destination)
        if way is None or way.kind not in ("local", "port"):
            return Leg(plan.id, packet, "gateway", Verdict(False, "route", "" if way is None else way.target), gateway)
        hop = receiver if way.kind == "local" else next((p for p in plan.ports if p.id == way.target), None)
    if hop is None:
        return Leg(plan.id, packet, "gateway", Verdict(False, "route"), gateway)
    return Leg(plan.id, packet, "gateway", into(plan, hop, packet, _segment(plan, hop)), gateway)


def _back(plan: NetworkPlan, leg: Leg) -> Verdict:
    """The answer's way through the network of one leg: routes lead it, packet filters are met again."""
    packet, exit = leg.packet, leg.verdict.at
    kind, code = ECHO_REPLY if packet.protocol == "1" else (packet.source_port, packet.port)
    answering = Packet("", packet.destination, packet.source, packet.protocol, kind, code)
    sender = None if leg.entry != "port" else _port(plan, packet.port_id)
    if sender is not None and packet.source not in sender.addresses:
        return Verdict(False, "address")
    if exit in ("gateway", "peering"):
        assert sender is not None
        if exit == "gateway" and plan.edge_table is not None:
            way = route(plan, plan.edge_table, packet.source)
            if way is None or (way.kind != "local" and (way.kind, way.target) != ("port", sender.id)):
                return Verdict(False, "route", "" if way is None else way.target)
        return entered(plan, _segment(plan, sender), answering) or Verdict(True, "port", sender.id)
    receiver = _port(plan, leg.verdict.to)
    if exit == "port" and packet.destination not in receiver.addresses:
        return Verdict(False, "destination", receiver.id)
    if sender is not None and sender.segment == receiver.segment:
        return Verdict(True, "port", sender.id)
    segment = _segment(plan, receiver)
    out = filtered(plan, segment, True, packet.source, packet.protocol, kind, code)
    if not out.passes:
        return out
    way = route(plan, segment.table, packet.source)
    straight = sender is not None and (hop := target_port(plan, way)) is not None and hop.id == sender.id
    wanted = {"port": "local", "peering": "peering", "gateway": "gateway"}[leg.entry]
    if not straight and (way is None or way.kind != wanted or (leg.entry == "peering" and way.target != leg.via)):
        return Verdict(False, "route", "" if way is None else way.target)
    if sender is None:
        return Verdict(True, leg.entry, leg.via)
    return entered(plan, _segment(plan, sender), answering) or Verdict(True, "port", sender.id)


def _port(plan: NetworkPlan, id: str) -> PortPlan:
    return next(port for port in plan.ports if port.id == id)


def _segment(plan: NetworkPlan, port: PortPlan) -> SegmentPlan:
    return next(segment for segment in plan.segments if segment.id == port.segment)
