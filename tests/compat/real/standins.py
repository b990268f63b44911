"""Stand-ins for guests: a namespace each, with one card that has a port's name outside and its addresses inside.

Imported by what runs inside a sandbox; a test process itself stays outside.
"""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

from backends.network.drivers.base import NetworkDriver
from backends.network.drivers.linux import links, namespace
from backends.network.drivers.linux.namespace import OWN, Namespace
from backends.network.plan import NetworkPlan, PortPlan

CARD = "eth0"


class StandIn:
    """A guest's place: `space` is where it lives. It goes with `close`."""

    def __init__(self, name: str, host: Namespace, link: str, port: PortPlan, cidr: str) -> None:
        """A card for `port`, in a segment of range `cidr`; its other end is named `link`, in `host`."""
        self.port = port
        self.name = f"guest-{name}"
        namespace.remove(self.name)
        self.space = Namespace(str(namespace.make(self.name)))
        host.run(
            lambda: host.links.link(
                "add",
                ifname=link,
                kind="veth",
                peer={"ifname": CARD, "net_ns_fd": self.space.fileno(), "address": port.mac},
            )
        )
        self.space.run(lambda: self._configure(cidr))

    def _configure(self, cidr: str) -> None:
        block = ipaddress.IPv4Network(cidr)
        netlink = self.space.links
        for device in (CARD, "lo"):
            netlink.link("set", index=socket.if_nametoindex(device), state="up")
        card = socket.if_nametoindex(CARD)
        for ip in self.port.addresses:
            netlink.addr("replace", index=card, address=ip, prefixlen=block.prefixlen)
        netlink.route("replace", dst="0.0.0.0/0", gateway=str(block.network_address + 1))
        for name, value in (("rp_filter", "0"), ("accept_local", "1")):
            Path("/proc/sys/net/ipv4/conf/all", name).write_text(value)
        # Answers to floods of probes must not be held back.
        Path("/proc/sys/net/ipv4/icmp_ratelimit").write_text("0")
        Path("/proc/sys/net/ipv4/icmp_msgs_per_sec").write_text("100000")

    def close(self) -> None:
        """End it, as a guest whose power fails: its card goes, if it is there still."""
        self.space.run(lambda: links.remove(self.space.links, CARD))
        self.space.close()
        namespace.remove(self.name)


def here() -> Namespace:
    """The namespace of the calling thread."""
    return Namespace(OWN)


def populate(driver: NetworkDriver, host: Namespace, plan: NetworkPlan) -> dict[str, StandIn]:
    """A stand-in for each port of a network but those of translators, adopted; by port."""
    taken = {nat.port for nat in plan.nats}
    segments = {segment.id: segment.cidrs[0] for segment in plan.segments}
    found = {}
    for port in plan.ports:
        if port.id not in taken and port.addresses:
            name = f"{plan.id}-{port.id}"
            found[port.id] = StandIn(name, host, driver.link(port.id), port, segments[port.segment])
            driver.adopt(plan.id, port.id)
    return found
