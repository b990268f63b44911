"""An object that is not there: 404 to those who may list its bucket, 403 to all others, who must not learn it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.object.names import is_genuine
from compat.errors import AWSError
from compat.iam.authorize import ask, wording
from compat.iam.guards import REFUSALS
from compat.s3 import faults
from compat.s3.directory_rules import is_directory, is_door
from compat.s3.places import NULL, containers, version_of

if TYPE_CHECKING:
    from backends.object.containers import Known
    from backends.object.versions import Head
    from compat.context import Context
    from compat.operation import Operation


READING = frozenset({"GetObject", "HeadObject"})


def _told_absent(ctx: Context, operation: Operation) -> AWSError | None:
    """404 to a caller who may list the bucket and not read what is not there anyway."""
    p = ctx.params
    if operation.name not in READING or p.get("VersionId") is not None:
        return None
    known = containers(ctx.cloud).find(p["Bucket"])
    if (
        known is None
        or is_directory(known.name)
        or not p.get("Key")
        or ctx.objects.head(known.number, p["Key"]) is not None
    ):
        return None
    allowed = ask(ctx, "s3:ListBucket", f"arn:{ctx.partition}:s3:::{known.name}", {"Prefix": p["Key"]}).allowed
    return faults.no_such_key(p["Key"]) if allowed else None


REFUSALS["s3"] = _told_absent


def _is_directory(ctx: Context) -> bool:
    name: str = ctx.params["Bucket"]
    return is_directory(name) or is_door(name)


def absent(ctx: Context, key: str, version: str | None = None) -> AWSError:
    """The error for a key, or for a version of it as the call names it, in the call's bucket."""
    if ctx.rules.auth == "enforce" and not _is_directory(ctx):
        # The condition s3:prefix sees the key that was asked for.
        decision = ask(ctx, "s3:ListBucket", f"arn:{ctx.partition}:s3:::{ctx.params['Bucket']}", {"Prefix": key})
        if not decision.allowed:
            return AWSError("AccessDenied", wording(ctx, ctx.operation, decision), 403)
    if version is None:
        return faults.no_such_key(key)
    known = containers(ctx.cloud).find(ctx.params["Bucket"])
    if version != NULL and (not is_genuine(version) or (known is not None and not known.keeping)):
        return faults.no_version_id(version)
    return faults.no_such_version(key, version)


def check_genuine(ctx: Context, bucket: Known, key: str, version: str) -> None:
    """Refuse to delete a version whose name S3 never gave."""
    if version == NULL or (bucket.keeping and is_genuine(version)):
        return
    if ctx.objects.head(bucket.number, key, version_of({"VersionId": version})) is None:
        raise faults.no_version_id(version)


def present(ctx: Context, key: str, version: str | None, head: Head | None, *, marked: bool = False) -> Head:
    """The version that a call is about; raises where there is none.

    A delete marker is none: 404, but 405 where it is asked for by its version, or something is to be put on it, or
    always (`marked`).
    """
    if head is None:
        raise absent(ctx, key, version)
    if head.marker:
        verb = next(verb for verb in ("Get", "Put", "Delete", "List") if ctx.operation.name.startswith(verb))
        headers = {"x-amz-delete-marker": "true", "x-amz-version-id": head.version or NULL}
        if version is None and verb != "Put" and not marked:
            raise faults.no_such_key(key, headers)
        method = "GET" if verb == "List" else verb.upper()
        raise faults.method_not_allowed(method, "DeleteMarker", headers | {"Allow": "DELETE"})
    return head
