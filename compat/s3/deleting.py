"""Deleting objects and versions: one, or up to a thousand in one call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backends.errors import Missing
from backends.object.containers import Known
from backends.object.store import Doomed
from backends.object.versions import Deleted
from compat.errors import AWSError
from compat.iam.authorize import ask, authorize
from compat.operation import Params, Result, operation
from compat.s3 import faults, locking, properties, sequel
from compat.s3.absence import check_genuine
from compat.s3.conditions import expectation_of_delete
from compat.s3.directory_rules import is_directory, is_door
from compat.s3.directory_sessions import check_scope
from compat.s3.places import LONGEST_KEY, NULL, bucket_of, key_of, version_of

if TYPE_CHECKING:
    from compat.context import Context

MOST = 1000


@operation("s3:DeleteObject", on="{Bucket}/{Key}", streams=True)
def delete_object(ctx: Context, p: Params) -> Result:
    bucket, key, version = bucket_of(ctx, p), key_of(p), version_of(p)
    when, size = p.get("IfMatchLastModifiedTime"), p.get("IfMatchSize")
    expect = expectation_of_delete(key, p.get("IfMatch"), when, size, directory=is_directory(bucket.name))
    if p.get("IfMatch") is not None and p.get("VersionId") is not None:
        raise faults.no_such_header("If-Match")
    _check_may_compare(ctx, bucket, key, p.get("IfMatch"))
    now = properties.now(ctx)
    locking.check_bypass(bucket, p)
    if p.get("VersionId") is not None:
        check_genuine(ctx, bucket, key, p["VersionId"])
    expect = locking.unlocked(bucket, version, now, bool(p.get("BypassGovernanceRetention")), expect)
    try:
        also = sequel.removed(ctx, bucket, key, version)
        deleted = ctx.objects.delete(bucket.number, key, version, now, expect=expect, also=also)
    except Missing:
        raise faults.no_such_bucket(bucket.name) from None
    sequel.wake(ctx, also)
    result: Result = {}
    if (version is not None or deleted.keeping) and not is_directory(bucket.name):
        result["VersionId"] = deleted.version or NULL
    if deleted.marker:
        result["DeleteMarker"] = True
    return result


@operation("s3:DeleteObjects", on="{Bucket}", action="s3:DeleteObject", open=True, streams=True, slow=True)
def delete_objects(ctx: Context, p: Params) -> Result:
    """Each key is allowed or refused by itself, so the call as a whole is open."""
    bucket = bucket_of(ctx, p)
    if is_directory(bucket.name) and ctx.rules.auth == "enforce" and not authorize(ctx, ctx.operation, p).allowed:
        raise faults.denied()
    wanted = p["Delete"].get("Objects") or []
    if not 1 <= len(wanted) <= MOST:
        raise faults.malformed()
    if not all(one.get("VersionId") for one in wanted):
        # Versions by name pass, though AWS is not known to let them: whoever empties buckets says it of all of them.
        locking.check_bypass(bucket, p)
    outcomes: list[Deleted | Exception | None] = [None] * len(wanted)
    doomed: list[tuple[int, Doomed]] = []
    for place, one in enumerate(wanted):
        try:
            doomed.append((place, _doom(ctx, bucket, one)))
        except AWSError as refusal:
            outcomes[place] = refusal
    if doomed:
        try:
            done = ctx.objects.delete_many(bucket.number, [one for _, one in doomed], properties.now(ctx))
        except Missing:
            raise faults.no_such_bucket(bucket.name) from None
        for (place, _), result in zip(doomed, done, strict=True):
            outcomes[place] = result
        sequel.wake(ctx, doomed[0][1].also)
    deleted: list[dict[str, Any]] = []
    errors: list[dict[str, Any]] = []
    for one, outcome in zip(wanted, outcomes, strict=True):
        if isinstance(outcome, Deleted):
            deleted.append(_shown(one, outcome))
        else:
            assert isinstance(outcome, AWSError)
            about = {"Key": one["Key"], "Code": outcome.code, "Message": outcome.message}
            errors.append(about | ({"VersionId": one["VersionId"]} if one.get("VersionId") else {}))
    return {"Deleted": [] if p["Delete"].get("Quiet") else deleted, "Errors": errors}


def _doom(ctx: Context, bucket: Known, one: dict[str, Any]) -> Doomed:
    """One key of the call, allowed and well-formed; raises `AWSError` for this key alone."""
    key, named = one.get("Key") or "", one.get("VersionId") or None
    if not key:
        raise AWSError("UserKeyMustBeSpecified", "A key must be specified.", 400)
    if len(key.encode()) > LONGEST_KEY:
        raise AWSError("KeyTooLongError", "Your key is too long", 400)
    arn, bypass = (
        f"arn:{ctx.partition}:s3:::{ctx.params['Bucket']}/{key}",
        bool(ctx.params.get("BypassGovernanceRetention")),
    )
    if ctx.rules.auth == "enforce" and not is_directory(bucket.name):
        action = "s3:DeleteObject" if named is None else "s3:DeleteObjectVersion"
        if not ask(ctx, action, arn, extra={"s3:if-match": one.get("ETag")}).allowed:
            raise faults.denied()
        bypass = bypass and ask(ctx, "s3:BypassGovernanceRetention", arn).allowed
    if is_door(ctx.params["Bucket"]):
        check_scope(ctx, ctx.params["Bucket"], "DeleteObject", {"Key": key})
    try:
        version = version_of({"VersionId": named})
        if named is not None:
            check_genuine(ctx, bucket, key, named)
    except AWSError:
        raise faults.no_such_version(key, str(named)) from None
    directory = is_directory(bucket.name)
    conditions = one.get("ETag"), one.get("LastModifiedTime"), one.get("Size")
    _check_may_compare(ctx, bucket, key, one.get("ETag"))
    expect = expectation_of_delete(key, *conditions, directory=directory)
    expect = locking.unlocked(bucket, version, properties.now(ctx), bypass, expect)
    return Doomed(key, version, expect, sequel.removed(ctx, bucket, key, version))


def _check_may_compare(ctx: Context, bucket: Known, key: str, etag: str | None) -> None:
    """Whoever deletes on condition of an ETag learns of it, and so has to be allowed to read."""
    if etag is None or etag.strip() == "*" or ctx.rules.auth != "enforce" or is_directory(bucket.name):
        return
    if not ask(ctx, "s3:GetObject", f"arn:{ctx.partition}:s3:::{ctx.params['Bucket']}/{key}").allowed:
        raise faults.denied()


def _shown(one: dict[str, Any], outcome: Deleted) -> dict[str, Any]:
    shown: dict[str, Any] = {"Key": one["Key"]}
    if one.get("VersionId"):
        shown["VersionId"] = one["VersionId"]
    if outcome.marker:
        shown |= {"DeleteMarker": True, "DeleteMarkerVersionId": outcome.version or NULL}
    return shown
