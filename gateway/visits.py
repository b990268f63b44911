"""Requests as access logs tell of them, put together only where a log is kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat.cloud import Cloud
from compat.context import Call

if TYPE_CHECKING:
    from gateway.exchange import Exchange

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
    size = _number(taken if written else whole if whole.isdigit() else sent.get(b"content-length"))
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
    )
    note_visit(cloud, bucket, visit)


def _signature(call: Call) -> str:
    return "SigV4" if call.signature_version.startswith("AWS4") else "SigV2"


def _number(value: bytes | None) -> int | None:
    return int(value) if value is not None and value.isdigit() else None


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("latin-1")
