"""Links between namespaces, and the settings of namespaces and links."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from backends.network.drivers.linux.layout import EEXIST, GONE, MAC, index_of
from backends.network.drivers.linux.namespace import Namespace

IPV4, IPV6 = Path("/proc/sys/net/ipv4"), Path("/proc/sys/net/ipv6")
OFF = (
    *("rp_filter", "send_redirects", "accept_redirects", "accept_source_route", "accept_local", "route_localnet"),
    *("arp_ignore", "arp_filter", "arp_accept"),
)
"""What is 0 in our namespaces: new ones inherit what the machine has."""


def present() -> frozenset[str]:
    """The names of the links in this thread's namespace."""
    return frozenset(name for _, name in socket.if_nameindex())


def prepare(space: Namespace, *, proxy: bool) -> None:
    """Let this thread's namespace route. With `proxy`, links that come answer ARP for whatever lies behind others."""
    for device in ("all", "default"):
        for name in OFF:
            (IPV4 / "conf" / device / name).write_text("0")
    (IPV4 / "conf/default/proxy_arp").write_text("1" if proxy else "0")
    with contextlib.suppress(FileNotFoundError):  # a kernel without IPv6
        for device in ("all", "default"):
            (IPV6 / "conf" / device / "disable_ipv6").write_text("1")
    (IPV4 / "ip_forward").write_text("1")
    space.links.link("set", index=1, state="up")


def wake(space: Namespace, name: str) -> None:
    """Bring a link of this thread's namespace up; it answers at once."""
    (IPV4 / "neigh" / name / "proxy_delay").write_text("0")
    space.links.link("set", index=index_of(name), state="up")


def mark(space: Namespace, text: str) -> None:
    """Write on this thread's namespace what it holds (the alias of its loopback device)."""
    space.links.link("set", index=1, IFLA_IFALIAS=text)


def remove(links: IPRoute, name: str) -> None:
    """Remove a link of this thread's namespace, and with it the other end, if there is one."""
    try:
        links.link("del", index=index_of(name))
    except NetlinkError as error:
        if error.code not in GONE:
            raise
    except OSError as error:
        if error.errno not in GONE:
            raise


def join(
    links: IPRoute, one: Namespace, name: str, other: int, other_name: str, *, mac: str = MAC, other_mac: str = MAC
) -> None:
    """Make a link from one namespace to another (a descriptor). FileExistsError when a name is taken."""
    try:
        links.link(
            "add",
            ifname=name,
            kind="veth",
            net_ns_fd=one.fileno(),
            address=mac,
            peer={"ifname": other_name, "net_ns_fd": other, "address": other_mac},
        )
    except NetlinkError as error:
        if error.code == EEXIST:
            raise FileExistsError(f"{name} or {other_name} is there") from error
        raise


def move(links: IPRoute, name: str, target: Namespace) -> None:
    """Take a link of this thread's namespace into another."""
    links.link("set", index=index_of(name), net_ns_fd=target.fileno())
