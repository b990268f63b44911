"""What all books of identity share: one unit of work, and things with names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from sqlalchemy import func, select

from backends.db import Unit
from backends.errors import Exists, InUse, Missing
from backends.identity.models import Group, Named, Policy, Profile, Role, User
from backends.identity.seal import Seal

N = TypeVar("N", User, Group, Role, Policy, Profile)
L = TypeVar("L", User, Role)
Holder = User | Group | Role

WORDS: dict[type[Any], str] = {User: "user", Group: "group", Role: "role", Policy: "policy", Profile: "profile"}


class Books:
    """Identity within one unit of work, in its tenant's sight. Names are looked up without regard to case.

    Errors: `Missing(kind=, name=)`, `Exists(kind=, name=)`, `InUse(kind=, name=, by=)`.
    """

    def __init__(self, unit: Unit, seal: Seal) -> None:
        self.unit, self.seal = unit, seal
        self.session = unit.session
        self.moment = unit.now.replace(microsecond=0)
        """The call's moment, to the second: as precise as anything here says when it began."""

    @property
    def _tenant(self) -> str:
        assert self.unit.scope is not None
        return self.unit.scope.tenant

    def find(self, row: type[N], name: str) -> N | None:
        """The user, group, role, policy or profile called `name`, or None."""
        return self.session.scalar(select(row).where(row.folded == name.casefold()))

    def get(self, row: type[N], name: str) -> N:
        """The same; raises `Missing`."""
        found = self.find(row, name)
        if found is None:
            raise Missing(f"no {WORDS[row]} {name}", kind=WORDS[row], name=name)
        return found

    def add(self, thing: N) -> N:
        """Keep a new user, group, role, policy or profile. Raises `Exists` when the name is taken."""
        self._settle(thing)
        self.session.add(thing)
        self.session.flush()
        return thing

    def rename(self, thing: N, name: str | None, path: str | None) -> None:
        """Give a thing another name or path. Raises `Exists`."""
        if name is not None and name != thing.name:
            taken = self.find(type(thing), name)
            if taken is not None and taken.id != thing.id:
                raise Exists(f"{WORDS[type(thing)]} {name} exists", kind=WORDS[type(thing)], name=name)
            thing.name, thing.folded = name, name.casefold()
        if path is not None:
            thing.path = path

    def _settle(self, thing: Named) -> None:
        row = type(thing)
        thing.folded = thing.name.casefold()
        thing.created = self.moment
        if self.session.scalar(select(row.id).where(row.folded == thing.folded)) is not None:
            raise Exists(f"{WORDS[row]} {thing.name} exists", kind=WORDS[row], name=thing.name)

    def listed(
        self, row: type[N], *, prefix: str = "/", after: str | None = None, most: int | None = None
    ) -> Sequence[N]:
        """Those whose path begins with `prefix`, by name, from beyond the name `after`."""
        statement = select(row).order_by(row.folded)
        if prefix != "/":
            statement = statement.where(row.path.startswith(prefix, autoescape=True))
        if after is not None:
            statement = statement.where(row.folded > after)
        return self.session.scalars(statement.limit(most)).all()

    def count(self, row: type[Any]) -> int:
        """How many rows of a table the tenant has."""
        return self.session.scalar(select(func.count()).select_from(row)) or 0

    def _without(self, condition: Any, row: type[Any], thing: Named, by: str) -> None:
        if self.session.scalar(select(func.count()).select_from(row).where(condition)):
            kind = WORDS[type(thing)]
            raise InUse(f"{kind} {thing.name} has {by}", kind=kind, name=thing.name, by=by)
