"""Another key for an object, in a container that keeps no versions. No byte moves, and nobody sees it under both."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import bindparam, literal_column, update

from backends.errors import Changed, Missing
from backends.object.ledger import Statement, Transaction
from backends.object.models import LIVE, Version
from backends.object.uses import leave
from backends.object.versions import LIVE_HEAD, REMOVE, Head, keeping_of

Check = Callable[[Head | None, Head | None], None]
"""Looks at the object that is to get another key, and at what has that key (None: none); raises to stop it."""

RENAME = Statement(
    update(Version)
    .where(
        Version.container == bindparam("container"),
        Version.shelf == literal_column(str(LIVE)),
        Version.key == bindparam("old"),
    )
    .values(key=bindparam("new")),
    *("new", "container", "old"),
)


def rename(tx: Transaction, container: int, key: bytes, new: bytes, check: Check) -> Head:
    """Give the object of a key the key `new`, in the place of what has it; the object as it was.

    Raises what `check` raises, `Missing` without the container or the object, and `Changed` where versions are kept.
    """
    if keeping_of(tx, container):
        raise Changed("the container keeps versions", container=container)
    rows = [tx.one(LIVE_HEAD, container, one) for one in (key, new)]
    old, replaced = (None if row is None else Head(*row) for row in rows)
    check(old, replaced)
    if old is None:
        raise Missing("no such object", key=key)
    if key == new:
        return old
    if replaced is not None:
        tx.run(REMOVE, container, LIVE, new, replaced.rank)
        leave(tx, replaced)
    tx.run(RENAME, new, container, key)
    return old
