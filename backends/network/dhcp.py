"""DHCP (RFC 2131) as far as a network needs it that knows every card beforehand: pure functions over packets.

There is nothing to allocate, so there are no leases to keep: a card that asks is told what its row says, again and
again, and one that asks for anything else is refused.
"""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

SERVER_PORT, CLIENT_PORT = 67, 68
SECONDS = 3600
"""How long a lease is good for. It is renewed at half of it."""
COOKIE = b"\x63\x82\x53\x63"
FIXED = 236
"""Bytes before the cookie."""
LEAST = 300
"""BOOTP's smallest packet; some clients drop shorter ones."""
NOBODY = "0.0.0.0"


class Kind(IntEnum):
    """Message types (option 53)."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    DECLINE = 4
    ACK = 5
    NAK = 6
    RELEASE = 7
    INFORM = 8


class Option(IntEnum):
    """Codes of RFC 2132 that are read or written here."""

    PAD = 0
    MASK = 1
    ROUTER = 3
    RESOLVERS = 6
    HOST_NAME = 12
    DOMAIN = 15
    MTU = 26
    BROADCAST = 28
    CLOCKS = 42
    NETBIOS_SERVERS = 44
    NETBIOS_KIND = 46
    WANTED_ADDRESS = 50
    SECONDS = 51
    KIND = 53
    SERVER = 54
    CLIENT_ID = 61
    END = 255


@dataclass(frozen=True, slots=True)
class Question:
    """What a client sent. Addresses are texts, `0.0.0.0` where there is none."""

    kind: Kind
    transaction: bytes
    flags: bytes
    client_address: str
    mac: str
    wanted_address: str
    server: str
    hardware: bytes
    """The 16 bytes of the hardware address, as they came."""
    client_id: bytes


@dataclass(frozen=True, slots=True)
class Lease:
    """What a card is told: its address, and what its network says of itself."""

    port: str
    address: str
    network: str
    """The segment's range."""
    router: str
    resolvers: tuple[str, ...] = ()
    domain: str = ""
    host_name: str = ""
    clocks: tuple[str, ...] = ()
    netbios_servers: tuple[str, ...] = ()
    netbios_kind: int = 0
    mtu: int = 1500


@dataclass(frozen=True, slots=True)
class Answer:
    """A packet and the address that it goes to. `leased`: the client may use its address from now on."""

    packet: bytes
    destination: str
    leased: bool = field(default=False)


def read(packet: bytes) -> Question | None:
    """The question in a packet; None for whatever is no DHCP question from Ethernet."""
    if len(packet) < FIXED + len(COOKIE) or packet[FIXED : FIXED + 4] != COOKIE:
        return None
    op, hardware_type, hardware_length = packet[0], packet[1], packet[2]
    if (op, hardware_type, hardware_length) != (1, 1, 6) or any(packet[24:28]):  # relayed: there are no relays here
        return None
    options = read_options(packet[FIXED + 4 :])
    kind = options.get(Option.KIND, b"")
    if len(kind) != 1 or kind[0] not in set(Kind):
        return None
    return Question(
        Kind(kind[0]),
        packet[4:8],
        packet[10:12],
        _address(packet[12:16]),
        packet[28:34].hex(":"),
        _address(options.get(Option.WANTED_ADDRESS, b"")),
        _address(options.get(Option.SERVER, b"")),
        packet[28:44],
        options.get(Option.CLIENT_ID, b""),
    )


def read_options(data: bytes) -> dict[int, bytes]:
    """Options by code; a code that comes again goes on where it stopped (RFC 3396). What is cut off is left out."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data) and data[at] != Option.END:
        if data[at] == Option.PAD:
            at += 1
            continue
        if at + 1 >= len(data) or at + 2 + data[at + 1] > len(data):
            break
        found[data[at]] = found.get(data[at], b"") + data[at + 2 : at + 2 + data[at + 1]]
        at += 2 + data[at + 1]
    return found


def answer(question: Question, lease: Lease | None) -> Answer | None:
    """What to say to a client whose card has (or has not) an address here; None for silence."""
    if lease is None or question.server not in (NOBODY, lease.router):
        return None
    if question.kind is Kind.DISCOVER:
        return Answer(_packet(question, lease, Kind.OFFER), "255.255.255.255")
    if question.kind is Kind.INFORM:
        return Answer(_packet(question, lease, Kind.ACK), _reachable(question))
    if question.kind is not Kind.REQUEST:
        return None
    asked = question.wanted_address if question.wanted_address != NOBODY else question.client_address
    if asked != lease.address:
        return Answer(_packet(question, lease, Kind.NAK), "255.255.255.255")
    return Answer(_packet(question, lease, Kind.ACK), _reachable(question), leased=True)


def _reachable(question: Question) -> str:
    """A client that has an address already hears at it; others hear broadcasts only."""
    return question.client_address if question.client_address != NOBODY else "255.255.255.255"


def _packet(question: Question, lease: Lease, kind: Kind) -> bytes:
    yours = lease.address if kind is not Kind.NAK and question.kind is not Kind.INFORM else NOBODY
    client = question.client_address if kind is Kind.ACK else NOBODY
    head = struct.pack(
        "!BBBB4sH2s4s4s4s4s16s192s4s",
        2,
        1,
        6,
        0,
        question.transaction,
        0,
        question.flags,
        _packed(client),
        _packed(yours),
        _packed(NOBODY),
        _packed(NOBODY),
        question.hardware,
        b"",
        COOKIE,
    )
    options: dict[int, bytes] = {Option.KIND: bytes([kind]), Option.SERVER: _packed(lease.router)}
    if kind is not Kind.NAK:
        options |= _told(lease, with_address=question.kind is not Kind.INFORM)
    if question.client_id:
        options[Option.CLIENT_ID] = question.client_id  # RFC 6842
    return (head + write_options(options)).ljust(LEAST, b"\0")


def _told(lease: Lease, *, with_address: bool) -> dict[int, bytes]:
    """The options of an offer or an acknowledgement."""
    block = ipaddress.ip_network(lease.network)
    found: dict[int, bytes] = {}
    if with_address:
        found[Option.SECONDS] = struct.pack("!I", SECONDS)
    found |= {
        Option.MASK: block.netmask.packed,
        Option.ROUTER: _packed(lease.router),
        Option.BROADCAST: block.broadcast_address.packed,
        Option.MTU: struct.pack("!H", lease.mtu),
    }
    for code, addresses in (
        (Option.RESOLVERS, lease.resolvers),
        (Option.CLOCKS, lease.clocks),
        (Option.NETBIOS_SERVERS, lease.netbios_servers),
    ):
        if packed := b"".join(_packed(address) for address in addresses if is_address(address)):
            found[code] = packed
    if lease.host_name:
        found[Option.HOST_NAME] = lease.host_name.encode()
    if lease.domain:
        found[Option.DOMAIN] = lease.domain.encode()
    if lease.netbios_kind:
        found[Option.NETBIOS_KIND] = bytes([lease.netbios_kind])
    return found


def write_options(options: Mapping[int, bytes]) -> bytes:
    """Options on the wire; values longer than 255 bytes in pieces (RFC 3396)."""
    parts: list[bytes] = []
    for code, value in options.items():
        for start in range(0, max(len(value), 1), 255):
            piece = value[start : start + 255]
            parts.append(bytes([code, len(piece)]) + piece)
    return b"".join([*parts, bytes([Option.END])])


def is_address(text: str) -> bool:
    """Whether a text is an IPv4 address: option sets may hold IPv6 ones, which have no place here."""
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _address(packed: bytes) -> str:
    return str(ipaddress.IPv4Address(packed)) if len(packed) == 4 else NOBODY


def _packed(address: str) -> bytes:
    return ipaddress.IPv4Address(address).packed
