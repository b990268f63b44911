"""The resolver inside a network: its wire, and the names of instances that it knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import dns.message
import dns.rcode
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from backends.db import Scope
from backends.network.models import Network, Peering
from backends.network.resolver import Ask, Found, Unanswerable, answer
from compat.vpc.resolving import resolve
from tests.unit.network_worlds import World, new_world

HERE = Scope("tenant", "us-east-1")


def ask(name: str, found: Found, kind: str = "A", *, forwards: bool = False) -> dns.message.Message | Ask:
    asked: list[tuple[str, str]] = []

    def known(given: str, of: str) -> Found:
        asked.append((given, of))
        return found

    told = answer(dns.message.make_query(name, kind).to_wire(), known, forwards=forwards)
    assert asked == [(name, kind)]
    return told if isinstance(told, Ask) else dns.message.from_wire(told)


def test_answers_say_what_is_known() -> None:
    told = ask("a.ec2.internal", Found(True, ["10.0.0.5"]))
    assert isinstance(told, dns.message.Message)
    assert told.answer[0].to_text().endswith("IN A 10.0.0.5")
    for found, code, forwards in (
        (Found(True, ()), dns.rcode.NOERROR, True),
        (Found(False, ()), dns.rcode.NXDOMAIN, True),
        (Found(None, ()), dns.rcode.REFUSED, False),
    ):
        told = ask("a.example", found, forwards=forwards)
        assert isinstance(told, dns.message.Message)
        assert (told.rcode(), told.answer) == (code, [])
    assert isinstance(ask("a.example", Found(None, ()), forwards=True), Ask)


@given(st.binary(max_size=512))
def test_no_bytes_upset_the_resolver(data: bytes) -> None:
    try:
        answer(data, lambda name, kind: Found(True, ()), forwards=False)
    except Unanswerable:
        pass


@given(st.binary(max_size=64))
def test_no_question_upsets_the_resolver(data: bytes) -> None:
    head = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"
    try:
        answer(head + data, lambda name, kind: Found(False, ()), forwards=True)
    except Unanswerable:
        pass


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Two networks with the same addresses; the card `web` has the public address 198.18.0.7."""
    made = new_world(tmp_path)
    with made.service(scope=HERE) as service:
        for name in ("one", "two"):
            network = service.add_network(id=name, cidr="10.0.0.0/16", ids=made.ids())
            network.hostnames = True
            segment = made.segment(service, network, "10.0.1.0/24")
            service.session.flush()
            port = service.add_port(f"web-{name}", segment, (), address="10.0.1.5")
            if name == "one":
                port.addresses[0].public_ip = "198.18.0.7"
    yield made
    made.database.close()


PUBLIC = "ec2-198-18-0-7.compute-1.amazonaws.com"


@pytest.mark.parametrize(
    ("network", "name", "kind", "known", "values"),
    [
        ("one", "ip-10-0-1-5.ec2.internal", "A", True, ["10.0.1.5"]),
        ("one", "IP-10-0-1-5.EC2.internal", "AAAA", True, []),
        ("one", "ip-10-1-1-5.ec2.internal", "A", False, []),
        ("one", "ip-10-0-1-999.ec2.internal", "A", False, []),
        ("one", "other.ec2.internal", "A", False, []),
        ("one", "ip-10-0-1-5.eu-west-1.compute.internal", "A", None, []),
        ("one", PUBLIC, "A", True, ["10.0.1.5"]),
        ("two", PUBLIC, "A", True, ["198.18.0.7"]),
        ("two", PUBLIC.replace("compute-1", "eu-west-1.compute"), "A", None, []),
        ("one", "ec2-198-18-0-8.compute-1.amazonaws.com", "A", None, []),
        ("one", "nephele.internal", "A", True, ["169.254.169.254"]),
        ("one", "5.1.0.10.in-addr.arpa", "PTR", True, ["ip-10-0-1-5.ec2.internal."]),
        ("one", "6.1.0.10.in-addr.arpa", "PTR", False, []),
        ("one", "8.8.8.8.in-addr.arpa", "PTR", None, []),
        ("one", "debian.org", "A", None, []),
    ],
)
def test_names_of_instances(
    world: World, network: str, name: str, kind: str, known: bool | None, values: list[str]
) -> None:
    with world.database.unit(None, write=False) as unit:
        found = resolve(unit, unit.session.get_one(Network, network), name, kind)
    assert (found.known, list(found.values)) == (known, values)


def test_a_peer_may_be_let_have_private_addresses(world: World) -> None:
    def found() -> list[str]:
        with world.database.unit(None, write=False) as unit:
            return list(resolve(unit, unit.session.get_one(Network, "peer"), PUBLIC, "A").values)

    with world.service(scope=HERE) as service:
        peer = service.add_network(id="peer", cidr="10.1.0.0/16", ids=world.ids())
        service.session.flush()
        about = {"tenant": HERE.tenant, "region": HERE.region, "network_id": "one", "failed_message": "no"}
        link = service.request_peering(id="link", mine=peer, **about)
        service.settle_peering(link, "active", "", allowed=("pending-acceptance",))
        service.describe_side(link, "requester", {"AllowDnsResolutionFromRemoteVpc": True})
    assert found() == ["198.18.0.7"]
    with world.service(scope=HERE) as service:
        link = service.session.scalars(select(Peering)).one()
        service.describe_side(link, "accepter", {"AllowDnsResolutionFromRemoteVpc": True})
    assert found() == ["10.0.1.5"]
    with world.service(scope=HERE) as service:
        link = service.session.scalars(select(Peering)).one()
        service.settle_peering(link, "deleted", "", allowed=("active",))
    assert found() == ["198.18.0.7"]
