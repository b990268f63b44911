"""Disks and cards that come into containers and leave them while they run.

A disk is a block device over its file, and stands in the container under its device's name; libvirt makes the node and
lets the container use it. A card is made straight in the container's network namespace, under its final name, since
libvirt would leave it the name that it had outside.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from backends.compute.drivers import container_root
from backends.compute.drivers.base import DiskBinding, PortBinding
from backends.compute.drivers.libvirt_domain import text
from backends.errors import Busy, DriverError, Unsupported

# --- disks ------------------------------------------------------------------------------------------------------------


def disks(domain: Any) -> dict[str, Element]:
    """The disks of a running container beside its root, by their files. (libvirt keeps no alias of them.)"""
    found = {}
    for element in ElementTree.fromstring(domain.XMLDesc()).iterfind("devices/disk"):
        file = container_root.backing(_device(element))
        if file is not None:
            found[file] = element
    return found


def plug(domain: Any, binding: DiskBinding) -> None:
    """After success the container has the disk; after failure it has not. Raises `Unsupported`, `DriverError`."""
    import libvirt

    path = binding.access.path
    if path in disks(domain):
        return
    if binding.access.format != "raw":
        raise Unsupported(f"a container's disk is raw, not {binding.access.format} (--volume sparse)")
    element = Element("disk", type="block", device="disk")
    SubElement(element, "source", dev=container_root.attach(path))
    SubElement(element, "target", dev=Path(binding.device).name)
    try:
        domain.attachDeviceFlags(text(element), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError:
        container_root.detach(path)
        raise


def unplug(domain: Any, disk: str, path: str) -> None:
    """After success the container has not got the disk. Raises `Busy` while it is mounted, `DriverError`."""
    import libvirt

    element = disks(domain).get(path)
    if element is not None:
        if container_root.in_use(_device(element)):
            raise Busy(f"the guest does not let go of {disk}")
        domain.detachDeviceFlags(text(element), libvirt.VIR_DOMAIN_AFFECT_LIVE)
    container_root.detach(path)


def _device(disk: Element) -> str:
    source = disk.find("source")
    return "" if source is None else source.get("dev", "")


# --- cards ------------------------------------------------------------------------------------------------------------


def waits(port: PortBinding) -> bool:
    """Whether the port's link is there and was not taken into its network yet."""
    return any(name == port.link for _, name in socket.if_nameindex())


def plug_card(first: int, port: PortBinding) -> None:
    """Give the container with that first process a card, whose other end lies here until it is taken into its network:
    so long it has no carrier, and nothing passes. Raises `DriverError`."""
    from backends.network.drivers.linux import links, namespace

    def join(here: namespace.Namespace) -> None:
        links.remove(here.links, port.link)  # half of one that was begun, or of a container that ended
        with open(f"/proc/{first}/ns/net") as inside, contextlib.suppress(FileExistsError):
            links.join(here.links, here, port.link, inside.fileno(), f"eth{port.index}", other_mac=port.mac)

    with _told(port.port):
        namespace.visit(Path("/proc/self/ns/net"), join)


def unplug_card(first: int, port: str, mac: str, name: str) -> None:
    """After success the container has not got the card, whatever it calls it now. Raises `DriverError`."""
    from backends.network.drivers.linux import links, namespace

    def take(space: namespace.Namespace) -> None:
        there = {
            str(link.get_attr("IFLA_ADDRESS")): str(link.get_attr("IFLA_IFNAME")) for link in space.links.get_links()
        }
        links.remove(space.links, there.get(mac, name))

    with _told(port):
        namespace.visit(Path(f"/proc/{first}/ns/net"), take)


@contextlib.contextmanager
def _told(port: str) -> Iterator[None]:
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        yield
    except (OSError, NetlinkError) as error:
        raise DriverError(f"the card of {port}: {error}") from error
