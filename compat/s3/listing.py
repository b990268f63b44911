"""Listings: of objects, of their versions, of open uploads."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from backends.errors import Missing
from backends.object.containers import Known
from backends.object.listing import Entry, Page
from compat.operation import Params, Result, operation
from compat.s3 import checksums, directory_listing, faults
from compat.s3.acl import object_owner
from compat.s3.conditions import moment
from compat.s3.directory_rules import is_directory
from compat.s3.paging import limit_of, token_of, wrong_token
from compat.s3.places import NULL, bucket_of, owner, shown_initiator, version_of

if TYPE_CHECKING:
    from compat.context import Context

_SAFE = re.compile(r"[A-Za-z0-9_.~/-]*").fullmatch
Encode = Callable[[str], str]


def encoder(p: Params) -> Encode:
    """How keys are written: as they are, or percent-encoded."""
    encoding = p.get("EncodingType")
    if encoding is None:
        return str
    if encoding != "url":
        raise faults.invalid_argument("Invalid Encoding Method specified in Request", "encoding-type", encoding)
    return _percent


def _percent(text: str) -> str:
    return text if _SAFE(text) else quote(text)


def common(bucket: Known, p: Params, encode: Encode, page: Page[Any], limit: int) -> Result:
    """What all listings of a bucket say of themselves."""
    result: Result = {
        "IsTruncated": page.more,
        "Name": bucket.name,
        "Prefix": encode(p.get("Prefix") or ""),
        "MaxKeys": limit,
        "CommonPrefixes": [{"Prefix": encode(prefix.decode())} for prefix in page.prefixes],
    }
    if p.get("Delimiter"):
        result["Delimiter"] = encode(p["Delimiter"])
    if p.get("EncodingType"):
        result["EncodingType"] = p["EncodingType"]
    return result


def contents(ctx: Context, bucket: Known, page: Page[Entry], encode: Encode, owners: bool) -> list[dict[str, Any]]:
    """Live entries as members of an answer."""
    listed = []
    plain = encode is str
    for key, _, _, _, size, modified, etag, storage, checksum, account in page.entries:
        text = key.decode()
        one: dict[str, Any] = {
            "Key": text if plain else encode(text),
            "LastModified": moment(modified),
            "ETag": f'"{etag}"',
            "Size": size,
            "StorageClass": storage or "STANDARD",
        }
        checksums.show_listed(checksum, one)
        if owners:
            one["Owner"] = owner(ctx, object_owner(bucket, account))
        listed.append(one)
    return listed


def last_key(page: Page[Any]) -> str:
    """The key or prefix with which a page ends."""
    last = page.last
    key: bytes = last if isinstance(last, bytes) else last.key if last is not None else b""
    return key.decode()


@operation("s3:ListObjectsV2", on="{Bucket}", action="s3:ListBucket", streams=True)
def list_objects_v2(ctx: Context, p: Params) -> Result:
    bucket, encode, limit = bucket_of(ctx, p), encoder(p), limit_of(p)
    token, start = p.get("ContinuationToken"), p.get("StartAfter")
    after = (start or "") if token is None else _after(token)
    if is_directory(bucket.name):
        directory_listing.check_listing(p)
        page = directory_listing.list_keys(ctx, bucket, p, after, limit)
    else:
        page = ctx.objects.list_keys(
            bucket.number, prefix=p.get("Prefix") or "", delimiter=p.get("Delimiter") or "", after=after, limit=limit
        )
    following = token_of("1" + last_key(page)) if page.more else None
    if is_directory(bucket.name):
        directory_listing.without_order(page)
    result = common(bucket, p, encode, page, limit)
    result["Contents"] = contents(ctx, bucket, page, encode, bool(p.get("FetchOwner")))
    result["KeyCount"] = len(page.entries) + len(page.prefixes)
    if token is not None:
        result["ContinuationToken"] = token
    elif start is not None:
        result["StartAfter"] = encode(start)
    if following is not None:
        result["NextContinuationToken"] = following
    result["$headers"] = {"x-amz-bucket-region": bucket.region}
    return result


def _after(token: str) -> str:
    try:
        raw = base64.urlsafe_b64decode(token.encode())
        key = raw[1:].decode()
    except ValueError:
        raise wrong_token(token) from None
    if raw[:1] != b"1":
        raise wrong_token(token)
    return key


@operation("s3:ListObjects", on="{Bucket}", action="s3:ListBucket", streams=True)
def list_objects(ctx: Context, p: Params) -> Result:
    bucket, encode, limit = bucket_of(ctx, p), encoder(p), limit_of(p)
    marker = p.get("Marker") or ""
    page = ctx.objects.list_keys(
        bucket.number, prefix=p.get("Prefix") or "", delimiter=p.get("Delimiter") or "", after=marker, limit=limit
    )
    result = common(bucket, p, encode, page, limit)
    result["Contents"] = contents(ctx, bucket, page, encode, not ctx.principal.is_anonymous)
    result["Marker"] = encode(marker)
    if page.more and p.get("Delimiter"):
        result["NextMarker"] = encode(last_key(page))
    result["$headers"] = {"x-amz-bucket-region": bucket.region}
    return result


@operation("s3:ListObjectVersions", on="{Bucket}", action="s3:ListBucketVersions", streams=True)
def list_object_versions(ctx: Context, p: Params) -> Result:
    bucket, encode, limit = bucket_of(ctx, p), encoder(p), limit_of(p)
    marker, after_version = p.get("KeyMarker"), p.get("VersionIdMarker")
    if after_version is not None and not marker:
        raise faults.invalid_argument(
            "A version-id marker cannot be specified without a key marker.", "version-id-marker", after_version
        )
    page = ctx.objects.list_versions(
        bucket.number,
        prefix=p.get("Prefix") or "",
        delimiter=p.get("Delimiter") or "",
        after=marker or "",
        after_version=version_of({"VersionId": after_version}) if after_version else None,
        limit=limit,
    )
    result = common(bucket, p, encode, page, limit)
    result |= {"KeyMarker": encode(marker or ""), "VersionIdMarker": after_version or ""}
    versions: list[dict[str, Any]] = []
    markers: list[dict[str, Any]] = []
    for entry, latest in zip(page.entries, page.latest, strict=True):
        one: dict[str, Any] = {
            "Key": encode(entry.key.decode()),
            "VersionId": entry.version or NULL,
            "IsLatest": latest,
            "LastModified": moment(entry.modified),
            "Owner": owner(ctx, object_owner(bucket, entry.owner)),
        }
        if entry.marker:
            markers.append(one)
            continue
        one |= {"ETag": f'"{entry.etag}"', "Size": entry.size, "StorageClass": entry.storage or "STANDARD"}
        checksums.show_listed(entry.checksum, one)
        versions.append(one)
    result |= {"Versions": versions, "DeleteMarkers": markers}
    if page.more:
        result["NextKeyMarker"] = encode(last_key(page))
        if isinstance(page.last, Entry):
            result["NextVersionIdMarker"] = page.last.version or NULL
    return result


@operation("s3:ListMultipartUploads", on="{Bucket}", action="s3:ListBucketMultipartUploads", streams=True)
def list_multipart_uploads(ctx: Context, p: Params) -> Result:
    bucket, encode = bucket_of(ctx, p), encoder(p)
    limit = limit_of(p, "MaxUploads", "max-uploads")
    marker, after_upload = p.get("KeyMarker") or "", p.get("UploadIdMarker") or ""
    asked, opaque = marker, is_directory(bucket.name)
    if opaque:
        directory_listing.check_listing(p)
        marker, after_upload = directory_listing.read_marker(marker)
    elif marker and after_upload:
        _check_marker(ctx, bucket, marker, after_upload)
    page = ctx.objects.list_uploads(
        bucket.number,
        prefix=p.get("Prefix") or "",
        delimiter=p.get("Delimiter") or "",
        after=marker,
        after_upload=after_upload if marker else "",
        limit=limit,
    )
    result = common(bucket, p, encode, page, limit)
    result |= {
        "Bucket": bucket.name,
        "KeyMarker": encode(asked),
        "UploadIdMarker": "" if opaque or not marker else after_upload,
        "MaxUploads": limit,
    }
    uploads = []
    for entry in page.entries:
        plan = orjson.loads(entry.facts)
        one: dict[str, Any] = {
            "UploadId": entry.id,
            "Key": encode(entry.key.decode()),
            "Initiated": moment(entry.opened),
            "StorageClass": entry.storage or "STANDARD",
            "Owner": owner(ctx, object_owner(bucket, entry.owner)),
            "Initiator": shown_initiator(plan["initiator"]),
        }
        if plan.get("algorithm"):
            one |= {"ChecksumAlgorithm": plan["algorithm"], "ChecksumType": plan["type"]}
        uploads.append(one)
    result["Uploads"] = uploads
    if not result["Prefix"]:
        del result["Prefix"]
    # AWS tells where a page ends, though it be the last one.
    result["NextKeyMarker"] = encode(last_key(page)) if page.more else uploads[-1]["Key"] if uploads else ""
    result["NextUploadIdMarker"] = uploads[-1]["UploadId"] if uploads else ""
    if page.more and isinstance(page.last, bytes):
        result["NextUploadIdMarker"] = ""
    if opaque:
        upload = result.pop("NextUploadIdMarker")
        result["NextKeyMarker"] = directory_listing.marker(last_key(page), upload) if page.more else ""
        del result["UploadIdMarker"]
    return result


def _check_marker(ctx: Context, bucket: Known, key: str, upload: str) -> None:
    """An upload behind which a listing begins must be one to the key of the other marker."""
    try:
        ctx.objects.upload(bucket.number, key, upload)
    except Missing:
        raise faults.invalid_argument("Invalid uploadId marker", "upload-id-marker", upload) from None
