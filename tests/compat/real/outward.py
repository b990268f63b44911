"""What guests and the world beyond the host have to do with each other: errors on their way back through translations,
and whose tables remember connections. In a sandbox:

    python -m tests.compat.real.outward

prints a JSON object, by guest: what it was told of a narrow way, of a closed port, of its own public address; and how
many connections edge and host remembered of how many.
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import json
import socket
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

from backends.network.drivers.linux import edge, links, namespace
from backends.network.drivers.linux.driver import LinuxNetwork
from backends.network.drivers.linux.namespace import Namespace
from backends.network.plan import EntryPlan, NatPlan, NetworkPlan, PortPlan, RoutePlan, RulePlan, SegmentPlan
from tests.compat.real.standins import StandIn, here, populate

ANY = "0.0.0.0/0"
POOL = ipaddress.IPv4Network("198.18.0.0/15")
WEB, INNER, NAT, OTHER = "10.0.1.10", "10.0.2.10", "10.0.1.50", "10.0.3.10"
PUBLIC = {WEB: "198.18.0.10", NAT: "198.18.0.50", OTHER: "198.18.0.77"}
WORLD, ROUTER = "203.0.113.9", "203.0.113.1"
NARROW = 1400
SERVED, CLOSED = 7000, 7001
FLOWS, FEW = 600, 200
IP_MTU_DISCOVER, IP_PMTUDISC_DO, IP_MTU = 10, 2, 14
PATIENCE = 10.0
TABLE = Path("/proc/sys/net/netfilter/nf_conntrack_count")


def networks() -> list[NetworkPlan]:
    """One with a guest that has a public address and one behind a translator; and somebody else's."""
    everything = tuple(EntryPlan(100, egress, True, "-1", ANY, None, None, None, None) for egress in (False, True))
    opened = tuple(RulePlan(str(egress), egress, "-1", -1, -1, (ANY,)) for egress in (False, True))
    local, out = RoutePlan(("10.0.0.0/16",), "local", "local"), RoutePlan((ANY,), "gateway", "igw-1")

    def port(ip: str, segment: str, *groups: str) -> PortPlan:
        publics = ((ip, PUBLIC[ip]),) if ip in PUBLIC else ()
        mac = f"0a:00:00:00:{ip.split('.')[2]:>02}:{ip.split('.')[3]:>02}"
        return PortPlan(ip, mac, segment, None, (ip,), publics, groups, bool(groups))

    common: Any = {"cidrs": ("10.0.0.0/16",), "filters": {"acl": everything}, "groups": {"open": opened}}
    return [
        NetworkPlan(
            id="vpc-1",
            gateway="igw-1",
            segments=(
                SegmentPlan("public", ("10.0.1.0/24",), "out", "acl"),
                SegmentPlan("private", ("10.0.2.0/24",), "translated", "acl"),
            ),
            ports=(port(WEB, "public", "open"), port(INNER, "private", "open"), port(NAT, "public")),
            tables={"out": (local, out), "translated": (local, RoutePlan((ANY,), "nat", "nat-1"))},
            nats=(NatPlan("nat-1", NAT, True),),
            **common,
        ),
        NetworkPlan(
            id="vpc-2",
            gateway="igw-1",
            segments=(SegmentPlan("other", ("10.0.3.0/24",), "out", "acl"),),
            ports=(port(OTHER, "other", "open"),),
            tables={"out": (local, out)},
            nats=(),
            **common,
        ),
    ]


def world(host: Namespace) -> Namespace:
    """A namespace beyond a router with a narrow way to it."""
    space = Namespace(str(namespace.make("world")))
    host.run(lambda: links.join(host.links, host, "narrow", space.fileno(), "eth0"))

    def near() -> None:
        index = socket.if_nametoindex("narrow")
        host.links.link("set", index=index, mtu=NARROW, state="up")
        host.links.addr("add", index=index, address=ROUTER, prefixlen=24)

    def far() -> None:
        for device in ("eth0", "lo"):
            space.links.link("set", index=socket.if_nametoindex(device), state="up")
        space.links.addr("add", index=socket.if_nametoindex("eth0"), address=WORLD, prefixlen=24)
        space.links.route("add", dst=ANY, gateway=ROUTER)

    host.run(near)
    space.run(far)
    return space


def datagrams(target: str, port: int = SERVED) -> socket.socket:
    """A socket that sends whole packets only, to that place."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO)
    made.settimeout(PATIENCE)
    made.connect((target, port))
    return made


def narrow() -> int:
    """What the kernel is told of how much goes through at a time, towards the world."""
    deadline = time.monotonic() + PATIENCE
    with datagrams(WORLD) as one:
        while time.monotonic() < deadline:
            try:
                one.send(bytes(1472))
            except OSError as error:
                if error.errno == errno.EMSGSIZE:
                    return one.getsockopt(socket.IPPROTO_IP, IP_MTU)
            time.sleep(0.02)
    return 0


def closed() -> str:
    """What comes of a question to a port where nobody listens."""
    with datagrams(WORLD, CLOSED) as one:
        one.send(b"anybody?")
        try:
            one.recv(10)
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, "nothing")
    return "an answer"


def sends(size: int) -> bool:
    """Whether so many bytes come to the world by TCP, which begins with segments that are too long."""
    with socket.create_connection((WORLD, SERVED), PATIENCE) as one:
        one.sendall(bytes(size))
        one.shutdown(socket.SHUT_WR)
        return one.recv(20) == str(size).encode()


def counts(listener: socket.socket) -> None:
    """Answer connections with the number of bytes that came."""
    with contextlib.suppress(OSError):
        while True:
            one, _ = listener.accept()
            size = 0
            while piece := one.recv(1 << 16):
                size += len(piece)
            one.sendall(str(size).encode())
            one.close()


def itself(guest: StandIn, ip: str) -> bool:
    """Whether a guest reaches itself by its public address."""

    def ask() -> bool:
        with socket.create_server((ip, SERVED)) as server, socket.create_connection((PUBLIC[ip], SERVED), 1.0):
            server.settimeout(1.0)
            return bool(server.accept()[1][0] == PUBLIC[ip])

    try:
        return guest.space.run(ask)
    except OSError:
        return False


def floods(target: str) -> None:
    """Many connections to one place."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        for port in range(10000, 10000 + FLOWS):
            one.sendto(b"x", (target, port))


def remembered() -> int:
    """How many connections this thread's namespace remembers."""
    return int(TABLE.read_text())


def main() -> None:
    edge.MOST_OF_ONE = FEW
    driver, host, plans = LinuxNetwork("outer", POOL, outgoing="route"), here(), networks()
    guests: dict[str, StandIn] = {}
    for plan in plans:
        driver.ensure(plan)
        guests |= populate(driver, host, plan)
    beyond = world(host)
    server = beyond.run(lambda: socket.create_server((WORLD, SERVED)))
    sink = beyond.run(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sink.bind((WORLD, SERVED))
    beyond.submit(partial(counts, server))
    told: dict[str, Any] = {"narrow": {}, "closed": {}, "sent": {}}
    for name, ip in (("public", WEB), ("translated", INNER)):
        run = guests[ip].space.run
        told["sent"][name] = run(partial(sends, 300_000))
        told["narrow"][name] = run(narrow)
        told["closed"][name] = run(closed)
    told["itself"] = itself(guests[WEB], WEB)
    outside, before = driver._edge.open(), driver._edge.open().run(remembered)
    guests[WEB].space.run(partial(floods, PUBLIC[OTHER]))
    told["between networks"] = outside.run(remembered) - before
    before = host.run(remembered)
    guests[WEB].space.run(partial(floods, WORLD))
    told["beyond the host"] = host.run(remembered) - before
    told["another's"] = guests[INNER].space.run(partial(sends, 1000))
    sys.stdout.write(json.dumps(told))
    sys.stdout.flush()
    server.shutdown(socket.SHUT_RDWR)
    for one in (server, sink):
        one.close()
    for guest in guests.values():
        guest.close()
    for plan in plans:
        driver.drop(plan.id)
    driver.close()
    beyond.close()
    host.close()


if __name__ == "__main__":
    main()
