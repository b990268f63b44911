"""What a guest can do on its wire that no honest one does: raw frames from stand-ins, and who sees what of them.

In a sandbox:

    python -m tests.compat.real.adversary

prints a JSON object: what came through that must not (`wrong`), and how many attacks there were.
"""

from __future__ import annotations

import ipaddress
import json
import select
import socket
import struct
import sys
import time
from functools import partial

from backends.network.drivers.linux import layout, links, namespace, rules
from backends.network.drivers.linux.driver import LinuxNetwork
from backends.network.drivers.linux.namespace import Namespace
from backends.network.plan import EntryPlan, NetworkPlan, PortPlan, RoutePlan, RulePlan, SegmentPlan
from tests.compat.real.probes import checksum
from tests.compat.real.standins import CARD, here, populate

ANY = "0.0.0.0/0"
POOL = ipaddress.IPv4Network("198.18.0.0/15")
ALL = bytes([0xFF] * 6)
IP, ARP, VLAN, QINQ, IP6 = 0x0800, 0x0806, 0x8100, 0x88A8, 0x86DD
UDP, OPEN = 17, 9
MINE, CLOSED, SERVER, ROUTER = (f"10.0.1.{last}" for last in (10, 11, 12, 13))
NAMES = 1500
"""More than the machine's table of neighbours holds (1,024)."""
QUIET = 0.05
"""Seconds without a frame after which none is expected any more."""
SERVED = 7777
STRANGE = (
    *("169.254.169.254", "169.254.169.253", "10.0.0.2", "10.0.1.1", "127.0.0.1", "0.0.0.0"),
    *("255.255.255.255", "224.0.0.1"),
)
"""Sources that nobody may have, not even who routes."""
Seen = list[tuple[str, bytes]]


def network() -> NetworkPlan:
    """An attacker, one whom nobody reaches, a server of one port, and one who may route."""
    everything = EntryPlan(100, True, True, "-1", ANY, None, None, None, None)
    out = RulePlan("out", True, "-1", -1, -1, (ANY,))
    holders = ((MINE, "closed"), (CLOSED, "closed"), (SERVER, "server"), (ROUTER, "closed"))
    return NetworkPlan(
        id="vpc-1",
        cidrs=("10.0.0.0/16",),
        gateway="igw-1",
        segments=(SegmentPlan("subnet-1", ("10.0.1.0/24",), "rtb-1", "acl-1"),),
        ports=tuple(
            PortPlan(ip, f"0a:00:00:00:00:{n:02x}", "subnet-1", None, (ip,), publics, (group,), ip != ROUTER)
            for n, (ip, group) in enumerate(holders)
            for publics in (((ip, f"198.18.0.{10 + n}"),),)
        ),
        tables={"rtb-1": (RoutePlan(("10.0.0.0/16",), "local", "local"), RoutePlan((ANY,), "gateway", "igw-1"))},
        filters={"acl-1": (everything, EntryPlan(100, False, True, "-1", ANY, None, None, None, None))},
        groups={"closed": (out,), "server": (out, RulePlan("in", False, "udp", OPEN, OPEN, (ANY,)))},
        nats=(),
    )


class Wire:
    """Where every stand-in's card can be written to and read from."""

    def __init__(self) -> None:
        self.driver, self.host, self.plan = LinuxNetwork("adversary", POOL, outgoing="route"), here(), network()
        self.driver.ensure(self.plan)
        self.guests = populate(self.driver, self.host, self.plan)
        self.cards = {id: guest.space.run(card) for id, guest in self.guests.items()}
        self.inside = self.driver._open(self.plan.id)
        self.wrong: list[str] = []
        self.count = 0

    def mac(self, ip: str) -> bytes:
        """A guest's own hardware address."""
        return bytes.fromhex(self.guests[ip].port.mac.replace(":", ""))

    def gate(self, ip: str) -> bytes:
        """The hardware address at the other end of a guest's wire."""
        name = self.driver.link(ip)
        found = self.inside.run(lambda: self.inside.links.link("get", ifname=name))
        return bytes.fromhex(dict(found[0]["attrs"])["IFLA_ADDRESS"].replace(":", ""))

    def frame(self, content: bytes, *, kind: int = IP, sender: str = MINE, to: bytes = b"", mac: bytes = b"") -> bytes:
        """An Ethernet frame, to the gateway if nothing else is said."""
        return (to or self.gate(sender)) + (mac or self.mac(sender)) + struct.pack("!H", kind) + content

    def attack(self, what: str, *frames: bytes, sender: str = MINE, passes: bool = False) -> None:
        """Send frames, and note when any of the others sees one of them (or, with `passes`, nobody does)."""
        self._look(0)
        for frame in frames:
            self.cards[sender].send(frame)
        seen = [(ip, frame) for ip, frame in self._look(QUIET) if ip != sender]
        self.count += 1
        if bool(seen) is not passes:
            self.wrong.append(f"{what}: {[(ip, frame[:64].hex()) for ip, frame in seen][:3]}")

    def _look(self, quiet: float) -> Seen:
        found: Seen = []
        names = {one: ip for ip, one in self.cards.items()}
        last = time.monotonic()
        while ready := select.select(list(names), [], [], max(last + quiet - time.monotonic(), 0))[0]:
            for one in ready:
                frame, address = one.recvfrom(4096)
                if address[2] != socket.PACKET_OUTGOING and frame[12:14] != struct.pack("!H", ARP):
                    found.append((names[one], frame))
        return found

    def remembered(self) -> int:
        """How many neighbours the network remembers."""
        return self.inside.run(lambda: len(list(self.inside.links.get_neighbours(family=socket.AF_INET))))

    def close(self) -> None:
        """End everything."""
        for guest in self.guests.values():
            guest.close()
        self.driver.drop(self.plan.id)
        self.driver.close()
        self.host.close()


def card() -> socket.socket:
    """A raw socket on the card of this thread's namespace."""
    made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    made.bind((CARD, 0))
    return made


def packet(
    source: str, target: str, body: bytes, *, protocol: int = UDP, part: int = 0, id: int = 7, options: bytes = b""
) -> bytes:
    """An IPv4 packet; `part` holds flags and offset of a fragment."""
    words = 5 + len(options) // 4
    head = struct.pack("!BBHHHBBH", 0x40 | words, 0, words * 4 + len(body), id, part, 64, protocol, 0)
    head += socket.inet_aton(source) + socket.inet_aton(target) + options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + body


def datagram(port: int, content: bytes = b"attack!!", source_port: int = 1000) -> bytes:
    """A UDP datagram without a checksum."""
    return struct.pack("!HHHH", source_port, port, 8 + len(content), 0) + content


def arp(operation: int, mac: bytes, source: str, target: str) -> bytes:
    """An ARP message."""
    ours, theirs = socket.inet_aton(source), socket.inet_aton(target)
    return struct.pack("!HHBBH", 1, IP, 6, 4, operation) + mac + ours + bytes(6) + theirs


def names(wire: Wire, sender: str) -> None:
    """Nobody makes the machine remember more neighbours than it has."""
    before, mac = wire.remembered(), wire.mac(sender)
    for operation, target in ((1, "10.0.1.1"), (1, CLOSED), (2, "10.0.1.1")):
        for number in range(NAMES // 3):
            made_up = str(ipaddress.IPv4Address("11.0.0.0") + number + 1000 * operation)
            wire.cards[sender].send(wire.frame(arp(operation, mac, made_up, target), kind=ARP, sender=sender, to=ALL))
    time.sleep(0.1)
    wire.count += 1
    if (after := wire.remembered()) > before + 40:
        wire.wrong.append(f"{sender} made the machine remember {after - before} neighbours")


def sources(wire: Wire) -> None:
    """Under others' names."""
    hello = datagram(OPEN)
    for source in (*STRANGE, CLOSED, "198.18.0.10", "192.0.2.1"):
        for body in (hello, datagram(67, source_port=68), datagram(68, source_port=67)):
            wire.attack(f"from {source}", wire.frame(packet(source, SERVER, body)))
    for source in STRANGE:
        frame = wire.frame(packet(source, SERVER, hello), sender=ROUTER)
        wire.attack(f"routed from {source}", frame, sender=ROUTER)
    taken = wire.frame(packet(CLOSED, SERVER, hello), mac=wire.mac(CLOSED))
    wire.attack("from another's hardware address", taken)


def frames(wire: Wire) -> None:
    """In other frames."""
    refused, hello = packet(MINE, CLOSED, datagram(OPEN)), packet("169.254.169.254", SERVER, datagram(OPEN))
    for tag in (0, 1, 5):
        tagged = struct.pack("!HH", tag, IP)
        wire.attack(f"VLAN {tag}", *(wire.frame(tagged + one, kind=VLAN) for one in (refused, hello)))
    wire.attack("two tags", wire.frame(struct.pack("!HHHH", 0, VLAN, 0, IP) + refused, kind=QINQ))
    wire.attack("past the gateway", wire.frame(refused, to=wire.mac(CLOSED)), wire.frame(refused, to=ALL))
    ask = bytes.fromhex("6000000000083afffe80000000000000080000fffe000101" + "ff02" + "00" * 13 + "01")
    wire.attack("IPv6", wire.frame(ask + bytes.fromhex("8000000000010001"), kind=IP6, to=bytes.fromhex("333300000001")))
    for target, kind in (("0180c2000000", 0x0026), ("0180c200000e", 0x88CC)):
        wire.attack(f"to bridges, {target}", wire.frame(bytes(46), kind=kind, to=bytes.fromhex(target)))


def parts(wire: Wire) -> None:
    """In fragments, whose ports stand in the first one only."""
    more, refused, allowed = 0x2000, datagram(OPEN - 1, bytes(32)), datagram(OPEN, bytes(32))

    def cut(id: int, first: bytes, *others: bytes, source: str = MINE) -> list[bytes]:
        made = [packet(MINE, SERVER, first[:16], part=more, id=id)]
        made += [packet(MINE, SERVER, other[:16], part=more, id=id) for other in others]
        return [wire.frame(one) for one in (*made, packet(source, SERVER, first[16:], part=2, id=id))]

    wire.attack("a closed port in parts", *cut(20, refused))
    wire.attack("a second part alone", wire.frame(packet(MINE, SERVER, allowed[16:], part=2, id=21)))
    wire.attack("another's second part", *cut(22, allowed, source=CLOSED))
    wire.attack("parts that lie over each other", *cut(23, refused, allowed))
    wire.attack("an open port in parts", *cut(24, allowed), passes=True)


def targets(wire: Wire) -> None:
    """To nobody's address, to all, or round about."""
    for target in ("255.255.255.255", "10.0.1.255", "10.0.1.0", "224.0.0.1", "224.0.0.251", "10.0.255.255", "0.0.0.0"):
        offer = packet(MINE, target, datagram(68, source_port=67))  # as a DHCP server would
        wire.attack(f"to {target}", wire.frame(offer), wire.frame(offer, to=ALL))
    for option in (131, 137):
        round_about = bytes([option, 7, 4]) + socket.inet_aton(CLOSED) + b"\0"
        for target in ("10.0.1.1", SERVER):
            wire.attack(f"by way of {target}", wire.frame(packet(MINE, target, datagram(OPEN), options=round_about)))
    for protocol in (2, 4, 41, 47, 50, 132):
        wire.attack(f"protocol {protocol}", wire.frame(packet(MINE, CLOSED, refused(), protocol=protocol)))
    redirect = struct.pack("!BBH4s", 5, 1, 0, socket.inet_aton(MINE)) + packet(CLOSED, SERVER, datagram(OPEN))
    wire.attack("a redirect", wire.frame(packet(MINE, CLOSED, redirect, protocol=1)))


def refused() -> bytes:
    """A packet within a packet."""
    return packet(CLOSED, SERVER, datagram(OPEN))


def claims(wire: Wire) -> None:
    """Another's address, claimed: what is meant for that one goes on going there."""
    mac = wire.mac(MINE)
    for operation in (1, 2):
        for ip in (SERVER, "10.0.1.1"):
            wire.cards[MINE].send(wire.frame(arp(operation, mac, ip, ip), kind=ARP, to=ALL))
    hello = wire.frame(packet(ROUTER, SERVER, datagram(OPEN)), sender=ROUTER)
    wire.attack("what is meant for a claimed address", hello, sender=ROUTER, passes=True)


def questions(wire: Wire) -> None:
    """So many that the resolver would have time for nobody else; others are heard meanwhile."""
    listener = wire.inside.run(resolver)
    sent = heard = 0
    frame = wire.frame(packet(MINE, rules.RESOLVER, datagram(53)))
    while sent < 4 * rules.QUESTIONS:
        wire.cards[MINE].send(frame)
        sent += 1
        heard += bool(select.select([listener], [], [], 0)[0] and listener.recv(100))
    wire.cards[ROUTER].send(wire.frame(packet(ROUTER, rules.RESOLVER, datagram(53, b"another!")), sender=ROUTER))
    last = b""
    while select.select([listener], [], [], 0.1)[0]:
        last = listener.recv(100)
        heard += 1
    wire.count += 1
    if not rules.QUESTIONS <= heard < sent or last != b"another!":
        wire.wrong.append(f"of {sent} questions {heard} were heard, the last one was {last!r}")
    listener.close()


def resolver() -> socket.socket:
    """A socket at the resolver's address."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    made.bind((rules.RESOLVER, 53))
    return made


def host(wire: Wire) -> None:
    """The machine, at every address that it has."""
    listener = wire.host.run(lambda: socket.create_server(("0.0.0.0", SERVED)))
    for guest in (wire.guests[MINE], wire.guests[ROUTER]):
        for address in (str(POOL.network_address), "192.0.2.1", layout.HOP, "10.0.1.1", "10.0.0.2", *STRANGE[:2]):
            wire.count += 1
            if guest.space.run(partial(answers, address)):
                wire.wrong.append(f"the machine answers {guest.name} at {address}")
    listener.close()


def answers(address: str) -> bool:
    """Whether anybody takes, or refuses, a connection to that address."""
    try:
        socket.create_connection((address, SERVED), 0.1).close()
    except ConnectionRefusedError:
        return True
    except OSError:
        return False
    return True


def settings(wire: Wire) -> None:
    """A namespace that inherited from the machine what would keep it from answering, or open it."""

    def inherit(space: Namespace) -> list[str]:
        for name in links.OFF:
            (links.IPV4 / "conf/all" / name).write_text("1")
        links.prepare(space, proxy=True)
        return [name for name in links.OFF if (links.IPV4 / "conf/all" / name).read_text() != "0\n"]

    left = namespace.visit(namespace.make("strange"), inherit)
    namespace.remove("strange")
    wire.count += 1
    wire.wrong += [f"{name} is as the machine has it" for name in left]


def main() -> None:
    wire = Wire()
    wire.host.run(lambda: wire.host.links.addr("add", index=1, address="192.0.2.1", prefixlen=32))
    wire.attack("an honest one", wire.frame(packet(MINE, SERVER, datagram(OPEN))), passes=True)
    for attacks in ATTACKS:
        attacks(wire)
    for sender in (MINE, ROUTER):
        names(wire, sender)
    wire.close()
    sys.stdout.write(json.dumps({"attacks": wire.count, "wrong": wire.wrong}))
    sys.stdout.flush()


ATTACKS = (sources, frames, parts, targets, claims, questions, host, settings)


if __name__ == "__main__":
    main()
