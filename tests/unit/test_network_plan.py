"""The plan of a network, and what it says about packets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import select

from backends.network.filters import EntrySpec
from backends.network.models import Network, PacketFilter, Peering, Port, Segment
from backends.network.plan import NetworkPlan, plan, read_rows
from backends.network.reach import Packet, Verdict, answer, judge
from backends.network.rules import spell
from tests.unit.network_worlds import SCOPE, World, new_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Two segments; `web` and `db` in the first, `far` in the second; only `web` may speak to the database's port."""
    made = new_world(tmp_path)
    with made.service() as service:
        network = service.add_network(id="net", cidr="10.0.0.0/16", ids=made.ids())
        one, two = made.segment(service, network, "10.0.1.0/24"), made.segment(service, network, "10.0.2.0/24")
        for name in ("web", "db"):
            service.add_group(id=name, network=network, name=name, description="", rule_out=f"{name}-out")
        service.session.flush()
        groups = {group: service.group_named("net", group) for group in ("web", "db")}
        assert groups["web"] is not None
        assert groups["db"] is not None
        service.allow(groups["db"], False, [spell("tcp", 5432, 5432, "group", "web")], lambda: "db-in")
        service.allow(groups["web"], False, [spell("icmp", 8, -1, "cidr4", "10.0.0.0/8")], lambda: "web-ping")
        service.add_port("web", one, ["web"], address="10.0.1.10")
        service.add_port("db", one, ["db"], address="10.0.1.20")
        service.add_port("far", two, ["web"], address="10.0.2.10")
        service.attach_gateway(service.add_gateway(id="gateway"), network)
    yield made
    made.database.close()


def now(world: World) -> NetworkPlan:
    with world.service(write=False) as service:
        rows = read_rows(service.session, "net")
        assert rows is not None
        return plan(rows)


def to_db(sender: str, source: str, port: int = 5432) -> Packet:
    return Packet(sender, source, "10.0.1.20", "6", port)


def test_the_plan_is_the_same_until_a_row_changes(world: World) -> None:
    before = now(world)
    assert now(world).digest == before.digest
    with world.service() as service:
        service.add_port("more", service.session.get_one(Segment, before.segments[0].id), ["web"])
    after = now(world)
    assert after.digest != before.digest
    (rule,) = [rule for rule in after.groups["db"] if rule.id == "db-in"]
    assert set(rule.peers) == {ip for port in after.ports if port.id in ("web", "far", "more") for ip in port.addresses}


def test_a_network_that_is_gone_has_no_rows(world: World) -> None:
    with world.service(write=False) as service:
        assert read_rows(service.session, "nothing") is None


def test_members_of_a_group_may_pass(world: World) -> None:
    assert judge(now(world), to_db("web", "10.0.1.10")) == Verdict(True, "port", "db-in")
    assert judge(now(world), to_db("far", "10.0.2.10")) == Verdict(True, "port", "db-in")
    assert judge(now(world), to_db("web", "10.0.1.10", 22)) == Verdict(False, "firewall-in")
    assert judge(now(world), Packet("db", "10.0.1.20", "10.0.1.10", "6", 80)) == Verdict(False, "firewall-in")


def test_a_made_up_source_stops_at_the_port(world: World) -> None:
    assert judge(now(world), to_db("web", "10.0.1.99")) == Verdict(False, "source", "web")
    with world.service() as service:
        service.port("web").checked = False
    # Who may route speaks for others, but is no member of a group in their place.
    assert judge(now(world), to_db("web", "10.0.2.10")) == Verdict(False, "firewall-in")
    with world.service() as service:
        group = service.group_named("net", "db")
        assert group is not None
        service.allow(group, False, [spell("tcp", 80, 80, "cidr4", "0.0.0.0/0")], lambda: "all")
    assert judge(now(world), to_db("web", "10.0.2.10", 80)) == Verdict(True, "port", "all")


def test_ping_is_a_type_and_a_code(world: World) -> None:
    ping = Packet("db", "10.0.1.20", "10.0.1.10", "1", 8, 0)
    assert judge(now(world), ping) == Verdict(True, "port", "web-ping")
    assert judge(now(world), Packet("db", "10.0.1.20", "10.0.1.10", "1", 13, 0)) == Verdict(False, "firewall-in")


def test_routes_lead_out_or_nowhere(world: World) -> None:
    outside = Packet("web", "10.0.1.10", "192.0.2.1", "6", 443)
    assert judge(now(world), outside) == Verdict(False, "route")
    with world.service() as service:
        main = next(table for table in now(world).tables)
        service.add_route(service.table(main), "0.0.0.0/0", "gateway", "gateway")
    assert judge(now(world), outside) == Verdict(True, "gateway", "gateway")
    with world.service() as service:
        gateway = service.gateway_of("net")
        assert gateway is not None
        service.detach_gateway(gateway, "net")
    assert judge(now(world), outside) == Verdict(False, "route", "gateway")
    assert judge(now(world), Packet("web", "10.0.1.10", "10.0.9.9")) == Verdict(False, "address")


def test_a_packet_filter_forgets_connections(world: World) -> None:
    packet = to_db("far", "10.0.2.10")
    assert answer(now(world), packet) == Verdict(True, "port", "far")
    with world.service() as service:
        guard = service.add_filter(id="guard", network=service.session.get_one(Network, "net"))
        for egress, low, high in ((True, 5432, 5432), (False, 80, 80)):
            service.add_entry(guard, EntrySpec(egress, 100, True, "tcp", "10.0.0.0/16", low, high))
        far = service.session.get_one(Port, "far")
        link = next(
            link
            for one in service.session.query(PacketFilter)
            for link in one.associations
            if link.segment_id == far.segment_id
        )
        service.guard_instead(link, guard, id="moved")
    assert judge(now(world), packet) == Verdict(True, "port", "db-in")
    assert answer(now(world), packet) == Verdict(False, "filter-in", "guard#32767")
    assert judge(now(world), Packet("far", "10.0.2.10", "10.0.1.10", "6", 22)).at == "filter-out"
    with world.service() as service:
        guard = service.session.get_one(PacketFilter, "guard")
        service.add_entry(guard, EntrySpec(False, 90, True, "tcp", "0.0.0.0/0", 1024, 65535))
    assert answer(now(world), packet) == Verdict(True, "port", "far")


def test_a_group_of_another_network_counts_while_the_networks_are_peers(world: World) -> None:
    def allowed() -> set[str]:
        return {ip for rule in now(world).groups["db"] if rule.named == "there" for ip in rule.peers}

    with world.service() as service:
        other = service.add_network(id="other", cidr="10.1.0.0/16", ids=world.ids())
        service.add_group(id="there", network=other, name="there", description="", rule_out="there-out")
        service.add_port("friend", world.segment(service, other, "10.1.1.0/24"), ["there"], address="10.1.1.10")
        net = service.session.get_one(Network, "net")
        tenant, region = SCOPE
        service.request_peering(
            id="link", mine=net, tenant=tenant, region=region, network_id="other", failed_message="no"
        )

    def settle(state: str, *before: str) -> None:
        with world.service() as service:
            service.settle_peering(service.session.scalars(select(Peering)).one(), state, "", allowed=before)

    settle("active", "pending-acceptance")
    with world.service() as service:
        group = service.group_named("net", "db")
        assert group is not None
        service.allow(group, False, [spell("tcp", 1, 1, "group", "there")], lambda: "db-there")
    assert allowed() == {"10.1.1.10"}
    settle("deleted", "active")
    assert allowed() == set()
