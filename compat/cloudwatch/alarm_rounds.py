"""The rounds in which alarms are looked at: every minute of the cloud's clock, or every ten seconds for short periods.

An alarm looks at the last whole periods before the moment. Where fewer of them have data than it evaluates, older ones
are taken instead; where there are not enough even so, missing data counts as the alarm says.
"""

from __future__ import annotations

import json
import logging
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, select

from backends.db import Scope
from backends.metrics.service import seconds
from compat.cloudwatch.alarm_actions import act
from compat.cloudwatch.alarm_checks import OPERATORS, queries_of
from compat.cloudwatch.alarm_rows import ALARM, INSUFFICIENT, OK, Alarm, AlarmNote, arn, stamp, turn
from compat.cloudwatch.alarm_rules import Rule, about, name_of
from compat.cloudwatch.alarms import HISTORY
from compat.cloudwatch.metric_data import evaluated
from compat.errors import AWSError
from compat.iam.principal import root
from compat.iam.service_roles import acting
from compat.operation import Operation

if TYPE_CHECKING:
    from compat.cloud import Cloud
    from compat.context import Context

SHORT, MINUTE = 10, 60
TOPIC = "records"
SPARE = 2
"""Periods beyond those that an alarm evaluates, from which data is taken where some of these have none."""
_READING = Operation("cloudwatch", "GetMetricData", lambda ctx, p: None, "*", "cloudwatch:GetMetricData", streams=True)
_log = logging.getLogger("nephele.alarms")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an alarm comes to: the state, why, and the data that it was told by."""

    state: str
    reason: str
    data: str | None = None


class AlarmRounds:
    """Looks at every alarm of the cloud when it is due."""

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud
        self._short = self._minute = self._hour = self._stamp = -1

    def step(self) -> bool:
        """Look at what is due, and do what alarms ask for. Nothing is left for later."""
        now = self._cloud.database.clock()
        at = seconds(now)
        short, minute, hour = at // SHORT, at // MINUTE, at // 3600
        stamp = self._cloud.database.stamps.read().get(TOPIC, 0)
        if short == self._short and stamp == self._stamp:
            return False
        self._stamp = stamp
        scopes = self._alarms()
        if short != self._short:
            for scope, alarms in scopes.items():
                self._look(scope, alarms, now, all=minute != self._minute)
            self._short, self._minute = short, minute
        for scope, alarms in scopes.items():
            act(self._cloud, scope, [one.id for one in alarms])
        if hour != self._hour:
            self._hour = hour
            with self._cloud.database.unit(None, write=True) as unit:
                unit.session.execute(delete(AlarmNote).where(AlarmNote.created < now - HISTORY))
        return False

    def _alarms(self) -> dict[Scope, list[Alarm]]:
        found: dict[Scope, list[Alarm]] = defaultdict(list)
        with self._cloud.database.unit(None, write=False) as unit:
            for row in unit.session.scalars(select(Alarm)):
                found[Scope(row.tenant, row.region)].append(row)
        return found

    def _look(self, scope: Scope, alarms: Sequence[Alarm], now: datetime, *, all: bool) -> None:
        verdicts: dict[str, Verdict] = {}
        with acting(self._cloud, _READING, root(scope.tenant), scope.region) as ctx:
            for alarm in alarms:
                if not alarm.is_composite and (all or period_of(alarm.about) < MINUTE):
                    try:
                        verdict = judge(ctx, alarm, now)
                    except AWSError as error:  # what was kept by an older version, say
                        _log.warning("the alarm %s cannot be evaluated: %s", alarm.name, error.message)
                        continue
                    if verdict is not None and verdict.state != alarm.state:
                        verdicts[alarm.id] = verdict
            verdicts |= _compose(ctx, alarms, verdicts, now)
        if verdicts:
            with self._cloud.database.unit(scope, write=True) as unit:
                for row in unit.session.scalars(select(Alarm).where(Alarm.id.in_(verdicts))):
                    told = verdicts[row.id]
                    due = turn(unit.session, unit.now, row, told.state, told.reason, told.data)
                    if due:
                        row.change(due=[*row.document.get("due", ()), *due])


def _compose(
    ctx: Context, alarms: Sequence[Alarm], verdicts: Mapping[str, Verdict], now: datetime
) -> dict[str, Verdict]:
    """Verdicts over the composite alarms that change, once those on metrics came to theirs."""
    states: dict[str | None, tuple[str, datetime]] = {}
    for one in alarms:
        before = one.state, datetime.fromisoformat(one.document["transitioned"])
        states[one.name] = (verdicts[one.id].state, now) if one.id in verdicts else before
    found: dict[str, Verdict] = {}
    for _ in alarms:  # composite alarms may be about each other
        changed = False
        for alarm in alarms:
            if alarm.is_composite:
                verdict = _composed(ctx, alarm, states)
                if verdict.state != states[alarm.name][0]:
                    changed, states[alarm.name] = True, (verdict.state, now)
                    found[alarm.id] = verdict
        if not changed:
            break
    return {id: verdict for id, verdict in found.items() if verdict.state != _state(alarms, id)}


def _state(alarms: Sequence[Alarm], id: str) -> str:
    return next(one.state for one in alarms if one.id == id)


def period_of(about: Mapping[str, Any]) -> int:
    """Seconds between two of an alarm's data points."""
    queries = queries_of(dict(about))
    returned = next((one for one in queries if one.get("ReturnData", True)), queries[0])
    if "MetricStat" in returned:
        return int(returned["MetricStat"]["Period"])
    given = [one["MetricStat"]["Period"] for one in queries if "MetricStat" in one]
    return int(returned.get("Period") or max(given, default=MINUTE))


def judge(ctx: Context, alarm: Alarm, now: datetime) -> Verdict | None:
    """What an alarm on a metric comes to; None where its state is to stay."""
    asked = alarm.about
    period, most = period_of(asked), int(asked["EvaluationPeriods"])
    grain = MINUTE if period >= MINUTE else period
    end = seconds(now) // grain * grain
    begin = end - period * (most + SPARE)
    found = _points(ctx, begin, end, queries_of(asked))
    steps = [end - period * (place + 1) for place in range(most + SPARE)]
    known = [(at, found[at]) for at in steps if at in found][:most]
    if asked.get("EvaluateLowSampleCountPercentile") == "ignore" and known and _few(ctx, asked, begin, end, known):
        return None
    verdict = weigh(asked, known)
    return verdict and replace(verdict, data=_data(asked, known, steps[:most], now, period))


def _points(ctx: Context, begin: int, end: int, queries: Sequence[Mapping[str, Any]]) -> Mapping[int, float]:
    start, stop = datetime.fromtimestamp(begin, UTC), datetime.fromtimestamp(end, UTC)
    for _, series in evaluated(ctx, start, stop, queries):
        return series[0].points if series else {}
    return {}


def _few(ctx: Context, about: dict[str, Any], begin: int, end: int, known: Sequence[tuple[int, float]]) -> bool:
    """Whether the latest period has too few samples for the alarm's percentile to mean anything."""
    share = float(about["ExtendedStatistic"][1:]) / 100
    rest = min(share, 1 - share)
    query = queries_of(about)[0]
    counts = _points(ctx, begin, end, [query | {"MetricStat": query["MetricStat"] | {"Stat": "SampleCount"}}])
    return rest > 0 and counts.get(known[0][0], 0) < 10 / rest


_BREACHES: dict[str, Callable[[float, float], bool]] = {
    "GreaterThanOrEqualToThreshold": lambda value, threshold: value >= threshold,
    "GreaterThanThreshold": lambda value, threshold: value > threshold,
    "LessThanThreshold": lambda value, threshold: value < threshold,
    "LessThanOrEqualToThreshold": lambda value, threshold: value <= threshold,
}


def weigh(about: Mapping[str, Any], known: Sequence[tuple[int, float]]) -> Verdict | None:
    """The verdict over the data points that there are (the latest first); None where the state is to stay."""
    most = int(about["EvaluationPeriods"])
    wanted = int(about.get("DatapointsToAlarm") or most)
    treatment = about.get("TreatMissingData") or "missing"
    breaches = _BREACHES[about["ComparisonOperator"]]
    bad = [one for one in known if breaches(one[1], about["Threshold"])]
    absent = most - len(known)
    if not known and treatment in ("missing", "ignore"):
        if treatment == "ignore":
            return None
        several = "1 datapoint was" if most == 1 else f"{most} datapoints were"
        return Verdict(INSUFFICIENT, f"Insufficient Data: {several} unknown.")
    if treatment == "breaching":
        alarmed = len(bad) + absent >= wanted
    elif treatment == "notBreaching" or len(known) >= wanted:
        alarmed = len(bad) >= wanted
    elif len(bad) < len(known):
        alarmed = False
    elif treatment == "ignore":
        return None
    else:
        alarmed = True
    verdict = ALARM if alarmed else OK
    return Verdict(verdict, _reason(about, verdict, known, bad, absent, wanted))


def _reason(
    about: Mapping[str, Any],
    verdict: str,
    known: Sequence[tuple[int, float]],
    bad: Sequence[tuple[int, float]],
    absent: int,
    wanted: int,
) -> str:
    if not known:
        treated = "Breaching" if about["TreatMissingData"] == "breaching" else "NonBreaching"
        periods = "period" if absent == 1 else "periods"
        points = "datapoint was" if absent == 1 else "datapoints were"
        return (
            f"Threshold Crossed: no datapoints were received for {absent} {periods} and {absent} missing {points} "
            f"treated as [{treated}]."
        )
    told = bad if verdict == ALARM and bad else [one for one in known if one not in bad] or known
    listed = ", ".join(f"{value} ({datetime.fromtimestamp(at, UTC):%d/%m/%y %H:%M:%S})" for at, value in told)
    verb = ("was" if len(told) == 1 else "were") + ("" if told is bad else " not")
    needed = wanted if verdict == ALARM else int(about["EvaluationPeriods"]) - wanted + 1
    return (
        f"Threshold Crossed: {len(told)} out of the last {len(known)} datapoints [{listed}] {verb} "
        f"{OPERATORS[about['ComparisonOperator']]} the threshold ({float(about['Threshold'])}) (minimum {needed} "
        f"datapoint{'s' if needed > 1 else ''} for {OK if verdict == ALARM else ALARM} -> {verdict} transition)."
    )


def _data(
    about: Mapping[str, Any],
    known: Sequence[tuple[int, float]],
    latest: Sequence[int],
    now: datetime,
    period: int,
) -> str:
    """The data that a verdict was told by: the values that there were, the latest first, and the periods without."""
    at_all = {**dict.fromkeys(latest), **dict(known)}
    points = sorted(at_all.items(), reverse=True)[: max(len(latest), len(known))]
    told: dict[str, Any] = {"version": "1.0", "queryDate": stamp(now)}
    if known:
        told["startDate"] = stamp(datetime.fromtimestamp(known[-1][0], UTC))
    if about.get("Unit"):
        told["unit"] = about["Unit"]
    statistic = about.get("Statistic") or about.get("ExtendedStatistic")
    if statistic:
        told["statistic"] = statistic
    told |= {
        "period": period,
        "recentDatapoints": [value for _, value in reversed(known)],
        "threshold": float(about["Threshold"]),
        "evaluatedDatapoints": [
            {"timestamp": stamp(datetime.fromtimestamp(at, UTC))} | ({} if value is None else {"value": value})
            for at, value in points
        ],
    }
    return json.dumps(told)


def _composed(ctx: Context, alarm: Alarm, states: Mapping[str | None, tuple[str, datetime]]) -> Verdict:
    """What an alarm on others comes to; the reason is the one of them whose state changed last."""
    rule = Rule(alarm.about["AlarmRule"])

    def state_of(reference: str) -> str | None:
        found = states.get(name_of(reference))
        return found and found[0]

    state = ALARM if rule.holds(state_of) else OK
    known = [(states[name], name) for name in about(rule) if name in states]
    if not known:
        return Verdict(state, f"The alarm rule is always {'true' if state == ALARM else 'false'}")
    (value, since), name = max(known, key=lambda one: one[0][1])
    called = arn(ctx, name)
    trigger = {"arn": called, "state": {"value": value, "timestamp": stamp(since)}}
    reason = f"{called} transitioned to {value} at {since:%A %d %B, %Y %H:%M:%S} UTC"
    return Verdict(state, reason, json.dumps({"triggeringAlarms": [trigger]}))
