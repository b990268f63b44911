"""Reconciling networks with a driver that applies plans: whatever call of it fails, the end is the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from backends.errors import DriverError
from backends.network.drivers.base import Counters, NetworkDriver, link_name
from backends.network.drivers.simulated import SimulatedNetwork
from backends.network.lifecycle import converge
from backends.network.models import Nat, Network, Segment
from backends.network.plan import NetworkPlan, plan, read_rows
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
