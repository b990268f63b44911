"""Records of events, as AWS writes them, for the targets that a bucket's notification configuration names."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import quote_plus

import orjson

from backends.db import EPOCH, MICROSECOND
from backends.errors import DriverError
from backends.object.containers import Known
from backends.object.ledger import Transaction
from backends.object.outbox import ADD_EVENT, EVENTS, Outbox, Send, Told
from compat.context import host_id
from compat.s3.notification_document import Wish, wishes_of
from compat.s3.places import canonical_id

if TYPE_CHECKING:
    from compat.cloud import Cloud
    from compat.context import Context

BRIDGE = "aws:events"
VERSIONS = {"Replication": "2.2"} | dict.fromkeys(
    (
        "LifecycleExpiration",
        "LifecycleTransition",
        "IntelligentTiering",
        "ObjectTagging",
        "ObjectAcl",
        "ObjectRestore:Delete",
    ),
    "2.3",
)
"""The version of a record by its event or the family of that, where it is not 2.1."""
DETAILS = {
    "ObjectCreated": "Object Created",
    "ObjectRemoved": "Object Deleted",
    "LifecycleExpiration": "Object Deleted",
    "LifecycleTransition": "Object Storage Class Changed",
    "ObjectRestore:Post": "Object Restore Initiated",
    "ObjectRestore:Completed": "Object Restore Completed",
    "ObjectRestore:Delete": "Object Restore Expired",
    "ObjectTagging:Put": "Object Tags Added",
    "ObjectTagging:Delete": "Object Tags Deleted",
    "ObjectAcl:Put": "Object ACL Updated",
}
"""EventBridge's names of events, by event or its family."""
REASONS = {
    "Put": "PutObject",
    "Post": "POST Object",
    "Copy": "CopyObject",
    "CompleteMultipartUpload": "CompleteMultipartUpload",
    "Delete": "DeleteObject",
    "DeleteMarkerCreated": "DeleteObject",
}


class Cause(NamedTuple):
    """Who or what made something happen, and when."""

    at: datetime
    region: str
    principal: str
    account: str
    source_ip: str
    request_id: str
    partition: str = "aws"


class Thing(NamedTuple):
    """The object that something happened to. `version` is empty where none is named."""

    key: str
    version: str = ""
    size: int | None = None
    etag: str | None = None
    more: Mapping[str, Any] = {}
    """What only records of such events have, by name; `bridged` has the same for EventBridge."""
    bridged: Mapping[str, str] = {}


def outbox(cloud: Cloud) -> Outbox:
    """Where events and errands of a cloud are written."""
    found: Outbox = cloud.hosts["outbox"]
    return found


def cause_of(ctx: Context) -> Cause:
    """The call itself."""
    principal = ctx.principal
    who = "Anonymous" if principal.is_anonymous else principal.unique_id
    return Cause(ctx.now, ctx.region, f"AWS:{who}", ctx.account, ctx.source_ip, ctx.request_id, ctx.partition)


def tell(cloud: Cloud, tx: Transaction, bucket: Known, event: str, cause: Cause, thing: Thing) -> None:
    """Write a record for every target that wants to be told of an event (`ObjectCreated:Put`)."""
    wishes, box, now = wishes_of(bucket), outbox(cloud), (cause.at - EPOCH) // MICROSECOND
    for wish in wishes.targets:
        if wish.wants(event, thing.key):
            record = orjson.dumps(_record(bucket, event, cause, thing, wish.id)).decode()
            box.tell(tx, bucket.tenant, bucket.name, wish.arn, record, now)
    if wishes.bridge and (detail := DETAILS.get(event) or DETAILS.get(event.partition(":")[0])):
        record = orjson.dumps(_bridged(bucket, event, detail, cause, thing)).decode()
        box.tell(tx, bucket.tenant, bucket.name, BRIDGE, record, now)


def _record(bucket: Known, event: str, cause: Cause, thing: Thing, id: str) -> dict[str, Any]:
    about: dict[str, Any] = {"key": quote_plus(thing.key, safe="/")}
    if thing.size is not None:
        about["size"] = thing.size
    if thing.etag is not None:
        about["eTag"] = thing.etag
    if thing.version:
        about["versionId"] = thing.version
    return {
        "eventVersion": VERSIONS.get(event) or VERSIONS.get(event.partition(":")[0], "2.1"),
        "eventSource": "aws:s3",
        "awsRegion": bucket.region,
        "eventTime": _time(cause.at),
        "eventName": event,
        "userIdentity": {"principalId": cause.principal},
        "requestParameters": {"sourceIPAddress": cause.source_ip},
        "responseElements": {"x-amz-request-id": cause.request_id, "x-amz-id-2": host_id(cause.request_id)},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": id,
            "bucket": {
                "name": bucket.name,
                "ownerIdentity": {"principalId": canonical_id(bucket.tenant)},
                "arn": f"arn:{cause.partition}:s3:::{bucket.name}",
            },
            "object": about,
        },
        **thing.more,
    }


def _bridged(bucket: Known, event: str, name: str, cause: Cause, thing: Thing) -> dict[str, Any]:
    about: dict[str, Any] = {"key": thing.key}
    if thing.size is not None:
        about["size"] = thing.size
    if thing.etag is not None:
        about["etag"] = thing.etag
    if thing.version:
        about["version-id"] = thing.version
    family, _, member = event.partition(":")
    detail: dict[str, Any] = {
        "version": "0",
        "bucket": {"name": bucket.name},
        "object": about,
        "request-id": cause.request_id,
        "requester": cause.account,
    }
    if cause.source_ip and cause.source_ip != cause.principal:  # which is so of what S3 does by itself
        detail["source-ip-address"] = cause.source_ip
    if family in ("ObjectCreated", "ObjectRemoved", "LifecycleExpiration"):
        detail["reason"] = "Lifecycle Expiration" if family == "LifecycleExpiration" else REASONS[member]
    if name == "Object Deleted":
        kept = member == "DeleteMarkerCreated"
        detail["deletion-type"] = "Delete Marker Created" if kept else "Permanently Deleted"
    detail |= thing.bridged
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": name,
        "source": "aws.s3",
        "account": bucket.tenant,
        "time": cause.at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": bucket.region,
        "resources": [f"arn:{cause.partition}:s3:::{bucket.name}"],
        "detail": detail,
    }


def _time(at: datetime) -> str:
    return f"{at.strftime('%Y-%m-%dT%H:%M:%S')}.{at.microsecond // 1000:03}Z"


def of_restore(storage: str, ends: int) -> tuple[dict[str, Any], dict[str, str]]:
    """What records of a restore that is done have besides: until when the copy stays (microseconds since 1970), and the
    class of the object."""
    until = EPOCH + ends * MICROSECOND
    data = {"lifecycleRestorationExpiryTime": _time(until), "lifecycleRestoreStorageClass": storage}
    bridged = {"restore-expiry-time": until.strftime("%Y-%m-%dT%H:%M:%SZ"), "source-storage-class": storage}
    return {"glacierEventData": {"restoreEventData": data}}, bridged


def of_move(storage: str) -> tuple[dict[str, Any], dict[str, str]]:
    """What records of a move to another storage class have besides."""
    data = {"transitionEventData": {"destinationStorageClass": storage}}
    return {"lifecycleEventData": data}, {"destination-storage-class": storage}


def of_replication(rule: str, target: str, at: int, reason: str) -> dict[str, Any]:
    """What a record of a replication that failed (with the reason) or is late has besides. `at` (microseconds since
    1970): when the version was made."""
    data = {
        "replicationRuleId": rule,
        "destinationBucket": f"arn:aws:s3:::{target}",
        "s3Operation": "OBJECT_PUT",
        "requestTime": _time(EPOCH + at * MICROSECOND),
    }
    if reason:
        data["failureReason"] = reason
    return {"replicationEventData": data}


def tell_of_test(ctx: Context, bucket: Known, targets: tuple[Wish, ...]) -> None:
    """Tell queues and topics that they are configured, as S3 does. In the open unit of work."""
    now = (ctx.now - EPOCH) // MICROSECOND
    for arn in sorted({wish.arn for wish in targets if wish.arn.split(":", 3)[2] != "lambda"}):
        record = {
            "Service": "Amazon S3",
            "Event": "s3:TestEvent",
            "Time": _time(ctx.now),
            "Bucket": bucket.name,
            "RequestId": ctx.request_id,
            "HostId": host_id(ctx.request_id),
        }
        due = now if outbox(ctx.cloud).sends else None
        ctx.unit.run(ADD_EVENT, bucket.tenant, bucket.name, arn, orjson.dumps(record).decode(), due)
    ctx.unit.touch(EVENTS)
    ctx.unit.nudge(EVENTS)


def shown(told: Told) -> dict[str, Any]:
    """An event for its readers: the message as its target gets it, with the sequencer, which grows with every event."""
    record: dict[str, Any] = orjson.loads(told.record)
    sequencer = f"{told.number:016X}"
    if "s3" in record:
        record["s3"]["object"]["sequencer"] = sequencer
        message: Mapping[str, Any] = {"Records": [record]}
    else:
        if "detail" in record:
            record["detail"]["object"]["sequencer"] = sequencer
        message = record
    return {"number": told.number, "bucket": told.container, "target": told.targets, "message": message}


def sender(post: Callable[[bytes, Mapping[str, str]], str | None]) -> Send:
    """What sends events on through `post`, which gives what went wrong, or None."""

    def send(told: Told) -> None:
        event = shown(told)
        headers = {
            "X-Nephele-Event": str(told.number),
            "X-Nephele-Bucket": told.container,
            "X-Nephele-Target": told.targets,
        }
        if (fault := post(orjson.dumps(event["message"]), headers)) is not None:
            raise DriverError(fault)

    return send
