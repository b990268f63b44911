"""Translators: each one is a namespace plugged into a port of its network, as a guest would be, which sends on what it
gets in its own name. So segments, packet filters and route tables count for it as they do for guests."""

from __future__ import annotations

from pathlib import Path

from backends.network.drivers.linux import layout, links
from backends.network.drivers.linux.layout import HOP, MAC, KernelRoute, Layout
from backends.network.drivers.linux.namespace import FOLDER, Namespace, visit
from backends.network.drivers.linux.ruleset import Chain, Ruleset, whole
from backends.network.plan import PortPlan

LINK = "eth0"
IDLE = "350"
"""Seconds after which AWS's translators forget an idle connection."""


def configure(space: Namespace, address: str, step: layout.Step) -> None:
    """Make this thread's namespace a translator with that address; its link is there."""
    step("translator")
    links.prepare(space, proxy=False)
    Path("/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established").write_text(IDLE)
    links.wake(space, LINK)
    space.rules.run(whole(_rules(address)))
    wanted = Layout(
        addresses=frozenset({address}),
        routes=frozenset({KernelRoute(layout.MAIN, "0.0.0.0/0", "unicast", LINK, HOP)}),
        neighbours=frozenset({(LINK, HOP, MAC)}),
    )
    have = layout.found(space.links)
    layout.take_away(space.links, have, wanted, step)
    layout.put(space.links, have, wanted, step)
    links.mark(space, address)


def is_whole(name: str, port: PortPlan) -> bool:
    """Whether the translator of that name was configured to the end."""
    try:
        return visit(FOLDER / name, lambda space: space.reader.mark()) == port.addresses[0]
    except OSError:
        return False


def _rules(address: str) -> Ruleset:
    passing = (
        "ct state established,related accept",
        "ct state invalid drop",
        f'oifname "{LINK}" ip protocol {{ tcp, udp, icmp }} accept',
    )
    names = (
        f"ip protocol tcp snat to {address}:1024-65535",
        f"ip protocol udp snat to {address}:1024-65535",
        f"snat to {address}",
    )
    return Ruleset(
        {
            "input": Chain("type filter hook input priority 0; policy drop;", ('iifname "lo" accept',)),
            "forward": Chain("type filter hook forward priority 0; policy drop;", passing),
            "depart": Chain("type nat hook postrouting priority 100; policy accept;", names),
        }
    )
