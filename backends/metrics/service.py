"""The verbs of measured series, bound to one unit of work."""

from __future__ import annotations

import hashlib
import importlib
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, LargeBinary, bindparam, exists, select

from backends.db import EPOCH, Unit
from backends.errors import Exhausted
from backends.metrics.models import Block, Subject
from backends.metrics.samples import MOST_SERIES, Sample, pack, unpack
from backends.statement import Statement

SECOND = timedelta(seconds=1)
Pairs = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Tier:
    """Samples of one step: how long they are kept in it, and how long a span one block holds. All in seconds."""

    resolution: int
    kept: int
    span: int


TIERS = (
    Tier(1, 3 * 3600, 600),
    Tier(60, 15 * 86400, 3600),
    Tier(300, 63 * 86400, 86400),
    Tier(3600, 455 * 86400, 30 * 86400),
)
"""What is older than a tier keeps goes into the next one; what is older than the last one is forgotten."""
SPANS = {tier.resolution: tier.span for tier in TIERS}


@dataclass(frozen=True, slots=True)
class Measured:
    """One sample to be kept: `count` values with that sum, least and most, in a step of `resolution` seconds (1 or 60)
    that began at `at`."""

    name: str
    unit: str
    at: datetime
    count: float
    total: float
    least: float
    most: float
    resolution: int = 60


def value(name: str, unit: str, at: datetime, number: float) -> Measured:
    """One value."""
    return Measured(name, unit, at, 1.0, number, number, number)


@dataclass(frozen=True, slots=True)
class Found:
    """A sample that was read: when its step began, and how long that is, in seconds."""

    at: int
    resolution: int
    sample: Sample


def digest(space: str, pairs: Pairs) -> tuple[str, str]:
    """What stands for a subject, and the text of its pairs. The order of the pairs makes no difference."""
    text = json.dumps(sorted(pairs), separators=(",", ":"))
    return hashlib.sha256(f"{space}\n{text}".encode()).hexdigest(), text


def seconds(moment: datetime) -> int:
    """Whole seconds since 1970."""
    return (moment - EPOCH) // SECOND


@cache
def _append(dialect: str) -> Statement:
    """The statement that puts bytes at the end of a block, made if need be; only the dialect in use is loaded."""
    made: Any = importlib.import_module(f"sqlalchemy.dialects.{dialect}")
    insert = made.insert(Block).values(
        subject=bindparam("s", type_=BigInteger()),
        resolution=bindparam("r", type_=BigInteger()),
        start=bindparam("a", type_=BigInteger()),
        data=bindparam("d"),
    )
    # SQLite makes text of joined bytes, without changing any.
    joined = Block.data.op("||")(insert.excluded.data).cast(LargeBinary)
    keys = [Block.subject, Block.resolution, Block.start]
    return Statement(insert.on_conflict_do_update(index_elements=keys, set_={"data": joined}), "s", "r", "a", "d")


class MetricService:
    """Keeps samples and reads them."""

    def __init__(self, unit: Unit) -> None:
        self.unit = unit

    def record(self, space: str, measured: Mapping[tuple[tuple[str, str], ...], Sequence[Measured]]) -> None:
        """Keep samples, by the pairs of the subject that each is of. Subjects and series that are new are made.

        Raises `Exhausted` (facts: limit) when a subject would have too many series."""
        subjects = self._subjects(space, measured)
        for pairs, samples in measured.items():
            self._append(subjects[pairs], samples)

    def append(self, subject: int, resolution: int, start: int, samples: Iterable[Sample]) -> None:
        """Put samples at the end of a block."""
        self.unit.run(_append(self.unit.database.dialect), subject, resolution, start, pack(samples))

    def _append(self, subject: Subject, samples: Sequence[Measured]) -> None:
        places = {(name, unit): place for place, (name, unit) in enumerate(subject.series)}
        blocks: dict[tuple[int, int], list[Sample]] = defaultdict(list)
        for one in samples:
            moment, span = seconds(one.at), SPANS[one.resolution]
            start = moment - moment % span
            slot, place = (moment - start) // one.resolution, places[one.name, one.unit]
            blocks[one.resolution, start].append(Sample(slot, place, one.count, one.total, one.least, one.most))
        for (resolution, start), found in blocks.items():
            self.append(subject.number, resolution, start, found)

    def _subjects(
        self, space: str, measured: Mapping[tuple[tuple[str, str], ...], Sequence[Measured]]
    ) -> dict[tuple[tuple[str, str], ...], Subject]:
        session, known = self.unit.session, {pairs: digest(space, pairs) for pairs in measured}
        rows: dict[str, Subject] = {}
        digests = sorted(mark for mark, _ in known.values())
        for begin in range(0, len(digests), 500):
            wanted = select(Subject).where(Subject.digest.in_(digests[begin : begin + 500])).with_for_update()
            rows |= {row.digest: row for row in session.scalars(wanted)}
        for pairs, samples in measured.items():
            mark, text = known[pairs]
            row = rows.get(mark)
            if row is None:
                row = rows[mark] = Subject(space=space, pairs=text, digest=mark, series=[], created=self.unit.now)
                session.add(row)
            new = {(one.name, one.unit): None for one in samples}
            for name, unit in row.series:
                new.pop((name, unit), None)
            if new:
                if len(row.series) + len(new) > MOST_SERIES:
                    raise Exhausted(limit=MOST_SERIES)
                row.series = [*row.series, *([name, unit] for name, unit in new)]
        session.flush()
        return {pairs: rows[mark] for pairs, (mark, _) in known.items()}

    def subject(self, space: str, pairs: Pairs) -> Subject | None:
        """The subject with exactly these pairs, in the caller's sight."""
        return self.unit.session.scalar(select(Subject).where(Subject.digest == digest(space, pairs)[0]))

    def read(self, subject: Subject, places: Iterable[int], begin: int, end: int, period: int) -> list[Found]:
        """Samples of some of a subject's series whose steps began in [begin, end), in seconds since 1970; those of
        steps of which `period` is no multiple are left out."""
        wanted, found = frozenset(places), []
        for tier in TIERS:
            if period % tier.resolution:
                continue
            query = select(Block.start, Block.data).where(
                Block.subject == subject.number,
                Block.resolution == tier.resolution,
                Block.start > begin - tier.span,
                Block.start < end,
            )
            for start, data in self.unit.session.execute(query):
                for sample in unpack(data, wanted):
                    at = start + sample.slot * tier.resolution
                    if begin <= at < end:
                        found.append(Found(at, tier.resolution, sample))
        return found

    def active(self, since: int, *, space: str | None = None, after: int = 0, limit: int = 500) -> Sequence[Subject]:
        """Subjects with blocks that hold something younger than `since` (to the span of a block), by number."""
        young = exists().where(Block.subject == Subject.number, Block.start > since - 3600, Block.resolution <= 60)
        query = select(Subject).where(Subject.number > after, young).order_by(Subject.number).limit(limit)
        if space is not None:
            query = query.where(Subject.space == space)
        return self.unit.session.scalars(query).all()
