"""Objects: put, get, head, and what is known of one."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from backends import checksum
from backends.errors import Missing
from backends.object.cipher import FOREIGN
from backends.object.containers import Known
from backends.object.contents import Reading
from backends.object.store import Span
from backends.object.versions import Description, Head
from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.s3 import appending, checksums, encryption, faults, locking, properties, sequel
from compat.s3.absence import absent
from compat.s3.acl import grants_of_upload
from compat.s3.conditions import check_read, expectation, moment, span_of
from compat.s3.directory_buckets import storage_of
from compat.s3.lifecycle_rules import show_expiration
from compat.s3.paging import limit_of, marker_of
from compat.s3.places import NULL, bucket_of, key_of, version_of
from compat.s3.restoring import check_readable
from compat.s3.terms import kept, show
from compat.streams import FileRange, Stream

if TYPE_CHECKING:
    from compat.context import Context

LARGEST_PUT = 5 << 30
OVERRIDES = {
    "ResponseCacheControl": "CacheControl",
    "ResponseContentDisposition": "ContentDisposition",
    "ResponseContentEncoding": "ContentEncoding",
    "ResponseContentLanguage": "ContentLanguage",
    "ResponseContentType": "ContentType",
    "ResponseExpires": "Expires",
}


@operation("s3:PutObject", on="{Bucket}/{Key}", streams=True)
def put_object(ctx: Context, p: Params) -> Result:
    bucket, key, body = bucket_of(ctx, p), key_of(p), ctx.body
    assert body is not None
    offset = p.get("WriteOffsetBytes")
    target = None if offset is None else appending.target_of(ctx, bucket, key, offset)
    now = properties.now(ctx)
    terms = locking.terms_of_upload(bucket, p, now)
    facts, storage, tags = properties.facts_of(p), storage_of(bucket, p), properties.tags_of(p)
    grants = grants_of_upload(ctx, bucket, p)
    if target is not None:
        check_size(body.length)
        result = appending.append_to(ctx, p, bucket, key, target, body)
        show_expiration(ctx, bucket, key, result["Size"], "", now, result)
        return result
    expect = expectation(p, key) if offset is None else appending.only_new(expectation(p, key))
    algorithm = checksums.chosen(body, p)
    if "lock" in bucket.documents:
        terms = locking.with_default(bucket, terms, now)
        locking.check_digest(bucket, p, terms, bool(body.checksums))
    check_size(body.length)
    protection = encryption.protection(ctx, bucket, key, p)
    body.want("MD5", algorithm)
    received = ctx.objects.receive(body.blocks(), md5=lambda: body.digest("MD5"), key=protection.key)
    try:
        value = checksum.encode(body.digest(algorithm))
        about = Description(
            modified=now,
            etag=protection.new_etag() or received.etag,
            size=received.size,
            storage=storage,
            checksum=f"{algorithm} FULL_OBJECT {value}",
            owner=owner_of_upload(ctx, bucket),
            facts=protection.within(facts),
            tags=tags,
            grants=grants,
            terms=kept(terms) if terms else "",
        )
        also = None
        if not sequel.is_silent(bucket):
            about = sequel.marked(bucket, key, about)
            event = "ObjectCreated:Post" if ctx.call.auth_type == "post" else "ObjectCreated:Put"
            also = sequel.created(ctx, bucket, key, event, lambda: about)
        published = ctx.objects.publish(bucket.number, key, about, received, expect, also)
    except Missing:
        raise faults.no_such_bucket(bucket.name) from None
    finally:
        received.close()
    result = {
        "ETag": f'"{about.etag}"',
        **protection.shown,
        checksums.MEMBERS[algorithm]: value,
        "ChecksumType": checksums.FULL,
    }
    if published.keeping == "Enabled":
        result["VersionId"] = published.version
    sequel.wake(ctx, also)
    if "lifecycle" in bucket.documents or "directory" in bucket.documents:
        show_expiration(ctx, bucket, key, received.size, tags, now, result)
    return result


@operation("s3:GetObject", on="{Bucket}/{Key}", streams=True, lasting=True)
def get_object(ctx: Context, p: Params) -> Result:
    bucket, view = bucket_of(ctx, p), View(ctx, p)
    try:
        head, content = ctx.objects.read(bucket.number, view.key, view.version, view.choose, view.unlock)
    except Missing:
        raise view.absent(bucket) from None
    result = view.result(bucket, head)
    if isinstance(content, Reading):
        files = [FileRange(*one) for one in content.files()]
        result["Body"] = Stream(result["ContentLength"], iter(content), content.close, files, content.filler)
    else:
        result["Body"] = content
        ctx.lasts = view.lasts(bucket, head)
    return result


@operation("s3:HeadObject", on="{Bucket}/{Key}", action="s3:GetObject", streams=True)
def head_object(ctx: Context, p: Params) -> Result:
    bucket, view = bucket_of(ctx, p), View(ctx, p)
    head = ctx.objects.head(bucket.number, view.key, view.version)
    if head is None:
        raise view.absent(bucket)
    view.choose(head)
    if head.sealed_key is not None and (p.get("ChecksumMode") or p.get("SSECustomerKey")):
        ctx.objects.open_key(head.sealed_key, view.unlock)
    return view.result(bucket, head)


@operation("s3:GetObjectAttributes", on="{Bucket}/{Key}", streams=True)
def get_object_attributes(ctx: Context, p: Params) -> Result:
    bucket, view, wanted = bucket_of(ctx, p), View(ctx, p), set(p["ObjectAttributes"])
    if unknown := wanted - {"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"}:
        raise faults.invalid_argument("Invalid attribute name specified.", "x-amz-object-attributes", min(unknown))
    head = ctx.objects.head(bucket.number, view.key, view.version)
    if head is None:
        raise view.absent(bucket)
    view.check_marker(head)
    encryption.check_read(head.sealed_key, p)
    if head.sealed_key is not None and p.get("SSECustomerKey"):
        ctx.objects.open_key(head.sealed_key, view.unlock)
    result: Result = {"LastModified": moment(head.modified)}
    name_version(bucket, head, result)
    if "ETag" in wanted:
        result["ETag"] = head.etag
    if "ObjectSize" in wanted:
        result["ObjectSize"] = head.size
    if "StorageClass" in wanted:
        result["StorageClass"] = head.storage or "STANDARD"
    if "Checksum" in wanted and head.checksum:
        shown: dict[str, Any] = {}
        checksums.show(head.checksum, shown)
        result["Checksum"] = {name: value.partition("-")[0] for name, value in shown.items()}
    if "ObjectParts" in wanted and head.parts:
        result["ObjectParts"] = _parts(ctx, head, p)
    return result


def _parts(ctx: Context, head: Head, p: Params) -> Result:
    """How many parts an object has; and, where they have checksums of their own, which."""
    most, after = limit_of(p, "MaxParts", "max-parts"), marker_of(p)
    kept = checksums.kept(head.checksum)
    if kept is None or kept.type != checksums.COMPOSITE:
        return {"TotalPartsCount": head.parts}
    assert head.assembly is not None
    pieces = ctx.objects.parts(head.assembly, after=after, limit=most + 1)
    listed = []
    for piece in pieces[:most]:
        part: Result = {"PartNumber": piece.number, "Size": piece.size}
        checksums.show(piece.checksum, part, type=False)
        listed.append(part)
    return {
        "TotalPartsCount": head.parts,
        "PartNumberMarker": after,
        "NextPartNumberMarker": listed[-1]["PartNumber"] if listed else 0,
        "MaxParts": most,
        "IsTruncated": len(pieces) > most,
        "Parts": listed,
    }


class View:
    """How a call wants to see an object: which version, under which conditions, which bytes of it."""

    def __init__(self, ctx: Context, p: Params) -> None:
        self.ctx, self.p = ctx, p
        self.key, self.version = key_of(p), version_of(p)
        self.span: Span | None = None
        self.part_checksum: str | None = None
        self.ranged = False
        if ctx.call.headers and "x-amz-server-side-encryption" in ctx.call.headers:
            raise faults.invalid_argument(
                "x-amz-server-side-encryption header is not supported for this operation.",
                "x-amz-server-side-encryption",
            )
        if p.get("PartNumber") is not None and p.get("Range") is not None:
            raise faults.invalid_request("Cannot specify both Range header and partNumber query parameter")
        if (number := p.get("PartNumber")) is not None and not 1 <= number <= 10000:
            raise faults.invalid_argument(
                "Part number must be an integer between 1 and 10000, inclusive", "partNumber", number
            )

    def unlock(self, sealed: bytes) -> bytes:
        """Open the object's key, where it is not the store's."""
        return encryption.unlock(self.ctx, bucket_of(self.ctx, self.p), sealed, self.p)

    def choose(self, head: Head) -> Span | None:
        """The bytes to send; raises where there is nothing to see."""
        self.check_marker(head)
        p, size = self.p, head.size
        encryption.check_read(head.sealed_key, p)
        check_read(head, p)
        if head.storage in properties.ARCHIVED and self.ctx.operation.name == "GetObject":
            check_readable(self.ctx, head)
        text, number = p.get("Range"), p.get("PartNumber")
        self.ranged, self.span = False, Span(0, size)
        if text is not None:
            span = span_of(text, size)
            if span is not None:
                self.ranged, self.span = True, span
        elif number is not None:
            self.span = self._part(head, number)
            self.ranged = True
        return self.span

    def _part(self, head: Head, number: int) -> Span:
        if not head.parts and number == 1:
            return Span(0, head.size)
        piece = None
        if head.parts and head.assembly is not None:
            pieces = self.ctx.objects.parts(head.assembly, after=number - 1, limit=1)
            piece = pieces[0] if pieces and pieces[0].number == number else None
        if piece is None:
            raise AWSError(
                "InvalidPartNumber",
                "The requested partnumber is not satisfiable",
                416,
                PartNumberRequested=number,
                ActualPartCount=head.parts or 1,
            )
        self.part_checksum = piece.checksum
        return Span(piece.start, piece.size)

    def check_marker(self, head: Head) -> None:
        """A delete marker: gone, or (asked for by its version) not to be read."""
        if head.marker:
            headers = {"x-amz-delete-marker": "true", "x-amz-version-id": head.version or NULL}
            if self.version is None:
                raise faults.no_such_key(self.key, headers)
            headers |= {
                "Allow": "DELETE",
                "Last-Modified": properties.http_date(moment(head.modified)),
            }
            raise faults.method_not_allowed(self.ctx.operation.name[:4].rstrip("O").upper(), "DeleteMarker", headers)

    def absent(self, bucket: Known) -> AWSError:
        """The object is not there."""
        return absent(self.ctx, self.key, self.p.get("VersionId"))

    def result(self, bucket: Known, head: Head) -> Result:
        """Everything of the answer but the bytes. After `choose`."""
        p, span = self.p, self.span
        assert span is not None
        result = properties.shown(head.facts)
        result["LastModified"] = moment(head.modified)
        result["ETag"] = f'"{head.etag}"'
        result["ContentLength"] = span.length
        result["AcceptRanges"] = "bytes"
        if "SSECustomerAlgorithm" in result:
            result["SSECustomerKeyMD5"] = p.get("SSECustomerKeyMD5")
        elif "ServerSideEncryption" not in result:
            result["ServerSideEncryption"] = encryption.AES256
        name_version(bucket, head, result)
        documents = bucket.documents
        if "directory" in documents or ("lifecycle" in documents and self.version is None):
            show_expiration(self.ctx, bucket, self.key, head.size, head.tags, head.modified, result)
        if head.storage:
            result["StorageClass"] = head.storage
        if self.ranged and head.size:
            result["ContentRange"] = f"bytes {span.start}-{span.start + span.length - 1}/{head.size}"
        if head.parts and p.get("PartNumber") is not None:
            result["PartsCount"] = head.parts
        if head.terms:
            show(self.ctx, bucket, self.key, head, result)
        if head.tags:
            result["TagCount"] = len(properties.shown_tags(head.tags))
        if p.get("ChecksumMode") is not None:
            self._show_checksum(head, result)
        for parameter, member in OVERRIDES.items():
            if (value := p.get(parameter)) is not None:
                if self.ctx.principal.is_anonymous:
                    raise faults.invalid_request(
                        "Request specific response headers cannot be used for anonymous GET requests."
                    )
                result[member] = _latin(parameter, value)
        return result

    def lasts(self, bucket: Known, head: Head) -> bool:
        """Whether neither the time nor somebody else's key nor a further permission has a part in the answer."""
        foreign = head.sealed_key is not None and head.sealed_key[:1] == FOREIGN
        timed = "lifecycle" in bucket.documents or head.storage in properties.ARCHIVED
        return not (foreign or timed or head.terms or self.p.get("IfModifiedSince"))

    def _show_checksum(self, head: Head, result: Result) -> None:
        """A checksum is shown where it speaks of the bytes that are sent."""
        if self.p["ChecksumMode"].upper() != "ENABLED":
            return
        whole = checksums.kept(head.checksum)
        if self.part_checksum is not None and whole is not None and whole.type == checksums.COMPOSITE:
            checksums.show(self.part_checksum, result, type=False)
            result["ChecksumType"] = whole.type
        elif not self.ranged or (self.span is not None and self.span.length == head.size):
            checksums.show(head.checksum, result)


def _latin(parameter: str, value: Any) -> Any:
    """A header that a call wants in its answer; refused where no header can say it."""
    try:
        if isinstance(value, str):
            value.encode("latin-1")
    except UnicodeEncodeError:
        name = "-".join(re.findall("[A-Z][a-z]+", parameter)).lower()
        raise faults.invalid_argument("Header value cannot be represented using ISO-8859-1.", name, value) from None
    return value


def name_version(bucket: Known, head: Head, result: Result) -> None:
    """Name the version where the bucket has ever kept versions."""
    if bucket.keeping or head.version:
        result["VersionId"] = head.version or NULL


def owner_of_upload(ctx: Context, bucket: Known) -> str:
    """Whose a new object is, when it is not the bucket's owner's; empty otherwise."""
    if ctx.account == bucket.tenant:
        return ""
    document = bucket.documents.get("ownership")
    rule = "ObjectWriter" if document is None else document["Rules"][0]["ObjectOwnership"]
    if rule == "BucketOwnerPreferred" and ctx.params.get("ACL") != "bucket-owner-full-control":
        return ctx.account
    return ctx.account if rule == "ObjectWriter" else ""


def check_size(length: int | None, largest: int = LARGEST_PUT) -> None:
    """Refuse what is longer than one request may send."""
    if length is not None and length > largest:
        raise AWSError(
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed size",
            400,
            ProposedSize=length,
            MaxSizeAllowed=largest,
        )
