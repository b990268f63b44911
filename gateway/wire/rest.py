"""What both REST protocols share: parameters in the path, the query and headers, and results in headers."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from botocore.model import ListShape, OperationModel, Shape, StructureShape

from gateway.lines import Headers
from gateway.wire import scalars
from gateway.wire.faults import WireFault
from gateway.wire.message import WireRequest

Fault = Callable[[str, str], WireFault]
"""Makes the fault for a parameter: its wire name, and the text that is no value of its type."""

_CONDITIONS = frozenset({"if-modified-since", "if-unmodified-since"})
_MAY_BE_EMPTY = frozenset({"part-number-marker", "max-parts"})
LATIN = frozenset(
    b"cache-control content-disposition content-encoding content-language content-type expires "
    b"x-amz-website-redirect-location".split()
)
"""Headers, in lower case, that an object only keeps: as Latin-1, as HTTP has them."""
STATUS = "$status"
"""A result may set the status of its answer under this name, where AWS has several for one operation."""
HEADERS = "$headers"
"""A result may set headers here that the model does not have."""


def _utf8(text: str, wire: str, fault: Fault) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise fault(wire, "") from None
    return text


def header_text(value: bytes, name: bytes = b"") -> str:
    """The value of the header `name`, without white space around it: Latin-1 for those in `LATIN`, so that their bytes
    come back as they were; else UTF-8 where it is."""
    if name in LATIN:
        return value.decode("latin-1").strip()
    try:
        return value.decode("utf-8").strip()
    except UnicodeDecodeError:
        return value.decode("latin-1").strip()


def split_header_list(text: str) -> list[str]:
    """The elements of a header that is a list; elements may be quoted, with backslashes inside the quotes."""
    if '"' not in text:
        return [element.strip() for element in text.split(",") if element.strip()]
    elements, current, quoted, at = [], "", False, 0
    while at < len(text):
        character = text[at]
        if quoted and character == "\\" and at + 1 < len(text):
            current += text[at + 1]
            at += 1
        elif character == '"':
            quoted = not quoted
        elif character == "," and not quoted:
            elements.append(current.strip())
            current = ""
        else:
            current += character
        at += 1
    return [element for element in [*elements, current.strip()] if element]


def split_dates(text: str) -> list[str]:
    """The elements of a header that is a list of HTTP dates, each of which has a comma of its own."""
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 1 and len(parts[0]) == 3:
        return [f"{day}, {rest}" for day, rest in zip(parts[::2], parts[1::2], strict=False)]
    return parts


class Locations:
    """The members of an operation's input that stand outside the body, compiled; `read` fills a dictionary."""

    def __init__(self, shape: StructureShape, fault: Fault) -> None:
        self._fault = fault
        self._path: list[tuple[str, str, Callable[[str], Any] | None]] = []
        self._query: dict[str, tuple[str, Callable[[str], Any] | None, bool]] = {}
        self._headers: dict[bytes, tuple[str, Callable[[str], Any] | None]] = {}
        self._prefixes: list[tuple[str, bytes]] = []
        for name, member in shape.members.items():
            place = member.serialization.get("location")
            wire = str(member.serialization.get("name", name))
            if place == "uri":
                self._path.append((name, wire, scalars.READERS.get(member.type_name)))
            elif place == "querystring":
                element = member.member if isinstance(member, ListShape) else member
                self._query[wire] = (name, scalars.READERS.get(element.type_name), element is not member)
            elif place == "header":
                self._headers[wire.lower().encode()] = (name, _header_converter(member))
            elif place == "headers":
                self._prefixes.append((name, wire.lower().encode()))

    def read(self, request: WireRequest, into: dict[str, Any]) -> None:
        """Adds every member that the request carries."""
        for name, wire, convert in self._path:
            text = request.path.get(wire)
            if text is not None:
                into[name] = self._converted(text, wire, convert)
        if request.head.raw_query:
            self._read_query(request, into)
        find = self._headers.get
        for header, value in request.head.view.items():
            entry = find(header)
            if entry is not None:
                converted = self._converted(header_text(value, header), header.decode(), entry[1])
                if converted is not None:
                    into[entry[0]] = converted
            elif self._prefixes:
                for name, prefix in self._prefixes:
                    if header.startswith(prefix):
                        into.setdefault(name, {})[header[len(prefix) :].decode("latin-1")] = header_text(value)

    def _read_query(self, request: WireRequest, into: dict[str, Any]) -> None:
        find = self._query.get
        for wire, text in request.head.query.items():
            entry = find(wire)
            if entry is None:
                continue
            name, convert, many = entry
            if not text and wire in _MAY_BE_EMPTY:
                continue
            if many:
                into[name] = [
                    self._converted(value.decode("utf-8", "surrogateescape"), wire, convert)
                    for key, value in request.head.query_bytes
                    if key.decode("utf-8", "surrogateescape") == wire
                ]
            else:
                into[name] = self._converted(text, wire, convert)

    def _converted(self, text: str, wire: str, convert: Callable[[str], Any] | None) -> Any:
        if convert is None:
            return _utf8(text, wire, self._fault)
        try:
            return convert(text)
        except ValueError:
            raise self._fault(wire, text.encode("utf-8", "replace").decode()) from None


def _header_converter(shape: Shape) -> Callable[[str], Any] | None:
    name = str(shape.serialization.get("name")).lower()
    if name in _CONDITIONS:
        return _date_or_nothing
    if name == "expires":
        return _date_or_text
    if shape.serialization.get("jsonvalue"):
        return _json_value
    if not isinstance(shape, ListShape):
        return scalars.READERS.get(shape.type_name)
    convert = scalars.READERS.get(shape.member.type_name)
    if convert is None:
        return split_header_list
    split = split_dates if shape.member.type_name == "timestamp" else split_header_list
    return lambda text: [convert(element) for element in split(text)]


def _date_or_nothing(text: str) -> Any:
    """A date; HTTP says that an invalid one is no condition."""
    try:
        return scalars.read_timestamp(text)
    except ValueError:
        return None


def _date_or_text(text: str) -> Any:
    """A date, or the text itself: S3 keeps whatever an uploader says of expiry."""
    return _date_or_nothing(text) or _utf8(text, "expires", _not_text)


def _not_text(wire: str, text: str) -> WireFault:
    return WireFault("InvalidArgument", f"Invalid argument: {wire}", ArgumentName=wire, ArgumentValue=text)


def _json_value(text: str) -> Any:
    try:
        return orjson.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, orjson.JSONDecodeError) as fault:
        raise ValueError(text) from fault


def payload_of(shape: StructureShape | None) -> tuple[str, Shape] | None:
    """The member that is the whole body, or None."""
    if shape is None:
        return None
    name = shape.serialization.get("payload")
    return (str(name), shape.members[name]) if name else None


def streamed(shape: StructureShape | None) -> str | None:
    """The name of the payload member that is a stream of bytes, or None."""
    payload = payload_of(shape)
    return payload[0] if payload is not None and payload[1].type_name == "blob" else None


class ResultHeaders:
    """The members of an operation's output that become headers or the status."""

    def __init__(self, operation: OperationModel) -> None:
        self.status = int(operation.http.get("responseCode", 200))
        self._status_member = STATUS
        self._headers: dict[str, tuple[bytes, Callable[[Any], str]]] = {}
        self._prefixes: list[tuple[str, str]] = []
        shape = operation.output_shape
        for name, member in shape.members.items() if shape is not None else ():
            place = member.serialization.get("location")
            wire = str(member.serialization.get("name", name))
            if place == "statusCode":
                self._status_member = name
            elif place == "header":
                self._headers[name] = (wire.lower().encode(), _header_writer(member))
            elif place == "headers":
                self._prefixes.append((name, wire.lower()))

    def write(self, result: Mapping[str, Any], headers: Headers) -> int:
        """Adds the headers; gives the status."""
        find = self._headers.get
        for name, value in result.items():
            entry = find(name)
            if entry is not None and value is not None:
                headers.append((entry[0], header_bytes(entry[1](value))))
        for name, prefix in self._prefixes:
            for key, value in (result.get(name) or {}).items():
                headers.append((header_bytes(prefix + key.lower()), header_bytes(value)))
        for key, value in (result.get(HEADERS) or {}).items():
            headers.append((header_bytes(key), header_bytes(value)))
        return int(result.get(self._status_member) or result.get(STATUS) or self.status)


def _date_text(value: Any) -> str:
    """An HTTP date; a text goes as it is, for `Expires` is whatever the uploader said."""
    return value if isinstance(value, str) else scalars.http_date(value)


def header_bytes(text: str) -> bytes:
    """A header's name or value as bytes, with what would end the line replaced by spaces: Latin-1 where it can be, else
    UTF-8."""
    if text.isascii() and text.isprintable():
        return text.encode()
    text = text.replace("\r", " ").replace("\n", " ").replace("\0", " ")
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace")


def _header_writer(shape: Shape) -> Callable[[Any], str]:
    kind = shape.type_name
    if shape.serialization.get("jsonvalue"):
        return lambda value: base64.b64encode(orjson.dumps(value)).decode()
    if isinstance(shape, ListShape):
        inner = _header_writer(shape.member)
        return lambda value: ",".join(inner(element) for element in value)
    if kind == "boolean":
        return lambda value: "true" if value else "false"
    if kind == "timestamp":
        style = str(shape.serialization.get("timestampFormat", "rfc822")).lower()
        if style == "iso8601":
            return scalars.iso_milliseconds
        return _date_text if style == "rfc822" else lambda value: str(scalars.epoch(value))
    if kind in ("float", "double"):
        return scalars.write_float
    if kind == "blob":
        return scalars.write_blob
    return str
