"""CloudWatch: what callers measure, and what is measured of their instances."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.config import Config
from botocore.session import Session

from tests.compat.conftest import new_client
from tests.compat.passing import DAY, advance, ask, until
from tests.compat.refused import refused
from tests.compat.waiting import wait
from tests.server import Server

SPACE = "Mine"
PROTOCOLS = ("smithy-rpc-v2-cbor", "json", "query")
BASIC = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")
MINUTE = timedelta(minutes=1)


def minute(back: int = 10) -> datetime:
    """The beginning of a minute, so many minutes ago."""
    return datetime.now(UTC).replace(second=0, microsecond=0) - back * MINUTE


@pytest.fixture
def cloudwatch(client: Callable[..., Any]) -> Any:
    return client("cloudwatch")


def put(cloudwatch: Any, name: str = "n", at: datetime | None = None, space: str = SPACE, **datum: Any) -> None:
    moment = {} if at is None else {"Timestamp": at}
    cloudwatch.put_metric_data(Namespace=space, MetricData=[{"MetricName": name, **moment, **datum}])


def points(cloudwatch: Any, start: datetime, end: datetime, *statistics: str, **about: Any) -> list[dict[str, Any]]:
    about = {"Namespace": SPACE, "MetricName": "n", "Period": 60, "Statistics": list(statistics), **about}
    if not about["Statistics"]:
        del about["Statistics"]
    told = cloudwatch.get_metric_statistics(StartTime=start, EndTime=end, **about)["Datapoints"]
    return sorted(told, key=lambda one: (one["Timestamp"], one["Unit"]))


def query(name: str = "n", stat: str = "Sum", period: int = 60, id: str = "q", **about: Any) -> dict[str, Any]:
    metric = {"Namespace": SPACE, "MetricName": name, "Dimensions": about.pop("Dimensions", [])}
    return {"Id": id, "MetricStat": {"Metric": metric, "Period": period, "Stat": stat}, **about}


def spoken(endpoint: str, key: str, protocol: str) -> Any:
    """A client that speaks one of the service's protocols, whichever botocore would pick."""
    session = Session()
    model = session.get_component("data_loader").load_service_model("cloudwatch", "service-2")
    assert protocol in model["metadata"]["protocols"]
    model["metadata"] |= {"protocol": protocol, "protocols": [protocol]}
    keys = {"aws_access_key_id": key, "aws_secret_access_key": "test"}
    config = Config(retries={"max_attempts": 0})
    client = session.create_client("cloudwatch", "us-east-1", endpoint_url=endpoint, config=config, **keys)
    assert client.meta.service_model.resolved_protocol == protocol
    return client


# --- what callers measure ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_says_the_same(server: Server, account: str, protocol: str) -> None:
    cloudwatch, at, of = spoken(server.endpoint, account, protocol), minute(), [{"Name": "Of", "Value": "me"}]
    put(cloudwatch, at=at, Value=1.5, Unit="Seconds", Dimensions=of)
    [point] = points(cloudwatch, at, at + MINUTE, *BASIC, Dimensions=of)
    assert point == {"Timestamp": at, "Unit": "Seconds", "SampleCount": 1} | dict.fromkeys(BASIC[1:], 1.5)
    [point] = points(cloudwatch, at, at + MINUTE, ExtendedStatistics=["p50", "p99.9"], Dimensions=of)
    assert point["ExtendedStatistics"] == {"p50": 1.5, "p99.9": 1.5}
    [found] = cloudwatch.get_metric_data(
        MetricDataQueries=[query(Dimensions=of)], StartTime=at, EndTime=at + 5 * MINUTE
    )["MetricDataResults"]
    assert (found["Timestamps"], found["Values"], found["Label"], found["StatusCode"]) == ([at], [1.5], "n", "Complete")
    assert cloudwatch.list_metrics()["Metrics"] == [{"Namespace": SPACE, "MetricName": "n", "Dimensions": of}]
    with refused("InvalidParameterCombination", "2,880 datapoints"):
        points(cloudwatch, at, at + 2880 * MINUTE, "Sum")
    cloudwatch.close()


def test_values_are_gathered_by_periods(cloudwatch: Any) -> None:
    at = minute(20)
    for number in range(10):
        put(cloudwatch, at=at + number * MINUTE + timedelta(seconds=number), Value=number)
    told = points(cloudwatch, at, at + 10 * MINUTE, *BASIC, Period=300)
    assert [one["Timestamp"] for one in told] == [at, at + 5 * MINUTE]
    assert [one["Sum"] for one in told] == [10, 35]
    assert [one["Average"] for one in told] == [2, 7]
    assert [(one["Minimum"], one["Maximum"], one["SampleCount"]) for one in told] == [(0, 4, 5), (5, 9, 5)]
    assert len(points(cloudwatch, at + timedelta(seconds=59), at + 2 * MINUTE, "Sum")) == 2
    [percentiles] = points(
        cloudwatch, at, at + 10 * MINUTE, Period=600, ExtendedStatistics=["p0", "p50", "p90", "p100"]
    )
    assert percentiles["ExtendedStatistics"] == {"p0": 0, "p50": 4, "p90": 8, "p100": 9}


def test_units_and_dimensions_make_metrics_of_their_own(cloudwatch: Any) -> None:
    at, of, more = minute(), {"Name": "Of", "Value": "me"}, {"Name": "In", "Value": "here"}
    put(cloudwatch, at=at, Value=1, Unit="Bytes")
    put(cloudwatch, at=at, Value=2, Unit="Count")
    put(cloudwatch, at=at, Value=3, Dimensions=[of])
    put(cloudwatch, at=at, Value=4, Dimensions=[of, more])
    end = at + MINUTE
    told = points(cloudwatch, at, end, "Sum")
    assert [(one["Unit"], one["Sum"]) for one in told] == [("Bytes", 1), ("Count", 2)]
    assert [one["Sum"] for one in points(cloudwatch, at, end, "Sum", Unit="Count")] == [2]
    assert points(cloudwatch, at, end, "Sum", Unit="Percent") == []
    assert [one["Sum"] for one in points(cloudwatch, at, end, "Sum", Dimensions=[of])] == [3]
    assert [one["Sum"] for one in points(cloudwatch, at, end, "Sum", Dimensions=[more, of])] == [4]
    assert points(cloudwatch, at, end, "Sum", Dimensions=[more]) == []


def test_sets_and_arrays_stand_for_many_values(cloudwatch: Any) -> None:
    at = minute()
    end = at + MINUTE
    put(cloudwatch, at=at, StatisticValues={"SampleCount": 4, "Sum": 10, "Minimum": 1, "Maximum": 5})
    [point] = points(cloudwatch, at, end, *BASIC)
    assert [point[name] for name in BASIC] == [4, 2.5, 10, 1, 5]
    assert points(cloudwatch, at, end, ExtendedStatistics=["p50"]) == []
    put(cloudwatch, "m", at, Values=[1, 5], Counts=[3, 1])
    [point] = points(cloudwatch, at, end, *BASIC, MetricName="m")
    assert [point[name] for name in BASIC] == [4, 2, 8, 1, 5]
    [point] = points(cloudwatch, at, end, MetricName="m", ExtendedStatistics=["p75", "p76"])
    assert point["ExtendedStatistics"] == {"p75": 1, "p76": 5}


def test_seconds_are_kept_where_they_are_asked_for(cloudwatch: Any) -> None:
    at = minute()
    for number in range(20):
        put(cloudwatch, at=at + timedelta(seconds=number), Value=1, StorageResolution=1)
    assert [one["Sum"] for one in points(cloudwatch, at, at + MINUTE, "Sum", Period=5)] == [5, 5, 5, 5]
    assert [one["Sum"] for one in points(cloudwatch, at, at + MINUTE, "Sum")] == [20]


@pytest.mark.parametrize(
    ("code", "datum"),
    [
        ("MissingParameter", {}),
        ("InvalidParameterCombination", {"Value": 1, "Values": [1]}),
        ("InvalidParameterValue", {"Value": float("nan")}),
        ("InvalidParameterValue", {"Value": 2.0**361}),
        ("InvalidParameterValue", {"Values": [1, 2], "Counts": [1]}),
        ("InvalidParameterValue", {"Values": list(range(151))}),
        ("InvalidParameterValue", {"Value": 1, "StorageResolution": 2}),
        ("InvalidParameterValue", {"Value": 1, "Timestamp": datetime.now(UTC) - timedelta(days=15)}),
        ("InvalidParameterValue", {"Value": 1, "Timestamp": datetime.now(UTC) + timedelta(hours=3)}),
        ("InvalidParameterValue", {"Value": 1, "Dimensions": [{"Name": "a", "Value": "b"}] * 2}),
        ("InvalidParameterValue", {"StatisticValues": {"SampleCount": 0, "Sum": 0, "Minimum": 0, "Maximum": 0}}),
        ("ValidationError", {"Value": 1, "Unit": "Parsecs"}),
    ],
)
def test_what_cannot_be_kept_is_refused(cloudwatch: Any, code: str, datum: dict[str, Any]) -> None:
    data = [{"MetricName": "n", "Value": 1}, {"MetricName": "n", **datum}]
    with refused(code):
        cloudwatch.put_metric_data(Namespace=SPACE, MetricData=data)
    assert cloudwatch.list_metrics()["Metrics"] == []


def test_namespaces_of_aws_are_nobodys(cloudwatch: Any) -> None:
    with refused("InvalidParameterValue", "AWS/EC2"):
        put(cloudwatch, space="AWS/EC2", Value=1)


@pytest.mark.parametrize(
    ("code", "about"),
    [
        ("InvalidParameterCombination", {}),
        ("InvalidParameterCombination", {"Statistics": ["Sum"], "ExtendedStatistics": ["p50"]}),
        ("InvalidParameterValue", {"Statistics": ["Sum"], "Period": 61}),
        ("InvalidParameterValue", {"Statistics": ["Sum"], "EndTime": 20}),
        ("InvalidParameterValue", {"Statistics": ["Sum"], "EndTime": 10}),
        ("InvalidParameterValue", {"ExtendedStatistics": ["p101"]}),
        ("NotImplemented", {"ExtendedStatistics": ["tm99"]}),
    ],
)
def test_statistics_that_cannot_be_are_refused(cloudwatch: Any, code: str, about: dict[str, Any]) -> None:
    now = minute(0)
    whole = {"StartTime": now - 10 * MINUTE, "Period": 60, **about, "EndTime": now - about.get("EndTime", 5) * MINUTE}
    with refused(code):
        cloudwatch.get_metric_statistics(Namespace=SPACE, MetricName="n", **whole)


@pytest.mark.parametrize(
    ("code", "queries"),
    [
        ("ValidationError", []),
        ("ValidationError", [query(id="Q")]),
        ("ValidationError", [query(), query()]),
        ("ValidationError", [query(ReturnData=False)]),
        ("ValidationError", [query() | {"Expression": "q"}]),
        ("ValidationError", [{"Id": "q"}]),
        ("ValidationError", [query(period=61)]),
        ("ValidationError", [query(stat="Mean")]),
        ("ValidationError", [query(id=f"q{number}") for number in range(501)]),
        ("ValidationError", [query(), {"Id": "e", "Expression": "q *"}]),
        ("ValidationError", [query(), {"Id": "e", "Expression": "q * other"}]),
        ("ValidationError", [query(), {"Id": "e", "Expression": "SUM(q)"}]),
        ("ValidationError", [query(), {"Id": "e", "Expression": "GUESS(q)"}]),
        ("ValidationError", [query(), {"Id": "e", "Expression": "f + 1"}, {"Id": "f", "Expression": "e + q"}]),
        ("NotImplemented", [query(), {"Id": "e", "Expression": "ANOMALY_DETECTION_BAND(q)"}]),
        ("NotImplemented", [{"Id": "e", "Expression": "SELECT MAX(n) FROM Mine"}]),
        ("NotImplemented", [query(stat="tm99")]),
    ],
)
def test_queries_that_cannot_be_are_refused(cloudwatch: Any, code: str, queries: list[Any]) -> None:
    with refused(code):
        cloudwatch.get_metric_data(MetricDataQueries=queries, StartTime=minute(10), EndTime=minute(5))


def test_many_metrics_come_in_pages(cloudwatch: Any) -> None:
    at = minute(20)
    data = [
        {"MetricName": name, "Value": number, "Timestamp": at + number * MINUTE}
        for name in ("a", "b")
        for number in range(10)
    ]
    cloudwatch.put_metric_data(Namespace=SPACE, MetricData=data)
    queries = [query("a", id="a"), query("none", id="none"), query("b", id="b", Label="B", stat="Maximum")]
    found: dict[str, list[float]] = {"a": [], "none": [], "b": []}
    codes, labels = [], set()
    for page in cloudwatch.get_paginator("get_metric_data").paginate(
        MetricDataQueries=queries, StartTime=at, EndTime=at + 10 * MINUTE, MaxDatapoints=7, ScanBy="TimestampAscending"
    ):
        assert sum(len(one["Values"]) for one in page["MetricDataResults"]) <= 7
        for one in page["MetricDataResults"]:
            found[one["Id"]] += one["Values"]
            labels.add(one["Label"])
        codes.append([one["StatusCode"] for one in page["MetricDataResults"]])
    assert found == {"a": list(range(10)), "none": [], "b": list(range(10))}
    assert codes == [
        ["PartialData", "Complete", "PartialData"],
        ["Complete", "Complete", "PartialData"],
        ["Complete"] * 3,
    ]
    assert labels == {"a", "none", "B"}
    newest = cloudwatch.get_metric_data(MetricDataQueries=[query("a")], StartTime=at, EndTime=at + 10 * MINUTE)
    assert newest["MetricDataResults"][0]["Values"] == list(range(9, -1, -1))
    with refused("InvalidNextToken"):
        cloudwatch.get_metric_data(MetricDataQueries=[query("a")], StartTime=at, EndTime=minute(), NextToken="x")
    [other] = cloudwatch.get_metric_data(
        MetricDataQueries=[query("a", AccountId="111111111111")], StartTime=at, EndTime=minute()
    )["MetricDataResults"]
    assert (other["StatusCode"], other["Values"]) == ("Forbidden", [])


def test_metrics_are_listed_in_pages_and_found(cloudwatch: Any) -> None:
    for begin in range(0, 1100, 550):
        data = [
            {"MetricName": f"n{number % 11}", "Value": 1, "Dimensions": [{"Name": "Of", "Value": str(number // 11)}]}
            for number in range(begin, begin + 550)
        ]
        cloudwatch.put_metric_data(Namespace=SPACE, MetricData=data)
    put(cloudwatch, space="Other", Value=1)
    pages = list(cloudwatch.get_paginator("list_metrics").paginate(Namespace=SPACE))
    assert [len(page["Metrics"]) for page in pages] == [500, 500, 100]
    every = {json.dumps(one, sort_keys=True) for page in pages for one in page["Metrics"]}
    assert len(every) == 1100

    def count(**about: Any) -> int:
        found = cloudwatch.get_paginator("list_metrics").paginate(**about)
        return sum(len(page["Metrics"]) for page in found)

    assert count() == 1101
    assert count(MetricName="n3") == 100
    assert count(Dimensions=[{"Name": "Of", "Value": "7"}]) == 11
    assert count(Dimensions=[{"Name": "Of"}]) == 1100
    assert count(Namespace="Other", RecentlyActive="PT3H") == 1
    linked = cloudwatch.list_metrics(Namespace="Other", IncludeLinkedAccounts=True)
    assert len(linked["OwningAccounts"]) == len(linked["Metrics"]) == 1
    with refused("InvalidParameterValue"):
        cloudwatch.list_metrics(NextToken="x")


def test_metrics_belong_to_an_account_and_a_region(client: Callable[..., Any], cloudwatch: Any) -> None:
    put(cloudwatch, Value=1)
    assert len(cloudwatch.list_metrics()["Metrics"]) == 1
    for other in (client("cloudwatch", region="eu-west-1"), client("cloudwatch", account="123123123123")):
        assert other.list_metrics(Namespace=SPACE)["Metrics"] == []
        assert points(other, minute(5), minute(-5), "Sum") == []


def test_expressions_count_with_metrics(cloudwatch: Any) -> None:
    at = minute(20)
    for number, (errors, requests) in enumerate([(1, 10), (2, 0), (None, 10), (3, 4)]):
        if errors is not None:
            put(cloudwatch, "errors", at + number * MINUTE, Value=errors)
        put(cloudwatch, "requests", at + number * MINUTE, Value=requests)

    def told(expression: str, **about: Any) -> list[tuple[list[int], list[float], str]]:
        queries = [
            query("errors", id="m1", ReturnData=False),
            query("requests", id="m2", ReturnData=False),
            {"Id": "half", "Expression": "m1 / 2", "ReturnData": False},
            {"Id": "e", "Expression": expression, **about},
        ]
        asked = {"StartTime": at, "EndTime": at + 4 * MINUTE, "ScanBy": "TimestampAscending"}
        found = cloudwatch.get_metric_data(MetricDataQueries=queries, **asked)["MetricDataResults"]
        return [([(one - at) // MINUTE for one in r["Timestamps"]], r["Values"], r["Label"]) for r in found]

    assert told("m1 / m2 * 100", Label="rate") == [([0, 3], [10, 75], "rate")]
    assert told("half * 2 - m1") == [([0, 1, 3], [0, 0, 0], "e")]
    assert told("SUM(METRICS())") == [([0, 1, 2, 3], [11, 2, 10, 7], "e")]
    assert told('SUM(METRICS("m1"))') == [([0, 1, 3], [1, 2, 3], "e")]
    assert told("FILL(m1, 0)") == [([0, 1, 2, 3], [1, 2, 0, 3], "e")]
    assert told("RATE(m1) * 60") == [([1, 3], [1, 0.5], "e")]
    assert told("IF(m2 > 5, m1, -1)") == [([0, 1, 3], [1, -1, -1], "e")]
    assert told("m1 / MAX(m1) ^ 2") == [([0, 1, 3], pytest.approx([1 / 9, 2 / 9, 3 / 9]), "e")]
    assert told("[m1, m2]", Label="both") == [
        ([0, 1, 3], [1, 2, 3], "both errors"),
        ([0, 1, 2, 3], [10, 0, 10, 4], "both requests"),
    ]


def test_policies_decide_who_may_measure_what(client: Callable[..., Any]) -> None:
    iam = client("iam")
    iam.create_user(UserName="meter")
    allowed = {
        "Effect": "Allow",
        "Action": "cloudwatch:PutMetricData",
        "Resource": "*",
        "Condition": {"StringEquals": {"cloudwatch:namespace": SPACE}},
    }
    document = json.dumps({"Version": "2012-10-17", "Statement": [allowed]})
    iam.put_user_policy(UserName="meter", PolicyName="p", PolicyDocument=document)
    key = iam.create_access_key(UserName="meter")["AccessKey"]
    meter = client("cloudwatch", key=key["AccessKeyId"], secret=key["SecretAccessKey"])
    put(meter, Value=1)
    with refused("AccessDeniedException"):
        put(meter, space="Other", Value=1)
    with refused("AccessDeniedException"):
        meter.list_metrics()


def test_the_cli_measures_and_reads(aws: Callable[..., Any]) -> None:
    at = minute().isoformat()
    aws("cloudwatch", "put-metric-data", "--namespace", SPACE, "--metric-name", "n", "--value", "7", "--timestamp", at)
    told = aws(
        "cloudwatch", "get-metric-statistics", "--namespace", SPACE, "--metric-name", "n", "--period", "300",
        "--start-time", at, "--end-time", minute(0).isoformat(), "--statistics", "Sum",
    )  # fmt: skip
    assert [one["Sum"] for one in json.loads(told.stdout)["Datapoints"]] == [7]


# --- what is measured of instances, while time passes -----------------------------------------------------------------


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of its own, whose clock these tests move."""
    with Server(tmp_path_factory.mktemp("moved") / "data") as server:
        yield server


@pytest.mark.embedded
def test_status_checks_of_instances_are_told_by_the_minute_and_nothing_is_made_up(moved: Server, account: str) -> None:
    ec2, cloudwatch = (new_client(moved.endpoint, name, account) for name in ("ec2", "cloudwatch"))
    named = [{"Name": "name", "Values": ["al2023-ami-2023*-kernel-6.1-x86_64"]}]
    image = ec2.describe_images(Owners=["amazon"], Filters=named)["Images"][0]["ImageId"]
    run = ec2.run_instances(ImageId=image, InstanceType="t3.micro", MinCount=2, MaxCount=2)
    ids = [one["InstanceId"] for one in run["Instances"]]
    wait(ec2, "instance_running", InstanceIds=ids)
    ec2.monitor_instances(InstanceIds=ids[:1])
    end = datetime.now(UTC) + timedelta(seconds=moved_by(moved) + 1200)

    def told(**dimension: str) -> list[dict[str, Any]]:
        [(name, value)] = dimension.items()
        about = {"Namespace": "AWS/EC2", "MetricName": "StatusCheckFailed"}
        of = [{"Name": name, "Value": value}]
        return points(cloudwatch, end - timedelta(hours=1), end, *BASIC, Dimensions=of, **about)

    for _ in range(2):
        before = len(told(InstanceId=ids[1]))
        advance(moved.endpoint, 300)
        until(lambda before=before: len(told(InstanceId=ids[1])), lambda count, before=before: count > before)
    listed = cloudwatch.list_metrics(Namespace="AWS/EC2", Dimensions=[{"Name": "InstanceId", "Value": ids[1]}])
    names = {
        "StatusCheckFailed",
        "StatusCheckFailed_System",
        "StatusCheckFailed_Instance",
        "StatusCheckFailed_AttachedEBS",
    }
    assert {one["MetricName"] for one in listed["Metrics"]} == names
    assert all(one["Maximum"] == 0 and one["Unit"] == "Count" for one in told(InstanceId=ids[1]))
    assert all(one["SampleCount"] == 1 for one in told(InstanceType="t3.micro"))
    assert all(one["Timestamp"].second == 0 for one in told(InstanceId=ids[0]))
    ec2.terminate_instances(InstanceIds=ids)


@pytest.mark.embedded
def test_old_samples_are_told_in_coarser_periods_and_then_not_at_all(moved: Server, account: str) -> None:
    cloudwatch = new_client(moved.endpoint, "cloudwatch", account)
    ahead = moved_by(moved)
    at = (minute() + timedelta(seconds=ahead)).replace(minute=0) - timedelta(hours=1)
    for number in range(10):
        put(cloudwatch, at=at + number * MINUTE, Value=1)

    def sums(period: int) -> list[float]:
        return [one["Sum"] for one in points(cloudwatch, at, at + 10 * MINUTE, "Sum", Period=period)]

    assert sums(60) == [1] * 10
    advance(moved.endpoint, 16 * DAY)
    until(lambda: sums(60), lambda found: found == [])
    assert (sums(300), sums(3600)) == ([5, 5], [10])
    assert cloudwatch.list_metrics(Namespace=SPACE)["Metrics"] == []
    advance(moved.endpoint, 50 * DAY)
    until(lambda: sums(300), lambda found: found == [])
    assert sums(3600) == [10]
    advance(moved.endpoint, 450 * DAY)
    until(lambda: sums(3600), lambda found: found == [])


def moved_by(server: Server) -> float:
    """Seconds that a server's clock is ahead."""
    found: float = ask(server.endpoint, "GET", "/_nephele/time")["ahead"]
    return found
