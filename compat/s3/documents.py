"""The settings documents of a bucket that are kept as they came: put, got, deleted, each with its own "not configured".

What a document means is checked where it is put; what it does, if anything, stands with whoever does it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from backends.db import EPOCH, MICROSECOND
from backends.object.containers import Known
from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.s3 import faults
from compat.s3.paging import name_in, token_of
from compat.s3.places import bucket_of, containers

if TYPE_CHECKING:
    from compat.context import Context

Check = Callable[["Context", Known, dict[str, Any]], None]
CheckOne = Callable[[dict[str, Any]], None]
PAGE, MOST = 100, 1000
DONE: Result = {"$status": 204}


def plain(value: Any) -> Any:
    """A document for the database: times as numbers."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, datetime):
        return {"$instant": (value - EPOCH) // MICROSECOND}
    return value


def rich(value: Any) -> Any:
    """A document as it was put."""
    if isinstance(value, dict):
        if "$instant" in value:
            return EPOCH + value["$instant"] * MICROSECOND
        return {name: rich(one) for name, one in value.items()}
    return [rich(one) for one in value] if isinstance(value, list) else value


def keep(ctx: Context, bucket: Known, kind: str, document: Any, part: str = "") -> None:
    """Keep a document."""
    ctx.containers.put_document(bucket.name, kind, plain(document), part)


def document_of(bucket: Known, kind: str) -> dict[str, Any]:
    """A document, as it was put. Raises the kind's own "not configured"."""
    found = bucket.documents.get(kind)
    if found is None:
        raise faults.not_configured(kind, bucket.name)
    shown: dict[str, Any] = rich(found)
    return shown


def getter(name: str, kind: str, member: str | None = None, *, action: str | None = None, default: Any = None) -> None:
    """`Get…`: answers the document as the result, or as its `member`; `default` where none was put."""

    def get(ctx: Context, p: Params) -> Result:
        bucket = bucket_of(ctx, p)
        if default is not None and kind not in bucket.documents:
            found = default
        else:
            found = document_of(bucket, kind)
        return found if member is None else {member: found}

    operation(name, on="{Bucket}", action=action, streams=True)(get)


def putter(name: str, kind: str, member: str, check: Check, *, action: str | None = None) -> None:
    """`Put…`: checks the document in `member` and keeps it."""

    def put(ctx: Context, p: Params) -> None:
        bucket, document = bucket_of(ctx, p), p.get(member)
        if document is None:
            raise faults.malformed()
        check(ctx, bucket, document)
        keep(ctx, bucket, kind, document)

    operation(name, on="{Bucket}", action=action)(put)


def deleter(name: str, kind: str, *, action: str | None = None) -> None:
    """`Delete…`: of a document that may not be there."""

    def delete(ctx: Context, p: Params) -> None:
        ctx.containers.drop_document(bucket_of(ctx, p).name, kind)

    operation(name, on="{Bucket}", action=action)(delete)


def named(names: tuple[str, str, str, str], member: str, check: CheckOne | None = None) -> None:
    """Documents of which a bucket may have many, each with an id: the names of Put, Get, Delete and List."""
    kind = member[0].lower() + member[1:]

    def put(ctx: Context, p: Params) -> Result:
        bucket, document = bucket_of(ctx, p), p[member]
        if document.get("Id") != p["Id"]:
            raise faults.id_mismatch() if kind == "inventoryConfiguration" else faults.malformed()
        if len(p["Id"]) > 64:
            raise faults.invalid_argument("The configuration id is too long", "id", p["Id"])
        if check is not None:
            check(document)
        known = containers(ctx.cloud)
        if known.count_parts(bucket.number, kind) >= MOST and known.part(bucket.number, kind, p["Id"]) is None:
            raise AWSError(
                "TooManyConfigurations",
                "You are attempting to create a new configuration but have already reached the 1,000-configuration "
                "limit.",
                400,
            )
        keep(ctx, bucket, kind, document, p["Id"])
        return DONE

    def get(ctx: Context, p: Params) -> Result:
        found = containers(ctx.cloud).part(bucket_of(ctx, p).number, kind, p["Id"])
        if found is None:
            raise faults.no_configuration()
        return {member: rich(found)}

    def delete(ctx: Context, p: Params) -> Result:
        bucket = bucket_of(ctx, p)
        if containers(ctx.cloud).part(bucket.number, kind, p["Id"]) is None:
            raise faults.no_configuration()
        ctx.containers.drop_document(bucket.name, kind, p["Id"])
        return DONE

    def listing(ctx: Context, p: Params) -> Result:
        bucket, token = bucket_of(ctx, p), p.get("ContinuationToken")
        after = "" if token is None else name_in(token)
        found = containers(ctx.cloud).parts(bucket.number, kind, after, PAGE + 1)
        ids = list(found)
        result: Result = {member + "List": [rich(found[id]) for id in ids[:PAGE]], "IsTruncated": len(ids) > PAGE}
        if token is not None:
            result["ContinuationToken"] = token
        if len(ids) > PAGE:
            result["NextContinuationToken"] = token_of(ids[PAGE - 1])
        return result

    putting, getting, deleting, listed = names
    operation(putting, on="{Bucket}", action=f"s3:Put{member}")(put)
    operation(getting, on="{Bucket}", action=f"s3:Get{member}", streams=True)(get)
    operation(deleting, on="{Bucket}", action=f"s3:Put{member}")(delete)
    operation(listed, on="{Bucket}", action=f"s3:Get{member}", streams=True)(listing)
