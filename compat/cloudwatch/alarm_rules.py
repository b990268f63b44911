"""The rules of composite alarms: `ALARM("a") AND NOT (OK(b) OR INSUFFICIENT_DATA(c))`, `TRUE`, `FALSE`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

_TOKEN = re.compile(r"""\s*(?:(?P<sign>[()])|"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<word>[^\s()"]+))""")
_STATES = ("ALARM", "OK", "INSUFFICIENT_DATA")
_DEEPEST = 100
StateOf = Callable[[str], str | None]
"""The state of the alarm of a name; None where there is no such."""


class BadRule(Exception):
    """The text is no rule."""


class Rule:
    """A rule that was read. Raises `BadRule` for a text that is none."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self.names: list[str] = []
        """The alarms that it is about, as they stand in it: names or ARNs."""
        self._test = self._either(0)
        if self._at < len(self._tokens):
            raise BadRule(f"unexpected {self._tokens[self._at][1]}")

    def holds(self, state: StateOf) -> bool:
        """Whether it holds. An alarm that is not there is in no state."""
        return self._test(state)

    def _word(self) -> str | None:
        kind, value = self._tokens[self._at] if self._at < len(self._tokens) else ("", "")
        return value.upper() if kind == "word" else None

    def _take(self, sign: str) -> bool:
        found = self._at < len(self._tokens) and self._tokens[self._at] == ("sign", sign)
        self._at += found
        return found

    def _demand(self, sign: str) -> None:
        if not self._take(sign):
            raise BadRule(f"'{sign}' expected")

    def _either(self, depth: int) -> Callable[[StateOf], bool]:
        tests = [self._both(depth)]
        while self._word() == "OR":
            self._at += 1
            tests.append(self._both(depth))
        return lambda state: any(test(state) for test in tests)

    def _both(self, depth: int) -> Callable[[StateOf], bool]:
        tests = [self._one(depth)]
        while self._word() == "AND":
            self._at += 1
            tests.append(self._one(depth))
        return lambda state: all(test(state) for test in tests)

    def _one(self, depth: int) -> Callable[[StateOf], bool]:
        if depth > _DEEPEST:
            raise BadRule("it is too deep")
        if self._take("("):
            inner = self._either(depth + 1)
            self._demand(")")
            return inner
        word = self._word()
        self._at += 1
        if word == "NOT":
            test = self._one(depth + 1)
            return lambda state: not test(state)
        if word in ("TRUE", "FALSE"):
            fixed = word == "TRUE"
            return lambda state: fixed
        if word not in _STATES:
            raise BadRule("one of ALARM, OK, INSUFFICIENT_DATA, NOT, TRUE and FALSE is expected")
        self._demand("(")
        if self._at >= len(self._tokens) or self._tokens[self._at][0] == "sign":
            raise BadRule("the name of an alarm is expected")
        name = self._tokens[self._at][1]
        self._at += 1
        self._demand(")")
        self.names.append(name)
        return lambda state: state(name) == word


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _TOKEN.match(text, at)
        if match is None:
            raise BadRule(f"unexpected {text[at:].strip()[:1]}")
        kind = match.lastgroup or ""
        yield kind, match[kind]
        at = match.end()


def name_of(reference: str) -> str:
    """The name in what a rule calls an alarm: a name, or an ARN."""
    return reference.partition(":alarm:")[2] if reference.startswith("arn:") else reference


def about(rule: Rule) -> Sequence[str]:
    """The names of the alarms that a rule is about, each once."""
    return list(dict.fromkeys(name_of(reference) for reference in rule.names))
