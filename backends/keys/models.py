"""Keys, the material that they have had, names for them, and grants of their use."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Boolean, ForeignKey, Integer, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from backends.db import Base, Owned


class State(StrEnum):
    """What can be done with a key: everything; nothing until it is enabled; nothing until it has material; nothing
    until it is gone, or until its replicas are gone first."""

    ENABLED = "enabled"
    DISABLED = "disabled"
    EMPTY = "empty"
    DOOMED = "doomed"
    WAITING = "waiting"


class MasterKey(Owned, Base):
    """A key. `spec` says what its material is, `purpose` what it is for; `keeper` names the service that made it for
    its tenant, and is empty for the tenant's own. `rules` is the front end's text of who may use it.

    `turn_days` is how often it gets new material by itself (0: never), `turns` when it does next.
    """

    __tablename__ = "master_key"
    __topic__ = "keys"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    region: Mapped[str] = mapped_column(String(32))
    spec: Mapped[str] = mapped_column(String(32))
    purpose: Mapped[str] = mapped_column(String(32))
    state: Mapped[str] = mapped_column(String(16), default=State.ENABLED)
    note: Mapped[str] = mapped_column(Text, default="")
    keeper: Mapped[str] = mapped_column(String(32), default="")
    rules: Mapped[str] = mapped_column(Text)
    tags: Mapped[dict[str, Any]] = mapped_column(default=dict)
    created: Mapped[datetime]
    goes: Mapped[datetime | None]
    """When a doomed key is dropped."""
    lingers: Mapped[int] = mapped_column(Integer, default=0, server_default="0", sort_order=9)
    """How many days a key that waits for its replicas stays after the last of them."""
    outside: Mapped[bool] = mapped_column(Boolean, default=False, server_default="0", sort_order=9)
    """Whether the material is brought from elsewhere."""
    original: Mapped[str | None] = mapped_column(String(64), index=True, sort_order=9)
    """For a replica, of which key in another region: it has that one's material, and its id with `@` and the region."""
    turn_days: Mapped[int] = mapped_column(Integer, default=0)
    turns: Mapped[datetime | None]


class Material(Owned, Base):
    """What a key is made of, sealed; the highest number is in use, older ones only open what they closed."""

    __tablename__ = "master_key_material"
    __topic__ = "keys"
    key: Mapped[str] = mapped_column(ForeignKey(MasterKey.id, ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    created: Mapped[datetime]
    cause: Mapped[str] = mapped_column(String(16), default="")
    """Why there is another one: `automatic`, `on demand`; empty for the first."""
    ends: Mapped[datetime | None] = mapped_column(sort_order=9)
    """When material that was brought along is dropped: then `sealed` is empty, and only the same may come again."""
    mark: Mapped[str] = mapped_column(String(64), default="", server_default="", sort_order=9)
    """What such material is known by again."""


class KeyName(Owned, Base):
    """A name that stands for a key of the same tenant and region."""

    __tablename__ = "master_key_name"
    __topic__ = "keys"
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    region: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(256), primary_key=True)
    key: Mapped[str] = mapped_column(ForeignKey(MasterKey.id, ondelete="CASCADE"), index=True)
    created: Mapped[datetime]
    changed: Mapped[datetime]


class Grant(Owned, Base):
    """Leave for somebody to use a key. `about`: who, what, under which conditions, in the front end's words."""

    __tablename__ = "master_key_grant"
    __topic__ = "keys"
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    key: Mapped[str] = mapped_column(ForeignKey(MasterKey.id, ondelete="CASCADE"), index=True)
    token: Mapped[str] = mapped_column(String(256), index=True)
    about: Mapped[dict[str, Any]]
    created: Mapped[datetime]
