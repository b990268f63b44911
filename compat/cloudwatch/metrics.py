"""Metrics: which there are, and statistics of one."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from backends.metrics.models import Subject
from backends.metrics.service import Found, seconds
from compat.cloudwatch.statistics import Window, by_step, check_statistic, is_period, statistic, window
from compat.context import Context
from compat.describe import decode_token, encode_token
from compat.errors import AWSError
from compat.operation import Params, Result, operation

MOST_POINTS = 1440
PAGE = 500
LISTED, RECENT = timedelta(days=14), timedelta(hours=3)
"""A metric is listed for so long after its last data; when only recent ones are asked for."""


def _invalid(message: str) -> AWSError:
    return AWSError("InvalidParameterValue", message)


def _clash(message: str) -> AWSError:
    return AWSError("InvalidParameterCombination", message)


def pairs_of(dimensions: Sequence[Mapping[str, Any]] | None) -> tuple[tuple[str, str], ...]:
    """Dimensions as pairs, in the order of their names."""
    return tuple(sorted((one["Name"], one["Value"]) for one in dimensions or ()))


def moment(at: int) -> datetime:
    """Seconds since 1970 as a moment."""
    return datetime.fromtimestamp(at, UTC)


def units_of(subject: Subject | None, name: str, unit: str | None) -> dict[int, str]:
    """The places of a metric's series among those of its subject, with their units; only of `unit`, if one is given."""
    if subject is None:
        return {}
    return {
        place: held
        for place, (named, held) in enumerate(subject.series)
        if named == name and (unit is None or unit == held)
    }


def samples(ctx: Context, subject: Subject | None, units: Mapping[int, str], span: Window) -> list[Found]:
    """What was measured of some series in a window."""
    if subject is None or not units:
        return []
    return ctx.metrics.read(subject, units, span.begin, span.end, span.period)


@operation("cloudwatch:GetMetricStatistics", slow=True)
def get_metric_statistics(ctx: Context, p: Params) -> Result:
    """Statistics of one metric."""
    basic, further = p.get("Statistics") or (), p.get("ExtendedStatistics") or ()
    if not basic and not further:
        raise _clash("At least one of the parameters Statistics and ExtendedStatistics must be specified.")
    if basic and further:
        raise _clash("The parameters Statistics and ExtendedStatistics cannot be used together.")
    for name in further:
        check_statistic(name, "InvalidParameterValue", "ExtendedStatistics")
    start, end, period = p["StartTime"], p["EndTime"], p["Period"]
    if start == end:
        raise _invalid("The parameter StartTime must not equal parameter EndTime.")
    if start > end:
        raise _invalid("The parameter StartTime must be less than the parameter EndTime.")
    if not is_period(period):
        raise _invalid("The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60.")
    span = window(ctx.now, start, end, period)
    if span.steps > MOST_POINTS:
        raise _clash(
            f"You have requested up to {span.steps:,} datapoints, which exceeds the limit of {MOST_POINTS:,}. You may "
            "reduce the datapoints requested by increasing Period, or decreasing the time range."
        )
    subject = ctx.metrics.subject(p["Namespace"], pairs_of(p.get("Dimensions")))
    units = units_of(subject, p["MetricName"], p.get("Unit"))
    by_unit: dict[str, list[Found]] = defaultdict(list)
    for one in samples(ctx, subject, units, span):
        by_unit[units[one.sample.series]].append(one)
    points: list[dict[str, Any]] = []
    for unit, found in by_unit.items():
        for at, inside in sorted(by_step(found, span).items()):
            point = {name: statistic(name, inside) for name in basic}
            told = {name: value for name in further if (value := statistic(name, inside)) is not None}
            if basic or told:
                points.append(
                    {"Timestamp": moment(at), "Unit": unit}
                    | {name: value for name, value in point.items() if value is not None}
                    | ({"ExtendedStatistics": told} if further else {})
                )
    return {"Label": p["MetricName"], "Datapoints": points}


# --- which there are --------------------------------------------------------------------------------------------------


def _matches(dimensions: Mapping[str, str], wanted: Sequence[Mapping[str, Any]]) -> bool:
    return all(one["Name"] in dimensions and one.get("Value") in (None, dimensions[one["Name"]]) for one in wanted)


def _listed(ctx: Context, p: Params, after: int) -> Iterator[tuple[Subject, dict[str, str]]]:
    """Subjects with data of late that the call asks for, by number."""
    since = seconds(ctx.now - (RECENT if p.get("RecentlyActive") else LISTED))
    while rows := ctx.metrics.active(since, space=p.get("Namespace"), after=after):
        for row in rows:
            dimensions = dict(json.loads(row.pairs))
            if _matches(dimensions, p.get("Dimensions") or ()):
                yield row, dimensions
        after = rows[-1].number


def _place(ctx: Context, token: str | None) -> tuple[int, int]:
    """Where the page of a token begins: the number of a subject, and a place among its metrics."""
    if not token:
        return 0, 0
    try:
        number, _, place = decode_token(ctx.operation.key, token).partition(":")
        return int(number), int(place)
    except (AWSError, ValueError):
        raise _invalid("Invalid nextToken") from None


@operation("cloudwatch:ListMetrics")
def list_metrics(ctx: Context, p: Params) -> Result:
    """The account's metrics that had data in the last two weeks."""
    if p.get("OwningAccount") and not p.get("IncludeLinkedAccounts"):
        raise _invalid("The parameter OwningAccount needs IncludeLinkedAccounts to be true.")
    if p.get("OwningAccount") not in (None, ctx.account):
        return {"Metrics": [], "OwningAccounts": []}
    first, skipped = _place(ctx, p.get("NextToken"))
    found: list[dict[str, Any]] = []
    result: Result = {"Metrics": found}
    for row, dimensions in _listed(ctx, p, max(first - 1, 0)):
        names = list(dict.fromkeys(name for name, _ in row.series))
        for place, name in enumerate(names):
            if row.number == first and place < skipped or p.get("MetricName") not in (None, name):
                continue
            if len(found) == PAGE:
                result["NextToken"] = encode_token(ctx.operation.key, f"{row.number}:{place}")
                break
            shown = [{"Name": key, "Value": value} for key, value in dimensions.items()]
            found.append({"Namespace": row.space, "MetricName": name, "Dimensions": shown})
        if "NextToken" in result:
            break
    if p.get("IncludeLinkedAccounts"):
        result["OwningAccounts"] = [ctx.account] * len(found)
    return result
