"""Single packets from stand-ins for guests, many at once: where does each arrive, and does its answer come back?"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from backends.network.drivers.linux.layout import index_of
from backends.network.drivers.linux.namespace import Namespace
from backends.network.reach import Packet

ETH_P_IP = 0x0800
TCP, UDP, ICMP, GRE = 6, 17, 1, 47
SYN, SYN_ACK = 0x02, 0x12
QUIET = 0.25
"""Seconds without any packet after which none is expected any more."""
DROP_ALL = "table ip quiet { chain input { type filter hook input priority 0; policy drop; }; }"


@dataclass
class Probe:
    """A packet from a place (a network and a port; the outside is ("", "")). `mark` is its source port, or ICMP's
    identifier. `seen` are the places where it arrived; `answered` is the
    place itself for each answer that came back to it."""

    place: tuple[str, str]
    packet: Packet
    mark: int
    seen: list[tuple[str, str]] = field(default_factory=list)
    answered: list[tuple[str, str]] = field(default_factory=list)


class Station:
    """A place's eyes and mouth: it sends, sees what arrives at its card, and answers what is meant for it."""

    def __init__(self, place: tuple[str, str], space: Namespace, card: str, mine: Callable[[str], bool]) -> None:
        self.place, self._mine = place, mine

        def open() -> tuple[socket.socket, socket.socket]:
            eye = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_IP))
            eye.bind((card, ETH_P_IP))
            eye.setblocking(False)
            mouth = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
            mouth.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
            index_of(card)
            return eye, mouth

        self.eye, self._mouth = space.run(open)

    def send(self, data: bytes, destination: str) -> None:
        """Send a whole IP packet; nothing happens where no route leads."""
        with contextlib.suppress(OSError):
            self._mouth.sendto(data, (destination, 0))

    def look(self) -> list[bytes]:
        """The packets that arrived since."""
        found: list[bytes] = []
        while True:
            try:
                data, address = self.eye.recvfrom(2048)
            except BlockingIOError:
                return found
            if address[2] != socket.PACKET_OUTGOING:
                found.append(data)

    def is_mine(self, ip: str) -> bool:
        """Whether it answers for an address."""
        return self._mine(ip)

    def close(self) -> None:
        """Close the sockets."""
        self.eye.close()
        self._mouth.close()


def run(stations: dict[tuple[str, str], Station], probes: list[Probe], quiet: float = QUIET) -> None:
    """Send all probes, and wait until nothing has arrived for `quiet` seconds."""
    by_mark = {probe.mark: probe for probe in probes}
    for station in stations.values():
        station.look()
    for probe in probes:
        packet = probe.packet
        data = build(packet.source, packet.destination, int(packet.protocol), probe.mark, packet.port, question=True)
        stations[probe.place].send(data, packet.destination)
    eyes = {station.eye: station for station in stations.values()}
    last = time.monotonic()
    while (left := last + quiet - time.monotonic()) > 0:
        for eye in select.select(list(eyes), [], [], left)[0]:
            station = eyes[eye]
            for data in station.look():
                if _note(station, data, by_mark):
                    last = time.monotonic()


def _note(station: Station, data: bytes, by_mark: dict[int, Probe]) -> bool:
    """Note a packet that arrived, and answer it; whether it was one of ours."""
    read = parse(data)
    if read is None:
        return False
    source, destination, protocol, mark, port, question = read
    probe = by_mark.get(mark)
    if probe is None:
        return False
    if question:
        probe.seen.append(station.place)
        if station.is_mine(destination) and port != 13 and protocol != GRE:
            answer = build(destination, source, protocol, mark, port, question=False)
            station.send(answer, source)
    else:
        # An answer that somebody else gets is none, nor is one that comes from elsewhere.
        if station.place == probe.place and source == probe.packet.destination:
            probe.answered.append(station.place)
    return True


def build(source: str, destination: str, protocol: int, mark: int, port: int, *, question: bool) -> bytes:
    """A packet of the probe `mark`, or the answer to it, which goes from `port` to the mark."""
    sport, dport = (mark, port) if question else (port, mark)
    if protocol == TCP:
        flags = SYN if question else SYN_ACK
        body = struct.pack("!HHIIBBHHH", sport, dport, 1000, 0 if question else 1001, 0x50, flags, 8192, 0, 0)
    elif protocol == UDP:
        body = struct.pack("!HHHH", sport, dport, 9, 0) + (b"q" if question else b"a")
    elif protocol == GRE:
        body = struct.pack("!HHHH", 0, 0x0800, mark, 0)
    else:
        body = struct.pack("!BBHHH", port if question else 0, 0, 0, mark, 1) + (bytes(12) if port == 13 else b"")
    pseudo = struct.pack("!4s4sBBH", socket.inet_aton(source), socket.inet_aton(destination), 0, protocol, len(body))
    if (place := {TCP: 16, UDP: 6, ICMP: 2}.get(protocol)) is not None:
        sum = checksum(body if protocol == ICMP else pseudo + body)
        body = body[:place] + struct.pack("!H", sum) + body[place + 2 :]
    length = 20 + len(body)
    head = struct.pack("!BBHHHBBH", 0x45, 0, length, 0, 0, 64, protocol, 0)
    return head + socket.inet_aton(source) + socket.inet_aton(destination) + body


def parse(data: bytes) -> tuple[str, str, int, int, int, bool] | None:
    """(source, destination, protocol, mark, port, whether it asks) of a packet that may be ours."""
    if len(data) < 28:
        return None
    protocol, start = data[9], (data[0] & 15) * 4
    source, destination = socket.inet_ntoa(data[12:16]), socket.inet_ntoa(data[16:20])
    body = data[start:]
    if protocol == ICMP:
        kind, mark = body[0], int.from_bytes(body[4:6], "big")
        return (source, destination, protocol, mark, kind, kind in (8, 13)) if kind in (0, 8, 13) else None
    if protocol == GRE:  # asks, and is answered by nobody
        return source, destination, protocol, int.from_bytes(body[4:6], "big"), 0, True
    sport, dport = struct.unpack_from("!HH", body)
    if protocol == TCP:
        question = body[13] & SYN_ACK == SYN
    elif protocol == UDP:
        question = body[8:9] == b"q"
    else:
        return None
    return (source, destination, protocol, *((sport, dport) if question else (dport, sport)), question)


def checksum(data: bytes) -> int:
    """The internet checksum."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
