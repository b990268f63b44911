"""The reader and the writer of every operation, compiled at its first call and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from botocore.model import OperationModel

from compat.model import SERVICES, operation_model
from gateway.wire import ec2, json, query, restjson, restxml
from gateway.wire.message import Encoded, WireRequest
from gateway.wire.rest import streamed

Reader = Callable[[WireRequest], dict[str, Any]]
Writer = Callable[[Mapping[str, Any]], Encoded]

READERS: dict[str, Callable[[OperationModel], Reader]] = {
    "ec2": ec2.reader,
    "query": query.reader,
    "rest-xml": restxml.reader,
    "rest-json": restjson.reader,
    "json": json.reader,
    "smithy-rpc-v2-cbor": json.cbor_reader,
}
WRITERS: dict[str, Callable[[OperationModel], Writer]] = {
    "ec2": ec2.writer,
    "query": query.writer,
    "rest-xml": restxml.writer,
    "rest-json": restjson.writer,
    "json": json.writer,
    "smithy-rpc-v2-cbor": json.cbor_writer,
}


@dataclass(frozen=True, slots=True)
class Codec:
    """How one operation is read and written in one protocol.

    `read` raises WireFault and nothing else. `write` gives an `Encoded`, to be rendered with a request id.
    `stream_in` names the input member whose bytes are the request's body (the body is then not read here);
    `stream_out` the output member that is the answer's body.
    """

    read: Reader
    write: Writer
    stream_in: str | None
    stream_out: str | None


@cache
def codec(service: str, operation: str, protocol: str = "") -> Codec:
    """The codec of an operation; `protocol` matters only where a service speaks several. KeyError for unknown ones."""
    model = operation_model(service, operation)
    if model is None:
        raise KeyError(operation)
    spoken = protocol or SERVICES[service].protocol
    return Codec(
        READERS[spoken](model), WRITERS[spoken](model), streamed(model.input_shape), streamed(model.output_shape)
    )
