"""Guests that are states and nothing else: no processor runs. The reference of the driver's contract."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import replace

from backends.compute.drivers.base import Capacity, DiskBinding, GuestSpec, Power
from backends.errors import DriverError


class SimulatedGuests:
    """A `GuestDriver` that keeps what it was told, in memory. Without a capacity it has no bound."""

    def __init__(self, capacity: Capacity | None = None) -> None:
        self._capacity = capacity or Capacity(None, None)
        self._guests: dict[str, GuestSpec] = {}
        self._on: set[str] = set()
        self._console: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def capacity(self) -> Capacity:
        """See `GuestDriver`."""
        return self._capacity

    def ensure_running(self, spec: GuestSpec) -> None:
        """See `GuestDriver`."""
        with self._lock:
            known = self._guests.get(spec.id)
            if spec.id not in self._on or known is None or known.boot < spec.boot:
                line = f"[nephele] {spec.id}: boot {spec.boot}, simulated: no processor runs\r\n"
                self._console[spec.id] = (self._console.get(spec.id, b"") + line.encode())[-65536:]
            self._guests[spec.id] = spec
            self._on.add(spec.id)

    def ensure_stopped(self, guest: str, *, force: bool) -> None:
        """See `GuestDriver`."""
        with self._lock:
            self._on.discard(guest)

    def drop(self, guest: str) -> None:
        """See `GuestDriver`."""
        with self._lock:
            self._on.discard(guest)
            self._guests.pop(guest, None)
            self._console.pop(guest, None)

    def plug(self, guest: str, binding: DiskBinding) -> None:
        """See `GuestDriver`."""
        with self._lock:
            if guest not in self._on:
                raise DriverError(f"{guest} does not run", guest=guest)
            spec = self._guests[guest]
            others = tuple(disk for disk in spec.disks if disk.disk != binding.disk)
            self._guests[guest] = replace(spec, disks=(*others, binding))

    def unplug(self, guest: str, disk: str) -> None:
        """See `GuestDriver`."""
        with self._lock:
            spec = self._guests.get(guest)
            if spec is not None:
                self._guests[guest] = replace(spec, disks=tuple(one for one in spec.disks if one.disk != disk))

    def console(self, guest: str) -> bytes:
        """See `GuestDriver`."""
        with self._lock:
            return self._console.get(guest, b"")

    def observe(self) -> Mapping[str, Power]:
        """See `GuestDriver`."""
        with self._lock:
            return {id: Power.ON if id in self._on else Power.OFF for id in self._guests}

    def spec(self, guest: str) -> GuestSpec | None:
        """What the guest was last told to be; None when it is not there."""
        with self._lock:
            return self._guests.get(guest)
