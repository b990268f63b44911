"""Objects are copied to the buckets that a replication configuration names, in the name of its role.

The errand is noted in the transaction that makes a version; it is done later, by itself, and may be done again.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING

import orjson
from sqlalchemy import select

from backends.db import EPOCH, MICROSECOND
from backends.errors import Changed, DriverError, Missing
from backends.object import notes
from backends.object.books import Note
from backends.object.containers import Known
from backends.object.ledger import Transaction
from backends.object.models import Container
from backends.object.outbox import Errand
from backends.object.replicas import replicate
from backends.object.versions import Amendment, Description, Head, Published
from compat.context import Context
from compat.errors import AWSError
from compat.iam.authorize import ask
from compat.iam.policy.evaluate import Reason
from compat.iam.principal import Principal
from compat.iam.service_roles import acting, assume
from compat.operation import Operation
from compat.s3 import content_keys, encryption
from compat.s3.acl import object_owner
from compat.s3.locking import with_default
from compat.s3.places import containers
from compat.s3.replication_document import PENDING, REPLICA, THRESHOLD, Plan, Rule, plan_of
from compat.s3.telling import Cause, Thing, of_replication, tell
from compat.s3.terms import RETENTION, Terms, kept, terms_of

if TYPE_CHECKING:
    from backends.object.store import ObjectStore
    from compat.cloud import Cloud

log = logging.getLogger("nephele.replication")

MINUTE = 60_000_000
COMPLETED, FAILED = "COMPLETED", "FAILED"
SERVICE = "s3.amazonaws.com"
LOCK = (*RETENTION, "hold")
KMS_REASONS = {"AccessDenied": "DstPutObjectNotPermitted", "KMS.NotFoundException": "DstKmsKeyNotFound"}
_AS_ROLE = Operation("s3", "CopyObject", lambda ctx, p: None, "*", "s3:ReplicateObject", streams=True)


class Refused(Exception):
    """Why a version is not replicated, and will not be: AWS's name of the reason, and a sentence."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class Replication:
    """Does the errands. One for the process that does them."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._objects: ObjectStore = cloud.hosts["objects"]

    def run(self, errand: Errand) -> None:
        """Copy one version to one bucket, or say on it that this failed. Raises `DriverError` to be asked again."""
        bucket = self._bucket(errand.container)
        head = None if bucket is None else self._objects.head(errand.container, errand.key.decode(), errand.version)
        if bucket is None or head is None:
            return  # deleted meanwhile
        facts = orjson.loads(errand.facts)
        target, late = facts["to"], self._is_late(facts.get("since"))
        try:
            self._copy(bucket, errand.key.decode(), head, target)
        except Refused as fault:
            done = terms_of(head).get("replicas", {}).get(target) == COMPLETED
            if done and fault.reason == "SrcObjectNotEligible":
                return  # a change behind the end of its rule: the replica stays what it was
            log.warning("%s/%s was not replicated to %s: %s", bucket.name, errand.key.decode(), target, fault)
            self._note(bucket, errand.key.decode(), head, target, FAILED, fault.reason)
        except (Changed, DriverError) as fault:
            if late:
                self._note(bucket, errand.key.decode(), head, target, PENDING, late=True)
            if isinstance(fault, DriverError):
                raise
            raise DriverError(str(fault)) from fault
        else:
            self._note(bucket, errand.key.decode(), head, target, COMPLETED, late=late)

    def _is_late(self, since: int | None) -> bool:
        """Whether more time has passed than S3 Replication Time Control promises. Older errands do not know."""
        now = (self._cloud.database.clock() - EPOCH) // MICROSECOND
        return since is not None and now - since > THRESHOLD * MINUTE

    def _bucket(self, number: int) -> Known | None:
        with self._cloud.database.unit(None, write=False) as unit:
            name = unit.session.scalar(select(Container.name).where(Container.number == number))
        return None if name is None else containers(self._cloud).find(name)

    def _copy(self, bucket: Known, key: str, head: Head, name: str) -> None:
        plan = plan_of(bucket)
        tags = dict(orjson.loads(head.tags)) if head.tags else {}
        rule = (
            None
            if plan is None
            else next((one for one in plan.targets(key, tags, head.facts) if one.bucket == name), None)
        )
        if plan is None or rule is None:
            raise Refused("SrcObjectNotEligible", "no rule says so any more")
        target = containers(self._cloud).find(name)
        if target is None:
            raise Refused("DstBucketNotFound", "the destination is gone")
        if target.keeping != "Enabled":
            raise Refused("DstBucketUnversioned", "the destination keeps no versions")
        if rule.account is not None and rule.account != target.tenant:
            raise Refused("DstPutObjectNotPermitted", "the destination belongs to another account than the rule says")
        who, with_tags = self._role(plan, bucket), True
        if self._cloud.rules.auth == "enforce":
            self._check_rights(who, rule, bucket, target, key, head)
            with_tags = not head.tags or self._may_tag(who, bucket, target, key)
        about, sealed = _description(bucket, target, rule, head, with_tags=with_tags), None
        if content_keys.kind_of(head.sealed_key) in (content_keys.KMS, content_keys.DUAL):
            protection = self._sealed_anew(who, rule, bucket, target, key, head)
            assert protection.key is not None
            about, sealed = (
                about._replace(facts=protection.within(encryption.without(head.facts))),
                protection.key.sealed,
            )

        found = [] if head.marker else notes.every(self._objects, head)
        if found and self._cloud.rules.auth == "enforce":
            self._check_may_note(who, bucket, target, key)
        noted = [self._note_sealed_anew(who, rule, bucket, target, key, note, head) for note in found]

        def also(tx: Transaction, published: Published) -> None:
            if "notification" in target.documents and not head.marker:
                thing = Thing(key, published.version, head.size, head.etag)
                tell(self._cloud, tx, target, "ObjectCreated:Put", self._cause(target, plan.role), thing)

        try:
            replicate(
                self._objects,
                (bucket.number, key, head),
                target.number,
                about if head.marker else about._replace(terms=self._with_default(target, about.terms)),
                sealed_key=sealed,
                also=also,
                notes=noted,
                terms=lambda there: _terms_after(there, about.terms),
                only_there=terms_of(head).get("replication") == REPLICA,
            )
        except Missing:
            raise Refused("DstVersionNotFound", "the destination or the version is gone") from None

    def _with_default(self, target: Known, terms: str) -> str:
        """The terms of a new replica: the destination's default retention where the source has none."""
        now = (self._cloud.database.clock() - EPOCH) // MICROSECOND
        return kept(with_default(target, orjson.loads(terms), now))

    def _cause(self, bucket: Known, who: str) -> Cause:
        now = self._cloud.database.clock()
        return Cause(now, bucket.region, f"AWS:{who}", bucket.tenant, SERVICE, str(uuid.uuid4()))

    # --- rights -------------------------------------------------------------------------------------------------------

    def _role(self, plan: Plan, bucket: Known) -> Principal:
        """In whose name objects are copied: the role that S3 assumes. Raises `Refused` where it may not."""
        if plan.account != bucket.tenant and self._cloud.rules.auth == "enforce":
            raise Refused("AssumeRoleNotPermitted", f"there is no role {plan.role} in the bucket's account")
        who = assume(self._cloud, bucket.tenant, plan.role, SERVICE, bucket.region, session="s3-replication")
        if who is None:
            raise Refused("AssumeRoleNotPermitted", f"there is no role {plan.role} that S3 may assume")
        return who

    def _check_rights(self, who: Principal, rule: Rule, bucket: Known, target: Known, key: str, head: Head) -> None:
        """Everything that AWS demands of the role. Raises `Refused`."""
        source, there = f"arn:aws:s3:::{bucket.name}", f"arn:aws:s3:::{target.name}/{key}"
        wanted = [("s3:GetReplicationConfiguration", source, "SrcBucketReplicationConfigMissing")]
        if head.marker:
            wanted.append(("s3:ReplicateDelete", there, "DstDelObjNotPermitted"))
        else:
            terms = terms_of(head)
            wanted.append(("s3:GetObjectVersionForReplication", f"{source}/{key}", "SrcGetObjectNotPermitted"))
            if "mode" in terms:
                wanted.append(("s3:GetObjectRetention", f"{source}/{key}", "SrcGetObjectNotPermitted"))
            if "hold" in terms:
                wanted.append(("s3:GetObjectLegalHold", f"{source}/{key}", "SrcGetObjectNotPermitted"))
            wanted.append(("s3:ReplicateObject", there, "DstPutObjectNotPermitted"))
            if rule.overrides:
                wanted.append(("s3:ObjectOwnerOverrideToBucketOwner", there, "DstPutAclNotPermitted"))
        for action, resource, reason in wanted:
            if not self._may(_AS_ROLE, who, bucket, action, resource):
                raise Refused(reason, f"{who.role_arn} is not allowed {action} on {resource}")

    def _may_tag(self, who: Principal, bucket: Known, target: Known, key: str) -> bool:
        """Whether tags come along: whoever may not read them copies the rest, and a destination may deny them."""
        with self._as(_AS_ROLE, who, bucket) as ctx:
            if not ask(ctx, "s3:GetObjectVersionTagging", f"arn:aws:s3:::{bucket.name}/{key}").allowed:
                return False
            decision = ask(ctx, "s3:ReplicateTags", f"arn:aws:s3:::{target.name}/{key}")
            return decision.reason is not Reason.EXPLICIT_DENY

    def _sealed_anew(
        self, who: Principal, rule: Rule, bucket: Known, target: Known, key: str, head: Head
    ) -> encryption.Protection:
        """The content's key under the KMS key that the rule names for replicas. Raises `Refused`."""
        if not rule.sealed:
            raise Refused("SrcObjectNotEligible", "the rule does not select objects that are encrypted by KMS")
        algorithm = orjson.loads(head.facts)["ServerSideEncryption"]
        want = encryption.Wanted(algorithm, named=rule.replica_key)
        with self._as(_AS_ROLE, who, bucket) as here, self._as(_AS_ROLE, who, target) as there:
            try:
                secret = content_keys.open_kms(here, bucket, head.sealed_key or b"")
            except AWSError as fault:
                reason = "SrcGetObjectNotPermitted" if fault.code == "AccessDenied" else "SrcKmsKeyInvalidState"
                raise Refused(reason, f"{fault.code}: {fault.message}") from None
            try:
                return encryption.protect(there, target, key, want, secret, replicates=True)
            except AWSError as fault:
                reason = KMS_REASONS.get(fault.code, "DstKmsKeyInvalidState")
                raise Refused(reason, f"{fault.code}: {fault.message}") from None

    def _check_may_note(self, who: Principal, bucket: Known, target: Known, key: str) -> None:
        """What AWS demands of the role besides, where the version has annotations. Raises `Refused`."""
        for action, there, reason in (
            ("s3:GetObjectVersionAnnotationForReplication", bucket, "SrcGetObjectNotPermitted"),
            ("s3:ReplicateObjectAnnotation", target, "DstPutObjectNotPermitted"),
        ):
            resource = f"arn:aws:s3:::{there.name}/{key}"
            if not self._may(_AS_ROLE, who, bucket, action, resource):
                raise Refused(reason, f"{who.role_arn} is not allowed {action} on {resource}")

    def _note_sealed_anew(
        self, who: Principal, rule: Rule, bucket: Known, target: Known, key: str, note: Note, head: Head
    ) -> Note:
        """An annotation as the replica is to have it: under its KMS key where the version is under one."""
        if content_keys.kind_of(note.sealed_key) not in (content_keys.KMS, content_keys.DUAL):
            return note
        protection = self._sealed_anew(who, rule, bucket, target, key, head._replace(sealed_key=note.sealed_key))
        assert protection.key is not None
        return note._replace(sealed_key=protection.key.sealed)

    def _may(self, operation: Operation, who: Principal, bucket: Known, action: str, resource: str) -> bool:
        with self._as(operation, who, bucket) as ctx:
            return ask(ctx, action, resource).allowed

    @contextlib.contextmanager
    def _as(self, operation: Operation, who: Principal, bucket: Known) -> Iterator[Context]:
        """A call of somebody's in the region of a bucket."""
        with acting(self._cloud, operation, who, bucket.region) as ctx:
            yield ctx

    # --- what became of it --------------------------------------------------------------------------------------------

    def _note(
        self, bucket: Known, key: str, head: Head, target: str, status: str, reason: str = "", *, late: bool = False
    ) -> None:
        """Say on a version how far it came: completed when it is at every destination, failed when one refused it.

        `PENDING` is said where it comes later than promised. `missed` in its terms are destinations of which that was
        told.
        """
        if head.marker:
            return

        def revise(now: Head) -> Amendment | None:
            terms = terms_of(now)
            if terms.get("replication") in (None, REPLICA):
                return None
            replicas = terms.setdefault("replicas", {})
            replicas[target] = status
            states = set(replicas.values())
            terms["replication"] = next((one for one in (FAILED, PENDING) if one in states), COMPLETED)
            missed = set(terms.pop("missed", ())) - {target} | ({target} if status == PENDING else set())
            if missed:
                terms["missed"] = sorted(missed)
            text = kept(terms)
            return None if text == now.terms else Amendment(terms=text)

        def also(tx: Transaction, before: Head) -> None:
            rule = _rule_of(bucket, key, head, target)
            if rule is None or not rule.measured or "notification" not in bucket.documents:
                return
            thing = Thing(
                key, head.version, head.size, head.etag, of_replication(rule.id, target, head.modified, reason)
            )
            cause = self._cause(bucket, SERVICE)._replace(principal=SERVICE)
            for event in events_of(
                status, late=late and rule.timed, missed=target in terms_of(before).get("missed", ())
            ):
                tell(self._cloud, tx, bucket, f"Replication:{event}", cause, thing)

        try:
            self._objects.amend(bucket.number, key, head.version, revise, also)
        except Missing:
            return  # deleted meanwhile


def events_of(status: str, *, late: bool, missed: bool) -> Iterator[str]:
    """What there is to tell of a version that came to a status. `late`: after what was promised; `missed`: that it is
    late was told."""
    if status == FAILED:
        yield "OperationFailedReplication"
    elif late:
        if not missed:
            yield "OperationMissedThreshold"
        if status == COMPLETED:
            yield "OperationReplicatedAfterThreshold"


def _rule_of(bucket: Known, key: str, head: Head, target: str) -> Rule | None:
    """The rule by which a version goes to a destination; None where none says so any more."""
    plan, tags = plan_of(bucket), dict(orjson.loads(head.tags)) if head.tags else {}
    rules = [] if plan is None else plan.targets(key, tags, head.facts)
    return next((rule for rule in rules if rule.bucket == target), None)


def _terms_after(there: Head, terms: str) -> str:
    """The terms of a version that was there already: the source's lock, where it has one, and the rest as it was."""
    before, given = terms_of(there), orjson.loads(terms) if terms else {}
    if "mode" in given:
        before = {name: value for name, value in before.items() if name not in RETENTION}
    return kept(before | {name: value for name, value in given.items() if name in LOCK})


def _description(bucket: Known, target: Known, rule: Rule, head: Head, *, with_tags: bool) -> Description:
    """The replica: everything as at the source, but for what the rule says."""
    owner, grants = object_owner(bucket, head.owner), head.grants
    if rule.overrides:
        owner, grants = target.tenant, ""
    terms: Terms = {}
    if not head.marker:
        terms = {name: value for name, value in terms_of(head).items() if name in LOCK}
        if terms and "lock" not in target.documents:
            raise Refused(
                "DstBucketObjectLockConfigMissing", "the version is locked, and the destination has no Object Lock"
            )
        terms["replication"] = REPLICA
    return Description(
        modified=head.modified,
        etag=head.etag,
        size=head.size,
        storage=("" if rule.storage == "STANDARD" else rule.storage) if rule.storage else head.storage,
        checksum=head.checksum,
        owner="" if owner == target.tenant else owner,
        parts=head.parts,
        facts=head.facts,
        tags=head.tags if with_tags else "",
        grants=grants,
        terms=kept(terms),
    )
