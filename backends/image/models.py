"""The rows of images."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import String
from sqlalchemy.orm import Mapped, mapped_column

from backends.db import Base, Shared


class ImageState(StrEnum):
    """Where an image is in its life. `pending` until every snapshot of its mappings is complete."""

    PENDING = "pending"
    AVAILABLE = "available"
    FAILED = "failed"
    DISABLED = "disabled"


class Image(Shared, Base):
    """What a guest is made from: block mappings and the machine that they expect. An id may stand in many regions.

    `mappings` lists, per device: `device`, and either `ephemeral` (a name), or `size` (GiB), `kind`, `snapshot`,
    `iops`, `throughput`, `encrypted`, `key`, `keep` (True when the disk outlives its guest).
    """

    __tablename__ = "image"
    __topic__ = "image"

    region: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(128), index=True)
    state: Mapped[str] = mapped_column(String(16), default=ImageState.AVAILABLE)
    architecture: Mapped[str] = mapped_column(String(16))
    root_device: Mapped[str | None] = mapped_column(String(32))
    mappings: Mapped[list[Any]]
    created: Mapped[datetime]
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)
