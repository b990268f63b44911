"""Access points of directory buckets, and what their scopes let through."""

from __future__ import annotations

import json
import secrets
from typing import Any

import pytest

from tests.compat.conftest import new_client
from tests.compat.s3_worlds import code_of, fill, make_bucket
from tests.compat.test_s3_access_points import control
from tests.compat.test_s3_directory_buckets import ZONE, make
from tests.server import Server

pytestmark = pytest.mark.embedded

ACCOUNT, OTHER = "430000000000", "430000000001"


def name_in(zone: str = ZONE) -> str:
    return f"door-{secrets.token_hex(4)}--{zone}--xa-s3"


@pytest.fixture
def s3(server: Server) -> Any:
    return new_client(server.endpoint, "s3", ACCOUNT)


@pytest.fixture
def points(server: Server) -> Any:
    return control(server, ACCOUNT)


@pytest.fixture
def bucket(s3: Any) -> str:
    return make(s3)


def door(points: Any, bucket: str, **more: Any) -> str:
    name = name_in()
    points.create_access_point(AccountId=ACCOUNT, Name=name, Bucket=bucket, **more)
    return name


def test_its_life(points: Any, s3: Any, bucket: str) -> None:
    name = name_in()
    made = points.create_access_point(AccountId=ACCOUNT, Name=name, Bucket=bucket)
    assert made["AccessPointArn"] == f"arn:aws:s3express:us-east-1:{ACCOUNT}:accesspoint/{name}"
    seen = points.get_access_point(AccountId=ACCOUNT, Name=name)
    assert (seen["Bucket"], seen["NetworkOrigin"], seen.get("Alias")) == (bucket, "Internet", None)
    listed = points.list_access_points_for_directory_buckets(AccountId=ACCOUNT, DirectoryBucket=bucket)
    assert [one["Name"] for one in listed["AccessPointList"]] == [name]
    assert points.list_access_points(AccountId=ACCOUNT, Bucket=bucket)["AccessPointList"] == []
    assert code_of(s3.delete_bucket, Bucket=bucket) == "BucketHasAccessPointsAttached"
    points.delete_access_point(AccountId=ACCOUNT, Name=name)
    assert code_of(points.get_access_point, AccountId=ACCOUNT, Name=name) == "NoSuchAccessPoint"
    assert code_of(s3.list_objects_v2, Bucket=name) == "NoSuchAccessPoint"


def test_what_is_no_such_access_point(points: Any, s3: Any, bucket: str, server: Server) -> None:
    usual = make_bucket(s3)

    def refusal(**params: Any) -> str:
        return code_of(points.create_access_point, AccountId=ACCOUNT, **params)

    assert refusal(Name=name_in("use1-az6"), Bucket=bucket) == "InvalidRequest"
    assert refusal(Name="plain-name", Bucket=bucket) == "InvalidRequest"
    assert refusal(Name=name_in(), Bucket=usual) == "InvalidRequest"
    assert refusal(Name="plain-name", Bucket=usual, Scope={"Prefixes": ["a/"]}) == "InvalidRequest"
    assert refusal(Name=name_in(), Bucket=bucket, Scope={"Prefixes": ["a" * 256]}) == "InvalidRequest"
    name = door(points, bucket)
    assert refusal(Name=name, Bucket=bucket) == "AccessPointAlreadyOwnedByYou"
    theirs = make(new_client(server.endpoint, "s3", OTHER))
    taken = code_of(control(server, OTHER).create_access_point, AccountId=OTHER, Name=name, Bucket=theirs)
    assert taken == "InvalidRequest"


def test_objects_are_reached_through_it(points: Any, s3: Any, bucket: str) -> None:
    name = door(points, bucket)
    s3.put_object(Bucket=name, Key="a/k", Body=b"through")
    assert s3.get_object(Bucket=bucket, Key="a/k")["Body"].read() == b"through"
    assert s3.get_object(Bucket=name, Key="a/k")["Body"].read() == b"through"
    s3.copy_object(Bucket=name, Key="a/copy", CopySource={"Bucket": name, "Key": "a/k"})
    upload = s3.create_multipart_upload(Bucket=name, Key="big")["UploadId"]
    part = s3.upload_part(Bucket=name, Key="big", UploadId=upload, PartNumber=1, Body=b"1")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    s3.complete_multipart_upload(Bucket=name, Key="big", UploadId=upload, MultipartUpload=parts)
    assert {one["Key"] for one in s3.list_objects_v2(Bucket=name)["Contents"]} == {"a/k", "a/copy", "big"}
    assert code_of(s3.get_object, Bucket=name, Key="none") == "NoSuchKey"
    assert code_of(s3.get_bucket_policy, Bucket=name) in ("MethodNotAllowed", "AccessDenied")
    assert s3.head_bucket(Bucket=name)["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_scopes(points: Any, s3: Any, bucket: str) -> None:
    scope = {"Prefixes": ["a/"], "Permissions": ["GetObject", "ListBucket", "DeleteObject"]}
    name = door(points, bucket, Scope=scope)
    where = {"AccountId": ACCOUNT, "Name": name}
    assert points.get_access_point_scope(**where)["Scope"] == scope
    fill(s3, bucket, "a/1", "a/2", "b/1")
    assert s3.get_object(Bucket=name, Key="a/1")["Body"].read() == b"x"
    assert code_of(s3.get_object, Bucket=name, Key="b/1") == "AccessDenied"
    assert code_of(s3.put_object, Bucket=name, Key="a/3", Body=b"") == "AccessDenied"
    assert code_of(s3.list_objects_v2, Bucket=name) == "AccessDenied"
    assert len(s3.list_objects_v2(Bucket=name, Prefix="a/")["Contents"]) == 2
    copied = code_of(s3.copy_object, Bucket=bucket, Key="c", CopySource={"Bucket": name, "Key": "b/1"})
    assert copied == "AccessDenied"
    doomed = {"Objects": [{"Key": "a/2"}, {"Key": "b/1"}]}
    answer = s3.delete_objects(Bucket=name, Delete=doomed)
    assert [one["Key"] for one in answer["Deleted"]] == ["a/2"]
    assert [(one["Key"], one["Code"]) for one in answer["Errors"]] == [("b/1", "AccessDenied")]

    points.put_access_point_scope(**where, Scope={"Permissions": ["PutObject"]})
    s3.put_object(Bucket=name, Key="b/2", Body=b"new")
    assert code_of(s3.get_object, Bucket=name, Key="b/2") == "AccessDenied"
    points.delete_access_point_scope(**where)
    assert points.get_access_point_scope(**where)["Scope"] == {}
    assert s3.get_object(Bucket=name, Key="b/2")["Body"].read() == b"new"
    unknown = {"Permissions": ["PutObjectAcl"]}
    assert code_of(points.put_access_point_scope, **where, Scope=unknown) == "InvalidRequest"


def test_its_policy_and_the_buckets_must_both_allow(points: Any, s3: Any, bucket: str, server: Server) -> None:
    name = door(points, bucket)
    arn = f"arn:aws:s3express:us-east-1:{ACCOUNT}:accesspoint/{name}"
    theirs = new_client(server.endpoint, "s3", OTHER)
    fill(s3, bucket, "k")
    assert code_of(theirs.get_object, Bucket=name, Key="k") == "AccessDenied"

    def policy(resource: str, **condition: Any) -> str:
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": OTHER},
            "Action": "s3express:CreateSession",
            "Resource": resource,
            **condition,
        }
        return json.dumps({"Version": "2012-10-17", "Statement": [statement]})

    points.put_access_point_policy(AccountId=ACCOUNT, Name=name, Policy=policy(arn))
    assert code_of(theirs.get_object, Bucket=name, Key="k") == "AccessDenied"
    own = f"arn:aws:s3express:us-east-1:{ACCOUNT}:bucket/{bucket}"
    condition = {"Condition": {"StringEquals": {"s3express:DataAccessPointArn": arn}}}
    s3.put_bucket_policy(Bucket=bucket, Policy=policy(own, **condition))
    assert theirs.get_object(Bucket=name, Key="k")["Body"].read() == b"x"
    assert code_of(theirs.get_object, Bucket=bucket, Key="k") == "AccessDenied"
