"""The keys as they are used: looked up by whoever has a use for them, kept in memory while nothing changes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from backends.db import Database
from backends.keys.models import Grant, KeyName, MasterKey, Material


class Sealing(Protocol):
    """Keeps material from those who read the database."""

    def close(self, plain: bytes, purpose: str) -> bytes:
        """`plain`, sealed."""
        ...

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """What was sealed for that purpose."""
        ...


class Turn(NamedTuple):
    """Material that a key has had: since when, and why."""

    number: int
    created: datetime
    cause: str


class Leave(NamedTuple):
    """A grant."""

    id: str
    token: str
    about: dict[str, Any]
    created: datetime


@dataclass(frozen=True, slots=True)
class Known:
    """A key with all that is known of it; see `MasterKey`. Turns and grants are in the order of their making."""

    id: str
    tenant: str
    region: str
    spec: str
    purpose: str
    state: str
    note: str
    keeper: str
    rules: str
    tags: dict[str, str]
    created: datetime
    goes: datetime | None
    turn_days: int
    turns: datetime | None
    past: tuple[Turn, ...]
    names: tuple[str, ...]
    grants: tuple[Leave, ...]


def sealed_for(key: str, number: int) -> str:
    """The purpose for which a key's material is sealed."""
    return f"master key {key} {number}"


class KeyRing:
    """Looks keys up as they are committed, fresh by the stamp of their topic. One for the whole process."""

    def __init__(self, database: Database, sealing: Sealing) -> None:
        self._database, self._sealing = database, sealing
        self._kept: tuple[int | None, dict[str, Known | None], dict[tuple[str, str, str], str | None]] = (-1, {}, {})
        self._secrets: dict[tuple[str, int], bytes] = {}
        self._fresh: dict[str, Known] = {}

    def find(self, id: str) -> Known | None:
        """The key with that id, whosever it is."""
        keys, _ = self._refresh()
        if id not in keys:
            keys[id] = self._load(id)
        return keys[id]

    def learn(self, session: Session, row: MasterKey) -> Known:
        """Know a key that an open unit of work has just made, so that it can be used before the commit."""
        known = self._read(session, row)
        for turn in known.past:
            made = session.get(Material, (known.id, turn.number))
            if made is not None:
                self._secrets[known.id, turn.number] = self._sealing.open(
                    made.sealed, sealed_for(known.id, turn.number)
                )
        self._fresh[known.id] = known
        self._refresh()[0].pop(known.id, None)
        return known

    def named(self, tenant: str, region: str, name: str) -> Known | None:
        """The key for which a tenant's name stands."""
        _, names = self._refresh()
        place = (tenant, region, name)
        if place not in names:
            with self._database.unit(None, write=False) as unit:
                names[place] = unit.session.scalar(
                    select(KeyName.key).where(KeyName.tenant == tenant, KeyName.region == region, KeyName.name == name)
                )
        id = names[place]
        return None if id is None else self.find(id)

    def secret(self, key: Known, number: int | None = None) -> bytes | None:
        """The material of that number, of the one in use by default; None when the key never had it."""
        number = key.past[-1].number if number is None else number
        found = self._secrets.get((key.id, number))
        if found is None:
            with self._database.unit(None, write=False) as unit:
                row = unit.session.get(Material, (key.id, number))
                if row is None:
                    return None
                found = self._sealing.open(row.sealed, sealed_for(key.id, number))
            if len(self._secrets) > 4096:
                self._secrets.clear()
            self._secrets[key.id, number] = found
        return found

    def _refresh(self) -> tuple[dict[str, Known | None], dict[tuple[str, str, str], str | None]]:
        stamp = self._database.stamps.read().get("keys", 0)
        if stamp != self._kept[0] or len(self._kept[1]) > 10_000:
            self._kept = (stamp, {}, {})
        return self._kept[1:]

    def _load(self, id: str) -> Known | None:
        with self._database.unit(None, write=False) as unit:
            session = unit.session
            row = session.get(MasterKey, id)
            if row is None:
                if id not in self._fresh:
                    self._secrets = {place: secret for place, secret in self._secrets.items() if place[0] != id}
                return self._fresh.get(id)
            self._fresh.pop(id, None)
            return self._read(session, row)

    def _read(self, session: Session, row: MasterKey) -> Known:
        id = row.id
        past = session.execute(
            select(Material.number, Material.created, Material.cause)
            .where(Material.key == id)
            .order_by(Material.number)
        )
        names = session.scalars(select(KeyName.name).where(KeyName.key == id).order_by(KeyName.name))
        grants = session.execute(
            select(Grant.id, Grant.token, Grant.about, Grant.created)
            .where(Grant.key == id)
            .order_by(Grant.created, Grant.id)
        )
        return Known(
            id=row.id,
            tenant=row.tenant,
            region=row.region,
            spec=row.spec,
            purpose=row.purpose,
            state=row.state,
            note=row.note,
            keeper=row.keeper,
            rules=row.rules,
            tags=dict(row.tags),
            created=row.created,
            goes=row.goes,
            turn_days=row.turn_days,
            turns=row.turns,
            past=tuple(Turn(*one) for one in past),
            names=tuple(names),
            grants=tuple(Leave(*one) for one in grants),
        )
