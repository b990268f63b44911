"""Metric math: what expressions over series come to.

There are numbers, series, and arrays of series. A sign between two series counts where both have a value; between an
array and anything else it counts for each series of the array, and between two arrays for each pair. What cannot be
told (a division by nothing, say) is no value. Raises `Unsound` for an expression that means nothing.
"""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import pairwise

from compat.cloudwatch.expressions import Function, Join, Many, Name, Node, Number, Text


class Unsound(Exception):
    """The expression can be read and means nothing."""


@dataclass(frozen=True, slots=True)
class Series:
    """Values by the beginnings of their steps (seconds since 1970), which are `period` seconds long.

    `begin` and `end` are the time that was asked about: [begin, end)."""

    points: Mapping[int, float]
    period: int
    begin: int
    end: int
    label: str = ""

    def grid(self) -> range:
        """The beginnings of all steps that were asked about."""
        return range(self.begin, self.end, self.period)

    def map(self, change: Callable[[int, float], float | None]) -> Series:
        """The series with every value changed; None takes the value away."""
        found = ((at, _finite(change(at, value))) for at, value in sorted(self.points.items()))
        return replace(self, points={at: value for at, value in found if value is not None})


Value = float | Series | list[Series]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _power(base: float, exponent: float) -> float | None:
    try:
        found = base**exponent
    except (OverflowError, ZeroDivisionError):
        return None
    return found if isinstance(found, float) else None


_SIGNS: dict[str, Callable[[float, float], float | None]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": lambda left, right: left / right if right else None,
    "^": _power,
    "==": lambda left, right: float(left == right),
    "!=": lambda left, right: float(left != right),
    "<": lambda left, right: float(left < right),
    "<=": lambda left, right: float(left <= right),
    ">": lambda left, right: float(left > right),
    ">=": lambda left, right: float(left >= right),
    "AND": lambda left, right: float(bool(left) and bool(right)),
    "OR": lambda left, right: float(bool(left) or bool(right)),
}


def _join(sign: str, left: Value, right: Value) -> Value:
    if isinstance(left, list) or isinstance(right, list):
        if isinstance(left, list) and isinstance(right, list):
            if len(left) != len(right):
                raise Unsound(f"the arrays on both sides of {sign} must have the same length")
            return [_single(_join(sign, one, other)) for one, other in zip(left, right, strict=True)]
        if isinstance(left, list):
            return [_single(_join(sign, one, right)) for one in left]
        return [_single(_join(sign, left, one)) for one in right]  # type: ignore[union-attr]
    work = _SIGNS[sign]
    if isinstance(left, Series):
        if isinstance(right, Series):
            other = right.points
            return left.map(lambda at, value: work(value, other[at]) if at in other else None)
        number = right
        return left.map(lambda at, value: work(value, number))
    if isinstance(right, Series):
        number = left
        return right.map(lambda at, value: work(number, value))
    found = _finite(work(left, right))
    if found is None:
        raise Unsound(f"{left:g} {sign} {right:g} is no number")
    return found


def _single(value: Value) -> Series:
    if not isinstance(value, Series):
        raise Unsound("a time series is expected")
    return value


# --- functions --------------------------------------------------------------------------------------------------------

_Together = Callable[[list[float], int], float | None]
"""One value of those that there are, and of how many there could be."""


def _deviation(values: list[float], most: int) -> float:
    return statistics.pstdev([*values, *[0.0] * (most - len(values))])


_TOGETHER: dict[str, _Together] = {
    "SUM": lambda values, most: math.fsum(values),
    "AVG": lambda values, most: math.fsum(values) / most,
    "MIN": lambda values, most: min(values),
    "MAX": lambda values, most: max(values),
    "STDDEV": _deviation,
    "DATAPOINT_COUNT": lambda values, most: float(len(values)),
}
_EACH: dict[str, Callable[[int, float], float | None]] = {
    "ABS": lambda at, value: abs(value),
    "CEIL": lambda at, value: float(math.ceil(value)),
    "FLOOR": lambda at, value: float(math.floor(value)),
    "LOG": lambda at, value: math.log(value) if value > 0 else None,
    "LOG10": lambda at, value: math.log10(value) if value > 0 else None,
    "EPOCH": lambda at, value: float(at),
    "MINUTE": lambda at, value: float(_utc(at).minute),
    "HOUR": lambda at, value: float(_utc(at).hour),
    "DAY": lambda at, value: float(_utc(at).isoweekday()),
    "DATE": lambda at, value: float(_utc(at).day),
    "MONTH": lambda at, value: float(_utc(at).month),
    "YEAR": lambda at, value: float(_utc(at).year),
}
_STEPWISE: dict[str, Callable[[tuple[int, float], tuple[int, float]], float]] = {
    "DIFF": lambda before, now: now[1] - before[1],
    "DIFF_TIME": lambda before, now: float(now[0] - before[0]),
    "RATE": lambda before, now: (now[1] - before[1]) / (now[0] - before[0]),
}
_WORDS = {"FILL": ("REPEAT", "LINEAR"), "SORT": ("SUM", "AVG", "MIN", "MAX", "ASC", "DESC")}
OFFERED = frozenset(
    (*_TOGETHER, *_EACH, *_STEPWISE, *_WORDS, "IF", "METRICS", "METRIC_COUNT", "PERIOD", "FIRST", "LAST", "SLICE")
) | {"REMOVE_EMPTY", "RUNNING_SUM", "TIME_SERIES"}
WITHHELD = frozenset({"ANOMALY_DETECTION_BAND", "DB_PERF_INSIGHTS", "INSIGHT_RULE_METRIC", "LAMBDA", "SEARCH"}) | {
    "SERVICE_QUOTA"
}
"""What AWS has beside these."""


def _utc(at: int) -> datetime:
    return datetime.fromtimestamp(at, UTC)


def _together(name: str, value: Value) -> Value:
    """A number of one series, a series of many."""
    work = _TOGETHER[name]
    if isinstance(value, float):
        raise Unsound(f"{name} takes time series")
    if isinstance(value, Series):
        values = list(value.points.values())
        return (work(values, len(values)) or 0.0) if values else 0.0
    if not value:
        raise Unsound(f"{name} takes at least one time series")
    moments = sorted({at for one in value for at in one.points})
    found = {at: work([one.points[at] for one in value if at in one.points], len(value)) for at in moments}
    return replace(value[0], points={at: one for at, one in found.items() if one is not None}, label="")


def _stepwise(name: str, value: Value) -> Value:
    if isinstance(value, list):
        return [_single(_stepwise(name, one)) for one in value]
    work, points = _STEPWISE[name], sorted(_single(value).points.items())
    return replace(_single(value), points={now[0]: work(before, now) for before, now in pairwise(points)})


def _running(value: Value) -> Value:
    if isinstance(value, list):
        return [_single(_running(one)) for one in value]
    total, points = 0.0, {}
    for at, number in sorted(_single(value).points.items()):
        points[at] = total = total + number
    return replace(_single(value), points=points)


def _fill(value: Value, with_: Value | str) -> Value:
    if isinstance(value, list):
        fillers = with_ if isinstance(with_, list) else [with_] * len(value)
        if len(fillers) != len(value):
            raise Unsound("FILL takes arrays of the same length")
        return [_single(_fill(one, filler)) for one, filler in zip(value, fillers, strict=True)]
    series = _single(value)
    points = dict(series.points)
    known = sorted(points.items())
    if with_ == "LINEAR":
        for (at, low), (until, high) in pairwise(known):
            for step in range(at + series.period, until, series.period):
                points[step] = low + (high - low) * (step - at) / (until - at)
    elif with_ == "REPEAT":
        last: float | None = None
        for at in series.grid():
            last = points.get(at, last)
            if last is not None:
                points[at] = last
    else:
        for at in series.grid():
            if at not in points:
                filler = with_.points.get(at) if isinstance(with_, Series) else with_
                if isinstance(filler, float):
                    points[at] = filler
    return replace(series, points=points)


def _if(condition: Value, yes: Value, no: Value | None) -> Value:
    if isinstance(condition, list) or isinstance(yes, list) or isinstance(no, list):
        raise Unsound("IF takes no arrays")
    if isinstance(condition, float):
        chosen = yes if condition else no
        if chosen is None:
            if isinstance(yes, float):
                raise Unsound("IF with a number for its condition takes a value for the other case")
            return replace(_single(yes), points={})
        return chosen

    def choose(at: int, value: float) -> float | None:
        chosen = yes if value else no
        return chosen.points.get(at) if isinstance(chosen, Series) else chosen

    return condition.map(choose)


def _array(name: str, value: Value) -> list[Series]:
    if isinstance(value, Series):
        return [value]
    if isinstance(value, float):
        raise Unsound(f"{name} takes an array of time series")
    return value


def _sorted(value: Value, by: str, order: str, most: Value | None) -> Value:
    if by not in _TOGETHER or order not in ("ASC", "DESC"):
        raise Unsound("SORT takes an array, one of AVG, MAX, MIN and SUM, and ASC or DESC")

    def key(one: Series) -> float:
        found = _together(by, one)
        return found if isinstance(found, float) else 0.0

    found = sorted(_array("SORT", value), key=key, reverse=order == "DESC")
    return found if most is None else found[: _whole(most)]


def _slice(value: Value, begin: Value, end: Value | None) -> Value:
    found, first = _array("SLICE", value), _whole(begin)
    if end is not None:
        return found[first : _whole(end)]
    if first >= len(found):
        raise Unsound("SLICE goes beyond its array")
    return found[first]


def _whole(value: Value) -> int:
    if not isinstance(value, float) or value < 0:
        raise Unsound("a number is expected")
    return int(value)


class Evaluation:
    """Expressions over what is named: metrics' series by their ids, in the order of the call, and other expressions."""

    def __init__(self, metrics: Mapping[str, Series], expressions: Mapping[str, Node], window: Series) -> None:
        """`window` is an empty series that says which time is asked about, in which steps."""
        self._metrics, self._expressions, self._window = metrics, expressions, window
        self._known: dict[str, Value] = {}
        self._open: set[str] = set()

    def named(self, id: str) -> Value:
        """What the expression of that id comes to, or the metric's series."""
        if id in self._metrics:
            return self._metrics[id]
        if id not in self._expressions:
            raise Unsound(f"there is no {id}")
        if id not in self._known:
            if id in self._open:
                raise Unsound(f"{id} refers to itself")
            self._open.add(id)
            self._known[id] = self._value(self._expressions[id])
            self._open.discard(id)
        return self._known[id]

    def _value(self, node: Node) -> Value:
        if isinstance(node, Number):
            return node.value
        if isinstance(node, Name):
            return self.named(node.name)
        if isinstance(node, Join):
            return _join(node.sign, self._value(node.left), self._value(node.right))
        if isinstance(node, Many):
            return [one for part in node.parts for one in _array("[]", self._value(part))]
        if isinstance(node, Text):
            raise Unsound("a text stands where a value is expected")
        return self._call(node)

    def _call(self, call: Function) -> Value:
        name = call.name
        if name == "METRICS":
            if len(call.arguments) > 1 or any(not isinstance(one, Text) for one in call.arguments):
                raise Unsound("METRICS takes at most a text")
            part = "".join(one.value for one in call.arguments if isinstance(one, Text))
            return [series for id, series in self._metrics.items() if part in id]
        words = _WORDS.get(name, ())
        given: list[Value] = []
        said: list[str] = []
        for node in call.arguments:
            if isinstance(node, Name) and node.name.upper() in words and node.name not in self._metrics:
                said.append(node.name.upper())
            else:
                given.append(self._value(node))
        try:
            return self._work(name, given, said)
        except IndexError:
            raise Unsound(f"{name} takes more arguments") from None

    def _work(self, name: str, given: list[Value], said: list[str]) -> Value:
        most = {"FILL": 2, "IF": 3, "SLICE": 3, "SORT": 2}.get(name, 1)
        if len(given) > most:
            raise Unsound(f"{name} takes fewer arguments")
        if name in _TOGETHER:
            return _together(name, given[0])
        if name in _EACH:
            return _map(given[0], _EACH[name])
        if name in _STEPWISE:
            return _stepwise(name, given[0])
        third = given[2] if len(given) > 2 else None
        if name == "IF":
            return _if(given[0], given[1], third)
        if name == "FILL":
            return _fill(given[0], said[0] if said else given[1])
        if name == "SORT":
            by, order = said[0], said[1]
            return _sorted(given[0], by, order, given[1] if len(given) > 1 else None)
        if name == "SLICE":
            return _slice(given[0], given[1], third)
        if name == "RUNNING_SUM":
            return _running(given[0])
        if name == "PERIOD":
            return float(_single(given[0]).period)
        if name == "TIME_SERIES":
            if not isinstance(given[0], float):
                raise Unsound("TIME_SERIES takes a number")
            return replace(self._window, points=dict.fromkeys(self._window.grid(), given[0]))
        array = _array(name, given[0])
        if name == "METRIC_COUNT":
            return float(len(array))
        if name == "REMOVE_EMPTY":
            return [one for one in array if one.points]
        if not array:
            raise Unsound(f"{name} takes at least one time series")
        return array[0 if name == "FIRST" else -1]


def _map(value: Value, change: Callable[[int, float], float | None]) -> Value:
    if isinstance(value, list):
        return [one.map(change) for one in value]
    if isinstance(value, Series):
        return value.map(change)
    found = _finite(change(0, value))
    if found is None:
        raise Unsound("that is no number")
    return found


def series_of(value: Value) -> list[Series]:
    """The series that an expression came to. Raises `Unsound` where it came to a number."""
    if isinstance(value, float):
        raise Unsound("its result is a number, and must be a time series")
    return value if isinstance(value, list) else [value]


def unknown(called: Iterable[str]) -> tuple[str | None, str | None]:
    """The first function that is not offered here though AWS has it; the first that nobody has."""
    names = list(called)
    return (
        next((name for name in names if name in WITHHELD), None),
        next((name for name in names if name not in WITHHELD and name not in OFFERED), None),
    )
