"""Kill the driver of containers before each of its steps, and see whether a new one ends where nothing had happened.

In a sandbox:

    python -m tests.compat.real.guest_crashes FOLDER IMAGE

prints a JSON object: for each part of a container's life, how many steps it took, and what was not as it should be.
A kill is an exception that nobody catches; what the killed driver had started goes on, as after a real one.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import libvirt

from backends.compute.drivers import (
    container_console,
    container_devices,
    container_domain,
    container_process,
    container_root,
    libvirt_lxc,
)
from backends.compute.drivers.base import DiskBinding, GuestSpec, PortBinding
from backends.compute.drivers.libvirt import lxc_guests
from backends.compute.drivers.libvirt_daemon import OwnDaemon
from backends.compute.drivers.libvirt_lxc import LxcGuests
from backends.errors import DriverError
from backends.network.drivers.linux import links
from backends.volume.drivers.base import DiskAccess
from tests.compat.real.steps import Steps, insist

GUEST, MARK = "i-0123456789abcdef0", "steps"
STEPS: tuple[tuple[Any, str], ...] = (
    (container_root, "_run"),
    (container_root, "fill"),
    (container_process.Record, "write"),
    (container_process, "end"),
    (container_console, "keep"),
    (container_domain, "let_go"),
    (libvirt_lxc, "let_go"),
    (container_devices, "plug_card"),
    (container_devices, "unplug_card"),
    (LxcGuests, "adopt"),
    (links, "join"),
    (Path, "unlink"),
    (libvirt.virConnect, "defineXML"),
    *(
        (libvirt.virDomain, name)
        for name in ("create", "destroy", "undefine", "attachDeviceFlags", "detachDeviceFlags")
    ),
)
"""What changes the machine."""


class Killed(BaseException):
    """The process ends here."""


def kill(name: str) -> None:
    """End the driver before a step."""
    raise Killed(name)


class World:
    """One container's disks and cards, and drivers one after the other."""

    def __init__(self, folder: Path, image: Path) -> None:
        self.folder, self.steps = folder, Steps(STEPS, kill)
        root, data = folder / "root.raw", folder / "data.raw"
        subprocess.run(["cp", "--sparse=always", str(image), str(root)], check=True)
        with data.open("wb") as file:
            file.truncate(8 << 20)
        self.root = DiskBinding("vol-0", "/dev/xvda", DiskAccess(str(root), "raw", "vol0"))
        self.data = DiskBinding("vol-1", "/dev/sdf", DiskAccess(str(data), "raw", "vol1"))
        self.card = PortBinding("eni-1", "02:aa:00:00:00:01", 1, "vpc-1", "nsteps000001")
        self.bare = GuestSpec(GUEST, 1, 128, "x86_64", 1, (self.root,), (), "/dev/xvda", generation=1)
        self.full = replace(self.bare, disks=(self.root, self.data), ports=(self.card,))
        self.daemon = OwnDaemon(folder / "guests" / "libvirt", MARK, kvm=True, unified=False)

    def drive(self) -> LxcGuests:
        return lxc_guests(self.folder / "guests", MARK, lambda network, port: None)

    def seen(self) -> dict[str, Any]:
        """All that there is of the container on the machine."""
        driver = self.drive()
        power = driver.observe()
        driver.session.close()
        record = container_process.Record.read(self.folder / "guests" / "roots" / f"{GUEST}.json")
        first = record.first if record is not None and record.lives else 0
        cards = subprocess.run(["nsenter", "-t", str(first), "-n", "ip", "-br", "link"], capture_output=True, text=True)
        daemon = self.daemon.pid()
        place = self.folder / "guests" / "roots" / GUEST
        return {
            "power": {id: sighting.power for id, sighting in power.items()},
            "controllers": len([one for one in container_process.everything() if self._controls(one)]),
            "devices": {one: len(container_root.loops(str(self.folder / f"{one}.raw"))) for one in ("root", "data")},
            "mounted": os.path.ismount(f"/proc/{daemon}/root{place}"),
            "recorded": None if record is None else [sorted(record.disks), sorted(record.cards)],
            "cards": sorted(line.split("@")[0].split()[0] for line in cards.stdout.splitlines()) if first else [],
            "waits": bool(first) and container_domain.waits(first),
        }

    def _controls(self, pid: int) -> bool:
        words = container_process.command(pid).split("\0")
        return words[0].endswith(container_process.CONTROLLER) and f"{MARK}-{GUEST}" in words


Part = tuple[Callable[[LxcGuests], Any], Callable[[LxcGuests], Any]]


def parts(world: World) -> dict[str, Part]:
    """Parts of a life: what they begin from, and what they do."""
    gone = lambda driver: driver.drop(GUEST)  # noqa: E731
    return {
        "run": (gone, lambda driver: driver.ensure_running(world.full)),
        "attach": (
            lambda driver: driver.ensure_running(world.bare),
            lambda driver: (driver.plug(GUEST, world.data), driver.plug_port(GUEST, world.card)),
        ),
        "detach": (
            lambda driver: driver.ensure_running(world.full),
            lambda driver: (driver.unplug(GUEST, world.data.disk), driver.unplug_port(GUEST, world.card.port)),
        ),
        "stop": (
            lambda driver: driver.ensure_running(world.full),
            lambda driver: driver.ensure_stopped(GUEST, force=True),
        ),
        "drop": (lambda driver: driver.ensure_running(world.full), gone),
    }


def play(world: World, part: Part) -> dict[str, Any]:
    """Kill before each step of a part, in turn; afterwards a new driver does the part."""
    begin, work = part

    def do(verb: Callable[[LxcGuests], Any]) -> None:
        driver = world.drive()
        driver.observe()
        insist(lambda: verb(driver))
        driver.session.close()

    do(begin)
    world.steps.counted = 0
    driver = world.drive()
    insist(lambda: work(driver))
    driver.session.close()
    counted, wanted, wrong = world.steps.counted, world.seen(), []
    for number in range(1, counted + 1):
        do(begin)
        driver, world.steps.left = world.drive(), number
        name = ""
        try:
            work(driver)
        except Killed as kill:
            name = str(kill)
        except DriverError as error:
            wrong.append(f"step {number}: {error}")
        finally:
            world.steps.left = 0
            driver.session.close()
        do(work)
        found = world.seen()
        if found != wanted:
            wrong.append(f"step {number}, before {name}: {found} is not {wanted}")
        if len(wrong) > 3:
            break
    return {"steps": counted, "wrong": wrong, "end": {name: str(value) for name, value in wanted.items()}}


def main(folder: str, image: str) -> None:
    world = World(Path(folder), Path(image))
    told = {}
    try:
        for name, part in parts(world).items():
            told[name] = play(world, part)
    finally:
        world.steps.left = 0
        driver = world.drive()
        driver.drop(GUEST)
        driver.session.close()
        if pid := world.daemon.pid():
            os.kill(pid, signal.SIGTERM)
        shutil.rmtree(world.daemon.run, ignore_errors=True)
    sys.stdout.write(json.dumps(told))
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)  # threads of drivers that were killed are not waited for
