"""The `rest-xml` protocol: S3 and S3 Control."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from botocore.model import OperationModel, Shape, StructureShape

from gateway.lines import Headers
from gateway.wire import xmlread
from gateway.wire.eventstream import EventWriter
from gateway.wire.faults import WireFault
from gateway.wire.message import XML_REST, Encoded, WireRequest
from gateway.wire.rest import Locations, ResultHeaders, payload_of
from gateway.wire.scalars import escape
from gateway.wire.xmlread import XmlReader
from gateway.wire.xmlwrite import XmlWriter

_DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
_NAMESPACES = {
    "s3": "http://s3.amazonaws.com/doc/2006-03-01/",
    "s3control": "http://awss3control.amazonaws.com/doc/2018-08-20/",
}
# The root elements that S3 sends where the model has none, or a name of its own making.
_ROOTS = {
    "ListBuckets": "ListAllMyBucketsResult",
    "ListDirectoryBuckets": "ListAllMyDirectoryBucketsResult",
    "ListObjects": "ListBucketResult",
    "ListObjectsV2": "ListBucketResult",
    "ListObjectVersions": "ListVersionsResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "ListParts": "ListPartsResult",
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "DeleteObjects": "DeleteResult",
    "GetBucketAcl": "AccessControlPolicy",
    "GetObjectAcl": "AccessControlPolicy",
    "GetBucketTagging": "Tagging",
    "GetObjectTagging": "Tagging",
    "GetBucketVersioning": "VersioningConfiguration",
    "GetBucketCors": "CORSConfiguration",
    "GetBucketLifecycle": "LifecycleConfiguration",
    "GetBucketLifecycleConfiguration": "LifecycleConfiguration",
    "GetBucketWebsite": "WebsiteConfiguration",
    "GetBucketLogging": "BucketLoggingStatus",
    "GetBucketNotification": "NotificationConfiguration",
    "GetBucketNotificationConfiguration": "NotificationConfiguration",
    "GetBucketRequestPayment": "RequestPaymentConfiguration",
    "GetBucketAccelerateConfiguration": "AccelerateConfiguration",
    "GetObjectAttributes": "GetObjectAttributesResponse",
}
_NUMBERS = frozenset({"max-keys", "max-uploads", "max-parts", "part-number-marker", "partNumber", "max-buckets"})
_JSON_PAYLOADS = frozenset({"Policy"})


def malformed() -> WireFault:
    """A body that is no XML, or not the XML of the operation."""
    return WireFault(
        "MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema"
    )


def _invalid(wire: str, text: str) -> WireFault:
    return WireFault(
        "InvalidArgument",
        f"Provided {wire} not an integer or within integer range" if wire in _NUMBERS else f"Invalid argument: {wire}",
        ArgumentName=wire,
        ArgumentValue=text,
    )


@cache
def _readers(service: str) -> XmlReader:
    return XmlReader()


@cache
def _writers(service: str) -> XmlWriter:
    return XmlWriter(lists_last=True)  # a listing names its bucket and owner before what is in it: some SDKs need that


def reader(operation: OperationModel) -> Callable[[WireRequest], dict[str, Any]]:
    """Path, query, headers and body to parameters. A streamed payload is left unread."""
    shape = operation.input_shape
    if shape is None:
        return lambda request: {}
    locations = Locations(shape, _invalid)
    body = _body_reader(_readers(operation.service_model.service_name), shape)

    def of_request(request: WireRequest) -> dict[str, Any]:
        found: dict[str, Any] = {}
        locations.read(request, found)
        if body is not None and request.body:
            body(request.body, found)
        return found

    return of_request


def _body_reader(readers: XmlReader, shape: StructureShape) -> Callable[[bytes, dict[str, Any]], None] | None:
    payload = payload_of(shape)
    if payload is None:
        if all("location" in member.serialization for member in shape.members.values()):
            return None
        whole = readers.structure(shape)

        def members(body: bytes, into: dict[str, Any]) -> None:
            try:
                into.update(whole(xmlread.parse(body)))
            except ValueError:
                raise malformed() from None

        return members
    name, member = payload
    if member.type_name == "blob":
        return None
    if not isinstance(member, StructureShape):
        return lambda body, into: into.update({name: _text(body)})
    inner = readers.structure(member)
    expected = str(member.serialization.get("name", name))

    def one(body: bytes, into: dict[str, Any]) -> None:
        try:
            root = xmlread.parse(body)
            if xmlread.local(root.tag) != expected:
                raise malformed()
            into[name] = inner(root)
        except ValueError:
            raise malformed() from None

    return one


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError:
        raise WireFault("InvalidArgument", "The body is not UTF-8.") from None


def writer(operation: OperationModel) -> Callable[[Mapping[str, Any]], Encoded]:
    """Result to headers and XML, or to headers and the stream that is the payload."""
    shape = operation.output_shape
    about = ResultHeaders(operation)
    body = _body_writer(operation, shape) if shape is not None else None
    head = operation.http.get("method") == "HEAD"
    payload = payload_of(shape)
    stream = payload[0] if payload is not None and _is_stream(payload[1]) else None
    events = None
    if payload is not None and payload[1].serialization.get("eventstream"):
        assert isinstance(payload[1], StructureShape)
        events = EventWriter(payload[1], _writers(operation.service_model.service_name))
    # A part of an object is announced by its range, which the model has, and by a status, which it has not.
    partial = shape is not None and "ContentRange" in shape.members

    def encode(result: Mapping[str, Any]) -> Encoded:
        headers: Headers = []
        status = about.write(result, headers)
        if partial and status == 200 and result.get("ContentRange") is not None:
            status = 206
        answer = Encoded(status, headers, id_header=b"x-amz-request-id", host_id=True)
        if events is not None and stream is not None:
            answer.stream = events.stream(result[stream])
            headers.append((b"transfer-encoding", b"chunked"))
        elif stream is not None:
            _place_stream(answer, result.get(stream))
        elif body is not None and not head:
            answer.before = body(result, headers)
        answer.counted = not head and status != 204 and answer.counted
        return answer

    return encode


def _is_stream(shape: Shape) -> bool:
    return shape.type_name == "blob" or bool(shape.serialization.get("eventstream"))


def _place_stream(answer: Encoded, value: Any) -> None:
    if value is None or isinstance(value, (bytes, bytearray)):
        answer.before = bytes(value or b"")
    else:
        answer.stream = value
    answer.counted = answer.stream is None and not any(name == b"content-length" for name, _ in answer.headers)


def _body_writer(
    operation: OperationModel, shape: StructureShape
) -> Callable[[Mapping[str, Any], Headers], bytes] | None:
    service = operation.service_model.service_name
    writers = _writers(service)
    namespace = _NAMESPACES[service]
    payload = payload_of(shape)
    if operation.name == "GetBucketLocation":
        return _location
    if payload is not None and _is_stream(payload[1]):
        return None
    if payload is not None and not isinstance(payload[1], StructureShape):
        return _text_payload(payload[0])
    inner = payload[1] if payload is not None else shape
    if payload is None and not _has_body(shape):
        return None
    assert isinstance(inner, StructureShape)
    default = inner.serialization.get("name") or (payload[0] if payload is not None else f"{operation.name}Result")
    root = str(_ROOTS.get(operation.name, default))
    write = writers.structure(inner)
    start, end = f'{_DECLARATION}<{root} xmlns="{namespace}">', f"</{root}>"

    def encode(result: Mapping[str, Any], headers: Headers) -> bytes:
        value = result if payload is None else result.get(payload[0])
        if value is None:
            return b""
        headers.append(XML_REST)
        pieces = [start]
        write(value, pieces.append)
        pieces.append(end)
        return "".join(pieces).encode("utf-8", "replace")

    return encode


def _has_body(shape: StructureShape) -> bool:
    return any("location" not in member.serialization for member in shape.members.values())


def _text_payload(name: str) -> Callable[[Mapping[str, Any], Headers], bytes]:
    kind = b"application/json" if name in _JSON_PAYLOADS else b"text/plain"

    def encode(result: Mapping[str, Any], headers: Headers) -> bytes:
        headers.append((b"content-type", kind))
        return str(result.get(name) or "").encode("utf-8", "replace")

    return encode


def _location(result: Mapping[str, Any], headers: Headers) -> bytes:
    """S3 answers the constraint as the text of the root element, which no shape can say."""
    headers.append(XML_REST)
    place = result.get("LocationConstraint")
    start = f'{_DECLARATION}<LocationConstraint xmlns="{_NAMESPACES["s3"]}"'
    return f"{start}>{escape(place)}</LocationConstraint>".encode() if place else f"{start}/>".encode()
