"""The minute hand: when guests are looked at, and when what is kept of that grows old."""

from __future__ import annotations

from sqlalchemy import select

from backends.compute.host import ComputeHost
from backends.compute.usage import Meter
from backends.db import Database, ScopedSession
from backends.metrics.ageing import age
from backends.metrics.service import seconds
from compat.records import Record

MINUTE, HOUR = 60, 3600


def has_alarms(session: ScopedSession) -> bool:
    """Whether anybody has an alarm."""
    return session.scalar(select(Record.id).where(Record.kind == "alarm").limit(1)) is not None


class Gauge:
    """Looks at guests at first, once in every minute of the cloud's clock, and once in every hour at what has grown
    old."""

    def __init__(self, database: Database, meter: Meter, host: ComputeHost) -> None:
        self._database, self._meter, self._host = database, meter, host
        self._minute, self._hour = seconds(database.clock()) // MINUTE, -1
        self._begun = False

    def step(self) -> bool:
        """Do what is due; True when old samples are left to be dealt with."""
        now = seconds(self._database.clock())
        minute, hour = now // MINUTE, now // HOUR
        if minute != self._minute or not self._begun:
            ended, self._minute, self._begun = minute != self._minute, minute, True
            usages = self._meter.look()
            if usages and ended:
                from compat.cloudwatch.vended import keep  # with much of EC2: not before there is an instance

                keep(self._database, self._host, usages, (minute - 1) * MINUTE)
        if hour != self._hour:
            if age(self._database):
                return True
            self._hour = hour
        return False
