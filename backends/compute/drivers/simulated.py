"""Guests that are states and nothing else: no processor runs. The reference of the driver's contract."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace

from backends.compute.drivers.base import (
    CONSOLE_KEPT,
    Capabilities,
    Capacity,
    ConsoleStream,
    DiskBinding,
    GuestCounters,
    GuestSpec,
    PortBinding,
    Power,
    Sighting,
)
from backends.errors import DriverError, Unsupported


class SimulatedGuests:
    """A `GuestDriver` that keeps what it was told, in memory. Without a capacity it has no bound."""

    capabilities = Capabilities(hibernates=True, plugs_disks=True, plugs_ports=True)

    def __init__(self, capacity: Capacity | None = None) -> None:
        self._capacity = capacity or Capacity(None, None)
        self._guests: dict[str, GuestSpec] = {}
        self._power: dict[str, Power] = {}
        self._console: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def capacity(self) -> Capacity:
        """See `GuestDriver`."""
        return self._capacity

    def ensure_running(self, spec: GuestSpec) -> bool:
        """See `GuestDriver`."""
        with self._lock:
            known = self._guests.get(spec.id)
            if self._power.get(spec.id) != Power.ON or known is None or known.boot < spec.boot:
                how = "wakes" if self._power.get(spec.id) == Power.ASLEEP else f"boot {spec.boot}"
                line = f"[nephele] {spec.id}: {how}, simulated: no processor runs\r\n"
                self._console[spec.id] = (self._console.get(spec.id, b"") + line.encode())[-CONSOLE_KEPT:]
            self._guests[spec.id] = spec
            self._power[spec.id] = Power.ON
            return True

    def ensure_stopped(self, guest: str, *, force: bool) -> bool:
        """See `GuestDriver`."""
        with self._lock:
            if guest in self._guests:
                self._power[guest] = Power.OFF
            return True

    def ensure_asleep(self, guest: str) -> bool:
        """See `GuestDriver`."""
        with self._lock:
            if self._power.get(guest) == Power.ON:
                self._power[guest] = Power.ASLEEP
            return True

    def drop(self, guest: str) -> None:
        """See `GuestDriver`."""
        with self._lock:
            for kept in (self._guests, self._power, self._console):
                kept.pop(guest, None)

    def plug(self, guest: str, binding: DiskBinding) -> None:
        """See `GuestDriver`."""
        with self._lock:
            spec = self._running(guest)
            others = tuple(disk for disk in spec.disks if disk.disk != binding.disk)
            self._guests[guest] = replace(spec, disks=(*others, binding))

    def unplug(self, guest: str, disk: str) -> None:
        """See `GuestDriver`."""
        with self._lock:
            spec = self._guests.get(guest)
            if spec is not None:
                self._guests[guest] = replace(spec, disks=tuple(one for one in spec.disks if one.disk != disk))

    def plug_port(self, guest: str, binding: PortBinding) -> None:
        """See `GuestDriver`."""
        with self._lock:
            spec = self._running(guest)
            others = tuple(port for port in spec.ports if port.port != binding.port)
            self._guests[guest] = replace(spec, ports=(*others, binding))

    def unplug_port(self, guest: str, port: str) -> None:
        """See `GuestDriver`."""
        with self._lock:
            spec = self._guests.get(guest)
            if spec is not None:
                self._guests[guest] = replace(spec, ports=tuple(one for one in spec.ports if one.port != port))

    def console(self, guest: str) -> bytes:
        """See `GuestDriver`."""
        with self._lock:
            return self._console.get(guest, b"")

    def open_console(self, guest: str) -> ConsoleStream:
        """See `GuestDriver`."""
        raise Unsupported("nothing runs behind a simulated guest's console")

    def screenshot(self, guest: str) -> bytes:
        """See `GuestDriver`."""
        raise Unsupported("a simulated guest has no screen")

    def counters(self, guest: str) -> GuestCounters:
        """See `GuestDriver`."""
        raise Unsupported("a simulated guest uses nothing")

    def answers(self, guest: str) -> bool:
        """See `GuestDriver`."""
        return False

    def observe(self) -> Mapping[str, Sighting]:
        """See `GuestDriver`."""
        with self._lock:
            return {id: Sighting(power) for id, power in self._power.items()}

    def watch(self, notice: Callable[[], None]) -> None:
        """See `GuestDriver`. Nothing ever happens by itself here."""

    def spec(self, guest: str) -> GuestSpec | None:
        """What the guest was last told to be; None when it is not there."""
        with self._lock:
            return self._guests.get(guest)

    def _running(self, guest: str) -> GuestSpec:
        if self._power.get(guest) != Power.ON:
            raise DriverError(f"{guest} does not run", guest=guest)
        return self._guests[guest]
