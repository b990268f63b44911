"""The language of metric math: from an expression's text to what it means, as a tree.

From the loosest to the tightest: OR, AND, comparisons, sums, products, powers, signs. Whatever is no expression raises
`Unreadable`, with words for whoever wrote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

DEEPEST = 100
"""How deep parentheses and calls may stand in each other."""
_TOKEN = re.compile(
    r"""\s*(?:
        (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<word>[A-Za-z][A-Za-z0-9_]*)
      | (?P<text>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<sign>&&|\|\||==|!=|<=|>=|[-+*/^<>(),\[\]])
    )""",
    re.VERBOSE,
)
_SAME = {"&&": "AND", "||": "OR"}
_LEVELS = (("OR",), ("AND",), ("==", "!=", "<", "<=", ">", ">="), ("+", "-"), ("*", "/"))


class Unreadable(Exception):
    """The text is no expression."""


@dataclass(frozen=True, slots=True)
class Number:
    """A constant."""

    value: float


@dataclass(frozen=True, slots=True)
class Text:
    """A quoted text."""

    value: str


@dataclass(frozen=True, slots=True)
class Name:
    """The id of a metric or of another expression, or a word that a function knows (`REPEAT`)."""

    name: str


@dataclass(frozen=True, slots=True)
class Join:
    """Two parts with a sign between them; `-` before one part alone is `0 - part`."""

    sign: str
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Many:
    """`[m1, m2]`."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """A call; names of functions are in capital letters."""

    name: str
    arguments: tuple[Node, ...]


Node = Number | Text | Name | Join | Many | Function


def read(text: str) -> Node:
    """What an expression means. Raises `Unreadable`."""
    reader = _Reader(_tokens(text))
    node = reader.level(0, 0)
    if reader.kind:
        raise Unreadable(f"unexpected '{reader.value}'")
    return node


def _tokens(text: str) -> list[tuple[str, str]]:
    found, at = [], 0
    end = len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise Unreadable(f"unexpected '{text[at:].lstrip()[:1]}'")
        kind = match.lastgroup or ""
        value = match[kind]
        if kind == "sign" or (kind == "word" and value.upper() in ("AND", "OR")):
            kind, value = "sign", _SAME.get(value, value.upper())
        found.append((kind, value))
        at = match.end()
    return found


class _Reader:
    def __init__(self, tokens: Sequence[tuple[str, str]]) -> None:
        self._tokens, self._at = tokens, 0

    @property
    def kind(self) -> str:
        return self._tokens[self._at][0] if self._at < len(self._tokens) else ""

    @property
    def value(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else "the end"

    def _take(self, *signs: str) -> str | None:
        """The sign that stands here, if it is one of these."""
        if self.kind == "sign" and self.value in signs:
            sign = self.value
            self._at += 1
            return sign
        return None

    def _demand(self, sign: str) -> None:
        if self._take(sign) is None:
            raise Unreadable(f"'{sign}' expected before {self.value}")

    def level(self, level: int, depth: int) -> Node:
        if depth > DEEPEST:
            raise Unreadable("it is too deep")
        if level == len(_LEVELS):
            return self._power(depth)
        node = self.level(level + 1, depth)
        while (sign := self._take(*_LEVELS[level])) is not None:
            node = Join(sign, node, self.level(level + 1, depth))
        return node

    def _power(self, depth: int) -> Node:
        negative = False
        while (sign := self._take("-", "+")) is not None:
            negative ^= sign == "-"
        node = self._part(depth)
        if self._take("^") is not None:
            node = Join("^", node, self._power(depth + 1))
        return Join("-", Number(0.0), node) if negative else node

    def _part(self, depth: int) -> Node:
        kind, value = self.kind, self.value
        if self._take("(") is not None:
            node = self.level(0, depth + 1)
            self._demand(")")
            return node
        if self._take("[") is not None:
            return Many(tuple(self._several("]", depth + 1)))
        if kind not in ("number", "word", "text"):
            raise Unreadable(f"unexpected {value}")
        self._at += 1
        if kind == "number":
            return Number(float(value))
        if kind == "text":
            return Text(value[1:-1])
        if self._take("(") is not None:
            return Function(value.upper(), tuple(self._several(")", depth + 1)))
        return Name(value)

    def _several(self, end: str, depth: int) -> Iterator[Node]:
        if self._take(end) is not None:
            return
        while True:
            yield self.level(0, depth)
            if self._take(",") is None:
                break
        self._demand(end)


def names(node: Node) -> Iterator[str]:
    """Every name in an expression, as often as it stands there."""
    if isinstance(node, Name):
        yield node.name
    elif isinstance(node, Join):
        yield from names(node.left)
        yield from names(node.right)
    elif isinstance(node, Many | Function):
        for part in node.parts if isinstance(node, Many) else node.arguments:
            yield from names(part)


def functions(node: Node) -> Iterator[str]:
    """Every function that an expression calls, as often as it does."""
    if isinstance(node, Function):
        yield node.name
        for part in node.arguments:
            yield from functions(part)
    elif isinstance(node, Join):
        yield from functions(node.left)
        yield from functions(node.right)
    elif isinstance(node, Many):
        for part in node.parts:
            yield from functions(part)
