"""Random networks in the kernel, real packets through them, and the prediction for each one. Run inside a sandbox:

    python -m tests.compat.real.packets ROUNDS SEED [MUTATION]

prints a JSON object: how many networks and packets there were, and every difference between prediction and packet.
"""

from __future__ import annotations

import ipaddress
import json
import random
import sys
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

from backends.network.drivers.linux import layout, rules
from backends.network.drivers.linux.driver import LinuxNetwork
from backends.network.drivers.linux.namespace import Namespace
from backends.network.paths import Journey, arrive, follow, reply
from backends.network.plan import NetworkPlan
from backends.network.reach import Packet
from tests.compat.real.probes import DROP_ALL, ICMP, TCP, UDP, Probe, Station, run
from tests.compat.real.random_networks import WORLD, World
from tests.compat.real.standins import CARD, StandIn, here, populate

WORLDS = 2
PROBES = 90
OUTSIDE = ("", "")
POOL = ipaddress.IPv4Network("198.18.0.0/15")
DESTINATION_PORTS = (22, 80, 443, 5050, 9999)


class Range:
    """The networks, their stand-ins, and everybody's eyes and mouths."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.driver = LinuxNetwork("probe", POOL, outgoing="route", counted=True)
        self.host = here()
        self.worlds = [World(number) for number in range(WORLDS)]
        self.standins: dict[tuple[str, str], StandIn] = {}
        self.stations: dict[tuple[str, str], Station] = {}
        self.marks = 1024

    @property
    def plans(self) -> dict[str, NetworkPlan]:
        return {id: plan for world in self.worlds for id, plan in world.plans.items()}

    def shuffle(self) -> None:
        """Draw all networks anew, and have them ensured."""
        for world in self.worlds:
            world.shuffle(self.dice)
        for plan in self.plans.values():
            self.driver.ensure(plan)
        if not self.standins:
            self._populate()
        held = self.driver.observe()
        for plan in self.plans.values():  # links of a former run may have gone meanwhile, as guests' do
            if held[plan.id] != plan.digest:
                self.driver.ensure(plan)
        held = self.driver.observe()
        assert held == {id: plan.digest for id, plan in self.plans.items()}, held

    def _populate(self) -> None:
        for plan in self.plans.values():
            bare = replace(plan, nats=tuple(replace(nat, port="") for nat in plan.nats))
            for id, standin in populate(self.driver, self.host, replace(bare, ports=plan.ports[:5])).items():
                place = (plan.id, id)
                self.standins[place] = standin
                standin.space.run(partial(quieten, standin))
                self.stations[place] = Station(place, standin.space, CARD, standin.port.addresses.__contains__)
        link = self.driver._edge._link
        self.stations[OUTSIDE] = Station(OUTSIDE, self.host, link, lambda ip: True)

    def probe(self) -> Probe:
        """A packet by chance."""
        dice = self.dice
        self.marks = self.marks + 1 if self.marks < 65000 else 1024
        protocol = dice.choice(("6", "17", "1", "6", "17", "1", "47"))
        port = {"1": dice.choice((8, 8, 13)), "47": 0}.get(protocol, dice.choice(DESTINATION_PORTS))
        code = 0 if protocol in ("1", "47") else self.marks
        publics = [public for plan in self.plans.values() for one in plan.ports for _, public in one.publics]
        if dice.random() < 0.2 and publics:
            source = dice.choice((WORLD, "203.0.113.200", WORLD, "10.10.1.10", "10.20.2.11"))
            if protocol == "47":
                protocol, port, code = "6", 443, self.marks
            return Probe(OUTSIDE, Packet("", source, dice.choice(publics), protocol, port, code), self.marks)
        place = dice.choice([place for place in self.stations if place != OUTSIDE])
        plan = self.plans[place[0]]
        sender = next(one for one in plan.ports if one.id == place[1])
        near = [ip for one in plan.ports if one.id != sender.id for ip in one.addresses]
        far = [ip for id, one in self.plans.items() if id[:-1] == plan.id[:-1] for p in one.ports for ip in p.addresses]
        strange = [f"10.{base}.{third}.77" for base in (10, 20) for third in (1, 2, 9)]
        strange += ["169.254.1.1", "100.84.3.77"]
        choices = dice.choice((near, near, near, far, far, [WORLD], [WORLD, "203.0.113.200"], publics or near, strange))
        destination = dice.choice([ip for ip in choices if ip not in sender.addresses] or near)
        source = dice.choice(sender.addresses) if dice.random() < 0.9 else dice.choice(near)
        if protocol == "47" and (source > destination or destination in publics):
            protocol, port, code = "17", 80, self.marks  # the way back of another one, for all that is known of it
        return Probe(place, Packet(sender.id, source, destination, protocol, port, code), self.marks)

    def predict(self, probe: Probe) -> Journey:
        if probe.place == OUTSIDE:
            return arrive(self.plans, probe.packet)
        return follow(self.plans, probe.place[0], probe.packet)

    def expected(self, probe: Probe, journey: Journey) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """Where the packet is to be seen, and where its answer."""
        verdict = journey.verdict
        if not verdict.passes:
            return [], []
        place = OUTSIDE if verdict.at == "gateway" else journey.receiver
        assert place is not None
        if (
            probe.packet.port == 13
            or probe.packet.protocol == "47"
            or (place != OUTSIDE and not self._owns(place, journey))
        ):
            return [place], []
        return [place], [probe.place] if reply(self.plans, journey).passes else []

    def _owns(self, place: tuple[str, str], journey: Journey) -> bool:
        return self.stations[place].is_mine(journey.legs[-1].packet.destination)

    def counters(self) -> Counter[tuple[str, str]]:
        """(network, rule) -> packets that ended at an allowance for incoming ones."""
        found: Counter[tuple[str, str]] = Counter()
        for id in self.plans:
            space = self.driver._spaces[id]
            listed = json.loads(space.run(partial(listing, space)))
            for item in listed["nftables"]:
                rule = item.get("rule")
                if rule and rule["chain"].startswith("g_") and rule["chain"].endswith("_in") and "comment" in rule:
                    count = next(part["counter"]["packets"] for part in rule["expr"] if "counter" in part)
                    found[id, rule["comment"]] += count
        return found

    def round(self) -> list[dict[str, Any]]:
        """Shuffle, probe, compare; what differs."""
        self.shuffle()
        for (
            space
        ) in self.driver._spaces.values():  # what has no ports is one connection with all that went there before
            space.run(partial(forget_portless, space))
        probes = [self.probe() for _ in range(PROBES * WORLDS)]
        before = self.counters()
        run(self.stations, probes)
        after = self.counters()
        wrong, again, named, astray = [], [], Counter[tuple[str, str]](), False
        for probe in probes:
            journey = self.predict(probe)
            for leg in journey.legs:
                if leg.verdict.passes and leg.verdict.at == "port" and leg.verdict.by:
                    named[leg.network, leg.verdict.by] += 1
            astray = astray or (journey.verdict.passes and reply(self.plans, journey).at == "route")
            if (probe.seen, probe.answered) != self.expected(probe, journey):
                again.append(probe)
        if again:  # slow, maybe; what is really wrong is wrong again
            for probe in again:
                self.marks += 1
                code = 0 if probe.packet.protocol in ("1", "47") else self.marks
                fresh = Probe(probe.place, replace(probe.packet, source_port=code), self.marks)
                run(self.stations, [fresh], 0.4)
                journey = self.predict(fresh)
                wanted = self.expected(fresh, journey)
                if (fresh.seen, fresh.answered) != wanted:
                    wrong.append(self.report(fresh, journey, wanted))
                if len(wrong) >= 3:
                    break
        # Answers that are led elsewhere than where the question came from may meet allowances of their own.
        elif (counted := Counter(after - before)) != named and not (astray and counted >= named):
            wrong.append({"named": [[list(key), after[key] - before[key], named[key]] for key in {*counted, *named}]})
        return wrong

    def report(self, probe: Probe, journey: Journey, wanted: object) -> dict[str, Any]:
        return {
            "packet": repr(probe.packet),
            "from": probe.place,
            "legs": [repr(leg.verdict) + " " + leg.network for leg in journey.legs],
            "reply": repr(reply(self.plans, journey)) if journey.verdict.passes else "",
            "wanted": wanted,
            "seen": probe.seen,
            "answered": probe.answered,
        }


def forget_portless(space: Namespace) -> None:
    """Forget connections of protocols without ports, on the namespace's own thread."""
    space.reader.forget(lambda entry: entry.began[2] not in (TCP, UDP, ICMP))


def listing(space: Namespace) -> str:
    """All rules of a namespace, on its own thread."""
    return space.rules.list()


def quieten(standin: StandIn) -> None:
    """Let nothing but our own answers leave a stand-in."""
    standin.space.rules.run(DROP_ALL)


def mutate(name: str) -> None:
    """Break one thing, so that it is seen whether the packets tell."""
    entry, rule, routes, protocol = rules._entry, rules._rule, layout._kernel_routes, rules._protocol
    if name == "filters-turned":
        rules._entry = lambda one, *rest: entry(replace(one, allow=not one.allow), *rest)
    elif name == "rules-for-all":
        rules._rule = lambda one, *rest: rule(one._replace(peers=("0.0.0.0/0",), named="", links=None), *rest)
    elif name == "members-anywhere":
        rules._rule = lambda one, *rest: rule(one._replace(links=None), *rest)
    elif name == "ports-ignored":
        rules._protocol = lambda number, low, high: protocol(number, -1, -1)
    elif name == "routes-lost":
        layout._kernel_routes = lambda table, way, hops: set() if way.kind == "nat" else routes(table, way, hops)
    elif name:
        raise SystemExit(f"no mutation {name}")


def main(rounds: int, seed: int, mutation: str = "") -> None:
    mutate(mutation)
    range_ = Range(seed)
    wrong: list[dict[str, Any]] = []
    done = 0
    for _ in range(rounds):
        wrong += range_.round()
        done += 1
        if len(wrong) >= 3:
            break
    told = {"networks": done * WORLDS * 3, "packets": done * WORLDS * PROBES, "wrong": wrong}
    sys.stdout.write(json.dumps(told))
    for station in range_.stations.values():
        station.close()
    for standin in range_.standins.values():
        standin.space.close()
    range_.host.close()
    range_.driver.close()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:])
