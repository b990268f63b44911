"""DHCP: what a card is told, and that nothing on the wire upsets the server."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.network.dhcp import COOKIE, Kind, Lease, Option, answer, read, read_options, write_options

LEASE = Lease(
    port="port",
    address="10.0.1.5",
    network="10.0.1.0/24",
    router="10.0.1.1",
    resolvers=("10.0.0.2", "fd00::1"),
    domain="ec2.internal",
    host_name="ip-10-0-1-5",
    clocks=("169.254.169.123",),
)
MAC = "02:00:00:00:00:05"


def packed(address: str) -> bytes:
    return ipaddress.IPv4Address(address).packed


def question(kind: Kind, *, client: str = "0.0.0.0", relay: str = "0.0.0.0", **options: bytes) -> bytes:
    head = struct.pack(
        "!BBBB4sHH4s4s4s4s16s192s4s",
        1, 1, 6, 0, b"abcd", 0, 0x8000, packed(client), b"", b"", packed(relay),
        bytes.fromhex(MAC.replace(":", "")), b"", COOKIE,
    )  # fmt: skip
    told: dict[int, bytes] = {Option[name]: value for name, value in options.items()}
    return head + write_options({Option.KIND: bytes([kind]), **told})


def told(packet: bytes, lease: Lease | None = LEASE) -> tuple[str, str, dict[int, bytes]] | None:
    asked = read(packet)
    assert asked is not None
    assert asked.mac == MAC
    found = answer(asked, lease)
    if found is None:
        return None
    assert found.packet[:4] == bytes([2, 1, 6, 0])
    assert found.packet[4:8] == b"abcd"
    assert len(found.packet) >= 300
    options = read_options(found.packet[240:])
    assert found.leased == (options[Option.KIND] == bytes([Kind.ACK]) and asked.kind is Kind.REQUEST)
    return str(ipaddress.IPv4Address(found.packet[16:20])), found.destination, options


def test_a_card_is_offered_and_given_what_its_row_says() -> None:
    offered = told(question(Kind.DISCOVER))
    assert offered is not None
    assert offered[:2] == ("10.0.1.5", "255.255.255.255")
    given_ = told(question(Kind.REQUEST, WANTED_ADDRESS=packed("10.0.1.5"), SERVER=packed("10.0.1.1")))
    assert given_ is not None
    address, _, options = given_
    assert address == "10.0.1.5"
    assert options == {
        Option.KIND: bytes([Kind.ACK]),
        Option.SERVER: packed("10.0.1.1"),
        Option.SECONDS: struct.pack("!I", 3600),
        Option.MASK: packed("255.255.255.0"),
        Option.ROUTER: packed("10.0.1.1"),
        Option.BROADCAST: packed("10.0.1.255"),
        Option.MTU: struct.pack("!H", 1500),
        Option.RESOLVERS: packed("10.0.0.2"),
        Option.CLOCKS: packed("169.254.169.123"),
        Option.HOST_NAME: b"ip-10-0-1-5",
        Option.DOMAIN: b"ec2.internal",
    }


@pytest.mark.parametrize(
    ("packet", "kind", "destination"),
    [
        (question(Kind.REQUEST, client="10.0.1.5"), Kind.ACK, "10.0.1.5"),  # renewing
        (question(Kind.REQUEST, WANTED_ADDRESS=packed("10.0.1.6")), Kind.NAK, "255.255.255.255"),
        (question(Kind.REQUEST), Kind.NAK, "255.255.255.255"),
        (question(Kind.INFORM, client="10.0.1.5"), Kind.ACK, "10.0.1.5"),
    ],
)
def test_who_asks_for_another_address_is_refused(packet: bytes, kind: Kind, destination: str) -> None:
    found = told(packet)
    assert found is not None
    assert (found[2][Option.KIND], found[1]) == (bytes([kind]), destination)
    assert (Option.SECONDS in found[2]) == (kind is Kind.ACK and packet[242] == Kind.REQUEST)


@pytest.mark.parametrize(
    "packet",
    [
        question(Kind.RELEASE),
        question(Kind.DECLINE),
        question(Kind.REQUEST, SERVER=packed("10.0.1.9"), WANTED_ADDRESS=packed("10.0.1.5")),
    ],
)
def test_what_is_meant_for_others_gets_no_answer(packet: bytes) -> None:
    assert told(packet) is None


def test_a_card_that_is_not_here_gets_no_answer() -> None:
    assert told(question(Kind.DISCOVER), None) is None
    assert read(question(Kind.DISCOVER, relay="10.0.0.9")) is None


@given(st.binary(max_size=600))
def test_no_bytes_upset_the_reader(data: bytes) -> None:
    asked = read(data)
    assert asked is None or answer(asked, LEASE) is None or asked.kind in set(Kind)


@given(st.binary(max_size=400))
def test_no_options_upset_the_server(data: bytes) -> None:
    asked = read(question(Kind.REQUEST)[:240] + data)
    if asked is not None:
        answer(asked, LEASE)


@given(st.dictionaries(st.integers(1, 254), st.binary(min_size=1, max_size=600), max_size=8))
def test_options_are_read_as_they_were_written(options: dict[int, bytes]) -> None:
    assert read_options(write_options(options)) == options
