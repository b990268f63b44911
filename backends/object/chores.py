"""Work on the whole store that goes on where it stopped: how far it has come stands in the index."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import bindparam, insert, select, update

from backends.object.ledger import Reader, Statement, Transaction
from backends.object.models import Chore

_FIND = Statement(select(Chore.body).where(Chore.name == bindparam("at")), "at")
_ADD = Statement(insert(Chore).values(name=bindparam("name"), body=bindparam("body")), "name", "body")
_CHANGE = Statement(update(Chore).where(Chore.name == bindparam("at")).values(body=bindparam("new")), "new", "at")


def recall(reader: Reader, name: str) -> dict[str, Any]:
    """What was noted last; empty when nothing was."""
    row = reader.one(_FIND, name)
    return {} if row is None else json.loads(row[0])


def note(tx: Transaction, name: str, body: dict[str, Any]) -> None:
    """Note how far a work has come, in place of what was noted."""
    text = json.dumps(body)
    if not tx.run(_CHANGE, text, name):
        tx.run(_ADD, name, text)
