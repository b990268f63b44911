"""Forms of the query protocols: fields into a tree, and the tree into parameters by shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any
from urllib.parse import unquote_to_bytes

from botocore.model import ListShape, MapShape, Shape, StructureShape

from gateway.wire import scalars
from gateway.wire.faults import WireFault

MOST_BYTES = 4 << 20
"""The largest form that is read."""
MOST_FIELDS = 20_000
DEEPEST = 24
_SMALL = 1024
_LONGEST_NAME = 1024

Node = Any
"""A field's text, or a dictionary of nodes by the next part of their names."""
ReadNode = Callable[[Node, str], Any]
"""Reads a node; the second argument is its full name, for messages."""


def parse_form(body: bytes) -> Mapping[str, str]:
    """The fields of an `application/x-www-form-urlencoded` body; the first of equal names counts.

    Small forms are kept, because clients repeat them: the result is shared and must not be changed.
    Raises WireFault `MalformedQueryString` for text that is not UTF-8 and for forms beyond the limits.
    """
    return _parse_small(body) if len(body) <= _SMALL else _parse(body)


@lru_cache(1024)
def _parse_small(body: bytes) -> dict[str, str]:
    return _parse(body)


def _parse(body: bytes) -> dict[str, str]:
    if len(body) > MOST_BYTES or body.count(b"&") >= MOST_FIELDS:
        raise WireFault("MalformedQueryString", "The form is too large.", 413)
    fields: dict[str, str] = {}
    try:
        if b"%" not in body and b"+" not in body:
            for pair in body.decode("utf-8").split("&"):
                if pair:
                    plain, _, rest = pair.partition("=")
                    fields.setdefault(plain, rest)
            return fields
        for piece in body.replace(b"+", b" ").split(b"&"):
            if piece:
                name, _, value = piece.partition(b"=")
                text = unquote_to_bytes(value) if b"%" in value else value
                key = unquote_to_bytes(name) if b"%" in name else name
                fields.setdefault(key.decode("utf-8"), text.decode("utf-8"))
    except UnicodeDecodeError:
        raise WireFault("MalformedQueryString", "The query string is not UTF-8.") from None
    return fields


def grow(form: Mapping[str, str]) -> dict[str, Node]:
    """The tree of a form's fields. `Action` and `Version` are left out."""
    root: dict[str, Node] = {}
    for name, value in form.items():
        if "." not in name:
            if name not in ("Action", "Version"):
                if isinstance(root.get(name), dict):
                    raise _conflict(name)
                root[name] = value
            continue
        parts = name.split(".")
        if len(parts) > DEEPEST or len(name) > _LONGEST_NAME:
            raise WireFault("MalformedQueryString", "A parameter name is nested too deep.")
        node = root
        for part in parts[:-1]:
            below = node.get(part)
            if below is None:
                below = node[part] = {}
            elif type(below) is str:
                if below:
                    raise _conflict(name)
                below = node[part] = {}
            node = below
        if type(node.get(parts[-1])) is dict:
            if value:
                raise _conflict(name)
            continue
        node[parts[-1]] = value
    return root


def _conflict(name: str) -> WireFault:
    return WireFault("MalformedQueryString", f"The parameter {name} is given both as a value and as a structure.")


class FormReader:
    """The readers of one service's shapes out of a form's tree.

    `named` gives a member's name in the form; `nested` is true for the query protocol, where lists and maps have a
    level (`member`, `entry`) of their own. `unknown` raises for a field that no member has, `invalid` makes the fault
    for a text that is no value of its type.
    """

    def __init__(
        self,
        named: Callable[[Shape, str], str],
        nested: bool,
        unknown: Callable[[str], None],
        invalid: Callable[[str, str, str], WireFault],
    ) -> None:
        self._named = named
        self._nested = nested
        self._unknown = unknown
        self._invalid = invalid
        self._known: dict[str, ReadNode] = {}
        self._scalars: dict[str, ReadNode] = {
            kind: partial(self._convert, convert, kind) for kind, convert in scalars.READERS.items()
        }

    def structure(self, shape: StructureShape) -> ReadNode:
        """The reader of a structure."""
        known = self._known.get(shape.name)
        if known is not None:
            return known
        table: dict[str, tuple[str, ReadNode]] = {}
        unknown, invalid = self._unknown, self._invalid

        def read(node: Node, path: str) -> dict[str, Any]:
            if type(node) is str:
                if node:
                    raise invalid("structure", path, node)
                return {}
            start = path + "." if path else ""
            found: dict[str, Any] = {}
            for name, below in node.items():
                entry = table.get(name)
                if entry is None:
                    unknown(start + name)
                    continue
                value = entry[1](below, start + name)
                if value is not None:
                    found[entry[0]] = value
            return found

        self._known[shape.name] = read
        for name, member in shape.members.items():
            table[self._wire_name(member, name)] = (name, self.value(member))
        return read

    def _wire_name(self, member: Shape, name: str) -> str:
        if self._nested and isinstance(member, ListShape) and member.serialization.get("flattened"):
            inner = member.member.serialization.get("name")
            if inner:
                return str(inner)
        return self._named(member, name)

    def value(self, shape: Shape) -> ReadNode:
        """The reader of any shape."""
        if isinstance(shape, StructureShape):
            return self.structure(shape)
        if isinstance(shape, ListShape):
            nested = self._nested and not shape.serialization.get("flattened")
            level = str(shape.member.serialization.get("name", "member")) if nested else ""
            return partial(self._read_list, self.value(shape.member), level)
        if isinstance(shape, MapShape):
            level = "" if shape.serialization.get("flattened") else "entry"
            names = (
                str(shape.key.serialization.get("name", "key")),
                str(shape.value.serialization.get("name", "value")),
            )
            return partial(self._read_map, level, names, self.value(shape.key), self.value(shape.value))
        return self._scalars.get(shape.type_name, self._text)

    def _text(self, node: Node, path: str) -> str:
        if type(node) is not str:
            self._unknown(f"{path}.{next(iter(node))}")
            raise self._invalid("string", path, "")
        return node

    def _convert(self, convert: Callable[[str], Any], kind: str, node: Node, path: str) -> Any:
        text = self._text(node, path)
        if not text and kind != "blob":
            return None
        try:
            return convert(text)
        except ValueError:
            raise self._invalid(kind, path, text) from None

    def _numbered(self, node: Node, level: str, path: str) -> list[tuple[int, str, Node]]:
        """The elements under `node` in the order of their numbers; gaps are closed."""
        if level:
            below = node.get(level)
            for name in node:
                # Some clients write every list with `member`, whatever the model calls the level.
                if name == "member" and below is None:
                    level, below = name, node[name]
                elif name != level:
                    self._unknown(f"{path}.{name}")
            if type(below) is not dict:
                return []
            node, path = below, f"{path}.{level}"
        found = []
        for name, below in node.items():
            if not (name.isascii() and name.isdigit() and len(name) < 7):
                self._unknown(f"{path}.{name}")
                continue
            found.append((int(name), f"{path}.{name}", below))
        found.sort(key=lambda element: element[0])
        return found

    def _read_list(self, inner: ReadNode, level: str, node: Node, path: str) -> list[Any] | None:
        if type(node) is str:
            if node:
                raise self._invalid("list", path, node)
            return [] if self._nested else None
        return [
            value for _, name, below in self._numbered(node, level, path) if (value := inner(below, name)) is not None
        ]

    def _read_map(
        self, level: str, names: tuple[str, str], keys: ReadNode, values: ReadNode, node: Node, path: str
    ) -> dict[str, Any]:
        if type(node) is str:
            if node:
                raise self._invalid("map", path, node)
            return {}
        found: dict[str, Any] = {}
        for _, name, below in self._numbered(node, level, path):
            if type(below) is str or names[0] not in below:
                raise self._invalid("map", name, "")
            key = keys(below[names[0]], f"{name}.{names[0]}")
            found[key] = values(below.get(names[1], ""), f"{name}.{names[1]}")
        return found
