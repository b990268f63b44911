"""Reading what a namespace holds in raw netlink: a few dumps, compared as bytes, tell whether anything changed.

Where nothing is to be understood but only compared, taking messages apart (80 ms for 1,000 routes) would be waste.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
import socket
import struct
from collections.abc import Callable, Iterator

NETLINK_ROUTE, NETLINK_NETFILTER = 0, 12
RTM_GETLINK, RTM_GETADDR, RTM_GETROUTE, RTM_GETNEIGH, RTM_GETRULE = 18, 22, 26, 30, 34
IFLA_IFALIAS = 20
NUD_PERMANENT = 0x80
NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 1, 4, 0x300
NLMSG_ERROR, NLMSG_DONE = 2, 3
NFT_GETGEN = 10 << 8 | 16
CT_GET, CT_DELETE = 1 << 8 | 1, 1 << 8 | 2
CT_GET_STATS, CTA_STATS_ENTRIES = 1 << 8 | 5, 1
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_TUPLE_IP, CTA_IP_V4_SRC, CTA_IP_V4_DST = 1, 2, 1, 1, 2
CTA_TUPLE_PROTO, CTA_PROTO_NUM, CTA_PROTO_DST_PORT = 2, 1, 3
NESTED = 0x3FFF
_NUMBERS = itertools.count(1)


class Connection:
    """What conntrack knows of a connection: as it began, protocol and ports included, and how it is answered."""

    __slots__ = ("answered", "began", "raw")

    def __init__(self, began: tuple[str, str, int, int], answered: tuple[str, str, int, int], raw: bytes) -> None:
        self.began, self.answered, self.raw = began, answered, raw
        """(source, destination, protocol, destination's port) of either direction."""

    @property
    def addresses(self) -> set[str]:
        """Every address that stands in it."""
        return {*self.began[:2], *self.answered[:2]}


class Reader:
    """Netlink sockets in the namespace of the thread that makes them."""

    def __init__(self) -> None:
        self._route = connect(NETLINK_ROUTE)
        self._filter = connect(NETLINK_NETFILTER)

    def mark(self) -> str:
        """The alias of the loopback device, which says what was ensured."""
        body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, 1, 0, 0)
        for message in ask(self._route, RTM_GETLINK, NLM_F_REQUEST, body):
            for kind, value in attributes(message[16:]):
                if kind == IFLA_IFALIAS:
                    return value.rstrip(b"\0").decode(errors="replace")
        return ""

    def state(self) -> str:
        """Equal while nobody changed links, addresses, rules, routes, fixed neighbours or the ruleset: the ruleset's
        generation, a blank, and a digest of the others."""
        return f"{self.generation()} {self.surroundings()}"

    def generation(self) -> int:
        """How often the ruleset was changed (32 bits)."""
        for message in ask(self._filter, NFT_GETGEN, NLM_F_REQUEST, bytes(4)):
            return next(int.from_bytes(value, "big") for kind, value in attributes(message[4:]) if kind == 1)
        return 0

    def surroundings(self) -> str:
        """A digest of links, addresses, rules, routes and fixed neighbours: equal while nobody changed any of them."""
        digest = hashlib.blake2b(digest_size=9)
        digest.update(repr(sorted(socket.if_nameindex())).encode())
        for kind in (RTM_GETADDR, RTM_GETRULE, RTM_GETROUTE):
            body = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0)
            messages = ask(self._route, kind, NLM_F_REQUEST | NLM_F_DUMP, body)
            if kind == RTM_GETROUTE:  # without the flags (bytes 8 to 11), which tell of carriers
                messages = (message[:8] + message[12:] for message in messages)
            for message in sorted(messages):
                digest.update(message)
        body = struct.pack("=BxxxiHBB", socket.AF_INET, 0, 0, 0, 0)
        neighbours = ask(self._route, RTM_GETNEIGH, NLM_F_REQUEST | NLM_F_DUMP, body)
        # Without NDA_CACHEINFO, which counts time: the first 12 bytes, then address and hardware address.
        for message in sorted(message[:32] for message in neighbours if _state(message) & NUD_PERMANENT):
            digest.update(message)
        return digest.hexdigest()

    def forget(self, wanted: Callable[[Connection], bool]) -> int:
        """Delete the tracked connections that `wanted` picks; how many they were."""
        body = struct.pack("=BBH", socket.AF_INET, 0, 0)
        if not self._tracks():
            return 0
        found = [entry for entry in self._connections(body) if wanted(entry)]
        for entry in found:
            with contextlib.suppress(FileNotFoundError):  # it ended meanwhile
                list(ask(self._filter, CT_DELETE, NLM_F_REQUEST | NLM_F_ACK, body + entry.raw))
        return len(found)

    def _tracks(self) -> bool:
        """Whether any connection is tracked. The kernel keeps those of all namespaces together: going through them
        takes milliseconds, counting ours does not."""
        for message in ask(self._filter, CT_GET_STATS, NLM_F_REQUEST | NLM_F_ACK, bytes(4)):
            return any(kind == CTA_STATS_ENTRIES and any(value) for kind, value in attributes(message[4:]))
        return True

    def _connections(self, body: bytes) -> Iterator[Connection]:
        for message in list(ask(self._filter, CT_GET, NLM_F_REQUEST | NLM_F_DUMP, body)):
            sides: dict[int, tuple[str, str, int, int]] = {}
            raw = b""
            for kind, value in attributes(message[4:]):
                if kind in (CTA_TUPLE_ORIG, CTA_TUPLE_REPLY):
                    sides[kind] = _tuple(value)
                if kind == CTA_TUPLE_ORIG:
                    raw = struct.pack("=HH", 4 + len(value), kind | 0x8000) + value
            if len(sides) == 2:
                yield Connection(sides[CTA_TUPLE_ORIG], sides[CTA_TUPLE_REPLY], raw)

    def close(self) -> None:
        """Close both sockets."""
        self._route.close()
        self._filter.close()


def connect(protocol: int) -> socket.socket:
    """A netlink socket in the namespace of this thread."""
    made = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    return made


def ask(sock: socket.socket, kind: int, flags: int, body: bytes) -> Iterator[bytes]:
    """Send one request; the bodies of the answers. Raises the kernel's OSError."""
    number = next(_NUMBERS) & 0xFFFFFFFF
    sock.send(struct.pack("=IHHII", 16 + len(body), kind, flags, number, 0) + body)
    while True:
        data = sock.recv(1 << 16)
        position = 0
        while position + 16 <= len(data):
            length, answer, marks, asked, _ = struct.unpack_from("=IHHII", data, position)
            content = data[position + 16 : position + length]
            position += (length + 3) & ~3
            if asked != number:  # the rest of an answer that nobody wanted to hear
                continue
            if answer == NLMSG_DONE:
                return
            if answer == NLMSG_ERROR:
                number = -struct.unpack_from("=i", content)[0]
                if number:
                    raise OSError(number, os.strerror(number))
                return
            yield content
            if not marks & 2:  # NLM_F_MULTI: more of them, and a last one that says so
                return


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute, padded."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The attributes in a message, or in an attribute: (kind, value)."""
    position = 0
    while position + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, position)
        if length < 4:
            return
        yield kind & NESTED, data[position + 4 : position + length]
        position += (length + 3) & ~3


def _state(message: bytes) -> int:
    return int.from_bytes(message[8:10], "little") if len(message) > 10 else 0


def _tuple(data: bytes) -> tuple[str, str, int, int]:
    source = destination = ""
    protocol = port = 0
    for part, content in attributes(data):
        for kind, value in attributes(content):
            if part == CTA_TUPLE_IP and len(value) == 4:
                if kind == CTA_IP_V4_SRC:
                    source = socket.inet_ntoa(value)
                elif kind == CTA_IP_V4_DST:
                    destination = socket.inet_ntoa(value)
            elif part == CTA_TUPLE_PROTO:
                if kind == CTA_PROTO_NUM:
                    protocol = value[0]
                elif kind == CTA_PROTO_DST_PORT:
                    port = int.from_bytes(value, "big")
    return source, destination, protocol, port
