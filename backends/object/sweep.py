"""The sweeper: blobs that no row knows are what a killed process left, and go."""

from __future__ import annotations

from sqlalchemy import bindparam, select

from backends.object.contents import Contents
from backends.object.ledger import Ledger, Statement
from backends.object.models import Blob

KNOWN = Statement(select(Blob.uses).where(Blob.name == bindparam("name")), "name")


def sweep(ledger: Ledger, contents: Contents, *, grace: float = 86400.0) -> int:
    """Remove orphans older than `grace` seconds; how many went. May run while others work.

    Other processes may be about to publish a blob that has its name already: `grace` must be longer than that takes
    (0 where no other process works on this store).
    """
    gone = 0
    for name, age in contents.driver.names():
        # First whether this process is publishing it, then the index: what it published in between is known by then.
        if age >= grace and not contents.spared(name) and ledger.read().one(KNOWN, name) is None:
            contents.driver.remove(name)
            gone += 1
    return gone
