"""What QEMU does for disks that its guests have open: copies at one point in time, growth, limits."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from backends.compute.drivers.libvirt_agent import QUEUED, agent_missed
from backends.compute.drivers.libvirt_domain import domain_name, text
from backends.compute.drivers.libvirt_qemu import QemuGuests, target_of
from backends.errors import DriverError, Exhausted, Unsupported
from backends.volume.drivers.base import BURST, Limits

COPYING = 3600.0
"""Seconds that a copy may take."""
ENDING = 10.0
"""Seconds that a copy may take to end when it is told to."""
MIB = 1 << 20
WHOLE, DONE = 3, 4
"""Where `jobInfo` has the bytes of all data, and of those processed; of a backup, libvirt 9 counts its disks there."""

_log = logging.getLogger(__name__)


class QemuDisks:
    """`OpenDisks` over the guests of a `QemuGuests`."""

    def __init__(self, guests: QemuGuests) -> None:
        self._guests = guests

    def holds(self, disk: str) -> bool:
        """See `OpenDisks`."""
        return self._guests.session.run(lambda connection: self._holder(connection, disk) is not None)

    def still(self, disks: Sequence[str]) -> AbstractContextManager[None]:
        """See `OpenDisks`."""
        reason = "a running guest has the disk open, and only qcow2 disks are copied under it"
        raise Unsupported(reason, reason=reason)

    def grow(self, disk: str, size: int) -> None:
        """See `OpenDisks`."""
        import libvirt

        def grow(connection: Any) -> None:
            domain, name = self._held(connection, disk)
            if domain.blockInfo(name)[0] < size:
                domain.blockResize(name, size, libvirt.VIR_DOMAIN_BLOCK_RESIZE_BYTES)

        self._guests.session.run(grow)

    def limit(self, disk: str, limits: Limits) -> None:
        """See `OpenDisks`."""
        import libvirt

        values = {
            libvirt.VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC: limits.iops or 0,
            libvirt.VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC: (limits.throughput or 0) * MIB,
            libvirt.VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC_MAX: limits.burst or 0,
        }
        length = libvirt.VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC_MAX_LENGTH
        if limits.burst:
            values[length] = BURST

        def limit(connection: Any) -> None:
            domain, name = self._held(connection, disk)
            if not limits.burst and domain.blockIoTune(name)[length] > 1:
                # QEMU knows no length without a burst, and libvirt keeps the one of before unless it is told another.
                domain.setBlockIoTune(name, {length: 1}, libvirt.VIR_DOMAIN_AFFECT_LIVE)
            domain.setBlockIoTune(name, values, libvirt.VIR_DOMAIN_AFFECT_LIVE)

        self._guests.session.run(limit)

    def back_up(
        self,
        targets: Mapping[str, str],
        checkpoint: str,
        since: Mapping[str, str | None],
        report: Callable[[int], None] = lambda percent: None,
    ) -> Mapping[str, bool]:
        """See `OpenDisks`."""
        session, began = self._guests.session, time.monotonic()
        done = session.run(
            lambda connection: self._back_up(connection, targets, checkpoint, since, report), within=COPYING
        )
        if time.monotonic() - began >= QUEUED:
            self._hear_agents(targets)
        return done

    def _hear_agents(self, disks: Iterable[str]) -> None:
        """Find an agent that came while a long copy was made, and that libvirt did not note."""

        def missed(connection: Any) -> bool:
            held = self._holder(connection, next(iter(disks)))
            return held is not None and agent_missed(held[0])

        try:
            if self._guests.session.run(missed):
                renewed = self._guests.session.renew()
                _log.warning(
                    "libvirt missed that the agent of a guest came while a copy was made; %s",
                    "libvirtd is started anew" if renewed else "it will not be asked before libvirtd is started anew",
                )
        except DriverError as error:
            _log.warning("whether the agent of a guest came during a copy is not known: %s", error)

    def _back_up(
        self,
        connection: Any,
        targets: Mapping[str, str],
        checkpoint: str,
        since: Mapping[str, str | None],
        report: Callable[[int], None],
    ) -> Mapping[str, bool]:
        import libvirt

        held = {disk: self._held(connection, disk) for disk in targets}
        if len({domain.name() for domain, _ in held.values()}) != 1:
            raise DriverError("the disks are not one guest's")
        domain = next(iter(held.values()))[0]
        _abandon(domain)
        known = {one.getName() for one in domain.listAllCheckpoints()}
        if checkpoint in known:
            domain.checkpointLookupByName(checkpoint).delete()
            known.discard(checkpoint)
        names = {disk: name for disk, (_, name) in held.items()}
        changed = {disk: one for disk, one in since.items() if one in known and disk in targets}
        try:
            self._begin(domain, names, targets, checkpoint, changed)
        except libvirt.libvirtError:
            # A bitmap that a killed QEMU left behind is of no use: copy everything then.
            if not changed:
                raise
            changed = {}
            self._begin(domain, names, targets, checkpoint, changed)
        _wait(domain, report)
        for old in known - {one for one in changed.values() if one is None}:
            _forget(domain, old, names.values(), checkpoint)
        return {disk: disk in changed for disk in targets}

    def _begin(
        self,
        domain: Any,
        names: Mapping[str, str],
        targets: Mapping[str, str],
        checkpoint: str,
        changed: Mapping[str, str | None],
    ) -> None:
        import libvirt

        backup, mark = Element("domainbackup", mode="push"), Element("domaincheckpoint")
        SubElement(mark, "name").text = checkpoint
        disks, marks = SubElement(backup, "disks"), SubElement(mark, "disks")
        for name in _every_disk(domain):
            disk = next((one for one, place in names.items() if place == name), None)
            if disk is None:
                SubElement(disks, "disk", name=name, backup="no")
                SubElement(marks, "disk", name=name, checkpoint="no")
                continue
            element = SubElement(disks, "disk", name=name, type="file", backup="yes")
            base = changed.get(disk)
            if base is not None:
                element.set("backupmode", "incremental")
                element.set("incremental", base)
            else:
                element.set("backupmode", "full")
            SubElement(element, "target", file=targets[disk])
            SubElement(element, "driver", type="qcow2")
            SubElement(marks, "disk", name=name, checkpoint="bitmap")
        with self._guests.agents.frozen(domain):
            domain.backupBegin(text(backup), text(mark), libvirt.VIR_DOMAIN_BACKUP_BEGIN_REUSE_EXTERNAL)

    def _held(self, connection: Any, disk: str) -> tuple[Any, str]:
        found = self._holder(connection, disk)
        if found is None:
            raise DriverError(f"no running guest has {disk}", disk=disk)
        return found

    def _holder(self, connection: Any, disk: str) -> tuple[Any, str] | None:
        import libvirt

        prefix = domain_name(self._guests.machine.deployment, "")
        for domain in connection.listAllDomains(libvirt.VIR_CONNECT_LIST_DOMAINS_ACTIVE):
            if domain.name().startswith(prefix):
                with contextlib.suppress(libvirt.libvirtError):
                    if (name := target_of(domain, disk)) is not None:
                        return domain, name
        return None


def _every_disk(domain: Any) -> list[str]:
    from xml.etree import ElementTree

    root = ElementTree.fromstring(domain.XMLDesc())
    return [place.get("dev", "") for place in root.iterfind("devices/disk/target")]


def _abandon(domain: Any) -> None:
    """End a copy that a process began which was killed over it: nobody waits for it, and it bars the next one."""
    import libvirt

    told = domain.jobStats()
    if told.get("type") and told.get("operation") == libvirt.VIR_DOMAIN_JOB_OPERATION_BACKUP:
        _log.warning("a copy of a disk of %s was left by an end of ours: it is given up", domain.name())
        domain.abortJob()
        deadline = time.monotonic() + ENDING
        while domain.jobInfo()[0] != libvirt.VIR_DOMAIN_JOB_NONE and time.monotonic() < deadline:
            time.sleep(0.02)


def _wait(domain: Any, report: Callable[[int], None]) -> None:
    """Until the copy is over; how far it is is told meanwhile. Raises `DriverError` when it failed, `Exhausted` when
    there was no room."""
    import libvirt

    deadline, pause = time.monotonic() + COPYING, 0.01
    while True:
        job = domain.jobInfo()
        if job[0] == libvirt.VIR_DOMAIN_JOB_NONE:
            break
        whole, done = job[WHOLE], job[DONE]
        if whole:
            report(min(99, done * 100 // whole))
        if time.monotonic() > deadline:
            domain.abortJob()
            raise DriverError("a copy took too long")
        time.sleep(pause)
        pause = min(pause * 2, 0.25)
    done = domain.jobStats(libvirt.VIR_DOMAIN_JOB_STATS_COMPLETED)
    if not done.get("success", True):
        reason = str(done.get("errmsg", "no reason was given"))
        kind = Exhausted if "No space left" in reason else DriverError
        raise kind(f"a copy failed: {reason}")


def _forget(domain: Any, checkpoint: str, names: Any, newest: str) -> None:
    """Give up a checkpoint that only these disks had: its changes are in the newest one."""
    import libvirt

    with contextlib.suppress(libvirt.libvirtError):
        found = domain.checkpointLookupByName(checkpoint)
        from xml.etree import ElementTree

        root = ElementTree.fromstring(found.getXMLDesc())
        marked = {one.get("name") for one in root.iterfind("disks/disk") if one.get("checkpoint") == "bitmap"}
        if checkpoint != newest and marked <= set(names):
            found.delete()
