"""Containers behind libvirt: guests that share the machine's kernel, and start in a tenth of a second.

A record that lies on the disk before anything of a container is made says what it holds; by it, whatever a crash left
is found, ended and given back.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from backends.compute.drivers import container_console as keeping
from backends.compute.drivers import container_devices as devices
from backends.compute.drivers import container_disks, container_root
from backends.compute.drivers import container_process as process
from backends.compute.drivers import libvirt_console as console
from backends.compute.drivers.base import (
    Adopt,
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
from backends.compute.drivers.container_domain import begun, card_of, container_xml, let_go, waits
from backends.compute.drivers.container_process import Record
from backends.compute.drivers.libvirt_daemon import OwnDaemon
from backends.compute.drivers.libvirt_domain import Machine, console_log, domain_name, domain_uuid, ordered
from backends.compute.drivers.libvirt_guests import LibvirtGuests, boot_of, sighting
from backends.compute.drivers.libvirt_session import Session
from backends.errors import Away, DriverError, Missing, Unavailable, Unsupported

CRASH = "libvirt_lxc, which holds the container together, was killed"
NOTICING = 2.0
"""Seconds that libvirt gets to notice that a container ended, before it is asked to end it."""
POWER_OFF = {"systemd": signal.SIGRTMIN + 4}
"""The signal by which a first process shuts down, where it is not the one of busybox and sysvinit."""


class LxcGuests(LibvirtGuests):
    """A `GuestDriver` over containers. Their disks are raw ones; a process beside each keeps its console."""

    capabilities = Capabilities(runs=True, plugs_disks=True, plugs_ports=True, console=True, counts=True)

    def __init__(
        self, session: Session, machine: Machine, adopt: Adopt, capacity: Capacity, daemon: OwnDaemon, folder: Path
    ) -> None:
        """`folder` takes the places where root file systems are mounted, and what is noted of containers."""
        super().__init__(session, machine, adopt, capacity)
        self._daemon, self._folder = daemon, folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._known: set[int] = set()
        """First processes of containers that were seen before."""

    def records(self) -> list[Record]:
        """What is noted of every container."""
        found = [Record.read(path) for path in self._folder.glob("*.json")]
        return [record for record in found if record is not None]

    def _place(self, guest: str) -> Path:
        return self._folder / guest

    def _record(self, guest: str) -> Path:
        return self._folder / f"{guest}.json"

    def _verdict(self, guest: str) -> Path:
        """A file that is there when the container was killed."""
        return self._folder / f"{guest}.killed"

    def _door(self, guest: str) -> Path:
        return self._folder / f"{guest}.console"

    def _daemon_pid(self) -> int:
        if (pid := self._daemon.pid()) is None:
            raise Away("libvirtd is not there")
        return pid

    # --- looking -----------------------------------------------------------------------------------------------------

    def sight(self, domain: Any) -> Sighting:
        """See `LibvirtGuests`. libvirt takes a container whose controller was killed for one that shut down."""
        seen, guest = sighting(domain), self._guest_of(domain)
        if seen.power == Power.ON:
            first = process.first_of(domain.ID())
            if first is not None and waits(first):
                return Sighting(Power.HELD, "it waits for its links")
            if first is not None:
                self._keep(domain, guest, first)
                self._meet(guest, first)
            record = Record.read(self._record(guest))
            if record is not None and (full := container_disks.without_room(record)):
                return Sighting(Power.ON, "what it writes to its disk fails: there is no room", full)
            return seen
        record = Record.read(self._record(guest))
        if record is not None and (record.lives or self._verdict(guest).exists()):
            return Sighting(Power.CRASHED, CRASH)
        return seen

    def _meet(self, guest: str, first: int) -> None:
        """A container that this process sees for the first time goes on, if its disks were being copied when the
        engine, and whoever held them still for it, was killed."""
        if first not in self._known:
            self._known.add(first)
            record = Record.read(self._record(guest))
            container_disks.let_go(first, list(record.disks.values()) if record is not None else [])

    def _guest_of(self, domain: Any) -> str:
        return str(domain.name().removeprefix(domain_name(self.machine.deployment, "")))

    def _happened(self, connection: Any, domain: Any, event: int, detail: int, opaque: Any) -> None:
        import libvirt

        guest = self._guest_of(domain)
        failed = event == libvirt.VIR_DOMAIN_EVENT_STOPPED and detail == libvirt.VIR_DOMAIN_EVENT_STOPPED_FAILED
        if failed and self._record(guest).exists():
            self._verdict(guest).touch()
        super()._happened(connection, domain, event, detail, opaque)

    # --- on ----------------------------------------------------------------------------------------------------------

    def _ensure_running(self, connection: Any, spec: GuestSpec) -> bool:
        domain = self.find(connection, spec.id)
        if _active(domain) and boot_of(domain) < spec.boot:
            if not self._ensure_stopped(connection, spec.id, False):
                return False
            domain = None
        if not _active(domain):
            domain = self._begin(connection, spec)
        first = self._first(domain)
        record = Record.read(self._record(spec.id)) or begun(spec)
        if fresh := waits(first):
            record = replace(record, first=first, began=process.began(first))
            record.write(self._record(spec.id))
        self._keep(domain, spec.id, first)
        for port in spec.ports:
            if port.port in record.cards and (fresh or devices.waits(port)):
                self.adopt(port)
        self._sync(domain, spec, record)
        if fresh:
            let_go(spec.id, first)
            self._known.add(first)
        return True

    def _begin(self, connection: Any, spec: GuestSpec) -> Any:
        """A container of which nothing is left from before."""
        access = ordered(spec)[0].access if spec.disks else None
        if access is None or access.format != "raw":
            raise Unsupported("a container has one disk at least, and raw ones (--volume sparse)")
        self._clear(spec.id)
        place = self._place(spec.id)
        domain = connection.defineXML(container_xml(self.machine, spec, place))
        begun(spec).write(self._record(spec.id))
        container_root.mount(self._daemon_pid(), Path(access.path), place)
        console.shorten(console_log(self.machine, spec.id))
        domain.create()
        return domain

    def _first(self, domain: Any) -> int:
        first = process.first_of(domain.ID())
        if first is None:
            raise Unavailable("the container is going down at this moment")
        return first

    def _keep(self, domain: Any, guest: str, first: int) -> None:
        """Have somebody keep the container's console."""
        if not keeping.is_kept(self._door(guest)):
            terminal = ElementTree.fromstring(domain.XMLDesc()).find("devices/console/source")
            if terminal is not None:
                log = console_log(self.machine, guest)
                path = terminal.get("path", "")
                keeping.keep(self._door(guest), path, log, self._verdict(guest), domain.ID(), first)

    # --- what comes and goes -----------------------------------------------------------------------------------------

    def _sync(self, domain: Any, spec: GuestSpec, record: Record) -> None:
        """Give a container the disks and ports of `spec` beside those that it began with, and no others."""
        for port in spec.ports:
            self._plug_port(spec.id, port)
        for id in sorted(record.cards.keys() - {port.port for port in spec.ports}):
            self._unplug_port(spec.id, id)
        for binding in ordered(spec)[1:]:
            self._plug(domain, spec.id, binding)
        for disk in sorted(record.disks.keys() - {binding.disk for binding in spec.disks}):
            self._unplug(domain, spec.id, disk)

    def plug(self, guest: str, binding: DiskBinding) -> None:
        """See `GuestDriver`."""
        self.session.run(lambda connection: self._plug(self._running(connection, guest), guest, binding))

    def _plug(self, domain: Any, guest: str, binding: DiskBinding) -> None:
        record = self._recorded(guest)
        if binding.disk not in record.disks:
            disks = {**record.disks, binding.disk: binding.access.path}
            replace(record, disks=disks).write(self._record(guest))
        devices.plug(domain, binding)

    def unplug(self, guest: str, disk: str) -> None:
        """See `GuestDriver`."""

        def unplug(connection: Any) -> None:
            if _active(domain := self.find(connection, guest)):
                self._unplug(domain, guest, disk)

        self.session.run(unplug)

    def _unplug(self, domain: Any, guest: str, disk: str) -> None:
        record = self._recorded(guest)
        if disk in record.disks:
            devices.unplug(domain, disk, record.disks[disk])
            disks = {one: path for one, path in record.disks.items() if one != disk}
            replace(record, disks=disks).write(self._record(guest))

    def plug_port(self, guest: str, binding: PortBinding) -> None:
        """See `GuestDriver`."""

        def plug(connection: Any) -> None:
            self._running(connection, guest)
            self._plug_port(guest, binding)

        self.session.run(plug)

    def _plug_port(self, guest: str, port: PortBinding) -> None:
        record = self._recorded(guest)
        if port.port not in record.cards:
            devices.plug_card(record.first, port)
            self.adopt(port)
            cards = {**record.cards, port.port: card_of(port)}
            replace(record, cards=cards).write(self._record(guest))

    def unplug_port(self, guest: str, port: str) -> None:
        """See `GuestDriver`."""

        def unplug(connection: Any) -> None:
            if _active(self.find(connection, guest)):
                self._unplug_port(guest, port)

        self.session.run(unplug)

    def _unplug_port(self, guest: str, port: str) -> None:
        record = self._recorded(guest)
        if port in record.cards:
            devices.unplug_card(record.first, port, *record.cards[port])
            cards = {one: card for one, card in record.cards.items() if one != port}
            replace(record, cards=cards).write(self._record(guest))

    def _recorded(self, guest: str) -> Record:
        record = Record.read(self._record(guest))
        if record is None or not record.lives:
            raise Unavailable(f"{guest} is going down at this moment")
        return record

    def _running(self, connection: Any, guest: str) -> Any:
        domain = self.find(connection, guest)
        if not _active(domain):
            raise DriverError(f"{guest} does not run", guest=guest)
        return domain

    # --- off ---------------------------------------------------------------------------------------------------------

    def _ensure_stopped(self, connection: Any, guest: str, force: bool) -> bool:
        domain = self.find(connection, guest)
        if _active(domain) and not force:
            first = self._first(domain)
            if not waits(first):
                return self._ask(domain, guest, first)
        self._end(domain)
        if not super()._ensure_stopped(connection, guest, True):
            return False
        self._clear(guest)
        return True

    def _end(self, domain: Any) -> None:
        """Switch a container off. Its first process is killed before libvirt is told to end it, which asks every
        process in turn to end, and waits for each."""
        if _active(domain):
            first = process.first_of(domain.ID())
            if first is not None:
                process.end([first])
                _wait_off(domain)

    def _ask(self, domain: Any, guest: str, first: int) -> bool:
        """Ask the first process to shut down; switch it off when it has not in time."""
        if self.pressed(guest):
            with contextlib.suppress(OSError):
                name = Path(f"/proc/{first}/comm").read_text().strip()
                os.kill(first, POWER_OFF.get(name, signal.SIGUSR2))
        elif self.overdue(guest):
            self._end(domain)
        return False

    def _clear(self, guest: str) -> None:
        """Of a container that is off: end what is left of it, and give back what it held. The record goes last, since
        by it the rest is found."""
        record, deployment = Record.read(self._record(guest)), self.machine.deployment
        process.end(process.strays(domain_name(deployment, guest), domain_uuid(deployment, guest), record))
        daemon, place = self._daemon_pid(), self._place(guest)
        container_root.unmount(daemon, place)
        for path in () if record is None else record.disks.values():
            container_root.release(daemon, path, place)
        self._verdict(guest).unlink(missing_ok=True)
        self._record(guest).unlink(missing_ok=True)

    def ensure_asleep(self, guest: str) -> bool:
        """See `GuestDriver`."""
        raise Unsupported("a container's memory cannot be kept")

    def _drop(self, connection: Any, guest: str) -> None:
        domain = self.find(connection, guest)
        self._end(domain)
        if _active(domain):
            domain.destroy()
        self._clear(guest)
        if domain is not None:
            domain.undefine()
        with contextlib.suppress(FileNotFoundError):
            self._place(guest).rmdir()
        keeping.forget(self._door(guest))

    # --- what it says ------------------------------------------------------------------------------------------------

    def open_console(self, guest: str) -> ConsoleStream:
        """See `GuestDriver`."""
        if not self.session.run(lambda connection: _active(self.find(connection, guest))):
            raise Missing(f"{guest} does not run", guest=guest)
        return keeping.ContainerConsole(self._door(guest))

    def screenshot(self, guest: str) -> bytes:
        """See `GuestDriver`."""
        raise Unsupported("a container has no screen")

    def counters(self, guest: str) -> GuestCounters:
        """See `GuestDriver`."""
        return self.session.run(lambda connection: self._counters(connection, guest))

    def _counters(self, connection: Any, guest: str) -> GuestCounters:
        domain = self.find(connection, guest)
        if not _active(domain):
            raise Missing(f"{guest} does not run", guest=guest)
        _, _, used, _, processor = domain.info()
        record = Record.read(self._record(guest))
        counted = {disk: container_root.counters(path) for disk, path in (record.disks if record else {}).items()}
        disks = {disk: counters for disk, counters in counted.items() if counters is not None}
        return GuestCounters(processor / 1e9, used // 1024, disks)

    def answers(self, guest: str) -> bool:
        """See `GuestDriver`. There is no agent in containers."""
        return False


def _active(domain: Any) -> bool:
    return domain is not None and bool(domain.isActive())


def _wait_off(domain: Any) -> None:
    """Until libvirt has noticed that a container ended, or for a while."""
    deadline = time.monotonic() + NOTICING
    while domain.isActive() and time.monotonic() < deadline:
        time.sleep(0.01)
