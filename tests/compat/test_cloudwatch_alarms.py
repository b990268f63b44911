"""CloudWatch alarms: kept as they are asked for, looked at by the minute, and what they do to instances."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.compat.conftest import new_client
from tests.compat.passing import advance, ask, until
from tests.compat.refused import refused
from tests.compat.waiting import wait
from tests.server import Server

SPACE = "Mine"
TOPIC = "arn:aws:sns:us-east-1:123456789012:topic"
PLAIN: dict[str, Any] = {
    "MetricName": "n",
    "Namespace": SPACE,
    "Statistic": "Average",
    "Period": 60,
    "EvaluationPeriods": 1,
    "Threshold": 5.0,
    "ComparisonOperator": "GreaterThanThreshold",
}


@pytest.fixture
def cloudwatch(client: Callable[..., Any]) -> Any:
    return client("cloudwatch")


def alarm(cloudwatch: Any, name: str = "a", **about: Any) -> None:
    cloudwatch.put_metric_alarm(**{"AlarmName": name, **PLAIN, **about})


def described(cloudwatch: Any, name: str = "a") -> dict[str, Any]:
    told = cloudwatch.describe_alarms(AlarmNames=[name], AlarmTypes=["MetricAlarm", "CompositeAlarm"])
    [found] = [*told["MetricAlarms"], *told["CompositeAlarms"]]
    return dict(found)


def history(cloudwatch: Any, kind: str, name: str = "a", **about: Any) -> list[dict[str, Any]]:
    told = cloudwatch.describe_alarm_history(AlarmName=name, HistoryItemType=kind, **about)
    return list(told["AlarmHistoryItems"])


def test_an_alarm_is_told_as_it_was_asked_for(cloudwatch: Any) -> None:
    dimensions = [{"Name": "InstanceId", "Value": "i-1"}]
    still = {"TreatMissingData": "ignore"}  # whenever the cloud looks at it
    alarm(cloudwatch, AlarmDescription="d", Dimensions=dimensions, AlarmActions=[TOPIC], Unit="Percent", **still)
    found = described(cloudwatch)
    assert found.items() >= (PLAIN | {"AlarmDescription": "d", "Dimensions": dimensions, "Unit": "Percent"}).items()
    assert found["AlarmArn"].endswith(":alarm:a")
    assert (found["StateValue"], found["StateReason"]) == ("INSUFFICIENT_DATA", "Unchecked: Initial alarm creation")
    assert (found["ActionsEnabled"], found["AlarmActions"], found["OKActions"]) == (True, [TOPIC], [])
    cloudwatch.set_alarm_state(AlarmName="a", StateValue="OK", StateReason="because")
    alarm(cloudwatch, Threshold=7, **still)
    found = described(cloudwatch)
    assert (found["Threshold"], found["StateValue"], found["StateReason"]) == (7, "OK", "because")
    assert "AlarmDescription" not in found
    assert [one["HistorySummary"] for one in history(cloudwatch, "ConfigurationUpdate")] == [
        'Alarm "a" updated',
        'Alarm "a" created',
    ]
    [change] = history(cloudwatch, "StateUpdate")
    assert change["HistorySummary"] == "Alarm updated from INSUFFICIENT_DATA to OK"
    assert json.loads(change["HistoryData"])["newState"] == {"stateValue": "OK", "stateReason": "because"}
    cloudwatch.delete_alarms(AlarmNames=["a", "never"])
    assert cloudwatch.describe_alarms()["MetricAlarms"] == []


def test_alarms_are_found_by_names_states_and_metrics(cloudwatch: Any) -> None:
    for number in range(5):
        alarm(cloudwatch, f"one-{number}", TreatMissingData="ignore")
    alarm(cloudwatch, "two", MetricName="m", AlarmActions=[TOPIC])
    pages = cloudwatch.get_paginator("describe_alarms").paginate(PaginationConfig={"PageSize": 2})
    assert [one["AlarmName"] for page in pages for one in page["MetricAlarms"]] == [
        *(f"one-{number}" for number in range(5)),
        "two",
    ]
    assert len(cloudwatch.describe_alarms(AlarmNamePrefix="one-")["MetricAlarms"]) == 5
    assert len(cloudwatch.describe_alarms(ActionPrefix="arn:aws:sns")["MetricAlarms"]) == 1
    cloudwatch.set_alarm_state(AlarmName="one-3", StateValue="ALARM", StateReason="r")
    [found] = cloudwatch.describe_alarms(StateValue="ALARM")["MetricAlarms"]
    assert found["AlarmName"] == "one-3"
    [found] = cloudwatch.describe_alarms_for_metric(Namespace=SPACE, MetricName="m")["MetricAlarms"]
    assert found["AlarmName"] == "two"
    cloudwatch.disable_alarm_actions(AlarmNames=["two"])
    assert described(cloudwatch, "two")["ActionsEnabled"] is False
    cloudwatch.enable_alarm_actions(AlarmNames=["two"])
    assert described(cloudwatch, "two")["ActionsEnabled"] is True


@pytest.mark.parametrize(
    "code, about",
    [
        ("ValidationError", {"Period": 45}),
        ("ValidationError", {"Period": 60, "EvaluationPeriods": 1441}),
        ("ValidationError", {"EvaluationPeriods": 1, "DatapointsToAlarm": 2}),
        ("ValidationError", {"TreatMissingData": "guess"}),
        ("ValidationError", {"ExtendedStatistic": "p90"}),
        ("ValidationError", {"AlarmActions": ["no arn"]}),
        ("ValidationError", {"AlarmActions": ["arn:aws:automate:us-east-1:ec2:stop"]}),
        ("ValidationError", {"EvaluateLowSampleCountPercentile": "ignore"}),
        ("ValidationError", {"Metrics": [{"Id": "q", "Expression": "1"}]}),
        ("NotImplemented", {"ComparisonOperator": "GreaterThanUpperThreshold", "ThresholdMetricId": "x"}),
        ("NotImplemented", {"AlarmActions": ["arn:aws:automate:us-east-1:ec2:recover"]}),
    ],
)
def test_what_an_alarm_cannot_ask_for_is_refused(cloudwatch: Any, code: str, about: dict[str, Any]) -> None:
    with refused(code):
        alarm(cloudwatch, **about)
    assert cloudwatch.describe_alarms()["MetricAlarms"] == []
    with refused("ResourceNotFound"):
        cloudwatch.set_alarm_state(AlarmName="a", StateValue="OK", StateReason="r")


def test_alarms_and_dashboards_have_tags(cloudwatch: Any) -> None:
    alarm(cloudwatch, Tags=[{"Key": "k", "Value": "v"}])
    arn = described(cloudwatch)["AlarmArn"]
    cloudwatch.tag_resource(ResourceARN=arn, Tags=[{"Key": "l", "Value": "w"}])
    cloudwatch.untag_resource(ResourceARN=arn, TagKeys=["k"])
    assert cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"] == [{"Key": "l", "Value": "w"}]
    with refused("ResourceNotFoundException"):
        cloudwatch.list_tags_for_resource(ResourceARN=arn + "x")


def test_dashboards_are_kept_as_they_are_given(cloudwatch: Any) -> None:
    body = json.dumps({"widgets": [{"type": "text", "properties": {"markdown": "hello"}}]})
    cloudwatch.put_dashboard(DashboardName="d", DashboardBody=body)
    assert cloudwatch.get_dashboard(DashboardName="d")["DashboardBody"] == body
    [entry] = cloudwatch.list_dashboards(DashboardNamePrefix="d")["DashboardEntries"]
    assert (entry["DashboardName"], entry["Size"]) == ("d", len(body))
    with refused("InvalidParameterInput"):
        cloudwatch.put_dashboard(DashboardName="e", DashboardBody="{")
    with refused("ResourceNotFound"):
        cloudwatch.delete_dashboards(DashboardNames=["d", "e"])
    cloudwatch.delete_dashboards(DashboardNames=["d"])
    with refused("ResourceNotFound"):
        cloudwatch.get_dashboard(DashboardName="d")


def test_an_alarm_in_anothers_rule_stays(cloudwatch: Any) -> None:
    with refused("ValidationError", "do not exist"):
        cloudwatch.put_composite_alarm(AlarmName="c", AlarmRule="ALARM(a)")
    alarm(cloudwatch)
    with refused("ValidationError", "AlarmRule was invalid"):
        cloudwatch.put_composite_alarm(AlarmName="c", AlarmRule="ALARM(a) AND")
    cloudwatch.put_composite_alarm(AlarmName="c", AlarmRule='ALARM("a") OR NOT TRUE', AlarmActions=[TOPIC])
    assert cloudwatch.describe_alarms()["CompositeAlarms"] == []
    assert described(cloudwatch, "c")["AlarmRule"] == 'ALARM("a") OR NOT TRUE'
    [child] = cloudwatch.describe_alarms(ChildrenOfAlarmName="c")["MetricAlarms"]
    assert child["AlarmName"] == "a"
    with refused("ValidationError", "depending"):
        cloudwatch.delete_alarms(AlarmNames=["a"])
    cloudwatch.delete_alarms(AlarmNames=["a", "c"])


def test_whoever_lets_alarms_act_on_instances_needs_more(client: Callable[..., Any]) -> None:
    iam = client("iam")
    iam.create_user(UserName="u")
    allowed: dict[str, Any] = {"Effect": "Allow", "Action": "cloudwatch:*", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=document)
    key = iam.create_access_key(UserName="u")["AccessKey"]
    cloudwatch = client("cloudwatch", key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    alarm(cloudwatch)
    of = [{"Name": "InstanceId", "Value": "i-1"}]
    with refused("AccessDeniedException", "iam:CreateServiceLinkedRole"):
        alarm(cloudwatch, Dimensions=of, AlarmActions=["arn:aws:automate:us-east-1:ec2:stop"])
    forbidden: dict[str, Any] = {"Effect": "Deny", "Action": "cloudwatch:PutMetricAlarm", "Resource": "*"}
    forbidden["Condition"] = {"ForAnyValue:StringLike": {"cloudwatch:AlarmActions": "arn:aws:sns:*"}}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allowed, forbidden]})
    iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=document)
    alarm(cloudwatch)
    with refused("AccessDeniedException", "explicit deny"):
        alarm(cloudwatch, OKActions=[TOPIC])


# --- while time passes ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own, whose clock these tests move."""
    with Server(tmp_path_factory.mktemp("moved") / "data") as server:
        yield server


def now_of(server: Server) -> datetime:
    ahead: float = ask(server.endpoint, "GET", "/_nephele/time")["ahead"]
    return datetime.now(UTC) + timedelta(seconds=ahead)


def put(cloudwatch: Any, at: datetime, value: float, name: str = "n") -> None:
    cloudwatch.put_metric_data(Namespace=SPACE, MetricData=[{"MetricName": name, "Timestamp": at, "Value": value}])


@pytest.mark.embedded
def test_alarms_follow_their_metrics(moved: Server, account: str) -> None:
    cloudwatch = new_client(moved.endpoint, "cloudwatch", account)
    alarm(cloudwatch, AlarmActions=[TOPIC])
    alarm(cloudwatch, "quiet", TreatMissingData="notBreaching")
    alarm(cloudwatch, "silence", TreatMissingData="breaching")
    ratio = [
        {"Id": "e", "Expression": "n / m * 100"},
        *(
            {
                "Id": name,
                "MetricStat": {"Metric": {"Namespace": SPACE, "MetricName": name}, "Period": 60, "Stat": "Sum"},
            }
            | {"ReturnData": False}
            for name in ("n", "m")
        ),
    ]
    expression = {name: PLAIN[name] for name in ("EvaluationPeriods", "ComparisonOperator")}
    cloudwatch.put_metric_alarm(AlarmName="ratio", Threshold=50, Metrics=ratio, **expression)
    cloudwatch.put_composite_alarm(AlarmName="both", AlarmRule="ALARM(a) AND ALARM(ratio)")
    at = now_of(moved)  # in one minute, or the ratio of them is never known
    put(cloudwatch, at, 9)
    put(cloudwatch, at, 10, "m")
    advance(moved.endpoint, 60)

    def states() -> dict[str, str]:
        told = cloudwatch.describe_alarms(AlarmTypes=["MetricAlarm", "CompositeAlarm"])
        return {one["AlarmName"]: one["StateValue"] for one in [*told["MetricAlarms"], *told["CompositeAlarms"]]}

    firing = dict.fromkeys(("a", "quiet", "silence", "ratio", "both"), "ALARM")
    until(states, lambda found: found == firing)
    assert "9.0 (" in described(cloudwatch)["StateReason"]
    assert "greater than the threshold (5.0)" in described(cloudwatch)["StateReason"]
    assert json.loads(described(cloudwatch)["StateReasonData"])["recentDatapoints"] == [9]
    both = described(cloudwatch, "both")
    assert " transitioned to ALARM at " in both["StateReason"]
    [trigger] = json.loads(both["StateReasonData"])["triggeringAlarms"]
    assert trigger["state"]["value"] == "ALARM"
    [action] = until(lambda: history(cloudwatch, "Action"))
    assert action["HistorySummary"] == f"Failed to execute action {TOPIC}"
    at = now_of(moved)
    put(cloudwatch, at, 1)
    put(cloudwatch, at, 10, "m")
    advance(moved.endpoint, 60)
    until(states, lambda found: set(found.values()) == {"OK"})
    advance(moved.endpoint, 600)
    until(states, lambda found: found["a"] == "INSUFFICIENT_DATA" and found["silence"] == "ALARM")
    assert states()["quiet"] == "OK"
    assert described(cloudwatch)["StateReason"] == "Insufficient Data: 1 datapoint was unknown."


@pytest.mark.embedded
def test_an_alarm_stops_its_instance(moved: Server, account: str) -> None:
    ec2, cloudwatch = (new_client(moved.endpoint, name, account) for name in ("ec2", "cloudwatch"))
    run = ec2.run_instances(ImageId="ami-12c6146b", InstanceType="t3.micro", MinCount=1, MaxCount=1)
    id = run["Instances"][0]["InstanceId"]
    wait(ec2, "instance_running", InstanceIds=[id])
    stop = "arn:aws:automate:us-east-1:ec2:stop"
    of = [{"Name": "InstanceId", "Value": id}]
    alarm(cloudwatch, Namespace="AWS/EC2", MetricName="CPUUtilization", Dimensions=of, AlarmActions=[stop])
    cloudwatch.set_alarm_state(AlarmName="a", StateValue="ALARM", StateReason="a test")
    wait(ec2, "instance_stopped", InstanceIds=[id])
    [action] = until(lambda: history(cloudwatch, "Action"))
    assert action["HistorySummary"] == f"Successfully executed action {stop}"
    ec2.terminate_instances(InstanceIds=[id])
