"""What does the work below: whether this machine can carry the drivers that the settings name, and the drivers."""

from __future__ import annotations

from typing import NamedTuple

from backends.compute.drivers.base import GuestDriver
from backends.compute.drivers.simulated import SimulatedGuests
from backends.image import qemu_img
from backends.network.drivers.base import NetworkDriver
from backends.network.drivers.simulated import SimulatedNetwork
from backends.volume.drivers.base import DiskDriver, OpenDisks
from backends.volume.drivers.sparse import SparseFiles
from gateway.settings import Settings

MAKER = "Amazon EC2"
"""What real guests find as the maker of their machine: cloud-init and others know by it where they run."""


class CannotRun(Exception):
    """The machine lacks what a driver needs; the message says what, and how to mend it."""


class Drivers(NamedTuple):
    """One driver of each kind."""

    network: NetworkDriver
    disks: DiskDriver
    guests: GuestDriver


def local_drivers(settings: Settings) -> Drivers:
    """The drivers that the settings name, none of which has touched anything yet."""
    network = _network(settings)
    guests = _guests(settings, network)
    return Drivers(network, _disks(settings, guests), guests)


def preflight(settings: Settings) -> None:
    """Raise `CannotRun` when this machine cannot carry the drivers that the settings name. Nothing is made."""
    lines = []
    if settings.network == "linux":
        from backends.network.drivers import linux

        if lacking := linux.lacks():
            lines += ["--network linux cannot carry packets here; missing:", *(f"  {what}" for what in lacking)]
    if settings.compute != "simulated":
        from backends.compute.drivers import libvirt

        if lacks := libvirt.lxc_lacks() if settings.compute == "lxc" else libvirt.lacks(settings.libvirt_uri):
            lines.append(f"--compute {settings.compute} cannot run guests here; missing:")
            lines += [f"  {one.what}: {one.remedy}" for one in lacks]
    if settings.volume == "qcow2" and not qemu_img.present():
        lines += ["--volume qcow2 cannot keep disks here; missing:", "  qemu-img: apt-get install qemu-utils"]
    if lines:
        raise CannotRun("\n".join(lines))


def worry(settings: Settings) -> tuple[str, str]:
    """What speaks against the settings on this machine, though it can carry them, and the variable that mends it; both
    empty when nothing does."""
    if settings.network != "linux":
        return "", ""
    from backends.network.drivers.linux import pools

    others = pools.overlapping(settings.mark, settings.public_pool)
    if not others:
        return "", ""
    taken = ", ".join(f"{pool} of deployment {name}" for name, pool in others)
    free = pools.free()
    return (
        f"public addresses come out of {settings.public_pool}, which overlaps {taken}: where both give out one, "
        "this machine reaches one of its two owners only",
        "" if free is None else f"NEPHELE_PUBLIC_POOL={free}",
    )


def _network(settings: Settings) -> NetworkDriver:
    if settings.network == "simulated":
        return SimulatedNetwork()
    from backends.network.drivers.linux.driver import LinuxNetwork

    return LinuxNetwork(settings.mark, settings.public_pool, outgoing=settings.outgoing)


def _guests(settings: Settings, network: NetworkDriver) -> GuestDriver:
    if settings.compute == "simulated":
        return SimulatedGuests()
    from backends.compute.drivers import libvirt

    if settings.compute == "lxc":
        folder = settings.data_dir / "guests"
        return libvirt.lxc_guests(folder, settings.mark, network.adopt, overcommit=settings.overcommit)
    return libvirt.qemu_guests(
        settings.data_dir / "guests",
        settings.mark,
        network.adopt,
        uri=settings.libvirt_uri,
        maker=MAKER,
        overcommit=settings.overcommit,
    )


def _disks(settings: Settings, guests: GuestDriver) -> DiskDriver:
    # Drivers have folders of their own: none takes the other's files for leftovers.
    open_disks: OpenDisks | None = None
    if settings.compute == "libvirt":
        from backends.compute.drivers.libvirt_disks import QemuDisks
        from backends.compute.drivers.libvirt_qemu import QemuGuests

        assert isinstance(guests, QemuGuests), "what `_guests` makes of this setting"
        open_disks = QemuDisks(guests)
    elif settings.compute == "lxc":
        from backends.compute.drivers.container_disks import LxcDisks
        from backends.compute.drivers.libvirt_lxc import LxcGuests

        assert isinstance(guests, LxcGuests), "what `_guests` makes of this setting"
        open_disks = LxcDisks(guests.records)
    if settings.volume == "sparse":
        return SparseFiles(settings.data_dir / "volumes", open_disks)
    from backends.volume.drivers.qcow2 import Qcow2Disks

    return Qcow2Disks(settings.data_dir / "volumes-qcow2", open_disks)
