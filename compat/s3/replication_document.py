"""Replication configurations: what S3 takes for one, and what one says of an object."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from backends.db import EPOCH, MICROSECOND
from backends.object.containers import Known
from backends.object.ledger import Transaction
from backends.object.versions import Description, Head
from compat.errors import AWSError
from compat.iam.demands import Demand, demands_also
from compat.operation import Params, Result, operation
from compat.s3 import faults
from compat.s3.documents import deleter, document_of, keep, rich
from compat.s3.places import bucket_of, check_account, containers
from compat.s3.properties import CLASSES
from compat.s3.terms import kept

if TYPE_CHECKING:
    from compat.cloud import Cloud
    from compat.context import Context

KIND = "replicate"
"""The kind of an errand that copies a version."""
PENDING, REPLICA = "PENDING", "REPLICA"
MOST_RULES = 1000
MOST_ID = 255
DESTINATION = re.compile(r"arn:aws[\w-]*:s3:::([^/:]+)")
ROLE = re.compile(r"arn:aws[\w-]*:iam::(\d{12}):role/(?:.*/)?([^/]+)")
THRESHOLD = 15
NEWER = (
    "for this version of Cross Region Replication configuration schema. Please refer to S3 Developer Guide for more "
)
Document = dict[str, Any]


class Rule(NamedTuple):
    """An enabled rule. `account` is the owner of replicas, where the rule says that it is the destination's."""

    id: str
    priority: int
    prefix: str
    tags: tuple[tuple[str, str], ...]
    bucket: str
    account: str | None
    storage: str
    overrides: bool
    markers: bool
    sealed: bool
    """Whether it selects objects that are encrypted by KMS; `replica_key` is the key for their replicas."""
    replica_key: str
    both_ways: bool
    """Whether changes of replicas' tags, lists and locks go to the destination, too."""
    measured: bool
    """Whether the rule has metrics, without which no event is told of it; `timed`: whether it promises a time."""
    timed: bool

    def fits(self, key: str, tags: dict[str, str]) -> bool:
        """Whether the rule's filter lets an object through."""
        return key.startswith(self.prefix) and all(tags.get(name) == value for name, value in self.tags)


class Plan(NamedTuple):
    """A bucket's configuration: the role in whose name objects are copied, and the enabled rules."""

    account: str
    role: str
    rules: tuple[Rule, ...]

    def targets(self, key: str, tags: dict[str, str], facts: str = "") -> list[Rule]:
        """The rule that counts for an object at each destination: the one of highest priority. `facts` tell whether the
        object is encrypted by KMS."""
        by_kms = '"ServerSideEncryption":"aws:kms' in facts
        found: dict[str, Rule] = {}
        for rule in self.rules:  # by falling priority
            if rule.fits(key, tags) and (rule.sealed or not by_kms):
                found.setdefault(rule.bucket, rule)
        return list(found.values())


def check(ctx: Context, bucket: Known, document: Document) -> None:
    """Refuse what S3 refuses; give ids where there are none."""
    if bucket.keeping != "Enabled":
        raise faults.invalid_request("Versioning must be 'Enabled' on the bucket to apply a replication configuration")
    rules = document.get("Rules") or []
    if not document.get("Role") or not 1 <= len(rules) <= MOST_RULES:
        raise faults.malformed()
    if ROLE.fullmatch(document["Role"]) is None:
        raise faults.invalid_argument("Invalid Role specified in replication configuration", "Role", document["Role"])
    newer = ["Filter" in rule for rule in rules]
    if any(newer) and not all(newer):
        raise faults.malformed()
    for number, rule in enumerate(rules):
        if not rule.get("ID"):
            rule["ID"] = f"{ctx.request_id}-{number}" if number else ctx.request_id
        if len(rule["ID"]) > MOST_ID:
            raise faults.invalid_argument("Rule Id must be less than or equal to 255 characters")
        _check_rule(ctx, bucket, rule)
    if len({rule["ID"] for rule in rules}) != len(rules):
        raise faults.invalid_argument("Rule Id must be unique. Found duplicate Rule Ids")
    if any(newer):
        if len({rule["Priority"] for rule in rules}) != len(rules):
            raise faults.invalid_request("Found duplicate priorities. Each rule must have a unique priority.")
    else:
        _check_older(rules)


def _check_rule(ctx: Context, bucket: Known, rule: Document) -> None:
    if rule.get("Status") not in ("Enabled", "Disabled"):
        raise faults.malformed()
    if "Filter" in rule:
        if rule.get("Prefix") is not None:
            raise faults.malformed()
        for member in ("Priority", "DeleteMarkerReplication"):
            if rule.get(member) is None:
                raise faults.invalid_request(f"{member} must be specified {NEWER} more information.")
        _check_filter(rule)
    markers = rule.get("DeleteMarkerReplication")
    if markers is not None and markers.get("Status") not in ("Enabled", "Disabled"):
        raise faults.malformed()
    existing = rule.get("ExistingObjectReplication")
    if existing is not None and existing.get("Status") not in ("Enabled", "Disabled"):
        raise faults.malformed()
    for name in ("SseKmsEncryptedObjects", "ReplicaModifications"):
        if _criterion(rule, name) not in (None, "Enabled", "Disabled"):
            raise faults.malformed()
    _check_destination(ctx, bucket, rule.get("Destination") or {})
    named = (rule["Destination"].get("EncryptionConfiguration") or {}).get("ReplicaKmsKeyID")
    if _selects_sealed(rule) != bool(named):
        raise faults.invalid_request(
            "SseKmsEncryptedObjects must be selected if, and only if, EncryptionConfiguration is specified."
        )


def _check_filter(rule: Document) -> None:
    given = rule["Filter"] or {}
    if sum(given.get(name) is not None for name in ("Prefix", "Tag", "And")) > 1:
        raise faults.malformed()
    both = given.get("And")
    tags = (both or {}).get("Tags") or ([given["Tag"]] if given.get("Tag") else [])
    if both is not None and len(tags) + (both.get("Prefix") is not None) < 2:
        raise faults.malformed()
    if tags and rule["DeleteMarkerReplication"].get("Status") == "Enabled":
        raise faults.invalid_request("Delete marker replication is not supported if any Tag filter is specified.")


def _check_destination(ctx: Context, bucket: Known, destination: Document) -> None:
    named = DESTINATION.fullmatch(destination.get("Bucket") or "")
    if not destination.get("Bucket"):
        raise faults.malformed()
    if named is None:
        raise faults.invalid_argument("Invalid bucket ARN.", "Bucket", destination["Bucket"])
    if named[1] == bucket.name:
        raise faults.invalid_request("Destination bucket cannot be the same as the source bucket.")
    found = containers(ctx.cloud).find(named[1])
    if found is None or found.keeping != "Enabled":
        raise faults.invalid_request("Destination bucket must have versioning enabled.")
    storage = destination.get("StorageClass")
    if storage is not None and storage not in CLASSES:
        raise AWSError("InvalidStorageClass", "The storage class you specified is not valid", 400)
    _check_metrics(destination)
    account, translation = destination.get("Account"), destination.get("AccessControlTranslation")
    if account is not None:
        check_account(account)
    if translation is not None:
        if translation.get("Owner") != "Destination":
            raise faults.malformed()
        if account is None:
            raise faults.invalid_request("Account must be specified with AccessControlTranslation.")


def _check_metrics(destination: Document) -> None:
    """Promises of time, and metrics of them, know one threshold; the former need the latter."""
    promised, metrics = destination.get("ReplicationTime"), destination.get("Metrics")
    for given, member in ((promised, "Time"), (metrics, "EventThreshold")):
        if given is None:
            continue
        if given.get("Status") not in ("Enabled", "Disabled"):
            raise faults.malformed()
        minutes = (given.get(member) or {}).get("Minutes")
        if minutes != THRESHOLD and (minutes is not None or (member == "Time" and given["Status"] == "Enabled")):
            raise faults.invalid_request(f"{member} must be {THRESHOLD} minutes.")
    if promised is not None and promised["Status"] == "Enabled" and (metrics or {}).get("Status") != "Enabled":
        raise faults.invalid_request("Metrics must be enabled with ReplicationTime.")


def _check_older(rules: list[Document]) -> None:
    """The first schema: one destination, and prefixes that do not overlap."""
    if len({rule["Destination"]["Bucket"] for rule in rules}) > 1:
        raise faults.invalid_request("The destination bucket must be same for all rules")
    prefixes = sorted(rule.get("Prefix") or "" for rule in rules)
    for one, other in zip(prefixes, prefixes[1:], strict=False):
        if other.startswith(one):
            raise faults.invalid_request(f"Found overlapping prefixes '{one}' and '{other}'")


# --- compiled ---------------------------------------------------------------------------------------------------------

_compiled: dict[int, tuple[Any, Plan]] = {}
_MOST_KEPT = 1024


def plan_of(bucket: Known) -> Plan | None:
    """What a bucket's configuration says; None where it has none, or keeps no versions now. Compiled once."""
    document = bucket.documents.get("replication")
    if document is None or bucket.keeping != "Enabled":
        return None
    found = _compiled.get(bucket.number)
    if found is None or found[0] is not document:
        if len(_compiled) > _MOST_KEPT:
            _compiled.clear()
        found = _compiled[bucket.number] = (document, _compile(rich(document)))
    return found[1]


def _compile(document: Document) -> Plan:
    role = ROLE.fullmatch(document["Role"])
    rules = [_rule(rule) for rule in document["Rules"] if rule["Status"] == "Enabled"]
    account, name = (role[1], role[2]) if role is not None else ("", "")
    return Plan(account, name, tuple(sorted(rules, key=lambda rule: -rule.priority)))


def _selects_sealed(rule: Document) -> bool:
    return _criterion(rule, "SseKmsEncryptedObjects") == "Enabled"


def _criterion(rule: Document, name: str) -> str | None:
    """The status of a criterion by which a rule selects; None without it."""
    found = (rule.get("SourceSelectionCriteria") or {}).get(name)
    return None if found is None else found.get("Status") or ""


def _rule(rule: Document) -> Rule:
    given = rule.get("Filter") or {}
    both = given.get("And") or given
    tags = both.get("Tags") or ([both["Tag"]] if both.get("Tag") else [])
    destination = rule["Destination"]
    # The first schema knows no switch: there, markers are replicated.
    markers = (rule.get("DeleteMarkerReplication") or {}).get("Status", "Enabled" if "Filter" not in rule else "")
    return Rule(
        id=rule["ID"],
        priority=rule.get("Priority") or 0,
        prefix=rule.get("Prefix") or both.get("Prefix") or "",
        tags=tuple((tag["Key"], tag["Value"]) for tag in tags),
        bucket=destination["Bucket"].rpartition(":")[2],
        account=destination.get("Account"),
        storage=destination.get("StorageClass") or "",
        overrides=destination.get("AccessControlTranslation") is not None,
        markers=markers == "Enabled",
        sealed=_selects_sealed(rule),
        replica_key=(destination.get("EncryptionConfiguration") or {}).get("ReplicaKmsKeyID") or "",
        both_ways=_criterion(rule, "ReplicaModifications") == "Enabled",
        measured=(destination.get("Metrics") or {}).get("Status") == "Enabled",
        timed=(destination.get("ReplicationTime") or {}).get("Status") == "Enabled",
    )


# --- errands ------------------------------------------------------------------------------------------------------


def marked(bucket: Known, key: str, about: Description) -> Description:
    """A new version of a bucket with a configuration, with the destinations that it is to reach."""
    plan = plan_of(bucket)
    targets = (
        [] if plan is None else plan.targets(key, dict(orjson.loads(about.tags)) if about.tags else {}, about.facts)
    )
    if not targets:
        return about
    terms = orjson.loads(about.terms) if about.terms else {}
    terms |= {"replication": PENDING, "replicas": {rule.bucket: PENDING for rule in targets}}
    return about._replace(terms=kept(terms))


def followers(bucket: Known, key: str, head: Head) -> list[str]:
    """The destinations that a change of a version's tags, lists or terms is to reach."""
    terms = orjson.loads(head.terms) if head.terms else {}
    if terms.get("replication") != REPLICA:
        return list(terms.get("replicas") or ())
    plan = plan_of(bucket)
    if plan is None:
        return []
    targets = plan.targets(key, dict(orjson.loads(head.tags)) if head.tags else {}, head.facts)
    return [rule.bucket for rule in targets if rule.both_ways]


def order(cloud: Cloud, tx: Transaction, bucket: Known, key: str, version: str, targets: list[str]) -> None:
    """Note that a version is to be copied, in the transaction that made or changed it."""
    now = (cloud.database.clock() - EPOCH) // MICROSECOND
    for target in targets:
        facts = orjson.dumps({"to": target, "since": now}).decode()
        cloud.hosts["outbox"].order(tx, bucket.tenant, bucket.number, key.encode(), version, KIND, facts, now)


# --- operations -------------------------------------------------------------------------------------------------------


@demands_also("s3:PutBucketReplication")
def _pass_role(ctx: Context, p: Params) -> Iterable[Demand]:
    role = (p.get("ReplicationConfiguration") or {}).get("Role")
    if role:
        yield Demand("iam:PassRole", (role,), {"iam:passedtoservice": "s3.amazonaws.com"})


@operation("s3:PutBucketReplication", on="{Bucket}", action="s3:PutReplicationConfiguration")
def put_bucket_replication(ctx: Context, p: Params) -> None:
    bucket, document = bucket_of(ctx, p), p.get("ReplicationConfiguration")
    if document is None:
        raise faults.malformed()
    check(ctx, bucket, document)
    keep(ctx, bucket, "replication", document)


@operation("s3:GetBucketReplication", on="{Bucket}", action="s3:GetReplicationConfiguration", streams=True)
def get_bucket_replication(ctx: Context, p: Params) -> Result:
    return {"ReplicationConfiguration": document_of(bucket_of(ctx, p), "replication")}


deleter("s3:DeleteBucketReplication", "replication", action="s3:PutReplicationConfiguration")
