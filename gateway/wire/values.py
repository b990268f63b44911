"""JSON and CBOR values to parameters and back: closures by shape over already parsed documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from gateway.wire import scalars

ReadValue = Callable[[Any], Any]
WriteValue = Callable[[Any], Any]


class ValueReader:
    """The readers of one service's shapes. They raise ValueError for other types and skip unknown members.

    `text` says that instants and bytes are spelled as numbers, text and base64 (JSON); else they are there as such.
    """

    def __init__(self, text: bool) -> None:
        self._known: dict[str, ReadValue] = {}
        self._scalars: dict[str, ReadValue] = {
            "string": _string,
            "integer": _integer,
            "long": _integer,
            "float": _float,
            "double": _float,
            "boolean": _boolean,
            "timestamp": _instant if text else _native_instant,
            "blob": _base64 if text else _bytes,
        }

    def structure(self, shape: StructureShape) -> ReadValue:
        """The reader of a structure out of a dictionary. Members that are null are left out."""
        if shape.is_document_type:
            return _anything
        known = self._known.get(shape.name)
        if known is not None:
            return known
        table: dict[str, tuple[str, ReadValue]] = {}

        def read(value: Any) -> dict[str, Any]:
            if type(value) is not dict:
                raise ValueError("Start of structure or map found where not expected.")
            found: dict[str, Any] = {}
            for name, each in value.items():
                entry = table.get(name)
                if entry is not None and each is not None:
                    found[entry[0]] = entry[1](each)
            return found

        self._known[shape.name] = read
        for name, member in shape.members.items():
            if "location" not in member.serialization:
                table[str(member.serialization.get("name", name))] = (name, self.value(member))
        return read

    def value(self, shape: Shape) -> ReadValue:
        """The reader of any shape."""
        if isinstance(shape, StructureShape):
            return self.structure(shape)
        if isinstance(shape, ListShape):
            return _list_reader(self.value(shape.member))
        if isinstance(shape, MapShape):
            return _map_reader(self.value(shape.value))
        return self._scalars.get(shape.type_name, _string)


def _list_reader(inner: ReadValue) -> ReadValue:
    def read(value: Any) -> list[Any]:
        if type(value) is not list:
            raise ValueError("Start of list found where not expected.")
        return [None if each is None else inner(each) for each in value]

    return read


def _map_reader(inner: ReadValue) -> ReadValue:
    def read(value: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise ValueError("Start of structure or map found where not expected.")
        return {name: inner(each) for name, each in value.items() if each is not None}

    return read


def _anything(value: Any) -> Any:
    return value


def _string(value: Any) -> str:
    if type(value) is not str:
        raise ValueError(f"{_kind(value)} can not be converted to a String")
    return value


def _integer(value: Any) -> int:
    if type(value) is float and value.is_integer() and abs(value) < 1 << 63:
        return int(value)
    if type(value) is not int or not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{_kind(value)} can not be converted to an Integer")
    return value


def _float(value: Any) -> float:
    if type(value) is str:
        return scalars.read_float(value)
    if type(value) not in (int, float):
        raise ValueError(f"{_kind(value)} can not be converted to a Double")
    return float(value)


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise ValueError(f"{_kind(value)} can not be converted to a Boolean")
    return value


def _instant(value: Any) -> datetime:
    if type(value) is str:
        return scalars.read_timestamp(value)
    if type(value) not in (int, float):
        raise ValueError(f"{_kind(value)} can not be converted to a Timestamp")
    return scalars.from_epoch(value)


def _native_instant(value: Any) -> datetime:
    return value if isinstance(value, datetime) else _instant(value)


def _base64(value: Any) -> bytes:
    return scalars.read_blob(_string(value))


def _bytes(value: Any) -> bytes:
    if type(value) is not bytes:
        raise ValueError(f"{_kind(value)} can not be converted to a Blob")
    return value


def _kind(value: Any) -> str:
    return {str: "STRING_VALUE", bool: "TRUE_VALUE" if value is True else "FALSE_VALUE"}.get(
        type(value), "NUMBER_VALUE"
    )


class ValueWriter:
    """The writers of one service's shapes: results to what JSON or CBOR can hold. What is None is left out."""

    def __init__(self, text: bool) -> None:
        self._known: dict[str, WriteValue] = {}
        self._text = text

    def structure(self, shape: StructureShape) -> WriteValue:
        """The writer of a structure to a dictionary by wire names."""
        if shape.is_document_type:
            return _anything
        known = self._known.get(shape.name)
        if known is not None:
            return known
        plain: list[tuple[str, str]] = []
        others: list[tuple[str, str, WriteValue]] = []

        def write(value: Mapping[str, Any]) -> dict[str, Any]:
            get = value.get
            found: dict[str, Any] = {}
            for name, wire in plain:
                each = get(name)
                if each is not None:
                    found[wire] = each
            for name, wire, inner in others:
                each = get(name)
                if each is not None:
                    found[wire] = inner(each)
            return found

        self._known[shape.name] = write
        for name, member in shape.members.items():
            if "location" in member.serialization or member.serialization.get("eventstream"):
                continue
            wire, inner = str(member.serialization.get("name", name)), self.value(member)
            if inner is _anything:
                plain.append((name, wire))
            else:
                others.append((name, wire, inner))
        return write

    def value(self, shape: Shape) -> WriteValue:
        """The writer of any shape."""
        if isinstance(shape, StructureShape):
            return self.structure(shape)
        if isinstance(shape, ListShape):
            inner = self.value(shape.member)
            return list if inner is _anything else lambda value: [inner(each) for each in value]
        if isinstance(shape, MapShape):
            inner = self.value(shape.value)
            return dict if inner is _anything else lambda value: {name: inner(each) for name, each in value.items()}
        if not self._text:
            return float if shape.type_name in ("float", "double") else _anything
        if shape.type_name == "timestamp":
            iso = str(shape.serialization.get("timestampFormat", "")).lower() == "iso8601"
            return scalars.iso_milliseconds if iso else scalars.epoch
        if shape.type_name == "blob":
            return scalars.write_blob
        return _anything
