"""What happened to objects, for those who asked to be told: written with the change, kept to be read, sent again and
ever later until it arrives. And errands: what is to be done with a version later, written with the change, too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sqlalchemy import bindparam, delete, func, insert, literal_column, select, update

from backends.db import EPOCH, MICROSECOND, Database
from backends.errors import DriverError
from backends.object.ledger import Ledger, Statement, Transaction
from backends.object.models import Errand as ErrandRow
from backends.object.models import Event

log = logging.getLogger("nephele.outbox")

MOST_KEPT = 10_000
"""Events that can be read; older ones go once nobody waits for them."""
MOST_TRIES = 16
LONGEST_WAIT = 300
"""Seconds between two tries, at most."""
BATCH = 50
SECOND = 1_000_000
EVENTS, ERRANDS = "events", "errands"
"""Topics."""


class Told(NamedTuple):
    """An event as it is kept."""

    number: int
    container: str
    targets: str
    record: str
    tries: int


class Errand(NamedTuple):
    """Something to be done with a version."""

    number: int
    tenant: str
    container: int
    key: bytes
    version: str
    kind: str
    facts: str
    tries: int


def _insertion(row: type[Event] | type[ErrandRow], *names: str) -> Statement:
    return Statement(insert(row).values({name: bindparam(name) for name in names} | {"tries": 0}), *names)


ADD_EVENT = _insertion(Event, "tenant", "container", "targets", "record", "due")
ADD_ERRAND = _insertion(ErrandRow, "tenant", "container", "key", "version", "kind", "facts", "due")
_TOLD = [getattr(Event, name) for name in Told._fields]
_PAGE = select(*_TOLD).where(Event.number > bindparam("after")).order_by(Event.number).limit(bindparam("most"))
READ = Statement(_PAGE, "after", "most")
READ_OF = Statement(_PAGE.where(Event.container == bindparam("name")), "name", "after", "most")
DUE_EVENTS = Statement(
    select(*_TOLD).where(Event.due <= bindparam("now")).order_by(Event.due, Event.number).limit(bindparam("most")),
    "now", "most",
)  # fmt: skip
WAIT_EVENT = Statement(
    update(Event)
    .where(Event.number == bindparam("at"))
    .values(due=bindparam("new_due"), tries=Event.tries + literal_column("1")),
    "new_due", "at",
)  # fmt: skip
NEWEST = Statement(select(func.max(Event.number)))
TRIM = Statement(delete(Event).where(Event.number <= bindparam("last"), Event.due.is_(None)), "last")
_ERRAND = [getattr(ErrandRow, name) for name in Errand._fields]
DUE_ERRANDS = Statement(
    select(*_ERRAND)
    .where(ErrandRow.due <= bindparam("now"))
    .order_by(ErrandRow.due, ErrandRow.number)
    .limit(bindparam("most")),
    "now", "most",
)  # fmt: skip
DONE = Statement(delete(ErrandRow).where(ErrandRow.number == bindparam("at")), "at")
WAIT_ERRAND = Statement(
    update(ErrandRow)
    .where(ErrandRow.number == bindparam("at"))
    .values(due=bindparam("new_due"), tries=ErrandRow.tries + literal_column("1")),
    "new_due", "at",
)  # fmt: skip

Send = Callable[[Told], None]
"""Sends an event on. Raises `DriverError` when it did not arrive."""
Run = Callable[[Errand], None]
"""Does an errand, which may have been done already. Raises `DriverError` when it is to be tried again."""


class Outbox:
    """Events and errands of one cloud. Threads may share it."""

    def __init__(self, database: Database, ledger: Ledger, *, sends: bool) -> None:
        """`sends`: events are to be sent on, not only kept."""
        self._database, self._ledger, self.sends = database, ledger, sends

    def tell(self, tx: Transaction, tenant: str, container: str, targets: str, record: str, now: int) -> None:
        """Keep an event, in the transaction of what it tells."""
        self._move(tx, EVENTS)
        tx.run(ADD_EVENT, tenant, container, targets, record, now if self.sends else None)

    def order(
        self, tx: Transaction, tenant: str, container: int, key: bytes, version: str, kind: str, facts: str, due: int
    ) -> None:
        """Note an errand, in the transaction that makes it necessary."""
        self._move(tx, ERRANDS)
        tx.run(ADD_ERRAND, tenant, container, key, version, kind, facts, due)

    def _move(self, tx: Transaction, topic: str) -> None:
        self._database.stamps.bump(tx.cursor, {topic})
        tx.topics.add(topic)

    def wake(self) -> None:
        """Have somebody look, once what this thread wrote is durable."""
        self._ledger.after(self._wake)

    def _wake(self) -> None:
        for topic in (EVENTS, ERRANDS):
            self._database.nudge(topic)

    def read(self, container: str | None, after: int, most: int) -> list[Told]:
        """Events behind a number, in order."""
        reader = self._ledger.read()
        rows = reader.all(READ, after, most) if container is None else reader.all(READ_OF, container, after, most)
        return [Told._make(row) for row in rows]

    # --- for one reconciler -------------------------------------------------------------------------------------------

    def trim(self) -> bool:
        """Forget the oldest events."""
        row = self._ledger.read().one(NEWEST)
        if row is not None and row[0] is not None and row[0] > MOST_KEPT:
            self._ledger.write(lambda tx: tx.run(TRIM, row[0] - MOST_KEPT))
        return False

    def deliver(self, send: Send) -> bool:
        """Send what is due; whether more is."""
        due = [Told._make(row) for row in self._ledger.read().all(DUE_EVENTS, self._now(), BATCH)]
        for told in due:
            later = None
            try:
                send(told)
            except Exception as fault:  # an edge: one event's trouble must not stop the others
                later = self._later(told.tries)
                strange = None if isinstance(fault, DriverError) else fault
                log.warning(
                    "event %d was not delivered (%d tries): %s", told.number, told.tries + 1, fault, exc_info=strange
                )
            self._ledger.write(lambda tx, told=told, later=later: tx.run(WAIT_EVENT, later, told.number))  # type: ignore[misc]
        return len(due) == BATCH

    def has_errands(self) -> bool:
        """Whether an errand is due."""
        return bool(self._ledger.read().all(DUE_ERRANDS, self._now(), 1))

    def run(self, kinds: dict[str, Run]) -> bool:
        """Do the errands that are due; whether more are."""
        due: Sequence[Errand] = [Errand._make(row) for row in self._ledger.read().all(DUE_ERRANDS, self._now(), BATCH)]
        for errand in due:
            try:
                kinds[errand.kind](errand)
            except Exception as fault:  # an edge: one errand's trouble must not stop the others
                later = self._later(errand.tries)
                strange = None if isinstance(fault, DriverError) else fault
                log.warning("errand %d (%s) must wait: %s", errand.number, errand.kind, fault, exc_info=strange)
                if later is not None:
                    self._ledger.write(
                        lambda tx, errand=errand, later=later: tx.run(WAIT_ERRAND, later, errand.number)  # type: ignore[misc]
                    )
                    continue
            self._ledger.write(lambda tx, errand=errand: tx.run(DONE, errand.number))  # type: ignore[misc]
        return len(due) == BATCH

    def _later(self, tries: int) -> int | None:
        return None if tries + 1 >= MOST_TRIES else self._now() + min(2**tries, LONGEST_WAIT) * SECOND

    def _now(self) -> int:
        return (self._database.clock() - EPOCH) // MICROSECOND
