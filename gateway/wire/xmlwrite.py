"""XML out of results: Python source is generated once per structure of a service, then only runs.

A generated function takes a structure's dictionary and the `append` of a list of text pieces. Structures are shared by
all operations of a service; a list, a map or a scalar is written in place inside the structure that holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from botocore.model import ListShape, MapShape, Shape, StructureShape

from gateway.wire import scalars

Append = Callable[[str], object]
WriteStructure = Callable[[Mapping[str, Any], Append], None]

# Results are bounded by their shapes: what a location names is not in the body.
_ELSEWHERE = frozenset({"header", "headers", "statusCode"})


class XmlWriter:
    """The structure writers of one service. `seconds` drops milliseconds from timestamps, as IAM and STS do;
    `lists_last` puts a structure's lists behind its other members, as S3 does."""

    def __init__(self, seconds: bool = False, lists_last: bool = False) -> None:
        self._lists_last = lists_last
        self._names: dict[str, str] = {}
        self._instant = {
            "iso8601": "I" if not seconds else "IS",
            "rfc822": "H",
            "unixtimestamp": "U",
        }
        self._space: dict[str, Any] = {
            "K": scalars.kept.get,
            "E": scalars.escape,
            "I": scalars.iso_milliseconds,
            "IS": scalars.iso_seconds,
            "H": scalars.http_date,
            "U": scalars.epoch,
            "F": scalars.write_float,
            "B": scalars.write_blob,
            "A": _attribute,
        }

    def structure(self, shape: StructureShape) -> WriteStructure:
        """The writer of the members of a structure, without an element around them."""
        name = self._function(shape)
        write: WriteStructure = self._space[name]
        return write

    def _function(self, shape: StructureShape) -> str:
        known = self._names.get(shape.name)
        if known is not None:
            return known
        name = self._names[shape.name] = f"s{len(self._names)}"
        lines = [f"def {name}(d, a):", "    g = d.get"]
        members = list(shape.members.items())
        if self._lists_last:
            members.sort(key=lambda member: isinstance(member[1], ListShape))
        for member, about in members:
            place = about.serialization
            if place.get("location") in _ELSEWHERE or place.get("xmlAttribute") or place.get("eventstream"):
                continue
            lines.append(f"    v = g({member!r})")
            lines.append("    if v is not None:")
            lines += self._value(about, _element_name(about, member), "v", 2)
        lines.append("    return")
        # The source holds only names out of the model, as literals.
        exec(compile("\n".join(lines), f"<writer of {shape.name}>", "exec"), self._space)
        return name

    def _value(self, shape: Shape, tag: str, variable: str, level: int) -> list[str]:
        pad = "    " * level
        if isinstance(shape, StructureShape):
            opening = self._opening(shape, tag, variable)
            return [
                f"{pad}a({opening})",
                f"{pad}{self._function(shape)}({variable}, a)",
                f"{pad}a({f'</{tag}>'!r})",
            ]
        if isinstance(shape, ListShape):
            return self._list(shape, tag, variable, level)
        if isinstance(shape, MapShape):
            return self._map(shape, tag, variable, level)
        return [f"{pad}a(f'<{tag}{_namespace(shape)}>{{{self._scalar(shape, variable)}}}</{tag}>')"]

    def _opening(self, shape: StructureShape, tag: str, variable: str) -> str:
        """The expression of a start tag, with its attributes where the shape has any."""
        opening = f"<{tag}{_namespace(shape)}"
        attributes = [
            (name, str(about.serialization["name"]))
            for name, about in shape.members.items()
            if about.serialization.get("xmlAttribute")
        ]
        if not attributes:
            return repr(opening + ">")
        pieces = [repr(opening)]
        for name, wire in attributes:
            pieces.append(f"A({wire!r}, {variable}.get({name!r}))")
        return " + ".join([*pieces, "'>'"])

    def _list(self, shape: ListShape, tag: str, variable: str, level: int) -> list[str]:
        pad, each = "    " * level, f"e{level}"
        if shape.serialization.get("flattened"):
            inner = str(shape.member.serialization.get("name") or tag)
            return [f"{pad}for {each} in {variable}:", *self._value(shape.member, inner, each, level + 1)]
        inner = str(shape.member.serialization.get("name") or "member")
        return [
            f"{pad}if {variable}:",
            f"{pad}    a({f'<{tag}{_namespace(shape)}>'!r})",
            f"{pad}    for {each} in {variable}:",
            *self._value(shape.member, inner, each, level + 2),
            f"{pad}    a({f'</{tag}>'!r})",
            f"{pad}else:",
            f"{pad}    a({f'<{tag}/>'!r})",
        ]

    def _map(self, shape: MapShape, tag: str, variable: str, level: int) -> list[str]:
        pad, key, each = "    " * level, f"k{level}", f"e{level}"
        flat = bool(shape.serialization.get("flattened"))
        entry = tag if flat else "entry"
        step = level if flat else level + 1
        inner = "    " * step
        body = [
            f"{inner}for {key}, {each} in {variable}.items():",
            f"{inner}    a({f'<{entry}>'!r})",
            *self._value(shape.key, str(shape.key.serialization.get("name") or "key"), key, step + 1),
            *self._value(shape.value, str(shape.value.serialization.get("name") or "value"), each, step + 1),
            f"{inner}    a({f'</{entry}>'!r})",
        ]
        if flat:
            return body
        return [
            f"{pad}if {variable}:",
            f"{inner}a({f'<{tag}>'!r})",
            *body,
            f"{inner}a({f'</{tag}>'!r})",
            f"{pad}else:",
            f"{inner}a({f'<{tag}/>'!r})",
        ]

    def _scalar(self, shape: Shape, variable: str) -> str:
        kind = shape.type_name
        if kind in ("integer", "long"):
            return variable
        if kind == "boolean":
            return f'"true" if {variable} else "false"'
        if kind in ("float", "double"):
            return f"F({variable})"
        if kind == "timestamp":
            style = str(shape.serialization.get("timestampFormat", "iso8601")).lower()
            return f"{self._instant[style]}({variable})"
        if kind == "blob":
            return f"B({variable})"
        return f"K({variable}) or E({variable})"


def _attribute(name: str, value: object) -> str:
    return "" if value is None else f' {name}="{scalars.escape(value)}"'


def _element_name(shape: Shape, member: str) -> str:
    if isinstance(shape, ListShape) and shape.serialization.get("flattened"):
        inner = shape.member.serialization.get("name")
        if inner is not None:
            return str(inner)
    return str(shape.serialization.get("name") or member)


def _namespace(shape: Shape) -> str:
    about = shape.serialization.get("xmlNamespace")
    if not about:
        return ""
    if isinstance(about, str):
        return f' xmlns="{about}"'
    prefix = about.get("prefix")
    # A default namespace inside an answer repeats the one around it; a prefixed one (xsi) is needed.
    return f' xmlns:{prefix}="{about["uri"]}"' if prefix else ""
