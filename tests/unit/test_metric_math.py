"""Metric math: what expressions over series come to."""

from __future__ import annotations

from typing import Any

import pytest

from compat.cloudwatch.expressions import Unreadable, functions, names, read
from compat.cloudwatch.mathematics import Evaluation, Series, Unsound, Value, unknown

END = 600


def series(**points: float) -> Series:
    """A series of minutes: `m2=3.0` is the third one's value."""
    return Series({int(name[1:]) * 60: float(value) for name, value in points.items()}, 60, 0, END)


A = series(m0=1, m1=2, m3=6)
B = series(m0=10, m1=0, m2=5, m3=3)


def value(text: str, **more: str) -> Value:
    expressions = {name: read(one) for name, one in more.items()}
    return Evaluation({"a": A, "b": B}, {**expressions, "e": read(text)}, series()).named("e")


def told(text: str, **more: str) -> Any:
    """A number, or values by minutes, or several of those."""
    found = value(text, **more)
    if isinstance(found, list):
        return [{at // 60: one for at, one in each.points.items()} for each in found]
    return found if isinstance(found, float) else {at // 60: one for at, one in found.points.items()}


@pytest.mark.parametrize(
    "text, expected",
    [
        ("1 + 2 * 3 ^ 2", 19),
        ("2 ^ 3 ^ 2", 512),
        ("-2 ^ 2", -4),
        ("(1 + 2) * 3 - -1", 10),
        ("1.5e2 / 3", 50),
        ("1 < 2 AND 2 < 1 || 3 >= 3", 1),
        ("a + b", {0: 11, 1: 2, 3: 9}),
        ("a / b", {0: 0.1, 3: 2}),
        ("10 - a", {0: 9, 1: 8, 3: 4}),
        ("[a, b] * 2", [{0: 2, 1: 4, 3: 12}, {0: 20, 1: 0, 2: 10, 3: 6}]),
        ("[a, b] - [b, a]", [{0: -9, 1: 2, 3: 3}, {0: 9, 1: -2, 3: -3}]),
        ("SUM(a)", 9),
        ("AVG(a)", 3),
        ("SUM([a, b])", {0: 11, 1: 2, 2: 5, 3: 9}),
        ("AVG([a, b])", {0: 5.5, 1: 1, 2: 2.5, 3: 4.5}),
        ("MIN(METRICS())", {0: 1, 1: 0, 2: 5, 3: 3}),
        ("MAX(METRICS('b'))", {0: 10, 1: 0, 2: 5, 3: 3}),
        ("STDDEV([a, b])", {0: 4.5, 1: 1, 2: 2.5, 3: 1.5}),
        ("METRIC_COUNT(METRICS())", 2),
        ("FILL(a, REPEAT)", {0: 1, 1: 2, 2: 2, 3: 6, 4: 6, 5: 6, 6: 6, 7: 6, 8: 6, 9: 6}),
        ("FILL(a, LINEAR)", {0: 1, 1: 2, 2: 4, 3: 6}),
        ("FILL(a, b)", {0: 1, 1: 2, 2: 5, 3: 6}),
        ("RATE(a) * 60", {1: 1, 3: 2}),
        ("DIFF(a)", {1: 1, 3: 4}),
        ("DIFF_TIME(a)", {1: 60, 3: 120}),
        ("RUNNING_SUM(a)", {0: 1, 1: 3, 3: 9}),
        ("ABS(CEIL(a / 4 - 1) * 10)", {0: 0, 1: 0, 3: 10}),
        ("IF(a > 1, b)", {1: 0, 3: 3}),
        ("IF(a > 1, b, 7)", {0: 7, 1: 0, 3: 3}),
        ("IF(a > 1 && b, 1, 0)", {0: 0, 1: 0, 3: 1}),
        ("IF(1 == 1, a, b)", {0: 1, 1: 2, 3: 6}),
        ("PERIOD(a)", 60),
        ("SUM(a) / PERIOD(a) * TIME_SERIES(1) * 0", dict.fromkeys(range(10), 0)),
        ("FIRST([b, a])", {0: 10, 1: 0, 2: 5, 3: 3}),
        ("SORT(METRICS(), SUM, DESC, 1)", [{0: 10, 1: 0, 2: 5, 3: 3}]),
        ("SLICE(SORT(METRICS(), MAX, ASC), 0, 1)", [{0: 1, 1: 2, 3: 6}]),
        ("SLICE(METRICS(), 1)", {0: 10, 1: 0, 2: 5, 3: 3}),
        ("REMOVE_EMPTY([a, a / 0])", [{0: 1, 1: 2, 3: 6}]),
        ("MINUTE(a) + HOUR(a) + YEAR(a)", {0: 1970, 1: 1971, 3: 1973}),
        ("LOG10(b)", {0: 1, 2: pytest.approx(0.69897), 3: pytest.approx(0.477121)}),
    ],
)
def test_expressions(text: str, expected: Any) -> None:
    assert told(text) == expected


def test_expressions_stand_for_each_other() -> None:
    assert told("double - a", double="2 * a") == {0: 1, 1: 2, 3: 6}


@pytest.mark.parametrize(
    "text", ["a +", "a b", "(a", "a)", "[a", "SUM(a", "#", "", "'a", "a ~ b", "(" * 200 + "a" + ")" * 200]
)
def test_what_is_no_expression_is_refused(text: str) -> None:
    with pytest.raises(Unreadable):
        read(text)


@pytest.mark.parametrize(
    "text",
    ["c + 1", "e + 1", "1 / 0", "[a] + [a, b]", "FILL(a)", "SUM(1)", "SORT(a, SUM)", "IF([a], 1)", "SUM(a, b)", "'a'"],
)
def test_what_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(Unsound):
        value(text)


def test_names_and_functions_are_known_beforehand() -> None:
    node = read("SUM([a, f * METRICS()]) > SEARCH('x') AND GUESS(b)")
    assert list(names(node)) == ["a", "f", "b"]
    assert unknown(functions(node)) == ("SEARCH", "GUESS")
