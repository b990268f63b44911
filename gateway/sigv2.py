"""Signature version 2 of S3, for old clients: `Authorization: AWS key:signature`, and presigned queries."""

from __future__ import annotations

import base64
import hmac
from datetime import UTC, datetime
from urllib.parse import unquote_to_bytes

from gateway.authenticated import SKEW, V2, Authenticated, Lookup, moment_of_date, proven, same
from gateway.head import Head
from gateway.signature_faults import Fault, SignatureFault

# Query parameters that name a part of the resource, and those that override headers of the answer.
SUBRESOURCES = frozenset(
    {
        "accelerate",
        "acl",
        "analytics",
        "cors",
        "defaultObjectAcl",
        "delete",
        "encryption",
        "inventory",
        "lifecycle",
        "location",
        "logging",
        "metrics",
        "notification",
        "object-lock",
        "partNumber",
        "policy",
        "policyStatus",
        "publicAccessBlock",
        "replication",
        "requestPayment",
        "restore",
        "retention",
        "legal-hold",
        "select",
        "select-type",
        "storageClass",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "website",
        "attributes",
        "intelligent-tiering",
        "ownershipControls",
        "append",
        "position",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
    }
)


def authenticate_header(
    head: Head, header: bytes, lookup: Lookup, now: datetime, service: str, host_bucket: str
) -> Authenticated:
    """Who signed an `Authorization: AWS key:signature`. Raises `SignatureFault`."""
    text = header.decode("latin-1")
    kind, _, rest = text.partition(" ")
    if kind != "AWS":
        raise SignatureFault(Fault.TYPE, authorization=text)
    if service not in ("", "s3"):
        raise SignatureFault(Fault.UNSUPPORTED, algorithm="AWS")
    access_key, colon, signature = rest.strip().rpartition(":")
    if not colon or not access_key or not signature:
        raise SignatureFault(Fault.HEADER_2, authorization=text)
    given = head.view.get(b"x-amz-date", head.view.get(b"date"))
    signed_at = None if given is None else moment_of_date(given.decode("latin-1").strip())
    if signed_at is None or signed_at.year < 1970:
        raise SignatureFault(Fault.NO_DATE)
    if abs(now - signed_at) > SKEW:
        raise SignatureFault(Fault.SKEWED, requested=signed_at, now=now)
    date = "" if b"x-amz-date" in head.view else head.text(b"date")
    token = head.text(b"x-amz-security-token") or None
    return _verify(head, access_key, signature, token, date, lookup, now, "header", signed_at, host_bucket)


def authenticate_query(head: Head, lookup: Lookup, now: datetime, host_bucket: str) -> Authenticated:
    """Who signed a query with `AWSAccessKeyId`, `Expires` and `Signature`. Raises `SignatureFault`."""
    query = head.query
    expires = query.get("Expires", "")
    whole = query.get("AWSAccessKeyId") and query.get("Signature")
    if not whole or not (expires.isascii() and expires.isdigit() and len(expires) < 12):
        raise SignatureFault(Fault.QUERY_2)
    ends = datetime.fromtimestamp(int(expires), UTC)
    if now > ends:
        raise SignatureFault(Fault.EXPIRED, seconds=None, expires=ends, requested=ends, now=now)
    token = query.get("x-amz-security-token") or head.text(b"x-amz-security-token") or None
    return _verify(
        head, query["AWSAccessKeyId"], query["Signature"], token, expires, lookup, now, "query", now, host_bucket
    )


def _verify(
    head: Head,
    access_key: str,
    signature: str,
    token: str | None,
    date: str,
    lookup: Lookup,
    now: datetime,
    how: str,
    signed_at: datetime,
    host_bucket: str,
) -> Authenticated:
    credential = proven(access_key, token, lookup, now)
    to_sign = _to_sign(head, _resource(head, host_bucket), date, query=how == "query")
    right = sign(credential.secret, to_sign.encode("latin-1"))
    if not same(right, signature) and not host_bucket and head.raw_path.count(b"/") == 1 and len(head.raw_path) > 1:
        # Clients sign the name of a bucket as its virtual host would have it, with a slash behind it.
        resource = _resource(head, "").replace(
            head.raw_path.decode("latin-1"), head.raw_path.decode("latin-1") + "/", 1
        )
        right = sign(credential.secret, _to_sign(head, resource, date, query=how == "query").encode("latin-1"))
    if not same(right, signature):
        raise SignatureFault(
            Fault.MISMATCH, access_key=access_key, string_to_sign=to_sign, canonical_request=None, provided=signature
        )
    return Authenticated(access_key, credential, how, V2, signed_at, signature=right)


def sign(secret: str, to_sign: bytes) -> str:
    """The signature of a string: HMAC-SHA1, base64."""
    key = secret.encode("utf-8", "surrogateescape")
    return base64.b64encode(hmac.digest(key, to_sign, "sha1")).decode()


def _to_sign(head: Head, resource: str, date: str, *, query: bool) -> str:
    """The string to sign. Old clients move `x-amz-` headers, type and MD5 of a presigned request into its query."""
    amz: dict[str, list[str]] = {}
    for name, value in head.headers:
        if name.startswith(b"x-amz-"):
            amz.setdefault(name.decode("latin-1"), []).append(" ".join(value.decode("latin-1").split()))
    moved = dict(head.query_bytes) if query else {}
    for name, value in moved.items():
        if name.startswith(b"x-amz-"):
            amz.setdefault(name.decode("latin-1"), [value.decode("latin-1")])
    lines = [
        head.method,
        head.text(b"content-md5") or moved.get(b"content-md5", b"").decode("latin-1"),
        head.text(b"content-type") or moved.get(b"content-type", b"").decode("latin-1"),
        date,
    ]
    lines += [f"{name}:{','.join(values)}" for name, values in sorted(amz.items())]
    return "\n".join(lines) + "\n" + resource


def _resource(head: Head, host_bucket: str) -> str:
    """The canonical resource: the bucket (also when it came in the host), the path as sent, the sub-resources."""
    parts = []
    for piece in head.raw_query.split(b"&"):
        name, equals, value = piece.partition(b"=")
        key = name.decode("latin-1")
        if key in SUBRESOURCES:
            parts.append((key, equals.decode() + unquote_to_bytes(value.replace(b"+", b" ")).decode("latin-1")))
    parts.sort()
    query = "&".join([name + value for name, value in parts])
    path = head.raw_path.decode("latin-1") or "/"
    if host_bucket:
        path = f"/{host_bucket}{path}"
    return f"{path}?{query}" if query else path
