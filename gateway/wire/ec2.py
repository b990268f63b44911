"""The `ec2` protocol: a form with lists numbered in place, XML without a result wrapper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from botocore.model import OperationModel

from compat.model import SERVICES
from compat.validate import form_name
from gateway.wire.faults import WireFault
from gateway.wire.forms import FormReader, grow
from gateway.wire.message import XML, Encoded, WireRequest
from gateway.wire.xmlwrite import XmlWriter

# Parameters of older signature versions and of presigned calls, which are no parameters of the operation.
_NOT_PARAMETERS = frozenset(
    {"AWSAccessKeyId", "Expires", "SecurityToken", "Signature", "SignatureMethod", "SignatureVersion", "Timestamp"}
)


def _unknown(name: str) -> None:
    if name in _NOT_PARAMETERS or name.startswith("X-Amz-"):
        return
    raise WireFault("UnknownParameter", f"The parameter {name} is not recognized")


def _invalid(kind: str, path: str, text: str) -> WireFault:
    return WireFault("InvalidParameterValue", f"Invalid value '{text}' for {path}. It must be a valid {kind}.")


_READERS = FormReader(form_name, False, _unknown, _invalid)


@cache
def _writers() -> XmlWriter:
    return XmlWriter()


def reader(operation: OperationModel) -> Callable[[WireRequest], dict[str, Any]]:
    """Form to parameters. A field that the operation does not have is a fault, as in AWS."""
    shape = operation.input_shape
    if shape is None:
        return lambda request: {}
    read = _READERS.structure(shape)

    def of_form(request: WireRequest) -> dict[str, Any]:
        found: dict[str, Any] = read(grow(request.form or {}), "")
        return found

    return of_form


def writer(operation: OperationModel) -> Callable[[Mapping[str, Any]], Encoded]:
    """Result to `<OpResponse><requestId>…`; an operation without output answers `<return>true</return>`."""
    name = operation.name
    namespace = SERVICES[operation.service_model.service_name].namespace
    before = f'<?xml version="1.0" encoding="UTF-8"?>\n<{name}Response xmlns="{namespace}"><requestId>'.encode()
    end = f"</{name}Response>"
    shape = operation.output_shape
    headers = [XML]
    if shape is None:
        nothing = f"</requestId><return>true</return>{end}".encode()
        return lambda result: Encoded(200, headers, before, nothing)
    write = _writers().structure(shape)

    def encode(result: Mapping[str, Any]) -> Encoded:
        pieces = ["</requestId>"]
        write(result, pieces.append)
        pieces.append(end)
        return Encoded(200, headers, before, "".join(pieces).encode("utf-8", "replace"))

    return encode
