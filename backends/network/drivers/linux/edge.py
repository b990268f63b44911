"""The outside of a deployment: a namespace that all its gateways lead to, with one link to the host.

The host sees one link and a route for each public address that is in use. What guests send to the host itself is
dropped there, and what they send further, too, unless the operator lets them out.
"""

from __future__ import annotations

import hashlib
import ipaddress
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from backends.errors import DriverError
from backends.network.drivers.linux import layout, links, namespace
from backends.network.drivers.linux.layout import HOP, MAC, MAIN, KernelRoute, Layout, index_of
from backends.network.drivers.linux.namespace import Namespace
from backends.network.drivers.linux.pools import sign
from backends.network.drivers.linux.rules import GATEWAY_LINK
from backends.network.drivers.linux.ruleset import Chain, Ruleset, Set, whole

HOST_LINK = "host"
KNOWN = "ct state established,related accept"
MOST_OF_ONE = 8192
"""Connections beyond the host that one public address may have at a time: the host's table is everybody's, and its own.
Counting them costs the more the more there are, so this is done where nothing else helps."""
Outgoing = Literal["none", "masquerade", "route"]


class Edge:
    """The outside of one deployment on this host. Its methods may be called from the thread of any network."""

    def __init__(
        self, deployment: str, pool: ipaddress.IPv4Network, outgoing: Outgoing, host: Namespace, step: layout.Step
    ) -> None:
        self.name = f"nph-{deployment}"
        self._deployment, self._pool, self._outgoing, self._host, self._step = deployment, pool, outgoing, host, step
        self._link = "o" + hashlib.sha256(deployment.encode()).hexdigest()[:12]
        self._table = f"nephele_{deployment}"
        self._metric = 1000 + int(self._link[1:5], 16)
        self._space: Namespace | None = None
        self._lock = threading.RLock()
        self.sound = False
        """Whether all was found, or made, as it should be."""

    def link(self, network_id: str) -> str:
        """The name, out here, of a network's gateway link."""
        return "g" + hashlib.sha256(f"{self._deployment}/{network_id}".encode()).hexdigest()[:12]

    def open(self) -> Namespace:
        """The namespace, made and linked to the host when it is not."""
        with self._lock:
            return self._open()

    def _open(self) -> Namespace:
        path = namespace.FOLDER / self.name
        if self._space is not None and _inode(path) != self._space.inode:
            self._space.close()
            self._space = None
        if self._space is None:
            try:
                self._space = Namespace(str(path))
            except OSError:
                self._step("namespace")
                self._space = Namespace(str(namespace.make(self.name)))
            self.sound = False
        if not self.sound:
            space = self._space
            self._host.run(lambda: self._link_up(space))
            space.run(lambda: self._inside(space))
            self._host.run(self._outside)
            self.sound = True
        return self._space

    def _link_up(self, space: Namespace) -> None:
        """The link between host and edge. On the host's thread."""
        if self._link in links.present():
            if HOST_LINK in space.run(links.present):
                return
            links.remove(self._host.links, self._link)
        self._step("link")
        links.join(self._host.links, self._host, self._link, space.fileno(), HOST_LINK)

    def _inside(self, space: Namespace) -> None:
        """Everything in the edge but the ways to networks. On its own thread."""
        self._step("edge")
        links.prepare(space, proxy=False)
        links.wake(space, HOST_LINK)
        space.rules.run(whole(self._rules()))
        wanted = Layout(
            routes=frozenset({KernelRoute(MAIN, "0.0.0.0/0", "unicast", HOST_LINK, HOP)}),
            neighbours=frozenset({(HOST_LINK, HOP, MAC)}),
        )
        layout.put(space.links, Layout(), wanted, self._step)
        links.mark(space, "whole")

    def _outside(self) -> None:
        """The host's end of the link. On the host's thread."""
        self._step("host")
        host = self._host
        (links.IPV4 / "conf" / self._link / "rp_filter").write_text("0")
        (links.IPV4 / "conf" / self._link / "send_redirects").write_text("0")
        index = index_of(self._link)
        host.links.addr("replace", index=index, address=str(self._pool.network_address), prefixlen=32)
        host.links.link("set", index=index, state="up", IFLA_IFALIAS=sign(self._deployment, self._pool))
        layout.put(host.links, Layout(), Layout(neighbours=frozenset({(self._link, HOP, MAC)})), self._step)
        host.rules.run(whole(self._host_rules(), self._table))
        if self._outgoing != "none":
            (links.IPV4 / "ip_forward").write_text("1")

    def _rules(self) -> Ruleset:
        pool = f'iifname "g*" ip saddr {self._pool}'
        rules = [
            KNOWN,
            "ct state invalid drop",
            f'iifname "{HOST_LINK}" oifname "g*" accept',
            f'{pool} oifname "g*" accept',
        ]
        if self._outgoing != "none":
            rules.append(f'{pool} oifname "{HOST_LINK}" accept')
        return Ruleset(
            {
                # What goes from network to network needs no memory, which one tenant could fill for all.
                "between": Chain(
                    "type filter hook prerouting priority -300; policy accept;",
                    ('iifname "g*" fib daddr oifname "g*" notrack',),
                ),
                "input": Chain("type filter hook input priority 0; policy drop;", ()),
                "forward": Chain("type filter hook forward priority 0; policy drop;", tuple(rules)),
            }
        )

    def _host_rules(self) -> Ruleset:
        """What guests may do to the host: answer. And to others, if the operator says so."""
        ours = f'iifname "{self._link}"'
        busy = f"{ours} ip saddr {self._pool} add @busy {{ ip saddr ct count over {MOST_OF_ONE} }} drop"
        forward = [f"{ours} {KNOWN}", f"{ours} drop" if self._outgoing == "none" else busy]
        chains = {
            "input": Chain("type filter hook input priority -5; policy accept;", (f"{ours} {KNOWN}", f"{ours} drop")),
            "forward": Chain("type filter hook forward priority -5; policy accept;", tuple(forward)),
        }
        if self._outgoing == "masquerade":
            names = (f'ip saddr {self._pool} oifname != "{self._link}" masquerade',)
            chains["depart"] = Chain("type nat hook postrouting priority 100; policy accept;", names)
        return Ruleset(chains, {"busy": Set("set", "ipv4_addr", "size 65536; flags dynamic", {})})

    def attach(self, network_id: str, space: Namespace, missing: bool) -> None:
        """Link a network to the edge; `missing` says that its own end is not there."""
        name = self.link(network_id)
        with self._lock:
            edge = self.open()
            if missing:
                self._step("link")
                edge.run(lambda: links.remove(edge.links, name))
                self._host.run(lambda: links.join(self._host.links, space, GATEWAY_LINK, edge.fileno(), name))
            edge.run(lambda: self._wake(edge, name))

    def _wake(self, edge: Namespace, name: str) -> None:
        self._step("link")
        links.wake(edge, name)
        layout.put(edge.links, Layout(), Layout(neighbours=frozenset({(name, HOP, MAC)})), self._step)

    def publish(self, network_id: str, publics: frozenset[str]) -> None:
        """Let exactly these public addresses lead to a network, from the host and from other networks."""
        name = self.link(network_id)
        wanted = Layout(routes=frozenset(KernelRoute(MAIN, f"{ip}/32", "unicast", name, HOP) for ip in publics))

        def settle(edge: Namespace) -> frozenset[str]:
            have = layout.found(edge.links)
            mine = Layout(routes=frozenset(route for route in have.routes if route.device == name))
            layout.take_away(edge.links, mine, wanted, self._step)
            layout.put(edge.links, mine, wanted, self._step)
            others = {route.destination for route in have.routes if route.device not in (name, HOST_LINK)}
            return frozenset(others | {route.destination for route in wanted.routes})

        with self._lock:
            edge = self.open()
            self._advertise(edge.run(lambda: settle(edge)))

    def withdraw(self, network_id: str) -> None:
        """Forget a network; the last one takes the edge with it."""
        with self._lock:
            if not self.exists():
                return
            edge = self.open()
            self.publish(network_id, frozenset())
            edge.run(lambda: links.remove(edge.links, self.link(network_id)))
            if not any(name.startswith("g") for name in edge.run(links.present)):
                self.remove()

    def _advertise(self, destinations: frozenset[str]) -> None:
        """Let the host know exactly these ways."""
        # A metric of one's own: two deployments that lend the same address do not take each other's route away.
        via = {KernelRoute(MAIN, destination, "unicast", self._link, HOP, self._metric) for destination in destinations}

        def settle() -> None:
            host = self._host.links
            have = frozenset(route for route in layout.found(host).routes if route.device == self._link)
            layout.take_away(host, Layout(routes=have), Layout(routes=frozenset(via)), self._step)
            layout.put(host, Layout(routes=have), Layout(routes=frozenset(via)), self._step)

        self._host.run(settle)

    def exists(self) -> bool:
        """Whether the edge was ever made."""
        return (namespace.FOLDER / self.name).exists()

    def check(self, published: Mapping[str, frozenset[str]]) -> bool:
        """Whether everything out here is as it should be; if not, the next `attach` and `publish` mend it."""
        with self._lock:
            return self._check({f"{ip}/32" for ips in published.values() for ip in ips}, bool(published))

    def _check(self, wanted: set[str], needed: bool) -> bool:
        path = namespace.FOLDER / self.name
        if not needed and not path.exists():
            return True
        self.sound = self.sound and self._space is not None and _inode(path) == self._space.inode
        if not self.sound or self._space is None:
            return False
        edge = self._space
        try:
            inside = edge.run(
                lambda: (layout.found(edge.links).routes, edge.rules.run("list chain ip nephele forward"))
            )
            host = self._host.run(
                lambda: (layout.found(self._host.links).routes, self._host.rules.run(f"list table ip {self._table}"))
            )
        except DriverError:
            self.sound = False
            return False
        self.sound = {route.destination for route in inside[0] if route.device != HOST_LINK} == wanted and {
            route.destination for route in host[0] if route.device == self._link
        } == wanted
        return self.sound

    def remove(self) -> None:
        """Remove everything, on the host too."""
        if self._space is not None:
            self._space.close()
            self._space = None
        self.sound = False
        self._host.run(lambda: links.remove(self._host.links, self._link))
        self._host.run(lambda: self._host.rules.run(f"add table ip {self._table}\ndelete table ip {self._table}"))
        namespace.remove(self.name)

    def close(self) -> None:
        """End the thread; what was made stays."""
        if self._space is not None:
            self._space.close()
            self._space = None


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
