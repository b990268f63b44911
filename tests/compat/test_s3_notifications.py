"""What happens to objects is told: to a log that can be read, and to a webhook."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.compat.conftest import new_client
from tests.compat.passing import DAY, advance, ask, until
from tests.compat.s3_worlds import code_of, make_bucket
from tests.server import ROOT, Server

pytestmark = pytest.mark.embedded
QUEUE = "arn:aws:sqs:us-east-1:000000000000:q"
TOPIC = "arn:aws:sns:us-east-1:000000000000:t"
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:f"


def events(endpoint: str, bucket: str, after: int = 0) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ask(endpoint, "GET", f"/_nephele/events?bucket={bucket}&after={after}")["events"]
    return found


def records(endpoint: str, bucket: str) -> list[dict[str, Any]]:
    return [one["message"]["Records"][0] for one in events(endpoint, bucket) if "Records" in one["message"]]


def queue(*wanted: str, id: str = "i", arn: str = QUEUE, **rules: str) -> dict[str, Any]:
    found: dict[str, Any] = {"Id": id, "QueueArn": arn, "Events": list(wanted)}
    if rules:
        named = [{"Name": name, "Value": value} for name, value in rules.items()]
        found["Filter"] = {"Key": {"FilterRules": named}}
    return found


def configure(s3: Any, bucket: str, **configurations: Any) -> Any:
    return s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=configurations)


@pytest.fixture
def s3(client: Any) -> Any:
    return client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    return make_bucket(s3)


def test_a_record_says_what_aws_says(server: Server, s3: Any, bucket: str, account: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="before", Body=b"x")
    configure(s3, bucket, QueueConfigurations=[queue("s3:ObjectCreated:*", "s3:ObjectRemoved:*")])
    put = s3.put_object(Bucket=bucket, Key="a b/ü+", Body=b"hello")
    first = events(server.endpoint, bucket)
    test, told = first[0]["message"], first[1]
    assert (test["Event"], test["Bucket"], test["Service"]) == ("s3:TestEvent", bucket, "Amazon S3")
    assert (told["target"], len(first)) == (QUEUE, 2)
    record = told["message"]["Records"][0]
    about = record["s3"]
    assert record["eventVersion"] == "2.1" and record["eventSource"] == "aws:s3"
    assert (record["eventName"], record["awsRegion"]) == ("ObjectCreated:Put", "us-east-1")
    assert record["userIdentity"] == {"principalId": f"AWS:{account}"}
    assert record["responseElements"]["x-amz-request-id"] == put["ResponseMetadata"]["RequestId"]
    assert about["bucket"]["arn"] == f"arn:aws:s3:::{bucket}" and about["configurationId"] == "i"
    assert about["object"] == {
        "key": "a+b/%C3%BC%2B",
        "size": 5,
        "eTag": put["ETag"].strip('"'),
        "versionId": put["VersionId"],
        "sequencer": about["object"]["sequencer"],
    }
    marker = s3.delete_object(Bucket=bucket, Key="a b/ü+")["VersionId"]
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "a b/ü+", "VersionId": marker}]})
    told_later = records(server.endpoint, bucket)
    assert [one["eventName"] for one in told_later] == [
        "ObjectCreated:Put",
        "ObjectRemoved:DeleteMarkerCreated",
        "ObjectRemoved:Delete",
    ]
    sequencers = [one["s3"]["object"]["sequencer"] for one in told_later]
    assert sequencers == sorted(set(sequencers))


def test_every_way_has_its_event(server: Server, s3: Any, bucket: str) -> None:
    wanted = ("s3:ObjectCreated:*", "s3:ObjectTagging:*")
    configure(s3, bucket, TopicConfigurations=[{"TopicArn": TOPIC, "Events": list(wanted)}])
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.copy_object(Bucket=bucket, Key="c", CopySource=f"{bucket}/k")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="m", UploadId=upload, MultipartUpload=parts)
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    s3.delete_object(Bucket=bucket, Key="k")
    assert [one["eventName"] for one in records(server.endpoint, bucket)] == [
        "ObjectCreated:Put",
        "ObjectCreated:Copy",
        "ObjectCreated:CompleteMultipartUpload",
        "ObjectTagging:Put",
        "ObjectTagging:Delete",
    ]


def test_filters_choose_keys(server: Server, s3: Any, bucket: str) -> None:
    configure(
        s3,
        bucket,
        QueueConfigurations=[queue("s3:ObjectCreated:Put", prefix="in/", suffix=".jpg")],
        LambdaFunctionConfigurations=[
            {
                "Id": "png",
                "LambdaFunctionArn": FUNCTION,
                "Events": ["s3:ObjectCreated:*"],
                "Filter": {"Key": {"FilterRules": [{"Name": "Suffix", "Value": ".png"}]}},
            }
        ],
        EventBridgeConfiguration={},
    )
    for key in ("in/a.jpg", "out/a.jpg", "in/a.png"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    told = [(one["target"], one["message"]) for one in events(server.endpoint, bucket)][1:]
    assert [target for target, _ in told] == [QUEUE, "aws:events", "aws:events", FUNCTION, "aws:events"]
    bridged = told[1][1]
    assert (bridged["source"], bridged["detail-type"]) == ("aws.s3", "Object Created")
    assert bridged["detail"]["object"]["key"] == "in/a.jpg" and bridged["detail"]["reason"] == "PutObject"


def test_filters_may_be_written_as_in_urls(server: Server, s3: Any, bucket: str) -> None:
    wanted = [
        queue("s3:ObjectCreated:*", id="encoded", prefix="my+photos/a%26b"),
        queue("s3:ObjectCreated:*", id="plain", prefix="as is/"),
    ]
    configure(s3, bucket, QueueConfigurations=wanted)
    for key in ("my photos/a&b.jpg", "my+photos/a&b.jpg", "as is/x"):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    told = [(one["s3"]["configurationId"], one["s3"]["object"]["key"]) for one in records(server.endpoint, bucket)]
    assert told == [("encoded", "my+photos/a%26b.jpg"), ("plain", "as+is/x")]


@pytest.mark.parametrize(
    "configurations",
    [
        {"QueueConfigurations": [queue("s3:ObjectCreated:Nothing")]},
        {"QueueConfigurations": [queue("s3:ObjectCreated:Put", arn="arn:aws:sqs")]},
        {"QueueConfigurations": [queue("s3:ObjectCreated:Put", arn=TOPIC)]},
        {"QueueConfigurations": [queue("s3:ObjectCreated:Put", arn=QUEUE.replace("us-east-1", "eu-west-1"))]},
        {"QueueConfigurations": [queue("s3:ObjectCreated:Put", arn=QUEUE + ".fifo")]},
        {"QueueConfigurations": [queue("s3:ObjectCreated:Put", infix="x")]},
        {"QueueConfigurations": [queue("s3:ObjectCreated:Put", id="a"), queue("s3:ObjectCreated:*", id="b")]},
        {
            "QueueConfigurations": [
                queue("s3:ObjectCreated:Put", id="a", prefix="a/b"),
                queue("s3:ObjectCreated:*", id="b", prefix="a/", suffix="c"),
            ]
        },
        {"QueueConfigurations": [queue("s3:ObjectCreated:Put"), queue("s3:ObjectCreated:Copy")]},
        {"QueueConfigurations": [queue("s3:ObjectCreated:Put", arn=QUEUE + "\r\nX: y")]},
        {"QueueConfigurations": [queue("s3:ObjectCreated:Put", arn=QUEUE + "\u20ac")]},
    ],
)
def test_what_is_no_configuration_is_refused(s3: Any, bucket: str, configurations: dict[str, Any]) -> None:
    assert code_of(lambda: configure(s3, bucket, **configurations)) == "InvalidArgument"


def test_filters_that_never_meet_may_share_an_event(s3: Any, bucket: str) -> None:
    both = [queue("s3:ObjectCreated:*", id="a", prefix="a"), queue("s3:ObjectCreated:*", id="b", prefix="b")]
    configure(s3, bucket, QueueConfigurations=both)
    answer = s3.get_bucket_notification_configuration(Bucket=bucket)
    assert [one["Id"] for one in answer["QueueConfigurations"]] == ["a", "b"]
    configure(s3, bucket)
    assert set(s3.get_bucket_notification_configuration(Bucket=bucket)) == {"ResponseMetadata"}


class Hook:
    """A webhook that refuses what comes before it is opened."""

    def __init__(self) -> None:
        self.open, self.refusals, self.got = False, 0, list[Any]()
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                taken = hook.open
                if taken:
                    hook.got.append((self.headers["x-nephele-target"], body))
                else:
                    hook.refusals += 1
                self.send_response(204 if taken else 503)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)

    def __enter__(self) -> Hook:
        self.thread.start()
        return self

    def __exit__(self, *about: object) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}/hook"


@pytest.fixture
def hook() -> Iterator[Hook]:
    with Hook() as hook:
        yield hook


def test_a_webhook_gets_every_event_also_after_a_crash(tmp_path: Path, hook: Hook, account: str) -> None:
    with Server(tmp_path / "data", environment={"NEPHELE_EVENTS_WEBHOOK": hook.url}) as server:
        s3 = new_client(server.endpoint, "s3", account)
        bucket = make_bucket(s3)
        configure(s3, bucket, QueueConfigurations=[queue("s3:ObjectCreated:*", "s3:LifecycleExpiration:*")])
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
        until(lambda: hook.refusals)
        server.kill()  # nothing has arrived: what a server had sent before it could note that would come twice
        hook.open = True
        server.start_again()
        until(lambda: len(hook.got), lambda count: count == 2)
        expire = {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}
        s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [expire]})
        advance(server.endpoint, 2 * DAY)
        until(lambda: len(hook.got), lambda count: count == 3)
        names = sorted(body.get("Event") or body["Records"][0]["eventName"] for _, body in hook.got)
        assert names == ["LifecycleExpiration:Delete", "ObjectCreated:Put", "s3:TestEvent"]
        assert {target for target, _ in hook.got} == {QUEUE}
        listed = subprocess.run(
            [sys.executable, "-m", "gateway", "events", "--endpoint", server.endpoint, "--bucket", bucket],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
        assert len(listed.stdout.splitlines()) == 3


def test_restores_are_told(tmp_path: Path, account: str) -> None:
    with Server(tmp_path / "data") as server:
        s3 = new_client(server.endpoint, "s3", account)
        bucket = make_bucket(s3)
        wanted = [queue("s3:ObjectRestore:*")]
        configure(s3, bucket, QueueConfigurations=wanted, EventBridgeConfiguration={})
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", StorageClass="GLACIER")
        s3.restore_object(Bucket=bucket, Key="k", RestoreRequest={"Days": 1})

        def names() -> list[str]:
            return [one["eventName"].partition(":")[2] for one in records(server.endpoint, bucket)]

        assert names() == ["Post"]
        advance(server.endpoint, 6 * 3600)
        until(names, lambda found: found == ["Post", "Completed"])
        advance(server.endpoint, 2 * DAY)
        until(names, lambda found: found == ["Post", "Completed", "Delete"])
        _, completed, gone = records(server.endpoint, bucket)
        data = completed["glacierEventData"]["restoreEventData"]
        assert data["lifecycleRestoreStorageClass"] == "GLACIER"
        assert data["lifecycleRestorationExpiryTime"].endswith("T00:00:00.000Z")
        assert (completed["eventVersion"], gone["eventVersion"], "glacierEventData" in gone) == ("2.1", "2.3", False)
        told = [one["message"] for one in events(server.endpoint, bucket) if one["target"] == "aws:events"]
        initiated, bridged = (one["detail"] for one in told[1:3])
        assert (initiated["source-storage-class"], initiated["source-ip-address"]) == ("GLACIER", "127.0.0.1")
        assert bridged["restore-expiry-time"] == data["lifecycleRestorationExpiryTime"].replace(".000", "")
        assert (bridged["source-storage-class"], bridged["requester"]) == ("GLACIER", "s3.amazonaws.com")
        assert "source-ip-address" not in bridged
        assert len({one["id"] for one in told}) == len(told)
        moved_is_told(server, s3, bucket)
        s3.close()


def moved_is_told(server: Server, s3: Any, bucket: str) -> None:
    """A move to another storage class says which one."""
    configure(s3, bucket, QueueConfigurations=[queue("s3:LifecycleTransition")], EventBridgeConfiguration={})
    s3.put_object(Bucket=bucket, Key="moves", Body=b"x")
    sized = {"And": {"Prefix": "moves", "ObjectSizeGreaterThan": 0}}
    move = {"ID": "r", "Status": "Enabled", "Filter": sized, "Transitions": [{"Days": 1, "StorageClass": "GLACIER_IR"}]}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [move]})
    advance(server.endpoint, 2 * DAY)
    until(lambda: records(server.endpoint, bucket)[-1]["eventName"], lambda name: name == "LifecycleTransition")
    told = records(server.endpoint, bucket)[-1]["lifecycleEventData"]
    assert told == {"transitionEventData": {"destinationStorageClass": "GLACIER_IR"}}
    bridged = events(server.endpoint, bucket)[-1]["message"]
    assert bridged["detail-type"] == "Object Storage Class Changed"
    assert bridged["detail"]["destination-storage-class"] == "GLACIER_IR"
