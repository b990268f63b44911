"""Lifecycle configurations come true: the plans of the rounds over all buckets that have one."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import select

from backends.db import EPOCH, MICROSECOND
from backends.object.containers import Containers, Known
from backends.object.ledger import Transaction
from backends.object.listing import Open
from backends.object.models import Container, ContainerDocument
from backends.object.rounds import Fate, Plan, Sight, Verdict
from backends.object.versions import Deleted

if TYPE_CHECKING:
    from compat.cloud import Cloud
    from compat.s3.lifecycle_rules import Rules

SERVICE = "s3.amazonaws.com"
TRANSITIONS = {
    "STANDARD_IA": "_SIA",
    "ONEZONE_IA": "_ZIA",
    "INTELLIGENT_TIERING": "_INT",
    "GLACIER_IR": "_GIR",
    "GLACIER": "",
    "DEEP_ARCHIVE": "_GDA",
}
"""How access logs name a move to a storage class."""


class Lifecycle:
    """What the rounds ask of this side. One for the process that makes them."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._containers: Containers = cloud.hosts["containers"]

    def plans(self) -> Iterator[Plan]:
        """A plan for every bucket with a lifecycle configuration."""
        with self._cloud.database.unit(None, write=False) as unit:
            names = unit.session.scalars(
                select(Container.name)
                .join(ContainerDocument, ContainerDocument.container == Container.number)
                .where(ContainerDocument.kind == "lifecycle")
                .order_by(Container.number)
            ).all()
            now = (unit.now - EPOCH) // MICROSECOND
        if not names:
            return
        from compat.s3.lifecycle_rules import rules_of  # with much of S3: not at start, and not without need

        for name in names:
            bucket = self._containers.find(name)
            rules = None if bucket is None else rules_of(bucket, self._cloud.rules.lifecycle_day)
            if bucket is not None and rules is not None:
                yield self._plan(bucket, rules, now)

    def _plan(self, bucket: Known, rules: Rules, now: int) -> Plan:
        document = bucket.documents["lifecycle"]
        until, plan_id = rules.midnight(now), str(uuid.uuid4())

        def holds() -> bool:
            known = self._containers.find(bucket.name)
            return known is not None and known.documents.get("lifecycle") == document

        def followed(tx: Transaction, sight: Sight, verdict: Verdict, deleted: Deleted | None) -> None:
            if "logging" in bucket.documents:
                self._log(bucket, sight, verdict, deleted)
            if "notification" not in bucket.documents:
                return
            from compat.s3.telling import Cause, Thing, of_move, tell

            kept = deleted is not None and deleted.marker and verdict.fate is Fate.DELETE
            event = "LifecycleExpiration:DeleteMarkerCreated" if kept else "LifecycleExpiration:Delete"
            more: dict[str, Any] = {}
            bridged: dict[str, str] = {}
            if verdict.fate is Fate.MOVE:
                event = "LifecycleTransition"
                more, bridged = of_move(verdict.storage)
            cause = Cause(EPOCH + now * MICROSECOND, bucket.region, SERVICE, SERVICE, SERVICE, plan_id)
            version = sight.version if deleted is None else deleted.version
            thing = Thing(sight.key.decode(), version, sight.size, more=more, bridged=bridged)
            tell(self._cloud, tx, bucket, event, cause, thing)

        return Plan(
            container=bucket.number,
            name=hashlib.sha256(orjson.dumps([document, rules.day])).hexdigest(),
            until=until,
            holds=holds,
            judge=lambda sight: rules.judge(sight, until),
            ends=lambda one: rules.ends(one, until),
            followed=followed,
            ended=lambda one: self._log_end(bucket, one),
        )

    def _log(self, bucket: Known, sight: Sight, verdict: Verdict, deleted: Deleted | None) -> None:
        from compat.s3.access_log import note_own

        operation, version = "S3.EXPIRE.OBJECT", sight.version
        if verdict.fate is Fate.MOVE:
            operation = f"S3.TRANSITION{TRANSITIONS[verdict.storage]}.OBJECT"
        elif verdict.fate is Fate.DELETE and deleted is not None and deleted.marker:
            operation, version = "S3.CREATE.DELETEMARKER", deleted.version
        note_own(self._cloud, bucket, operation, sight.key.decode(), sight.size, version)

    def _log_end(self, bucket: Known, one: Open) -> None:
        from compat.s3.access_log import note_own

        note_own(self._cloud, bucket, "S3.DELETE.UPLOAD", one.key.decode(), None, None)
