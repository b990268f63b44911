"""The driver: one namespace per network, named after deployment and network, and in it everything that the plan says.

What was ensured stands in the alias of the namespace's loopback device: the plan's digest, and a digest of what the
kernel held then. As long as both hold, the next change is the difference from the former plan, in one transaction of
rules; otherwise everything is read back, and the rules are loaded whole. Order of a change: links, then what is less in
routes, then the rules at once, then what is more in routes.
"""

from __future__ import annotations

import contextlib
import ipaddress
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from pyroute2.netlink.exceptions import NetlinkError

from backends.errors import DriverError, Lost
from backends.network.drivers.base import Counters, T, link_name
from backends.network.drivers.linux import layout, links, namespace, nat, tracked, transaction
from backends.network.drivers.linux.edge import Edge, Outgoing
from backends.network.drivers.linux.layout import MAC, Layout
from backends.network.drivers.linux.namespace import Namespace
from backends.network.drivers.linux.nftables import library
from backends.network.drivers.linux.rules import GATEWAY_LINK, compile, peer_link, recompile
from backends.network.drivers.linux.ruleset import Ruleset, change, whole
from backends.network.plan import NetworkPlan, PortPlan

FAULTS = (NetlinkError, OSError)


@dataclass(frozen=True)
class Held:
    """What the driver made of a network last, and the state (`Reader.state`) in which that left the kernel: "" when
    something was in doubt."""

    plan: NetworkPlan
    rules: Ruleset
    layout: Layout
    state: str


class LinuxNetwork:
    """Networks in this machine's kernel, for one deployment of Nephele.

    `before` is told of every step that changes the machine, before it is done."""

    applies = True

    def __init__(
        self,
        deployment: str,
        pool: ipaddress.IPv4Network,
        *,
        outgoing: Outgoing = "none",
        counted: bool = False,
        before: Callable[[str], None] = lambda what: None,
    ) -> None:
        """`deployment`: up to 16 small letters and digits, the mark of all that is made. `DriverError`, with what is
        missing, on a machine that cannot."""
        if not re.fullmatch(r"[a-z0-9]{1,16}", deployment):
            raise DriverError(f"{deployment!r} is no name of a deployment: up to 16 small letters and digits")
        namespace.able()
        library()
        self._deployment, self._counted, self._step = deployment, counted, before
        self._prefix = f"nph-{deployment}-"
        self._translators = f"nph-{deployment}+"
        self._host = Namespace(namespace.OWN)
        self._edge = Edge(deployment, pool, outgoing, self._host, before)
        self._spaces: dict[str, Namespace] = {}
        self._held: dict[str, Held] = {}
        self._lock = threading.Lock()

    # --- the verbs ---------------------------------------------------------------------------------------------------

    def ensure(self, plan: NetworkPlan) -> None:
        """As promised in `drivers.base`."""
        try:
            space = self._open(plan.id, make=True)
            space.run(lambda: self._ensure(space, plan))
        except FAULTS as error:
            raise DriverError(f"network {plan.id}: {error}") from error

    def drop(self, network_id: str) -> None:
        """As promised in `drivers.base`."""
        try:
            self._held.pop(network_id, None)
            self._step("drop")
            self._edge.withdraw(network_id)
            for name in namespace.names(f"{self._translators}{network_id}+"):
                namespace.remove(name)
            name = self._prefix + network_id
            if name in namespace.names(name):
                try:
                    space = self._open(network_id)
                except DriverError:  # a name without a namespace
                    namespace.remove(name)
                    return
                space.run(lambda: self._clear(space))
                self._step("namespace")
                with self._lock:
                    self._spaces.pop(network_id, space).close()
                namespace.remove(name)
        except FAULTS as error:
            raise DriverError(f"network {network_id}: {error}") from error

    def observe(self) -> dict[str, str]:
        """As promised in `drivers.base`. What this driver does not remember counts as a part, so that it is ensured
        again (and left alone, when all is as it should be)."""
        found: dict[str, str] = {}
        for name in namespace.names(self._prefix):
            network_id = name.removeprefix(self._prefix)
            found[network_id] = self._state(network_id)
        for name in namespace.names(self._translators):
            found.setdefault(name.removeprefix(self._translators).partition("+")[0], "")
        waiting = self._host.run(links.present)
        for id, held in self._held.items():
            if id in found and not waiting.isdisjoint(self._links(held.plan)):
                found[id] = ""
        published = {id: _publics(held.plan) for id, held in self._held.items() if held.plan.gateway and id in found}
        if published and not self._edge.check(published):
            found |= dict.fromkeys(published, "")
        return found

    def link(self, port_id: str) -> str:
        """As promised in `drivers.base`."""
        return link_name(self._deployment, port_id)

    def adopt(self, network_id: str, port_id: str) -> None:
        """As promised in `drivers.base`."""
        held = self._held.get(network_id)
        port = None if held is None else next((port for port in held.plan.ports if port.id == port_id), None)
        if port is None:
            raise DriverError(f"{port_id} is not yet ensured in {network_id}")
        try:
            space = self._open(network_id)
            space.run(lambda: self._adopt(space, network_id, port))
        except FAULTS as error:
            raise DriverError(f"port {port_id}: {error}") from error

    def inside(self, network_id: str, work: Callable[[], T]) -> T:
        """As promised in `drivers.base`."""
        return self._open(network_id).run(work)

    def counters(self, network_id: str, port_id: str) -> Counters:
        """As promised in `drivers.base`."""
        space, name = self._open(network_id), self.link(port_id)
        try:
            message = space.run(lambda: space.links.link("get", ifname=name))
        except FAULTS as error:
            raise DriverError(f"{port_id} has no link in {network_id}") from error
        held = dict(dict(message[0]["attrs"])["IFLA_STATS64"])
        return Counters(held["tx_bytes"], held["rx_bytes"], held["tx_packets"], held["rx_packets"])

    def close(self) -> None:
        """End every thread; what was made stays."""
        for space in (*self._spaces.values(), self._host):
            space.close()
        self._edge.close()
        self._spaces.clear()

    # --- namespaces --------------------------------------------------------------------------------------------------

    def _open(self, network_id: str, *, make: bool = False) -> Namespace:
        """The thread in a network's namespace; a fresh one, when the namespace was replaced behind our back."""
        path = namespace.FOLDER / (self._prefix + network_id)
        with self._lock:
            held = self._spaces.get(network_id)
            try:
                inode = path.stat().st_ino
            except FileNotFoundError:
                inode = 0
            if held is not None and held.inode == inode:
                return held
            if held is not None:
                held.close()
                del self._spaces[network_id]
            try:
                self._spaces[network_id] = Namespace(str(path))
            except OSError as error:
                if not make:
                    raise DriverError(f"network {network_id} is not there") from error
                self._step("namespace")
                self._spaces[network_id] = Namespace(str(namespace.make(path.name)))
            return self._spaces[network_id]

    def _state(self, network_id: str) -> str:
        """The digest of what was ensured in full and holds still; else ""."""
        if network_id not in self._held:
            return ""
        try:
            space = self._open(network_id)
            return space.run(lambda: self._read(space))
        except (DriverError, *FAULTS):
            return ""

    def _read(self, space: Namespace) -> str:
        digest, _, state = space.reader.mark().partition(" ")
        return digest if state and state == space.reader.state() else ""

    # --- what happens on the network's own thread --------------------------------------------------------------------

    def _ensure(self, space: Namespace, plan: NetworkPlan) -> None:
        held = self._held.get(plan.id)
        waiting = self._links(plan).keys() & self._host.run(links.present)
        if held is not None and not waiting and self._change_rules(space, held, plan):
            return
        digest = self._read(space)
        before = held if held is not None and digest == held.plan.digest else None
        rules = compile(plan, self._named(plan), counted=self._counted)
        if digest == plan.digest and (plan.gateway is None or self._edge.sound) and not waiting:
            wanted = layout.layout(plan, self._named(plan), links.present())
            self._held[plan.id] = Held(plan, rules, wanted, self._state_marked(space))
            return
        self._held.pop(plan.id, None)
        self._step("mark")
        links.mark(space, "")
        if before is None:
            links.prepare(space, proxy=True)
        self._bring_links(space, plan, None if before is None else before.plan)
        for name in waiting:  # somebody made a port's link, and nobody came to have it adopted
            self._take_in(space, name)
        wanted = layout.layout(plan, self._named(plan), links.present())
        have = layout.found(space.links) if before is None or waiting else before.layout
        layout.take_away(space.links, have, wanted, self._step)
        self._step("rules")
        self._load(space, None if before is None else before.rules, rules)
        layout.put(space.links, have, wanted, self._step)
        if plan.gateway and not (before and self._edge.sound and _publics(before.plan) == _publics(plan)):
            self._edge.publish(plan.id, _publics(plan))
        elif plan.gateway is None and (before is None or before.plan.gateway):
            self._edge.withdraw(plan.id)
        if before is not None:
            stale = tracked.stale(before.plan, plan)
            if stale is not None:
                self._forget(plan, stale)
        if waiting:
            fresh = {ip for name in waiting for ip in self._links(plan)[name].addresses}
            self._forget(plan, lambda entry: not fresh.isdisjoint(entry.addresses))
        self._held[plan.id] = Held(plan, rules, wanted, self._mark(space, plan, space.reader.state()))

    def _mark(self, space: Namespace, plan: NetworkPlan, state: str) -> str:
        self._step("mark")
        links.mark(space, f"{plan.digest} {state}")
        return state

    def _state_marked(self, space: Namespace) -> str:
        return space.reader.mark().partition(" ")[2]

    def _change_rules(self, space: Namespace, held: Held, plan: NetworkPlan) -> bool:
        """The short way, for a change of nothing but rules; whether it was gone to its end.

        Nothing is read: the kernel refuses the transaction when its rules are not those of the state held. What else
        changed meanwhile shows at the next look, since it is not what the mark says. Killed after the transaction, the
        mark stands for a generation that is over, and so for nothing."""
        if not held.state or (plan.gateway is not None and not self._edge.sound):
            return False
        rules = recompile(held.plan, held.rules, plan, self._named(plan), counted=self._counted)
        steps = None if rules is None else transaction.messages(held.rules, rules)
        if rules is None or not steps:
            return False
        generation, _, surroundings = held.state.partition(" ")
        self._step("rules")
        try:
            following = space.writer.commit(steps, int(generation))
        except OSError:  # not what we think, or too much at once
            return False
        stale = tracked.stale(held.plan, plan)
        if stale is not None:
            self._forget(plan, stale)
        state = self._mark(space, plan, f"{following} {surroundings}")
        self._held[plan.id] = Held(plan, rules, held.layout, state)
        return True

    def _load(self, space: Namespace, old: Ruleset | None, new: Ruleset) -> None:
        if old is not None:
            try:
                if text := change(old, new):
                    space.rules.run(text)
                return
            except DriverError:
                pass  # the table is not what we think: load it whole
        space.rules.run(whole(new))

    def _bring_links(self, space: Namespace, plan: NetworkPlan, before: NetworkPlan | None) -> None:
        """Links to the outside, to peers and translators, and none that nobody wants."""
        named = self._named(plan)
        wanted = {named(port.id) for port in plan.ports} | {named(peering.id) for peering in plan.peerings}
        wanted |= {"lo"} | ({GATEWAY_LINK} if plan.gateway else set())
        there = links.present()
        for name in sorted(there - wanted):
            self._step("link")
            links.remove(space.links, name)
        if plan.gateway and (GATEWAY_LINK not in there or before is None or not self._edge.sound):
            self._edge.attach(plan.id, space, GATEWAY_LINK not in there)
            links.wake(space, GATEWAY_LINK)
        for peering in plan.peerings:
            name = named(peering.id)
            if name not in there:
                self._join_peer(space, name, peering.network)
            links.wake(space, name)
        self._bring_translators(space, plan, there, before is None)
        for port in plan.ports:
            if before is None and named(port.id) in there:
                with contextlib.suppress(FileNotFoundError):  # its guest ended just now
                    links.wake(space, named(port.id))

    def _join_peer(self, space: Namespace, name: str, other: str) -> None:
        """A link to another network's namespace, which is made when it is not there: its own plan fills it."""
        path = namespace.FOLDER / (self._prefix + other)
        if not path.exists():
            self._step("namespace")
            namespace.make(path.name)
        self._step("link")

        def join(there: Namespace) -> None:
            links.remove(there.links, name)
            self._host.run(lambda: links.join(self._host.links, space, name, there.fileno(), name))

        namespace.visit(path, join)

    def _bring_translators(self, space: Namespace, plan: NetworkPlan, there: frozenset[str], doubt: bool) -> None:
        prefix = f"{self._translators}{plan.id}+"
        ports = {port.id: port for port in plan.ports}
        wanted = {prefix + one.id: ports[one.port] for one in plan.nats if one.port in ports}
        known = namespace.names(prefix)
        for name in known:
            if name not in wanted:
                self._step("namespace")
                namespace.remove(name)
        for name, port in wanted.items():
            if name not in known or self.link(port.id) not in there or (doubt and not nat.is_whole(name, port)):
                self._bring_translator(space, name, port)

    def _bring_translator(self, space: Namespace, name: str, port: PortPlan) -> None:
        link = self.link(port.id)
        self._step("namespace")
        links.remove(space.links, link)
        namespace.remove(name)
        path = namespace.make(name)

        def fill(there: Namespace) -> None:
            self._step("link")
            self._host.run(
                lambda: links.join(self._host.links, space, link, there.fileno(), nat.LINK, mac=MAC, other_mac=port.mac)
            )
            nat.configure(there, port.addresses[0], self._step)

        namespace.visit(path, fill)
        links.wake(space, link)

    def _adopt(self, space: Namespace, network_id: str, port: PortPlan) -> None:
        held = self._held.get(network_id)
        if held is None:
            raise DriverError(f"{network_id} is not ensured")
        name = self.link(port.id)
        sound = self._read(space) == held.plan.digest
        if self._host.run(lambda: name in links.present()):
            self._take_in(space, name)
        elif name not in links.present():
            raise Lost(f"there is no link {name} for {port.id}")
        else:
            links.wake(space, name)
        wanted = layout.layout(held.plan, self._named(held.plan), links.present())
        # The kernel forgot what led over a former link of that name.
        lost = {route for route in held.layout.routes if route.device == name}
        have = replace(
            held.layout,
            routes=held.layout.routes - lost,
            neighbours=frozenset(one for one in held.layout.neighbours if one[0] != name),
        )
        layout.take_away(space.links, have, wanted, self._step)
        layout.put(space.links, have, wanted, self._step)
        mine = set(port.addresses)
        self._forget(held.plan, lambda entry: not mine.isdisjoint(entry.addresses))
        self._held[network_id] = replace(held, layout=wanted, state="")
        if sound:
            state = self._mark(space, held.plan, space.reader.state())
            self._held[network_id] = replace(held, layout=wanted, state=state)

    def _take_in(self, space: Namespace, name: str) -> None:
        """Bring a port's link from the host into its network, in the place of one that a former guest left."""
        self._step("move")
        links.remove(space.links, name)
        self._host.run(lambda: links.move(self._host.links, name, space))
        links.wake(space, name)

    def _forget(self, plan: NetworkPlan, stale: tracked.Pick) -> None:
        """Forget connections, here (on this thread) and, soon, in the networks that are linked with this one."""
        self._step("connections")
        self._spaces[plan.id].reader.forget(stale)
        for peering in plan.peerings:
            other = self._spaces.get(peering.network)
            if other is not None:
                other.submit(partial(_forget_in, other, stale))

    def _clear(self, space: Namespace) -> None:
        """Leave nothing in a namespace, since a socket may keep it alive."""
        for name in sorted(links.present() - {"lo"}):
            self._step("link")
            links.remove(space.links, name)
        space.rules.run("flush ruleset")

    def _links(self, plan: NetworkPlan) -> dict[str, PortPlan]:
        """The ports of a plan by the names of their links."""
        return {self.link(port.id): port for port in plan.ports}

    def _named(self, plan: NetworkPlan) -> Callable[[str], str]:
        """What links of that network are named."""
        peerings = {peering.id for peering in plan.peerings}
        return lambda id: peer_link(id, self._deployment) if id in peerings else self.link(id)


def _forget_in(space: Namespace, stale: tracked.Pick) -> None:
    space.reader.forget(stale)


def _publics(plan: NetworkPlan) -> frozenset[str]:
    """The public addresses that lead to a network."""
    if plan.gateway is None:
        return frozenset()
    return frozenset(public for port in plan.ports for private, public in port.publics if ":" not in private)
