"""Access logs reach the bucket that they are to reach, with every field that AWS writes."""

from __future__ import annotations

import json
import re
import secrets
import shlex
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.compat.conftest import new_client
from tests.compat.passing import DAY, advance, until
from tests.compat.s3_worlds import code_of, error_of, make_bucket
from tests.server import Server

pytestmark = pytest.mark.embedded
FIELDS = (
    "owner bucket time ip requester request operation key uri status error sent size total turnaround referer agent "
    "version host_id signature cipher authentication host tls access_point acl"
).split()


@pytest.fixture
def s3(moving: Server, account: str) -> Iterator[Any]:
    client = new_client(moving.endpoint, "s3", account)
    yield client
    client.close()


def let_in(s3: Any, bucket: str, source: str, account: str) -> None:
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "logging.s3.amazonaws.com"},
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
        "Condition": {
            "ArnLike": {"aws:SourceArn": f"arn:aws:s3:::{source}"},
            "StringEquals": {"aws:SourceAccount": account},
        },
    }
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": statement}))


def log_to(s3: Any, source: str, target: str, **more: Any) -> None:
    enabled = {"TargetBucket": target, "TargetPrefix": "log/"} | more
    s3.put_bucket_logging(Bucket=source, BucketLoggingStatus={"LoggingEnabled": enabled})


def delivered(moving: Server, s3: Any, target: str, *wanted: str) -> tuple[list[str], list[dict[str, str]]]:
    """The keys of the log's objects, and their lines, once they tell of all that is `wanted`: operations, each as often
    as it is named."""

    def look() -> tuple[list[str], list[dict[str, str]]]:
        advance(moving.endpoint, 61)
        keys = [one["Key"] for one in s3.list_objects_v2(Bucket=target).get("Contents", ())]
        text = "".join(s3.get_object(Bucket=target, Key=key)["Body"].read().decode() for key in keys)
        found = []
        for line in text.splitlines():
            values = shlex.split(line.replace("[", '"').replace("]", '"'))
            found.append(dict(zip(FIELDS, values, strict=True)))
        return keys, found

    return until(look, lambda found: Counter(wanted) <= Counter(line["operation"] for line in found[1]))


def test_requests_are_logged(moving: Server, s3: Any, account: str) -> None:
    source, target = make_bucket(s3), make_bucket(s3)
    let_in(s3, target, source, account)
    s3.put_object(Bucket=source, Key="before", Body=b"x")
    log_to(s3, source, target)
    put = s3.put_object(Bucket=source, Key="a b/ü", Body=b"hello")
    assert s3.get_object(Bucket=source, Key="a b/ü")["Body"].read() == b"hello"
    assert code_of(s3.get_object, Bucket=source, Key="missing") == "NoSuchKey"
    s3.list_objects_v2(Bucket=source, Prefix="a")
    wanted = ("REST.PUT.OBJECT", "REST.GET.OBJECT", "REST.GET.OBJECT", "REST.GET.BUCKET")
    keys, lines = delivered(moving, s3, target, *wanted)
    assert re.fullmatch(r"log/\d{4}-\d\d-\d\d-\d\d-\d\d-\d\d-[0-9A-F]{16}", keys[0])
    told = {line["operation"] + " " + line["status"]: line for line in lines}
    assert {"REST.PUT.OBJECT 200", "REST.GET.OBJECT 200", "REST.GET.OBJECT 404", "REST.GET.BUCKET 200"} <= set(told)
    one = told["REST.PUT.OBJECT 200"]
    owner = s3.list_buckets()["Owner"]["ID"]
    assert (one["owner"], one["bucket"], one["requester"]) == (owner, source, owner)
    assert (one["key"], one["size"], one["error"]) == ("a%20b/%C3%BC", "5", "-")
    assert one["request"] == put["ResponseMetadata"]["RequestId"]
    assert one["uri"].startswith(f"PUT /{source}/a%20b/%C3%BC") and one["uri"].endswith(" HTTP/1.1")
    assert (one["signature"], one["authentication"], one["ip"]) == ("SigV4", "AuthHeader", "127.0.0.1")
    assert re.fullmatch(r"\d\d/\w{3}/\d{4}:\d\d:\d\d:\d\d \+0000", one["time"])
    assert (told["REST.GET.OBJECT 200"]["sent"], told["REST.GET.OBJECT 200"]["size"]) == ("5", "5")
    assert told["REST.GET.OBJECT 404"]["error"] == "NoSuchKey"
    assert "before" not in {line["key"] for line in lines}


def test_what_takes_more_than_one_line(moving: Server, s3: Any, account: str) -> None:
    source, other, target = make_bucket(s3), make_bucket(s3), make_bucket(s3)
    let_in(s3, target, "*", account)
    log_to(s3, source, target)
    version = s3.put_object(Bucket=source, Key="a b", Body=b"hello").get("VersionId")
    assert version is None
    s3.copy_object(Bucket=other, Key="copy", CopySource={"Bucket": source, "Key": "a b"})
    control = new_client(moving.endpoint.replace("127.", "@127."), "s3control", account)
    control.create_access_point(AccountId=account, Name="point", Bucket=source)
    alias = control.get_access_point(AccountId=account, Name="point")["Alias"]
    control.close()
    s3.get_object(Bucket=alias, Key="a b")["Body"].read()
    wanted = [{"Key": "a b"}, {"Key": "gone", "VersionId": "x" * 32}]
    refused = s3.delete_objects(Bucket=source, Delete={"Objects": wanted})["Errors"]
    every = ("REST.PUT.OBJECT", "REST.COPY.OBJECT_GET", "REST.GET.OBJECT", "REST.POST.MULTI_OBJECT_DELETE")
    _, lines = delivered(moving, s3, target, *every, *["BATCH.DELETE.OBJECT"] * 2)
    told = {line["operation"]: line for line in lines}
    copied = told["REST.COPY.OBJECT_GET"]
    assert (copied["bucket"], copied["key"], copied["uri"]) == (source, "a%20b", f"GET /{source}/a%20b HTTP/1.1")
    assert "REST.COPY.OBJECT" not in told  # the other bucket keeps no log
    through = told["REST.GET.OBJECT"]
    assert through["access_point"] == f"arn:aws:s3:us-east-1:{account}:accesspoint/point"
    assert (through["bucket"], through["size"]) == (source, "5")
    each = [
        (line["key"], line["status"], line["error"]) for line in lines if line["operation"] == "BATCH.DELETE.OBJECT"
    ]
    assert each == [
        ("a%20b", "204", "-"),
        ("gone", "404" if refused[0]["Code"] == "NoSuchVersion" else "400", refused[0]["Code"]),
    ]
    assert told["REST.POST.MULTI_OBJECT_DELETE"]["access_point"] == "-"


def test_what_lifecycle_rules_do_is_logged(moving: Server, s3: Any, account: str) -> None:
    source, target = make_bucket(s3), make_bucket(s3)
    let_in(s3, target, source, account)
    log_to(s3, source, target)
    for key in ("goes", "moves"):
        s3.put_object(Bucket=source, Key=key, Body=b"x")
    s3.create_multipart_upload(Bucket=source, Key="open")
    expire = {"Filter": {"Prefix": "goes"}, "Expiration": {"Days": 1}}
    sized = {"And": {"Prefix": "moves", "ObjectSizeGreaterThan": 0}}
    move = {"Filter": sized, "Transitions": [{"Days": 1, "StorageClass": "GLACIER_IR"}]}
    abort = {"Filter": {"Prefix": ""}, "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 1}}
    rules = [{"Status": "Enabled"} | one for one in (expire, move, abort)]
    s3.put_bucket_lifecycle_configuration(Bucket=source, LifecycleConfiguration={"Rules": rules})
    advance(moving.endpoint, 2 * DAY)
    until(lambda: s3.list_multipart_uploads(Bucket=source).get("Uploads"), lambda found: not found)

    _, lines = delivered(moving, s3, target, "S3.EXPIRE.OBJECT", "S3.TRANSITION_GIR.OBJECT", "S3.DELETE.UPLOAD")
    told = {line["operation"]: line for line in lines if line["operation"].startswith("S3.")}
    assert {operation: line["key"] for operation, line in told.items()} == {
        "S3.EXPIRE.OBJECT": "goes",
        "S3.TRANSITION_GIR.OBJECT": "moves",
        "S3.DELETE.UPLOAD": "open",
    }
    gone = told["S3.EXPIRE.OBJECT"]
    assert (gone["requester"], gone["status"], gone["total"], gone["uri"], gone["size"]) == (
        "AmazonS3",
        "-",
        "-",
        "-",
        "1",
    )


def test_keys_may_be_partitioned(moving: Server, s3: Any, account: str) -> None:
    source, target = make_bucket(s3), make_bucket(s3)
    let_in(s3, target, source, account)
    form = {"PartitionedPrefix": {"PartitionDateSource": "EventTime"}}
    log_to(s3, source, target, TargetObjectKeyFormat=form)
    assert s3.get_bucket_logging(Bucket=source)["LoggingEnabled"]["TargetObjectKeyFormat"] == form
    s3.put_object(Bucket=source, Key="k", Body=b"x")
    keys, _ = delivered(moving, s3, target, "REST.PUT.OBJECT")
    place = rf"log/{account}/us-east-1/{source}/\d{{4}}/\d\d/\d\d/\d{{4}}-\d\d-\d\d-00-00-00-[0-9A-F]{{16}}"
    assert re.fullmatch(place, keys[0])
    wrong = {"PartitionedPrefix": {"PartitionDateSource": "Tomorrow"}}
    assert code_of(lambda: log_to(s3, source, target, TargetObjectKeyFormat=wrong)) == "MalformedXML"


def test_a_target_that_lets_nobody_in_gets_nothing(moving: Server, s3: Any, account: str) -> None:
    source, closed, target = make_bucket(s3), make_bucket(s3), make_bucket(s3, ObjectOwnership="ObjectWriter")
    other = make_bucket(s3)
    s3.put_bucket_acl(Bucket=target, ACL="log-delivery-write")
    log_to(s3, source, closed)
    everybody = {"Type": "Group", "URI": "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"}
    granted = [{"Grantee": everybody, "Permission": "READ"}]
    log_to(s3, other, target, TargetGrants=granted)
    assert s3.get_bucket_logging(Bucket=other)["LoggingEnabled"]["TargetGrants"] == granted
    wrong = [{"Grantee": everybody, "Permission": "READ_ACP"}]
    assert code_of(lambda: log_to(s3, other, target, TargetGrants=wrong)) == "MalformedACLError"
    assert code_of(lambda: log_to(s3, other, closed, TargetGrants=granted)) == "InvalidArgument"
    for bucket in (source, other):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    keys, _ = delivered(moving, s3, target, "REST.PUT.OBJECT")
    grants = s3.get_object_acl(Bucket=target, Key=keys[0])["Grants"]
    assert [(one["Grantee"].get("URI"), one["Permission"]) for one in grants] == [
        (None, "FULL_CONTROL"),
        (everybody["URI"], "READ"),
    ]
    assert "Contents" not in s3.list_objects_v2(Bucket=closed)
    s3.put_bucket_logging(Bucket=source, BucketLoggingStatus={})
    assert set(s3.get_bucket_logging(Bucket=source)) == {"ResponseMetadata"}
    missing = {"TargetBucket": "there-is-none", "TargetPrefix": ""}
    status = {"LoggingEnabled": missing}
    assert code_of(s3.put_bucket_logging, Bucket=source, BucketLoggingStatus=status) == "InvalidTargetBucketForLogging"


def test_logs_stay_in_their_region(server: Server) -> None:
    here = new_client(server.endpoint, "s3", "450000000000")
    there = new_client(server.endpoint, "s3", "450000000000", region="eu-west-1")
    source, target = make_bucket(here), f"there-{secrets.token_hex(8)}"
    there.create_bucket(Bucket=target, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    for client, bucket, other, location in (
        (here, source, target, {"TargetBucketLocation": "eu-west-1"}),
        (there, target, source, {"SourceBucketLocation": "eu-west-1", "TargetBucketLocation": "us-east-1"}),
    ):
        logging = {"LoggingEnabled": {"TargetBucket": other, "TargetPrefix": ""}}
        error = error_of(client.put_bucket_logging, Bucket=bucket, BucketLoggingStatus=logging)
        assert (error["Code"], error["Status"]) == ("CrossLocationLoggingProhibitted", 403)
        assert {name: error[name] for name in error if name.endswith("Location")} == location
