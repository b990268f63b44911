"""Containers: made, found, set up and dropped. What hot paths ask of a container is kept in memory while it stands."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import bindparam, delete, func, literal_column, select, update

from backends.db import EPOCH, MICROSECOND, Database, Unit
from backends.errors import Exists, InUse, Missing
from backends.object.ledger import Statement
from backends.object.models import (
    Assembly,
    Blob,
    Container,
    ContainerDocument,
    Door,
    Part,
    TenantDocument,
    Version,
)
from backends.object.store import Doomed, ObjectStore


class Known(NamedTuple):
    """A container with its settings documents, by kind (but for those that have names)."""

    number: int
    name: str
    tenant: str
    region: str
    created: datetime
    keeping: str
    documents: Mapping[str, Any]


BY_NAME = Statement(
    select(
        Container.number, Container.name, Container.tenant, Container.region, Container.created, Container.keeping
    ).where(Container.name == bindparam("name")),
    "name",
)
_OF = ContainerDocument.container == bindparam("container")
_OF_KIND = ContainerDocument.kind == bindparam("kind")
_NAMED = ContainerDocument.name != literal_column("''")
DOCUMENTS = Statement(
    select(ContainerDocument.kind, ContainerDocument.body).where(_OF, ContainerDocument.name == literal_column("''")),
    "container",
)
PART = Statement(
    select(ContainerDocument.body).where(_OF, _OF_KIND, ContainerDocument.name == bindparam("name")),
    "container", "kind", "name",
)  # fmt: skip
PARTS = Statement(
    select(ContainerDocument.name, ContainerDocument.body).where(_OF, _OF_KIND, _NAMED), "container", "kind"
)
PART_COUNT = Statement(select(func.count()).where(_OF, _OF_KIND, _NAMED), "container", "kind")
ANY_LOG = Statement(
    select(ContainerDocument.container)
    .where(ContainerDocument.kind == literal_column("'logging'"))
    .limit(literal_column("1"))
)
OF_TENANT = Statement(
    select(TenantDocument.kind, TenantDocument.body).where(TenantDocument.tenant == bindparam("tenant")), "tenant"
)
BY_ALIAS = Statement(
    select(Door.alias, Door.tenant, Door.region, Door.name, Door.container, Door.created, Door.body).where(
        Door.alias == bindparam("alias")
    ),
    "alias",
)
ALIAS = Statement(
    select(Door.alias).where(
        Door.tenant == bindparam("tenant"), Door.region == bindparam("region"), Door.name == bindparam("name")
    ),
    "tenant",
    "region",
    "name",
)


class KnownDoor(NamedTuple):
    """Another name for a container; see `models.Door`."""

    alias: str
    tenant: str
    region: str
    name: str
    container: str
    created: datetime
    body: Mapping[str, Any]


def _body(raw: Any) -> Any:
    return json.loads(raw) if isinstance(raw, (str, bytes)) else raw


_Kept = tuple[int | None, dict[str, Known], dict[str, dict[str, Any]], dict[str | tuple[str, str, str], KnownDoor]]


class Containers:
    """Looks containers up, fresh by the stamp of their topic. One for the whole process."""

    def __init__(self, database: Database, store: ObjectStore) -> None:
        self._stamps, self._store = database.stamps, store
        self._logs: tuple[int | None, bool] = (-2, False)
        self._kept: _Kept = (-1, {}, {}, {})

    def find(self, name: str) -> Known | None:
        """The container with that name, as committed."""
        if "\0" in name:
            return None  # PostgreSQL refuses such a text
        kept, _, _ = self._refresh()
        known = kept.get(name)
        if known is None:
            known = self._load(name)
            if known is not None:
                kept[name] = known
        return known

    @property
    def keeps_logs(self) -> bool:
        """Whether any container keeps an access log, as of the last look at one."""
        stamp = self._kept[0]
        if self._logs[0] != stamp:
            self._logs = stamp, self._store.ledger.read().one(ANY_LOG) is not None
        return self._logs[1]

    def of_tenant(self, tenant: str) -> Mapping[str, Any]:
        """The documents that hold for all containers of a tenant, by kind."""
        _, kept, _ = self._refresh()
        found = kept.get(tenant)
        if found is None:
            rows = self._store.ledger.read().all(OF_TENANT, tenant)
            found = kept[tenant] = {kind: _body(body) for kind, body in rows}
        return found

    def door(self, alias: str) -> KnownDoor | None:
        """The door with that alias, as committed."""
        if "\0" in alias:
            return None
        _, _, kept = self._refresh()
        found = kept.get(alias)
        if found is None:
            row = self._store.ledger.read().one(BY_ALIAS, alias)
            if row is not None:
                created = EPOCH + row[5] * MICROSECOND
                found = kept[alias] = KnownDoor._make((*row[:5], created, _body(row[6])))
        return found

    def door_of(self, tenant: str, region: str, name: str) -> KnownDoor | None:
        """A tenant's door of that name in a region, as committed."""
        if "\0" in tenant + region + name:
            return None
        _, _, kept = self._refresh()
        found = kept.get((tenant, region, name))
        if found is None:
            row = self._store.ledger.read().one(ALIAS, tenant, region, name)
            found = None if row is None else self.door(row[0])
            if found is not None:
                kept[tenant, region, name] = found
        return found

    def _refresh(
        self,
    ) -> tuple[dict[str, Known], dict[str, dict[str, Any]], dict[str | tuple[str, str, str], KnownDoor]]:
        """What is kept under the stamp of now. A thread that loads under an older one fills dicts that are gone."""
        stamp = self._stamps.read().get("container")
        kept = self._kept
        if stamp != kept[0]:
            kept = self._kept = (stamp, {}, {}, {})
        return kept[1:]

    def _load(self, name: str) -> Known | None:
        reader = self._store.ledger.read()
        row = reader.one(BY_NAME, name)
        if row is None:
            return None
        number, name, tenant, region, created, keeping = row
        documents = {kind: _body(body) for kind, body in reader.all(DOCUMENTS, number)}
        return Known(number, name, tenant, region, EPOCH + created * MICROSECOND, keeping, documents)

    # Of the kinds of which a container may have a thousand, nothing is kept: every call would pay for all of them.

    def part(self, container: int, kind: str, name: str) -> Any | None:
        """The document of that kind and name, as committed."""
        row = None if "\0" in name else self._store.ledger.read().one(PART, container, kind, name)
        return None if row is None else _body(row[0])

    def parts(self, container: int, kind: str, after: str, most: int) -> dict[str, Any]:
        """The first documents of a kind by name, in order, behind a name."""
        rows = self._store.ledger.read().all(PARTS, container, kind)
        return {name: _body(body) for name, body in sorted(row for row in rows if row[0] > after)[:most]}

    def count_parts(self, container: int, kind: str) -> int:
        """How many documents of a kind there are."""
        row = self._store.ledger.read().one(PART_COUNT, container, kind)
        return 0 if row is None else int(row[0])


def drop_tenant(database: Database, store: ObjectStore, tenant: str) -> None:
    """Remove all containers of a tenant with everything in them, and its documents. In many transactions."""
    with database.unit(None, write=False) as unit:
        rows = unit.session.execute(select(Container.number, Container.name).where(Container.tenant == tenant)).all()
    for number, name in rows:
        while (page := store.list_versions(number)).entries:
            doomed = [Doomed(entry.key.decode(), entry.version) for entry in page.entries]
            store.delete_many(number, doomed, 0)
        with database.unit(None, write=True) as unit:
            unit.session.execute(delete(Door).where(Door.container == name))
            ContainerService(unit, store).drop(name)
    with database.unit(None, write=True) as unit:
        unit.session.execute(delete(TenantDocument).where(TenantDocument.tenant == tenant))
        unit.session.execute(delete(Door).where(Door.tenant == tenant))


class ContainerService:
    """Changes containers, inside a unit of work."""

    def __init__(self, unit: Unit, store: ObjectStore) -> None:
        self.unit, self._session, self._store = unit, unit.session, store

    def get(self, name: str) -> Container:
        """The row. Raises `Missing`."""
        row = self._session.scalar(select(Container).where(Container.name == name))
        if row is None:
            raise Missing("no such container", name=name)
        return row

    def add(self, name: str, *, region: str, tenant: str) -> Container:
        """A new container. Raises `Exists` with the `tenant` and `region` of the one that has the name."""
        taken = self._session.execute(select(Container.tenant, Container.region).where(Container.name == name)).first()
        if taken is not None:
            raise Exists("the name is taken", name=name, tenant=taken.tenant, region=taken.region)
        row = Container(name=name, region=region, tenant=tenant, created=self.unit.now, keeping="")
        self._session.add(row)
        self._session.flush()
        return row

    def of(
        self,
        tenant: str,
        *,
        prefix: str = "",
        ending: str = "",
        but_ending: str = "",
        region: str | None = None,
        after: str = "",
        limit: int = 10000,
    ) -> Sequence[Container]:
        """A tenant's containers in order of their names: those that end so, or that do not."""
        # By bytes, whatever the database's own collation is.
        named = Container.name if self.unit.database.is_sqlite else Container.name.collate("C")
        query = select(Container).where(Container.tenant == tenant, named > after)
        if prefix:
            query = query.where(named >= prefix, named < prefix + "\x7f")
        if ending:
            query = query.where(Container.name.endswith(ending, autoescape=True))
        if but_ending:
            query = query.where(Container.name.not_like(f"%{but_ending}"))
        if region is not None:
            query = query.where(Container.region == region)
        return self._session.scalars(query.order_by(named).limit(limit)).all()

    def keep_versions(self, name: str, keeping: str) -> None:
        """Whether replaced versions are kept from now on. Raises `Missing`."""
        self.get(name).keeping = keeping

    def put_document(self, name: str, kind: str, body: Any, part: str = "") -> None:
        """Set a settings document. Raises `Missing`."""
        number = self.get(name).number
        row = self._session.get(ContainerDocument, (number, kind, part))
        if row is None:
            self._session.add(ContainerDocument(container=number, kind=kind, name=part, body=body))
        else:
            row.body = body

    def drop_document(self, name: str, kind: str, part: str = "") -> None:
        """Remove a settings document, if it is there. Raises `Missing` without the container."""
        row = self._session.get(ContainerDocument, (self.get(name).number, kind, part))
        if row is not None:
            self._session.delete(row)

    def put_tenant_document(self, tenant: str, kind: str, body: Any) -> None:
        """Set a document that holds for all containers of a tenant."""
        row = self._session.get(TenantDocument, (tenant, kind))
        if row is None:
            self._session.add(TenantDocument(tenant=tenant, kind=kind, body=body))
        else:
            row.body = body

    def drop_tenant_document(self, tenant: str, kind: str) -> None:
        """Remove such a document, if it is there."""
        row = self._session.get(TenantDocument, (tenant, kind))
        if row is not None:
            self._session.delete(row)

    def drop(self, name: str) -> None:
        """Remove a container that has neither versions nor delete markers; its open uploads go with it.

        Raises `Missing`, and `InUse` when something is in it or (then with `doors`) when it has doors.
        """
        row = self._session.scalar(select(Container).where(Container.name == name).with_for_update())
        if row is None:
            raise Missing("no such container", name=name)
        if self._session.scalar(select(Version.container).where(Version.container == row.number).limit(1)) is not None:
            raise InUse("the container is not empty", name=name)
        if self._session.scalar(select(Door.alias).where(Door.container == name).limit(1)) is not None:
            raise InUse("the container has doors", name=name, doors=True)
        garbage = list(self._leave_uploads(row.number))
        self._session.execute(delete(ContainerDocument).where(ContainerDocument.container == row.number))
        self._session.delete(row)
        self._session.flush()
        self.unit.after_commit(lambda: self._store.contents.remove(garbage))

    def _leave_uploads(self, number: int) -> Iterator[str]:
        """Drop the open uploads of a container; the blobs that nothing uses any more."""
        ids = self._session.scalars(select(Assembly.id).where(Assembly.container == number, Assembly.uses == 0)).all()
        for id in ids:
            for blob in self._session.scalars(
                select(Part.blob).where(Part.assembly == id, Part.blob.is_not(None))
            ).all():
                left = self._session.scalar(
                    update(Blob).where(Blob.name == blob).values(uses=Blob.uses - 1).returning(Blob.uses)
                )
                if left is not None and left <= 0:
                    self._session.execute(delete(Blob).where(Blob.name == blob))
                    assert blob is not None
                    yield blob
            self._session.execute(delete(Part).where(Part.assembly == id))
            self._session.execute(delete(Assembly).where(Assembly.id == id))
