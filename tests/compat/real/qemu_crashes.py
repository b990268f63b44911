"""Kill the process that drives QEMU before each of its steps, and see whether the next one ends where nothing had
happened. In a sandbox:

    python -m tests.compat.real.qemu_crashes FOLDER IMAGE

prints a JSON object: for each part of a guest's life, how many steps it took, and what was not as it should be. Each
driver is a process of its own, which kills itself (SIGKILL) before the step; libvirtd and the guests go on.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import libvirt

from backends.compute.drivers import libvirt_console, libvirt_disks
from backends.compute.drivers.base import Capacity, DiskBinding, GuestSpec, PortBinding
from backends.compute.drivers.libvirt_daemon import OwnDaemon
from backends.compute.drivers.libvirt_disks import QemuDisks
from backends.compute.drivers.libvirt_domain import Machine, domain_name
from backends.compute.drivers.libvirt_guests import LibvirtGuests
from backends.compute.drivers.libvirt_qemu import Devices, QemuGuests
from backends.compute.drivers.libvirt_session import Session
from backends.errors import DriverError
from backends.volume.drivers import qcow2_capture, qcow2_file, qcow2_folders
from backends.volume.drivers.base import DiskSpec, Limits
from backends.volume.drivers.qcow2 import Qcow2Disks
from tests.compat.real.steps import Steps, insist

MARK, BLANK, BOOTED = "steps", "i-0123456789abcdef0", "i-0123456789abcdef1"
PATIENCE = 100.0
MIB = 1 << 20
LARGE = 72
"""MiB of a disk that is copied for a while."""
FAILURES = 8
"""After as many a snapshot is given up; see `backends/volume/host.py`."""
STEPS: tuple[tuple[Any, str], ...] = (
    *((qcow2_folders, name) for name in ("begin", "prune")),
    (qcow2_file, "write"),
    *((os, name) for name in ("replace", "link", "symlink")),
    (qcow2_capture, "_write"),
    (libvirt_disks, "_wait"),
    *((libvirt_console, name) for name in ("shorten", "forget")),
    (LibvirtGuests, "adopt"),
    (libvirt.virConnect, "defineXML"),
    (libvirt.virDomainCheckpoint, "delete"),
    *((libvirt.virDomain, name) for name in ("createWithFlags", "resume", "destroy", "undefineFlags", "setMetadata")),
    *((libvirt.virDomain, name) for name in ("managedSave", "backupBegin", "blockResize", "setBlockIoTune")),
    *((libvirt.virDomain, name) for name in ("attachDeviceFlags", "updateDeviceFlags", "detachDeviceAlias")),
)
"""What changes the machine. `_wait` follows the begin of a copy."""


def kill(name: str) -> None:
    """End this process before a step."""
    os.write(2, f"killed before {name}\n".encode())
    os.kill(os.getpid(), signal.SIGKILL)


@dataclass(slots=True)
class Hand:
    """The drivers of one process."""

    steps: Steps
    guests: QemuGuests
    disks: Qcow2Disks


Verb = Callable[[Hand], Any]


class World:
    """Two guests: one whose disk is empty, and one that boots; and one process after the other that drives them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.daemon = OwnDaemon(folder / "libvirt", MARK, kvm=False)
        disks = Qcow2Disks(folder / "volumes")

        def bind(id: str, device: str) -> DiskBinding:
            return DiskBinding(id, device, disks.access(id))

        self.root, self.data, self.more = (
            bind("vol-0", "/dev/sda"),
            bind("vol-1", "/dev/sdf"),
            bind("vol-2", "/dev/sdg"),
        )
        self.cards = tuple(
            PortBinding(f"eni-{n}", f"02:aa:00:00:00:0{n}", 1, "vpc-1", f"nsteps00000{n}") for n in (1, 2)
        )
        empty = bind("vol-3", "/dev/sda")
        self.blank = GuestSpec(BLANK, 1, 64, "x86_64", 1, (empty,), self.cards[:1], "/dev/sda", generation=1)
        self.booted = GuestSpec(BOOTED, 1, 128, "x86_64", 1, (self.root, self.data), (), "/dev/sda", generation=1)

    def _hand(self) -> Hand:
        session = Session(f"qemu+unix:///system?socket={self.daemon.socket}", self.daemon)
        machine = Machine(MARK, "qemu", self.folder / "console")
        guests = QemuGuests(session, machine, lambda network, port: None, Capacity(None, None))
        return Hand(Steps(STEPS, kill), guests, Qcow2Disks(self.folder / "volumes", QemuDisks(guests)))

    def act(self, verb: Verb, *, kill_at: int = 0) -> tuple[Any, int] | None:
        """Do something in a process of its own: what it answered, and the steps it took. None: it was killed."""
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            try:
                hand = self._hand()
                hand.guests.observe()
                hand.steps.counted, hand.steps.left = 0, kill_at
                answer = (verb(hand), hand.steps.counted)
                with os.fdopen(writing, "wb") as out:
                    pickle.dump(answer, out)
                os._exit(0)
            except BaseException:  # noqa: BLE001 - whatever it is, this process ends here
                traceback.print_exc()
                os._exit(1)
        os.close(writing)
        with os.fdopen(reading, "rb") as told:
            read = told.read()
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            return None
        if status:
            raise AssertionError(f"it ended with {status}")
        found: tuple[Any, int] = pickle.loads(read)
        return found

    def seen(self, part: str, guest: str, number: int) -> dict[str, Any]:
        """All that there is of a guest, and of the disks of all, on the machine."""
        answer = self.act(lambda hand: self.look(hand, part, guest, number))
        assert answer is not None
        return dict(answer[0])

    def look(self, hand: Hand, part: str, guest: str, number: int) -> dict[str, Any]:
        """As `seen`, by one that is there already."""
        name = domain_name(MARK, guest)
        sighting = hand.guests.observe().get(guest)
        about: dict[str, Any] = {"power": None if sighting is None else str(sighting.power)}

        def look(connection: Any) -> None:
            domain = hand.guests.find(connection, guest)
            if domain is not None and domain.isActive():
                devices = Devices(domain)
                about["disks"] = sorted(devices.disks)
                about["cards"] = {
                    card: link.get("state") if (link := element.find("link")) is not None else "up"
                    for card, element in devices.cards.items()
                }
                names = {disk: place(element) for disk, element in devices.disks.items()}
                tuned = {disk: domain.blockIoTune(name) for disk, name in names.items()}
                about["limits"] = {
                    disk: [one["total_iops_sec"], one["total_iops_sec_max"]] for disk, one in tuned.items()
                }
                if "ua-vol-2" in names:
                    about["grown"] = part != "change" or domain.blockInfo(names["ua-vol-2"])[0] // MIB - LARGE == number
                about["job"] = domain.jobInfo()[0]

        hand.guests.session.run(look)
        listed = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True).stdout.splitlines()
        about["links"] = sorted(line.split()[0] for line in listed if line.startswith("nsteps"))
        about["processes"] = len([pid for pid in os.listdir("/proc") if pid.isdigit() and runs(pid, name)])
        about["saved"] = sorted(path.name for path in (self.folder / "libvirt" / "lib/qemu/save").glob(f"{name}*"))
        about["console"] = (self.folder / "console" / f"{guest}.log").exists()
        volumes = self.folder / "volumes"
        about["volumes"] = sorted(os.listdir(volumes / "disks")) + sorted(os.listdir(volumes / "snapshots"))
        about["content"] = {}
        for id in sorted(about["volumes"]):
            if id.startswith("snap-"):
                text = hand.disks.read(id, 5 * MIB, 16)
                about["content"][id] = [
                    text.startswith(f"{number}-{id[-1]}".encode()),
                    hand.disks.read(id, 64 * MIB, 16),
                ]
        about["lacking"] = [id for id in hand.disks.observe().disks if hand.disks.lacks(id)]
        return about


def place(disk: Any) -> str:
    """The name of a disk towards libvirt."""
    return str(disk.find("target").get("dev"))


def runs(pid: str, name: str) -> bool:
    try:
        return f"guest={name}," in Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return False


# --- parts of a life --------------------------------------------------------------------------------------------------


class Doing(Protocol):
    def __call__(self, hand: Hand, number: int) -> None: ...


@dataclass(frozen=True, slots=True)
class Part:
    """Of which guest, what it begins from, and what it does; both are told a number that no attempt before had."""

    guest: str
    begin: Doing
    work: Doing


def on(spec: GuestSpec) -> Doing:
    return lambda hand, number: insist(lambda: hand.guests.ensure_running(spec))


def off(hand: Hand, number: int) -> None:
    insist(lambda: hand.guests.ensure_stopped(BLANK, force=True))


def asleep(hand: Hand, number: int) -> None:
    insist(lambda: hand.guests.ensure_asleep(BLANK))


def gone(hand: Hand, number: int) -> None:
    insist(lambda: hand.guests.drop(BLANK))


def in_turn(*verbs: Doing) -> Doing:
    def do(hand: Hand, number: int) -> None:
        for verb in verbs:
            verb(hand, number)

    return do


def copy(disks: dict[str, str]) -> Doing:
    """Take snapshots; where that fails `FAILURES` times the reconciler gives up."""

    def work(hand: Hand, number: int) -> None:
        for left in reversed(range(FAILURES)):
            try:
                hand.disks.ensure_snapshots(disks)
                return
            except DriverError as error:
                os.write(2, f"{error}\n".encode())
                if not left:
                    raise

    return work


def forget(hand: Hand, number: int) -> None:
    """Snapshots of before."""
    for id in sorted(hand.disks.observe().snapshots):
        if id.startswith("snap-"):
            hand.disks.drop_snapshot(id)


def write(hand: Hand, number: int) -> None:
    """Have the booted guest write on its disks."""
    forget(hand, number)
    console = hand.guests.open_console(BOOTED)
    place = "/dev/disk/by-id/virtio-vol"
    console.write(
        f"until [ -b {place}2 ]; do sleep 0.1; done; for n in 1 2; do"
        f" printf %s-$n {number} | dd of={place}$n bs=1M seek=5 conv=notrunc,fsync; done;"
        f" echo wrote-$((41 + {number}))-\n".encode()
    )
    said, deadline = b"", time.monotonic() + PATIENCE
    while f"wrote-{41 + number}-".encode() not in said:
        assert time.monotonic() < deadline, said
        said += console.read(1.0) or b""
    console.close()


def parts(world: World) -> dict[str, Part]:
    blank, booted = on(world.blank), on(world.booted)
    full = replace(world.booted, disks=(world.root, world.data, world.more))
    carded = replace(full, ports=world.cards[1:])

    def attach(hand: Hand, number: int) -> None:
        insist(lambda: hand.guests.plug(BOOTED, world.more))
        insist(lambda: hand.guests.plug_port(BOOTED, world.cards[1]))

    def detach(hand: Hand, number: int) -> None:
        insist(lambda: hand.guests.unplug(BOOTED, world.more.disk))
        insist(lambda: hand.guests.unplug_port(BOOTED, world.cards[1].port))

    def loose(hand: Hand, number: int) -> None:
        hand.disks.limit("vol-2", Limits(None, None))

    def change(hand: Hand, number: int) -> None:
        hand.disks.ensure_disk(DiskSpec("vol-2", (LARGE + number) * MIB))
        hand.disks.limit("vol-2", Limits(100, None, burst=3000))

    def unknown(hand: Hand, number: int) -> None:
        """No copy of before is known: the next one is of everything, and takes a while."""
        for disk in ("vol-1", "vol-2"):
            (world.folder / "volumes" / "disks" / disk / qcow2_capture.LAST).unlink(missing_ok=True)

    def fresh(hand: Hand, number: int) -> None:
        forget(hand, number)
        for disk in ("vol-4", "vol-5"):
            hand.disks.drop_disk(disk)
            hand.disks.ensure_disk(DiskSpec(disk, LARGE * MIB, "large"))

    both = {"snap-1": "vol-1", "snap-2": "vol-2"}
    return {
        "run": Part(BLANK, gone, blank),
        "stop": Part(BLANK, blank, off),
        "sleep": Part(BLANK, blank, asleep),
        "wake": Part(BLANK, in_turn(blank, asleep), blank),
        "drop": Part(BLANK, blank, gone),
        "attach": Part(BOOTED, booted, attach),
        "detach": Part(BOOTED, on(carded), detach),
        "change": Part(BOOTED, in_turn(on(full), loose), change),
        "copy": Part(BOOTED, in_turn(on(full), write, unknown), copy(both)),
        "copy again": Part(BOOTED, in_turn(on(full), write), copy(both)),
        "freeze": Part(BLANK, fresh, copy({"snap-4": "vol-4", "snap-5": "vol-5"})),
    }


def play(world: World, name: str, part: Part) -> dict[str, Any]:
    """Kill before each step of a part, in turn; afterwards a new process does the part, looks, and begins anew."""
    begin, work = part.begin, part.work

    def go_on(hand: Hand, number: int) -> dict[str, Any]:
        work(hand, number)
        found = world.look(hand, name, part.guest, number)
        begin(hand, number + 1)
        return found

    world.act(partial(begin, number=1))
    whole = world.act(partial(work, number=1))
    assert whole is not None
    counted, wanted, wrong = whole[1], world.seen(name, part.guest, 1), list[str]()
    world.act(partial(begin, number=2))
    for step in range(1, counted + 1):
        number = step + 1
        killed = world.act(partial(work, number=number), kill_at=step) is None
        try:
            answer = world.act(partial(go_on, number=number))
        except AssertionError as error:
            wrong.append(f"step {step}: {error}")
            world.act(partial(begin, number=number + 1))
            continue
        assert answer is not None
        found = answer[0]
        if not killed:
            wrong.append(f"step {step} was never made")
        if found != wanted:
            differing = {key: (found.get(key), wanted.get(key)) for key in wanted if found.get(key) != wanted.get(key)}
            wrong.append(f"step {step}: {differing}")
        if len(wrong) > 3:
            break
    return {"steps": counted, "wrong": wrong, "end": {name: str(value) for name, value in wanted.items()}}


def drop(hand: Hand, guest: str) -> None:
    hand.guests.drop(guest)


def prepare(world: World, image: Path) -> None:
    """Make the disks, boot the guest, and have it see them."""

    def make(hand: Hand) -> None:
        large = world.folder / "large.raw"
        with large.open("wb") as file:
            for _ in range(LARGE):
                file.write(os.urandom(MIB))
        hand.disks.import_file("image", image, "raw")
        hand.disks.import_file("large", large, "raw")
        large.unlink()
        hand.disks.ensure_disk(DiskSpec("vol-0", 1 << 30, "image"))
        hand.disks.ensure_disk(DiskSpec("vol-1", 80 * MIB))
        hand.disks.ensure_disk(DiskSpec("vol-2", LARGE * MIB, "large"))
        hand.disks.ensure_disk(DiskSpec("vol-3", 8 * MIB))
        insist(lambda: hand.guests.ensure_running(world.booted))
        insist(lambda: b"ready at" in hand.guests.console(BOOTED))

    world.act(make)


def main(folder: str, image: str) -> None:
    world = World(Path(folder))
    told = {}
    try:
        prepare(world, Path(image))
        chosen = os.environ.get("PARTS", "").split(",")
        for name, part in parts(world).items():
            if chosen == [""] or name in chosen:
                began = time.monotonic()
                told[name] = play(world, name, part)
                line = f"{name}: {told[name]['steps']} steps, {time.monotonic() - began:.1f} s {told[name]['wrong']}"
                os.write(2, line.encode() + b"\n")
    finally:
        for guest in (BLANK, BOOTED):
            world.act(partial(drop, guest=guest))
        if pid := world.daemon.pid():
            os.kill(pid, signal.SIGTERM)
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(*sys.argv[1:])
