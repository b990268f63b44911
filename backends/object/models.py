"""The index of the object store.

Keys are kept as UTF-8 bytes, so that every database orders them alike. The live version of a key stands on shelf
`LIVE`, where a listing finds live keys and nothing else; older versions and delete markers stand on shelf `PAST`,
newest first (`rank` falls with time). The newest version of a key is the live row if there is one, else the first past
row, which then is a delete marker.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Text,
    UniqueConstraint,
)
from sqlalchemy.orm import Mapped, mapped_column

from backends.db import Base, Owned
from backends.indexes import partial_index

LIVE = 0
PAST = 1

Number = BigInteger().with_variant(Integer(), "sqlite")


class Keeping(StrEnum):
    """Whether a container keeps the versions that a new one replaces."""

    NEVER = ""
    ENABLED = "Enabled"
    SUSPENDED = "Suspended"


class Container(Owned, Base):
    """A container of objects. Its name is unique in the cloud; its number is never given twice."""

    __tablename__ = "container"
    __topic__ = "container"
    __table_args__ = {"sqlite_autoincrement": True}
    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    name: Mapped[str] = mapped_column(String(255), unique=True)
    region: Mapped[str] = mapped_column(String(32))
    created: Mapped[datetime]
    keeping: Mapped[str] = mapped_column(String(16), default=Keeping.NEVER)


class ContainerDocument(Base):
    """A settings document of a container; `name` tells documents of one kind apart, and is empty where there is one."""

    __tablename__ = "container_document"
    __topic__ = "container"
    container: Mapped[int] = mapped_column(Number, ForeignKey(Container.number, ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True, default="")
    body: Mapped[dict[str, Any]]


class TenantDocument(Base):
    """A settings document that holds for all containers of a tenant."""

    __tablename__ = "container_tenant_document"
    __topic__ = "container"
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32), primary_key=True)
    body: Mapped[dict[str, Any]]


class Door(Owned, Base):
    """Another name for a container, with terms of its own (`body`, opaque here). Unique among its owner's in a region,
    and in the cloud by its alias."""

    __tablename__ = "container_door"
    __topic__ = "container"
    __table_args__ = (UniqueConstraint("tenant", "region", "name"),)
    alias: Mapped[str] = mapped_column(String(64), primary_key=True)
    region: Mapped[str] = mapped_column(String(32))
    name: Mapped[str] = mapped_column(String(64))
    container: Mapped[str] = mapped_column(String(255), index=True)
    created: Mapped[datetime]
    body: Mapped[dict[str, Any]]


class Version(Base):
    """A version of an object, or a delete marker.

    `version` is empty for the null version. The content is one of: `small` (a row of `Small`), `blob` (one file),
    `assembly` (parts), nothing (a marker). `sealed_key` is the content's key as `cipher.py` seals it, None where the
    bytes lie as they are. `facts`, `tags`, `grants` and `terms` (for how long and how it is to be kept) are JSON texts
    of the front end, opaque here. `book` names the `Annotation`s, if there are any. `modified` counts microseconds
    since 1970. Contents stand elsewhere, since SQLite compares keys of rows that do not fit a quarter of a page by
    copying the whole row.
    """

    __tablename__ = "object_version"
    __topic__ = None
    container: Mapped[int] = mapped_column(Number, ForeignKey(Container.number), primary_key=True)
    shelf: Mapped[int] = mapped_column(SmallInteger, primary_key=True)
    key: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    rank: Mapped[int] = mapped_column(Number, primary_key=True)
    version: Mapped[str] = mapped_column(String(48))
    marker: Mapped[int] = mapped_column(SmallInteger, default=0)
    size: Mapped[int] = mapped_column(BigInteger, default=0)
    modified: Mapped[int] = mapped_column(BigInteger)
    etag: Mapped[str] = mapped_column(String(64), default="")
    storage: Mapped[str] = mapped_column(String(32), default="")
    checksum: Mapped[str] = mapped_column(String(160), default="")
    owner: Mapped[str] = mapped_column(String(64), default="")
    parts: Mapped[int] = mapped_column(Integer, default=0)
    facts: Mapped[str] = mapped_column(Text, default="")
    tags: Mapped[str] = mapped_column(Text, default="")
    grants: Mapped[str] = mapped_column(Text, default="")
    blob: Mapped[str | None] = mapped_column(String(32))
    assembly: Mapped[str | None] = mapped_column(String(64))
    small: Mapped[int | None] = mapped_column(Number)
    terms: Mapped[str] = mapped_column(Text, default="", server_default="")
    sealed_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    book: Mapped[str | None] = mapped_column(String(32))

    __table_args__ = (
        partial_index("object_version_null", "container", "key", unique=True, where="shelf = 1 AND version = ''"),
        {"sqlite_with_rowid": False},
    )


class Annotation(Base):
    """A named content beside a version's own. All of a version are one `book`, which only that version has.

    The content is one of `small` and `blob`, as a version's is.
    """

    __tablename__ = "object_annotation"
    __topic__ = None
    __table_args__ = {"sqlite_with_rowid": False}
    book: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    size: Mapped[int] = mapped_column(Integer)
    modified: Mapped[int] = mapped_column(BigInteger)
    etag: Mapped[str] = mapped_column(String(64))
    checksum: Mapped[str] = mapped_column(String(160), default="")
    blob: Mapped[str | None] = mapped_column(String(32))
    small: Mapped[int | None] = mapped_column(Number)
    sealed_key: Mapped[bytes | None] = mapped_column(LargeBinary)


class Small(Base):
    """A small content, sealed where its version has a key; one version or annotation is made of it. `digest` and
    `damage`: see `Blob`. A damaged one is empty."""

    __tablename__ = "object_small"
    __topic__ = None
    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    data: Mapped[bytes] = mapped_column(LargeBinary)
    digest: Mapped[int | None] = mapped_column(BigInteger)
    damage: Mapped[str] = mapped_column(String(100), server_default="")


class Blob(Base):
    """A file of the driver, and how many versions and parts are made of it. At none, the row goes, then the file.

    `size` and `digest` (CRC-64/NVME as a signed number; none: not known yet) are those of the bytes as the driver has
    them, sealed. `damage` says what the auditor found wrong with them.
    """

    __tablename__ = "blob"
    __topic__ = None
    __table_args__ = {"sqlite_with_rowid": False}
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger)
    uses: Mapped[int] = mapped_column(Integer)
    digest: Mapped[int | None] = mapped_column(BigInteger)
    damage: Mapped[str] = mapped_column(String(100), server_default="")


class Chore(Base):
    """How far work on the whole store has come, and which store this is: JSON by the name of the work."""

    __tablename__ = "object_chore"
    __topic__ = None
    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    body: Mapped[str] = mapped_column(Text)


class Assembly(Base):
    """A content made of parts. While `uses` is 0 it is an open upload to `key`; then that many versions are made of it.

    `version` and `etag` are what its completion made, for those who complete it again. `sealed_key` is the key of all
    parts, and of the first version that is made of them. `crossed` is 1 once the key was deleted after it was opened.
    """

    __tablename__ = "assembly"
    __topic__ = None
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    container: Mapped[int] = mapped_column(Number)
    key: Mapped[bytes] = mapped_column(LargeBinary)
    opened: Mapped[int] = mapped_column(BigInteger)
    uses: Mapped[int] = mapped_column(Integer, default=0)
    version: Mapped[str] = mapped_column(String(48), default="")
    etag: Mapped[str] = mapped_column(String(64), default="")
    owner: Mapped[str] = mapped_column(String(64), default="")
    storage: Mapped[str] = mapped_column(String(32), default="")
    facts: Mapped[str] = mapped_column(Text, default="")
    sealed_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    crossed: Mapped[int] = mapped_column(SmallInteger, default=0, server_default="0")

    __table_args__ = (partial_index("assembly_open", "container", "key", "opened", "id", where="uses = 0"),)


class Part(Base):
    """A part of an assembly: one blob. `start` is its place in the whole, known once the assembly is complete."""

    __tablename__ = "assembly_part"
    __topic__ = None
    __table_args__ = {"sqlite_with_rowid": False}
    assembly: Mapped[str] = mapped_column(ForeignKey(Assembly.id, ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    start: Mapped[int] = mapped_column(BigInteger, default=0)
    size: Mapped[int] = mapped_column(BigInteger)
    modified: Mapped[int] = mapped_column(BigInteger)
    etag: Mapped[str] = mapped_column(String(64))
    checksum: Mapped[str] = mapped_column(String(160), default="")
    blob: Mapped[str | None] = mapped_column(String(32))


class Round(Base):
    """How far the round has come that looks for what time has done to a container's objects.

    `plan` names the rules that the round goes by, `until` the moment (microseconds since 1970) that it brings all
    up to, `key` the last key that it is done with; without one the round is over.
    """

    __tablename__ = "container_round"
    __topic__ = None
    container: Mapped[int] = mapped_column(Number, ForeignKey(Container.number, ondelete="CASCADE"), primary_key=True)
    plan: Mapped[str] = mapped_column(String(64))
    until: Mapped[int] = mapped_column(BigInteger)
    key: Mapped[bytes | None] = mapped_column(LargeBinary)


class Errand(Base):
    """Something that is to be done with a version once it is `due` (microseconds since 1970); gone when it is done.

    It is written in the transaction that makes it necessary. `kind` and `facts` are the front end's.
    """

    __tablename__ = "object_errand"
    __topic__ = None
    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    tenant: Mapped[str] = mapped_column(String(64))
    container: Mapped[int] = mapped_column(Number)
    key: Mapped[bytes] = mapped_column(LargeBinary)
    version: Mapped[str] = mapped_column(String(48))
    kind: Mapped[str] = mapped_column(String(16))
    facts: Mapped[str] = mapped_column(Text, default="")
    due: Mapped[int] = mapped_column(BigInteger)
    tries: Mapped[int] = mapped_column(Integer, default=0)

    __table_args__ = (Index("object_errand_due", "due", "number"), {"sqlite_autoincrement": True})


class Event(Base):
    """What happened to an object, for those who asked to be told, in the order of `number`, which never comes again.

    `record` and `targets` are JSON texts of the front end. `due` is when it is to be sent; None: nobody waits for it.
    """

    __tablename__ = "object_event"
    __topic__ = None
    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    tenant: Mapped[str] = mapped_column(String(64))
    container: Mapped[str] = mapped_column(String(255))
    targets: Mapped[str] = mapped_column(Text)
    record: Mapped[str] = mapped_column(Text)
    due: Mapped[int | None] = mapped_column(BigInteger)
    tries: Mapped[int] = mapped_column(Integer, default=0)

    __table_args__ = (
        Index("object_event_container", "container", "number"),
        partial_index("object_event_due", "due", "number", where="due IS NOT NULL"),
        {"sqlite_autoincrement": True},
    )


class AccessLine(Base):
    """A line of a container's access log that stands in no object yet. `at`: microseconds since 1970."""

    __tablename__ = "container_access"
    __topic__ = None
    number: Mapped[int] = mapped_column(Number, primary_key=True, autoincrement=True)
    tenant: Mapped[str] = mapped_column(String(64))
    container: Mapped[int] = mapped_column(Number)
    at: Mapped[int] = mapped_column(BigInteger)
    line: Mapped[str] = mapped_column(Text)

    __table_args__ = (Index("container_access_container", "container", "number"), {"sqlite_autoincrement": True})
