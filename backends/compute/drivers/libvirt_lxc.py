"""Containers behind libvirt: guests that share the machine's kernel, and start in a tenth of a second.

A container begins with a shell that waits for a signal: only when its links are in their networks does it go on as its
own first process. So nothing of the guest's runs before its packets are checked.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from backends.compute.drivers import container_root
from backends.compute.drivers.base import (
    Adopt,
    Capabilities,
    Capacity,
    ConsoleStream,
    DiskBinding,
    GuestCounters,
    GuestSpec,
    PortBinding,
)
from backends.compute.drivers.libvirt_daemon import OwnDaemon
from backends.compute.drivers.libvirt_domain import NAMESPACE, Machine, domain_name, domain_uuid, ordered, text
from backends.compute.drivers.libvirt_guests import LibvirtGuests, boot_of
from backends.compute.drivers.libvirt_session import Session
from backends.errors import DriverError, Missing, Unavailable, Unsupported

WAITING = "nephele-waits"
"""What the first process is called while it waits for its links."""
WAIT = f"trap 'exec /sbin/init' USR1; while :; do sleep 0.02; done # {WAITING}"
GOING_ON = 5.0
"""Seconds that the waiting shell gets to notice that it may go on."""
POWER_OFF = {"systemd": signal.SIGRTMIN + 4}
"""The signal by which a first process shuts down, where it is not the one of busybox and sysvinit."""


def container_xml(machine: Machine, spec: GuestSpec, root: Path) -> str:
    """The whole container, with its root file system at `root`. Raises `Unsupported` for what it cannot be."""
    if spec.architecture not in ("x86_64", "i386"):
        raise Unsupported(f"no processor of architecture {spec.architecture} here", architecture=spec.architecture)
    domain = Element("domain", type="lxc")
    SubElement(domain, "name").text = domain_name(machine.deployment, spec.id)
    SubElement(domain, "uuid").text = domain_uuid(machine.deployment, spec.id)
    mark = SubElement(SubElement(domain, "metadata"), f"{{{NAMESPACE}}}guest", deployment=machine.deployment)
    for name, value in (("id", spec.id), ("generation", str(spec.generation)), ("boot", str(spec.boot))):
        mark.set(name, value)
    SubElement(domain, "memory", unit="MiB").text = str(spec.memory)
    SubElement(domain, "vcpu").text = str(spec.vcpus)
    system = SubElement(domain, "os")
    SubElement(system, "type").text = "exe"
    SubElement(system, "init").text = "/bin/sh"
    for argument in ("-c", WAIT):
        SubElement(system, "initarg").text = argument
    SubElement(SubElement(domain, "features"), "privnet")
    SubElement(domain, "on_poweroff").text = "destroy"
    SubElement(domain, "on_reboot").text = "destroy"
    devices = SubElement(domain, "devices")
    files = SubElement(devices, "filesystem", type="mount")
    SubElement(files, "source", dir=str(root))
    SubElement(files, "target", dir="/")
    for port in sorted(spec.ports, key=lambda port: (port.index, port.port)):
        card = SubElement(devices, "interface", type="ethernet")
        SubElement(card, "mac", address=port.mac)
        SubElement(card, "target", dev=port.link)
        SubElement(card, "guest", dev=f"eth{port.index}")
    SubElement(devices, "console", type="pty")
    return text(domain)


class LxcGuests(LibvirtGuests):
    """A `GuestDriver` over containers. They have one disk, a raw one, and the cards that they were started with."""

    capabilities = Capabilities(runs=True, counts=True)

    def __init__(
        self, session: Session, machine: Machine, adopt: Adopt, capacity: Capacity, daemon: OwnDaemon, folder: Path
    ) -> None:
        """`folder` takes the places where root file systems are mounted."""
        super().__init__(session, machine, adopt, capacity)
        self._daemon, self._folder = daemon, folder

    def _place(self, guest: str) -> Path:
        return self._folder / guest

    def _daemon_pid(self) -> int:
        if (pid := self._daemon.pid()) is None:
            raise Unavailable("libvirtd is not there")
        return pid

    def _ensure_running(self, connection: Any, spec: GuestSpec) -> bool:
        domain = self.find(connection, spec.id)
        if domain is not None and domain.isActive() and boot_of(domain) < spec.boot:
            if not self._ensure_stopped(connection, spec.id, False):
                return False
            domain = None
        if domain is None or not domain.isActive():
            if len(spec.disks) != 1:
                raise Unsupported("a container has one disk")
            domain = self._begin(connection, spec)
        first = _first_process(domain)
        if _waits(first):
            for port in spec.ports:
                self.adopt(port)
            deadline = time.monotonic() + GOING_ON
            while _waits(first):
                if time.monotonic() > deadline:
                    raise DriverError(f"{spec.id} does not go on: its disk has no /sbin/init that runs")
                if WAITING in _command(first):
                    os.kill(first, signal.SIGUSR1)
                time.sleep(0.01)
        return True

    def _begin(self, connection: Any, spec: GuestSpec) -> Any:
        access = ordered(spec)[0].access
        if access.format != "raw":
            raise Unsupported(f"a container's disk is raw, not {access.format} (--volume sparse)")
        place = self._place(spec.id)
        domain = connection.defineXML(container_xml(self.machine, spec, place))
        container_root.mount(self._daemon_pid(), Path(access.path), place)
        domain.create()
        return domain

    def _ensure_stopped(self, connection: Any, guest: str, force: bool) -> bool:
        domain = self.find(connection, guest)
        if domain is not None and domain.isActive() and not force:
            first = _first_process(domain)
            if not _waits(first):
                return self._ask(domain, guest, first)
        if not super()._ensure_stopped(connection, guest, True):
            return False
        container_root.unmount(self._daemon_pid(), self._place(guest))
        return True

    def _ask(self, domain: Any, guest: str, first: int) -> bool:
        """Ask the first process to shut down; switch it off when it has not in time."""
        if self.pressed(guest):
            name = Path(f"/proc/{first}/comm").read_text().strip()
            with contextlib.suppress(ProcessLookupError):
                os.kill(first, POWER_OFF.get(name, signal.SIGUSR2))
        elif self.overdue(guest):
            domain.destroy()
        return False

    def ensure_asleep(self, guest: str) -> bool:
        """See `GuestDriver`."""
        raise Unsupported("a container's memory cannot be kept")

    def _drop(self, connection: Any, guest: str) -> None:
        domain = self.find(connection, guest)
        if domain is not None:
            if domain.isActive():
                domain.destroy()
            domain.undefine()
        place = self._place(guest)
        container_root.unmount(self._daemon_pid(), place)
        with contextlib.suppress(FileNotFoundError):
            place.rmdir()

    def plug(self, guest: str, binding: DiskBinding) -> None:
        """See `GuestDriver`."""
        if self.session.run(lambda connection: _active(self.find(connection, guest))):
            raise Unsupported("a container takes no disk while it runs")
        raise DriverError(f"{guest} does not run", guest=guest)

    def unplug(self, guest: str, disk: str) -> None:
        """See `GuestDriver`."""
        if self.session.run(lambda connection: _active(self.find(connection, guest))):
            raise Unsupported("a container gives no disk back while it runs")

    def plug_port(self, guest: str, binding: PortBinding) -> None:
        """See `GuestDriver`."""
        raise Unsupported("a container takes no card while it runs")

    def unplug_port(self, guest: str, port: str) -> None:
        """See `GuestDriver`."""
        raise Unsupported("a container gives no card back while it runs")

    def open_console(self, guest: str) -> ConsoleStream:
        """See `GuestDriver`."""
        raise Unsupported("a container has no serial console")

    def screenshot(self, guest: str) -> bytes:
        """See `GuestDriver`."""
        raise Unsupported("a container has no screen")

    def counters(self, guest: str) -> GuestCounters:
        """See `GuestDriver`."""
        return self.session.run(lambda connection: self._counters(connection, guest))

    def _counters(self, connection: Any, guest: str) -> GuestCounters:
        domain = self.find(connection, guest)
        if not _active(domain):
            raise Missing(f"{guest} does not run", guest=guest)
        _, _, used, _, processor = domain.info()
        return GuestCounters(processor / 1e9, used // 1024)

    def answers(self, guest: str) -> bool:
        """See `GuestDriver`. There is no agent in containers."""
        return False


def _active(domain: Any) -> bool:
    return domain is not None and bool(domain.isActive())


def _first_process(domain: Any) -> int:
    """The first process of a running container, as the host counts: the child of what libvirt runs it with."""
    parent = domain.ID()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                    return int(entry.name)
    raise Unavailable("the container is going down at this moment")


def _waits(first: int) -> bool:
    """Whether a container's first process has not been told to go on: it waits, or is not even that far."""
    command = _command(first)
    return WAITING in command or not command or command.split("\0")[0].endswith("libvirt_lxc")


def _command(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_text(errors="replace")
    except OSError:
        return ""
