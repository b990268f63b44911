"""What a network's namespace holds besides rules: addresses, routing rules, routes and fixed neighbours; and the steps
from one such layout to another.

Table "main" knows every port by its own addresses and drops the rest. Each route table has a kernel table that is asked
first, for packets with its mark: "local" ranges are thrown back to main, everything else leads where the plan says.
Packets between ports of one segment, and those from outside, bear no mark. No ARP is ever asked: the plan knows.
"""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from backends.network.drivers.linux.rules import GATEWAY_LINK, METADATA, RESOLVER, disjoint, resolver, table_number, v4
from backends.network.plan import NetworkPlan, RoutePlan

MAC = "02:6e:65:70:68:01"
"""The hardware address at both ends of links between namespaces, and (towards guests) of nothing else."""
HOP = "169.254.0.1"
"""Who is at the other end of such a link."""
MAIN, PREFERENCE = 254, 1000
PROTOCOL = 178
"""Marks our routes among those of a table (an unassigned number of rtnetlink(7))."""
KINDS = {"unicast": 1, "blackhole": 6, "throw": 9}
NUD_PERMANENT = 0x80
ONLINK = 4
EEXIST = errno.EEXIST
GONE = (errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.ENXIO, errno.EADDRNOTAVAIL)


@dataclass(frozen=True)
class KernelRoute:
    """One route of the kernel. `via` is the next hop, "" for what is on the link itself. Routes of one destination with
    different `metric`s stand beside each other."""

    table: int
    destination: str
    kind: str
    device: str = ""
    via: str = ""
    metric: int = 0


@dataclass(frozen=True)
class Layout:
    """All there is besides rules. `neighbours` are (device, address, hardware address)."""

    addresses: frozenset[str] = frozenset()
    marks: frozenset[int] = frozenset()
    routes: frozenset[KernelRoute] = frozenset()
    neighbours: frozenset[tuple[str, str, str]] = frozenset()


def layout(plan: NetworkPlan, link: Callable[[str], str], present: frozenset[str]) -> Layout:
    """What the namespace of `plan` is to hold while the links named `present` are there."""
    routes = {KernelRoute(MAIN, "0.0.0.0/0", "blackhole")}
    neighbours: set[tuple[str, str, str]] = set()
    hops: dict[str, tuple[str, str]] = {}
    for port in plan.ports:
        name, mine = link(port.id), v4(port.addresses)
        if name not in present or not mine:
            continue
        hops[port.id] = name, mine[0]
        routes |= {KernelRoute(MAIN, f"{ip}/32", "unicast", name) for ip in mine}
        neighbours |= {(name, ip, port.mac) for ip in mine}
    outside = [GATEWAY_LINK] if plan.gateway else []
    for name in (*outside, *(link(peering.id) for peering in plan.peerings)):
        if name in present:
            neighbours.add((name, HOP, MAC))
    for nat in plan.nats:
        if nat.port in hops:
            hops[nat.id] = hops[nat.port]
    if plan.gateway and GATEWAY_LINK in present:
        hops[plan.gateway] = GATEWAY_LINK, HOP
    for peering in plan.peerings:
        if link(peering.id) in present:
            hops[peering.id] = link(peering.id), HOP
    used = {segment.table for segment in plan.segments} | ({plan.edge_table} if plan.edge_table else set())
    for table in used:
        for way in plan.tables[table]:
            routes |= _kernel_routes(table_number(table), way, hops)
    gateways = {str(ipaddress.IPv4Network(block).network_address + 1) for s in plan.segments for block in v4(s.cidrs)}
    return Layout(
        addresses=frozenset({*gateways, METADATA, RESOLVER, resolver(plan)}),
        marks=frozenset(table_number(table) for table in used),
        routes=frozenset(routes),
        neighbours=frozenset(neighbours),
    )


def _kernel_routes(table: int, way: RoutePlan, hops: dict[str, tuple[str, str]]) -> set[KernelRoute]:
    """A route of the plan: nowhere, while its target is not there."""
    if way.kind == "local":
        return {KernelRoute(table, block, "throw") for block in v4(way.destinations)}
    device, via = hops.get(way.target, ("", ""))
    found = v4(way.destinations) if len(way.destinations) == 1 else disjoint(way.destinations)
    if way.kind == "blackhole" or not device:
        return {KernelRoute(table, block, "blackhole") for block in found}
    return {KernelRoute(table, block, "unicast", device, via) for block in found}


Step = Callable[[str], None]


def take_away(links: IPRoute, old: Layout, new: Layout, step: Step) -> None:
    """Remove what `old` has and `new` has not. What is replaced leads nowhere meanwhile."""
    kept = {(route.table, route.destination) for route in new.routes}
    for route in old.routes - new.routes:
        step("route")
        if (route.table, route.destination) in kept:
            links.route("replace", **_spec(KernelRoute(route.table, route.destination, "blackhole")))
        else:
            _absent(links.route, "del", _spec(route, resolve=False) | {"device": route.device})
    for mark in old.marks - new.marks:
        step("rule")
        _absent(links.rule, "del", _rule(mark))
    for device, ip, mac in old.neighbours - new.neighbours:
        if (device, ip) not in {one[:2] for one in new.neighbours}:
            step("neighbour")
            _absent(links.neigh, "del", {"dst": ip, "device": device, "lladdr": mac})
    for ip in old.addresses - new.addresses:
        step("address")
        _absent(links.addr, "del", {"index": 1, "address": ip, "prefixlen": 32})


def put(links: IPRoute, old: Layout, new: Layout, step: Step) -> None:
    """Add what `new` has and `old` has not."""
    for ip in sorted(new.addresses - old.addresses):
        step("address")
        # Link scope, so that errors sent to guests come from their gateway and not from the metadata service.
        scope = 253 if ip.startswith("169.254.") else 0
        links.addr("replace", index=1, address=ip, prefixlen=32, scope=scope)
    for device, ip, mac in sorted(new.neighbours - old.neighbours):
        step("neighbour")
        links.neigh("replace", dst=ip, lladdr=mac, ifindex=index_of(device), state=NUD_PERMANENT)
    for route in sorted(new.routes - old.routes, key=lambda route: (route.table, route.destination)):
        step("route")
        links.route("replace", **_spec(route))
    for mark in sorted(new.marks - old.marks):
        step("rule")
        try:
            links.rule("add", **_rule(mark))
        except NetlinkError as error:
            if error.code != EEXIST:
                raise


def found(links: IPRoute) -> Layout:
    """The layout that the namespace holds now, by asking the kernel for everything."""
    names = dict(socket.if_nameindex())
    routes = set()
    words = {number: word for word, number in KINDS.items()}
    for message in links.get_routes(family=socket.AF_INET):
        if message["proto"] != PROTOCOL:
            continue
        held = dict(message["attrs"])
        routes.add(
            KernelRoute(
                held["RTA_TABLE"],
                f"{held.get('RTA_DST', '0.0.0.0')}/{message['dst_len']}",
                words.get(message["type"], str(message["type"])),
                names.get(held.get("RTA_OIF", 0), "") if message["type"] == 1 else "",
                held.get("RTA_GATEWAY", ""),
                held.get("RTA_PRIORITY", 0),
            )
        )
    rules = [dict(message["attrs"]) for message in links.get_rules(family=socket.AF_INET)]
    neighbours = [
        message for message in links.get_neighbours(family=socket.AF_INET) if message["state"] & NUD_PERMANENT
    ]
    addresses = [dict(message["attrs"]) for message in links.get_addr(family=socket.AF_INET, index=1)]
    return Layout(
        addresses=frozenset(held["IFA_ADDRESS"] for held in addresses) - {"127.0.0.1"},
        marks=frozenset(held["FRA_FWMARK"] for held in rules if held.get("FRA_PRIORITY") == PREFERENCE),
        routes=frozenset(routes),
        neighbours=frozenset(
            (names.get(message["ifindex"], ""), held["NDA_DST"], held.get("NDA_LLADDR", ""))
            for message in neighbours
            for held in (dict(message["attrs"]),)
        ),
    )


def _spec(route: KernelRoute, *, resolve: bool = True) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "dst": route.destination,
        "table": route.table,
        "type": KINDS[route.kind],
        "proto": PROTOCOL,
        "family": socket.AF_INET,
        "scope": 253 if route.kind == "unicast" and not route.via else 0,
    }
    if route.device and resolve:
        spec["oif"] = index_of(route.device)
    if route.metric:
        spec["priority"] = route.metric
    if route.via:
        spec |= {"gateway": route.via, "flags": ONLINK}
    return spec


def index_of(device: str) -> int:
    """The number of a link of this thread's namespace. OSError (ENODEV) when there is none."""
    try:
        return socket.if_nametoindex(device)
    except OSError as error:
        raise OSError(errno.ENODEV, f"there is no link {device}") from error


def _rule(mark: int) -> dict[str, Any]:
    return {"priority": PREFERENCE, "fwmark": mark, "table": mark}


def _absent(call: Callable[..., object], command: str, spec: dict[str, Any]) -> None:
    """Run a removal; what is gone already, with its link maybe, is as good. `device` is put as the kernel wants it."""
    try:
        if device := spec.pop("device", ""):
            spec["ifindex" if "lladdr" in spec else "oif"] = index_of(device)
        call(command, **spec)
    except NetlinkError as error:
        if error.code not in GONE:
            raise
    except OSError as error:
        if error.errno not in GONE:
            raise
