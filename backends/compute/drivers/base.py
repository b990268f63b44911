"""What a machine that runs guests has to do.

Every verb is idempotent and may be repeated from any point: after an error, a kill or a reboot the same call with the
same arguments finishes the work. Whatever a driver makes bears the guest's id, so that nothing has to be remembered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from backends.volume.drivers.base import DiskAccess


class Power(StrEnum):
    """What a guest is found to be."""

    ON = "on"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a machine has for guests: virtual processors, memory in MiB. None: no bound."""

    vcpus: int | None
    memory: int | None


@dataclass(frozen=True, slots=True)
class DiskBinding:
    """A disk in a guest: under which device name, and how it is opened."""

    disk: str
    device: str
    access: DiskAccess


@dataclass(frozen=True, slots=True)
class PortBinding:
    """A network port in a guest; `index` is the order of the cards."""

    port: str
    mac: str
    index: int


@dataclass(frozen=True, slots=True)
class GuestSpec:
    """A guest as it is wanted. `memory` in MiB. A guest that runs with a smaller `boot` is started anew."""

    id: str
    vcpus: int
    memory: int
    architecture: str
    boot: int
    disks: tuple[DiskBinding, ...]
    ports: tuple[PortBinding, ...]


class GuestDriver(Protocol):
    """Runs guests on one machine."""

    def capacity(self) -> Capacity:
        """What this machine has for guests, in all."""

    def ensure_running(self, spec: GuestSpec) -> None:
        """After success the guest runs with exactly these disks and ports, and was started for `spec.boot` or later.

        After failure it is off, or runs as it did before. Raises `Exhausted` when the machine has no room,
        `Unsupported` when it cannot run such a guest, `DriverError` for anything else.
        """

    def ensure_stopped(self, guest: str, *, force: bool) -> None:
        """After success the guest is off, or was never there. `force` does not ask it first. Raises `DriverError`."""

    def drop(self, guest: str) -> None:
        """After success nothing is left of the guest; its disks and ports are untouched. Raises `DriverError`."""

    def plug(self, guest: str, binding: DiskBinding) -> None:
        """After success the running guest has the disk; after failure it has not. Raises `DriverError`."""

    def unplug(self, guest: str, disk: str) -> None:
        """After success the guest has not got the disk, or is not there. After failure it has. Raises `DriverError`."""

    def console(self, guest: str) -> bytes:
        """The last 64 KiB that the guest wrote to its serial console; empty when there is nothing."""

    def observe(self) -> Mapping[str, Power]:
        """Every guest that this driver finds on the machine."""
