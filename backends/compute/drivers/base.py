"""What a machine that runs guests has to do.

Every verb is idempotent and may be repeated from any point: after an error, a kill or a reboot the same call with the
same arguments finishes the work. Whatever a driver makes bears the guest's id, so that nothing has to be remembered.
No verb waits for a guest: what takes long is begun, answered with False, and asked for again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from backends.volume.drivers.base import DiskAccess, Limits

CONSOLE_KEPT = 65536
"""Bytes of a guest's serial console that are shown."""

Adopt = Callable[[str, str], None]
"""Takes a link that was just made into its network: `NetworkDriver.adopt(network, port)`."""


class Power(StrEnum):
    """What a guest is found to be."""

    ON = "on"
    OFF = "off"
    ASLEEP = "asleep"
    """Off, with its memory kept: the next start goes on from there."""
    HALTED = "halted"
    """Off, because it shut itself down."""
    CRASHED = "crashed"
    """Off, because it, or what runs it, broke down."""
    HELD = "held"
    """On, and its processors are held: it was not let go yet."""
    STUCK = "stuck"
    """On, and held since a disk could not be written: there is no room. It can be let go on, and tries again then."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """A guest as it was found; `reason` says in words what is wrong, "" when nothing is; `disks` are those, by id, that
    it could not write to."""

    power: Power
    reason: str = ""
    disks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a driver can do beyond starting and stopping guests. A verb that it cannot do raises `Unsupported`."""

    runs: bool = False
    """Guests are really there: whether they are well is found out, and not taken for granted."""
    hibernates: bool = False
    plugs_disks: bool = False
    """Disks come and go while the guest runs."""
    plugs_ports: bool = False
    """Ports come and go while the guest runs."""
    console: bool = False
    """The serial console can be read and written live."""
    screenshots: bool = False
    counts: bool = False
    """What a guest used can be told."""


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a machine has for guests: virtual processors, memory in MiB. None: no bound.

    `overhead`: MiB that a guest takes beside its own memory.
    """

    vcpus: int | None
    memory: int | None
    overhead: int = 0


@dataclass(frozen=True, slots=True)
class DiskBinding:
    """A disk in a guest: under which device name, how it is opened, and how fast it may be used."""

    disk: str
    device: str
    access: DiskAccess
    limits: Limits = Limits()


@dataclass(frozen=True, slots=True)
class PortBinding:
    """A network port in a guest; `index` is the order of the cards, `link` the name of its end on the host."""

    port: str
    mac: str
    index: int
    network: str = ""
    link: str = ""


@dataclass(frozen=True, slots=True)
class GuestSpec:
    """A guest as it is wanted. `memory` in MiB. A guest that runs with a smaller `boot` is started anew.

    `root` is the device name of the disk that it boots from (None: the first one), `firmware` `bios` or `uefi`.
    """

    id: str
    vcpus: int
    memory: int
    architecture: str
    boot: int
    disks: tuple[DiskBinding, ...]
    ports: tuple[PortBinding, ...]
    root: str | None = None
    firmware: str = "bios"
    generation: int = 0


@dataclass(frozen=True, slots=True)
class DiskCounters:
    """What a guest did with a disk since it was started."""

    bytes_read: int = 0
    bytes_written: int = 0
    reads: int = 0
    writes: int = 0


@dataclass(frozen=True, slots=True)
class GuestCounters:
    """What a guest used since it was started: processor seconds, MiB of the host's memory, disks by id."""

    processor: float = 0.0
    memory: int = 0
    disks: Mapping[str, DiskCounters] = field(default_factory=dict)


class ConsoleStream(Protocol):
    """A guest's serial console, held open. One holder at a time: who opens it takes it from the one before."""

    def read(self, timeout: float) -> bytes | None:
        """What the guest wrote; b"" when nothing came within `timeout` seconds, None when the console is closed."""

    def write(self, data: bytes) -> None:
        """Type something. Raises `DriverError` when the console is closed."""

    def close(self) -> None:
        """Let go of it; closing twice is no error."""


class GuestDriver(Protocol):
    """Runs guests on one machine. All verbs may be called from any thread; each ends within a bounded time.

    Every verb may raise `Unavailable`: the machinery is away for now (a daemon was killed, a network is not made yet).
    Nothing has changed then, or a part of what was asked for; calling again later goes on.
    """

    capabilities: Capabilities

    def capacity(self) -> Capacity:
        """What this machine has for guests, in all."""

    def ensure_running(self, spec: GuestSpec) -> bool:
        """True: the guest runs with exactly these disks and ports, and was started for `spec.boot` or later. False: it
        is on the way there (a running guest was asked to start anew); ask again.

        A guest that sleeps goes on where it was. After failure it is off, or runs as it did before. Raises `Exhausted`
        when the machine has no room, `Unsupported` when it cannot run such a guest, `Busy` when it holds on to a device
        that is to go, `DriverError` for anything else.
        """

    def ensure_stopped(self, guest: str, *, force: bool) -> bool:
        """True: the guest is off, or was never there. False: it was asked to shut down and has not yet; ask again.

        `force` does not ask it first. A guest that does not follow within a bounded time is switched off. Raises
        `DriverError`.
        """

    def ensure_asleep(self, guest: str) -> bool:
        """True: the guest is off and its memory is kept. False: that is under way; ask again.

        A guest that was off already stays off. Raises `Unsupported`, `Exhausted`, `DriverError`; it runs then.
        """

    def drop(self, guest: str) -> None:
        """After success nothing is left of the guest; its disks and ports are untouched. Raises `DriverError`."""

    def plug(self, guest: str, binding: DiskBinding) -> None:
        """After success the running guest has the disk; after failure it has not. Raises `DriverError`."""

    def unplug(self, guest: str, disk: str) -> None:
        """After success the guest has not got the disk, or is not there. After failure it has. Raises `Busy` while it
        does not let go of it, `DriverError` for anything else."""

    def plug_port(self, guest: str, binding: PortBinding) -> None:
        """After success the running guest has the port, in its network; after failure it has not. Raises `Unsupported`,
        `DriverError`."""

    def unplug_port(self, guest: str, port: str) -> None:
        """After success the guest has not got the port, or is not there. Raises as `unplug`, and `Unsupported`."""

    def console(self, guest: str) -> bytes:
        """The last 64 KiB that the guest wrote to its serial console; empty when there is nothing."""

    def open_console(self, guest: str) -> ConsoleStream:
        """The live serial console of a running guest. Raises `Unsupported`, `Missing`, `DriverError`."""

    def screenshot(self, guest: str) -> bytes:
        """The screen of a running guest as a JPEG. Raises `Unsupported`, `Missing`, `DriverError`."""

    def counters(self, guest: str) -> GuestCounters:
        """What the running guest used. Raises `Unsupported`, `Missing`, `DriverError`."""

    def answers(self, guest: str) -> bool:
        """Whether the agent inside the guest answers now. False when there is none."""

    def observe(self) -> Mapping[str, Sighting]:
        """Every guest that this driver finds on the machine and that bears its deployment's mark."""

    def watch(self, notice: Callable[[], None]) -> None:
        """Have `notice` called, from any thread, whenever something happened to a guest that nobody asked for here:
        look again then. It must return at once."""
