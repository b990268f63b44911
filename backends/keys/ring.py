"""The keys as they are used: looked up by whoever has a use for them, kept in memory while nothing changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple, Protocol

from sqlalchemy import func, select
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

    def derive(self, purpose: str) -> bytes:
        """A secret of its own for a purpose, always the same."""
        ...


class Turn(NamedTuple):
    """Material that a key has had: since when, and why; of what was brought along, until when, as what it is known
    again, and whether it is there now."""

    number: int
    created: datetime
    cause: str
    ends: datetime | None
    mark: str
    there: bool


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
    lingers: int
    outside: bool
    original: str | None
    turn_days: int
    turns: datetime | None
    past: tuple[Turn, ...]
    names: tuple[str, ...]
    grants: tuple[Leave, ...]

    @property
    def holder(self) -> str:
        """The id under which the material is: that of the primary, where it was made here."""
        return self.id if self.original is None or self.outside else self.original


def replica_id(id: str, region: str) -> str:
    """The id of the row of a replica in that region."""
    return f"{id}@{region}"


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

    def find_in(self, id: str, region: str) -> Known | None:
        """The key of a region with that id, which replicas share with their primary."""
        known = self.find(id)
        if known is not None and known.region != region and id.startswith("mrk-"):
            return self.find(replica_id(id, region))
        return known if known is not None and known.region == region else None

    def kin(self, id: str) -> Sequence[Known]:
        """A key and its replicas, the primary first."""
        with self._database.unit(None, write=False) as unit:
            others = unit.session.scalars(
                select(MasterKey.id).where(MasterKey.original == id).order_by(MasterKey.region)
            ).all()
        found = [self.find(one) for one in (id, *others)]
        return [one for one in found if one is not None]

    def learn(self, session: Session, row: MasterKey) -> Known:
        """Know a key that an open unit of work has just made, so that it can be used before the commit."""
        known = self._read(session, row)
        for turn in known.past:
            made = session.get(Material, (known.holder, turn.number))
            if made is not None and made.sealed:
                self._secrets[known.holder, turn.number] = self._sealing.open(
                    made.sealed, sealed_for(known.holder, turn.number)
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
        """The material of that number, of the one in use by default; None when the key does not have it."""
        number = key.past[-1].number if number is None else number
        if not any(turn.number == number and turn.there for turn in key.past):
            return None
        holder = key.holder
        found = self._secrets.get((holder, number))
        if found is None:
            with self._database.unit(None, write=False) as unit:
                row = unit.session.get(Material, (holder, number))
                if row is None or not row.sealed:
                    return None
                found = self._sealing.open(row.sealed, sealed_for(holder, number))
            if len(self._secrets) > 4096:
                self._secrets.clear()
            self._secrets[holder, number] = found
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
        holder = id if row.original is None or row.outside else row.original
        there = func.length(Material.sealed) > 0
        past = session.execute(
            select(Material.number, Material.created, Material.cause, Material.ends, Material.mark, there)
            .where(Material.key == holder)
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
            lingers=row.lingers,
            outside=row.outside,
            original=row.original,
            turn_days=row.turn_days,
            turns=row.turns,
            past=tuple(Turn(*one[:5], bool(one[5])) for one in past),
            names=tuple(names),
            grants=tuple(Leave(*one) for one in grants),
        )
