"""Results against the model: a writer drops what a shape does not have, so a misspelt member would never be noticed.

`python -m tests.conformance serve …` is the server, but answers 500 where a result does not fit, and logs how.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from botocore.model import ListShape, MapShape, OperationModel, Shape, StructureShape

from gateway.cli import main
from gateway.wire import codecs
from gateway.wire.codecs import Writer
from gateway.wire.message import Encoded
from gateway.wire.rest import STATUS

_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "long": (int,),
    "float": (int, float),
    "double": (int, float),
    "boolean": (bool,),
    "timestamp": (datetime,),
    "blob": (bytes,),
}


def misfits(shape: Shape, value: Any, path: str = "") -> list[str]:
    """What in a result does not fit its shape: unknown members, and values of another type. None fits everywhere."""
    if value is None:
        return []
    if isinstance(shape, StructureShape):
        if shape.is_document_type:
            return []
        if not isinstance(value, Mapping):
            return [f"{path} is {type(value).__name__}, not a structure"]
        return _of_members(shape, value, path)
    if isinstance(shape, ListShape):
        if not isinstance(value, (list, tuple)):
            return [f"{path} is {type(value).__name__}, not a list"]
        found = [f"{path}.{at} is None" for at, each in enumerate(value) if each is None]
        return found + [fault for at, each in enumerate(value) for fault in misfits(shape.member, each, f"{path}.{at}")]
    if isinstance(shape, MapShape):
        if not isinstance(value, Mapping):
            return [f"{path} is {type(value).__name__}, not a map"]
        return [fault for key, each in value.items() for fault in misfits(shape.value, each, f"{path}[{key}]")]
    return _of_scalar(shape, value, path)


def _of_members(shape: StructureShape, value: Mapping[str, Any], path: str) -> list[str]:
    found = []
    payload = shape.serialization.get("payload")
    for name, each in value.items():
        place = f"{path}.{name}" if path else name
        if name not in shape.members:
            if not (path == "" and name == STATUS):
                found.append(f"{place} is no member of {shape.name}")
        elif name != payload or shape.members[name].type_name not in ("blob", "structure"):
            found += misfits(shape.members[name], each, place)
    return found


def _of_scalar(shape: Shape, value: Any, path: str) -> list[str]:
    fits = _TYPES[shape.type_name]
    if shape.serialization.get("name") == "Expires" and isinstance(value, str):
        return []
    if isinstance(value, bool) and bool not in fits or not isinstance(value, fits):
        return [f"{path} is {type(value).__name__} ({value!r}), not {shape.type_name}"]
    return []


def checked(make: Callable[[OperationModel], Writer]) -> Callable[[OperationModel], Writer]:
    """A maker of writers that raise AssertionError on a result which does not fit, so that the call answers 500."""

    def make_checked(operation: OperationModel) -> Writer:
        write, shape = make(operation), operation.output_shape

        def write_checked(result: Mapping[str, Any]) -> Encoded:
            faults = misfits(shape, result) if shape is not None else [f"{name} has no place" for name in result]
            if faults:
                raise AssertionError(f"{operation.service_model.service_name}:{operation.name}: {'; '.join(faults)}")
            return write(result)

        return write_checked

    return make_checked


if __name__ == "__main__":
    for protocol, maker in codecs.WRITERS.items():
        codecs.WRITERS[protocol] = checked(maker)
    main()
