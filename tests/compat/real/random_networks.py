"""Random networks: in each world one and its two peers, which have the same ranges and addresses; with ports that stay
and everything else by chance."""

from __future__ import annotations

import hashlib
import ipaddress
import random
from dataclasses import dataclass, field

from backends.network.plan import (
    EntryPlan,
    NatPlan,
    NetworkPlan,
    PeeringPlan,
    PortPlan,
    RoutePlan,
    RulePlan,
    SegmentPlan,
)

PEERS = {"a": "bc", "b": "a", "c": "a"}
"""Who may be whose peer."""
PORTS = ((22, 22), (80, 80), (443, 5050), (0, 65535), (9999, 9999))
FAR = 3
"""The segment in a network's second range."""
Members = dict[str, tuple[tuple[str, str], ...]]
"""By group: (address, link) of its members."""
WORLD = "203.0.113.9"
"""An address outside."""


@dataclass
class World:
    """Three networks. Their segments, ports and addresses are fixed by `number`; `shuffle` draws `plans` anew."""

    number: int
    plans: dict[str, NetworkPlan] = field(default_factory=dict)

    def shuffle(self, dice: random.Random) -> None:
        """Draw rules, filters, routes, checks, public addresses, gateways, translators and peerings."""
        peered = {side for side in "bc" if dice.random() < 0.8}
        groups = {side: [f"sg-{self.number}{side}{n}" for n in range(3)] for side in PEERS}
        ports = {side: self._ports(side, dice, groups[side]) for side in PEERS}
        self.plans = {}
        for side in PEERS:
            peers = [other for other in PEERS[side] if {side, other} & peered]
            # A rule may name a group of a former peer: it has nobody in it.
            members: Members = {group: () for other in PEERS for group in groups[other] if dice.random() < 0.2}
            for other in (side, *peers):
                members |= {
                    group: tuple(
                        sorted(
                            (ip, port.id if other == side else self._peering(side, other))
                            for port in ports[other]
                            if group in port.groups
                            for ip in port.addresses
                        )
                    )
                    for group in groups[other]
                }
            plan = self._network(side, dice, ports[side], groups[side], members, peers)
            self.plans[plan.id] = plan

    def _cidr(self, side: str, segment: int | None = None) -> str:
        base = 10 if side == "a" else 20
        if segment == FAR:
            return f"100.{64 + base}.3.0/24"
        return f"10.{base}.0.0/16" if segment is None else f"10.{base}.{segment}.0/24"

    def _cidrs(self, side: str) -> tuple[str, str]:
        return self._cidr(side), self._cidr(side, FAR).replace("3.0/24", "0.0/16")

    def _peering(self, side: str, other: str) -> str:
        return f"pcx-{self.number}{max(side, other)}"

    def _ports(self, side: str, dice: random.Random, groups: list[str]) -> list[PortPlan]:
        found = []
        for segment, number in ((1, 10), (1, 11), (2, 10), (2, 11), (FAR, 10)):
            id = f"eni-{self.number}{side}{segment}{number}"
            ip = self._cidr(side, segment).replace("0/24", str(number))
            second = (ip[:-2] + "9" + ip[-1],) if number == 11 else ()
            chosen = tuple(dice.sample(groups, dice.choice((1, 1, 2, 3))))
            found.append(self._port(id, side, segment, (ip, *second), chosen, dice, dice.random() < 0.85, 0.4))
        translator = self._cidr(side, 1).replace("0/24", "50")
        found.append(self._port(f"eni-{self.number}{side}nat", side, 1, (translator,), (), dice, False, 0.8))
        return found

    def _port(
        self,
        id: str,
        side: str,
        segment: int,
        addresses: tuple[str, ...],
        groups: tuple[str, ...],
        dice: random.Random,
        checked: bool,
        public: float,
    ) -> PortPlan:
        number = int(hashlib.sha256(id.encode()).hexdigest()[:4], 16)
        publics = tuple(
            (ip, str(ipaddress.IPv4Address("198.18.0.0") + 256 + number + 65536 * place))
            for place, ip in enumerate(addresses)
            if dice.random() < public
        )
        mac = "0a:" + hashlib.sha256(id.encode()).digest()[:5].hex(":")
        return PortPlan(id, mac, f"subnet-{self.number}{side}{segment}", None, addresses, publics, groups, checked)

    def _network(
        self,
        side: str,
        dice: random.Random,
        ports: list[PortPlan],
        groups: list[str],
        members: Members,
        peers: list[str],
    ) -> NetworkPlan:
        name = f"{self.number}{side}"
        gateway = f"igw-{name}" if dice.random() < 0.8 else None
        peerings = tuple(
            PeeringPlan(self._peering(side, other), f"vpc-{self.number}{other}", self._cidrs(other)) for other in peers
        )
        translated = dice.random() < 0.7
        ports = ports if translated else ports[:-1]
        tables = {f"rtb-{name}{n}": self._table(side, dice, gateway, peers, translated, ports) for n in range(3)}
        # What comes in through the gateway may be led to a port, but to no translator.
        edges = [id for id, ways in tables.items() if all(way.kind != "nat" for way in ways)]
        filters = {f"acl-{name}{n}": self._filter(side, dice) for n in range(3)}
        return NetworkPlan(
            id=f"vpc-{name}",
            cidrs=self._cidrs(side),
            gateway=gateway,
            segments=tuple(
                SegmentPlan(
                    f"subnet-{name}{n}", (self._cidr(side, n),), dice.choice(list(tables)), dice.choice(list(filters))
                )
                for n in (1, 2, FAR)
            ),
            ports=tuple(ports),
            tables=tables,
            filters=filters,
            groups={group: self._group(group, side, dice, members) for group in groups},
            nats=(NatPlan(f"nat-{name}", f"eni-{name}nat", True),) if translated else (),
            peerings=peerings,
            edge_table=dice.choice([None, *edges]) if gateway and dice.random() < 0.3 else None,
        )

    def _table(
        self,
        side: str,
        dice: random.Random,
        gateway: str | None,
        peers: list[str],
        translated: bool,
        ports: list[PortPlan],
    ) -> tuple[RoutePlan, ...]:
        name = f"{self.number}{side}"
        appliance = dice.choice(ports[:5]).id
        boxes = [("port", appliance)] + ([("nat", f"nat-{name}")] if translated else [])
        # The local route may lead to a middlebox, too.
        routes = [
            RoutePlan((block,), *(dice.choice(boxes) if dice.random() < 0.05 else ("local", "local")))
            for block in self._cidrs(side)
        ]
        outward = [("blackhole", "igw-gone"), ("port", appliance)]
        outward += [("gateway", gateway)] * 4 if gateway else []
        outward += [("nat", f"nat-{name}")] * 3 if translated else []
        if dice.random() < 0.9:
            routes.append(RoutePlan(("0.0.0.0/0",), *dice.choice(outward)))
        across = [("peering", self._peering(side, other)) for other in peers] * 3
        across += [("blackhole", self._peering(side, other)) for other in PEERS[side] if other not in peers]
        across.append(("port", appliance))
        other = PEERS[side][0]
        if dice.random() < 0.6:
            routes.append(RoutePlan((self._cidr(other, 1), self._cidr(other, 2)), *dice.choice(across)))
        for block in (self._cidr(other), self._cidr(other, FAR), self._cidr(other, 1).replace("0/24", "10/32")):
            if dice.random() < 0.4:
                routes.append(RoutePlan((block,), *dice.choice(across)))
        for segment in (1, 2, FAR):
            if dice.random() < 0.1:
                routes.append(RoutePlan((self._cidr(side, segment),), *dice.choice(boxes)))
        if dice.random() < 0.2:
            routes.append(RoutePlan(("203.0.113.0/25",), *dice.choice([*outward, ("blackhole", "eni-gone")])))
        dice.shuffle(routes)
        return tuple(routes)

    def _peer(self, side: str, dice: random.Random) -> str:
        other = PEERS[side][0]
        return dice.choice(
            ["0.0.0.0/0"] * 4
            + [self._cidr(side), self._cidr(side, 1), self._cidr(side, 2), self._cidr(other), self._cidr(other, 1)]
            + ["203.0.113.0/24", "198.18.0.0/15", self._cidr(side, 1).replace("0/24", "10/32")]
            + ["100.64.0.0/10", "10.0.0.0/11", "0.0.0.0/1"]
        )

    def _group(self, group: str, side: str, dice: random.Random, members: Members) -> tuple[RulePlan, ...]:
        rules = []
        for number in range(dice.choice((0, 1, 2, 4, 6))):
            protocol = dice.choice(("tcp", "udp", "icmp", "47", "-1", "-1"))
            low, high = dice.choice(PORTS) if protocol in ("tcp", "udp") else (-1, -1)
            if protocol == "icmp":
                low, high = dice.choice(((-1, -1), (8, -1), (8, 0), (13, 0)))
            named, links = "", None
            peers: tuple[str, ...] = (self._peer(side, dice),)
            if dice.random() < 0.4:
                named = dice.choice(list(members))
                peers, links = tuple(ip for ip, _ in members[named]), tuple(link for _, link in members[named])
            elif dice.random() < 0.1:
                named, peers = f"pl-{self.number}", (self._cidr("a", 1), self._cidr("b"), "203.0.113.0/25")
            rules.append(RulePlan(f"{group}r{number}", dice.random() < 0.5, protocol, low, high, peers, named, links))
        if dice.random() < 0.6:
            rules.append(RulePlan(f"{group}out", True, "-1", -1, -1, ("0.0.0.0/0",)))
        return tuple(rules)

    def _filter(self, side: str, dice: random.Random) -> tuple[EntryPlan, ...]:
        found = []
        for egress in (False, True):
            for number in sorted(dice.sample(range(1, 120), dice.choice((0, 0, 0, 1, 2, 3)))):
                protocol = dice.choice(("6", "17", "1", "47", "-1"))
                low, high = dice.choice((*PORTS, (1024, 65535))) if protocol in ("6", "17") else (None, None)
                kind, code = dice.choice(((8, -1), (-1, -1), (0, 0))) if protocol == "1" else (None, None)
                peer = self._peer(side, dice)
                found.append(EntryPlan(number, egress, dice.random() < 0.5, protocol, peer, low, high, kind, code))
            if dice.random() < 0.9:
                found.append(EntryPlan(100, egress, True, "-1", "0.0.0.0/0", None, None, None, None))
        return tuple(sorted(found, key=lambda entry: (entry.egress, entry.number)))
