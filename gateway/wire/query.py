"""The `query` protocol: a form in, XML with a result wrapper out (IAM, STS, CloudFormation, Auto Scaling, ELB)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from botocore.model import OperationModel, Shape

from compat.model import SERVICES
from gateway.wire.faults import WireFault
from gateway.wire.forms import FormReader, grow
from gateway.wire.message import XML, Encoded, WireRequest
from gateway.wire.xmlwrite import XmlWriter

# These two answer whole seconds; the others of this protocol milliseconds.
_WHOLE_SECONDS = frozenset({"iam", "sts"})


def _named(shape: Shape, name: str) -> str:
    return str(shape.serialization.get("name", name))


def _skip(_: str) -> None:
    """Query services pass over fields that they do not know."""


def _invalid(kind: str, path: str, text: str) -> WireFault:
    return WireFault("MalformedInput", f"The value of {path} is no {kind}.")


@cache
def _readers(service: str) -> FormReader:
    return FormReader(_named, True, _skip, _invalid)


@cache
def _writers(service: str) -> XmlWriter:
    return XmlWriter(seconds=service in _WHOLE_SECONDS)


def reader(operation: OperationModel) -> Callable[[WireRequest], dict[str, Any]]:
    """Form to parameters."""
    shape = operation.input_shape
    if shape is None:
        return lambda request: {}
    read = _readers(operation.service_model.service_name).structure(shape)

    def of_form(request: WireRequest) -> dict[str, Any]:
        found: dict[str, Any] = read(grow(request.form or {}), "")
        return found

    return of_form


def writer(operation: OperationModel) -> Callable[[Mapping[str, Any]], Encoded]:
    """Result to `<OpResponse><OpResult>…</OpResult><ResponseMetadata>…`; an operation without output has no result."""
    service = operation.service_model.service_name
    name = operation.name
    shape = operation.output_shape
    opening = f'<{name}Response xmlns="{SERVICES[service].namespace}">'
    after = f"</RequestId></ResponseMetadata></{name}Response>".encode()
    metadata = "<ResponseMetadata><RequestId>"
    headers = [XML]
    if shape is None:
        before = (opening + metadata).encode()
        return lambda result: Encoded(200, headers, before, after)
    wrapper = str(shape.serialization.get("resultWrapper", f"{name}Result"))
    write = _writers(service).structure(shape)
    start, end = f"{opening}<{wrapper}>", f"</{wrapper}>{metadata}"

    def encode(result: Mapping[str, Any]) -> Encoded:
        pieces = [start]
        write(result, pieces.append)
        pieces.append(end)
        return Encoded(200, headers, "".join(pieces).encode("utf-8", "replace"), after)

    return encode
