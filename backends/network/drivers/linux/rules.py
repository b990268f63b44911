"""From a plan to the ruleset of its network's namespace: a pure function.

The chains, in the order in which a packet meets them:

| chain | place | what it decides |
|---|---|---|
| hear | ARP requests | whose senders the kernel may remember |
| source | before connections are tracked | who may send from which address |
| tables | before routing | the mark that says whose route table counts |
| arrive | before routing | a public address becomes a private one |
| input | to the network's own services | DHCP, metadata, resolver, and nothing else |
| transit | forwarded | who may receive what; nobody leaves without a public address |
| acl | forwarded | packet filters, forgetful, at the edge of segments |
| egress, ingress | forwarded | firewall groups; two base chains, since "accept" ends only the one that it stands in |
| depart | after routing | a private address becomes a public one |

Interfaces are matched by name, so that rules are there before their links, and what nobody planned passes nothing.
"""

from __future__ import annotations

import hashlib
import ipaddress
import re
from collections.abc import Callable, Iterable
from dataclasses import replace

from backends.network.drivers.linux.ruleset import Chain, Ruleset, Set
from backends.network.plan import EntryPlan, NetworkPlan, PortPlan, RulePlan, SegmentPlan

GATEWAY_LINK = "igw"
METADATA, RESOLVER = "169.254.169.254", "169.254.169.253"
API_PORT = 4566
"""Where guests reach the cloud that they live in, at the address of their metadata."""
QUESTIONS = 1024
OFTEN = f"limit rate over {QUESTIONS}/second burst {QUESTIONS} packets"
"""Packets a second that each link may send to the resolver and DHCP: more would wear out who answers."""
ANY = "0.0.0.0/0"
PROTOCOLS = {"tcp": "6", "udp": "17", "icmp": "1", "icmpv6": "58"}
EVERY_PORT = (0, 65535)


def compile(plan: NetworkPlan, link: Callable[[str], str], *, counted: bool = False) -> Ruleset:
    """The ruleset of a network; `link` gives names of links. With `counted`, every rule that decides counts what it
    met, under its id (`comment`)."""
    ports = [port for port in plan.ports if v4(port.addresses)]
    segments = {segment.id: segment for segment in plan.segments}
    tagged = {port.id: link(port.id) for port in ports}
    sets, chains = _sets(plan, ports, segments, tagged), _base(plan, link)
    for segment in plan.segments:
        name = spell(segment.id)
        ranges = v4(segment.cidrs)
        members = {tagged[port.id]: "" for port in ports if port.segment == segment.id}
        sets[f"s_{name}"] = Set("set", "ifname", "", members)
        near = (f"ip daddr {{ {', '.join(ranges)} }} return",) if ranges else ()
        chains[f"t_{name}"] = Chain("", (*near, f"meta mark set {table_number(segment.table)}"))
        acl = spell(segment.packet_filter)
        chains[f"so_{name}"] = Chain("", (f"oifname @s_{name} return", f"jump a_{acl}_out"))
        chains[f"si_{name}"] = Chain("", (f"iifname @s_{name} return", f"jump a_{acl}_in"))
    for filter_id in {segment.packet_filter for segment in plan.segments}:
        for egress, side in ((True, "out"), (False, "in")):
            lines = [
                line
                for entry in plan.filters[filter_id]
                if entry.egress == egress
                for line in _entry(entry, filter_id, counted)
            ]
            chains[f"a_{spell(filter_id)}_{side}"] = Chain("", (*lines, "drop"))
    used = {group for port in ports for group in port.groups}
    for group in sorted(used):
        for egress, side in ((True, "out"), (False, "in")):
            lines = [
                line
                for rule in plan.groups[group]
                if rule.egress == egress
                for line in _rule(rule, sets, counted, link)
            ]
            chains[f"g_{spell(group)}_{side}"] = Chain("", tuple(lines))
    for port in ports:
        for side in ("out", "in") if port.groups else ():
            jumps = (f"jump g_{spell(group)}_{side}" for group in port.groups)
            chains[f"p_{tagged[port.id]}_{side}"] = Chain("", (*jumps, "drop"))
    if plan.edge_table is not None:
        chains["t_edge"] = Chain("", (f"meta mark set {table_number(plan.edge_table)}",))
    return Ruleset(chains, sets)


def recompile(
    old: NetworkPlan, held: Ruleset, new: NetworkPlan, link: Callable[[str], str], *, counted: bool = False
) -> Ruleset | None:
    """The ruleset of `new`, made of the one of `old` when they differ in rules of firewall groups alone; None when
    more differs, or the sets do that such rules ask."""
    if replace(new, groups=old.groups) != old or new.groups.keys() != old.groups.keys():
        return None
    chains = dict(held.chains)
    for group, rules in new.groups.items():
        before = old.groups[group]
        if rules == before:
            continue
        if (name := f"g_{spell(group)}_in") not in chains:  # nobody is in it
            continue
        sets: dict[str, Set] = {}
        asked: dict[str, Set] = {}
        for egress, place in ((True, f"{name[:-3]}_out"), (False, name)):
            lines = [line for rule in rules if rule.egress == egress for line in _rule(rule, sets, counted, link)]
            chains[place] = Chain("", tuple(lines))
        for rule in before:
            if rule.named:
                _rule(rule, asked, counted, link)
        if not asked.keys() <= sets.keys() or any(held.sets.get(id) != wanted for id, wanted in sets.items()):
            return None
    return Ruleset(chains, held.sets)


def spell(id: str) -> str:
    """An id as nftables can name things; two ids have two spellings."""
    if re.fullmatch(r"[A-Za-z0-9]+(-[A-Za-z0-9]+)*", id):
        return id.replace("-", "_")
    return hashlib.sha256(id.encode()).hexdigest()[:16]


def table_number(table: str) -> int:
    """The kernel's number, and the mark, of a route table: the same for the same table."""
    return int.from_bytes(hashlib.sha256(table.encode()).digest()[:4], "big") & 0x3FFFFFFF | 0x40000000


def peer_link(peering: str, deployment: str) -> str:
    """The name of a peering's link, at both ends."""
    return "p" + hashlib.sha256(f"{deployment}/{peering}".encode()).hexdigest()[:12]


def v4(texts: Iterable[str]) -> tuple[str, ...]:
    """The IPv4 ones of some addresses or ranges."""
    return tuple(text for text in texts if ":" not in text)


def disjoint(texts: Iterable[str]) -> list[str]:
    """Ranges and addresses without overlaps, as interval sets want them."""
    blocks = (ipaddress.IPv4Network(text) for text in v4(texts))
    return [str(block) for block in ipaddress.collapse_addresses(blocks)]


def resolver(plan: NetworkPlan) -> str:
    """The address of the network's resolver: its first range, plus two."""
    first = ipaddress.IPv4Network(v4(plan.cidrs)[0])
    return str(first.network_address + 2)


def _sets(
    plan: NetworkPlan, ports: list[PortPlan], segments: dict[str, SegmentPlan], tagged: dict[str, str]
) -> dict[str, Set]:
    """What the base chains look up."""
    publics = {private: public for port in ports for private, public in port.publics if ":" not in private}
    if plan.gateway is None:
        publics = {}
    tables = {tagged[port.id]: f"jump t_{spell(port.segment)}" for port in ports}
    if plan.edge_table is not None:
        tables[GATEWAY_LINK] = "jump t_edge"
    grouped = [port for port in ports if port.groups]
    free = {tagged[port.id]: "" for port in ports if not port.checked}
    owned = {f"{tagged[port.id]} . {ip}": "" for port in ports for ip in v4(port.addresses)}
    found = {
        "ports": Set("set", "ifname", "", dict.fromkeys(tagged.values(), "")),
        "free": Set("set", "ifname", "", free),
        "owned": Set("set", "ifname . ipv4_addr", "", owned),
        "free_to_ask": Set("set", "ifname", "", free, "arp"),
        "asking": Set("set", "ifname . ipv4_addr", "", owned, "arp"),
        "holders": Set("set", "ipv4_addr", "", dict.fromkeys(publics, "")),
        "asked": Set("set", "ifname", "size 65536; flags dynamic; timeout 10s", {}),
        "publics": Set("map", "ipv4_addr : ipv4_addr", "", {public: private for private, public in publics.items()}),
        "privates": Set("map", "ipv4_addr : ipv4_addr", "", publics),
        "tables": Set("map", "ifname : verdict", "", tables),
        "leave": Set("map", "ifname : verdict", "", {tagged[p.id]: f"jump so_{spell(p.segment)}" for p in ports}),
        "enter": Set("map", "ifname : verdict", "", {tagged[p.id]: f"jump si_{spell(p.segment)}" for p in ports}),
        "out": Set("map", "ifname : verdict", "", {tagged[p.id]: f"goto p_{tagged[p.id]}_out" for p in grouped}),
        "in": Set("map", "ifname : verdict", "", {tagged[p.id]: f"goto p_{tagged[p.id]}_in" for p in grouped}),
    }
    for peering in plan.peerings:
        elements = dict.fromkeys(disjoint(peering.cidrs), "")
        found[f"c_{spell(peering.id)}"] = Set("set", "ipv4_addr", "flags interval", elements)
    return found


def _base(plan: NetworkPlan, link: Callable[[str], str]) -> dict[str, Chain]:
    """The chains that packets come to by themselves."""
    source, transit = [], []
    for peering in plan.peerings:
        name = link(peering.id)
        source.append(f'iifname "{name}" ip saddr @c_{spell(peering.id)} accept')
        transit.append(f'oifname "{name}" ip daddr @c_{spell(peering.id)} accept')
    known = "ct state established,related accept"
    names = ", ".join((resolver(plan), RESOLVER))
    return {
        # The kernel remembers whoever asks, in one table for the whole machine, which a guest under a thousand names
        # would fill. Who may route may have addresses that nobody planned: some of them.
        "hear": Chain(
            "type filter hook input priority 0; policy drop;",
            (
                "iifname . arp saddr ip @asking accept",
                "arp saddr ip 0.0.0.0 accept",  # remembered by nobody: is the address taken?
                "iifname @free_to_ask limit rate 10/second burst 20 packets accept",
            ),
            "arp",
        ),
        "source": Chain(
            "type filter hook prerouting priority -300; policy drop;",
            (
                'iifname "lo" accept',
                "iifname . ip saddr @owned accept",
                "iifname @free accept",
                "iifname @ports ip saddr 0.0.0.0 udp dport 67 accept",
                f'iifname "{GATEWAY_LINK}" accept',
                *source,
            ),
        ),
        "tables": Chain("type filter hook prerouting priority -150; policy accept;", ("iifname vmap @tables",)),
        "arrive": Chain(
            "type nat hook prerouting priority -100; policy accept;",
            (f'iifname "{GATEWAY_LINK}" dnat to ip daddr map @publics',),
        ),
        "input": Chain(
            "type filter hook input priority 0; policy drop;",
            (
                'iifname "lo" accept',
                "iifname != @ports drop",
                f"ip protocol udp add @asked {{ iifname {OFTEN} }} drop",
                "udp dport 67 accept",
                "iifname . ip saddr != @owned drop",  # others' answers are not to be asked for, whoever may route
                f"ip daddr {METADATA} tcp dport {{ 80, {API_PORT} }} accept",
                f"ip daddr {{ {names} }} udp dport 53 accept",
                f"ip daddr {{ {names} }} tcp dport 53 accept",
                "ct state related accept",
            ),
        ),
        "transit": Chain(
            "type filter hook forward priority -20; policy drop;",
            (
                "ip daddr 169.254.0.0/16 drop",
                "oifname . ip daddr @owned accept",
                "oifname @free accept",
                f'oifname "{GATEWAY_LINK}" ip saddr @holders accept',
                *transit,
            ),
        ),
        "acl": Chain(
            "type filter hook forward priority -10; policy accept;", ("iifname vmap @leave", "oifname vmap @enter")
        ),
        "egress": Chain(
            "type filter hook forward priority 0; policy accept;", (known, "ct state invalid drop", "iifname vmap @out")
        ),
        "ingress": Chain("type filter hook forward priority 10; policy accept;", (known, "oifname vmap @in")),
        "depart": Chain(
            "type nat hook postrouting priority 100; policy accept;",
            (f'oifname "{GATEWAY_LINK}" snat to ip saddr map @privates',),
        ),
    }


def _rule(rule: RulePlan, sets: dict[str, Set], counted: bool, link: Callable[[str], str]) -> list[str]:
    """The lines of one allowance of a firewall group: none when it is for IPv6."""
    if rule.protocol == "icmpv6":
        return []
    side = "daddr" if rule.egress else "saddr"
    if rule.links is not None:
        name = f"m_{spell(rule.named)}"
        if name not in sets:
            members = [(link(beyond), ip) for ip, beyond in zip(rule.peers, rule.links, strict=True) if ":" not in ip]
            held = {f"{beyond} . {ip}": "" for beyond, ip in members}
            sets[name] = Set("set", "ifname . ipv4_addr", "", held)
        peer = f"{'oifname' if rule.egress else 'iifname'} . ip {side} @{name}"
    elif rule.named:
        # Sets of single addresses change by the element; those of ranges only as a whole.
        flags = "flags interval" if any("/" in peer for peer in rule.peers) else ""
        elements = disjoint(rule.peers) if flags else list(v4(rule.peers))
        name = f"{'l' if flags else 'e'}_{spell(rule.named)}"
        sets.setdefault(name, Set("set", "ipv4_addr", flags, dict.fromkeys(elements, "")))
        peer = f"ip {side} @{name}"
    elif not (ranges := v4(rule.peers)):
        return []
    else:
        peer = "" if ANY in ranges else f"ip {side} {ranges[0]}"
    what = _protocol(PROTOCOLS.get(rule.protocol, rule.protocol), rule.from_port, rule.to_port)
    return [_line(peer, what, "accept", rule.id, counted)]


def _entry(entry: EntryPlan, filter_id: str, counted: bool) -> list[str]:
    """The lines of one rule of a packet filter: none when it is for IPv6."""
    if ":" in entry.cidr or entry.protocol == "58":
        return []
    peer = "" if entry.cidr == ANY else f"ip {'daddr' if entry.egress else 'saddr'} {entry.cidr}"
    if entry.protocol == "1":
        low = -1 if entry.icmp_type is None else entry.icmp_type
        high = -1 if entry.icmp_code is None else entry.icmp_code
    else:
        low, high = EVERY_PORT if entry.from_port is None or entry.to_port is None else (entry.from_port, entry.to_port)
    what = _protocol(entry.protocol, low, high)
    return [_line(peer, what, "return" if entry.allow else "drop", f"{filter_id}#{entry.number}", counted)]


def _protocol(number: str, low: int, high: int) -> str:
    """The match of a protocol with its ports, or ICMP type and code."""
    if number == "-1":
        return ""
    if number == "1":
        kind = f"icmp type {low}" if low != -1 else "ip protocol icmp"
        return kind + (f" icmp code {high}" if low != -1 and high != -1 else "")
    if number in ("6", "17"):
        name = "tcp" if number == "6" else "udp"
        if low == -1 or (low, high) == EVERY_PORT:
            return f"ip protocol {name}"
        return f"{name} dport {low}" if low == high else f"{name} dport {low}-{high}"
    return f"ip protocol {number}"


def _line(peer: str, what: str, verdict: str, id: str, counted: bool) -> str:
    count = "counter " if counted else ""
    said = f' comment "{id}"' if counted else ""
    return " ".join(filter(None, (peer, what))) + (" " if peer or what else "") + count + verdict + said
