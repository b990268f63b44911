"""Error envelopes, one for each protocol, and the fault that a reader raises."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson

from compat.model import SERVICES
from gateway.lines import Headers
from gateway.wire import cbor
from gateway.wire.faults import WireFault as WireFault
from gateway.wire.message import XML, XML_REST, WireResponse
from gateway.wire.rest import header_bytes
from gateway.wire.scalars import escape

_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
_S3CONTROL_NAMESPACE = "http://awss3control.amazonaws.com/doc/2018-08-20/"


def encode_error(
    service: str,
    code: str,
    message: str,
    status: int,
    fields: Mapping[str, Any] | None = None,
    request_id: str = "",
    host_id: str = "",
    *,
    protocol: str = "",
    head: bool = False,
) -> WireResponse:
    """The error as the service sends it. `protocol` matters only where a service speaks several; `head` drops the body.

    `fields` become further members of the error document, in the order given. Never raises for any text.
    """
    known = SERVICES.get(service)
    spoken = protocol or (known.protocol if known is not None else "rest-xml")
    extra = {name: value for name, value in (fields or {}).items() if value is not None}
    headers: Headers
    if spoken == "ec2":
        headers, body = [XML], _ec2(code, message, extra, request_id)
    elif spoken == "query":
        headers, body = [XML], _query(service, code, message, status, extra, request_id)
    elif spoken == "rest-xml" and service == "s3control":
        headers, body = [XML_REST], _s3control(code, message, extra, request_id, host_id)
    elif spoken == "rest-xml":
        headers, body = [XML_REST], _s3(code, message, extra, request_id, host_id)
    elif spoken == "smithy-rpc-v2-cbor":
        headers = [(b"content-type", b"application/cbor"), (b"smithy-protocol", b"rpc-v2-cbor")]
        headers += _query_error(service, code, status)
        body = cbor.dumps({"__type": code, "message": message, **extra})
    else:
        headers, body = _json(service, spoken, code, message, status, extra)
    wire_id = request_id.encode("ascii", "replace")
    if spoken == "rest-xml":
        headers += [(b"x-amz-request-id", wire_id), (b"x-amz-id-2", (host_id or request_id).encode("ascii", "replace"))]
    else:
        headers.append((b"x-amzn-requestid", wire_id))
    if head or status == 304:
        return WireResponse(status, headers)
    headers.append((b"content-length", b"%d" % len(body)))
    return WireResponse(status, headers, body)


def _members(fields: Mapping[str, Any]) -> str:
    return "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items())


def _ec2(code: str, message: str, fields: Mapping[str, Any], request_id: str) -> bytes:
    text = (
        f"{_DECLARATION}<Response><Errors><Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message>"
        f"{_members(fields)}</Error></Errors><RequestID>{escape(request_id)}</RequestID></Response>"
    )
    return text.encode("utf-8", "replace")


def _query(service: str, code: str, message: str, status: int, fields: Mapping[str, Any], request_id: str) -> bytes:
    namespace = f' xmlns="{SERVICES[service].namespace}"' if service in SERVICES else ""
    side = "Sender" if status < 500 else "Receiver"
    text = (
        f"<ErrorResponse{namespace}><Error><Type>{side}</Type><Code>{escape(code)}</Code>"
        f"<Message>{escape(message)}</Message>{_members(fields)}</Error>"
        f"<RequestId>{escape(request_id)}</RequestId></ErrorResponse>"
    )
    return text.encode("utf-8", "replace")


def _s3(code: str, message: str, fields: Mapping[str, Any], request_id: str, host_id: str) -> bytes:
    text = (
        f"{_DECLARATION}<Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message>{_members(fields)}"
        f"<RequestId>{escape(request_id)}</RequestId><HostId>{escape(host_id or request_id)}</HostId></Error>"
    )
    return text.encode("utf-8", "replace")


def _s3control(code: str, message: str, fields: Mapping[str, Any], request_id: str, host_id: str) -> bytes:
    text = (
        f'{_DECLARATION}<ErrorResponse xmlns="{_S3CONTROL_NAMESPACE}"><Error><Code>{escape(code)}</Code>'
        f"<Message>{escape(message)}</Message>{_members(fields)}</Error><RequestId>{escape(request_id)}</RequestId>"
        f"<HostId>{escape(host_id or request_id)}</HostId></ErrorResponse>"
    )
    return text.encode("utf-8", "replace")


def _json(
    service: str, protocol: str, code: str, message: str, status: int, fields: Mapping[str, Any]
) -> tuple[Headers, bytes]:
    if protocol == "rest-json":
        headers = [(b"content-type", b"application/json"), (b"x-amzn-errortype", header_bytes(code))]
        document: dict[str, Any] = {"message": message, **fields}
    else:
        version = b"1.0" if service == "cloudwatch" else b"1.1"
        headers = [(b"content-type", b"application/x-amz-json-" + version), *_query_error(service, code, status)]
        document = {"__type": code, "message": message, **fields}
    return headers, _dump(document)


def _dump(document: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(document, default=str)
    except (TypeError, orjson.JSONEncodeError):
        # Lone surrogates have no UTF-8.
        safe = {name: str(value).encode("utf-8", "replace").decode() for name, value in document.items()}
        return orjson.dumps(safe)


def _query_error(service: str, code: str, status: int) -> Headers:
    known = SERVICES.get(service)
    if known is None or known.name != "cloudwatch":
        return []
    side = b"Sender" if status < 500 else b"Receiver"
    return [(b"x-amzn-query-error", header_bytes(code) + b";" + side)]
