"""Arithmetic of address ranges, and the one spelling of rules."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.network import cidr
from backends.network.errors import BadSize, Malformed
from backends.network.rules import NAMED, protocol_name, protocol_number, spell

addresses4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
ranges4 = st.builds(lambda ip, bits: ipaddress.ip_network((ip, bits), strict=False), addresses4, st.integers(16, 28))
small4 = st.builds(lambda ip, bits: ipaddress.IPv4Network((ip, bits), strict=False), addresses4, st.integers(24, 28))


@given(addresses4, st.integers(0, 32))
def test_host_bits_are_cleared(ip: ipaddress.IPv4Address, bits: int) -> None:
    found = cidr.parse(f"{ip}/{bits}")
    assert found == ipaddress.ip_network((ip, bits), strict=False)
    assert cidr.parse(str(found)) == found


@given(addresses4, st.integers(0, 32))
def test_sizes_that_networks_have(ip: ipaddress.IPv4Address, bits: int) -> None:
    if 16 <= bits <= 28:
        assert cidr.sized(f"{ip}/{bits}").prefixlen == bits
    else:
        with pytest.raises(BadSize):
            cidr.sized(f"{ip}/{bits}")


@given(st.text(max_size=20))
def test_any_text_is_a_range_or_malformed(text: str) -> None:
    try:
        assert cidr.normal(text) == cidr.normal(cidr.normal(text))
    except Malformed as fact:
        assert fact.value == text


@given(ranges4, st.lists(ranges4, max_size=5))
def test_inside_and_clash_agree_with_membership(one: cidr.Range, others: list[cidr.Range]) -> None:
    ends = (one.network_address, one.broadcast_address)
    assert cidr.inside(one, others) == any(ends[0] in other and ends[1] in other for other in others)
    found = cidr.clash(one, others)
    touching = [o for o in others if any(ip in one for ip in (o.network_address, o.broadcast_address)) or ends[0] in o]
    assert found == (touching[0] if touching else None)


@given(small4, st.data())
def test_every_free_address_is_found_once(segment: ipaddress.IPv4Network, data: st.DataObject) -> None:
    taken: set[str] = set()
    cursor = data.draw(st.integers(0, 300))
    for _ in range(cidr.capacity(segment)):
        found = cidr.next_free(segment, cursor, taken.__contains__)
        assert found is not None
        ip, cursor = found
        assert ip not in taken
        assert cidr.assignable(segment, ip)
        taken.add(ip)
    assert cidr.next_free(segment, cursor, taken.__contains__) is None
    freed = data.draw(st.sampled_from(sorted(taken)))
    assert cidr.next_free(segment, cursor, (taken - {freed}).__contains__) == (
        freed,
        cidr.next_free(segment, cursor, (taken - {freed}).__contains__)[1],  # type: ignore[index]
    )


@given(small4)
def test_five_addresses_are_reserved(segment: ipaddress.IPv4Network) -> None:
    reserved = [ip for ip in segment if not cidr.assignable(segment, str(ip))]
    assert reserved == [*list(segment)[:4], segment.broadcast_address]
    assert cidr.capacity(segment) == segment.num_addresses - 5


@given(st.integers(0, 255))
def test_protocols_have_one_name_and_one_number(number: int) -> None:
    name = protocol_name(str(number))
    assert name == NAMED.get(str(number), str(number))
    assert protocol_number(name) == str(number)
    assert protocol_name(name.upper()) == name


@pytest.mark.parametrize("text", ["pigeon", "256", "-2", "", "tcp udp"])
def test_what_is_no_protocol(text: str) -> None:
    with pytest.raises(Malformed):
        protocol_name(text)


@given(
    st.sampled_from(["tcp", "6", "TCP", "udp", "17", "icmp", "1", "icmpv6", "58", "-1", "all", "50"]),
    st.integers(0, 255),
    st.integers(0, 255),
    addresses4,
    st.integers(0, 32),
)
def test_a_spelled_rule_spells_itself(protocol: str, one: int, two: int, ip: ipaddress.IPv4Address, bits: int) -> None:
    low, high = sorted((one, two))
    spec = spell(protocol, low, high, "cidr4", f"{ip}/{bits}")
    assert spell(spec.protocol, spec.from_port, spec.to_port, spec.peer_kind, spec.peer) == spec
    if spec.protocol in ("tcp", "udp"):
        assert (spec.from_port, spec.to_port) == (low, high)
    if spec.protocol in ("-1", "50"):
        assert (spec.from_port, spec.to_port) == (-1, -1)


@pytest.mark.parametrize(("low", "high"), [(None, 1), (1, None), (2, 1), (-5, 1), (0, 65536)])
def test_ports_that_make_no_rule(low: int | None, high: int | None) -> None:
    with pytest.raises(Malformed):
        spell("tcp", low, high, "cidr4", "10.0.0.0/8")
