"""The rows of guests, hosts and login keys."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Boolean, Integer, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backends.db import Base, Scoped
from backends.volume.models import open_rows


class GuestState(StrEnum):
    """Where a guest is in its life."""

    PENDING = "pending"
    RUNNING = "running"
    SHUTTING_DOWN = "shutting-down"
    TERMINATED = "terminated"
    STOPPING = "stopping"
    STOPPED = "stopped"


class GuestWish(StrEnum):
    """What a guest is to be."""

    RUNNING = "running"
    STOPPED = "stopped"
    TERMINATED = "terminated"


class Cause(StrEnum):
    """Why a guest is going, gone or stopped."""

    NONE = ""
    ASKED = "asked"
    INSIDE = "inside"
    SLEEP = "sleep"
    CRASH = "crash"
    NO_ROOM = "no-room"
    NO_DISK = "no-disk"
    FAULT = "fault"


class Host(Base):
    """A machine that runs guests. None as a capacity: it has no bound (a simulated machine). `overhead`: MiB that a
    guest takes beside its own memory. `zone`: where it stands; None: it stands for every zone."""

    __tablename__ = "host"
    __topic__ = "compute"

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    vcpus: Mapped[int | None]
    memory: Mapped[int | None]
    overhead: Mapped[int] = mapped_column(Integer, default=0, server_default="0")
    zone: Mapped[str | None] = mapped_column(String(32))


class Guest(Scoped, Base):
    """A machine of a tenant's. `memory` in MiB; `boot` counts the starts that were wished for.

    The machinery has caught up when `applied == generation`. `cause` tells why the state is what it is. Guests with the
    same `apart` share a host only when they have the same `part` of it, too.
    """

    __tablename__ = "guest"
    __topic__ = "compute"
    __table_args__ = (open_rows("guest_open"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    batch: Mapped[str] = mapped_column(String(64), index=True)
    position: Mapped[int] = mapped_column(Integer, default=0)
    image: Mapped[str] = mapped_column(String(64))
    flavor: Mapped[str] = mapped_column(String(32))
    vcpus: Mapped[int]
    memory: Mapped[int]
    architecture: Mapped[str] = mapped_column(String(16))
    zone: Mapped[str] = mapped_column(String(32))
    network_id: Mapped[str | None] = mapped_column(String(64), index=True)
    segment_id: Mapped[str | None] = mapped_column(String(64), index=True)
    address: Mapped[str | None] = mapped_column(String(64))
    key_name: Mapped[str | None] = mapped_column(String(255))
    user_data: Mapped[str | None] = mapped_column(Text)
    profile: Mapped[str | None] = mapped_column(String(64))
    root_device: Mapped[str | None] = mapped_column(String(32))
    host: Mapped[str | None] = mapped_column(String(64), index=True)
    apart: Mapped[str | None] = mapped_column(String(64), index=True, sort_order=9)
    part: Mapped[str | None] = mapped_column(String(64), sort_order=9)
    locked: Mapped[bool] = mapped_column(Boolean, default=False)
    stop_locked: Mapped[bool] = mapped_column(Boolean, default=False)
    ends_on_shutdown: Mapped[bool] = mapped_column(Boolean, default=False)
    monitored: Mapped[bool] = mapped_column(Boolean, default=False)
    created: Mapped[datetime]
    launched: Mapped[datetime]
    changed: Mapped[datetime]
    cause: Mapped[str] = mapped_column(String(32), default="")
    state: Mapped[str] = mapped_column(String(16), default=GuestState.PENDING, index=True)
    wanted: Mapped[str] = mapped_column(String(16), default=GuestWish.RUNNING)
    boot: Mapped[int] = mapped_column(Integer, default=1)
    generation: Mapped[int] = mapped_column(default=1)
    applied: Mapped[int] = mapped_column(default=0)
    failures: Mapped[int] = mapped_column(Integer, default=0)
    notes: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Health(Scoped, Base):
    """What was found out about a running guest. Of `boot`, the start it was found out for, on: `leased`, when its card
    got its address; `agent`, whether the agent inside answered; `trouble`, what is wrong with what runs it ("":
    nothing); `since`, when any of this changed last."""

    __tablename__ = "guest_health"
    __topic__ = "compute"

    guest: Mapped[str] = mapped_column(String(64), primary_key=True)
    boot: Mapped[int] = mapped_column(Integer, default=0)
    leased: Mapped[datetime | None]
    agent: Mapped[bool] = mapped_column(Boolean, default=False)
    trouble: Mapped[str] = mapped_column(String(255), default="")
    since: Mapped[datetime]


class LoginKey(Scoped, Base):
    """A public key that guests let in. `public` is the OpenSSH text; the private half is never kept."""

    __tablename__ = "login_key"
    __topic__ = "key"
    __table_args__ = (UniqueConstraint("tenant", "region", "name"),)

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(255))
    kind: Mapped[str] = mapped_column(String(16))
    public: Mapped[str] = mapped_column(Text)
    fingerprint: Mapped[str] = mapped_column(String(128))
    created: Mapped[datetime]
