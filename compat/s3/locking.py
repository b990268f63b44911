"""Object Lock: who may not delete or shorten what, and until when."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from backends.db import EPOCH, MICROSECOND
from backends.errors import Missing
from backends.object.containers import Known
from backends.object.versions import Expect, Head
from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.s3 import event_holds, faults, properties, sequel
from compat.s3.documents import document_of, keep
from compat.s3.places import bucket_of, key_of, version_of
from compat.s3.terms import DAY, RETENTION, Terms, revision, terms_of

if TYPE_CHECKING:
    from compat.context import Context

GOVERNANCE, COMPLIANCE = "GOVERNANCE", "COMPLIANCE"
MODES = (GOVERNANCE, COMPLIANCE)
LONGEST = {"Days": 36500, "Years": 100}
PACIFIC = ZoneInfo("America/Los_Angeles")
"""S3 names times in errors as they are in Seattle."""
LENGTH = {"Days": DAY, "Years": 365 * DAY}


def _no_lock() -> AWSError:
    return faults.invalid_request("Bucket is missing Object Lock Configuration")


def protected() -> AWSError:
    """403: the object is locked."""
    return AWSError("AccessDenied", "Access Denied because object protected by object lock.", 403)


def micros(moment: datetime) -> int:
    """A time as terms keep it: in whole milliseconds, as S3 does."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - EPOCH) // MICROSECOND // 1000 * 1000


def is_locked(terms: Terms, now: int, *, bypass: bool = False) -> bool:
    """Whether a version may not go. `bypass`: governance does not count."""
    if terms.get("hold") == "ON":
        return True
    return "mode" in terms and _is_retained(terms, now) and not (bypass and terms["mode"] == GOVERNANCE)


def _is_retained(terms: Terms, now: int) -> bool:
    return event_holds.is_on(terms) or terms["until"] > now


def unlocked(bucket: Known, version: str | None, now: int, bypass: bool, expect: Expect | None) -> Expect | None:
    """`expect`, and that the version to be deleted is not locked. A delete of a key only leaves a marker."""
    if version is None or "lock" not in bucket.documents:
        return expect

    def expected(head: Head | None) -> None:
        if expect is not None:
            expect(head)
        if head is not None and head.terms and is_locked(terms_of(head), now, bypass=bypass):
            raise protected()

    return expected


def check_bypass(bucket: Known, p: Params) -> None:
    """Refuse to speak of governance where nothing is locked."""
    if p.get("BypassGovernanceRetention") is not None and "lock" not in bucket.documents:
        raise faults.invalid_argument(
            "x-amz-bypass-governance-retention is only applicable to Object Lock enabled buckets.",
            "x-amz-bypass-governance-retention",
        )


# --- new objects ------------------------------------------------------------------------------------------------------


def terms_of_upload(bucket: Known, p: Params, now: int) -> Terms:
    """What a call says of the lock of a new object."""
    terms = event_holds.of_upload(p)
    mode, until, hold = p.get("ObjectLockMode"), p.get("ObjectLockRetainUntilDate"), p.get("ObjectLockLegalHoldStatus")
    if mode is None and until is None and hold is None:
        return {}
    if (mode is None) != (until is None) and not (terms and until is None):
        raise faults.invalid_argument(
            "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode must both be supplied",
            "x-amz-object-lock-mode" if mode is None else "x-amz-object-lock-retain-until-date",
        )
    if mode is not None:
        if mode not in MODES:
            raise faults.invalid_argument("Unknown wormMode directive.", "x-amz-object-lock-mode", mode)
        terms |= {"mode": mode, "until": 0 if until is None else _in_the_future(until, now)}
    if hold is not None:
        if hold not in ("ON", "OFF"):
            raise faults.invalid_argument(
                "Legal Hold must be either of 'ON' or 'OFF'", "x-amz-object-lock-legal-hold", hold
            )
        terms["hold"] = hold
    if "lock" not in bucket.documents:
        raise _no_lock()
    return terms


def with_default(bucket: Known, terms: Terms, now: int) -> Terms:
    """The terms of an object that is made now: the bucket's default retention where the call names none."""
    lock = bucket.documents.get("lock")
    default = None if lock is None or "mode" in terms else (lock.get("Rule") or {}).get("DefaultRetention")
    if not default:
        return terms
    if held := event_holds.default(default):
        return terms | held
    length = next(number * LENGTH[name] for name in LENGTH if (number := default.get(name)) is not None)
    return terms | {"mode": default["Mode"], "until": (now + length) // 1000 * 1000}


def check_digest(bucket: Known, p: Params, terms: Terms, summed: bool) -> None:
    """S3 takes locked objects only with a digest of some kind (`summed`: the body declares a checksum)."""
    if "mode" in terms and not summed and p.get("ContentMD5") is None and p.get("ChecksumAlgorithm") is None:
        raise faults.invalid_request(
            "Content-MD5 OR x-amz-checksum- HTTP header is required for Put Object requests with Object Lock parameters"
        )


def _in_the_future(until: Any, now: int, argument: str = "x-amz-object-lock-retain-until-date") -> int:
    moment = micros(until)
    if moment <= now:
        shown = f"{until.astimezone(PACIFIC):%a %b %d %H:%M:%S %Z %Y}"
        raise faults.invalid_argument("The retain until date must be in the future!", argument, shown)
    return moment


# --- objects that are there -------------------------------------------------------------------------------------------


def _locked_head(ctx: Context, p: Params) -> tuple[Known, Head]:
    bucket, key, version = bucket_of(ctx, p), key_of(p), version_of(p)
    if "lock" not in bucket.documents:
        raise _no_lock()
    head = ctx.objects.head(bucket.number, key, version)
    if head is None or (head.marker and version is None):
        raise faults.no_such_key(key) if version is None else faults.no_such_version(key, p["VersionId"])
    if head.marker:
        raise faults.method_not_allowed(ctx.operation.name[:3].upper(), "DeleteMarker")
    return bucket, head


def _not_locked() -> AWSError:
    return AWSError(
        "NoSuchObjectLockConfiguration", "The specified object does not have a ObjectLock configuration", 404
    )


@operation("s3:PutObjectRetention", on="{Bucket}/{Key}", streams=True)
def put_object_retention(ctx: Context, p: Params) -> Result:
    bucket, head = _locked_head(ctx, p)
    wanted, now, bypass = p.get("Retention") or {}, properties.now(ctx), bool(p.get("BypassGovernanceRetention"))
    mode, until = wanted.get("Mode"), wanted.get("RetainUntilDate")
    event, term = wanted.get("EventHold"), wanted.get("EventHoldDuration")
    if mode not in (None, *MODES) or event not in (None, event_holds.ON, event_holds.OFF):
        raise faults.malformed()
    if (mode is None) != (until is None) and event is None:
        raise faults.malformed()
    if term is not None:
        term = event_holds.checked(term)
        if event != event_holds.ON:
            raise faults.invalid_argument("A duration comes with an event hold that is ON.", "EventHoldDuration")
    moment = None if until is None else _in_the_future(until, now, "RetainUntilDate")

    def change(terms: Terms, _: Head) -> None:
        before = dict(terms)
        if event is not None:
            _change_event(terms, event, term, mode, moment, now)
        elif moment is None:
            for name in RETENTION:
                terms.pop(name, None)
        else:
            terms |= {"mode": mode, "until": moment}
        if "mode" in before and _is_retained(before, now) and not (bypass and before["mode"] == GOVERNANCE):
            _check_no_weaker(before, terms, released=event == event_holds.OFF)

    _revise(ctx, p, bucket, head, change)
    return {}


def _change_event(
    terms: Terms, event: str, term: dict[str, int] | None, mode: str | None, moment: int | None, now: int
) -> None:
    """Put a version under an event hold, or say that the event has come."""
    if mode is not None:
        terms["mode"] = mode
    if moment is not None:
        terms["until"] = moment
    terms.setdefault("until", 0)
    if event == event_holds.OFF:
        event_holds.release(terms, now)
        if "mode" not in terms:
            terms.pop("until")
        return
    if "mode" not in terms or (term is None and "term" not in terms):
        raise faults.invalid_request("An event hold needs a retention mode and a duration.")
    terms |= {"event": event_holds.ON, "term": term or terms["term"]}


def _check_no_weaker(before: Terms, terms: Terms, *, released: bool) -> None:
    """Refuse a retention that holds less than the one before it. That an event has come is no weakness."""
    held = event_holds.is_on(before)
    if (
        terms.get("mode") != before["mode"]
        or terms["until"] < before["until"]
        or (held and not released and not event_holds.is_on(terms))
        or (held and event_holds.length(terms["term"]) < event_holds.length(before["term"]))
    ):
        raise protected()


def _revise(ctx: Context, p: Params, bucket: Known, head: Head, change: Any) -> None:
    key = key_of(p)
    try:
        also = sequel.amended(ctx, bucket, key, "")
        ctx.objects.amend(bucket.number, key, head.version, revision(change), also)
        sequel.wake(ctx, also)
    except Missing:
        raise faults.no_such_key(key) from None


@operation("s3:GetObjectRetention", on="{Bucket}/{Key}", streams=True)
def get_object_retention(ctx: Context, p: Params) -> Result:
    _, head = _locked_head(ctx, p)
    terms = terms_of(head)
    if "mode" not in terms:
        raise _not_locked()
    retention = {"Mode": terms["mode"], **event_holds.shown(terms)}
    if terms["until"]:
        retention["RetainUntilDate"] = EPOCH + terms["until"] * MICROSECOND
    return {"Retention": retention}


@operation("s3:PutObjectLegalHold", on="{Bucket}/{Key}", streams=True)
def put_object_legal_hold(ctx: Context, p: Params) -> Result:
    status = (p.get("LegalHold") or {}).get("Status")
    if status not in ("ON", "OFF"):
        raise faults.malformed()
    bucket, head = _locked_head(ctx, p)

    def change(terms: Terms, _: Head) -> None:
        terms["hold"] = status

    _revise(ctx, p, bucket, head, change)
    return {}


@operation("s3:GetObjectLegalHold", on="{Bucket}/{Key}", streams=True)
def get_object_legal_hold(ctx: Context, p: Params) -> Result:
    _, head = _locked_head(ctx, p)
    terms = terms_of(head)
    if "hold" not in terms:
        raise _not_locked()
    return {"LegalHold": {"Status": terms["hold"]}}


# --- buckets ----------------------------------------------------------------------------------------------------------


@operation("s3:PutObjectLockConfiguration", on="{Bucket}", action="s3:PutBucketObjectLockConfiguration")
def put_object_lock_configuration(ctx: Context, p: Params) -> None:
    bucket, document = bucket_of(ctx, p), p.get("ObjectLockConfiguration")
    if document is None:
        raise AWSError("MissingRequestBodyError", "Request Body is empty", 400)
    if document.get("ObjectLockEnabled") != "Enabled":
        raise faults.malformed()
    if bucket.keeping != "Enabled":
        raise AWSError(
            "InvalidBucketState", "Versioning must be 'Enabled' on the bucket to apply a Object Lock configuration", 409
        )
    if document.get("Rule") is not None:
        _check_default(document["Rule"].get("DefaultRetention") or {})
    keep(ctx, bucket, "lock", document)


def _check_default(retention: dict[str, Any]) -> None:
    if (held := retention.get("DefaultEventHold")) is not None:
        if retention.get("Mode") not in MODES or any(retention.get(name) is not None for name in LONGEST):
            raise faults.malformed()
        event_holds.checked(held)
        return
    given = [name for name in LONGEST if retention.get(name) is not None]
    if retention.get("Mode") not in MODES or len(given) != 1:
        raise faults.malformed()
    name = given[0]
    if retention[name] < 1:
        raise AWSError("InvalidRetentionPeriod", "Default retention period must be a positive integer value.", 400)
    if retention[name] > LONGEST[name]:
        raise AWSError(
            "InvalidRetentionPeriod",
            f"Default retention period is too large. The maximum is {LONGEST[name]} {name.lower()}.",
            400,
        )


@operation("s3:GetObjectLockConfiguration", on="{Bucket}", action="s3:GetBucketObjectLockConfiguration", streams=True)
def get_object_lock_configuration(ctx: Context, p: Params) -> Result:
    return {"ObjectLockConfiguration": document_of(bucket_of(ctx, p), "lock")}
