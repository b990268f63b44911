"""AWS's event stream: each event a message of binary headers and a payload, with checksums of its own.

Format: https://smithy.io/2.0/aws/amazon-eventstream.html
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.model import StructureShape

from compat.errors import AWSError
from compat.streams import Events, Stream
from gateway.wire.xmlwrite import XmlWriter

_STRING = 7


def message(headers: Mapping[str, str], payload: bytes = b"") -> bytes:
    """One message."""
    packed = b"".join(
        bytes((len(name),)) + name.encode() + struct.pack("!BH", _STRING, len(value.encode())) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(packed) + len(payload), len(packed))
    head = prelude + struct.pack("!I", zlib.crc32(prelude)) + packed + payload
    return head + struct.pack("!I", zlib.crc32(head))


class EventWriter:
    """Writes the events of one event stream shape, payloads as XML."""

    def __init__(self, shape: StructureShape, writers: XmlWriter) -> None:
        self._events = {name: _payload(member, writers) for name, member in shape.members.items()}

    def stream(self, events: Events) -> Stream:
        """The events as bytes of unknown length. An `error` event ends them."""
        return Stream(None, self._frames(events.events), events.close)

    def _frames(self, events: Iterator[tuple[str, Any]]) -> Iterator[bytes]:
        for name, value in events:
            if name == "error":
                assert isinstance(value, AWSError)
                told = {":message-type": "error", ":error-code": value.code, ":error-message": value.message[:1000]}
                yield message(told)
                return
            kind, encode = self._events[name]
            headers = {":message-type": "event", ":event-type": name}
            if kind:
                headers[":content-type"] = kind
            yield message(headers, encode(value))


def _payload(event: Any, writers: XmlWriter) -> tuple[str, Callable[[Mapping[str, Any]], bytes]]:
    """The content type and the encoder of an event's payload."""
    for name, member in event.members.items():
        if not member.serialization.get("eventpayload"):
            continue
        if member.type_name == "blob":
            return "application/octet-stream", lambda value, name=name: bytes(value[name])
        return "text/xml", _document(event.name.removesuffix("Event"), name, writers.structure(member))
    return "", lambda value: b""


def _document(
    root: str, name: str, write: Callable[[Any, Callable[[str], Any]], Any]
) -> Callable[[Mapping[str, Any]], bytes]:
    def encode(value: Mapping[str, Any]) -> bytes:
        pieces = [f'<{root} xmlns="">']
        write(value[name], pieces.append)
        return "".join([*pieces, f"</{root}>"]).encode()

    return encode
