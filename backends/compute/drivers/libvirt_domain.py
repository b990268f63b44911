"""From a guest as it is wanted to libvirt's description of it: pure functions, written anew at every start.

The machine type is fixed, so that a guest finds the same hardware whatever QEMU comes next; formats are always named,
since a guest could write what looks like another one.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

from backends.compute.drivers.base import DiskBinding, GuestSpec, PortBinding
from backends.errors import Unsupported
from backends.volume.drivers.base import BURST

NAMESPACE = "urn:nephele:guest:1"
MACHINE = "pc-q35-7.2"
SLOTS = 28
"""Most root ports, each for one device. Firmware and guest look behind each at every boot, which costs 0.15 seconds of
processor time for each of them without KVM; so there are no more than a guest may come to need."""
FREE = 7
"""Root ports that are kept for cards and disks that come while the guest runs."""
OWN = 4
"""Slots that the guest's own devices take: agent channel, random numbers, screen, and one spare."""
AGENT = "org.qemu.guest_agent.0"


@dataclass(frozen=True, slots=True)
class Machine:
    """What all guests of one host have in common. `accelerator` is `kvm` or `qemu`; `console_folder` takes the logs of
    serial consoles; `maker` stands in the guest's SMBIOS, where software looks for the cloud that it runs in."""

    deployment: str
    accelerator: str
    console_folder: Path
    maker: str = "Nephele"


def domain_name(deployment: str, guest: str) -> str:
    """A name that no other deployment gives."""
    return f"{deployment}-{guest}"


def domain_uuid(deployment: str, guest: str) -> str:
    """An id of the domain that follows from the guest's, and begins with `ec2`, by which software in guests knows
    what it runs on (cloud-init's ds-identify does)."""
    digest = hashlib.sha256(f"{deployment}/{guest}".encode()).hexdigest()
    return f"ec2{digest[:5]}-{digest[5:9]}-4{digest[9:12]}-a{digest[12:15]}-{digest[15:27]}"


def alias(id: str) -> str:
    """The name of a device within the domain; libvirt wants those that it did not choose to begin with `ua-`."""
    return f"ua-{id}"


def console_log(machine: Machine, guest: str) -> Path:
    """Where the guest's serial console is written."""
    return machine.console_folder / f"{guest}.log"


def ordered(spec: GuestSpec) -> list[DiskBinding]:
    """The disks with the one to boot from first, then by device name."""
    disks = sorted(spec.disks, key=lambda binding: binding.device)
    first = next((one for one in disks if one.device == spec.root), disks[0] if disks else None)
    return [one for one in disks if one is first] + [one for one in disks if one is not first]


def metadata_xml(machine: Machine, spec: GuestSpec) -> str:
    """What the domain carries about itself: whose it is, which guest, which wish, and which start it was made for."""
    mark = Element("guest", deployment=machine.deployment, id=spec.id)
    mark.set("generation", str(spec.generation))
    mark.set("boot", str(spec.boot))
    return _text(mark)


def domain_xml(machine: Machine, spec: GuestSpec) -> str:
    """The whole domain. Raises `Unsupported` for what this machine cannot be."""
    if spec.architecture not in ("x86_64", "i386"):
        raise Unsupported(f"no processor of architecture {spec.architecture} here", architecture=spec.architecture)
    if spec.firmware != "bios":
        raise Unsupported(f"no firmware {spec.firmware} here", firmware=spec.firmware)
    if len(spec.disks) + len(spec.ports) + OWN > SLOTS:
        raise Unsupported(f"more than {SLOTS - OWN} disks and cards")
    root = Element("domain", type=machine.accelerator)
    _say(root, "name", domain_name(machine.deployment, spec.id))
    identity = domain_uuid(machine.deployment, spec.id)
    _say(root, "uuid", identity)
    holder = SubElement(root, "metadata")
    mark = SubElement(holder, f"{{{NAMESPACE}}}guest", deployment=machine.deployment, id=spec.id)
    mark.set("generation", str(spec.generation))
    mark.set("boot", str(spec.boot))
    _say(root, "memory", str(spec.memory), unit="MiB")
    _say(root, "vcpu", str(spec.vcpus))
    os = SubElement(root, "os")
    _say(os, "type", "hvm", arch="x86_64", machine=MACHINE)
    SubElement(os, "smbios", mode="sysinfo")
    _sysinfo(root, machine, spec, identity)
    features = SubElement(root, "features")
    SubElement(features, "acpi")
    SubElement(features, "apic")
    SubElement(root, "cpu", mode="maximum" if machine.accelerator == "qemu" else "host-passthrough")
    SubElement(root, "clock", offset="utc")
    _say(root, "on_poweroff", "destroy")
    _say(root, "on_reboot", "restart")
    _say(root, "on_crash", "destroy")
    _devices(SubElement(root, "devices"), machine, spec)
    return _text(root)


def _sysinfo(root: Element, machine: Machine, spec: GuestSpec, identity: str) -> None:
    info = SubElement(root, "sysinfo", type="smbios")
    for part, entries in (
        ("bios", {"vendor": machine.maker, "version": "1.0"}),
        ("system", {"manufacturer": machine.maker, "serial": identity, "uuid": identity}),
        ("baseBoard", {"manufacturer": machine.maker, "asset": spec.id}),
        ("chassis", {"manufacturer": machine.maker, "asset": machine.maker}),
    ):
        table = SubElement(info, part)
        for name, value in entries.items():
            _say(table, "entry", value, name=name)


def _devices(devices: Element, machine: Machine, spec: GuestSpec) -> None:
    SubElement(devices, "controller", type="usb", model="none")
    SubElement(devices, "controller", type="pci", index="0", model="pcie-root")
    for number in range(1, slots(spec) + 1):
        SubElement(devices, "controller", type="pci", index=str(number), model="pcie-root-port")
    for number, binding in enumerate(ordered(spec)):
        devices.append(disk(binding, target(number), boots=number == 0))
    for port in sorted(spec.ports, key=lambda port: (port.index, port.port)):
        devices.append(card(port, up=True))
    serial = SubElement(devices, "serial", type="pty")
    SubElement(serial, "log", file=str(console_log(machine, spec.id)), append="on")
    SubElement(serial, "target", type="isa-serial", port="0")
    SubElement(SubElement(devices, "console", type="pty"), "target", type="serial", port="0")
    SubElement(SubElement(devices, "channel", type="unix"), "target", type="virtio", name=AGENT)
    rng = SubElement(devices, "rng", model="virtio")
    _say(rng, "backend", "/dev/urandom", model="random")
    SubElement(SubElement(devices, "graphics", type="vnc"), "listen", type="socket")
    SubElement(SubElement(devices, "video"), "model", type="vga", vram="4096", heads="1")
    SubElement(devices, "panic", model="isa")
    SubElement(devices, "memballoon", model="none")


def slots(spec: GuestSpec) -> int:
    """How many root ports a guest is started with."""
    return min(SLOTS, OWN + len(spec.disks) + len(spec.ports) + FREE)


def target(number: int) -> str:
    """The name of the disk with that number towards libvirt: vda … vdz, vdaa …; guests choose their own."""
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(97 + rest) + letters
    return f"vd{letters}"


def disk(binding: DiskBinding, name: str, *, boots: bool = False) -> Element:
    """A disk that the guest knows by its serial number."""
    element = Element("disk", type="file", device="disk")
    SubElement(
        element,
        "driver",
        name="qemu",
        type=binding.access.format,
        discard="unmap",
        detect_zeroes="unmap",
        error_policy="enospace",
    )
    SubElement(element, "source", file=binding.access.path)
    SubElement(element, "target", dev=name, bus="virtio")
    limits = binding.limits
    if limits.iops or limits.throughput:
        tune = SubElement(element, "iotune")
        if limits.throughput:
            _say(tune, "total_bytes_sec", str(limits.throughput << 20))
        if limits.iops:
            _say(tune, "total_iops_sec", str(limits.iops))
        if limits.iops and limits.burst:
            _say(tune, "total_iops_sec_max", str(limits.burst))
            _say(tune, "total_iops_sec_max_length", str(BURST))
    _say(element, "serial", binding.access.serial)
    SubElement(element, "alias", name=alias(binding.disk))
    if boots:
        SubElement(element, "boot", order="1")
    return element


def card(port: PortBinding, *, up: bool) -> Element:
    """A network card whose link libvirt makes in its own namespace, from where it is taken into its network."""
    element = Element("interface", type="ethernet")
    SubElement(element, "mac", address=port.mac)
    SubElement(element, "target", dev=port.link)
    SubElement(element, "model", type="virtio")
    SubElement(element, "link", state="up" if up else "down")
    SubElement(element, "alias", name=alias(port.port))
    SubElement(element, "rom", enabled="no")
    return element


def _say(parent: Element, name: str, text: str, /, **attributes: str) -> None:
    SubElement(parent, name, attributes).text = text


def _text(root: Element) -> str:
    ElementTree.register_namespace("nephele", NAMESPACE)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode")


def text(element: Element) -> str:
    """A device as libvirt takes it."""
    return _text(element)
