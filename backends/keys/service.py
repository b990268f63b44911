"""Keys, changed inside a unit of work; and what time does to them."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select

from backends.db import Database, Unit
from backends.errors import Exists, Missing, WrongState
from backends.keys.models import Grant, KeyName, MasterKey, Material, State
from backends.keys.ring import Sealing, sealed_for

AUTOMATIC, ON_DEMAND = "automatic", "on demand"


class KeyService:
    """Makes and changes keys. Everybody sees every key; who may use one is decided above."""

    def __init__(self, unit: Unit, sealing: Sealing) -> None:
        self.unit, self._session, self._sealing = unit, unit.session, sealing

    def get(self, id: str) -> MasterKey:
        """The row. Raises `Missing`."""
        row = self._session.get(MasterKey, id)
        if row is None:
            raise Missing("no such key", key=id)
        return row

    def add(
        self, id: str, *, tenant: str, region: str, spec: str, purpose: str, rules: str, secret: bytes, **more: Any
    ) -> MasterKey:
        """A new key with that material."""
        row = MasterKey(
            id=id,
            tenant=tenant,
            region=region,
            spec=spec,
            purpose=purpose,
            rules=rules,
            state=State.ENABLED,
            created=self.unit.now,
            **more,
        )
        self._session.add(row)
        self._session.flush()
        self._put(row, 1, secret, "")
        return row

    def _put(self, row: MasterKey, number: int, secret: bytes, cause: str) -> None:
        sealed = self._sealing.close(secret, sealed_for(row.id, number))
        self._session.add(
            Material(key=row.id, number=number, tenant=row.tenant, sealed=sealed, created=self.unit.now, cause=cause)
        )

    def turn(self, row: MasterKey, cause: str) -> None:
        """New material for a symmetric key; the old one goes on opening what it closed."""
        from backends.keys import material  # loads the machinery of every kind of key

        newest = self._session.scalar(select(func.max(Material.number)).where(Material.key == row.id)) or 0
        self._put(row, newest + 1, material.make(row.spec), cause)

    def turn_by_itself(self, row: MasterKey, days: int) -> None:
        """Have new material made every so many days from now on; never for 0."""
        row.turn_days = days
        row.turns = self.unit.now + timedelta(days=days) if days else None

    def doom(self, row: MasterKey, goes: datetime) -> None:
        """Have a key dropped at that time. Raises `WrongState` when it is doomed already."""
        if row.state == State.DOOMED:
            raise WrongState("the key is doomed", key=row.id)
        row.state, row.goes = State.DOOMED, goes

    def keys_of(self, tenant: str, region: str) -> Sequence[MasterKey]:
        """A tenant's keys of a region, in order of their ids."""
        return self._session.scalars(
            select(MasterKey).where(MasterKey.tenant == tenant, MasterKey.region == region).order_by(MasterKey.id)
        ).all()

    # --- names --------------------------------------------------------------------------------------------------------

    def names_of(self, tenant: str, region: str, key: str | None = None) -> Sequence[KeyName]:
        """A tenant's names in a region (for one key), in order."""
        found = select(KeyName).where(KeyName.tenant == tenant, KeyName.region == region)
        if key is not None:
            found = found.where(KeyName.key == key)
        return sorted(self._session.scalars(found), key=lambda row: row.name)

    def name(self, tenant: str, region: str, name: str) -> KeyName:
        """One name. Raises `Missing`."""
        row = self._session.get(KeyName, (tenant, region, name))
        if row is None:
            raise Missing("no such name", name=name)
        return row

    def add_name(self, key: MasterKey, name: str) -> None:
        """Let a name stand for a key. Raises `Exists`."""
        if self._session.get(KeyName, (key.tenant, key.region, name)) is not None:
            raise Exists("the name is taken", name=name)
        now = self.unit.now
        row = KeyName(tenant=key.tenant, region=key.region, name=name, key=key.id, created=now, changed=now)
        self._session.add(row)
        self._session.flush()

    def drop_name(self, row: KeyName) -> None:
        """Let a name stand for nothing."""
        self._session.delete(row)

    # --- grants -------------------------------------------------------------------------------------------------------

    def grant(self, key: MasterKey, about: dict[str, Any]) -> Grant:
        """Give leave; the same name and words again are the same grant."""
        for row in self._session.scalars(select(Grant).where(Grant.key == key.id)):
            if about.get("Name") and row.about == about:
                return row
        made = Grant(
            id=secrets.token_hex(32),
            key=key.id,
            tenant=key.tenant,
            token=secrets.token_urlsafe(96),
            about=about,
            created=self.unit.now,
        )
        self._session.add(made)
        return made

    def grants_of(self, tenant: str, region: str) -> Sequence[tuple[Grant, MasterKey]]:
        """Every grant of the keys that are in a region, with its key."""
        rows = self._session.execute(
            select(Grant, MasterKey).join(MasterKey, MasterKey.id == Grant.key).where(MasterKey.region == region)
        )
        return [(grant, key) for grant, key in rows]

    def drop_grant(self, id: str) -> None:
        """Take leave back."""
        self._session.execute(delete(Grant).where(Grant.id == id))


def settle(database: Database, sealing: Sealing) -> bool:
    """Drop the keys whose time has come, and turn those that are due. For a reconciler; always done at once."""
    now = database.clock()
    with database.unit(None, write=False) as unit:
        due = unit.session.scalar(
            select(MasterKey.id).where((MasterKey.goes <= now) | (MasterKey.turns <= now)).limit(1)
        )
    if due is None:
        return False
    with database.unit(None, write=True) as unit:
        service = KeyService(unit, sealing)
        for row in unit.session.scalars(select(MasterKey).where(MasterKey.goes <= now)).all():
            for table in (Material, KeyName, Grant):
                unit.session.execute(delete(table).where(table.key == row.id))
            unit.session.delete(row)
        due_rows = select(MasterKey).where(MasterKey.turns <= now, MasterKey.state == State.ENABLED)
        for row in unit.session.scalars(due_rows).all():
            service.turn(row, AUTOMATIC)
            service.turn_by_itself(row, row.turn_days)
    return False
