"""A guest of each driver there is, made without any server: what drives it, what it is made of, and what it says."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from backends.compute.drivers import container_process
from backends.compute.drivers.base import ConsoleStream, DiskBinding, GuestDriver, GuestSpec, PortBinding, Power
from backends.compute.drivers.libvirt import lacks, lxc_guests, lxc_lacks, qemu_guests
from backends.compute.drivers.libvirt_daemon import OwnDaemon
from backends.compute.drivers.libvirt_guests import LibvirtGuests
from backends.compute.drivers.libvirt_lxc import LxcGuests
from backends.compute.drivers.libvirt_qemu import QemuGuests
from backends.compute.drivers.simulated import SimulatedGuests
from backends.errors import DriverError, Unavailable
from backends.volume.drivers.base import DiskAccess, serial
from tests.sandbox import unable

PATIENCE = 120.0
"""Seconds for what a guest does: without KVM, and beside other work, it is slow."""
GUEST = "i-0123456789abcdef0"


@dataclass
class World:
    """A driver with one guest and its devices."""

    driver: GuestDriver
    spec: GuestSpec
    data: DiskBinding
    port: PortBinding
    folder: Path
    adopted: list[str]
    daemon: OwnDaemon | None = None

    @property
    def real(self) -> bool:
        return self.driver.capabilities.runs

    def run(self, spec: GuestSpec) -> None:
        """Have the guest run as `spec` says."""
        self.spec = spec
        until(lambda: patient(lambda: self.driver.ensure_running(spec)), "the guest does not run as it should")

    def process(self) -> int:
        """What runs the guest, and whose end is the guest's."""
        driver = self.driver
        if isinstance(driver, LxcGuests):
            controller: int = driver.session.run(lambda connection: driver.find(connection, GUEST).ID())
            return controller
        assert isinstance(driver, QemuGuests) and self.daemon is not None
        return int((self.daemon.run / "qemu" / f"{driver.machine.deployment}-{GUEST}.pid").read_text())

    def keepers(self) -> list[int]:
        """The processes that keep its console."""
        door = str(self.folder / "guests" / "roots" / f"{GUEST}.console")
        return [pid for pid in container_process.everything() if door in container_process.command(pid).split("\0")]

    def power(self) -> Power | None:
        return self.driver.observe()[GUEST].power if GUEST in self.driver.observe() else None

    def says(self, text: bytes, since: int = 0) -> None:
        """Wait until the console has the text, where somebody speaks there."""
        if self.driver.capabilities.console:
            driver = self.driver
            try:
                until(lambda: text in driver.console(GUEST)[since:], f"the guest never said {text!r}")
            except AssertionError as error:
                raise AssertionError(f"{error}; its console:\n{driver.console(GUEST)[-3000:].decode()}") from None

    def said(self) -> int:
        return len(self.driver.console(GUEST))

    def end(self) -> None:
        """Drop the guest, and end what was started for it."""
        driver = self.driver
        assert isinstance(driver, LibvirtGuests) and self.daemon is not None
        driver.drop(GUEST)
        driver.session.close()
        if pid := self.daemon.pid():
            os.kill(pid, signal.SIGTERM)
        shutil.rmtree(self.daemon.run, ignore_errors=True)


def patient(verb: Callable[[], bool]) -> bool:
    """A verb that is asked again while the machinery is away."""
    try:
        return verb()
    except Unavailable:
        return False


def lets_go(verb: Callable[[], None]) -> bool:
    try:
        verb()
    except DriverError:
        return False
    return True


def until(true: Callable[[], object], complaint: str) -> None:
    """Look until something holds."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, complaint
        time.sleep(0.05)


def type_(console: ConsoleStream, command: str) -> bytes:
    """Type a command at the guest's shell; what it wrote until it was done."""
    console.write(command.encode() + b"; echo DO''NE\n")
    seen, deadline = b"", time.monotonic() + PATIENCE
    while b"DONE" not in seen and time.monotonic() < deadline:
        block = console.read(1.0)
        assert block is not None, "the console was closed"
        seen += block
    assert b"DONE" in seen, seen
    return seen


def make_disk(folder: Path, id: str, device: str, base: Path | None = None) -> DiskBinding:
    path = folder / f"{id}.qcow2"
    backing = ["-b", str(base), "-F", "raw"] if base is not None else []
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, str(path), "1G"], check=True)
    return DiskBinding(id, device, DiskAccess(str(path), "qcow2", serial(id)))


SPEC = GuestSpec(GUEST, 1, 192, "x86_64", 1, (), (), "/dev/xvda", generation=1)
PORT = PortBinding("eni-1", "02:aa:00:00:00:01", 1, "vpc-1", "n0123456789ab")


@contextlib.contextmanager
def new_world(request: pytest.FixtureRequest, folder: Path) -> Iterator[World]:
    """The world of the driver that the fixture's parameter names; it ends with the block. Skips where this machine has
    not what the driver needs."""
    if request.param == "simulated":
        access = DiskAccess("/nowhere", "raw", "vol0")
        root, data = DiskBinding("vol-0", "/dev/xvda", access), DiskBinding("vol-1", "/dev/sdf", access)
        yield World(SimulatedGuests(), replace(SPEC, disks=(root,)), data, PORT, folder, [])
        return
    if missing := lxc_lacks() if request.param == "lxc" else lacks():
        unable("; ".join(f"lacks {one.what} ({one.remedy})" for one in missing))
    image = request.getfixturevalue("image")  # before the sandbox, where nothing can be downloaded
    request.getfixturevalue("sandbox")
    made = (_container if request.param == "lxc" else _machine)(folder, image)
    yield made
    made.end()


def _machine(folder: Path, image: Path) -> World:
    root = make_disk(folder, "vol-0123456789abcdef0", "/dev/xvda", image)
    data = make_disk(folder, "vol-0123456789abcdef1", "/dev/sdf")
    mark, adopted = f"t{os.getpid()}", list[str]()
    driver = qemu_guests(folder / "guests", mark, lambda network, port: adopted.append(port), maker="Amazon EC2")
    daemon = OwnDaemon(folder / "guests" / "libvirt", mark, kvm=driver.machine.accelerator == "kvm")
    return World(driver, replace(SPEC, disks=(root,)), data, PORT, folder, adopted, daemon)


def _container(folder: Path, image: Path) -> World:
    path = folder / "root.raw"
    subprocess.run(["cp", "--sparse=always", str(image), str(path)], check=True)
    root = DiskBinding("vol-0", "/dev/xvda", DiskAccess(str(path), "raw", "vol0"))
    data = DiskBinding("vol-1", "/dev/sdf", DiskAccess(str(folder / "data.raw"), "raw", "vol1"))
    with open(data.access.path, "wb") as file:
        file.truncate(64 << 20)
    mark, adopted = f"c{os.getpid()}", list[str]()
    driver = lxc_guests(folder / "guests", mark, lambda network, port: adopted.append(port))
    daemon = OwnDaemon(folder / "guests" / "libvirt", mark, kvm=True, unified=False)
    return World(driver, replace(SPEC, disks=(root,)), data, PORT, folder, adopted, daemon)
