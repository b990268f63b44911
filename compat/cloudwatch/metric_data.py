"""GetMetricData: statistics of many metrics in one answer, by pages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

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
class Series:
    """What one query found: moments and values, in the order of the answer."""

    query: Mapping[str, Any]
    points: Sequence[tuple[int, float]]
    forbidden: bool = False


def _check(p: Params) -> None:
    queries = p["MetricDataQueries"]
    if not queries:
        raise _wrong("The parameter MetricDataQueries is required.")
    if len(queries) > MOST_QUERIES:
        raise _wrong(f"The collection MetricDataQueries must not have a size greater than {MOST_QUERIES}.")
    seen: set[str] = set()
    for number, query in enumerate(queries, 1):
        where = f"MetricDataQueries.member.{number}"
        if not _ID.fullmatch(query["Id"]):
            raise _wrong(f"The value {query['Id']} for parameter {where}.Id is not matching the expected pattern.")
        if query["Id"] in seen:
            raise _wrong("The values for parameter id in MetricDataQueries are not unique.")
        seen.add(query["Id"])
        if ("Expression" in query) == ("MetricStat" in query):
            raise _wrong(f"The parameter {where} must have either Expression or MetricStat, and not both.")
        if "Expression" in query:
            kind = "Metrics Insights" if re.match(r"\s*SELECT\b", query["Expression"], re.IGNORECASE) else "metric math"
            raise AWSError("NotImplemented", f"{where}.Expression: {kind} is not implemented by Nephele.")
        _check_stat(query["MetricStat"], f"{where}.MetricStat")
    if not any(query.get("ReturnData", True) for query in queries):
        raise _wrong("At least one of the queries must have ReturnData set to true.")
    if p["StartTime"] == p["EndTime"]:
        raise _wrong("The parameter StartTime must not equal parameter EndTime.")
    if p["StartTime"] > p["EndTime"]:
        raise _wrong("The parameter StartTime must be less than the parameter EndTime.")
    if not 1 <= (p.get("MaxDatapoints") or MOST_POINTS) <= MOST_POINTS:
        raise _wrong(f"The parameter MaxDatapoints must be between 1 and {MOST_POINTS}.")


def _check_stat(stat: Mapping[str, Any], where: str) -> None:
    if not stat["Metric"].get("MetricName") or not stat["Metric"].get("Namespace"):
        raise _wrong(f"The parameter {where}.Metric must have a Namespace and a MetricName.")
    if not is_period(stat["Period"]):
        raise _wrong(f"The parameter {where}.Period must be 1, 5, 10, 20, 30 or a multiple of 60.")
    check_statistic(stat["Stat"], "ValidationError", f"{where}.Stat")


def _series(ctx: Context, p: Params, query: Mapping[str, Any]) -> Series:
    if query.get("AccountId") not in (None, ctx.account):
        return Series(query, (), forbidden=True)
    stat, metric = query["MetricStat"], query["MetricStat"]["Metric"]
    span = window(ctx.now, p["StartTime"], p["EndTime"], stat["Period"])
    subject = ctx.metrics.subject(metric["Namespace"], pairs_of(metric.get("Dimensions")))
    found = samples(ctx, subject, units_of(subject, metric["MetricName"], stat.get("Unit")), span)
    told = ((at, statistic(stat["Stat"], inside)) for at, inside in by_step(found, span).items())
    points = sorted((at, value) for at, value in told if value is not None)
    return Series(query, points if p.get("ScanBy") == "TimestampAscending" else points[::-1])


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
    for query in p["MetricDataQueries"]:
        if not query.get("ReturnData", True):
            continue
        series = _series(ctx, p, query)
        begin = min(max(skipped - before, 0), len(series.points))
        taken = series.points[begin : begin + room]
        room -= len(taken)
        before += len(series.points)
        partial = begin + len(taken) < len(series.points)
        more |= partial
        result: dict[str, Any] = {
            "Id": query["Id"],
            "Label": query.get("Label") or query["MetricStat"]["Metric"]["MetricName"],
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
