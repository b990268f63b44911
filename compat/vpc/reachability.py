"""One reachability question: where its packet goes, in AWS's words for what it meets."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from backends.compute.models import Guest
from backends.network.models import Gateway, Port
from backends.network.paths import Journey, Leg, arrive, follow, reply
from backends.network.plan import NetworkPlan, PortPlan, SegmentPlan, read_plans
from backends.network.reach import Packet, Verdict
from compat.context import Context
from compat.errors import AWSError
from compat.kinds import kind_of
from compat.records import Document

PROTOCOLS = {"tcp": "6", "udp": "17"}
ANYWHERE = "8.8.8.8"
"""What stands for the internet where a path names no address there."""
ANY_PORT = 443
"""The port that is looked at where a path names none."""


@dataclass(frozen=True, slots=True)
class _End:
    """Where a path begins or ends: a port of a network, or the outside (`port` None)."""

    network: str
    port: PortPlan | None


class Analysis:
    """One question, answered from the plans of all networks that the caller has in the region."""

    def __init__(self, ctx: Context, path: Mapping[str, Any]) -> None:
        self.ctx, self.path = ctx, path
        self.plans = read_plans(ctx.session)
        self.ports = {port.id: (plan, port) for plan in self.plans.values() for port in plan.ports}

    def result(self) -> Document:
        """The members of the analysis that tell what came of it."""
        source, wanted = self._end(self.path["Source"]), None
        if self.path.get("Destination"):
            wanted = self._end(self.path["Destination"])
        packet = self._packet(source, wanted)
        journey = arrive(self.plans, packet) if source.port is None else follow(self.plans, source.network, packet)
        last = journey.verdict
        if last.passes and not self._arrived(journey, wanted):
            last = Verdict(False, "address")
        back = reply(self.plans, journey) if last.passes else None
        found = back is not None and back.passes
        answer: Document = {"NetworkPathFound": found}
        if found:
            answer["ForwardPathComponents"] = _numbered(self._components(journey))
            answer["ReturnPathComponents"] = _numbered(reversed(self._ends(journey)))
        else:
            answer["Explanations"] = [
                self._explain(journey, last if back is None else back, returning=back is not None)
            ]
        return answer

    # --- the question ----------------------------------------------------------------------------------------------

    def _end(self, id: str) -> _End:
        session = self.ctx.session
        if id.startswith("igw-"):
            row = session.scalar(select(Gateway).where(Gateway.id == id))
            return _End(row.network_id or "" if row is not None else "", None)
        port = id
        if id.startswith("i-"):
            found = session.scalar(
                select(Port.id).join(Guest, Guest.id == Port.guest_id).where(Guest.id == id).order_by(Port.device_index)
            )
            port = found or ""
        if port not in self.ports:
            raise AWSError("AnalysisParameterInvalid", f"The resource '{id}' has no network interface to analyse.")
        plan, about = self.ports[port]
        return _End(plan.id, about)

    def _packet(self, source: _End, wanted: _End | None) -> Packet:
        path, at_source = self.path, self.path.get("FilterAtSource") or {}
        at_destination = path.get("FilterAtDestination") or {}
        destination = path.get("DestinationIp") or at_source.get("DestinationAddress")
        if destination is None:
            destination = self._address(source, wanted) if wanted is not None else None
        destination = destination or at_destination.get("DestinationAddress") or ANYWHERE
        from_ip = path.get("SourceIp") or at_source.get("SourceAddress")
        if from_ip is None:
            from_ip = ANYWHERE if source.port is None else next(iter(source.port.addresses), ANYWHERE)
        ports = at_source.get("DestinationPortRange") or at_destination.get("DestinationPortRange") or {}
        port = path.get("DestinationPort")
        port = ports.get("FromPort") if port is None else port
        return Packet(
            source.port.id if source.port is not None else "",
            from_ip,
            destination,
            PROTOCOLS[path["Protocol"]],
            ANY_PORT if port is None else port,
        )

    def _address(self, source: _End, wanted: _End) -> str | None:
        """The address at which one end finds the other: the private one within a VPC and over a peering, else the
        public one."""
        if wanted.port is None:
            return None
        private = next((ip for ip in wanted.port.addresses if ":" not in ip), None)
        near = source.port is not None and (
            source.network == wanted.network
            or any(peering.network == wanted.network for peering in self.plans[source.network].peerings)
        )
        publics = dict(wanted.port.publics)
        return private if near or private is None else publics.get(private, private)

    def _arrived(self, journey: Journey, wanted: _End | None) -> bool:
        """Whether a packet that was not stopped came to where it was to go."""
        if wanted is None:
            return True
        if wanted.port is None:
            return journey.verdict.at == "gateway"
        return journey.receiver == (wanted.network, wanted.port.id)

    # --- the answer ------------------------------------------------------------------------------------------------

    def _component(self, id: str) -> Document:
        kind = kind_of(id)
        name = kind.name if kind is not None else "resource"
        return {"Id": id, "Arn": self.ctx.arn("ec2", f"{name}/{id}")}

    def _ends(self, journey: Journey) -> list[Document]:
        """The machines and interfaces at both ends."""
        first, found = journey.legs[0], []
        if first.entry == "port":
            found += self._machine(self.ports[journey.legs[0].packet.port_id][1])
        if (receiver := journey.receiver) is not None:
            found += reversed(self._machine(self.ports[receiver[1]][1]))
        return found

    def _machine(self, port: PortPlan) -> list[Document]:
        interface = {"Component": self._component(port.id), "Subnet": self._component(port.segment)}
        return [interface] if port.guest is None else [{"Component": self._component(port.guest)}, interface]

    def _components(self, journey: Journey) -> list[Document]:
        """What a packet meets on its way, in order."""
        found: list[Document] = []
        for leg in journey.legs:
            plan = self.plans[leg.network]
            if leg.entry == "port":
                _, sender = self.ports[leg.packet.port_id]
                found += self._machine(sender) if not found else []
                found += [{"Component": self._component(group)} for group in sender.groups]
                segment = _segment(plan, sender)
                if not self._within(leg, sender):
                    found.append({"Component": self._component(segment.packet_filter)})
                    found.append(self._route(plan, segment.table, leg))
            if leg.verdict.at != "port":
                found.append({"Component": self._component(leg.verdict.by)})
                continue
            _, receiver = self.ports[leg.verdict.to]
            if not (leg.entry == "port" and self._within(leg, self.ports[leg.packet.port_id][1])):
                found.append({"Component": self._component(_segment(plan, receiver).packet_filter)})
            found.append(self._admitting(plan, receiver, leg.verdict.by))
            found += reversed(self._machine(receiver))
        return found

    def _within(self, leg: Leg, sender: PortPlan) -> bool:
        return leg.verdict.at == "port" and self.ports[leg.verdict.to][1].segment == sender.segment

    def _route(self, plan: NetworkPlan, table: str, leg: Leg) -> Document:
        return {"Component": self._component(table), "RouteTableRoute": self._route_taken(plan, table, leg)}

    def _route_taken(self, plan: NetworkPlan, table: str, leg: Leg) -> Document:
        """The route of a table that matches a packet best."""
        wanted, best = ipaddress.ip_address(leg.packet.destination), None
        for way in plan.tables[table]:
            for text in way.destinations:
                block = ipaddress.ip_network(text)
                if block.version == wanted.version and wanted in block and (best is None or block.prefixlen > best[0]):
                    best = block.prefixlen, text, way
        if best is None:
            return {}
        target = {
            "nat": "NatGatewayId",
            "peering": "VpcPeeringConnectionId",
            "port": "NetworkInterfaceId",
            "egress": "EgressOnlyInternetGatewayId",
        }.get(best[2].kind, "GatewayId")
        state = "blackhole" if best[2].kind == "blackhole" else "active"
        return {"DestinationCidr": best[1], target: best[2].target, "State": state}

    def _admitting(self, plan: NetworkPlan, receiver: PortPlan, rule_id: str) -> Document:
        """The security group whose rule let a packet in, with that rule."""
        for group in receiver.groups:
            for rule in plan.groups[group]:
                if rule.id == rule_id:
                    told: Document = {
                        "Direction": "ingress",
                        "SecurityGroupId": group,
                        "Protocol": "all" if rule.protocol == "-1" else rule.protocol,
                    }
                    if rule.from_port != -1:
                        told["PortRange"] = {"From": rule.from_port, "To": rule.to_port}
                    told |= {"Cidr": rule.peers[0]} if len(rule.peers) == 1 and not rule.named else {}
                    return {"Component": self._component(group), "SecurityGroupRule": told}
        return {"Component": self._component(receiver.segment)}

    def _explain(self, journey: Journey, verdict: Verdict, *, returning: bool) -> Document:
        """Why a packet, or its answer, does not come through."""
        leg = journey.legs[-1]
        plan = self.plans.get(leg.network)
        if plan is None:
            return {"ExplanationCode": "NO_POSSIBLE_DESTINATION", "Destination": {"Id": leg.packet.destination}}
        sender = self.ports[leg.packet.port_id][1] if leg.packet.port_id in self.ports else None
        vpc = {"Vpc": self._component(plan.id)}
        match verdict.at:
            case "firewall-out" | "firewall-in":
                out = verdict.at == "firewall-out"
                port = sender if out else self._owner(plan, leg.packet.destination)
                about = {} if port is None else self._interface(port)
                direction = "egress" if out else "ingress"
                return {"ExplanationCode": "ENI_SG_RULES_MISMATCH", "Direction": direction, **about, **vpc}
            case "filter-out" | "filter-in":
                return {
                    "ExplanationCode": "SUBNET_ACL_RESTRICTION",
                    "Direction": "egress" if verdict.at == "filter-out" else "ingress",
                    **self._entry(plan, verdict, leg),
                    **vpc,
                }
            case "route":
                table = None if sender is None else _segment(plan, sender).table
                about = {} if table is None or returning else {"RouteTable": self._component(table)}
                if verdict.by and table is not None and not returning:
                    about["RouteTableRoute"] = self._route_taken(plan, table, leg)
                return {
                    "ExplanationCode": "BAD_STATE_ROUTE" if verdict.by else "NO_ROUTE_TO_DESTINATION",
                    **about,
                    **vpc,
                }
            case "gateway":
                about = {"InternetGateway": self._component(verdict.by)} if verdict.by else {}
                return {"ExplanationCode": "IGW_PUBLIC_IP_ASSOCIATION_FOR_EGRESS", **about, **vpc}
            case "peering":
                about = {"VpcPeeringConnection": self._component(verdict.by)}
                return {"ExplanationCode": "PCX_REQUIRES_ADDRESS_IN_VPC_CIDR", **about, **vpc}
            case "source" | "destination":
                about = {} if verdict.by not in self.ports else self._interface(self.ports[verdict.by][1])
                return {"ExplanationCode": "ENI_SOURCE_DEST_CHECK_RESTRICTION", **about, **vpc}
        return {"ExplanationCode": "NO_POSSIBLE_DESTINATION", "Address": leg.packet.destination, **vpc}

    def _owner(self, plan: NetworkPlan, ip: str) -> PortPlan | None:
        return next((port for port in plan.ports if ip in port.addresses), None)

    def _interface(self, port: PortPlan) -> Document:
        return {
            "NetworkInterface": self._component(port.id),
            "SecurityGroups": [self._component(group) for group in port.groups],
            "Subnet": self._component(port.segment),
        }

    def _entry(self, plan: NetworkPlan, verdict: Verdict, leg: Leg) -> Document:
        """The network ACL and its rule that stopped a packet; without a rule of its own, the last one (*)."""
        acl, _, number = verdict.by.partition("#")
        if not acl:
            return {}
        for entry in plan.filters.get(acl, ()):
            if str(entry.number) == number and entry.egress == (verdict.at == "filter-out"):
                rule: Document = {
                    "Cidr": entry.cidr,
                    "Egress": entry.egress,
                    "Protocol": "all" if entry.protocol == "-1" else entry.protocol,
                    "RuleAction": "allow" if entry.allow else "deny",
                    "RuleNumber": entry.number,
                }
                if entry.from_port is not None:
                    rule["PortRange"] = {"From": entry.from_port, "To": entry.to_port}
                return {"Acl": self._component(acl), "AclRule": rule}
        return {"Acl": self._component(acl)}


def _segment(plan: NetworkPlan, port: PortPlan) -> SegmentPlan:
    return next(segment for segment in plan.segments if segment.id == port.segment)


def _numbered(components: Iterable[Document]) -> list[Document]:
    return [{"SequenceNumber": number, **component} for number, component in enumerate(components, 1)]
