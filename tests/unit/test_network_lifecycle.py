"""Reconciling networks with a driver that applies plans: whatever call of it fails, the end is the same."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from backends.errors import DriverError, NativeError
from backends.network import lifecycle
from backends.network.drivers.base import Counters, NetworkDriver, link_name
from backends.network.drivers.simulated import SimulatedNetwork
from backends.network.filters import EntrySpec
from backends.network.lifecycle import converge
from backends.network.models import FirewallGroup, Nat, Network, PacketFilter, RouteTable, Segment
from backends.network.plan import NetworkPlan, plan, read_rows
from backends.network.rows import read_many
from backends.network.rules import spell
from tests.unit.network_worlds import World, new_world


class Machine(SimulatedNetwork):
    """A driver that remembers plans, and whose n-th change fails half done."""

    applies = True

    def __init__(self, *, fails_at: int = -1) -> None:
        self.held: dict[str, str] = {}
        self.calls, self.fails_at = 0, fails_at

    def _count(self) -> bool:
        self.calls += 1
        return self.calls == self.fails_at

    def ensure(self, plan: NetworkPlan) -> None:
        if self._count():
            self.held[plan.id] = ""
            raise DriverError("half done")
        self.held[plan.id] = plan.digest

    def drop(self, network_id: str) -> None:
        if self._count():
            self.held[network_id] = ""
            raise DriverError("half gone")
        self.held.pop(network_id, None)

    def observe(self) -> dict[str, str]:
        return dict(self.held)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Two networks, one with a translator that waits."""
    made = new_world(tmp_path)
    with made.service() as service:
        for id in ("one", "two"):
            network = service.add_network(id=id, cidr="10.0.0.0/16", ids=made.ids())
            segment = made.segment(service, network)
            service.add_port(f"port-{id}", segment)
        service.add_nat(
            id="nat", segment=segment, port_id="port-nat", attachment_id="a", elastic=None, association_id=None
        )
    yield made
    made.database.close()


def wanted(world: World) -> dict[str, str]:
    with world.service(write=False) as service:
        rows = [read_rows(service.session, id) for id in ("one", "two")]
        return {found.network.id: plan(found).digest for found in rows if found is not None}


def nat_state(world: World) -> str:
    with world.service(write=False) as service:
        return service.session.get_one(Nat, "nat").state


@pytest.mark.parametrize("fails_at", [-1, 1, 2, 3, 4])
def test_the_end_is_the_same_whatever_fails(world: World, fails_at: int) -> None:
    machine = Machine(fails_at=fails_at)
    machine.held["left-over"] = "old"
    world.host.driver = machine
    for _ in range(6):
        try:
            converge(world.database, world.host)
        except DriverError:
            continue
    assert machine.held == wanted(world)
    assert nat_state(world) == "available"


def test_only_what_differs_is_applied(world: World) -> None:
    machine = Machine()
    world.host.driver = machine
    converge(world.database, world.host)
    before = machine.calls
    converge(world.database, world.host)
    assert machine.calls == before
    with world.service() as service:
        service.remove_port("port-one")
    converge(world.database, world.host)
    assert machine.calls == before + 1
    with world.service() as service:
        segment = service.session.scalars(select(Segment).where(Segment.network_id == "one")).one()
        service.remove_segment(segment)
        service.remove_network(service.session.get_one(Network, "one"))
    converge(world.database, world.host)
    assert set(machine.held) == {"two"}


def test_one_failure_keeps_no_other_network_waiting(world: World) -> None:
    machine = Machine(fails_at=1)
    world.host.driver = machine
    with pytest.raises(DriverError):
        converge(world.database, world.host)
    assert sorted(digest != "" for digest in machine.held.values()) == [False, True]


def test_the_simulated_driver_is_never_asked(world: World) -> None:
    driver: NetworkDriver = SimulatedNetwork()
    world.host.driver = driver
    converge(world.database, world.host)
    assert nat_state(world) == "available"
    assert driver.observe() == {}


def test_the_simulated_driver_has_every_verb() -> None:
    driver: NetworkDriver = SimulatedNetwork()
    assert driver.link("port") == driver.link("port") != driver.link("other")
    assert len(driver.link("port")) <= 15
    driver.adopt("network", "port")
    assert driver.inside("network", lambda: 5) == 5
    assert driver.counters("network", "port") == Counters()


def test_links_of_two_deployments_differ() -> None:
    assert link_name("one", "port") != link_name("two", "port")


STEPS = (
    "allow",
    "name",
    "change",
    "forbid",
    "entry",
    "replace",
    "unentry",
    "route",
    "unroute",
    "group",
    "ungroup",
    "port",
)


def step(world: World, what: str, network: str, number: int) -> None:
    """Change one thing in a network, as users do."""
    with world.service() as service:
        session = service.session
        group = service.group_named(network, "default")
        table = session.scalars(select(RouteTable).where(RouteTable.network_id == network)).first()
        guard = session.scalars(select(PacketFilter).where(PacketFilter.network_id == network)).first()
        segment = session.scalars(select(Segment).where(Segment.network_id == network)).one()
        assert group is not None and table is not None and guard is not None
        rules = [rule for rule in group.rules if rule.peer_kind == "cidr4"]
        spec = spell("tcp", number, number, "cidr4", f"192.0.2.{number}/32")
        entry = EntrySpec(False, number, False, "6", f"192.0.2.{number}/32", 1, number, None, None)
        if what == "allow":
            service.allow(group, False, [spec], lambda: world.name("rule"))
        elif what == "name":
            others = session.scalars(select(FirewallGroup).where(FirewallGroup.network_id == network)).all()
            named = spell("tcp", number, number, "group", others[number % len(others)].id)
            service.allow(others[-1], False, [named], lambda: world.name("rule"))
        elif what == "forbid":
            service.forbid(group, rules[:1])
        elif what == "change" and rules:
            service.change_rule(group, rules[-1], spell("udp", number, number, "cidr4", "192.0.2.0/24"))
        elif what == "entry":
            service.add_entry(guard, entry)
        elif what == "replace":
            held = [row.number for row in guard.entries if row.number < 200 and not row.egress]
            service.replace_entry(guard, replace(entry, number=held[0] if held else number, to_port=200))
        elif what == "unentry":
            held = [row.number for row in guard.entries if row.number < 200 and not row.egress]
            service.remove_entry(guard, False, held[0] if held else number)
        elif what == "route":
            service.add_route(table, f"192.0.2.{number}/32", "port", f"port-{network}")
        elif what == "unroute":
            routes = [row for row in table.routes if row.target_kind == "port"]
            service.remove_route(table, routes[0].destination if routes else "192.0.2.1/32")
        elif what == "group":
            name = world.name("group")
            owner = session.get_one(Network, network)
            service.add_group(id=name, network=owner, name=name, description="", rule_out=world.name("rule"))
        elif what == "ungroup":
            for other in session.scalars(select(FirewallGroup).where(~FirewallGroup.is_default)).all()[:1]:
                service.remove_group(other)
        elif what == "port":
            service.add_port(world.name("port"), segment)


@pytest.mark.parametrize(("seed", "exclusive"), [(0, True), (1, True), (2, False), (3, False)])
def test_reading_only_what_changed_ends_as_reading_everything(tmp_path: Path, seed: int, exclusive: bool) -> None:
    world, dice, machine = new_world(tmp_path, exclusive=exclusive), random.Random(seed), Machine()
    world.host.driver = machine
    with world.service() as service:
        for id in ("one", "two"):
            segment = world.segment(service, service.add_network(id=id, cidr="10.0.0.0/16", ids=world.ids()))
            service.add_port(f"port-{id}", segment)
    done = set()
    changes = [(what, "one", 150) for what in STEPS]
    for what, network, number in changes + [
        (dice.choice(STEPS), dice.choice(("one", "two")), dice.randrange(1, 100)) for _ in range(15)
    ]:
        converge(world.database, world.host)
        world.host.applied.looked = time.monotonic() + 1000  # it trusts what it knows
        before = wanted(world)
        with contextlib.suppress(NativeError):
            step(world, what, network, number)
        after = wanted(world)
        done |= {what} if after != before else set()
        converge(world.database, world.host)
        assert machine.held == after, what
    assert done == set(STEPS)
    world.database.close()


@pytest.mark.parametrize("exclusive", [True, False])
def test_a_change_of_rules_reads_one_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exclusive: bool) -> None:
    world, machine = new_world(tmp_path, exclusive=exclusive), Machine()
    world.host.driver = machine
    asked: list[object] = []

    def reading(session: Any, ids: Any = None) -> Any:
        asked.append(ids)
        return read_many(session, ids)

    monkeypatch.setattr(lifecycle, "read_many", reading)
    with world.service() as service:
        for id in ("one", "two"):
            service.add_network(id=id, cidr="10.0.0.0/16", ids=world.ids())
    converge(world.database, world.host)
    with world.service() as service:
        group = service.group_named("two", "default")
        assert group is not None
        service.allow(group, False, [spell("tcp", 1, 1, "cidr4", "192.0.2.1/32")], lambda: world.name("rule"))
    converge(world.database, world.host)
    assert asked == [None], "its rules alone are read"
    with world.service() as service:
        guard = service.session.scalars(select(PacketFilter).where(PacketFilter.network_id == "two")).one()
        service.add_entry(guard, EntrySpec(False, 7, False, "6", "192.0.2.1/32", 1, 7, None, None))
    converge(world.database, world.host)
    with world.service() as service:
        service.add_network(id="three", cidr="10.0.0.0/16", ids=world.ids())
    converge(world.database, world.host)
    assert asked == [None, {"two"}, None]
    assert set(machine.held) == {"one", "two", "three"}
    world.database.close()
