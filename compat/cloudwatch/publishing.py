"""PutMetricData: what callers measure themselves."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from backends.errors import Exhausted
from backends.metrics.service import Measured
from compat.cloudwatch.metrics import pairs_of
from compat.context import Context
from compat.errors import AWSError
from compat.operation import Params, Result, operation

MOST_METRICS, MOST_VALUES = 1000, 150
LARGEST = 2.0**360
OLDEST, YOUNGEST = timedelta(days=14), timedelta(hours=2)
_FORMS = ("Value", "StatisticValues", "Values")


def _invalid(message: str) -> AWSError:
    return AWSError("InvalidParameterValue", message)


def _clash(message: str) -> AWSError:
    return AWSError("InvalidParameterCombination", message)


def _number(value: float, where: str) -> float:
    if not math.isfinite(value) or abs(value) > LARGEST:
        raise _invalid(f"The value {value} for parameter {where} is invalid.")
    return value


def _moment(now: datetime, datum: Mapping[str, Any], where: str, resolution: int) -> datetime:
    """When the step began that the datum belongs to."""
    at: datetime = datum.get("Timestamp") or now
    if at < now - OLDEST:
        raise _invalid(f"The parameter {where}.Timestamp must specify a time no more than two weeks in the past.")
    if at > now + YOUNGEST:
        raise _invalid(f"The parameter {where}.Timestamp must specify a time within 2 hours in the future.")
    return at.replace(microsecond=0) if resolution == 1 else at.replace(second=0, microsecond=0)


def _values(datum: Mapping[str, Any], where: str) -> Iterator[tuple[float, float, float, float]]:
    """Number, sum, least and most of the values of a datum; once for each value that is known by itself."""
    given = [name for name in _FORMS if datum.get(name) is not None]
    if not given:
        raise AWSError(
            "MissingParameter",
            f"At least one of the parameters {where}.Value, {where}.Values and {where}.StatisticValues must be "
            "specified.",
        )
    if len(given) > 1:
        raise _clash(f"The parameters {where}.{given[0]} and {where}.{given[1]} are mutually exclusive.")
    if given == ["Value"]:
        number = _number(datum["Value"], f"{where}.Value")
        yield 1.0, number, number, number
    elif given == ["Values"]:
        yield from _weighed(datum["Values"], datum.get("Counts"), where)
    else:
        known = datum["StatisticValues"]
        for name in ("SampleCount", "Sum", "Minimum", "Maximum"):
            _number(known[name], f"{where}.StatisticValues.{name}")
        if known["SampleCount"] <= 0:
            raise _invalid(
                f"The value {known['SampleCount']} for parameter {where}.StatisticValues.SampleCount is invalid."
            )
        if known["Minimum"] > known["Maximum"]:
            raise _clash(f"The parameter {where}.StatisticValues.Minimum must not exceed its Maximum.")
        yield known["SampleCount"], known["Sum"], known["Minimum"], known["Maximum"]


def _weighed(
    values: Sequence[float], counts: Sequence[float] | None, where: str
) -> Iterator[tuple[float, float, float, float]]:
    if not values or len(values) > MOST_VALUES:
        raise _invalid(f"The collection {where}.Values must have between 1 and {MOST_VALUES} members.")
    if counts is not None and len(counts) != len(values):
        raise _invalid(f"The parameters {where}.Values and {where}.Counts must be of the same size.")
    for place, value in enumerate(values):
        number = _number(value, f"{where}.Values.member.{place + 1}")
        count = 1.0 if counts is None else _number(counts[place], f"{where}.Counts.member.{place + 1}")
        if count < 0:
            raise _invalid(f"The value {count} for parameter {where}.Counts.member.{place + 1} is invalid.")
        if count:
            yield count, number * count, number, number


def _too_many(fact: Exhausted) -> AWSError:
    return AWSError("LimitExceeded", f"One set of dimensions can have {fact.limit} metrics here.", 400)


@operation("cloudwatch:PutMetricData", raises={Exhausted: _too_many})
def put_metric_data(ctx: Context, p: Params) -> Result:
    """Keep what the caller measured."""
    space, data = p["Namespace"], p.get("MetricData") or ()
    if space.startswith("AWS/"):
        raise _invalid(
            f"The value {space} for parameter Namespace is invalid: names that begin with AWS/ are reserved."
        )
    if p.get("EntityMetricData"):
        raise AWSError("NotImplemented", "EntityMetricData is not implemented by Nephele.")
    if not data:
        raise AWSError("MissingParameter", "The parameter MetricData is required.")
    if len(data) > MOST_METRICS:
        raise _invalid(f"The collection MetricData must not have a size greater than {MOST_METRICS}.")
    measured: dict[tuple[tuple[str, str], ...], list[Measured]] = defaultdict(list)
    for number, datum in enumerate(data, 1):
        where = f"MetricData.member.{number}"
        resolution = datum.get("StorageResolution") or 60
        if resolution not in (1, 60):
            raise _invalid(f"The value {resolution} for parameter {where}.StorageResolution must be 1 or 60.")
        pairs = pairs_of(datum.get("Dimensions"))
        if len({name for name, _ in pairs}) < len(pairs):
            raise _invalid(f"The parameter {where}.Dimensions names a dimension twice.")
        at, unit = _moment(ctx.now, datum, where, resolution), datum.get("Unit") or "None"
        for values in _values(datum, where):
            measured[pairs].append(Measured(datum["MetricName"], unit, at, *values, resolution))
    ctx.metrics.record(space, measured)
    return {}
