"""Requests as access logs tell of them, put together only where a log is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from compat.cloud import Cloud
from compat.context import Call
from compat.errors import AWSError
from gateway.wire.xmlread import local, parse

if TYPE_CHECKING:
    from compat.s3.copying import Source
    from gateway.exchange import Exchange

COPIES = {"CopyObject": "REST.COPY.OBJECT_GET", "UploadPartCopy": "REST.COPY.PART_GET"}
STATUSES = {"AccessDenied": 403, "NoSuchVersion": 404, "PreconditionFailed": 412}
HOW = {"header": "AuthHeader", "query": "QueryString", "post": "AuthHeader"}


def note(cloud: Cloud, exchange: Exchange, status: int, seconds: float) -> None:
    """Tell the log of the bucket that an exchange was about, if it keeps one."""
    from compat.s3.access_log import Visit, name_of  # with much of S3, which answered the request
    from compat.s3.access_log import note as note_visit

    route, head = exchange.route, exchange.head
    bucket = route.path.get("Bucket") if route is not None else None
    if route is None or not bucket:
        return
    sent = dict(exchange.sent.headers) if exchange.sent is not None else {}
    call = exchange.call
    length = _number(sent.get(b"content-length"))
    whole = (sent.get(b"content-range") or b"").rpartition(b"/")[2]
    written = route.operation in ("PutObject", "UploadPart", "PostObject")
    taken = head.view.get(b"x-amz-decoded-content-length") or head.view.get(b"content-length")
    read = route.operation in ("GetObject", "HeadObject")
    size = _number(
        taken if written else None if not read else whole if whole.isdigit() else sent.get(b"content-length")
    )
    query = f"?{head.raw_query.decode('latin-1')}" if head.raw_query else ""
    anonymous = exchange.principal.is_anonymous
    visit = Visit(
        operation=name_of(route.operation, route.style == "website"),
        key=route.path.get("Key"),
        at=cloud.database.clock(),
        principal=exchange.principal,
        source_ip=head.client or "127.0.0.1",
        request_id=exchange.request_id,
        request=f"{head.method} {head.raw_path.decode('latin-1')}{query} HTTP/1.1",
        status=status,
        error=exchange.fault,
        sent=0 if head.method == "HEAD" else length,
        size=size if route.path.get("Key") and exchange.fault is None else None,
        milliseconds=round(seconds * 1000),
        referer=head.text(b"referer"),
        user_agent=head.text(b"user-agent"),
        version=_text(sent.get(b"x-amz-version-id")),
        signature=None if anonymous or call is None else _signature(call),
        how=None if anonymous or call is None else HOW.get(call.auth_type),
        host=head.host,
        tls=head.tls,
        region=cloud.rules.default_region if call is None else call.region,
    )
    note_visit(cloud, bucket, visit)
    if call is not None and route.operation in COPIES and (source := _source(call)) is not None:
        # A copy is a read, too, and told as one to the bucket that is read.
        place = f"/{source.bucket}/{quote(source.key, safe='/')}"
        got = visit._replace(
            operation=COPIES[route.operation],
            key=source.key,
            request=f"GET {place} HTTP/1.1",
            version=source.version,
            sent=None,
            size=None,
        )
        note_visit(cloud, source.bucket, got)
    if call is not None and route.operation == "DeleteObjects" and exchange.fault is None:
        faults = _faults(exchange)
        for one in call.params.get("Delete", {}).get("Objects") or ():
            key, version = one.get("Key") or "", one.get("VersionId")
            error, status = faults.get((key, version or "")), 204
            if error is not None:
                status = STATUSES.get(error, 400)
            about = visit._replace(
                operation="BATCH.DELETE.OBJECT", key=key, version=version, status=status, error=error
            )
            note_visit(cloud, bucket, about._replace(request="", sent=None, referer="", user_agent=""))


def _source(call: Call) -> Source | None:
    from compat.s3.copying import source_of

    try:
        return source_of(call.params)
    except AWSError:
        return None


def _faults(exchange: Exchange) -> dict[tuple[str, str], str]:
    """The codes of what a call could not delete, by key and version, out of its answer."""
    body = exchange.sent.body if exchange.sent is not None else b""
    if not isinstance(body, bytes) or b"<Error>" not in body:
        return {}
    found: dict[tuple[str, str], str] = {}
    for one in parse(body):
        if local(one.tag) == "Error":
            about = {local(part.tag): part.text or "" for part in one}
            found[about.get("Key", ""), about.get("VersionId", "")] = about.get("Code", "")
    return found


def _signature(call: Call) -> str:
    return "SigV4" if call.signature_version.startswith("AWS4") else "SigV2"


def _number(value: bytes | None) -> int | None:
    return int(value) if value is not None and value.isdigit() else None


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
