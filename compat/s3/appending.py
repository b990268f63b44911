"""PutObject with an offset: more bytes behind an object of a directory bucket.

Each append is a part of the object. CRCs go on over the whole; of digests that do not combine, an object that is
appended to has one over those of its parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from backends import checksum
from backends.errors import Changed, Missing
from backends.object.appending import Pieces, append
from backends.object.cipher import open_small
from backends.object.containers import Known
from backends.object.uploads import Piece
from backends.object.versions import Description, Expect, Head
from compat.errors import AWSError
from compat.operation import Params, Result
from compat.s3 import checksums, encryption, faults, properties
from compat.s3.conditions import expectation
from compat.s3.directory_rules import is_directory

if TYPE_CHECKING:
    from compat.context import Context
    from compat.streams import RequestBody

MOST_PARTS = 10000


def target_of(ctx: Context, bucket: Known, key: str, offset: int) -> Head | None:
    """The object to append to; None where the call makes a new one. Raises S3's errors."""
    if not is_directory(bucket.name):
        raise faults.no_such_header("x-amz-write-offset-bytes")
    head = ctx.objects.head(bucket.number, key)
    if head is None:
        if offset:
            raise faults.no_such_key(key)
        return None
    check_offset(head, offset)
    check_room(head)
    return head


def check_room(head: Head) -> None:
    """Refuse to give an object more parts than it may have."""
    if max(head.parts, 1) >= MOST_PARTS:
        raise AWSError(
            "TooManyParts",
            f"You have attempted to add more parts than the maximum of {MOST_PARTS} that are allowed for this object. "
            "You can use the CopyObject operation to copy this object to another and then add more data to the newly "
            "copied object.",
            400,
        )


def check_offset(head: Head | None, offset: int) -> None:
    """Refuse an offset that is not where the object ends."""
    if (0 if head is None else head.size) != offset:
        raise AWSError(
            "InvalidWriteOffset",
            "The write offset value that you specified does not match the current object size.",
            400,
        )


def only_new(conditions: Expect | None) -> Expect:
    """What a call expects that makes a new object at offset 0: that nobody has made it meanwhile."""

    def expect(live: Head | None) -> None:
        if conditions is not None:
            conditions(live)
        if live is not None:
            raise faults.conflict()

    return expect


def append_to(ctx: Context, p: Params, bucket: Known, key: str, head: Head, body: RequestBody) -> Result:
    """Append what the call sends. The object keeps its metadata and its encryption."""
    facts = orjson.loads(head.facts or "{}")
    shown = encryption.shown_of(facts, p)
    if encryption.wanted(ctx, bucket, p).algorithm != shown["ServerSideEncryption"]:
        raise AWSError(
            "EncryptionTypeMismatch",
            "The existing object was created with a different encryption type. Subsequent write requests must include "
            "the appropriate encryption parameters in the request or while creating the session.",
            400,
        )
    whole = checksums.kept(head.checksum)
    algorithm = _algorithm(body, p, whole)
    conditions, offset, now = expectation(p, key), head.size, properties.now(ctx)

    def unlock(sealed: bytes) -> bytes:
        return encryption.unlock(ctx, bucket, sealed, p)

    def expect(live: Head | None) -> None:
        if conditions is not None:
            conditions(live)
        check_offset(live, offset)

    body.want(algorithm)
    received = ctx.objects.receive_more(head.sealed_key, body.blocks(), md5=lambda: b"", unlock=unlock)
    first = None
    try:
        if not received.size:
            raise faults.invalid_argument("Request body cannot be empty when appending to an object.")
        digest = body.digest(algorithm)
        value = checksum.encode(digest)
        if head.data is not None and head.size:
            data = head.data
            if head.sealed_key is not None:
                data = open_small(ctx.objects.open_key(head.sealed_key, unlock), data)
            first = ctx.objects.receive_more(head.sealed_key, [data], md5=lambda: b"", unlock=unlock)

        def describe(pieces: Pieces) -> Description:
            summed = "" if whole is None else _summed(whole, head, digest, received.size, pieces)
            return Description(
                modified=now,
                etag=etag,
                size=offset + received.size,
                storage=head.storage,
                checksum=summed,
                owner=head.owner,
                parts=max(head.parts, 1) + 1,
                facts=head.facts,
                grants=head.grants,
            )

        etag = encryption.IN_DIRECTORY.new_etag() or ""
        old = Piece(0, 0, head.size, head.modified, head.etag, head.checksum, None)
        new = Piece(0, 0, 0, now, etag, f"{algorithm} {checksums.FULL} {value}", None)
        append(ctx.objects, bucket.number, key, head, (old, first), (new, received), describe, expect)
    except Missing:
        raise faults.no_such_key(key) from None
    except Changed:
        raise faults.conflict() from None
    finally:
        received.close()
        if first is not None:
            first.close()
    return {"ETag": f'"{etag}"', **shown, "Size": offset + received.size, checksums.MEMBERS[algorithm]: value}


def _algorithm(body: RequestBody, p: Params, whole: checksums.Kept | None) -> str:
    """The checksum algorithm of what is appended, which is that of the object."""
    chosen = checksums.chosen(body, p)
    if whole is None or chosen == whole.algorithm:
        return chosen
    if not body.checksums and p.get("ChecksumAlgorithm") is None:
        return whole.algorithm
    raise faults.invalid_request(
        f"Checksum Type mismatch occurred, expected checksum Type: {whole.algorithm.lower()}, actual checksum Type: "
        f"{chosen.lower()}"
    )


def _summed(whole: checksums.Kept, head: Head, digest: bytes, size: int, pieces: Pieces) -> str:
    """The checksum of the object with what is appended."""
    if whole.type == checksums.FULL and checksum.is_linear(whole.algorithm):
        before = checksum.decode(whole.algorithm, whole.value)
        assert before is not None
        value = checksum.encode(checksum.combine(whole.algorithm, [(before, head.size), (digest, size)]))
        return f"{whole.algorithm} {checksums.FULL} {value}"
    digests = []
    for piece in pieces():
        kept = checksums.kept(piece.checksum)
        found = None if kept is None else checksum.decode(whole.algorithm, kept.value)
        if found is None:
            return ""
        digests.append(found)
    value = checksum.encode(checksum.composite(whole.algorithm, digests))
    return f"{whole.algorithm} {checksums.COMPOSITE} {value}-{len(digests)}"
