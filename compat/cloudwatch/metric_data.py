"""GetMetricData: statistics of many metrics, and what expressions make of them, in one answer, by pages."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from compat.cloudwatch.expressions import Node, Unreadable, functions, names, read
from compat.cloudwatch.mathematics import Evaluation, Series, Unsound, series_of, unknown
from compat.cloudwatch.metrics import moment, pairs_of, samples, units_of
from compat.cloudwatch.statistics import by_step, check_statistic, is_period, statistic, window
from compat.context import Context
from compat.describe import decode_token, encode_token
from compat.errors import AWSError
from compat.operation import Params, Result, operation

MOST_QUERIES = 500
MOST_POINTS = 100800
_ID = re.compile(r"[a-z][A-Za-z0-9_]*")


def _wrong(message: str) -> AWSError:
    return AWSError("ValidationError", message)


@dataclass(frozen=True, slots=True)
class Line:
    """What one query found: moments and values, in the order of the answer."""

    query: Mapping[str, Any]
    label: str
    points: Sequence[tuple[int, float]]
    forbidden: bool = False


def _check(p: Params) -> None:
    queries = p["MetricDataQueries"]
    if not queries:
        raise _wrong("The parameter MetricDataQueries is required.")
    if len(queries) > MOST_QUERIES:
        raise _wrong(f"The collection MetricDataQueries must not have a size greater than {MOST_QUERIES}.")
    check_queries(queries, "MetricDataQueries")
    if not any(query.get("ReturnData", True) for query in queries):
        raise _wrong("At least one of the queries must have ReturnData set to true.")
    if p["StartTime"] == p["EndTime"]:
        raise _wrong("The parameter StartTime must not equal parameter EndTime.")
    if p["StartTime"] > p["EndTime"]:
        raise _wrong("The parameter StartTime must be less than the parameter EndTime.")
    if not 1 <= (p.get("MaxDatapoints") or MOST_POINTS) <= MOST_POINTS:
        raise _wrong(f"The parameter MaxDatapoints must be between 1 and {MOST_POINTS}.")


def check_queries(queries: Sequence[Mapping[str, Any]], collection: str) -> None:
    """Refuse queries (`MetricDataQuery`) of which one cannot be answered, and by name what is not offered."""
    seen: set[str] = set()
    for number, query in enumerate(queries, 1):
        where = f"{collection}.member.{number}"
        if not _ID.fullmatch(query["Id"]):
            raise _wrong(f"The value {query['Id']} for parameter {where}.Id is not matching the expected pattern.")
        if query["Id"] in seen:
            raise _wrong("The values for parameter id in MetricDataQueries are not unique.")
        seen.add(query["Id"])
        if ("Expression" in query) == ("MetricStat" in query):
            raise _wrong(f"The parameter {where} must have either Expression or MetricStat, and not both.")
        if "MetricStat" in query:
            _check_stat(query["MetricStat"], f"{where}.MetricStat")
    for number, query in enumerate(queries, 1):
        if "Expression" in query:
            _check_expression(query, f"{collection}.member.{number}", seen)


def _check_expression(query: Mapping[str, Any], where: str, known: Collection[str]) -> None:
    if re.match(r"\s*SELECT\b", query["Expression"], re.IGNORECASE):
        raise AWSError("NotImplemented", f"{where}.Expression: Metrics Insights is not implemented by Nephele.")
    try:
        node = read(query["Expression"])
    except Unreadable as fault:
        raise _wrong(f"Error in expression '{query['Id']}': Syntax error: {fault}") from None
    withheld, strange = unknown(functions(node))
    if withheld is not None:
        raise AWSError("NotImplemented", f"{where}.Expression: {withheld} is not implemented by Nephele.")
    if strange is not None:
        raise _wrong(f"Error in expression '{query['Id']}': Unknown function {strange}")
    missing = next((name for name in names(node) if name not in known and not name.isupper()), None)
    if missing is not None:
        raise _wrong(f"Error in expression '{query['Id']}': Metric or expression '{missing}' is undefined")
    if query.get("Period") is not None and not is_period(query["Period"]):
        raise _wrong(f"The parameter {where}.Period must be 1, 5, 10, 20, 30 or a multiple of 60.")


def _check_stat(stat: Mapping[str, Any], where: str) -> None:
    if not stat["Metric"].get("MetricName") or not stat["Metric"].get("Namespace"):
        raise _wrong(f"The parameter {where}.Metric must have a Namespace and a MetricName.")
    if not is_period(stat["Period"]):
        raise _wrong(f"The parameter {where}.Period must be 1, 5, 10, 20, 30 or a multiple of 60.")
    check_statistic(stat["Stat"], "ValidationError", f"{where}.Stat")


def _metric(ctx: Context, start: datetime, end: datetime, query: Mapping[str, Any]) -> Series:
    """The statistic of one metric."""
    stat, metric = query["MetricStat"], query["MetricStat"]["Metric"]
    span = window(ctx.now, start, end, stat["Period"])
    subject = ctx.metrics.subject(metric["Namespace"], pairs_of(metric.get("Dimensions")))
    found = samples(ctx, subject, units_of(subject, metric["MetricName"], stat.get("Unit")), span)
    told = ((at, statistic(stat["Stat"], inside)) for at, inside in by_step(found, span).items())
    points = {at: value for at, value in sorted(told) if value is not None}
    return Series(points, span.period, span.begin, span.end, query.get("Label") or metric["MetricName"])


def _is_foreign(ctx: Context, query: Mapping[str, Any]) -> bool:
    return query.get("AccountId") not in (None, ctx.account)


def evaluated(
    ctx: Context, start: datetime, end: datetime, queries: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[Mapping[str, Any], list[Series]]]:
    """The queries whose data is to be returned, and the series that each came to; an expression may have several.

    Raises `ValidationError` for an expression that means nothing."""
    metrics = {
        query["Id"]: _metric(ctx, start, end, query)
        for query in queries
        if "MetricStat" in query and not _is_foreign(ctx, query)
    }
    expressions: dict[str, Node] = {one["Id"]: read(one["Expression"]) for one in queries if "Expression" in one}
    periods = [series.period for series in metrics.values()]
    for query in queries:
        if not query.get("ReturnData", True):
            continue
        if query["Id"] not in expressions:
            yield query, [metrics[query["Id"]]] if query["Id"] in metrics else []
            continue
        period = query.get("Period") or max(periods, default=60)
        span = window(ctx.now, start, end, period)
        work = Evaluation(metrics, expressions, Series({}, period, span.begin, span.end))
        try:
            found = series_of(work.named(query["Id"]))
        except Unsound as fault:
            raise _wrong(f"Error in expression '{query['Id']}': {fault}") from None
        label = query.get("Label") or query["Id"]
        several = len(found) > 1
        yield query, [replace(one, label=f"{label} {one.label}".strip() if several else label) for one in found]


def _lines(ctx: Context, p: Params) -> Iterator[Line]:
    for query, found in evaluated(ctx, p["StartTime"], p["EndTime"], p["MetricDataQueries"]):
        if _is_foreign(ctx, query):
            yield Line(query, query.get("Label") or query["MetricStat"]["Metric"]["MetricName"], (), forbidden=True)
        for series in found:
            points = sorted(series.points.items())
            yield Line(query, series.label, points if p.get("ScanBy") == "TimestampAscending" else points[::-1])


def _skipped(ctx: Context, token: str | None) -> int:
    """How many data points the pages before a token had."""
    if not token:
        return 0
    try:
        return int(decode_token(ctx.operation.key, token))
    except ValueError:
        raise AWSError("InvalidNextToken", f"The token '{token}' is invalid.") from None


@operation("cloudwatch:GetMetricData", slow=True)
def get_metric_data(ctx: Context, p: Params) -> Result:
    """Statistics of up to 500 metrics."""
    _check(p)
    skipped, room = _skipped(ctx, p.get("NextToken")), p.get("MaxDatapoints") or MOST_POINTS
    before, results = 0, []
    more = False
    for series in _lines(ctx, p):
        begin = min(max(skipped - before, 0), len(series.points))
        taken = series.points[begin : begin + room]
        room -= len(taken)
        before += len(series.points)
        partial = begin + len(taken) < len(series.points)
        more |= partial
        result: dict[str, Any] = {
            "Id": series.query["Id"],
            "Label": series.label,
            "Timestamps": [moment(at) for at, _ in taken],
            "Values": [value for _, value in taken],
            "StatusCode": "Forbidden" if series.forbidden else "PartialData" if partial else "Complete",
        }
        if series.forbidden:
            told = "The account of this metric is not linked to this one."
            result["Messages"] = [{"Code": "Forbidden", "Value": told}]
        results.append(result)
    answer: Result = {"MetricDataResults": results, "Messages": []}
    if more:
        taken_now = (p.get("MaxDatapoints") or MOST_POINTS) - room
        answer["NextToken"] = encode_token(ctx.operation.key, str(skipped + taken_now))
    return answer
