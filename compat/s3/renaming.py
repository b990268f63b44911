"""RenameObject: another key for an object of a directory bucket, at once and without moving a byte."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote

from backends.db import EPOCH, MICROSECOND
from backends.errors import Missing
from backends.object.containers import Known
from backends.object.ledger import Transaction
from backends.object.versions import Head
from compat import tokens
from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.s3 import faults
from compat.s3.conditions import is_same
from compat.s3.directory_rules import SUFFIX, is_directory
from compat.s3.places import LONGEST_KEY, bucket_of, key_of

if TYPE_CHECKING:
    from compat.context import Context

LONGEST_TOKEN = 64


@operation("s3:RenameObject", on="{Bucket}/{Key}", action="s3express:CreateSession", streams=True)
def rename_object(ctx: Context, p: Params) -> Result:
    if not is_directory(p["Bucket"]):
        bucket_of(ctx, p)
        raise faults.not_offered("RenameObject for other buckets than directory buckets")
    bucket, key, token = bucket_of(ctx, p), key_of(p), p.get("ClientToken")
    source = _source(bucket, p["RenameSource"])
    if source.endswith("/") or key.endswith("/"):
        raise faults.invalid_request("A key that ends in / cannot be renamed, nor be the new key.")
    if token is not None and (len(token) > LONGEST_TOKEN or not all(33 <= ord(one) <= 126 for one in token)):
        raise faults.invalid_argument("The client token is not valid", "x-amz-client-token", token)
    if token is not None and _is_done(ctx, token):
        return {}

    def check(old: Head | None, replaced: Head | None) -> None:
        if old is None:
            raise faults.no_such_key(source)
        _check(old, p, "Source", "x-amz-rename-source-")
        _check(replaced, p, "Destination", "")

    def also(tx: Transaction, old: Head) -> None:
        if token is not None:
            tokens.keep_within(ctx, tx, token, {})

    try:
        ctx.objects.rename(bucket.number, source, key, check, also)
    except Missing:
        raise faults.no_such_bucket(bucket.name) from None
    except AWSError:
        # The same call may have come first, by another connection.
        if token is not None and _is_done(ctx, token):
            return {}
        raise
    return {}


def _is_done(ctx: Context, token: str) -> bool:
    with ctx.transaction(write=False):
        try:
            return tokens.recall(ctx, token) is not None
        except AWSError as other:
            raise AWSError("IdempotencyParameterMismatch", other.message, 400) from None


def _source(bucket: Known, given: str) -> str:
    """The key that a call renames: alone, or behind its bucket's name."""
    whole = unquote(given).removeprefix("/")
    first, slash, rest = whole.partition("/")
    if slash and first == bucket.name:
        whole = rest
    elif first.endswith(SUFFIX):
        raise faults.invalid_argument("An object can only be renamed within its bucket", "x-amz-rename-source", given)
    if not whole or len(whole.encode()) > LONGEST_KEY:
        raise faults.invalid_argument("The source of the rename is not valid", "x-amz-rename-source", given)
    return whole


def _check(head: Head | None, p: Params, of: str, header: str) -> None:
    """Refuse (412) where conditions on the source, or on what stands in the destination's place, do not hold."""
    match, none_match = p.get(f"{of}IfMatch"), p.get(f"{of}IfNoneMatch")
    since, until = p.get(f"{of}IfModifiedSince"), p.get(f"{of}IfUnmodifiedSince")
    if match is not None and (head is None or not is_same(head.etag, match)):
        raise faults.precondition(f"{header}If-Match")
    if none_match is not None and head is not None and is_same(head.etag, none_match):
        raise faults.precondition(f"{header}If-None-Match")
    if since is not None and (head is None or _second(head) <= _micros(since)):
        raise faults.precondition(f"{header}If-Modified-Since")
    if until is not None and head is not None and _second(head) > _micros(until):
        raise faults.precondition(f"{header}If-Unmodified-Since")


def _second(head: Head) -> int:
    return head.modified - head.modified % 1_000_000


def _micros(moment: datetime) -> int:
    return (moment - EPOCH) // MICROSECOND
