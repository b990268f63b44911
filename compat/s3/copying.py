"""Copies: of whole objects by reference, of ranges into parts."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote_plus

from backends import checksum
from backends.errors import Changed, Missing
from backends.object.books import Note
from backends.object.containers import Known
from backends.object.contents import Received
from backends.object.store import Also, Span
from backends.object.versions import Description, Expect, Head, Published
from compat.errors import AWSError
from compat.iam.demands import Demand, demands_also
from compat.operation import Params, Result, operation
from compat.s3 import annotating, checksums, encryption, faults, locking, properties, sequel
from compat.s3.acl import grants_of_upload
from compat.s3.conditions import check_read, expectation, moment, source_span
from compat.s3.directory_buckets import check_copy, storage_of
from compat.s3.directory_rules import is_directory, is_door
from compat.s3.directory_sessions import demands_of_read
from compat.s3.encryption import Protection
from compat.s3.lifecycle_rules import show_expiration
from compat.s3.multipart import find_upload, publish_part, shown_encryption, unlocker
from compat.s3.objects import LARGEST_PUT, owner_of_upload
from compat.s3.places import NULL, bucket_of, key_of, version_of
from compat.s3.restoring import check_copyable, check_readable
from compat.s3.terms import kept

if TYPE_CHECKING:
    from collections.abc import Iterable

    from compat.context import Context

TRIES = 8
REASONS = encryption.MEMBERS | {"StorageClass", "WebsiteRedirectLocation", "IfMatch", "IfNoneMatch"}
"""What makes a copy of an object to itself a change, be it the same as before."""


class Source(NamedTuple):
    """What a copy takes from."""

    bucket: str
    key: str
    version: str | None


def source_of(p: Params) -> Source:
    """The source that `x-amz-copy-source` names."""
    path, asked, named = p["CopySource"].partition("?versionId=")
    whole = unquote_plus(path).removeprefix("/")
    if whole.startswith(("http://", "https://")):
        whole = whole.partition("://")[2].partition("/")[2]
    bucket, _, key = whole.partition("/object/" if whole.startswith("arn:") else "/")
    if not bucket or not key:
        raise faults.invalid_argument(
            "Invalid copy source object key",
            "x-amz-copy-source",
            "x-amz-copy-source",
        )
    return Source(bucket, key, unquote_plus(named) if asked else None)


@demands_also("s3:CopyObject", "s3:UploadPartCopy")
def read_source(ctx: Context, p: Params) -> Iterable[Demand]:
    """What a copy demands of its source."""
    source = source_of(p)
    if is_directory(source.bucket) or is_door(source.bucket):
        yield from demands_of_read(ctx, source.bucket, source.key)
        return
    action = "s3:GetObject" if source.version is None else "s3:GetObjectVersion"
    yield Demand(action, (f"arn:{ctx.partition}:s3:::{source.bucket}/{source.key}",))
    if ctx.operation.name == "CopyObject" and p.get("AnnotationDirective") != "EXCLUDE":
        yield from annotating.demands_of_copy(ctx, p, source)


def _find(ctx: Context, p: Params) -> tuple[Known, Source, Head]:
    """The source of a copy: its bucket, its name and its row, conditions checked."""
    source = source_of(p)
    owner, payer = p.get("ExpectedSourceBucketOwner"), p.get("RequestPayer")
    bucket = bucket_of(ctx, {"Bucket": source.bucket, "ExpectedBucketOwner": owner, "RequestPayer": payer})
    version = version_of({"VersionId": source.version})
    head = ctx.objects.head(bucket.number, source.key, version)
    if head is None:
        raise (
            faults.no_such_key(source.key)
            if version is None
            else faults.no_such_version(source.key, source.version or "")
        )
    if head.marker:
        if version is None:
            raise faults.no_such_key(source.key)
        raise faults.invalid_request(
            "The source of a copy request may not specifically refer to a delete marker by version id."
        )
    check_read(head, p, "CopySource")
    if ctx.operation.name == "CopyObject":
        check_copyable(ctx, head)
    else:
        check_readable(ctx, head)
    return bucket, source, head


@operation("s3:CopyObject", on="{Bucket}/{Key}", action="s3:PutObject", streams=True, slow=True)
def copy_object(ctx: Context, p: Params) -> Result:
    bucket, key = bucket_of(ctx, p), key_of(p)
    want = encryption.wanted(ctx, bucket, p)
    expect = expectation(p, key)
    annotated = annotating.directive(p) == "COPY"
    for attempt in range(TRIES):
        origin, source, head = _find(ctx, p)
        if head.size > LARGEST_PUT:
            raise faults.invalid_request(
                f"The specified copy source is larger than the maximum allowable size for a copy source: {LARGEST_PUT}"
            )
        encryption.check_read(head.sealed_key, p, "CopySource")
        check_copy(bucket, p, head.tags, head.book)
        secret = _open(ctx, p, origin, head)
        protection = encryption.protect(ctx, bucket, key, want, secret)
        about = sequel.marked(bucket, key, _describe(ctx, p, bucket, key, origin, source, head, protection))
        also = sequel.created(ctx, bucket, key, "ObjectCreated:Copy", lambda about=about: about)  # type: ignore[misc]
        notes = annotating.carried(ctx, origin, head, bucket, key, want) if annotated else []
        book = head.book if annotated else None
        try:
            if head.sealed_key is None and protection.key is not None:
                noted = (notes, book)
                published = _sealed_anew(
                    ctx, (origin, source, head), (bucket, key), about, protection, expect, also, noted
                )
            else:
                published = ctx.objects.copy(
                    (origin.number, source.key, head),
                    bucket.number,
                    key,
                    about,
                    expect,
                    also,
                    sealed_key=_key_of_copy(ctx, head, protection, secret),
                    notes=notes,
                    book=book,
                )
            break
        except Changed:
            if attempt == TRIES - 1:
                raise AWSError(
                    "OperationAborted", "A conflicting operation is in progress. Please try again.", 409
                ) from None
        except Missing:
            raise faults.no_such_bucket(bucket.name) from None
    copied: dict[str, Any] = {"ETag": f'"{about.etag}"', "LastModified": moment(about.modified)}
    checksums.show(about.checksum, copied)
    result: Result = {"CopyObjectResult": copied, **protection.shown}
    if head.version:
        result["CopySourceVersionId"] = head.version
    sequel.wake(ctx, also)
    show_expiration(ctx, bucket, key, about.size, about.tags, about.modified, result)
    if published.keeping:
        result["VersionId"] = published.version or NULL
    return result


def _open(ctx: Context, p: Params, origin: Known, head: Head) -> bytes | None:
    """The key of the source's content; None where it lies there without one."""
    if head.sealed_key is None:
        return None
    return ctx.objects.open_key(head.sealed_key, lambda sealed: encryption.unlock(ctx, origin, sealed, p, "CopySource"))


def _key_of_copy(ctx: Context, head: Head, protection: Protection, secret: bytes | None) -> bytes | None:
    """The content's key, sealed as the copy is to be opened; None where it is as the source is."""
    if protection.key is not None:
        return protection.key.sealed
    if secret is None or not encryption.is_opaque(head.sealed_key):
        return None
    return ctx.objects.keys.wrap(secret)


def _sealed_anew(
    ctx: Context,
    source: tuple[Known, Source, Head],
    target: tuple[Known, str],
    about: Description,
    protection: Protection,
    expect: Expect | None,
    also: Also[Published] | None,
    noted: tuple[list[Note], str | None],
) -> Published:
    """Copy a content that lies there without a key: its bytes are read and sealed."""
    origin, named, head = source
    blocks = _blocks(ctx, origin, named.key, head, Span(0, head.size), None)
    received = ctx.objects.receive(blocks, key=protection.key)
    try:
        return ctx.objects.publish(
            target[0].number, target[1], about._replace(parts=0), received, expect, also, notes=noted[0], book=noted[1]
        )
    finally:
        received.close()


def _describe(
    ctx: Context,
    p: Params,
    bucket: Known,
    key: str,
    origin: Known,
    source: Source,
    head: Head,
    protection: Protection,
) -> Description:
    """The copy: what it takes from its source, and what the call says."""
    metadata, tagging = _directive(p, "MetadataDirective"), _directive(p, "TaggingDirective")
    facts = properties.facts_of(p) if metadata == "REPLACE" else _kept_facts(p, head)
    storage = storage_of(bucket, p)
    if (
        (origin.number, source.key, source.version) == (bucket.number, key, None)
        and metadata == "COPY"
        and facts == head.facts
        and REASONS.isdisjoint(p)
        and "encryption" not in bucket.documents
    ):
        raise faults.invalid_request(
            "This copy request is illegal because it is trying to copy an object to itself without changing the "
            "object's metadata, storage class, website redirect location or encryption attributes."
        )
    etag, summed = _digests(ctx, p, origin, source, head, protection)
    now = properties.now(ctx)
    return Description(
        modified=now,
        etag=etag,
        size=head.size,
        storage=storage,
        checksum=summed,
        owner=owner_of_upload(ctx, bucket),
        facts=protection.within(facts),
        tags=properties.tags_of(p) if tagging == "REPLACE" else head.tags,
        grants=grants_of_upload(ctx, bucket, p),
        terms=kept(locking.with_default(bucket, locking.terms_of_upload(bucket, p, now), now)),
    )


def _directive(p: Params, member: str) -> str:
    given: str = p.get(member) or "COPY"
    if given not in ("COPY", "REPLACE"):
        raise faults.invalid_argument(f"Unknown {member.replace('Directive', ' directive').lower()}.", None, given)
    return given


def _kept_facts(p: Params, head: Head) -> str:
    """The source's facts; the redirect is never copied."""
    if not p.get("WebsiteRedirectLocation") and "WebsiteRedirectLocation" not in head.facts:
        return encryption.without(head.facts)
    return properties.with_redirect(encryption.without(head.facts), p.get("WebsiteRedirectLocation"))


def _digests(
    ctx: Context, p: Params, origin: Known, source: Source, head: Head, protection: Protection
) -> tuple[str, str]:
    """ETag and checksum of a copy, which is one piece: what the source has, unless that speaks of parts, or tells
    nothing of the content."""
    opaque = protection.new_etag()
    tells = not encryption.is_opaque(head.sealed_key) and not is_directory(origin.name)
    had = checksums.kept(head.checksum)
    wanted = checksums.known(p["ChecksumAlgorithm"]) if p.get("ChecksumAlgorithm") else None
    algorithm = wanted or (had.algorithm if had is not None else checksums.DEFAULT)
    summed = had is not None and had.type == checksums.FULL and had.algorithm == algorithm
    if summed and (opaque is not None or ("-" not in head.etag and tells)):
        return opaque or head.etag, head.checksum
    md5, running = hashlib.md5(usedforsecurity=False), checksum.checksum(algorithm)
    for block in _blocks(ctx, origin, source.key, head, Span(0, head.size), p):
        md5.update(block)
        running.update(block)
    return opaque or md5.hexdigest(), f"{algorithm} {checksums.FULL} {checksum.encode(running.digest())}"


def _blocks(ctx: Context, origin: Known, key: str, head: Head, span: Span, p: Params | None) -> Iterable[bytes]:
    """Some bytes of that very version, opened with what the call `p` brings."""

    def unlock(sealed: bytes) -> bytes:
        return encryption.unlock(ctx, origin, sealed, p or {}, "CopySource")

    def choose(now: Head) -> Span:
        if now[:7] != head[:7]:
            raise AWSError("OperationAborted", "The source of the copy was replaced meanwhile. Please try again.", 409)
        return span

    try:
        _, content = ctx.objects.read(origin.number, key, head.version, choose, unlock)
    except Missing:
        raise faults.no_such_key(key) from None
    return [content] if isinstance(content, bytes) else content


@operation("s3:UploadPartCopy", on="{Bucket}/{Key}", action="s3:PutObject", streams=True, slow=True)
def upload_part_copy(ctx: Context, p: Params) -> Result:
    bucket, key = bucket_of(ctx, p), key_of(p)
    upload, plan = find_upload(ctx, bucket, key, p["UploadId"])
    unlock = unlocker(ctx, bucket, upload, p)
    origin, source, head = _find(ctx, p)
    encryption.check_read(head.sealed_key, p, "CopySource")
    text = p.get("CopySourceRange")
    span = Span(0, head.size) if text is None else source_span(text, head.size)
    algorithm = plan.get("algorithm") or checksums.DEFAULT
    running = checksum.checksum(algorithm)

    def summed() -> Iterable[bytes]:
        for block in _blocks(ctx, origin, source.key, head, span, p) if span.length else ():
            running.update(block)
            yield block

    received: Received = ctx.objects.receive_part(upload, summed(), unlock=unlock)
    try:
        value = checksum.encode(running.digest())
        summed_up = f"{algorithm} {checksums.FULL} {value}"
        modified, etag = publish_part(ctx, bucket, upload, p["PartNumber"], received, summed_up)
    finally:
        received.close()
    about: dict[str, Any] = {"ETag": f'"{etag}"', "LastModified": moment(modified)}
    if plan.get("algorithm"):
        about[checksums.MEMBERS[algorithm]] = value
    result: Result = {"CopyPartResult": about, **shown_encryption(plan, p)}
    if head.version:
        result["CopySourceVersionId"] = head.version
    return result
