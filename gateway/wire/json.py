"""The `json` protocol (1.0 and 1.1), and smithy's `rpc-v2-cbor`, which is the same with another notation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import orjson
from botocore.model import OperationModel

from compat.model import SERVICES
from gateway.wire import cbor
from gateway.wire.faults import WireFault
from gateway.wire.message import Encoded, WireRequest
from gateway.wire.values import ValueReader, ValueWriter


@cache
def _readers(service: str, text: bool) -> ValueReader:
    return ValueReader(text)


@cache
def _writers(service: str, text: bool) -> ValueWriter:
    return ValueWriter(text)


def serialization_fault(message: str = "") -> WireFault:
    """A body that is no JSON, or JSON of other types than the operation's."""
    return WireFault("SerializationException", message)


def reader(operation: OperationModel) -> Callable[[WireRequest], dict[str, Any]]:
    """JSON body to parameters; an empty body is an empty object."""
    return _reader(operation, True, orjson.loads)


def cbor_reader(operation: OperationModel) -> Callable[[WireRequest], dict[str, Any]]:
    """CBOR body to parameters; an empty body is an empty map."""
    return _reader(operation, False, cbor.loads)


def _reader(
    operation: OperationModel, text: bool, parse: Callable[[bytes], Any]
) -> Callable[[WireRequest], dict[str, Any]]:
    shape = operation.input_shape
    if shape is None:
        return lambda request: {}
    read = _readers(operation.service_model.service_name, text).structure(shape)

    def of_body(request: WireRequest) -> dict[str, Any]:
        if not request.body:
            return {}
        try:
            found: dict[str, Any] = read(parse(request.body))
        except (ValueError, RecursionError) as fault:
            raise serialization_fault(str(fault) if "can not" in str(fault) else "") from None
        return found

    return of_body


def writer(operation: OperationModel) -> Callable[[Mapping[str, Any]], Encoded]:
    """Result to a JSON body."""
    service = operation.service_model.service_name
    version = str(SERVICES[service].model.metadata.get("jsonVersion", "1.1"))
    headers = [(b"content-type", f"application/x-amz-json-{version}".encode())]
    shape = operation.output_shape
    if shape is None:
        empty = b"{}" if version == "1.0" else b""
        return lambda result: Encoded(200, headers, empty)
    write = _writers(service, True).structure(shape)
    return lambda result: Encoded(200, headers, orjson.dumps(write(result)))


def cbor_writer(operation: OperationModel) -> Callable[[Mapping[str, Any]], Encoded]:
    """Result to a CBOR body; an operation without output has none."""
    protocol = (b"smithy-protocol", b"rpc-v2-cbor")
    shape = operation.output_shape
    if shape is None:
        return lambda result: Encoded(200, [protocol])
    headers = [protocol, (b"content-type", b"application/cbor")]
    write = _writers(operation.service_model.service_name, False).structure(shape)
    return lambda result: Encoded(200, headers, cbor.dumps(write(result)))
