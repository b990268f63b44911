"""The condition keys of S3, each in a bucket policy that another account's call must fulfil."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest
import requests
from botocore.config import Config

from tests.compat.conftest import new_client
from tests.compat.refused import refused
from tests.compat.s3_worlds import make_bucket
from tests.server import Server

pytestmark = pytest.mark.embedded
OWNER, OTHER = "480000000000", "490000000000"
Call = Callable[[Any, str], Any]


class World:
    def __init__(self, server: Server) -> None:
        self.server = server
        self.owner = new_client(server.endpoint, "s3", OWNER)
        self.other = new_client(server.endpoint, "s3", OTHER)
        self.bucket = make_bucket(self.owner, ObjectOwnership="ObjectWriter")
        self.owner.delete_public_access_block(Bucket=self.bucket)

    def allow(self, action: str, condition: dict[str, Any], *more: str) -> None:
        arn = f"arn:aws:s3:::{self.bucket}"
        statements = [
            {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": action, "Resource": [arn, f"{arn}/*"],
             "Condition": condition},
            *(
                {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": one, "Resource": [arn, f"{arn}/*"]}
                for one in more
            ),
        ]  # fmt: skip
        policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
        self.owner.put_bucket_policy(Bucket=self.bucket, Policy=policy)


@pytest.fixture(scope="module")
def world(server: Server) -> World:
    made = World(server)
    made.owner.put_object(Bucket=made.bucket, Key="tagged", Body=b"x", Tagging="class=open&n=1")
    made.owner.put_object(Bucket=made.bucket, Key="plain", Body=b"x")
    made.owner.put_object(Bucket=made.bucket, Key="from/here", Body=b"x")
    return made


def put(**more: Any) -> Call:
    return lambda s3, bucket: s3.put_object(Bucket=bucket, Key="k", Body=b"x", **more)


def listing(**more: Any) -> Call:
    return lambda s3, bucket: s3.list_objects_v2(Bucket=bucket, **more)


def get(key: str = "plain", **more: Any) -> Call:
    return lambda s3, bucket: s3.get_object(Bucket=bucket, Key=key, **more)


def copy(source: str, **more: Any) -> Call:
    return lambda s3, bucket: s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/{source}", **more)


# name: action, condition, a call that fulfils it, one that does not
CASES: dict[str, tuple[str, dict[str, Any], Call, Call]] = {
    "prefix": ("s3:ListBucket", {"StringLike": {"s3:prefix": "a/*"}}, listing(Prefix="a/b"), listing(Prefix="b")),
    "no prefix": ("s3:ListBucket", {"StringEquals": {"s3:prefix": ""}}, listing(Prefix=""), listing(Prefix="x")),
    "delimiter": (
        "s3:ListBucket", {"StringEquals": {"s3:delimiter": "/"}}, listing(Delimiter="/"), listing()
    ),
    "max-keys": (
        "s3:ListBucket", {"NumericLessThanEquals": {"s3:max-keys": "10"}}, listing(MaxKeys=10), listing(MaxKeys=11)
    ),
    "acl": (
        "s3:PutObject", {"StringEquals": {"s3:x-amz-acl": "bucket-owner-full-control"}},
        put(ACL="bucket-owner-full-control"), put(),
    ),
    "storage class": (
        "s3:PutObject", {"StringEquals": {"s3:x-amz-storage-class": "STANDARD_IA"}}, put(StorageClass="STANDARD_IA"),
        put(),
    ),
    "encryption": (
        "s3:PutObject", {"StringEquals": {"s3:x-amz-server-side-encryption": "AES256"}},
        put(ServerSideEncryption="AES256"), put(),
    ),
    "existing tag": ("s3:GetObject", {"StringEquals": {"s3:ExistingObjectTag/class": "open"}}, get("tagged"), get()),
    "request tag": (
        "s3:PutObject", {"StringEquals": {"s3:RequestObjectTag/team": "a"}}, put(Tagging="team=a"),
        put(Tagging="team=b"),
    ),
    "request tag keys": (
        "s3:PutObject", {"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["team"]}}, put(Tagging="team=a"),
        put(Tagging="other=a"),
    ),
    "copy source": (
        "s3:PutObject", {"StringLike": {"s3:x-amz-copy-source": "*/from/*"}}, copy("from/here"), copy("plain")
    ),
    "metadata directive": (
        "s3:PutObject", {"StringEquals": {"s3:x-amz-metadata-directive": "REPLACE"}},
        copy("plain", MetadataDirective="REPLACE"), copy("plain"),
    ),
    "if-none-match": (
        "s3:PutObject", {"Null": {"s3:if-none-match": "false"}},
        lambda s3, bucket: s3.put_object(Bucket=bucket, Key=secrets.token_hex(8), Body=b"x", IfNoneMatch="*"), put(),
    ),
    "resource account": (
        "s3:GetObject", {"StringEquals": {"s3:ResourceAccount": OWNER}}, get(),
        lambda s3, bucket: s3.list_objects_v2(Bucket=bucket),
    ),
    "signature version": (
        "s3:GetObject", {"StringEquals": {"s3:signatureversion": "AWS4-HMAC-SHA256"}}, get(),
        lambda s3, bucket: s3.list_objects_v2(Bucket=bucket),
    ),
    "user agent": (
        "s3:GetObject", {"StringLike": {"aws:UserAgent": "*Boto3*"}, "IpAddress": {"aws:SourceIp": "127.0.0.0/8"}},
        get(), lambda s3, bucket: s3.list_objects_v2(Bucket=bucket),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_a_condition_decides(world: World, name: str) -> None:
    action, condition, fulfils, does_not = CASES[name]
    world.allow(action, condition, "s3:PutObjectTagging", *(["s3:GetObject"] if action == "s3:PutObject" else []))
    fulfils(world.other, world.bucket)
    with refused("AccessDenied"):
        does_not(world.other, world.bucket)


def presigned(client: Any, bucket: str, seconds: int = 60) -> str:
    return str(client.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "plain"}, ExpiresIn=seconds))


def test_how_a_request_was_signed(world: World) -> None:
    url = presigned(world.other, world.bucket)
    world.allow("s3:GetObject", {"StringEquals": {"s3:authType": "REST-QUERY-STRING"}})
    assert requests.get(url, timeout=60).status_code == 200
    with refused("AccessDenied"):
        world.other.get_object(Bucket=world.bucket, Key="plain")
    world.allow("s3:GetObject", {"StringEquals": {"s3:authType": "REST-HEADER"}})
    assert requests.get(url, timeout=60).status_code == 403
    world.allow("s3:GetObject", {"NumericLessThan": {"s3:signatureAge": "600000"}})
    assert requests.get(url, timeout=60).status_code == 200
    world.allow("s3:GetObject", {"NumericGreaterThan": {"s3:signatureAge": "600000"}})
    assert requests.get(url, timeout=60).status_code == 403
    world.allow("s3:GetObject", {"StringEquals": {"s3:signatureversion": "AWS"}})
    old = new_client(world.server.endpoint, "s3", OTHER, config=Config(signature_version="s3"))
    assert old.get_object(Bucket=world.bucket, Key="plain")["Body"].read() == b"x"
    with refused("AccessDenied"):
        world.other.get_object(Bucket=world.bucket, Key="plain")


def test_where_a_request_came_from(world: World) -> None:
    url = f"{world.server.endpoint}/{world.bucket}/plain"
    world.allow("s3:GetObject", {"StringLike": {"aws:Referer": ["http://example.com/*"]}})
    assert requests.get(url, headers={"Referer": "http://example.com/page"}, timeout=60).status_code == 200
    assert requests.get(url, timeout=60).status_code == 403
    world.allow("s3:GetObject", {"Bool": {"aws:SecureTransport": "false"}})
    assert requests.get(url, timeout=60).status_code == 200
    world.allow("s3:GetObject", {"Bool": {"aws:SecureTransport": "true"}})
    assert requests.get(url, timeout=60).status_code == 403
    world.allow("s3:GetObject", {"NumericGreaterThanEquals": {"s3:TlsVersion": "1.2"}})
    assert requests.get(url, timeout=60).status_code == 403
    world.allow("s3:GetObject", {"NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}})
    assert requests.get(url, timeout=60).status_code == 403


def test_locations_of_new_buckets(server: Server) -> None:
    iam = new_client(server.endpoint, "iam", OTHER)
    user = f"u-{secrets.token_hex(4)}"
    iam.create_user(UserName=user)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    condition = {"StringLike": {"s3:LocationConstraint": "eu-west-1"}}
    allow = {"Effect": "Allow", "Action": "s3:CreateBucket", "Resource": "*", "Condition": condition}
    document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=document)
    s3 = new_client(server.endpoint, "s3", key["AccessKeyId"], secret=key["SecretAccessKey"])
    name = f"loc-{secrets.token_hex(8)}"
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    with refused("AccessDenied"):
        s3.create_bucket(Bucket=f"loc-{secrets.token_hex(8)}")


def test_deletes_that_compare_are_for_those_who_may_read(world: World) -> None:
    etag = world.owner.put_object(Bucket=world.bucket, Key="doomed", Body=b"x")["ETag"]
    world.allow("s3:DeleteObject", {"Null": {"s3:if-match": "false"}})
    with refused("AccessDenied"):
        world.other.delete_object(Bucket=world.bucket, Key="doomed")
    with refused("AccessDenied"):
        world.other.delete_object(Bucket=world.bucket, Key="doomed", IfMatch=etag)
    wanted = {"Objects": [{"Key": "doomed", "ETag": etag}]}
    assert [one["Code"] for one in _many(world, wanted)["Errors"]] == ["AccessDenied"]
    world.allow("s3:DeleteObject", {"Null": {"s3:if-match": "false"}}, "s3:GetObject")
    world.other.delete_object(Bucket=world.bucket, Key="doomed", IfMatch=etag)
    world.owner.put_object(Bucket=world.bucket, Key="doomed", Body=b"x")
    assert [one["Code"] for one in _many(world, {"Objects": [{"Key": "doomed"}]})["Errors"]] == ["AccessDenied"]
    assert [one["Key"] for one in _many(world, wanted)["Deleted"]] == ["doomed"]
    world.owner.put_object(Bucket=world.bucket, Key="doomed", Body=b"x")
    world.allow("s3:DeleteObject", {"Null": {"s3:if-match": "false"}})
    world.other.delete_object(Bucket=world.bucket, Key="doomed", IfMatch="*")


def _many(world: World, wanted: dict[str, Any]) -> dict[str, Any]:
    done: dict[str, Any] = world.other.delete_objects(Bucket=world.bucket, Delete=wanted)
    return done
