"""Uploads in parts."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from backends import checksum
from backends.errors import Missing
from backends.object import upload_ids
from backends.object.containers import Known
from backends.object.contents import Received
from backends.object.store import Unlock
from backends.object.uploads import Piece, Upload
from backends.object.versions import Description, Expect, Head
from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.s3 import checksums, encryption, faults, locking, properties, sequel
from compat.s3.acl import grants_of_upload, object_owner
from compat.s3.conditions import expectation, moment
from compat.s3.directory_buckets import storage_of
from compat.s3.directory_rules import is_directory
from compat.s3.lifecycle_rules import show_abortion, show_expiration
from compat.s3.objects import check_size, owner_of_upload
from compat.s3.paging import limit_of, marker_of
from compat.s3.places import bucket_of, canonical_id, key_of, location, owner, shown_initiator
from compat.s3.terms import kept

if TYPE_CHECKING:
    from compat.context import Context

SMALLEST_PART = 5 << 20
MOST_PARTS = 10000
REMEMBERED = 24 * 60 * 60 * 1_000_000
"""How long an abort of an upload that is over is no error, in microseconds."""
LARGEST = 5 << 40

Plan = dict[str, Any]
"""What the creation of an upload says of the object: facts, tags, grants, and the checksum's algorithm and type."""


@operation("s3:CreateMultipartUpload", on="{Bucket}/{Key}", action="s3:PutObject", streams=True)
def create_multipart_upload(ctx: Context, p: Params) -> Result:
    bucket, key = bucket_of(ctx, p), key_of(p)
    now = properties.now(ctx)
    summed = checksums.of_parts(p)
    protection = encryption.protection(ctx, bucket, key, p)
    plan: Plan = {
        "facts": protection.within(properties.facts_of(p)),
        "tags": properties.tags_of(p),
        "grants": grants_of_upload(ctx, bucket, p),
        "terms": locking.terms_of_upload(bucket, p, now),
        "initiator": initiator(ctx),
    }
    if summed is not None:
        plan["algorithm"], plan["type"] = summed
    try:
        id = ctx.objects.open_upload(
            bucket.number,
            key,
            now,
            owner=owner_of_upload(ctx, bucket),
            storage=storage_of(bucket, p),
            facts=orjson.dumps(plan).decode(),
            sealed_key=None if protection.key is None else protection.key.sealed,
        )
    except Missing:
        raise faults.no_such_bucket(bucket.name) from None
    result: Result = {"Bucket": bucket.name, "Key": key, "UploadId": id, **protection.shown}
    if summed is not None:
        result["ChecksumAlgorithm"], result["ChecksumType"] = summed
    show_abortion(ctx, bucket, key, now, result)
    return result


def initiator(ctx: Context) -> dict[str, str]:
    """Who began an upload, as it is kept: the account's canonical id, or the ARN of a user or a session."""
    if ctx.principal.is_root or ctx.principal.is_anonymous:
        return {"ID": canonical_id(ctx.account), "DisplayName": f"account-{ctx.account}"}
    return {"ID": ctx.principal.arn, "DisplayName": ctx.principal.arn.rpartition("/")[2]}


def find_upload(ctx: Context, bucket: Known, key: str, id: str) -> tuple[Upload, Plan]:
    """An open upload and its plan; `NoSuchUpload`."""
    try:
        upload = ctx.objects.upload(bucket.number, key, id)
    except Missing:
        raise faults.no_such_upload(id) from None
    if upload.uses:
        raise faults.no_such_upload(id)
    return upload, orjson.loads(upload.facts)


def unlocker(ctx: Context, bucket: Known, upload: Upload, p: Params) -> Unlock:
    """What opens the key of an upload's parts, where it is not the store's. Raises when the call brings the wrong one,
    or one that is not wanted."""
    encryption.check_part(upload.sealed_key, p)

    def unlock(sealed: bytes) -> bytes:
        try:
            return encryption.unlock(ctx, bucket, sealed, p)
        except AWSError as fault:
            if p.get("SSECustomerKey") and fault.code == "AccessDenied":
                raise faults.invalid_request(
                    "The provided encryption parameters did not match the ones used originally."
                ) from None
            raise

    return unlock


def shown_encryption(plan: Plan, p: Params) -> Result:
    """What answers about an upload say of its encryption."""
    return encryption.shown_of(orjson.loads(plan["facts"]), p)


def publish_part(
    ctx: Context, bucket: Known, upload: Upload, number: int, received: Received, summed: str
) -> tuple[int, str]:
    """Add a received part; when it was added, and its ETag."""
    if not 1 <= number <= MOST_PARTS:
        raise faults.invalid_argument(
            "Part number must be an integer between 1 and 10000, inclusive", "partNumber", number
        )
    at = properties.now(ctx)
    etag = encryption.etag_of_part(received, bucket)
    try:
        ctx.objects.publish_part(upload, number, received, etag=etag, checksum=summed, now=at)
    except Missing:
        raise faults.no_such_upload(upload.id) from None
    return at, etag


@operation("s3:UploadPart", on="{Bucket}/{Key}", action="s3:PutObject", streams=True)
def upload_part(ctx: Context, p: Params) -> Result:
    bucket, key, body = bucket_of(ctx, p), key_of(p), ctx.body
    assert body is not None
    number = p["PartNumber"]
    if not 1 <= number <= MOST_PARTS:
        raise faults.invalid_argument(
            "Part number must be an integer between 1 and 10000, inclusive", "partNumber", number
        )
    upload, plan = find_upload(ctx, bucket, key, p["UploadId"])
    unlock = unlocker(ctx, bucket, upload, p)
    check_size(body.length)
    expected = plan.get("algorithm")
    given = checksums.chosen(body, p) if body.checksums or p.get("ChecksumAlgorithm") else None
    if expected is not None and given is not None and given != expected:
        raise faults.invalid_request(
            f"Checksum Type mismatch occurred, expected checksum Type: {expected.lower()}, actual checksum Type: "
            f"{given.lower()}"
        )
    algorithm = expected or checksums.DEFAULT
    body.want("MD5", algorithm)
    received = ctx.objects.receive_part(upload, body.blocks(), md5=lambda: body.digest("MD5"), unlock=unlock)
    try:
        value = checksum.encode(body.digest(algorithm))
        _, etag = publish_part(ctx, bucket, upload, number, received, f"{algorithm} {checksums.FULL} {value}")
    finally:
        received.close()
    shown = given or algorithm
    return {
        "ETag": f'"{etag}"',
        **shown_encryption(plan, p),
        checksums.MEMBERS[shown]: checksum.encode(body.digest(shown)),
    }


@operation("s3:CompleteMultipartUpload", on="{Bucket}/{Key}", action="s3:PutObject", streams=True, slow=True)
def complete_multipart_upload(ctx: Context, p: Params) -> Result:
    bucket, key, id = bucket_of(ctx, p), key_of(p), p["UploadId"]
    wanted = (p.get("MultipartUpload") or {}).get("Parts") or []
    if not wanted:
        find_upload(ctx, bucket, key, id)
        if p.get("MultipartUpload") is None:
            raise faults.invalid_request("You must specify at least one part")
        raise faults.malformed()
    if any(part.get("PartNumber") is None or part.get("ETag") is None for part in wanted):
        raise faults.malformed()
    numbers = [part["PartNumber"] for part in wanted]
    if any(later <= former for former, later in zip(numbers, numbers[1:], strict=False)):
        raise AWSError(
            "InvalidPartOrder",
            "The list of parts was not in ascending order. Parts must be ordered by part number.",
            400,
            UploadId=id,
        )
    made: list[Description] = []
    plain = False
    found: Upload | None = None

    def judge(upload: Upload, pieces: Sequence[Piece]) -> tuple[Description, Sequence[int]]:
        nonlocal plain, found
        found = upload
        plan = orjson.loads(upload.facts)
        plain = "algorithm" in plan or not encryption.is_opaque(upload.sealed_key)
        _check_type(p, plan)
        whole = _whole(ctx, p, bucket, upload, _listed(upload, pieces, wanted))
        made[:] = [sequel.marked(bucket, key, whole)]
        return made[0], numbers

    try:
        also = sequel.created(ctx, bucket, key, "ObjectCreated:CompleteMultipartUpload", lambda: made[0])
        expect = _unchanged(p, key, lambda: found)
        published, etag = ctx.objects.complete(bucket.number, key, id, judge, expect, also)
    except Missing:
        raise faults.no_such_upload(id) from None
    host = (ctx.call.headers or {}).get("host") or "s3.amazonaws.com"
    result: Result = {
        "Location": location("https" if ctx.call.tls else "http", host, bucket.name, key),
        "Bucket": bucket.name,
        "Key": key,
        "ETag": f'"{etag}"',
        **_of_whole(made[0], p),
    }
    if plain:  # under a key of KMS, a checksum that nobody asked for is told later
        checksums.show(made[0].checksum, result)
    sequel.wake(ctx, also)
    if not is_directory(bucket.name):
        show_expiration(ctx, bucket, key, made[0].size, made[0].tags, made[0].modified, result)
    if published.version:
        result["VersionId"] = published.version
    return result


def _unchanged(p: Params, key: str, upload: Callable[[], Upload | None]) -> Expect | None:
    """What a completion expects of the object that it replaces: an ETag or its absence, and neither a write nor a
    delete since the upload (known by then) began."""
    conditions = expectation(p, key)
    if conditions is None:
        return None

    def expected(head: Head | None) -> None:
        conditions(head)
        begun = upload()
        if begun is None:
            return
        if head is not None and head.modified > begun.opened:
            raise faults.conditional_conflict("If-Match", key)
        if head is None and begun.crossed:
            raise faults.conditional_conflict("If-None-Match", key)

    return expected


def _of_whole(about: Description, p: Params) -> Result:
    """What the answer to a completion says of the encryption: nothing of a customer's key."""
    shown = encryption.shown_of(orjson.loads(about.facts or "{}"), p)
    return {name: value for name, value in shown.items() if not name.startswith("SSECustomer")}


def _listed(upload: Upload, pieces: Sequence[Piece], wanted: list[dict[str, Any]]) -> list[Piece]:
    """The parts that the call lists, each as it was sent; large enough, but for the last."""
    held = {piece.number: piece for piece in pieces}
    plan = orjson.loads(upload.facts)
    composite = plan.get("type") == checksums.COMPOSITE
    chosen = []
    for place, part in enumerate(wanted):
        number, etag = part["PartNumber"], part["ETag"].strip('"')
        piece = held.get(number)
        if piece is None or piece.etag != etag or not _is_summed(piece, part, composite, plan.get("algorithm")):
            raise AWSError(
                "InvalidPart",
                "One or more of the specified parts could not be found.  The part may not have been uploaded, or the "
                "specified entity tag may not match the part's entity tag.",
                400,
                UploadId=upload.id,
                PartNumber=number,
                ETag=etag,
            )
        if piece.size < SMALLEST_PART and place < len(wanted) - 1:
            raise AWSError(
                "EntityTooSmall",
                "Your proposed upload is smaller than the minimum allowed size",
                400,
                ETag=etag,
                MinSizeAllowed=SMALLEST_PART,
                ProposedSize=piece.size,
                PartNumber=number,
            )
        chosen.append(piece)
    return chosen


def _is_summed(piece: Piece, part: dict[str, Any], composite: bool, algorithm: str | None) -> bool:
    """Whether the checksums that the call gives for a part are its own. A composite one needs them all; an upload
    without an algorithm has none that a call could name."""
    kept = checksums.kept(piece.checksum)
    for name, member in checksums.MEMBERS.items():
        value = part.get(member)
        if value is None or (kept is not None and (name, value) == (kept.algorithm, kept.value)):
            continue
        if algorithm is None or name == algorithm:
            return False
        raise AWSError(
            "BadDigest",
            f"The {name.lower()} you specified for part {piece.number} did not match what we received.",
            400,
        )
    if composite and algorithm is not None and part.get(checksums.MEMBERS[algorithm]) is None:
        raise faults.invalid_request(
            f"The upload was created using a {algorithm.lower()} checksum. The complete request must include the "
            f"checksum for each part. It was missing for part {piece.number} in the request."
        )
    return True


def _whole(ctx: Context, p: Params, bucket: Known, upload: Upload, pieces: list[Piece]) -> Description:
    """The object that the parts make; refused where it is not what the call says."""
    plan = orjson.loads(upload.facts)
    size = sum(piece.size for piece in pieces)
    check_size(size, LARGEST)
    stated = p.get("MpuObjectSize")
    if stated is not None and stated < 0:
        raise faults.invalid_request(f"Value for x-amz-mp-object-size header is less than zero: '{stated}'")
    if stated is not None and stated != size:
        raise faults.invalid_request(
            f"The provided 'x-amz-mp-object-size' header value {stated} does not match what was computed: {size}"
        )
    summed = "algorithm" in plan or not encryption.is_customers(upload.sealed_key)
    digests = b"".join(bytes.fromhex(piece.etag) for piece in pieces)
    etag = f"{hashlib.md5(digests, usedforsecurity=False).hexdigest()}-{len(pieces)}"
    now = properties.now(ctx)
    return Description(
        modified=now,
        etag=etag,
        size=size,
        storage=upload.storage,
        checksum=_summed(p, plan, pieces) if summed else "",
        owner=upload.owner,
        parts=len(pieces),
        facts=plan["facts"],
        tags=plan["tags"],
        grants=plan["grants"],
        terms=kept(locking.with_default(bucket, plan.get("terms") or {}, now)),
    )


def _summed(p: Params, plan: Plan, pieces: list[Piece]) -> str:
    """The checksum of the whole, from those of its parts, and equal to the one that the call gives."""
    algorithm = plan.get("algorithm") or checksums.DEFAULT
    type_ = plan.get("type") or checksums.FULL
    parts = []
    for piece in pieces:
        kept = checksums.kept(piece.checksum)
        assert kept is not None
        digest = checksum.decode(algorithm, kept.value)
        assert digest is not None
        parts.append((digest, piece.size))
    if type_ == checksums.FULL:
        value = checksum.encode(checksum.combine(algorithm, parts))
    else:
        value = f"{checksum.encode(checksum.composite(algorithm, [digest for digest, _ in parts]))}-{len(parts)}"
    given = checksums.declared(p)
    if given is not None and (plan.get("algorithm") or given[0] == algorithm):
        name, text = given
        untold = plan.get("type") == checksums.FULL and p.get("ChecksumType") is None
        if untold or name != algorithm or text not in (value, value.partition("-")[0]):
            raise AWSError(
                "BadDigest", f"The {algorithm.lower()} you specified did not match the calculated checksum.", 400
            )
    return f"{algorithm} {type_} {value}"


def _check_type(p: Params, plan: Plan) -> None:
    """The type that a completion states must be that of the upload."""
    type_ = plan.get("type")
    if (stated := checksums.type_of(p)) is not None and stated != type_:
        raise faults.invalid_request(
            f"The upload was created using the {type_ or 'null'} checksum mode. The complete request must use the same "
            "checksum mode."
        )


@operation("s3:AbortMultipartUpload", on="{Bucket}/{Key}", streams=True)
def abort_multipart_upload(ctx: Context, p: Params) -> Result:
    bucket, key = bucket_of(ctx, p), key_of(p)
    if (began := p.get("IfMatchInitiatedTime")) is not None:
        if not is_directory(bucket.name):
            raise faults.no_such_header("x-amz-if-match-initiated-time")
        if moment(find_upload(ctx, bucket, key, p["UploadId"])[0].opened) != began:
            raise faults.precondition("x-amz-if-match-initiated-time")
    try:
        ctx.objects.abort(bucket.number, key, p["UploadId"])
    except Missing:
        if not _was_begun(ctx, bucket, key, p["UploadId"]):
            raise faults.no_such_upload(p["UploadId"]) from None
    return {}


def _was_begun(ctx: Context, bucket: Known, key: str, id: str) -> bool:
    """Whether an upload that is not open was so within the last day: then whoever cleans up after a completion, or
    aborts twice, is told that all is well."""
    begun = None if is_directory(bucket.name) else upload_ids.begun(bucket.number, key.encode(), id)
    return begun is not None and properties.now(ctx) - begun < REMEMBERED


@operation("s3:ListParts", on="{Bucket}/{Key}", action="s3:ListMultipartUploadParts", streams=True)
def list_parts(ctx: Context, p: Params) -> Result:
    bucket, key = bucket_of(ctx, p), key_of(p)
    upload, plan = find_upload(ctx, bucket, key, p["UploadId"])
    most, after = limit_of(p, "MaxParts", "max-parts"), marker_of(p)
    pieces = ctx.objects.parts(upload.id, after=after, limit=most + 1)
    listed = []
    for piece in pieces[:most]:
        part = {
            "PartNumber": piece.number,
            "LastModified": moment(piece.modified),
            "ETag": f'"{piece.etag}"',
            "Size": piece.size,
        }
        if plan.get("algorithm"):
            checksums.show(piece.checksum, part, type=False)
        listed.append(part)
    result: Result = {
        "Bucket": bucket.name,
        "Key": key,
        "UploadId": upload.id,
        "Initiator": shown_initiator(plan["initiator"]),
        "Owner": owner(ctx, object_owner(bucket, upload.owner)),
        "StorageClass": upload.storage or "STANDARD",
        "PartNumberMarker": after,
        "NextPartNumberMarker": listed[-1]["PartNumber"] if listed else 0,
        "MaxParts": most,
        "IsTruncated": len(pieces) > most > 0,
        "Parts": listed,
    }
    if plan.get("algorithm"):
        result |= {"ChecksumAlgorithm": plan["algorithm"], "ChecksumType": plan["type"]}
    show_abortion(ctx, bucket, key, upload.opened, result)
    return result
