"""QEMU behind libvirt: devices that come and go, kept memory, the agent inside, console, screen and counters."""

from __future__ import annotations

import time
from functools import cached_property
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from backends.compute.drivers.base import (
    Capabilities,
    ConsoleStream,
    DiskBinding,
    DiskCounters,
    GuestCounters,
    GuestSpec,
    PortBinding,
)
from backends.compute.drivers.libvirt_agent import Agents
from backends.compute.drivers.libvirt_console import LiveConsole, take_screenshot
from backends.compute.drivers.libvirt_domain import alias, card, disk, domain_name, target, text
from backends.compute.drivers.libvirt_guests import LibvirtGuests
from backends.errors import Busy, DriverError, Lost, Missing

LETTING_GO = 1.5
"""Seconds that a guest gets to let go of a device before it is called busy; it may still do so later."""


class QemuGuests(LibvirtGuests):
    """A `GuestDriver` over QEMU."""

    capabilities = Capabilities(
        runs=True,
        hibernates=True,
        plugs_disks=True,
        plugs_ports=True,
        console=True,
        screenshots=True,
        counts=True,
    )

    @cached_property
    def agents(self) -> Agents:
        """Those who speak for the guests from inside."""
        return Agents(self.machine.console_folder)

    def mend(self, domain: Any, spec: GuestSpec) -> None:
        """See `LibvirtGuests`. A link goes with the namespace of its network, and no card can be given another."""
        cards = Devices(domain).cards
        for port in spec.ports:
            if alias(port.port) in cards:
                try:
                    self.adopt(port)
                except Lost:
                    _unplug(domain, alias(port.port))

    def sync(self, connection: Any, domain: Any, spec: GuestSpec) -> None:
        """See `LibvirtGuests`."""
        devices = Devices(domain)
        for binding in spec.disks:
            self._plug(domain, devices, binding)
        for port in spec.ports:
            self._plug_port(domain, devices, port)
        wanted = {alias(binding.disk) for binding in spec.disks} | {alias(port.port) for port in spec.ports}
        for name in sorted(devices.names() - wanted):
            _unplug(domain, name)

    def plug(self, guest: str, binding: DiskBinding) -> None:
        """See `GuestDriver`."""
        self.session.run(
            lambda connection: self._plug(domain := self.running(connection, guest), Devices(domain), binding)
        )

    def _plug(self, domain: Any, devices: Devices, binding: DiskBinding) -> None:
        import libvirt

        if alias(binding.disk) not in devices.disks:
            element = disk(binding, devices.free_target())
            domain.attachDeviceFlags(text(element), libvirt.VIR_DOMAIN_AFFECT_LIVE)
            devices.disks[alias(binding.disk)] = element

    def unplug(self, guest: str, disk: str) -> None:
        """See `GuestDriver`."""
        self.session.run(lambda connection: self._unplug(connection, guest, alias(disk)))

    def plug_port(self, guest: str, binding: PortBinding) -> None:
        """See `GuestDriver`."""
        self.session.run(
            lambda connection: self._plug_port(domain := self.running(connection, guest), Devices(domain), binding)
        )

    def _plug_port(self, domain: Any, devices: Devices, binding: PortBinding) -> None:
        """The card comes without a carrier, and gets it when its link is in the network: a guest that asks for its
        address at once is heard then."""
        import libvirt

        there = devices.cards.get(alias(binding.port))
        if there is None:
            domain.attachDeviceFlags(text(card(binding, up=False)), libvirt.VIR_DOMAIN_AFFECT_LIVE)
        elif (state := there.find("link")) is None or state.get("state") == "up":
            return
        self.adopt(binding)
        domain.updateDeviceFlags(text(card(binding, up=True)), libvirt.VIR_DOMAIN_AFFECT_LIVE)

    def unplug_port(self, guest: str, port: str) -> None:
        """See `GuestDriver`."""
        self.session.run(lambda connection: self._unplug(connection, guest, alias(port)))

    def _unplug(self, connection: Any, guest: str, name: str) -> None:
        domain = self.find(connection, guest)
        if domain is not None and domain.isActive() and name in Devices(domain).names():
            _unplug(domain, name)

    def running(self, connection: Any, guest: str) -> Any:
        """The domain of a guest that runs. Raises `Missing`."""
        domain = self.find(connection, guest)
        if domain is None or not domain.isActive():
            raise DriverError(f"{guest} does not run", guest=guest)
        return domain

    def open_console(self, guest: str) -> ConsoleStream:
        """See `GuestDriver`."""
        stream, end = self.session.keep(lambda connection: self._open_console(connection, guest))
        return LiveConsole(stream, end)

    def _open_console(self, connection: Any, guest: str) -> Any:
        import libvirt

        domain = self._live(connection, guest)
        stream = connection.newStream(libvirt.VIR_STREAM_NONBLOCK)
        domain.openConsole(None, stream, libvirt.VIR_DOMAIN_CONSOLE_FORCE)
        return stream

    def screenshot(self, guest: str) -> bytes:
        """See `GuestDriver`."""
        return self.session.run(lambda connection: take_screenshot(connection, self._live(connection, guest)))

    def _live(self, connection: Any, guest: str) -> Any:
        domain = self.find(connection, guest)
        if domain is None or not domain.isActive():
            raise Missing(f"{guest} does not run", guest=guest)
        return domain

    def counters(self, guest: str) -> GuestCounters:
        """See `GuestDriver`."""
        return self.session.run(lambda connection: self._counters(self._live(connection, guest)))

    def _counters(self, domain: Any) -> GuestCounters:
        disks = {}
        for name, element in Devices(domain).disks.items():
            reads, bytes_read, writes, bytes_written, _ = domain.blockStats(_name(element))
            disks[name.removeprefix(alias(""))] = DiskCounters(bytes_read, bytes_written, reads, writes)
        return GuestCounters(domain.info()[4] / 1e9, domain.memoryStats().get("rss", 0) // 1024, disks)

    def answers(self, guest: str) -> bool:
        """See `GuestDriver`."""
        return self.session.run(lambda connection: self._answers(self.find(connection, guest)))

    def _answers(self, domain: Any) -> bool:
        return domain is not None and self.agents.answers(domain)

    def drop(self, guest: str) -> None:
        """See `GuestDriver`."""
        super().drop(guest)
        self.agents.forget(domain_name(self.machine.deployment, guest))


class Devices:
    """Disks and cards of a running domain, by alias."""

    def __init__(self, domain: Any) -> None:
        root = ElementTree.fromstring(domain.XMLDesc())
        self.disks = _by_alias(root, "devices/disk")
        self.cards = _by_alias(root, "devices/interface")

    def names(self) -> set[str]:
        """The aliases of all."""
        return {*self.disks, *self.cards}

    def free_target(self) -> str:
        """A name that no disk has towards libvirt."""
        taken = {_name(element) for element in self.disks.values()}
        return next(name for number in range(len(taken) + 1) if (name := target(number)) not in taken)


def _by_alias(root: Element, path: str) -> dict[str, Element]:
    found = {}
    for element in root.iterfind(path):
        name = element.find("alias")
        if name is not None:
            found[name.get("name", "")] = element
    return found


def _name(element: Element) -> str:
    place = element.find("target")
    return "" if place is None else place.get("dev", "")


def target_of(domain: Any, disk: str) -> str | None:
    """The name of a disk towards libvirt; None when the domain has not got it."""
    element = Devices(domain).disks.get(alias(disk))
    return None if element is None else _name(element)


def _unplug(domain: Any, name: str) -> None:
    """Ask the guest to let go of a device. Raises `Busy` when it has not soon; it may still."""
    import libvirt

    try:
        domain.detachDeviceAlias(name, libvirt.VIR_DOMAIN_AFFECT_LIVE)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_DEVICE_MISSING:
            return
        if "in the process of unplug" not in str(error):
            raise
    deadline = time.monotonic() + LETTING_GO
    while name in Devices(domain).names():
        if time.monotonic() > deadline:
            raise Busy(f"the guest does not let go of {name.removeprefix(alias(''))}")
        time.sleep(0.03)
