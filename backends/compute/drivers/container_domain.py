"""From a guest as it is wanted to a container under libvirt, and its first moments: it begins with a shell that waits
until its links are in their networks, so that nothing of the guest's runs before its packets are checked."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement

from backends.compute.drivers.base import GuestSpec, PortBinding
from backends.compute.drivers.container_process import CONTROLLER, Record, command
from backends.compute.drivers.libvirt_domain import NAMESPACE, Machine, domain_name, domain_uuid, text
from backends.errors import DriverError, Unsupported

WAITING = "nephele-waits"
"""What the first process is called while it waits for its links."""
WAIT = f"trap 'exec /sbin/init' USR1; while :; do sleep 0.02; done # {WAITING}"
GOING_ON = 5.0
"""Seconds that the waiting shell gets to notice that it may go on."""


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
        SubElement(card, "guest", dev=card_of(port)[1])
    SubElement(devices, "console", type="pty")
    return text(domain)


def begun(spec: GuestSpec) -> Record:
    """What is noted of a container before it is made."""
    disks = {binding.disk: binding.access.path for binding in spec.disks}
    return Record(disks, {port.port: card_of(port) for port in spec.ports})


def card_of(port: PortBinding) -> tuple[str, str]:
    """A port's card in a container: its address and its name."""
    return port.mac, f"eth{port.index}"


def let_go(guest: str, first: int) -> None:
    """Let the waiting first process become the guest's own. Raises `DriverError` when it does not."""
    deadline = time.monotonic() + GOING_ON
    while waits(first):
        if time.monotonic() > deadline:
            raise DriverError(f"{guest} does not go on: its disk has no /sbin/init that runs")
        if WAITING in command(first):
            with contextlib.suppress(ProcessLookupError):
                os.kill(first, signal.SIGUSR1)
        time.sleep(0.01)


def waits(first: int) -> bool:
    """Whether a container's first process has not been told to go on: it waits, or is not even that far."""
    words = command(first)
    return WAITING in words or not words or words.split("\0")[0].endswith(CONTROLLER)
