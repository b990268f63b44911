"""Server access logs: a line for each request to a bucket that has one, delivered to the bucket that it names."""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
import uuid
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote

import orjson
from sqlalchemy import select

from backends import checksum
from backends.db import EPOCH, MICROSECOND
from backends.errors import Missing
from backends.object.access import AccessLines, Line
from backends.object.containers import Known
from backends.object.ledger import Transaction
from backends.object.models import Container
from backends.object.versions import Description, Published
from compat.context import Call, Context
from compat.iam.authorize import ask
from compat.iam.principal import ANONYMOUS, Principal, service
from compat.operation import Operation
from compat.s3 import checksums
from compat.s3.acl import ENFORCED, LOGGERS, bucket_grants, listed_grants
from compat.s3.places import canonical_id, containers, door_arn, door_called, ownership
from compat.s3.telling import Cause, Thing, tell

if TYPE_CHECKING:
    from backends.object.store import ObjectStore
    from compat.cloud import Cloud

log = logging.getLogger("nephele.access")

SERVICE = "logging.s3.amazonaws.com"
NAMES = {
    "CopyObject": "REST.COPY.OBJECT",
    "PostObject": "REST.POST.OBJECT",
    "CreateMultipartUpload": "REST.POST.UPLOADS",
    "UploadPart": "REST.PUT.PART",
    "UploadPartCopy": "REST.COPY.PART",
    "CompleteMultipartUpload": "REST.POST.UPLOAD",
    "AbortMultipartUpload": "REST.DELETE.UPLOAD",
    "ListParts": "REST.GET.UPLOAD",
    "ListMultipartUploads": "REST.GET.UPLOADS",
    "ListObjects": "REST.GET.BUCKET",
    "ListObjectsV2": "REST.GET.BUCKET",
    "ListObjectVersions": "REST.GET.BUCKETVERSIONS",
    "DeleteObjects": "REST.POST.MULTI_OBJECT_DELETE",
    "RestoreObject": "REST.POST.RESTORE",
    "GetObjectAcl": "REST.GET.ACL",
    "PutObjectAcl": "REST.PUT.ACL",
    "GetBucketLogging": "REST.GET.LOGGING_STATUS",
    "PutBucketLogging": "REST.PUT.LOGGING_STATUS",
    "GetBucketPolicy": "REST.GET.BUCKETPOLICY",
    "PutBucketPolicy": "REST.PUT.BUCKETPOLICY",
    "DeleteBucketPolicy": "REST.DELETE.BUCKETPOLICY",
}
"""AWS's name of an operation in these logs, where it does not follow from the operation's."""
_VERB = re.compile(r"(Get|Put|Head|Delete|Create|List)(Bucket(?=.)|Object(?=.))?(.+)")
_WORDS = re.compile(r"(?<=[a-z])(?=[A-Z])")
_PUT = Operation("s3", "PutObject", lambda ctx, p: None, "*", "s3:PutObject", streams=True)


class Visit(NamedTuple):
    """A request that was answered, as the gateway saw it. Sizes are in bytes, None where there are none."""

    operation: str
    key: str | None
    at: datetime
    principal: Principal
    source_ip: str
    request_id: str
    request: str
    status: int | None
    error: str | None
    sent: int | None
    size: int | None
    milliseconds: int | None
    referer: str
    user_agent: str
    version: str | None
    signature: str | None
    how: str | None
    host: str
    tls: tuple[str, str] | None
    region: str
    point: str | None = None
    """The ARN of the access point that it came through."""
    requester: str = ""
    """Who it was, where that is no principal."""


def name_of(operation: str, website: bool = False) -> str:
    """The operation's name in a log: `REST.GET.OBJECT`."""
    known = NAMES.get(operation)
    if known is None:
        found = _VERB.fullmatch(operation)
        verb, level, what = found.groups() if found is not None else ("GET", "", operation)
        verb = {"Create": "Put", "List": "Get"}.get(verb, verb).upper()
        prefix = "OBJECT_" if level == "Object" else ""
        known = f"REST.{verb}.{prefix}{_WORDS.sub('_', what).upper()}"
    return known.replace("REST", "WEBSITE", 1) if website else known


def line_of(bucket: Known, visit: Visit) -> str:
    """The line, with every field of AWS's format."""
    principal = visit.principal
    duration = "-" if visit.milliseconds is None else str(visit.milliseconds)
    requester = visit.requester or (
        "-" if principal.is_anonymous else canonical_id(principal.account) if principal.is_root else (principal.arn)
    )

    def text(value: object) -> str:
        return "-" if value in (None, "", 0) else str(value)

    def quoted(value: str) -> str:
        return '"-"' if not value else '"{}"'.format(value.replace('"', "%22").replace("\n", " "))

    fields = (
        canonical_id(bucket.tenant),
        bucket.name,
        visit.at.strftime("[%d/%b/%Y:%H:%M:%S +0000]"),
        visit.source_ip,
        requester,
        visit.request_id,
        visit.operation,
        text(quote(visit.key, safe="/") if visit.key else None),
        quoted(visit.request),
        text(visit.status),
        text(visit.error),
        text(visit.sent),
        text(visit.size),
        duration,
        duration,
        quoted(visit.referer),
        quoted(visit.user_agent),
        text(visit.version),
        visit.request_id,
        text(visit.signature),
        text(visit.tls and visit.tls[1]),
        text(visit.how),
        text(visit.host),
        text(visit.tls and visit.tls[0]),
        text(visit.point),
        "-",
    )
    return " ".join(fields)


def note(cloud: Cloud, name: str, visit: Visit) -> None:
    """Remember a request to a bucket, or to an access point of it, where the bucket keeps a log."""
    bucket = containers(cloud).find(name)
    if bucket is None and (door := door_called(cloud, visit.region, name)) is not None:
        bucket, visit = containers(cloud).find(door.container), visit._replace(point=door_arn(door))
    if bucket is not None and "logging" in bucket.documents:
        lines: AccessLines = cloud.hosts["access"]
        lines.note(bucket.tenant, bucket.number, (visit.at - EPOCH) // MICROSECOND, line_of(bucket, visit))


def note_own(cloud: Cloud, bucket: Known, operation: str, key: str, size: int | None, version: str | None) -> None:
    """Remember what S3 did by itself (`S3.EXPIRE.OBJECT`), where the bucket keeps a log."""
    if "logging" not in bucket.documents:
        return
    visit = Visit(
        operation=operation,
        key=key,
        at=cloud.database.clock(),
        principal=ANONYMOUS,
        source_ip="-",
        request_id=str(uuid.uuid4()),
        request="",
        status=None,
        error=None,
        sent=None,
        size=size,
        milliseconds=None,
        referer="",
        user_agent="",
        version=version,
        signature=None,
        how=None,
        host="",
        tls=None,
        region=bucket.region,
        requester="AmazonS3",
    )
    note(cloud, bucket.name, visit)


class AccessLogs:
    """Delivers lines. One for the process that does it."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._objects: ObjectStore = cloud.hosts["objects"]
        self._lines: AccessLines = cloud.hosts["access"]

    def deliver(self, container: int, lines: Sequence[Line]) -> None:
        """Put a bucket's lines into an object of its target bucket; drop them where that is not allowed any more."""
        with self._cloud.database.unit(None, write=False) as unit:
            name = unit.session.scalar(select(Container.name).where(Container.number == container))
        bucket = None if name is None else containers(self._cloud).find(name)
        enabled: dict[str, Any] | None = None
        if bucket is not None:
            enabled = (bucket.documents.get("logging") or {}).get("LoggingEnabled")
        target = None if enabled is None else containers(self._cloud).find(enabled["TargetBucket"])
        if bucket is None or enabled is None or target is None:
            self._drop(container, lines)
            return
        for batch in _batches(enabled, lines):
            key = _key(self._cloud.database.clock(), bucket, enabled, batch)
            if self._may(bucket, target, key):
                self._put(container, target, key, batch, _grants(enabled, target))
            else:
                log.warning("the access log of %s may not be delivered to %s", bucket.name, target.name)
                self._drop(container, batch)

    def _drop(self, container: int, lines: Sequence[Line]) -> None:
        self._objects.act(lambda tx: self._lines.done(tx, container, lines[-1].number))

    def _put(self, container: int, target: Known, key: str, lines: Sequence[Line], grants: str) -> None:
        data = "".join(f"{line.text}\n" for line in lines).encode()
        running = checksum.checksum(checksums.DEFAULT)
        running.update(data)
        now = self._cloud.database.clock()
        received = self._objects.receive([data])
        about = Description(
            modified=(now - EPOCH) // MICROSECOND,
            etag=hashlib.md5(data, usedforsecurity=False).hexdigest(),
            size=len(data),
            checksum=f"{checksums.DEFAULT} {checksums.FULL} {checksum.encode(running.digest())}",
            facts='{"ContentType":"text/plain"}',
            grants=grants,
        )

        def also(tx: Transaction, published: Published) -> None:
            self._lines.done(tx, container, lines[-1].number)
            if "notification" in target.documents:
                cause = Cause(now, target.region, SERVICE, target.tenant, SERVICE, str(uuid.uuid4()))
                thing = Thing(key, published.version, about.size, about.etag)
                tell(self._cloud, tx, target, "ObjectCreated:Put", cause, thing)

        try:
            self._objects.publish(target.number, key, about, received, also=also)
        except Missing:
            self._drop(container, lines)
        finally:
            received.close()

    def _may(self, bucket: Known, target: Known, key: str) -> bool:
        """Whether the target's policy, or its list, lets the log service in."""
        if ownership(target) != ENFORCED and any(
            who == LOGGERS and what in ("WRITE", "FULL_CONTROL") for who, what in bucket_grants(target)
        ):
            return True
        who = service(SERVICE, target.tenant)
        ctx = Context(self._cloud, _PUT, Call("s3", "PutObject", {}, who, target.region, str(uuid.uuid4())))
        extra = {"aws:sourcearn": f"arn:aws:s3:::{bucket.name}", "aws:sourceaccount": bucket.tenant}
        try:
            return ask(ctx, "s3:PutObject", f"arn:aws:s3:::{target.name}/{key}", None, extra).allowed
        finally:
            ctx.close()


def _grants(enabled: dict[str, Any], target: Known) -> str:
    """The list of a log's objects: the target's owner, and whom the configuration names, where there are lists."""
    given = enabled.get("TargetGrants")
    if not given or ownership(target) == ENFORCED:
        return ""
    return orjson.dumps([[canonical_id(target.tenant), "FULL_CONTROL"], *listed_grants(given)]).decode()


def _partition(enabled: dict[str, Any]) -> str | None:
    """By which date keys are partitioned; None where they are not."""
    partitioned = (enabled.get("TargetObjectKeyFormat") or {}).get("PartitionedPrefix")
    return None if partitioned is None else partitioned.get("PartitionDateSource") or "DeliveryTime"


def _batches(enabled: dict[str, Any], lines: Sequence[Line]) -> list[list[Line]]:
    """What goes into one object each: with keys by the time of events, the lines of one day, as far as they follow."""
    if _partition(enabled) != "EventTime":
        return [list(lines)]
    return [list(group) for _, group in groupby(lines, key=lambda line: line.at // 86_400_000_000)]


def _key(now: datetime, bucket: Known, enabled: dict[str, Any], lines: Sequence[Line]) -> str:
    prefix, unique = enabled.get("TargetPrefix") or "", secrets.token_hex(8).upper()
    source = _partition(enabled)
    if source is None:
        return f"{prefix}{now:%Y-%m-%d-%H-%M-%S}-{unique}"
    at = now
    if source == "EventTime":
        at = EPOCH + timedelta(days=lines[0].at // 86_400_000_000)
    place = f"{bucket.tenant}/{bucket.region}/{bucket.name}"
    return f"{prefix}{place}/{at:%Y}/{at:%m}/{at:%d}/{at:%Y-%m-%d-%H-%M-%S}-{unique}"
