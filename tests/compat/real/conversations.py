"""What becomes of conversations that are under way when a running network changes. In a sandbox:

    python -m tests.compat.real.conversations

prints a JSON object: for each change, whether a TCP and a UDP conversation went on, and whether a new one could begin.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import sys
from collections.abc import Callable
from dataclasses import replace

from backends.network.drivers.linux.driver import LinuxNetwork
from backends.network.plan import EntryPlan, NetworkPlan, PortPlan, RoutePlan, RulePlan, SegmentPlan
from tests.compat.real.standins import StandIn, here, populate

ANY = "0.0.0.0/0"
SERVER, CLIENT = "10.0.1.10", "10.0.2.10"
PORT = 80
PATIENCE = 0.4
"""Seconds that a packet may take."""
OUT = RulePlan("out", True, "-1", -1, -1, (ANY,))
WEB = RulePlan("web", False, "-1", -1, -1, (ANY,))
NEAR = RulePlan("near", False, "-1", -1, -1, ("10.0.0.0/8",))
MEMBERS = RulePlan("members", False, "-1", -1, -1, (CLIENT,), "clients", ("client",))
Change = Callable[[NetworkPlan], NetworkPlan]


def network(*rules: RulePlan) -> NetworkPlan:
    """A server whose group has those rules, and a client in another segment."""
    passing = tuple(EntryPlan(100, egress, True, "-1", ANY, None, None, None, None) for egress in (False, True))
    return NetworkPlan(
        id="vpc",
        cidrs=("10.0.0.0/16",),
        gateway=None,
        segments=(
            SegmentPlan("one", ("10.0.1.0/24",), "table", "filter"),
            SegmentPlan("two", ("10.0.2.0/24",), "table", "filter"),
        ),
        ports=(
            PortPlan("server", "0a:00:00:00:00:01", "one", None, (SERVER,), (), ("servers",), True),
            PortPlan("client", "0a:00:00:00:00:02", "two", None, (CLIENT,), (), ("clients",), True),
        ),
        tables={"table": (RoutePlan(("10.0.0.0/16",), "local", "local"),)},
        filters={"filter": passing},
        groups={"servers": rules, "clients": (OUT,), "back": (OUT,), "nothing": ()},
        nats=(),
    )


def rules(*left: RulePlan) -> Change:
    """Other rules in the server's group."""
    return lambda plan: replace(plan, groups={**plan.groups, "servers": left})


def regroup(port: str, *groups: str) -> Change:
    """Other groups for a port."""
    return lambda plan: replace(
        plan, ports=tuple(replace(one, groups=groups) if one.id == port else one for one in plan.ports)
    )


def deny(plan: NetworkPlan) -> NetworkPlan:
    """A packet filter without memory that lets no answers in."""
    entry = EntryPlan(1, False, False, "-1", f"{SERVER}/32", None, None, None, None)
    return replace(plan, filters={"filter": (entry, *plan.filters["filter"])})


def lead_nowhere(plan: NetworkPlan) -> NetworkPlan:
    """A route for the client's segment that ends."""
    return replace(plan, tables={"table": (*plan.tables["table"], RoutePlan(("10.0.2.0/24",), "blackhole", "gone"))})


CHANGES: dict[str, tuple[NetworkPlan, Change]] = {
    "nothing": (network(NEAR, OUT), rules(OUT, NEAR)),
    "a range is no longer let in": (network(NEAR, OUT), rules(OUT)),
    "all are no longer let in": (network(WEB, OUT), rules(OUT)),
    "all are no longer let in, nor out before": (network(WEB), rules()),
    "all are no longer let in, but members are": (network(WEB, OUT), rules(OUT, MEMBERS)),
    "all are no longer let in, out by another group": (
        regroup("server", "servers", "back")(network(WEB)),
        rules(),
    ),
    "a group is no longer let in": (network(MEMBERS, OUT), rules(OUT)),
    "a member leaves its group": (network(MEMBERS, OUT), lambda plan: rules(replace_peers())(plan)),
    "the server gets another group": (network(NEAR, OUT), regroup("server", "nothing")),
    "the client gets another group": (network(NEAR, OUT), regroup("client", "nothing")),
    "a packet filter lets no answers in": (network(NEAR, OUT), deny),
    "a route ends": (network(NEAR, OUT), lead_nowhere),
}


def replace_peers() -> RulePlan:
    """The rule that names the client's group, which has nobody in it."""
    return MEMBERS._replace(peers=(), links=())


class Conversation:
    """A server and a client of it, of one kind, on the threads of two stand-ins."""

    def __init__(self, server: StandIn, client: StandIn, kind: socket.SocketKind) -> None:
        self._client, self._kind = client, kind
        self._listener = server.space.run(lambda: listening(kind))
        self._theirs: socket.socket | None = None
        self._mine: socket.socket | None = None

    def begin(self) -> bool:
        """Begin anew, from another port; whether that is answered."""
        self.end()
        try:
            self._mine = self._client.space.run(lambda: connected(self._kind))
            if self._kind == socket.SOCK_STREAM:
                self._theirs = self._listener.accept()[0]
                self._theirs.settimeout(PATIENCE)
        except OSError:
            return False
        return self.goes_on()

    def goes_on(self) -> bool:
        """Whether a word comes there, and its answer back."""
        if self._mine is None:
            return False
        try:
            self._mine.send(b"word")
            if self._theirs is not None:
                self._theirs.sendall(self._theirs.recv(100))
            else:
                word, sender = self._listener.recvfrom(100)
                self._listener.sendto(word, sender)
            return self._mine.recv(100) == b"word"
        except OSError:
            return False

    def end(self) -> None:
        """End what is under way."""
        for one in (self._mine, self._theirs):
            if one is not None:
                one.close()
        self._mine = self._theirs = None

    def close(self) -> None:
        """End for good."""
        self.end()
        self._listener.close()


def listening(kind: socket.SocketKind) -> socket.socket:
    """The server's socket, in this thread's namespace."""
    made = socket.socket(socket.AF_INET, kind)
    made.settimeout(PATIENCE)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((SERVER, PORT))
    if kind == socket.SOCK_STREAM:
        made.listen()
    return made


def connected(kind: socket.SocketKind) -> socket.socket:
    """A client's socket, in this thread's namespace."""
    made = socket.socket(socket.AF_INET, kind)
    made.settimeout(PATIENCE)
    try:
        made.connect((SERVER, PORT))
    except OSError:
        made.close()
        raise
    return made


def main() -> None:
    driver, host = LinuxNetwork("words", ipaddress.IPv4Network("198.18.0.0/15")), here()
    driver.ensure(network(NEAR, OUT))
    guests = populate(driver, host, network(NEAR, OUT))
    told: dict[str, dict[str, list[bool]]] = {}
    for what, (before, change) in CHANGES.items():
        told[what] = {}
        for name, kind in (("tcp", socket.SOCK_STREAM), ("udp", socket.SOCK_DGRAM)):
            driver.ensure(before)
            talk = Conversation(guests["server"], guests["client"], kind)
            began = talk.begin() or talk.begin()  # slow, maybe
            driver.ensure(change(before))
            told[what][name] = [began, talk.goes_on(), talk.begin()]
            talk.close()
    sys.stdout.write(json.dumps(told))
    sys.stdout.flush()
    for guest in guests.values():
        guest.close()
    driver.drop("vpc")
    driver.close()
    host.close()


if __name__ == "__main__":
    main()
