"""The auditor: reads every stored byte again and compares it with the checksum that was recorded when it was written.

It looks at what the driver has, so it needs no keys where contents are encrypted. A content whose bytes differ is
marked in the index, so that its readers get a clear error, and its blob is set aside; one that stands there again,
sound, loses the mark. A driver that cannot be asked is no proof of damage: that is told, and nothing is changed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Generator, Iterator
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from sqlalchemy import bindparam, func, literal_column, or_, select, union, update

from backends import checksum
from backends.errors import DriverError, Missing
from backends.object import chores
from backends.object.contents import BLOCK, CHECK, as_number, digest_of
from backends.object.drivers.base import BlobDriver
from backends.object.ledger import Job, Ledger, Row, Statement
from backends.object.models import Annotation, Blob, Container, Part, Small, Version

NOTED = 64 << 20
"""Bytes after which progress is noted: so much is read twice at most after a kill."""
PAGE = 200
WORK = "audit"
HEALTHY = ""
DIFFERENT, SHORTER, LOST = "its bytes changed", "its length changed", "its bytes are gone"

_NAMED, _NUMBERED = Blob.name == bindparam("at"), Small.number == bindparam("at")
BLOBS = Statement(
    select(Blob.name, Blob.size, Blob.digest, Blob.damage)
    .where(Blob.name > bindparam("after"))
    .order_by(Blob.name)
    .limit(literal_column(str(PAGE))),
    "after",
)
SMALLS = Statement(
    select(Small.number, Small.data, Small.digest, Small.damage)
    .where(Small.number > bindparam("after"))
    .order_by(Small.number)
    .limit(literal_column(str(PAGE))),
    "after",
)
ONE_BLOB = Statement(select(Blob.name, Blob.size, Blob.digest, Blob.damage).where(_NAMED), "at")
MARK_BLOB = Statement(update(Blob).where(_NAMED).values(damage=bindparam("new")), "new", "at")
RECORD_BLOB = Statement(
    update(Blob).where(_NAMED, Blob.digest.is_(None)).values(digest=bindparam("new"), size=bindparam("new_size")),
    "new", "new_size", "at",
)  # fmt: skip
EMPTY_SMALL = Statement(
    update(Small)
    .where(_NUMBERED, Small.data == bindparam("seen"))
    .values(data=bindparam("nothing"), damage=bindparam("new")),
    "nothing", "new", "at", "seen",
)  # fmt: skip
RECORD_SMALL = Statement(
    update(Small).where(_NUMBERED, Small.digest.is_(None), Small.data == bindparam("seen")).values(
        digest=bindparam("new")
    ),
    "new", "at", "seen",
)  # fmt: skip
TOTALS = Statement(
    select(
        select(func.count()).select_from(Blob).scalar_subquery(),
        select(func.coalesce(func.sum(Blob.size), literal_column("0"))).scalar_subquery(),
        select(func.count()).select_from(Small).scalar_subquery(),
    )
)
_DAMAGED = Blob.damage != literal_column("''")
_FOUND = (Container.name, Version.key, Version.version, func.coalesce(Blob.damage, Small.damage).label("damage"))
_OF_ONE = or_(_DAMAGED, Small.damage != literal_column("''"))
DAMAGED = Statement(
    union(
        select(*_FOUND)
        .select_from(Version)
        .join(Container, Container.number == Version.container)
        .join(Part, Part.assembly == Version.assembly, isouter=True)
        .join(Blob, Blob.name == func.coalesce(Version.blob, Part.blob), isouter=True)
        .join(Small, Small.number == Version.small, isouter=True)
        .where(_OF_ONE),
        select(*_FOUND)
        .select_from(Annotation)
        .join(Version, Version.book == Annotation.book)
        .join(Container, Container.number == Version.container)
        .join(Blob, Blob.name == Annotation.blob, isouter=True)
        .join(Small, Small.number == Annotation.small, isouter=True)
        .where(_OF_ONE),
    ).order_by(literal_column("1"), literal_column("2"))
)


@dataclass(slots=True)
class Progress:
    """How far a round has come. `began` is in seconds since 1970, as is `ended`, which is 0 while it goes on."""

    began: float = 0.0
    ended: float = 0.0
    blob: str = ""
    small: int = -1
    contents: int = 0
    bytes: int = 0
    recorded: int = 0
    damaged: int = 0
    healed: int = 0
    unread: list[str] = field(default_factory=list)
    """What could not be asked for (some of it)."""


class Damage(NamedTuple):
    """A version whose content is damaged."""

    container: str
    key: str
    version: str
    reason: str


class Auditor:
    """Goes through the whole store once a round. One at a time for a store; readers and writers go on meanwhile."""

    def __init__(self, ledger: Ledger, driver: BlobDriver) -> None:
        self._ledger, self._driver = ledger, driver
        self.progress = Progress(**chores.recall(self._ledger.read(), WORK))

    def totals(self) -> tuple[int, int]:
        """Contents and bytes that there are now (those in the index count for no bytes)."""
        blobs, size, smalls = self._ledger.read().all(TOTALS)[0]
        return blobs + smalls, int(size)

    def damages(self) -> list[Damage]:
        """Every version that is known to be damaged."""
        rows = self._ledger.read().all(DAMAGED)
        return [Damage(row[0], bytes(row[1]).decode(), row[2], row[3]) for row in rows]

    def round(self, *, anew: bool = False) -> Iterator[int]:
        """Go on with the round that was broken off, or begin one; gives the bytes read at every step (0 at some)."""
        if anew or self.progress.ended or not self.progress.began:
            self.progress = Progress(began=time.time())
        noted = self.progress.bytes
        while rows := self._ledger.read().all(BLOBS, self.progress.blob):
            for row in rows:
                yield from self._check_blob(row)
                self.progress.blob = row[0]
                self.progress.contents += 1
                if self.progress.bytes - noted >= NOTED:
                    self._note()
                    noted = self.progress.bytes
            self._note()
        while rows := self._ledger.read().all(SMALLS, self.progress.small):
            for number, data, digest, damage in rows:
                self._check_small(number, bytes(data), digest, damage)
                self.progress.small = number
                self.progress.contents += 1
            self._note()
            yield 0
        self.progress.ended = time.time()
        self._note()

    # --- blobs --------------------------------------------------------------------------------------------------------

    def _check_blob(self, row: Row) -> Iterator[int]:
        name, size, digest, damage = row
        try:
            found = yield from self._verdict(name, size, digest)
            if found and not damage:
                # Once more, with what the index says now: the blob may have gone by right, or a read may have erred.
                again = self._ledger.read().one(ONE_BLOB, name)
                found = HEALTHY if again is None else (yield from self._verdict(*again[:3]))
            self._mark(name, damage, found)
        except DriverError as fault:
            if len(self.progress.unread) < PAGE:
                self.progress.unread.append(f"{name}: {fault}"[:200])

    def _verdict(self, name: str, size: int, digest: int | None) -> Generator[int, None, str]:
        """What is wrong with a blob. One of which no checksum was recorded gets it now."""
        try:
            blob = self._driver.open(name)
        except Missing:
            return LOST
        check, offset = checksum.checksum(CHECK), 0
        try:
            while block := blob.read(offset, BLOCK):
                check.update(block)
                offset += len(block)
                self.progress.bytes += len(block)
                yield len(block)
        finally:
            blob.close()
        if digest is None:
            self._commit(lambda tx: tx.run(RECORD_BLOB, as_number(check.digest()), offset, name))
            self.progress.recorded += 1
            return HEALTHY
        if offset != size:
            return SHORTER
        return HEALTHY if as_number(check.digest()) == digest else DIFFERENT

    def _mark(self, name: str, damage: str, found: str) -> None:
        """First the mark, then the move: after a kill in between, the next round moves it."""
        if found:
            if damage or self._commit(lambda tx: tx.run(MARK_BLOB, found, name)):
                self.progress.damaged += 1
                self._driver.set_aside(name)
        elif damage:
            self.progress.healed += self._commit(lambda tx: tx.run(MARK_BLOB, HEALTHY, name))

    # --- contents in the index ----------------------------------------------------------------------------------------

    def _check_small(self, number: int, data: bytes, digest: int | None, damage: str) -> None:
        if damage:
            self.progress.damaged += 1
        elif digest is None:
            self._commit(lambda tx: tx.run(RECORD_SMALL, digest_of(data), number, data))
            self.progress.recorded += 1
        elif digest_of(data) != digest and self._commit(lambda tx: tx.run(EMPTY_SMALL, b"", DIFFERENT, number, data)):
            self.progress.damaged += 1
            self._keep_aside(data)

    def _keep_aside(self, data: bytes) -> None:
        """What was in the index lies beside damaged blobs from now on."""
        name = os.urandom(16).hex()
        writer = self._driver.create(name)
        try:
            writer.write(data)
            writer.keep()
        finally:
            writer.discard()
        self._driver.set_aside(name)

    def _note(self) -> None:
        body = asdict(self.progress)
        self._ledger.write(lambda tx: chores.note(tx, WORK, body))

    def _commit(self, job: Job[int]) -> int:
        return self._ledger.write(job)[0]


class BackgroundAudit:
    """A round every so often, a little at a time. For one reconciler."""

    def __init__(self, ledger: Ledger, driver: BlobDriver, *, rate: int, period: float, glance: float = 0.1) -> None:
        """`rate`: bytes a second; `period`: seconds from the end of one round to the beginning of the next; `glance`:
        seconds between steps of a round."""
        self._auditor = Auditor(ledger, driver)
        self._slice, self._left, self._period = max(int(rate * glance), 1), 0, period
        self._round: Iterator[int] | None = None

    def step(self) -> bool:
        """A slice of the round that is due; whether some of it is left."""
        if self._round is None:
            ended = self._auditor.progress.ended
            if ended and time.time() - ended < self._period:
                return False
            self._round = self._auditor.round()
        self._left = min(self._left, 0) + self._slice
        while self._left > 0:
            read = next(self._round, None)
            if read is None:
                self._round = None
                return False
            self._left -= max(read, 1 << 10)
        return True
