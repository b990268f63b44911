"""Records: resources that only keep books. One table, and a declaration of a dozen lines for each kind.

A record kind that gains machinery moves to a typed table of a backend.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import String, select
from sqlalchemy.orm import Mapped, mapped_column

from backends.db import Base, Scoped
from compat.context import Context
from compat.describe import page
from compat.filters import Filters, Rowwise
from compat.kinds import kind
from compat.operation import Params, Result, operation
from compat.tags import drop_tags

Document = dict[str, Any]


class Record(Scoped, Base):
    """One kept book: what the call that made it said, in AWS's own member names."""

    __tablename__ = "record"
    __topic__ = "records"
    __mapper_args__ = {"polymorphic_on": "kind"}
    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(64), index=True)
    name: Mapped[str | None] = mapped_column(String(255))
    state: Mapped[str] = mapped_column(String(32))
    document: Mapped[dict[str, Any]]
    created: Mapped[datetime]


@dataclass(frozen=True, slots=True)
class RecordKind:
    """A declared kind. `row` is its mapped class; `render` gives a row in AWS's form."""

    name: str
    row: type[Record]
    id_member: str
    extras: Callable[[Context, Record], Document] = field(default=lambda ctx, row: {})

    def render(self, ctx: Context, row: Record) -> Document:
        """The document, the id, the state, the tags, and what the kind adds."""
        return {
            **row.document,
            self.id_member: row.id,
            "State": row.state,
            "Tags": ctx.tags(row.id),
            **self.extras(ctx, row),
        }

    def add(self, ctx: Context, document: Document, *, name: str | None = None, state: str = "available") -> Record:
        """Keep a new record."""
        row = self.row(id=ctx.mint(self.name), document=document, name=name, state=state, created=ctx.now)
        ctx.session.add(row)
        return row

    def named(self, ctx: Context, name: str) -> Record | None:
        """The record of that name."""
        return ctx.session.scalar(select(self.row).where(self.row.name == name))

    def drop(self, ctx: Context, row: Record) -> None:
        """Remove a record and its tags."""
        drop_tags(ctx, row.id)
        ctx.session.delete(row)


def member(name: str) -> Rowwise:
    """A filter on a member of the document."""
    return lambda ctx, row: row.document.get(name)


def record_kind(
    name: str,
    *,
    prefix: str,
    missing: str,
    malformed: str | None,
    id_member: str,
    label: str | None = None,
    message: str = "The {label} '{id}' does not exist",
    arn: str | None = None,
    quota: int | None = None,
    ids: str | None = None,
    extras: Callable[[Context, Record], Document] | None = None,
    mints: Callable[[], str] | None = None,
) -> RecordKind:
    """Declare a kind of records; the operations follow with `creates`, `describes` and `deletes`."""
    row = type(
        "".join(part.capitalize() for part in name.split("-")) + "Record",
        (Record,),
        {"__mapper_args__": {"polymorphic_identity": name}, "__doc__": f"Records of kind {name}."},
    )
    kind(
        name,
        prefix=prefix,
        row=row,
        missing=missing,
        malformed=malformed,
        label=label,
        message=message,
        arn=arn,
        quota=quota,
        ids=ids,
        mints=mints,
    )
    return RecordKind(name, row, id_member, extras or (lambda ctx, row: {}))


def creates(
    wire_name: str, about: RecordKind, answer: str, document: Callable[[Context, Params], Document], **facts: Any
) -> None:
    """Register the operation that keeps a new record of what `document` makes of the call."""

    @operation(wire_name, on=f"{about.name}/*", **facts)
    def create(ctx: Context, p: Params) -> Result:
        return {answer: about.render(ctx, about.add(ctx, document(ctx, p)))}


def describes(wire_name: str, about: RecordKind, filters: Mapping[str, Any]) -> None:
    """Register the operation that lists records; `state` and the id filter are named by the kind's `filters`."""
    known: Filters = filters

    @operation(wire_name)
    def describe(ctx: Context, p: Params) -> Result:
        return page(ctx, p, about.name, known, about.render)


def deletes(wire_name: str, about: RecordKind, id_param: str) -> None:
    """Register the operation that removes a record."""

    @operation(wire_name, on=f"{about.name}/{{{id_param}}}")
    def delete(ctx: Context, p: Params) -> Result:
        about.drop(ctx, ctx.find(about.name, p[id_param]))
        return {"Return": True}
