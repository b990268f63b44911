"""Wildcards and policy variables, compiled once to matchers.

`*` and `?` are wildcards, `${name}` a policy variable with an optional default (`${name, 'default'}`), `${*}`, `${?}`
and `${$}` the plain characters. The value of a variable is always literal: a user called `*` gains nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from compat.iam.policy.request import AccessRequest

Matcher = Callable[[str, AccessRequest], bool]

_VARIABLE = re.compile(r"\$\{([^{}]*)\}")
_WILDCARD = re.compile(r"([*?])")
_KEEP = 256
"""How many resolutions of one pattern with variables are kept; then all are dropped."""


@dataclass(frozen=True, slots=True)
class Literal:
    """Text that stands for itself."""

    text: str


@dataclass(frozen=True, slots=True)
class Wildcard:
    """`*` or `?`."""

    sign: str


@dataclass(frozen=True, slots=True)
class Variable:
    """`${key}` or `${key, 'default'}`; `key` in lower case."""

    key: str
    default: str | None


Token = Literal | Wildcard | Variable


def tokens(pattern: str, *, wild: bool, variables: bool) -> tuple[Token, ...]:
    """The parts of `pattern`. Without `wild`, `*` and `?` are literal; without `variables`, so is `${…}`."""
    found: list[Token] = []
    position = 0
    for match in _VARIABLE.finditer(pattern) if variables else ():
        _plain(pattern[position : match.start()], wild, found)
        found.append(_variable(match.group(1)))
        position = match.end()
    _plain(pattern[position:], wild, found)
    return tuple(found)


def _plain(text: str, wild: bool, found: list[Token]) -> None:
    for part in _WILDCARD.split(text) if wild else (text,):
        if part in ("*", "?") and wild:
            found.append(Wildcard(part))
        elif part:
            found.append(Literal(part))


def _variable(body: str) -> Token:
    if body in ("*", "?", "$"):
        return Literal(body)
    key, comma, default = body.partition(",")
    default = default.strip()
    if len(default) >= 2 and default[0] == default[-1] == "'":
        default = default[1:-1]
    return Variable(key.strip().lower(), default if comma else None)


def text_matcher(pattern: str, *, wild: bool, variables: bool, ignore_case: bool = False) -> Matcher:
    """Matches a whole text. A variable without value and default makes the pattern match nothing."""
    parts = tokens(pattern, wild=wild, variables=variables)
    if not any(isinstance(part, Variable) for part in parts):
        return _fixed(parts, arn=False, ignore_case=ignore_case)
    return _resolving(parts, arn=False, ignore_case=ignore_case)


def arn_matcher(pattern: str, *, variables: bool) -> Matcher:
    """Matches ARNs: a wildcard stays within its colon-separated part, except in the sixth, which takes all the rest.

    A pattern with fewer parts ends in the last one written, so `*` alone matches everything.
    """
    parts = tokens(pattern, wild=True, variables=variables)
    if not any(isinstance(part, Variable) for part in parts):
        return _fixed(parts, arn=True, ignore_case=False)
    return _resolving(parts, arn=True, ignore_case=False)


def arns_matcher(patterns: Sequence[str], *, variables: bool) -> Matcher:
    """Matches when one of several ARN patterns does: plain ones by one look-up each way, the rest one by one."""
    exact: set[str] = set()
    starts: list[str] = []
    others: list[Matcher] = []
    for pattern in patterns:
        parts = tokens(pattern, wild=True, variables=variables)
        plain = "".join(part.text for part in parts if isinstance(part, Literal))
        if all(isinstance(part, Literal) for part in parts):
            exact.add(plain)
        elif parts[-1] == Wildcard("*") and all(isinstance(part, Literal) for part in parts[:-1]):
            starts.append(plain)
        else:
            others.append(arn_matcher(pattern, variables=variables))
    prefixes = tuple(starts)
    if not others:
        return lambda text, request: text in exact or text.startswith(prefixes)

    def match(text: str, request: AccessRequest) -> bool:
        if text in exact or text.startswith(prefixes):
            return True
        for other in others:
            if other(text, request):
                return True
        return False

    return match


def _fixed(parts: tuple[Token, ...], *, arn: bool, ignore_case: bool) -> Matcher:
    literals = [part.text for part in parts if isinstance(part, Literal)]
    wildcards = [part.sign for part in parts if isinstance(part, Wildcard)]
    if not wildcards:
        exact = "".join(literals)
        if ignore_case:
            exact = exact.casefold()
            return lambda text, request: text.casefold() == exact
        return lambda text, request: text == exact
    if not ignore_case and wildcards == ["*"] and isinstance(parts[-1], Wildcard):
        prefix = "".join(literals)
        return (lambda text, request: text.startswith(prefix)) if prefix else (lambda text, request: True)
    fullmatch = _regex(parts, arn=arn, ignore_case=ignore_case).fullmatch
    return lambda text, request: fullmatch(text) is not None


def _resolving(parts: tuple[Token, ...], *, arn: bool, ignore_case: bool) -> Matcher:
    keys = [part for part in parts if isinstance(part, Variable)]
    kept: dict[tuple[str, ...], Matcher] = {}

    def match(text: str, request: AccessRequest) -> bool:
        values = []
        for variable in keys:
            value = request.context(variable.key)
            if not isinstance(value, str):
                value = variable.default
            if value is None:
                return False
            values.append(value)
        known = tuple(values)
        matcher = kept.get(known)
        if matcher is None:
            following = iter(known)
            filled = tuple(Literal(next(following)) if isinstance(part, Variable) else part for part in parts)
            matcher = _fixed(filled, arn=arn, ignore_case=ignore_case)
            if len(kept) >= _KEEP:
                kept.clear()
            kept[known] = matcher
        return matcher(text, request)

    return match


def _regex(parts: tuple[Token, ...], *, arn: bool, ignore_case: bool) -> re.Pattern[str]:
    colons = sum(part.text.count(":") for part in parts if isinstance(part, Literal))
    last = min(colons, 5) if arn else 0
    segment = 0
    out: list[str] = []
    for part in parts:
        if isinstance(part, Literal):
            out.append(re.escape(part.text))
            segment += part.text.count(":")
        elif isinstance(part, Wildcard):
            one = "." if segment >= last else "[^:]"
            out.append(one if part.sign == "?" else one + "*")
    return re.compile("".join(out), re.DOTALL | (re.IGNORECASE if ignore_case else 0))


def any_of(matchers: list[Matcher]) -> Matcher:
    """True when one of `matchers` is."""
    if len(matchers) == 1:
        return matchers[0]
    several = tuple(matchers)

    def match(text: str, request: AccessRequest) -> bool:
        return any(matcher(text, request) for matcher in several)

    return match
