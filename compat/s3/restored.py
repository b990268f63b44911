"""Those who asked are told when the copy of an archived object is there, and when it is gone."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from sqlalchemy import select

from backends.db import EPOCH, MICROSECOND
from backends.object.containers import Known
from backends.object.ledger import Transaction
from backends.object.models import Container
from backends.object.outbox import Errand
from backends.object.versions import Head
from compat.s3.places import containers
from compat.s3.telling import Cause, Thing, of_restore, outbox, tell
from compat.s3.terms import is_restored, is_restoring, terms_of

if TYPE_CHECKING:
    from backends.object.store import ObjectStore
    from compat.cloud import Cloud

KIND = "restored"
"""The kind of an errand that looks at a restored copy."""
SERVICE = "s3.amazonaws.com"
THERE, GONE = "there", "gone"
"""What it is to tell."""


def watch(cloud: Cloud, tx: Transaction, bucket: Known, key: bytes, version: str, what: str, due: int) -> None:
    """Note that somebody is to be told, in the transaction of the restore."""
    outbox(cloud).order(tx, bucket.tenant, bucket.number, key, version, KIND, what, due)


class Restored:
    """Does the errands. One for the process that does them."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._objects: ObjectStore = cloud.hosts["objects"]

    def run(self, errand: Errand) -> None:
        """Tell that a copy is there, or gone. A restore that was changed meanwhile has errands of its own."""
        with self._cloud.database.unit(None, write=False) as unit:
            name = unit.session.scalar(select(Container.name).where(Container.number == errand.container))
            at = unit.now
        bucket = None if name is None else containers(self._cloud).find(name)
        head = self._objects.head(errand.container, errand.key.decode(), errand.version)
        if bucket is None or head is None or "notification" not in bucket.documents:
            return
        terms, now = terms_of(head), (at - EPOCH) // MICROSECOND
        if "restore" not in terms or is_restoring(terms, now) or is_restored(terms, now) != (errand.facts == THERE):
            return
        event = "ObjectRestore:Completed" if errand.facts == THERE else "ObjectRestore:Delete"
        cause = Cause(at, bucket.region, SERVICE, SERVICE, SERVICE, str(uuid.uuid4()))
        more, bridged = of_restore(head.storage, terms["restore"]["ends"]) if errand.facts == THERE else ({}, {})
        thing = Thing(errand.key.decode(), head.version, head.size, head.etag, more, bridged)
        self._objects.act(lambda tx: self._tell(tx, bucket, event, cause, thing, errand, head))

    def _tell(
        self, tx: Transaction, bucket: Known, event: str, cause: Cause, thing: Thing, errand: Errand, head: Head
    ) -> None:
        tell(self._cloud, tx, bucket, event, cause, thing)
        if errand.facts == THERE:
            watch(self._cloud, tx, bucket, errand.key, errand.version, GONE, terms_of(head)["restore"]["ends"])
