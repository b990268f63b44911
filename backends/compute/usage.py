"""What guests used between two looks, by what drivers count.

Counters begin at nothing when a guest is started. A guest that is seen for the first time, though it was started before
the last look, has no known beginning: nothing is said of it until the next one.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import select

from backends.compute.drivers.base import DiskCounters
from backends.compute.host import ComputeHost, on
from backends.compute.models import Guest, GuestState, Health
from backends.db import Database
from backends.errors import NativeError
from backends.network.models import Port

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What went into a guest and out of it, over all of its ports."""

    bytes_in: int = 0
    bytes_out: int = 0
    packets_in: int = 0
    packets_out: int = 0


@dataclass(frozen=True, slots=True)
class Reading:
    """What counters stood at. None: nobody counts that here, or could be asked."""

    at: datetime
    processor: float | None = None
    disks: Mapping[str, DiskCounters] | None = None
    traffic: Traffic | None = None
    whole: bool = True
    """Whether everybody who counts could be asked."""


@dataclass(frozen=True, slots=True)
class Usage:
    """A running guest and what it used in the `span` seconds before `at`: processor seconds, disks by id, traffic.
    None: not known."""

    guest: Guest
    health: Health | None
    at: datetime
    span: float = 0.0
    processor: float | None = None
    disks: Mapping[str, DiskCounters] = field(default_factory=dict)
    traffic: Traffic | None = None


class Meter:
    """Looks at the counters of one machine's guests. For one thread."""

    def __init__(self, database: Database, host: ComputeHost) -> None:
        self._database, self._host = database, host
        self._before: dict[str, Reading] = {}
        self._looked: datetime | None = None

    def look(self) -> list[Usage]:
        """What every running guest used since the last look. Asks drivers; no unit of work is open meanwhile."""
        with self._database.unit(None, write=False) as unit:
            now = unit.now
            query = select(Guest, Health).outerjoin(Health, Health.guest == Guest.id)
            rows = unit.session.execute(query.where(on(self._host), Guest.state == GuestState.RUNNING)).all()
            ports: dict[str, list[tuple[str, str]]] = defaultdict(list)
            if rows and self._host.network.driver.applies:
                held = select(Port.guest_id, Port.network_id, Port.id).where(Port.guest_id.is_not(None))
                for guest_id, network, port in unit.session.execute(held):
                    ports[str(guest_id)].append((network, port))
        readings = {guest.id: self._read(guest.id, ports[guest.id], now) for guest, _ in rows}
        found = [self._usage(guest, health, readings[guest.id]) for guest, health in rows]
        # Where somebody could not be asked, the next look tells what came since the one before.
        self._before = {id: one if one.whole else self._before.get(id, one) for id, one in readings.items()}
        self._looked = now
        return found

    def _read(self, guest: str, ports: Iterable[tuple[str, str]], now: datetime) -> Reading:
        values: dict[str, Any] = {}
        if self._host.driver.capabilities.counts:
            try:
                counted = self._host.driver.counters(guest)
                values |= {"processor": counted.processor, "disks": counted.disks}
            except NativeError as error:
                values["whole"] = False
                _log.info("the counters of %s cannot be read: %s", guest, error)
        if self._host.network.driver.applies:
            try:
                carried = [self._host.network.driver.counters(network, port) for network, port in ports]
                values["traffic"] = Traffic(
                    sum(one.bytes_in for one in carried),
                    sum(one.bytes_out for one in carried),
                    sum(one.packets_in for one in carried),
                    sum(one.packets_out for one in carried),
                )
            except NativeError as error:
                values["whole"] = False
                _log.info("what %s sends cannot be counted: %s", guest, error)
        return Reading(now, **values)

    def _usage(self, guest: Guest, health: Health | None, reading: Reading) -> Usage:
        before = self._before.get(guest.id)
        if before is None:
            if self._looked is None or guest.launched < self._looked:
                return Usage(guest, health, reading.at)
            before = Reading(guest.launched, 0.0, {}, Traffic())
        span = (reading.at - before.at).total_seconds()
        if span <= 0:
            return Usage(guest, health, reading.at)
        return Usage(
            guest,
            health,
            reading.at,
            span,
            _grown(before.processor, reading.processor),
            _disks(before.disks, reading.disks),
            _traffic(before.traffic, reading.traffic),
        )


def _grown(before: float | None, now: float | None) -> float | None:
    """How much a counter grew; one that fell began anew."""
    if before is None or now is None:
        return None
    return now if now < before else now - before


def _disks(
    before: Mapping[str, DiskCounters] | None, now: Mapping[str, DiskCounters] | None
) -> Mapping[str, DiskCounters]:
    if before is None or now is None:
        return {}
    nothing = DiskCounters()
    return {disk: _less(counters, before.get(disk, nothing)) for disk, counters in now.items()}


def _less(now: DiskCounters, before: DiskCounters) -> DiskCounters:
    if now.reads < before.reads or now.writes < before.writes:
        return now
    return DiskCounters(
        now.bytes_read - before.bytes_read,
        now.bytes_written - before.bytes_written,
        now.reads - before.reads,
        now.writes - before.writes,
    )


def _traffic(before: Traffic | None, now: Traffic | None) -> Traffic | None:
    if before is None or now is None:
        return None
    if now.packets_in < before.packets_in or now.packets_out < before.packets_out:
        return now
    return Traffic(
        now.bytes_in - before.bytes_in,
        now.bytes_out - before.bytes_out,
        now.packets_in - before.packets_in,
        now.packets_out - before.packets_out,
    )
