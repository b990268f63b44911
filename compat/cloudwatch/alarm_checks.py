"""What alarms may ask for, in CloudWatch's own words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from compat.cloudwatch.metric_data import check_queries
from compat.cloudwatch.statistics import check_statistic
from compat.errors import AWSError

if TYPE_CHECKING:
    from compat.operation import Params

DAY, WEEK = 86400, 7 * 86400
MOST_ACTIONS, MOST_METRICS = 5, 10
SHORT = (10, 20, 30)
MISSING = ("breaching", "notBreaching", "ignore", "missing")
EC2_ACTION = re.compile(r"arn:aws[\w-]*:automate:[\w-]+:ec2:(?P<verb>stop|terminate|reboot|recover)")
_ARN = re.compile(r"arn:aws[\w-]*:[\w-]+:[^:]*:[^:]*:.+")
_SWF = re.compile(r"arn:aws[\w-]*:swf:[^:]*:\d{12}:action/actions/AWS_EC2\.InstanceId\.(?P<verb>\w+)/1\.0")
WITHHELD = ("ThresholdMetricId", "EvaluationWindow", "WarmUpConfiguration", "EvaluationCriteria") + (
    "EvaluationInterval",
    "ActionConfiguration",
    "ActionsSuppressor",
)
"""Members that ask for what is not offered."""
OPERATORS = {
    "GreaterThanOrEqualToThreshold": "greater than or equal to",
    "GreaterThanThreshold": "greater than",
    "LessThanThreshold": "less than",
    "LessThanOrEqualToThreshold": "less than or equal to",
}


def wrong(message: str) -> AWSError:
    """The error for what an alarm cannot ask for."""
    return AWSError("ValidationError", message)


def verb_of(action: str) -> str | None:
    """What an action does to an instance: `stop`, `terminate`, `reboot` or `recover`; None for any other action."""
    found = EC2_ACTION.fullmatch(action) or _SWF.fullmatch(action)
    return found["verb"].lower() if found else None


def check_common(p: Params) -> None:
    """What alarms on metrics and on alarms have in common."""
    for member in WITHHELD:
        if p.get(member) is not None:
            raise AWSError("NotImplemented", f"{member} is not implemented by Nephele.")
    for member in ("OKActions", "AlarmActions", "InsufficientDataActions"):
        actions = p.get(member) or ()
        if len(actions) > MOST_ACTIONS:
            raise wrong(f"The collection {member} must not have a size greater than {MOST_ACTIONS}.")
        for action in actions:
            if not _ARN.fullmatch(action):
                raise wrong(f"Invalid arn syntax: {action}")
            if verb_of(action) == "recover":
                raise AWSError("NotImplemented", f"The action {action} is not implemented by Nephele.")


def check_metric_alarm(p: Params) -> None:
    """Refuse what PutMetricAlarm refuses."""
    check_common(p)
    operator = p.get("ComparisonOperator")
    if operator not in OPERATORS:
        if operator is None:
            raise AWSError("MissingParameter", "The parameter ComparisonOperator is required.")
        raise AWSError("NotImplemented", f"Anomaly detection ({operator}) is not implemented by Nephele.")
    if p.get("Threshold") is None:
        raise AWSError("MissingParameter", "The parameter Threshold is required.")
    periods, points = p.get("EvaluationPeriods"), p.get("DatapointsToAlarm")
    if periods is None:
        raise AWSError("MissingParameter", "The parameter EvaluationPeriods is required.")
    if points is not None and points > periods:
        raise wrong("The parameter DatapointsToAlarm must be less than or equal to EvaluationPeriods.")
    treatment = p.get("TreatMissingData")
    if treatment is not None and treatment not in MISSING:
        raise wrong(f"The value {treatment} for parameter TreatMissingData is not supported.")
    if p.get("Metrics"):
        period = _check_metrics(p)
    else:
        period = _check_metric(p)
    low = p.get("EvaluateLowSampleCountPercentile")
    if low is not None:
        if low not in ("evaluate", "ignore"):
            raise wrong(f"Option {low} for EvaluateLowSampleCountPercentile is not supported.")
        if not p.get("ExtendedStatistic"):
            raise wrong("EvaluateLowSampleCountPercentile is only supported for percentile statistics.")
    if any(verb_of(one) for name in ("OKActions", "AlarmActions") for one in p.get(name) or ()) and not instance_of(p):
        raise wrong("EC2 actions need a metric with the dimension InstanceId.")
    if period * periods > (DAY if period < 3600 else WEEK):
        most = DAY if period < 3600 else WEEK
        raise wrong(
            f"Metrics cannot be checked across more than {'a day' if most == DAY else 'seven days'} "
            f"(EvaluationPeriods * Period must be <= {most})."
        )


def _check_period(period: int) -> int:
    if period not in SHORT and (period < 60 or period % 60):
        raise wrong("Period must be 10, 20, 30 or a multiple of 60")
    return period


def _check_metric(p: Params) -> int:
    for member in ("MetricName", "Namespace", "Period"):
        if p.get(member) is None:
            raise AWSError("MissingParameter", f"The parameter {member} is required.")
    if (p.get("Statistic") is None) == (p.get("ExtendedStatistic") is None):
        raise wrong("Exactly one of Statistic and ExtendedStatistic must be specified.")
    check_statistic(p.get("Statistic") or p["ExtendedStatistic"], "ValidationError", "ExtendedStatistic")
    return _check_period(p["Period"])


def _check_metrics(p: Params) -> int:
    """The period of an alarm on several metrics or an expression."""
    for member in ("MetricName", "Namespace", "Period", "Statistic", "ExtendedStatistic", "Unit", "Dimensions"):
        if p.get(member):
            raise wrong(f"Metrics list and parameter {member} must not be given together.")
    metrics = p["Metrics"]
    check_queries(metrics, "Metrics")
    if sum("MetricStat" in one for one in metrics) > MOST_METRICS:
        raise wrong(f"The collection Metrics must not have more than {MOST_METRICS} metrics.")
    if sum(one.get("ReturnData", True) for one in metrics) != 1:
        raise wrong("Exactly one element of the metrics list should return data.")
    periods = [_check_period(one["MetricStat"]["Period"]) for one in metrics if "MetricStat" in one]
    return max([*periods, *(one["Period"] for one in metrics if one.get("Period"))], default=60)


def queries_of(about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What an alarm asks of its metrics, as GetMetricData is asked."""
    if about.get("Metrics"):
        return list(about["Metrics"])
    metric = {name: about[name] for name in ("Namespace", "MetricName", "Dimensions") if about.get(name)}
    stat = {"Metric": metric, "Period": about["Period"], "Stat": about.get("Statistic") or about["ExtendedStatistic"]}
    if about.get("Unit"):
        stat["Unit"] = about["Unit"]
    return [{"Id": "m", "MetricStat": stat}]


def instance_of(about: Mapping[str, Any]) -> str | None:
    """The instance that an alarm's metric is about."""
    for query in queries_of(about) if about.get("Metrics") or about.get("MetricName") else ():
        for one in query.get("MetricStat", {}).get("Metric", {}).get("Dimensions") or ():
            if one["Name"] == "InstanceId":
                return str(one["Value"])
    return None
