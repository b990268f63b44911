"""The `rest-json` protocol: EBS direct."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import orjson
from botocore.model import OperationModel

from gateway.lines import Headers
from gateway.wire.faults import WireFault
from gateway.wire.json import serialization_fault
from gateway.wire.message import Encoded, WireRequest
from gateway.wire.rest import Locations, ResultHeaders, payload_of, streamed
from gateway.wire.values import ValueReader, ValueWriter

_JSON = (b"content-type", b"application/json")
_BYTES = (b"content-type", b"application/octet-stream")


def _invalid(wire: str, text: str) -> WireFault:
    return WireFault("ValidationException", f"Invalid value for {wire}: {text}")


@cache
def _readers(service: str) -> ValueReader:
    return ValueReader(True)


@cache
def _writers(service: str) -> ValueWriter:
    return ValueWriter(True)


def reader(operation: OperationModel) -> Callable[[WireRequest], dict[str, Any]]:
    """Path, query, headers and body to parameters. A streamed payload is left unread."""
    shape = operation.input_shape
    if shape is None:
        return lambda request: {}
    locations = Locations(shape, _invalid)
    payload, stream = payload_of(shape), streamed(shape)
    readers = _readers(operation.service_model.service_name)
    name = payload[0] if payload is not None else None
    read = readers.structure(shape) if payload is None else readers.value(payload[1])

    def of_request(request: WireRequest) -> dict[str, Any]:
        found: dict[str, Any] = {}
        locations.read(request, found)
        if stream is None and request.body:
            try:
                value = read(orjson.loads(request.body))
            except (ValueError, RecursionError):
                raise serialization_fault() from None
            found.update(value if name is None else {name: value})
        return found

    return of_request


def writer(operation: OperationModel) -> Callable[[Mapping[str, Any]], Encoded]:
    """Result to headers and a JSON body, or to headers and the stream that is the payload."""
    shape = operation.output_shape
    about = ResultHeaders(operation)
    payload, stream = payload_of(shape), streamed(shape)
    writers = _writers(operation.service_model.service_name)
    name = payload[0] if payload is not None else None
    if shape is None:
        return lambda result: Encoded(about.status, [])
    write = writers.structure(shape) if payload is None else writers.value(payload[1])

    def encode(result: Mapping[str, Any]) -> Encoded:
        headers: Headers = []
        status = about.write(result, headers)
        if stream is None:
            headers.append(_JSON)
            return Encoded(status, headers, orjson.dumps(write(result if name is None else result[name])))
        headers.append(_BYTES)
        value = result.get(stream)
        if value is None or isinstance(value, (bytes, bytearray)):
            return Encoded(status, headers, bytes(value or b""))
        return Encoded(status, headers, stream=value)

    return encode
