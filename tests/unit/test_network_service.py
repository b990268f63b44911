"""The network service: addresses, dependants, routes, rules, and what the reconciler settles."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from sqlalchemy import func, select

from backends.db import Scope
from backends.errors import Exists, InUse, Missing, Overlap, WrongState
from backends.network import cidr, routes
from backends.network.book import NetworkHost
from backends.network.errors import (
    AddressReserved,
    AddressTaken,
    AlreadyAttached,
    AlreadyBound,
    BadSize,
    BadTarget,
    DefaultThing,
    DuplicateRule,
    MissingRule,
    NoAddresses,
    NoPublicAddresses,
    NotAttached,
    TooManyRules,
    WrongNetwork,
)
from backends.network.lifecycle import SHOWN, converge
from backends.network.models import (
    Address,
    Gateway,
    Lease,
    Nat,
    Network,
    PacketFilter,
    Peering,
    Port,
    PortAddress,
    RouteTable,
    Segment,
)
from backends.network.rules import spell
from tests.unit.network_worlds import World, new_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = new_world(tmp_path)
    yield made
    made.database.close()


class Addressing(RuleBasedStateMachine):
    """Ports come and go in one small segment; the books stay right."""

    ports = Bundle("ports")

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.world = new_world(Path(self.folder.name))
        with self.world.service() as service:
            network = self.world.network(service)
            self.segment_id = self.world.segment(service, network, "10.0.0.0/28").id

    def segment(self, session: object) -> Segment:
        return session.get_one(Segment, self.segment_id)  # type: ignore[attr-defined,no-any-return]

    @rule(target=ports, more=st.integers(0, 3))
    def add(self, more: int) -> str:
        with self.world.service() as service:
            segment = self.segment(service.session)
            before, id = segment.free, self.world.name("port")
            if more + 1 > before:
                with pytest.raises(NoAddresses):
                    service.add_port(id, segment, secondary_count=more)
                service.session.rollback()
                return ""
            service.add_port(id, segment, secondary_count=more)
            return id

    @rule(target=ports, last=st.integers(0, 15))
    def add_wished(self, last: int) -> str:
        ip, id = f"10.0.0.{last}", self.world.name("port")
        with self.world.service() as service:
            segment = self.segment(service.session)
            taken = service.session.scalar(select(PortAddress.ip).where(PortAddress.ip == ip))
            if not 4 <= last < 15:
                wrong: type[Exception] = AddressReserved if segment.free else NoAddresses
            elif taken is not None:
                wrong = AddressTaken if segment.free else NoAddresses
            else:
                assert service.add_port(id, segment, address=ip).addresses[0].ip == ip
                return id
            with pytest.raises(wrong):
                service.add_port(id, segment, address=ip)
            service.session.rollback()
            return ""

    @rule(port=consumes(ports))
    def remove(self, port: str) -> None:
        if port:
            with self.world.service() as service:
                service.remove_port(port)

    @rule(port=ports)
    def take_one_away(self, port: str) -> None:
        if port:
            with self.world.service() as service:
                row = service.session.get(Port, port)
                secondary = [one.ip for one in row.addresses if not one.primary] if row is not None else []
                if row is not None and secondary:
                    service.unassign(row, secondary[:1])

    @invariant()
    def the_books_are_right(self) -> None:
        with self.world.service(write=False) as service:
            segment = self.segment(service.session)
            block = ipaddress.IPv4Network(segment.cidr)
            rows = service.session.scalars(select(PortAddress)).all()
            assert segment.free == cidr.capacity(block) - len(rows)
            assert len({row.ip for row in rows}) == len(rows)
            assert all(cidr.assignable(block, row.ip) for row in rows)
            for port in service.session.scalars(select(Port)):
                assert [row.primary for row in port.addresses] == [True] + [False] * (len(port.addresses) - 1)

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.database.close()
            self.folder.cleanup()


TestAddressing = Addressing.TestCase
TestAddressing.settings = settings(max_examples=6, stateful_step_count=15)


def test_segments_lie_in_their_network_and_do_not_overlap(world: World) -> None:
    with world.service() as service:
        network = world.network(service)
        world.segment(service, network, "10.0.0.0/24")
        for wrong, fact in (("10.0.0.128/25", Overlap), ("10.0.0.0/20", Overlap), ("10.1.0.0/24", BadSize)):
            with pytest.raises(fact):
                world.segment(service, network, wrong)
        row = service.add_range(network, id="wider", cidr="10.1.0.0/16")
        segment = world.segment(service, network, "10.1.0.0/24")
        with pytest.raises(InUse):
            service.remove_range(network, row)
        service.remove_segment(segment)
        service.remove_range(network, row)
        with pytest.raises(DefaultThing):
            service.remove_range(network, network.ranges[0])
        with pytest.raises(Overlap):
            service.add_range(network, id="again", cidr="10.0.128.0/20")


def test_dependants_go_first_and_nothing_is_left(world: World) -> None:
    with world.service() as service:
        network = world.network(service)
        segment = world.segment(service, network)
        port = service.add_port("port", segment)
        gateway = service.add_gateway(id="gateway")
        service.attach_gateway(gateway, network)
        table = service.add_table(id="table", network=network)
        guard = service.add_filter(id="guard", network=network)
        group = service.add_group(id="group", network=network, name="mine", description="", rule_out="rule")
        service.session.flush()
        steps: list[tuple[Callable[[], object], Callable[[], object]]] = [
            (lambda: service.remove_segment(segment), lambda: service.remove_port(port.id)),
            (lambda: service.remove_network(network), lambda: service.remove_segment(segment)),
            (lambda: service.remove_network(network), lambda: service.detach_gateway(gateway, network.id)),
            (lambda: service.remove_network(network), lambda: service.remove_table(table)),
            (lambda: service.remove_network(network), lambda: service.remove_filter(guard)),
            (lambda: service.remove_network(network), lambda: service.remove_group(group)),
        ]
        for refused, allowed in steps:
            with pytest.raises(InUse):
                refused()
            allowed()
            service.session.flush()
        service.remove_gateway(gateway)
        service.remove_network(network)
    with world.service(write=False) as service:
        for table_of in (Network, Segment, Port, PortAddress, Gateway, RouteTable, PacketFilter):
            assert service.session.scalar(select(func.count()).select_from(table_of)) == 0


def test_routes_follow_their_targets(world: World) -> None:
    with world.service() as service:
        network, other = world.network(service), world.network(service, "10.9.0.0/16")
        segment = world.segment(service, network)
        table = service.add_table(id="table", network=network)
        gateway = service.add_gateway(id="gateway")
        service.session.flush()
        with pytest.raises(WrongNetwork):
            service.add_route(table, "0.0.0.0/0", "gateway", gateway.id)
        with pytest.raises(BadTarget):
            service.add_route(table, "0.0.0.0/0", "gateway", "nobody")
        with pytest.raises(Missing):
            service.add_route(table, "list", "gateway", gateway.id)
        service.attach_gateway(gateway, network)
        route = service.add_route(table, "0.0.0.0/0", "gateway", gateway.id)
        assert route.state == "active"
        with pytest.raises(Exists):
            service.add_route(table, "0.0.0.1/0", "gateway", gateway.id)
        service.detach_gateway(gateway, network.id)
        assert route.state == "blackhole"
        with pytest.raises(AlreadyAttached):
            service.attach_gateway(gateway, network)
            service.attach_gateway(gateway, other)
        assert route.state == "active"
        port = service.add_port("port", segment)
        to_port = service.add_route(table, "192.168.0.0/16", "port", port.id)
        assert to_port.state == "blackhole"
        service.attach_port(port.id, "guest", 0, attachment_id="a")
        assert to_port.state == "active"
        service.detach_port(port.id)
        service.remove_port(port.id)
        assert to_port.state == "blackhole"
        with pytest.raises(DefaultThing):
            service.remove_route(table, "10.0.0.0/16")
        with pytest.raises(Missing):
            service.remove_route(table, "172.16.0.0/12")


def test_a_table_holds_so_many_routes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "ROOM", 2)
    with world.service() as service:
        network = world.network(service)
        table = service.add_table(id="table", network=network)
        service.attach_gateway(service.add_gateway(id="gateway"), network)
        for destination in ("192.168.0.0/16", "172.16.0.0/12"):
            service.add_route(table, destination, "gateway", "gateway")
        with pytest.raises(TooManyRules):
            service.add_route(table, "0.0.0.0/0", "gateway", "gateway")
        service.replace_route(table, "172.16.0.0/12", "gateway", "gateway")
        service.add_route(table, "::/0", "gateway", "gateway")
        service.remove_route(table, "172.16.0.0/12")
        service.add_route(table, "0.0.0.0/0", "gateway", "gateway")


def test_a_table_serves_and_stays(world: World) -> None:
    with world.service() as service:
        network = world.network(service)
        segment = world.segment(service, network)
        one, two = (service.add_table(id=id, network=network) for id in ("one", "two"))
        service.session.flush()
        link = service.associate_table(one, id="link", segment=segment)
        service.session.flush()
        assert service.associate_table(one, id="again", segment=segment) is link
        with pytest.raises(AlreadyAttached):
            service.associate_table(two, id="other", segment=segment)
        with pytest.raises(InUse):
            service.remove_table(one)
        moved = service.replace_association(link, two, id="moved")
        service.session.flush()
        service.remove_table(one)
        service.disassociate_table(moved)
        service.remove_table(two)
        (main,) = service.session.scalars(select(RouteTable)).all()
        assert main.main
        with pytest.raises(DefaultThing):
            service.disassociate_table(main.associations[0])


def test_a_guests_places_are_taken_once(world: World) -> None:
    with world.service() as service:
        segment = world.segment(service, world.network(service))
        for id in ("one", "two"):
            service.add_port(id, segment)
        service.attach_port("one", "guest", 0, attachment_id="a", delete_on_termination=True)
        with pytest.raises(AlreadyAttached):
            service.attach_port("two", "guest", 0, attachment_id="b")
        with pytest.raises(AlreadyAttached):
            service.attach_port("one", "other", 1, attachment_id="c")
        service.attach_port("two", "guest", 1, attachment_id="b")
        assert [port.id for port in service.ports_of("guest")] == ["one", "two"]
        with pytest.raises(InUse):
            service.remove_port("one")
        service.detach_port("one")
        with pytest.raises(NotAttached):
            service.detach_port("one")
        with pytest.raises(Missing):
            service.port("three")


def test_public_addresses_are_lent_bound_and_given_back(world: World) -> None:
    with world.service() as service:
        network = world.network(service)
        segment = world.segment(service, network)
        one, two = (service.add_port(id, segment) for id in ("one", "two"))
        elastic = service.add_address(id="elastic")
        with pytest.raises(NotAttached):
            service.bind(elastic, one, association_id="a")
        gateway = service.add_gateway(id="gateway")
        service.attach_gateway(gateway, network)
        lent = service.lend_public(one)
        assert service.lend_public(one) == lent
        service.bind(elastic, one, association_id="a")
        private = one.private()
        assert private is not None
        assert private.public_ip == elastic.ip
        assert service.session.scalar(select(Lease.ip).where(Lease.ip == lent)) is None
        with pytest.raises(AlreadyBound):
            service.bind(elastic, two, association_id="b", move=False)
        service.bind(elastic, two, association_id="b")
        assert private.public_ip is None
        with pytest.raises(WrongState):
            service.bind(elastic, one, association_id="c", private_ip="10.0.0.99")
        with pytest.raises(InUse):
            service.release_address(elastic)
        with pytest.raises(InUse):
            service.detach_gateway(gateway, network.id)
        service.remove_port("two")
        assert elastic.association_id is None
        service.release_address(elastic)
        service.detach_gateway(gateway, network.id)
    with world.service(write=False) as service:
        assert service.session.scalar(select(func.count()).select_from(Lease)) == 0


def test_a_pool_of_public_addresses_ends(world: World) -> None:
    world.host = NetworkHost(public_pool=ipaddress.IPv4Network("192.0.2.0/29"))
    with world.service() as service:
        taken = {service.add_address(id=f"a{n}").ip for n in range(6)}
        assert taken == {f"192.0.2.{n}" for n in range(1, 7)}
        with pytest.raises(NoPublicAddresses):
            service.lease()
        service.session.flush()
        service.release_address(service.session.get_one(Address, "a3"))
        assert service.lease() in taken


def test_firewall_rules_are_all_or_none(world: World) -> None:
    with world.service() as service:
        network = world.network(service)
        group = service.add_group(id="group", network=network, name="mine", description="", rule_out="out")
        with pytest.raises(Exists):
            service.session.flush()
            service.add_group(id="other", network=network, name="mine", description="", rule_out="out2")
        web = spell("tcp", 80, 80, "cidr4", "0.0.0.0/0")
        (made,) = service.allow(group, False, [web], lambda: world.name("rule"))
        again = spell("6", 80, 80, "cidr4", "1.2.3.4/0")
        with pytest.raises(DuplicateRule):
            service.allow(group, False, [spell("tcp", 81, 81, "cidr4", "0.0.0.0/0"), again], lambda: world.name("rule"))
        assert [rule.id for rule in group.rules if not rule.egress] == [made.id]
        service.allow(group, True, [web], lambda: world.name("rule"))
        with pytest.raises(Missing):
            service.allow(group, False, [spell("-1", None, None, "group", "nobody")], lambda: world.name("rule"))
        service.forbid(group, service.find_rules(group, False, [web]))
        with pytest.raises(MissingRule):
            service.find_rules(group, False, [web])


def until_settled(world: World) -> None:
    assert converge(world.database, world.host) is False


def test_translators_come_and_go(world: World) -> None:
    with world.service() as service:
        network = world.network(service)
        segment = world.segment(service, network)
        service.attach_gateway(service.add_gateway(id="gateway"), network)
        elastic = service.add_address(id="elastic")
        nat = service.add_nat(
            id="nat", segment=segment, port_id="port", attachment_id="at", elastic=elastic, association_id="as"
        )
        assert nat.state == "pending"
        table = service.add_table(id="table", network=network)
        service.add_route(table, "0.0.0.0/0", "nat", "nat")
    until_settled(world)
    until_settled(world)
    with world.service() as service:
        nat = service.session.get_one(Nat, "nat")
        assert nat.state == "available"
        with pytest.raises(InUse):
            service.remove_segment(service.session.get_one(Segment, nat.segment_id))
        service.end_nat(nat)
        assert service.table("table").routes[-1].state == "blackhole"
        assert service.session.get_one(Address, "elastic").association_id == "as"
    until_settled(world)
    with world.service() as service:
        nat = service.session.get_one(Nat, "nat")
        assert nat.state == "deleted"
        assert service.session.get_one(Address, "elastic").association_id is None
        assert service.session.get(Port, "port") is None
        service.end_nat(nat)
        assert nat.state == "deleted"
        service.remove_segment(service.session.get_one(Segment, nat.segment_id))
    later = datetime.now(UTC) + SHOWN + timedelta(seconds=1)
    world.database.clock = lambda: later
    until_settled(world)
    with world.service(write=False) as service:
        assert service.session.get(Nat, "nat") is None


def test_a_translator_without_a_way_out_fails(world: World) -> None:
    with world.service() as service:
        segment = world.segment(service, world.network(service))
        elastic = service.add_address(id="elastic")
        service.add_nat(
            id="nat", segment=segment, port_id="port", attachment_id="at", elastic=elastic, association_id="as"
        )
    until_settled(world)
    with world.service() as service:
        nat = service.session.get_one(Nat, "nat")
        assert (nat.state, nat.port_id) == ("failed", None)
        service.release_address(service.session.get_one(Address, "elastic"))


def test_a_link_between_tenants_is_seen_by_both(world: World) -> None:
    there = Scope("neighbour", "elsewhere")
    with world.service() as service:
        mine = world.network(service, "10.1.0.0/16").id
    with world.service(scope=there) as service:
        theirs = world.network(service, "10.2.0.0/16").id
    with world.service() as service:
        peering = service.request_peering(
            id="link",
            mine=service.session.get_one(Network, mine),
            tenant=there.tenant,
            region=there.region,
            network_id=theirs,
            failed_message="no",
        )
        assert peering.state == "pending-acceptance"
        assert service.is_side(peering, "requester")
    with world.service(scope=there) as service:
        peering = service.session.scalars(select(Peering)).one()
        assert service.is_side(peering, "accepter")
        service.settle_peering(peering, "active", "Active", allowed=("pending-acceptance",))
    with world.service() as service:
        peering = service.session.scalars(select(Peering)).one()
        assert (peering.state, peering.accepter["cidrs"]) == ("active", ["10.2.0.0/16"])
        with pytest.raises(WrongState):
            service.settle_peering(peering, "rejected", "No", allowed=("pending-acceptance",))
        service.remove_network(service.session.get_one(Network, mine))
    with world.service(scope=there) as service:
        assert service.session.scalars(select(Peering.state)).one() == "deleted"


def test_an_offer_that_nobody_takes_expires(world: World) -> None:
    with world.service() as service:
        one, two = world.network(service, "10.1.0.0/16"), world.network(service, "10.2.0.0/16")
        service.session.flush()
        peering = service.request_peering(
            id="link", mine=one, tenant="tenant", region="here", network_id=two.id, failed_message="no"
        )
        expires = peering.expires
    assert expires is not None
    world.database.clock = lambda: expires + timedelta(seconds=1)
    until_settled(world)
    with world.service() as service:
        assert service.session.scalars(select(Peering.state)).one() == "expired"
