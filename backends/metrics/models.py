"""The rows of measured series."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backends.db import Base, Scoped

Number = BigInteger().with_variant(Integer(), "sqlite")


class Subject(Scoped, Base):
    """What is measured: some name-value pairs in a space of names. `digest` stands for both.

    `series` lists what is measured of it, as pairs of a name and a unit; a place in the list is never given anew.
    """

    __tablename__ = "metric_subject"
    __topic__ = None
    __table_args__ = (UniqueConstraint("tenant", "region", "digest"),)

    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    space: Mapped[str] = mapped_column(String(255))
    pairs: Mapped[str] = mapped_column(Text)
    digest: Mapped[str] = mapped_column(String(64))
    series: Mapped[list[Any]]
    created: Mapped[datetime]


class Block(Base):
    """Samples of one subject: those of one step (`resolution`, in seconds) that lie in the span that begins at `start`
    (seconds since 1970). `data` is what `backends.metrics.samples` packs."""

    __tablename__ = "metric_block"
    __topic__ = None
    __table_args__ = (Index("metric_block_age", "resolution", "start"),)

    subject: Mapped[int] = mapped_column(
        Number, ForeignKey("metric_subject.number", ondelete="CASCADE"), primary_key=True
    )
    resolution: Mapped[int] = mapped_column(Integer, primary_key=True)
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)
