"""Doors: other names for containers, made and changed inside a unit of work. `Containers` finds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select

from backends.db import Unit
from backends.errors import Exists, Missing
from backends.object.models import Door


def get(unit: Unit, tenant: str, region: str, name: str) -> Door:
    """The row. Raises `Missing`."""
    row = unit.session.scalar(select(Door).where(Door.tenant == tenant, Door.region == region, Door.name == name))
    if row is None:
        raise Missing("no such door", name=name)
    return row


def add(
    unit: Unit, alias: str, *, tenant: str, region: str, name: str, container: str, body: Mapping[str, Any]
) -> Door:
    """A new door. Raises `Exists`, with its `tenant`, when the alias is taken or the tenant has one of that name in
    the region."""
    taken = select(Door.tenant).where(
        (Door.alias == alias) | ((Door.tenant == tenant) & (Door.region == region) & (Door.name == name))
    )
    if (owner := unit.session.scalar(taken)) is not None:
        raise Exists("the name is taken", name=name, tenant=owner)
    row = Door(
        alias=alias, tenant=tenant, region=region, name=name, container=container, created=unit.now, body=dict(body)
    )
    unit.session.add(row)
    unit.session.flush()
    return row


def of(
    unit: Unit,
    tenant: str,
    region: str,
    *,
    container: str | None = None,
    ending: str = "",
    but_ending: str | None = None,
    after: str = "",
    limit: int = 1000,
) -> Sequence[Door]:
    """A tenant's doors in a region in order of their names; those of one container where it is named, those whose names
    end so, or do not."""
    named = Door.name if unit.database.is_sqlite else Door.name.collate("C")
    query = select(Door).where(Door.tenant == tenant, Door.region == region, named > after)
    if ending:
        query = query.where(Door.name.endswith(ending, autoescape=True))
    if but_ending is not None:
        query = query.where(~Door.name.endswith(but_ending, autoescape=True))
    if container is not None:
        query = query.where(Door.container == container)
    return unit.session.scalars(query.order_by(named).limit(limit)).all()


def drop(unit: Unit, tenant: str, region: str, name: str) -> None:
    """Remove a door. Raises `Missing`."""
    unit.session.delete(get(unit, tenant, region, name))
