"""What time does to samples: coarser steps, and in the end nothing."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta

from sqlalchemy import delete, exists, select

from backends.db import Database, Unit
from backends.metrics.models import Block, Subject
from backends.metrics.samples import Sample, merged, unpack
from backends.metrics.service import TIERS, MetricService, Tier, seconds

BATCH = 100
"""Blocks that one unit of work takes on: some milliseconds."""
LONELY = timedelta(days=1)
"""A subject that has had nothing measured for so long, and has no block, is forgotten."""


def age(database: Database) -> bool:
    """Bring what is older than its tier keeps into the next one, or forget it. True when more is left to do."""
    for number, tier in enumerate(TIERS):
        following = TIERS[number + 1] if number + 1 < len(TIERS) else None
        with database.unit(None, write=False) as unit:
            last = seconds(unit.now) - tier.kept - tier.span
            doomed = unit.session.execute(
                select(Block.subject, Block.start)
                .where(Block.resolution == tier.resolution, Block.start <= last)
                .order_by(Block.start, Block.subject)
                .limit(BATCH)
            ).all()
        if doomed:
            with database.unit(None, write=True) as unit:
                for subject, start in doomed:
                    _move(unit, tier, following, subject, start)
            return True
    return _forget(database)


def _move(unit: Unit, tier: Tier, following: Tier | None, subject: int, start: int) -> None:
    """Put the samples of one block, merged, into blocks of the next tier."""
    gone = (
        delete(Block)
        .where(Block.subject == subject, Block.resolution == tier.resolution, Block.start == start)
        .returning(Block.data)
    )
    data = unit.session.execute(gone).scalar()
    if data is None or following is None:
        return
    steps: dict[tuple[int, int], list[Sample]] = defaultdict(list)
    for sample in unpack(data):
        steps[(start + sample.slot * tier.resolution) // following.resolution, sample.series].append(sample)
    blocks: dict[int, list[Sample]] = defaultdict(list)
    for (step, _), samples in steps.items():
        moment = step * following.resolution
        begin = moment - moment % following.span
        blocks[begin].append(merged(samples, (moment - begin) // following.resolution))
    service = MetricService(unit)
    for begin, found in blocks.items():
        service.append(subject, following.resolution, begin, found)


def _forget(database: Database) -> bool:
    with database.unit(None, write=False) as unit:
        held = exists().where(Block.subject == Subject.number)
        lonely = unit.session.scalars(
            select(Subject.number).where(~held, Subject.created < unit.now - LONELY).limit(BATCH)
        ).all()
    if lonely:
        with database.unit(None, write=True) as unit:
            held = exists().where(Block.subject == Subject.number)
            unit.session.execute(delete(Subject).where(Subject.number.in_(lonely), ~held))
    return len(lonely) == BATCH
