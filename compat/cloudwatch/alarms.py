"""Alarms: made, described, set and removed."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from compat.cloudwatch.alarm_checks import check_common, check_metric_alarm, verb_of, wrong
from compat.cloudwatch.alarm_rows import ACTIONS, FIRST, INSUFFICIENT, Alarm, AlarmNote, arn, find, key, note, turn
from compat.cloudwatch.alarm_rules import BadRule, Rule, about
from compat.cloudwatch.metrics import pairs_of
from compat.describe import decode_token, encode_token
from compat.errors import AWSError
from compat.iam.demands import Demand, demands_also
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

MOST_RECORDS, MOST_NAMES, MOST_TAGS = 100, 100, 50
HISTORY = timedelta(days=30)
"""How long what happened to alarms is told."""
NAMED = "alarm:{AlarmNames}"


def tags_of(given: Iterable[dict[str, str]] | None) -> dict[str, str]:
    """The tags of a request as a mapping."""
    tags = {one["Key"]: one.get("Value") or "" for one in given or ()}
    if len(tags) > MOST_TAGS:
        raise wrong(f"A resource can have at most {MOST_TAGS} tags.")
    if any(name.lower().startswith("aws:") for name in tags):
        raise wrong("Tag keys that begin with aws: are reserved.")
    return tags


def _put(ctx: Context, p: Params, *, composite: bool) -> None:
    """Keep an alarm; one that there is keeps its state and its tags."""
    about = {name: value for name, value in p.items() if name != "Tags" and value is not None}
    about.setdefault("ActionsEnabled", True)
    now, row = ctx.now, find(ctx.session, p["AlarmName"])
    if row is not None and row.is_composite != composite:
        kind = "composite" if row.is_composite else "metric"
        raise wrong(f"The alarm {p['AlarmName']} already exists as a {kind} alarm.")
    if row is None:
        document: dict[str, Any] = {
            "about": about,
            "composite": composite,
            "tags": tags_of(p.get("Tags")),
            "reason": FIRST,
            "data": None,
            "configured": now.isoformat(),
            "updated": now.isoformat(),
            "transitioned": now.isoformat(),
        }
        id = key(ctx.account, ctx.region, p["AlarmName"])
        row = Alarm(id=id, name=p["AlarmName"], state=INSUFFICIENT, document=document, created=now)
        ctx.session.add(row)
        verb = "Created"
    else:
        row.change(about=about, configured=now.isoformat())
        verb = "Updated"
    told = {"version": "1.0", "type": verb.removesuffix("d"), f"{verb.lower()}Alarm": json.loads(json.dumps(about))}
    note(ctx.session, now, row, "ConfigurationUpdate", f'Alarm "{row.name}" {verb.lower()}', told)


@demands_also("cloudwatch:PutMetricAlarm")
def _role_for_actions(ctx: Context, p: Params) -> Iterable[Demand]:
    """Whoever lets an alarm act on an instance lets CloudWatch have its role for that."""
    if any(verb_of(action) for member in ACTIONS.values() for action in p.get(member) or ()):
        role = "role/aws-service-role/events.amazonaws.com/AWSServiceRoleForCloudWatchEvents"
        yield Demand("iam:CreateServiceLinkedRole", (f"arn:{ctx.partition}:iam::{ctx.account}:{role}",))


@operation("cloudwatch:PutMetricAlarm", on="alarm:{AlarmName}")
def put_metric_alarm(ctx: Context, p: Params) -> None:
    """Keep an alarm on a metric or an expression."""
    check_metric_alarm(p)
    _put(ctx, p, composite=False)


@operation("cloudwatch:PutCompositeAlarm", on="alarm:{AlarmName}")
def put_composite_alarm(ctx: Context, p: Params) -> None:
    """Keep an alarm on other alarms, which must be there."""
    check_common(p)
    try:
        names = about(Rule(p["AlarmRule"]))
    except BadRule as fault:
        raise wrong(f"AlarmRule was invalid: {fault}") from None
    for name in names:
        if name == p["AlarmName"]:
            raise wrong(f"AlarmRule was invalid: alarm {name} refers to itself")
        if find(ctx.session, name) is None:
            raise wrong(f"Could not save the composite alarm as alarms [{name}] in the alarm rule do not exist")
    _put(ctx, p, composite=True)


@operation("cloudwatch:DeleteAlarms", on=NAMED)
def delete_alarms(ctx: Context, p: Params) -> None:
    """Remove alarms; names of none are passed over. An alarm in another's rule stays."""
    names = set(p["AlarmNames"])
    if len(names) > MOST_NAMES:
        raise wrong(f"At most {MOST_NAMES} alarms can be deleted at once.")
    alarms = list(ctx.session.scalars(select(Alarm)))
    for other in alarms:
        if other.is_composite and other.name not in names:
            held = names.intersection(about(Rule(other.about["AlarmRule"])))
            if held:
                raise wrong(f"Cannot delete {sorted(held)[0]} as there are composite alarm(s) depending on it.")
    for row in alarms:
        if row.name in names:
            note(ctx.session, ctx.now, row, "ConfigurationUpdate", f'Alarm "{row.name}" deleted', {"version": "1.0"})
            ctx.session.delete(row)


@operation("cloudwatch:SetAlarmState", on="alarm:{AlarmName}")
def set_alarm_state(ctx: Context, p: Params) -> None:
    """Put an alarm into a state until it is next looked at."""
    row = find(ctx.session, p["AlarmName"])
    if row is None:
        raise AWSError("ResourceNotFound", "", 404)
    if p.get("StateReasonData"):
        try:
            json.loads(p["StateReasonData"])
        except ValueError:
            raise AWSError("InvalidFormat", "StateReasonData is no JSON") from None
    due = turn(ctx.session, ctx.now, row, p["StateValue"], p["StateReason"], p.get("StateReasonData"))
    if due:
        row.change(due=[*row.document.get("due", ()), *due])


@operation("cloudwatch:EnableAlarmActions", on=NAMED)
def enable_alarm_actions(ctx: Context, p: Params) -> None:
    """Let alarms act."""
    _act(ctx, p["AlarmNames"], True)


@operation("cloudwatch:DisableAlarmActions", on=NAMED)
def disable_alarm_actions(ctx: Context, p: Params) -> None:
    """Let alarms change their states and do nothing."""
    _act(ctx, p["AlarmNames"], False)


def _act(ctx: Context, names: Sequence[str], enabled: bool) -> None:
    for row in ctx.session.scalars(select(Alarm).where(Alarm.name.in_(names))):
        row.change(about=row.about | {"ActionsEnabled": enabled})


# --- which there are --------------------------------------------------------------------------------------------------


def _render(ctx: Context, row: Alarm) -> dict[str, Any]:
    document = row.document
    shown = {
        "OKActions": [],
        "AlarmActions": [],
        "InsufficientDataActions": [],
        **({} if row.is_composite or row.about.get("Metrics") else {"Dimensions": []}),
        **row.about,
        "AlarmArn": arn(ctx, row.name or ""),
        "AlarmConfigurationUpdatedTimestamp": datetime.fromisoformat(document["configured"]),
        "StateValue": row.state,
        "StateReason": document["reason"],
        "StateUpdatedTimestamp": datetime.fromisoformat(document["updated"]),
        "StateTransitionedTimestamp": datetime.fromisoformat(document["transitioned"]),
    }
    for query in shown.get("Metrics", ()):
        query.setdefault("ReturnData", True)
    return shown if document["data"] is None else shown | {"StateReasonData": document["data"]}


def _skipped(ctx: Context, token: str | None) -> str:
    if not token:
        return ""
    try:
        return decode_token(ctx.operation.key, token)
    except AWSError:
        raise AWSError("InvalidNextToken", "The next token is invalid.") from None


@operation("cloudwatch:DescribeAlarms", on="alarm:*")
def describe_alarms(ctx: Context, p: Params) -> Result:
    """Alarms by name; those on metrics only, unless others are asked for."""
    names, prefix = p.get("AlarmNames"), p.get("AlarmNamePrefix")
    if names and prefix:
        raise wrong("AlarmNames and AlarmNamePrefix cannot be used together.")
    kinds = p.get("AlarmTypes") or ["MetricAlarm"]
    query = select(Alarm).order_by(Alarm.name).where(Alarm.name > _skipped(ctx, p.get("NextToken")))
    if names:
        query = query.where(Alarm.name.in_(names))
    if prefix:
        query = query.where(Alarm.name.startswith(prefix, autoescape=True))
    if p.get("StateValue"):
        query = query.where(Alarm.state == p["StateValue"])
    rows = [row for row in ctx.session.scalars(query) if _wanted(row, p, kinds)]
    if p.get("ChildrenOfAlarmName"):
        parent = _composite(ctx, p["ChildrenOfAlarmName"])
        children = about(Rule(parent.about["AlarmRule"]))
        rows = [row for row in rows if row.name in children]
    if p.get("ParentsOfAlarmName"):
        child = p["ParentsOfAlarmName"]
        rows = [row for row in rows if row.is_composite and child in about(Rule(row.about["AlarmRule"]))]
    room = p.get("MaxRecords") or MOST_RECORDS
    shown = [(row.is_composite, _render(ctx, row)) for row in rows[:room]]
    result: Result = {
        "MetricAlarms": [one for composite, one in shown if not composite],
        "CompositeAlarms": [one for composite, one in shown if composite],
    }
    if len(rows) > room:
        result["NextToken"] = encode_token(ctx.operation.key, rows[room - 1].name or "")
    return result


def _wanted(row: Alarm, p: Params, kinds: Sequence[str]) -> bool:
    if ("CompositeAlarm" if row.is_composite else "MetricAlarm") not in kinds:
        return False
    begin = p.get("ActionPrefix")
    named = ("OKActions", "AlarmActions", "InsufficientDataActions")
    return not begin or any(one.startswith(begin) for member in named for one in row.about.get(member) or ())


def _composite(ctx: Context, name: str) -> Alarm:
    row = find(ctx.session, name)
    if row is None or not row.is_composite:
        raise wrong(f"There is no composite alarm {name}.")
    return row


@operation("cloudwatch:DescribeAlarmsForMetric", on="*")
def describe_alarms_for_metric(ctx: Context, p: Params) -> Result:
    """The alarms on exactly one metric."""
    wanted = {name: p[name] for name in ("MetricName", "Namespace") if name in p}
    for name in ("Statistic", "ExtendedStatistic", "Period", "Unit"):
        if p.get(name) is not None:
            wanted[name] = p[name]
    pairs = pairs_of(p.get("Dimensions"))
    rows = [
        row
        for row in ctx.session.scalars(select(Alarm).order_by(Alarm.name))
        if wanted.items() <= row.about.items() and pairs_of(row.about.get("Dimensions")) == pairs
    ]
    return {"MetricAlarms": [_render(ctx, row) for row in rows if not row.is_composite]}


@operation("cloudwatch:DescribeAlarmHistory", on="alarm:*")
def describe_alarm_history(ctx: Context, p: Params) -> Result:
    """What happened to alarms in the last thirty days, the latest first."""
    query = select(AlarmNote).where(AlarmNote.created >= (p.get("StartDate") or ctx.now - HISTORY))
    if p.get("EndDate"):
        query = query.where(AlarmNote.created <= p["EndDate"])
    if p.get("AlarmName"):
        query = query.where(AlarmNote.name == p["AlarmName"])
    if p.get("HistoryItemType"):
        query = query.where(AlarmNote.state == p["HistoryItemType"])
    upwards = p.get("ScanBy") == "TimestampAscending"
    rows: Sequence[AlarmNote] = ctx.session.scalars(query.order_by(AlarmNote.created, AlarmNote.id)).all()
    kinds = p.get("AlarmTypes") or ["MetricAlarm"]
    rows = [row for row in rows if ("CompositeAlarm" if row.document["composite"] else "MetricAlarm") in kinds]
    rows = rows if upwards else rows[::-1]
    token = _skipped(ctx, p.get("NextToken"))
    first = next((place + 1 for place, row in enumerate(rows) if row.id == token), 0)
    room = p.get("MaxRecords") or MOST_RECORDS
    taken = rows[first : first + room]
    result: Result = {
        "AlarmHistoryItems": [
            {
                "AlarmName": row.name,
                "AlarmType": "CompositeAlarm" if row.document["composite"] else "MetricAlarm",
                "Timestamp": row.created,
                "HistoryItemType": row.state,
                "HistorySummary": row.document["summary"],
                "HistoryData": row.document["data"],
            }
            for row in taken
        ]
    }
    if first + room < len(rows):
        result["NextToken"] = encode_token(ctx.operation.key, taken[-1].id)
    return result
