"""XML into parameters: one closure per shape, over ElementTree's C parser. No document type, no entities of its own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from xml.etree.ElementTree import Element, ParseError, XMLParser

from botocore.model import ListShape, MapShape, Shape, StructureShape

from gateway.wire import scalars

ReadElement = Callable[[Element], Any]

MOST_BYTES = 8 << 20
"""The largest XML document that is read: DeleteObjects with 1,000 of the longest keys fits several times."""


def parse(document: bytes) -> Element:
    """The root of a document in UTF-8. Raises ValueError for anything but well-formed XML without a document type."""
    # A NUL stands in every document type that is hidden in UTF-16, which a byte order mark would switch to.
    if len(document) > MOST_BYTES or b"<!DOCTYPE" in document or b"\0" in document:
        raise ValueError("document refused")
    parser = XMLParser(encoding="utf-8")
    try:
        parser.feed(document)
        root: Element = parser.close()
    except (ParseError, LookupError) as fault:
        raise ValueError("not well-formed") from fault
    return root


def local(tag: str) -> str:
    """A name without its namespace; S3 takes documents with and without one."""
    return tag.rpartition("}")[2]


class XmlReader:
    """The readers of one service's shapes. They raise ValueError for misfits and skip unknown elements."""

    def __init__(self) -> None:
        self._known: dict[str, ReadElement] = {}

    def structure(self, shape: StructureShape) -> ReadElement:
        """The reader of a structure out of its element."""
        known = self._known.get(shape.name)
        if known is not None:
            return known
        table: dict[str, tuple[str, ReadElement, bool]] = {}
        attributes: list[tuple[str, str]] = []

        def read(element: Element) -> dict[str, Any]:
            found: dict[str, Any] = {}
            for child in element:
                entry = table.get(child.tag) or table.get(child.tag.rpartition("}")[2])
                if entry is None:
                    continue
                name, inner, repeated = entry
                if not repeated:
                    found[name] = inner(child)
                elif name in found:
                    found[name].append(inner(child))
                else:
                    found[name] = [inner(child)]
            for name, wire in attributes:
                for key, value in element.attrib.items():
                    if key.rpartition("}")[2] == wire:
                        found[name] = value
            return found

        self._known[shape.name] = read
        for name, member in shape.members.items():
            if "location" in member.serialization:
                continue
            if member.serialization.get("xmlAttribute"):
                attributes.append((name, str(member.serialization["name"]).rpartition(":")[2]))
                continue
            self._member(table, name, member)
        return read

    def _member(self, table: dict[str, tuple[str, ReadElement, bool]], name: str, member: Shape) -> None:
        wire = str(member.serialization.get("name", name))
        if not member.serialization.get("flattened"):
            table[wire] = (name, self.value(member), False)
        elif isinstance(member, ListShape):
            inner = self.value(member.member)
            table[wire] = (name, inner, True)
            # Clients name flattened elements after the list, the model sometimes after its member.
            if "name" in member.member.serialization:
                table.setdefault(str(member.member.serialization["name"]), (name, inner, True))

    def value(self, shape: Shape) -> ReadElement:
        """The reader of any shape out of its element."""
        if isinstance(shape, StructureShape):
            return self.structure(shape)
        if isinstance(shape, ListShape):
            return partial(_read_list, self.value(shape.member))
        if isinstance(shape, MapShape):
            names = (
                str(shape.key.serialization.get("name", "key")),
                str(shape.value.serialization.get("name", "value")),
            )
            return partial(_read_map, names, self.value(shape.key), self.value(shape.value))
        convert = scalars.READERS.get(shape.type_name)
        return _text if convert is None else partial(_convert, convert)


def _text(element: Element) -> str:
    if len(element):
        raise ValueError("elements where text was expected")
    return element.text or ""


def _convert(convert: Callable[[str], Any], element: Element) -> Any:
    return convert(_text(element).strip())


def _read_list(inner: ReadElement, element: Element) -> list[Any]:
    return [inner(child) for child in element]


def _read_map(names: tuple[str, str], keys: ReadElement, values: ReadElement, element: Element) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in element:
        parts = {local(child.tag): child for child in entry}
        if names[0] not in parts or names[1] not in parts:
            raise ValueError("map entry without key or value")
        found[keys(parts[names[0]])] = values(parts[names[1]])
    return found
