"""Annotations: named texts of up to 1 MiB that are attached to a version of an object, and go with it.

They are encrypted as their object is; objects under a customer's key cannot have any. A copy takes them along unless it
says otherwise.
"""

from __future__ import annotations

import base64
import binascii
import codecs
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from backends import checksum
from backends.errors import Missing, OutOfRange
from backends.object import notes
from backends.object.books import Note
from backends.object.notes import Place
from compat.errors import AWSError
from compat.iam.demands import Demand, demands_also
from compat.operation import Params, Result, operation
from compat.s3 import checksums, content_keys, encryption, faults, locking, properties, sequel
from compat.s3.absence import absent, present
from compat.s3.conditions import is_same, moment
from compat.s3.places import NULL, bucket_of, containers, key_of, version_of
from compat.s3.terms import terms_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from backends.object.containers import Known
    from backends.object.versions import Head
    from compat.context import Context

MOST, LONGEST_NAME, LARGEST = 1000, 512, 1 << 20
RESERVED = ("aws", "s3")
BYPASS = "x-amz-bypass-governance-retention"


class _Call(NamedTuple):
    """What a call is about: a version that is there, and the name of an annotation."""

    bucket: Known
    place: Place
    head: Head


def _call(ctx: Context, p: Params) -> _Call:
    bucket, key = bucket_of(ctx, p), key_of(p)
    place = Place(bucket.number, key, version_of(p))
    return _Call(bucket, place, present(ctx, key, p.get("VersionId"), ctx.objects.head(*place)))


def _name_of(p: Params) -> bytes:
    name: str = p["AnnotationName"]
    if len(name.encode()) > LONGEST_NAME:
        raise AWSError("AnnotationNameTooLong", f"The annotation name exceeds {LONGEST_NAME} bytes.", 400)
    if not name or "\0" in name or name.lower().startswith(RESERVED):
        raise AWSError("InvalidAnnotationName", "The annotation name you provided is invalid.", 400)
    return name.encode()


def _no_such(name: bytes) -> AWSError:
    return AWSError(
        "NoSuchAnnotation",
        "The specified annotation does not exist on this object.",
        404,
        AnnotationName=name.decode(),
    )


def _named(call: _Call, result: Result) -> Result:
    if call.bucket.keeping:
        result["ObjectVersionId"] = call.head.version or NULL
    return result


def _unchanged(p: Params, head: Head) -> None:
    if (wanted := p.get("ObjectIfMatch")) is not None and not is_same(head.etag, wanted):
        raise faults.precondition("x-amz-object-if-match")


def _protection(ctx: Context, bucket: Known, key: str, head: Head) -> encryption.Protection:
    """The key for a new annotation: as the object has one."""
    kind = content_keys.kind_of(head.sealed_key)
    if kind == content_keys.CUSTOMER:
        raise faults.invalid_request("Annotations are not supported for objects encrypted with SSE-C.")
    return encryption.protect(ctx, bucket, key, _wanted(head) if kind else encryption.PLAIN_WANT)


def _wanted(head: Head) -> encryption.Wanted:
    facts: dict[str, Any] = orjson.loads(head.facts)
    return encryption.Wanted(
        facts["ServerSideEncryption"], facts["SSEKMSKeyId"], shared=bool(facts.get("BucketKeyEnabled"))
    )


def _texts(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The blocks, as long as they are text of a length that may be."""
    decoder, size = codecs.getincrementaldecoder("utf-8")(), 0
    try:
        for block in blocks:
            size += len(block)
            check_size(size)
            decoder.decode(block)
            yield block
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        raise AWSError("UnsupportedMediaType", "The annotation payload is not valid UTF-8 encoded text.", 415) from None
    if not size:
        raise faults.invalid_request("The annotation payload must not be empty.")


def check_size(size: int) -> None:
    """Refuse what is too large for an annotation."""
    if size > LARGEST:
        raise AWSError(
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed size",
            400,
            ProposedSize=size,
            MaxSizeAllowed=LARGEST,
        )


@operation("s3:PutObjectAnnotation", on="{Bucket}/{Key}", streams=True)
def put_object_annotation(ctx: Context, p: Params) -> Result:
    name, body = _name_of(p), ctx.body
    assert body is not None
    call = _call(ctx, p)
    _unchanged(p, call.head)
    check_size(body.length or 0)
    algorithm = checksums.chosen(body, p)
    protection = _protection(ctx, call.bucket, call.place.key, call.head)
    body.want("MD5", algorithm)
    received = ctx.objects.receive(_texts(body.blocks()), md5=lambda: body.digest("MD5"), key=protection.key)
    try:
        value = checksum.encode(body.digest(algorithm))
        etag = protection.new_etag() or received.etag
        note = Note(name, received.size, properties.now(ctx), etag, f"{algorithm} {checksums.FULL} {value}")
        also = sequel.amended(ctx, call.bucket, call.place.key, "ObjectAnnotation:Put")

        def check(head: Head) -> None:
            _unchanged(p, head)
            if content_keys.kind_of(head.sealed_key) != content_keys.kind_of(call.head.sealed_key):
                raise faults.conflict()

        notes.annotate(ctx.objects, call.place, note, received, MOST, check, also)
    except Missing:
        raise absent(ctx, call.place.key, p.get("VersionId")) from None
    except OutOfRange:
        raise AWSError(
            "AnnotationLimitExceeded",
            "The request would exceed the maximum number of annotations allowed per object.",
            400,
        ) from None
    finally:
        received.close()
    sequel.wake(ctx, also)
    result: Result = {"Key": p["Key"], "AnnotationName": p["AnnotationName"], "ETag": f'"{etag}"'}
    checksums.show(note.checksum, result)
    result["ServerSideEncryption"] = protection.shown["ServerSideEncryption"]
    return _named(call, result)


@operation("s3:GetObjectAnnotation", on="{Bucket}/{Key}", streams=True)
def get_object_annotation(ctx: Context, p: Params) -> Result:
    name, call = _name_of(p), _call(ctx, p)

    def unlock(sealed: bytes) -> bytes:
        return encryption.unlock(ctx, call.bucket, sealed, p)

    try:
        note, data = notes.read(ctx.objects, call.head, name, unlock)
    except Missing:
        raise _no_such(name) from None
    result: Result = {
        "AnnotationPayload": data,
        "LastModified": moment(note.modified),
        "ContentLength": note.size,
        "ETag": f'"{note.etag}"',
        "ServerSideEncryption": orjson.loads(call.head.facts or "{}").get("ServerSideEncryption", encryption.AES256),
    }
    if p.get("ChecksumMode") == "ENABLED":
        checksums.show(note.checksum, result)
    if (status := terms_of(call.head).get("replication")) is not None:
        result["ReplicationStatus"] = status
    return _named(call, result)


@operation("s3:ListObjectAnnotations", on="{Bucket}/{Key}", streams=True)
def list_object_annotations(ctx: Context, p: Params) -> Result:
    prefix, most = p.get("AnnotationPrefix") or "", p.get("MaxAnnotationResults")
    if len(prefix.encode()) > LONGEST_NAME or "\0" in prefix:
        raise AWSError("InvalidPrefix", "The annotation prefix you provided is invalid.", 400)
    if most is not None and not 1 <= most <= MOST:
        raise faults.invalid_argument(
            f"Argument max-annotation-results must be an integer between 1 and {MOST}", "max-annotation-results", most
        )
    most = MOST if most is None else int(most)
    after = _after(p)
    call = _call(ctx, p)
    found = notes.page(ctx.objects, call.head, prefix.encode(), after, most + 1)
    shown = found[:most]
    result: Result = {
        "Annotations": [_entry(note, terms_of(call.head).get("replication")) for note in shown],
        "Bucket": p["Bucket"],
        "Key": p["Key"],
        "MaxAnnotationResults": most,
        "AnnotationCount": len(shown),
    }
    if prefix:
        result["AnnotationPrefix"] = prefix
    if p.get("ContinuationToken") is not None:
        result["ContinuationToken"] = p["ContinuationToken"]
    if len(found) > most:
        result["NextContinuationToken"] = base64.urlsafe_b64encode(shown[-1].name).decode()
    return _named(call, result)


def _after(p: Params) -> bytes:
    token = p.get("ContinuationToken")
    if token is None:
        return b""
    try:
        return base64.b64decode(token, b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise faults.invalid_argument(
            "The continuation token provided is incorrect", "continuation-token", token
        ) from None


def _entry(note: Note, replication: str | None) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "AnnotationName": note.name.decode(),
        "LastModified": moment(note.modified),
        "ETag": f'"{note.etag}"',
        "Size": note.size,
    }
    if (kept := checksums.kept(note.checksum)) is not None:
        entry["ChecksumAlgorithm"] = [kept.algorithm]
    if replication is not None:
        entry["ReplicationStatus"] = replication
    return entry


def _bypasses(ctx: Context) -> bool:
    return ((ctx.call.headers or {}).get(BYPASS) or "").lower() == "true"


@demands_also("s3:DeleteObjectAnnotation")
def _past_governance(ctx: Context, p: Params) -> Iterable[Demand]:
    if _bypasses(ctx):
        yield Demand("s3:BypassGovernanceRetention", (f"arn:{ctx.partition}:s3:::{p['Bucket']}/{p['Key']}",))


@operation("s3:DeleteObjectAnnotation", on="{Bucket}/{Key}", streams=True)
def delete_object_annotation(ctx: Context, p: Params) -> Result:
    """What is not there is deleted already. An object that is locked keeps its annotations."""
    name, call = _name_of(p), _call(ctx, p)
    now, bypass = properties.now(ctx), _bypasses(ctx)

    def check(head: Head) -> None:
        _unchanged(p, head)
        if head.terms and locking.is_locked(terms_of(head), now, bypass=bypass):
            raise locking.protected()

    also = sequel.amended(ctx, call.bucket, call.place.key, "ObjectAnnotation:Delete")
    try:
        notes.erase(ctx.objects, call.place, name, check, also)
    except Missing:
        raise absent(ctx, call.place.key, p.get("VersionId")) from None
    sequel.wake(ctx, also)
    return _named(call, {})


# --- copies -----------------------------------------------------------------------------------------------------------


def directive(p: Params) -> str:
    """What a copy does with its source's annotations: `COPY` or `EXCLUDE`."""
    given: str = p.get("AnnotationDirective") or "COPY"
    if given not in ("COPY", "EXCLUDE"):
        raise faults.invalid_argument("Unknown annotation directive.", "x-amz-object-annotation-directive", given)
    return given


def demands_of_copy(ctx: Context, p: Params, source: Any) -> Iterator[Demand]:
    """The rights that a copy needs besides, where its source has annotations."""
    known = containers(ctx.cloud).find(source.bucket)
    head = (
        None if known is None else ctx.objects.head(known.number, source.key, version_of({"VersionId": source.version}))
    )
    if head is None or head.book is None or not notes.every(ctx.objects, head):
        return
    action = "s3:GetObjectAnnotation" if source.version is None else "s3:GetObjectVersionAnnotation"
    yield Demand(action, (f"arn:{ctx.partition}:s3:::{source.bucket}/{source.key}",))
    yield Demand("s3:PutObjectAnnotation", (f"arn:{ctx.partition}:s3:::{p['Bucket']}/{p['Key']}",))


def carried(ctx: Context, origin: Known, head: Head, bucket: Known, key: str, want: encryption.Wanted) -> list[Note]:
    """The annotations of a copy's source as the copy is to have them: made now, and sealed as the copy is."""
    found = notes.every(ctx.objects, head)
    if found and want.customer:
        raise faults.invalid_request("Annotations are not supported for objects encrypted with SSE-C.")
    now = properties.now(ctx)
    return [note._replace(modified=now, sealed_key=_sealed(ctx, origin, note, bucket, key, want)) for note in found]


def _sealed(ctx: Context, origin: Known, note: Note, bucket: Known, key: str, want: encryption.Wanted) -> bytes | None:
    sealed = note.sealed_key
    if sealed is None or (want.algorithm == encryption.AES256 and not encryption.is_opaque(sealed)):
        return sealed
    plain = ctx.objects.open_key(sealed, lambda closed: encryption.unlock(ctx, origin, closed, {}))
    protection = encryption.protect(ctx, bucket, key, want, plain)
    return ctx.objects.keys.wrap(plain) if protection.key is None else protection.key.sealed
