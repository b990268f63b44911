"""libvirt's drivers put together for one deployment, and what they need of the machine."""

from __future__ import annotations

import importlib.util
import logging
import os
from pathlib import Path

from backends.compute.drivers import accelerator
from backends.compute.drivers.base import Adopt, Capacity
from backends.compute.drivers.libvirt_daemon import Missing, OwnDaemon, missing
from backends.compute.drivers.libvirt_domain import Machine
from backends.compute.drivers.libvirt_lxc import LxcGuests
from backends.compute.drivers.libvirt_qemu import QemuGuests
from backends.compute.drivers.libvirt_session import Session

OVERCOMMIT = 8.0
"""Virtual processors that are given out for each of the machine's."""
KEPT = 1024
"""MiB that are left to the machine itself."""
OVERHEAD = {"kvm": 96, "qemu": 250, "lxc": 8}
"""MiB that a guest takes beside its own memory: measured; without KVM the translated code is kept, too."""

_log = logging.getLogger(__name__)


def lacks(uri: str | None = None) -> list[Missing]:
    """What this machine lacks for guests under libvirt; nothing when they can run."""
    found = [] if uri is not None else missing()
    for module, package in (("libvirt", "libvirt-python"), ("PIL", "pillow")):
        if importlib.util.find_spec(module) is None:
            remedy = "make .venv/.real (needs libvirt-dev, pkg-config and gcc)"
            found.append(Missing(f"the Python package {package}", remedy))
    return found


def lxc_lacks() -> list[Missing]:
    """What this machine lacks for containers under libvirt; nothing when they can run."""
    found = [one for one in missing() if "qemu" not in one.what]
    if not any(Path(folder, "libvirt_lxc").exists() for folder in ("/usr/lib/libvirt", "/usr/libexec")):
        remedy = "apt-get install --no-install-recommends libvirt-daemon-driver-lxc"
        found.append(Missing("libvirt's driver of containers", remedy))
    if importlib.util.find_spec("libvirt") is None:
        found.append(Missing("the Python package libvirt-python", "make .venv/.real"))
    if os.geteuid() == 0 and not is_machines_root():
        remedy = "sudo make real ARGS='--compute lxc --volume sparse'"
        found.append(Missing("root of the machine, who alone mounts the disks of containers", remedy))
    return found


def is_machines_root() -> bool:
    """Whether the ids of this process are the machine's, and not those of a user namespace."""
    return Path("/proc/self/uid_map").read_text().split() == ["0", "0", "4294967295"]


def machine_capacity(overcommit: float, overhead: int) -> Capacity:
    """What this machine has for guests, of all that it has."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // (1 << 20)
    processors = len(os.sched_getaffinity(0))
    return Capacity(int(processors * overcommit), max(memory - KEPT, memory // 2), overhead)


def qemu_guests(
    folder: Path, mark: str, adopt: Adopt, *, uri: str | None = None, maker: str, overcommit: float = OVERCOMMIT
) -> QemuGuests:
    """Guests under QEMU, for the deployment `mark`, with what lasts in `folder`.

    `uri` names a libvirtd that is there; None: one of our own is started when first needed, and goes on without us.
    """
    chosen = accelerator.choose(folder)
    if uri is None:
        daemon = OwnDaemon(folder / "libvirt", mark, kvm=chosen == "kvm")
        session = Session(f"qemu+unix:///system?socket={daemon.socket}", daemon)
    else:
        session = Session(uri)
    machine = Machine(mark, chosen, folder / "console", maker)
    return QemuGuests(session, machine, adopt, machine_capacity(overcommit, OVERHEAD[chosen]))


def lxc_guests(folder: Path, mark: str, adopt: Adopt, *, overcommit: float = OVERCOMMIT) -> LxcGuests:
    """Containers, for the deployment `mark`, under a libvirtd of our own, with what lasts in `folder`."""
    daemon = OwnDaemon(folder / "libvirt", mark, kvm=True, unified=False)
    session = Session(f"lxc+unix:///system?socket={daemon.socket}", daemon)
    machine = Machine(mark, "lxc", folder / "console")
    capacity = machine_capacity(overcommit, OVERHEAD["lxc"])
    return LxcGuests(session, machine, adopt, capacity, daemon, folder / "roots")
