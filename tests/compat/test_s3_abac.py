"""Attribute-based access control: tags of buckets in conditions, once the bucket says so."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest

from tests.compat.conftest import new_client
from tests.compat.refused import refused
from tests.compat.s3_worlds import make_bucket
from tests.compat.test_s3_access_points import control
from tests.server import Server

pytestmark = pytest.mark.embedded


class World:
    """A bucket with an object, both tagged, and a user of the bucket's account."""

    def __init__(self, server: Server, account: str) -> None:
        self.account, self.server = account, server
        self.s3 = new_client(server.endpoint, "s3", account)
        self.control = control(server, account)
        self.iam = new_client(server.endpoint, "iam", account)
        self.bucket = make_bucket(self.s3)
        self.arn = f"arn:aws:s3:::{self.bucket}"
        self.s3.put_bucket_tagging(Bucket=self.bucket, Tagging={"TagSet": [{"Key": "team", "Value": "a"}]})
        self.s3.put_object(Bucket=self.bucket, Key="k", Body=b"x", Tagging="team=object")
        self.name = f"u-{secrets.token_hex(4)}"
        self.iam.create_user(UserName=self.name)
        key = self.iam.create_access_key(UserName=self.name)["AccessKey"]
        self.user = new_client(server.endpoint, "s3", key["AccessKeyId"], secret=key["SecretAccessKey"])

    def allow(self, key: str, value: str) -> None:
        allow = {"Effect": "Allow", "Action": "s3:*", "Resource": "*", "Condition": {"StringEquals": {key: value}}}
        document = json.dumps({"Version": "2012-10-17", "Statement": [allow]})
        self.iam.put_user_policy(UserName=self.name, PolicyName="p", PolicyDocument=document)

    def tag(self, value: str) -> None:
        tags = [{"Key": "team", "Value": value}]
        self.control.tag_resource(AccountId=self.account, ResourceArn=self.arn, Tags=tags)


@pytest.fixture
def world(server: Server, account: str) -> World:
    return World(server, account)


@pytest.mark.parametrize("key", ["aws:ResourceTag/team", "s3:BucketTag/team"])
def test_tags_count_once_the_bucket_says_so(world: World, key: str) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: world.user.get_bucket_location(Bucket=world.bucket),
        lambda: world.user.list_objects_v2(Bucket=world.bucket),
        lambda: world.user.get_object(Bucket=world.bucket, Key="k"),
    ]
    world.allow(key, "a")
    for call in calls:
        with refused("AccessDenied"):
            call()
    world.s3.put_bucket_abac(Bucket=world.bucket, AbacStatus={"Status": "Enabled"})
    for call in calls:
        call()
    world.tag("b")
    for call in calls:
        with refused("AccessDenied"):
            call()
    world.allow(key, "b")
    for call in calls:
        call()
    world.s3.put_bucket_abac(Bucket=world.bucket, AbacStatus={"Status": "Disabled"})
    for call in calls:
        with refused("AccessDenied"):
            call()


def test_tags_of_objects_have_a_key_of_their_own(world: World) -> None:
    world.s3.put_bucket_abac(Bucket=world.bucket, AbacStatus={"Status": "Enabled"})
    world.allow("aws:ResourceTag/team", "object")
    with refused("AccessDenied"):
        world.user.get_object(Bucket=world.bucket, Key="k")
    world.allow("s3:ExistingObjectTag/team", "object")
    assert world.user.get_object(Bucket=world.bucket, Key="k")["Body"].read() == b"x"


def test_the_older_way_of_tagging_ends(world: World) -> None:
    world.s3.put_bucket_abac(Bucket=world.bucket, AbacStatus={"Status": "Enabled"})
    with refused("InvalidRequest", "TagResource"):
        world.s3.put_bucket_tagging(Bucket=world.bucket, Tagging={"TagSet": []})
    with refused("InvalidRequest", "UntagResource"):
        world.s3.delete_bucket_tagging(Bucket=world.bucket)
    world.tag("b")
    assert world.s3.get_bucket_tagging(Bucket=world.bucket)["TagSet"] == [{"Key": "team", "Value": "b"}]
    world.control.untag_resource(AccountId=world.account, ResourceArn=world.arn, TagKeys=["team"])
    with refused("NoSuchTagSet"):
        world.s3.get_bucket_tagging(Bucket=world.bucket)


def test_tags_of_access_points_always_count(world: World) -> None:
    name = f"point-{secrets.token_hex(4)}"
    made = world.control.create_access_point(
        AccountId=world.account, Name=name, Bucket=world.bucket, Tags=[{"Key": "team", "Value": "point"}]
    )
    for key in ("aws:ResourceTag/team", "s3:AccessPointTag/team"):
        world.allow(key, "other")
        with refused("AccessDenied"):
            world.user.get_object(Bucket=made["Alias"], Key="k")
        world.allow(key, "point")
        assert world.user.get_object(Bucket=made["Alias"], Key="k")["Body"].read() == b"x"
