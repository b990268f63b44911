"""Keys, changed inside a unit of work; and what time does to them."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, select

from backends.db import Database, Unit
from backends.errors import Exists, Missing, WrongState
from backends.keys.models import Grant, KeyName, MasterKey, Material, State
from backends.keys.ring import Sealing, replica_id, sealed_for

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
        self,
        id: str,
        *,
        tenant: str,
        region: str,
        spec: str,
        purpose: str,
        rules: str,
        secret: bytes | None,
        **more: Any,
    ) -> MasterKey:
        """A new key with that material; None: with what is brought from elsewhere later."""
        row = MasterKey(
            id=id,
            tenant=tenant,
            region=region,
            spec=spec,
            purpose=purpose,
            rules=rules,
            state=State.ENABLED if secret is not None else State.EMPTY,
            outside=secret is None,
            created=self.unit.now,
            **more,
        )
        self._session.add(row)
        self._session.flush()
        if secret is not None:
            self._put(row, 1, secret, "")
        return row

    def replicate(self, row: MasterKey, region: str, **about: Any) -> MasterKey:
        """The same key in another region, with rules, note and tags of its own. Raises `Exists`."""
        id = replica_id(row.id, region)
        if region == row.region or self._session.get(MasterKey, id) is not None:
            raise Exists("the key is there already", key=row.id)
        made = MasterKey(
            id=id,
            tenant=row.tenant,
            region=region,
            spec=row.spec,
            purpose=row.purpose,
            state=State.EMPTY if row.outside else State.ENABLED,
            outside=row.outside,
            original=row.id,
            created=self.unit.now,
            **about,
        )
        self._session.add(made)
        self._session.flush()
        return made

    def replicas_of(self, row: MasterKey) -> Sequence[MasterKey]:
        """The replicas of a key, by region."""
        found = select(MasterKey).where(MasterKey.original == row.id).order_by(MasterKey.region)
        return self._session.scalars(found).all()

    def bring(self, row: MasterKey, secret: bytes, ends: datetime | None) -> str:
        """Give a key its material from elsewhere, for good or until some time; what it is known by again. Raises
        `Unfit` when the key, or its primary, has had other material."""
        from backends.keys.material import Unfit

        id = row.original or row.id
        mark = hmac.digest(self._sealing.derive("marks of material"), id.encode() + b" " + secret, "sha256").hex()
        marks = select(Material.mark).where(Material.key.in_((id, row.id)))
        if any(known != mark for known in self._session.scalars(marks)):
            raise Unfit("the key has had other material")
        held = self._session.get(Material, (row.id, 1))
        if held is None:
            self._put(row, 1, secret, "", ends=ends, mark=mark)
        else:
            held.sealed, held.ends = self._sealing.close(secret, sealed_for(row.id, 1)), ends
        if row.state == State.EMPTY:
            row.state = State.ENABLED
        return mark

    def empty(self, row: MasterKey) -> None:
        """Drop material that was brought along; the same may be brought again."""
        held = self._session.get(Material, (row.id, 1))
        if held is not None:
            held.sealed, held.ends = b"", None
        if row.state in (State.ENABLED, State.DISABLED):
            row.state = State.EMPTY

    def _put(self, row: MasterKey, number: int, secret: bytes, cause: str, **more: Any) -> None:
        sealed = self._sealing.close(secret, sealed_for(row.id, number))
        self._session.add(
            Material(
                key=row.id,
                number=number,
                tenant=row.tenant,
                sealed=sealed,
                created=self.unit.now,
                cause=cause,
                **more,
            )
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

    def doom(self, row: MasterKey, days: int) -> None:
        """Have a key dropped after so many days; where it has replicas, after so many days without them. Raises
        `WrongState` when it is doomed already."""
        if row.state in (State.DOOMED, State.WAITING):
            raise WrongState("the key is doomed", key=row.id)
        if self.replicas_of(row):
            row.state, row.lingers = State.WAITING, days
        else:
            row.state, row.goes = State.DOOMED, self.unit.now + timedelta(days=days)

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
        ) or unit.session.scalar(select(Material.key).where(Material.ends <= now).limit(1))
    if due is None:
        return False
    with database.unit(None, write=True) as unit:
        service = KeyService(unit, sealing)
        for row in unit.session.scalars(select(MasterKey).where(MasterKey.goes <= now)).all():
            for table in (Material, KeyName, Grant):
                unit.session.execute(delete(table).where(table.key == row.id))
            unit.session.delete(row)
            unit.session.flush()
            kept = unit.session.get(MasterKey, row.original) if row.original else None
            if kept is not None and kept.state == State.WAITING and not service.replicas_of(kept):
                kept.state, kept.goes = State.DOOMED, now + timedelta(days=kept.lingers)
        for key in unit.session.scalars(select(Material.key).where(Material.ends <= now)).all():
            service.empty(service.get(key))
        due_rows = select(MasterKey).where(MasterKey.turns <= now, MasterKey.state == State.ENABLED)
        for row in unit.session.scalars(due_rows).all():
            service.turn(row, AUTOMATIC)
            service.turn_by_itself(row, row.turn_days)
    return False
