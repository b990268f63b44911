"""Guests that libvirt runs: their power, and what is seen of them. QEMU's are completed in `libvirt_qemu`.

What a guest is is said by its row; the domain is written anew from it at each start, and is created with its processors
held. Only when its links are in their networks is it let go, so that no packet ever passes unchecked.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

from backends.compute.drivers import libvirt_console as console
from backends.compute.drivers.base import Adopt, Capabilities, Capacity, GuestSpec, PortBinding, Power, Sighting
from backends.compute.drivers.libvirt_domain import (
    NAMESPACE,
    Machine,
    alias,
    console_log,
    domain_name,
    domain_xml,
    metadata_xml,
)
from backends.compute.drivers.libvirt_session import Session
from backends.errors import DriverError, Lost, NativeError, Unavailable

PATIENCE = 90.0
"""Seconds that a guest gets to follow when it is asked to shut down or to start anew."""
KNOCK = 5.0
"""Seconds between two presses of the power button: a guest that is still booting does not notice the first."""
BROKEN = "the guest's system broke down"
SAVING = 600.0
"""Seconds that keeping or fetching a guest's memory may take."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Press:
    """A power button that was pressed: when, until when it may take, how often the guest had been reset before."""

    last: float
    until: float
    resets: int


class LibvirtGuests:
    """What is the same for every hypervisor behind libvirt. A part of a `GuestDriver`."""

    capabilities = Capabilities(runs=True)

    def __init__(
        self, session: Session, machine: Machine, adopt: Adopt, capacity: Capacity, *, patience: float = PATIENCE
    ) -> None:
        """`adopt` takes a new link into its network."""
        self.session, self.machine, self._adopt = session, machine, adopt
        self._capacity, self._patience = capacity, patience
        self._presses: dict[str, _Press] = {}
        self._resets: dict[str, int] = {}
        self._saving: dict[str, Future[None]] = {}
        self._savers = ThreadPoolExecutor(2, thread_name_prefix="saver")
        self._lock = threading.Lock()
        self._notices: list[Callable[[], None]] = []
        self._awake: set[str] = set()
        """Guests that were seen on, and that nobody turned off here since."""
        self._ended: set[str] = set()
        """Guests whose process was told to end from outside, and did."""
        self._panicked: set[str] = set()
        """Guests that told that their own system broke down."""
        machine.console_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        session.prepare = self._register

    # --- looking -----------------------------------------------------------------------------------------------------

    def capacity(self) -> Capacity:
        """See `GuestDriver`."""
        return self._capacity

    def watch(self, notice: Callable[[], None]) -> None:
        """See `GuestDriver`."""
        self._notices.append(notice)

    def observe(self) -> Mapping[str, Sighting]:
        """See `GuestDriver`."""
        return self.session.run(self._observe)

    def _observe(self, connection: Any) -> dict[str, Sighting]:
        import libvirt

        prefix, found = domain_name(self.machine.deployment, ""), {}
        for domain in connection.listAllDomains():
            if not domain.name().startswith(prefix):
                continue
            guest = domain.name().removeprefix(prefix)
            try:
                found[guest] = self._remembered(guest, domain, self.sight(domain))
            except libvirt.libvirtError as error:
                if error.get_error_code() != libvirt.VIR_ERR_NO_DOMAIN:
                    raise
        for guest in found:
            console.shorten(console_log(self.machine, guest))
        return found

    def _remembered(self, guest: str, domain: Any, seen: Sighting) -> Sighting:
        """libvirt does not know what became of a guest that ended while the daemon was away, or took it back: one that
        was on, and that nobody turned off, broke down."""
        import libvirt

        if seen.power == Power.ON:
            self._awake.add(guest)
        elif seen.power == Power.OFF and guest in self._awake:
            if domain.state()[1] == libvirt.VIR_DOMAIN_SHUTOFF_UNKNOWN:
                return Sighting(Power.CRASHED, "the process that ran the guest ended while libvirtd was away")
        elif seen.power == Power.HALTED and guest in self._ended:
            return Sighting(Power.CRASHED, "the process that ran the guest was told to end")
        elif seen.power == Power.CRASHED and guest in self._panicked:
            return Sighting(Power.CRASHED, BROKEN)
        return seen

    def sight(self, domain: Any) -> Sighting:
        """What a guest of ours is found to be."""
        return sighting(domain)

    def _register(self, connection: Any) -> None:
        """Be told what happens, from now on."""
        import libvirt

        connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE, self._happened, None)
        connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_REBOOT, self._was_reset, None)
        connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED, self._removed, None)
        connection.domainEventRegisterAny(None, libvirt.VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE, self._agent_moved, None)
        threading.Thread(target=self._settle, name="libvirt-settles", daemon=True).start()

    def _settle(self) -> None:
        """Have everybody look at a daemon that is new, and once more when it has taken its guests back. It lists
        them before, and tells nobody of one that ends meanwhile; it holds a job on each until it is done, for which
        statistics wait. Whatever happens to one that answered them is told by an event."""
        self.tell()
        prefix = domain_name(self.machine.deployment, "")
        try:
            with self.session.apart() as connection:
                for domain in connection.listAllDomains():
                    while domain.name().startswith(prefix) and not _is_settled(domain):
                        _log.info("libvirtd has not taken back %s yet", domain.name())
        except NativeError as error:
            _log.info("libvirtd went away while it took its guests back: %s", error)
        self.tell()

    def _happened(self, connection: Any, domain: Any, event: int, detail: int, opaque: Any) -> None:
        import libvirt

        guest = domain.name().removeprefix(domain_name(self.machine.deployment, ""))
        if event == libvirt.VIR_DOMAIN_EVENT_SHUTDOWN and detail == libvirt.VIR_DOMAIN_EVENT_SHUTDOWN_HOST:
            self._ended.add(guest)
        if event == libvirt.VIR_DOMAIN_EVENT_CRASHED and detail == libvirt.VIR_DOMAIN_EVENT_CRASHED_PANICKED:
            self._panicked.add(guest)
        if event in (
            libvirt.VIR_DOMAIN_EVENT_STOPPED,
            libvirt.VIR_DOMAIN_EVENT_SUSPENDED,
            libvirt.VIR_DOMAIN_EVENT_CRASHED,
        ):
            self.tell()

    def _was_reset(self, connection: Any, domain: Any, opaque: Any) -> None:
        guest = domain.name().removeprefix(domain_name(self.machine.deployment, ""))
        with self._lock:
            self._resets[guest] = self._resets.get(guest, 0) + 1
        self.tell()

    def _removed(self, connection: Any, domain: Any, device: str, opaque: Any) -> None:
        self.tell()

    def _agent_moved(self, connection: Any, domain: Any, state: int, reason: int, opaque: Any) -> None:
        self.tell()

    def tell(self) -> None:
        """Something happened: have everybody look who wants to."""
        for notice in self._notices:
            notice()

    def find(self, connection: Any, guest: str) -> Any:
        """The domain of a guest; None when there is none."""
        import libvirt

        try:
            domain = connection.lookupByName(domain_name(self.machine.deployment, guest))
            if f'deployment="{self.machine.deployment}"' not in domain.metadata(
                libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE
            ).replace("'", '"'):
                raise DriverError(f"the domain of {guest} is another deployment's")
            return domain
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise

    # --- on ----------------------------------------------------------------------------------------------------------

    def describe(self, spec: GuestSpec) -> str:
        """The domain that a guest is to be. Raises `Unsupported`."""
        return domain_xml(self.machine, spec)

    def mend(self, domain: Any, spec: GuestSpec) -> None:
        """Take from a running guest what its network lost, so that it comes anew."""

    def sync(self, connection: Any, domain: Any, spec: GuestSpec) -> None:
        """Give a running guest the disks and ports of `spec`, and no others."""

    def ensure_running(self, spec: GuestSpec) -> bool:
        """See `GuestDriver`."""
        return self.session.run(lambda connection: self._ensure_running(connection, spec), within=SAVING)

    def _ensure_running(self, connection: Any, spec: GuestSpec) -> bool:
        import libvirt

        domain = self.find(connection, spec.id)
        if domain is None or not domain.isActive():
            self._forget_press(spec.id)
            domain = self._create(connection, domain, spec)
            self._mark(domain, spec)  # what woke up bears the mark of the start before
        state = domain.state()[0]
        if state in (libvirt.VIR_DOMAIN_SHUTDOWN, libvirt.VIR_DOMAIN_SHUTOFF, libvirt.VIR_DOMAIN_CRASHED):
            raise Unavailable(f"{spec.id} is going down at this moment")
        if state == libvirt.VIR_DOMAIN_PAUSED:
            for port in spec.ports:
                self.adopt(port)
            domain.resume()
        else:
            self.mend(domain, spec)
        if not self._has_started_anew(domain, spec):
            return False
        self.sync(connection, domain, spec)
        return True

    def _create(self, connection: Any, domain: Any, spec: GuestSpec) -> Any:
        """A domain with its processors held: from its kept memory, if that fits what is wanted, else from nothing."""
        import libvirt

        if domain is not None and domain.hasManagedSaveImage():
            if self._fits(domain.managedSaveGetXMLDesc(0), spec):
                domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
                self._begun(spec.id)
                return domain
            _log.warning("%s slept with other devices than it has now: its memory is given up", spec.id)
            domain.managedSaveRemove()
        console.shorten(console_log(self.machine, spec.id))
        domain = connection.defineXML(self.describe(spec))
        domain.createWithFlags(libvirt.VIR_DOMAIN_START_PAUSED)
        self._begun(spec.id)
        return domain

    def _begun(self, guest: str) -> None:
        """What was told of its last end is over."""
        self._ended.discard(guest)
        self._panicked.discard(guest)

    def _fits(self, xml: str, spec: GuestSpec) -> bool:
        root = ElementTree.fromstring(xml)
        disks = {(one.findtext("serial"), _source(one)) for one in root.iterfind("devices/disk")}
        links = {one.get("dev") for one in root.iterfind("devices/interface/target")}
        wanted = {(one.access.serial, one.access.path) for one in spec.disks}
        return disks == wanted and links == {port.link for port in spec.ports}

    def adopt(self, port: PortBinding) -> None:
        """Take the port's link into its network. Raises `Unavailable` while that is not made, `Lost` without a link."""
        try:
            self._adopt(port.network, port.port)
        except (Unavailable, Lost):
            raise
        except DriverError as error:
            raise Unavailable(f"{port.port}: {error}") from error

    def _has_started_anew(self, domain: Any, spec: GuestSpec) -> bool:
        """Whether the running guest was started for `spec.boot`; press its buttons when it was not."""
        if boot_of(domain) >= spec.boot:
            return True
        now, resets = time.monotonic(), self._resets.get(spec.id, 0)
        press = self._presses.get(spec.id)
        if press is None:
            domain.reboot(self.reboot_flags())
            self._presses[spec.id] = _Press(now, now + self._patience, resets)
            return False
        if resets == press.resets:
            if now < press.until:
                if now - press.last > KNOCK:
                    press.last = now
                    domain.reboot(self.reboot_flags())
                return False
            domain.reset()
        self._forget_press(spec.id)
        self._mark(domain, spec)
        return True

    def _mark(self, domain: Any, spec: GuestSpec) -> None:
        """Write into the running domain which start it was made for."""
        import libvirt

        if boot_of(domain) < spec.boot:
            flags = libvirt.VIR_DOMAIN_AFFECT_LIVE | libvirt.VIR_DOMAIN_AFFECT_CONFIG
            kind = libvirt.VIR_DOMAIN_METADATA_ELEMENT
            domain.setMetadata(kind, metadata_xml(self.machine, spec), "nephele", NAMESPACE, flags)

    def reboot_flags(self) -> int:
        """How a guest is asked to start anew."""
        import libvirt

        return int(libvirt.VIR_DOMAIN_REBOOT_ACPI_POWER_BTN)

    # --- off ---------------------------------------------------------------------------------------------------------

    def shutdown_flags(self) -> int:
        """How a guest is asked to shut down."""
        import libvirt

        return int(libvirt.VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN)

    def ensure_stopped(self, guest: str, *, force: bool) -> bool:
        """See `GuestDriver`."""
        stopped = self.session.run(lambda connection: self._ensure_stopped(connection, guest, force))
        if stopped:
            self._awake.discard(guest)
        return stopped

    def _ensure_stopped(self, connection: Any, guest: str, force: bool) -> bool:
        import libvirt

        domain = self.find(connection, guest)
        if domain is None or not domain.isActive():
            self._forget_press(guest)
            return True
        held = domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED
        if force or held or self.overdue(guest):
            domain.destroy()
            self._forget_press(guest)
            return True
        if self.pressed(guest):
            domain.shutdownFlags(self.shutdown_flags())
        return False

    def pressed(self, guest: str) -> bool:
        """Whether the guest's power button is to be pressed now; notes that it is."""
        now = time.monotonic()
        press = self._presses.setdefault(guest, _Press(0.0, now + self._patience, 0))
        if now - press.last <= KNOCK:
            return False
        press.last = now
        return True

    def overdue(self, guest: str) -> bool:
        """Whether the guest had its time since its power button was pressed first."""
        press = self._presses.get(guest)
        return press is not None and time.monotonic() > press.until

    def ensure_asleep(self, guest: str) -> bool:
        """See `GuestDriver`."""
        with self._lock:
            saving = self._saving.get(guest)
            if saving is None:
                work = lambda: self.session.run(lambda c: self._save(c, guest), within=SAVING)  # noqa: E731
                saving = self._saving[guest] = self._savers.submit(work)
                saving.add_done_callback(lambda done: self.tell())
        if not saving.done():
            return False
        del self._saving[guest]
        saving.result()
        self._awake.discard(guest)
        return True

    def _save(self, connection: Any, guest: str) -> None:
        domain = self.find(connection, guest)
        if domain is not None and domain.isActive():
            domain.managedSave()

    def drop(self, guest: str) -> None:
        """See `GuestDriver`."""
        self.session.run(lambda connection: self._drop(connection, guest))
        self._forget_press(guest)
        self._awake.discard(guest)
        console.forget(console_log(self.machine, guest))

    def _drop(self, connection: Any, guest: str) -> None:
        import libvirt

        domain = self.find(connection, guest)
        if domain is None:
            return
        if domain.isActive():
            domain.destroy()
        domain.undefineFlags(
            libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
            | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
            | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
        )

    def _forget_press(self, guest: str) -> None:
        self._presses.pop(guest, None)

    # --- what it says ------------------------------------------------------------------------------------------------

    def console(self, guest: str) -> bytes:
        """See `GuestDriver`."""
        return console.tail(console_log(self.machine, guest))


def _is_settled(domain: Any) -> bool:
    """Whether nothing is going on with a domain; waits up to half a minute for that. Raises `libvirtError` when the
    connection is lost."""
    import libvirt

    try:
        domain.memoryStats()
    except libvirt.libvirtError as error:
        if not domain.connect().isAlive():
            raise
        return bool(error.get_error_code() != libvirt.VIR_ERR_OPERATION_TIMEOUT)
    return True


def boot_of(domain: Any) -> int:
    """Which start a domain was made for."""
    import libvirt

    mark = ElementTree.fromstring(domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, NAMESPACE))
    return int(mark.get("boot", "0"))


def _source(disk: Any) -> str | None:
    found = disk.find("source")
    return None if found is None else found.get("file")


def _unwritten(domain: Any) -> tuple[str, ...]:
    """The disks, by id, that a domain could not write to."""
    targets = set(domain.diskErrors())
    found = []
    for disk in ElementTree.fromstring(domain.XMLDesc()).iterfind("devices/disk"):
        place, name = disk.find("target"), disk.find("alias")
        if place is not None and name is not None and place.get("dev") in targets:
            found.append(name.get("name", "").removeprefix(alias("")))
    return tuple(sorted(found))


def sighting(domain: Any) -> Sighting:
    """What a domain is found to be."""
    import libvirt

    state, reason = domain.state()
    if state == libvirt.VIR_DOMAIN_PAUSED:
        if reason == libvirt.VIR_DOMAIN_PAUSED_IOERROR:
            return Sighting(Power.STUCK, "a disk could not be written: there is no room", _unwritten(domain))
        if reason in (
            libvirt.VIR_DOMAIN_PAUSED_SAVE,
            libvirt.VIR_DOMAIN_PAUSED_DUMP,
            libvirt.VIR_DOMAIN_PAUSED_SNAPSHOT,
            libvirt.VIR_DOMAIN_PAUSED_SHUTTING_DOWN,
        ):
            return Sighting(Power.ON)
        return Sighting(Power.HELD, "its processors are held")
    if state == libvirt.VIR_DOMAIN_CRASHED:
        return Sighting(Power.CRASHED, BROKEN)
    if state != libvirt.VIR_DOMAIN_SHUTOFF:
        return Sighting(Power.ON)
    if reason == libvirt.VIR_DOMAIN_SHUTOFF_SAVED or domain.hasManagedSaveImage():
        return Sighting(Power.ASLEEP)
    if reason == libvirt.VIR_DOMAIN_SHUTOFF_SHUTDOWN:
        return Sighting(Power.HALTED)
    if reason == libvirt.VIR_DOMAIN_SHUTOFF_CRASHED:
        return Sighting(Power.CRASHED, "the process that ran the guest ended")
    return Sighting(Power.OFF)
