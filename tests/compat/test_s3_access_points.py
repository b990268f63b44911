"""Access points: made and set up through S3 Control, used by alias, ARN and host, and what their policies do."""

from __future__ import annotations

import json
import secrets
from typing import Any

import boto3
import pytest
import requests
from botocore.config import Config

from tests.compat.conftest import new_client
from tests.compat.refused import refused
from tests.compat.s3_worlds import make_bucket
from tests.server import Server

pytestmark = pytest.mark.embedded

OWNER, OTHER = "410000000000", "420000000000"


def control(server: Server, account: str, key: str | None = None, secret: str = "test", **options: Any) -> Any:
    config = Config(inject_host_prefix=False, **options)
    client = new_client(server.endpoint, "s3control", key or account, secret=secret, config=config)
    client.meta.events.register("before-sign.s3-control", lambda request, **_: strip(request, account))
    return client


def strip(request: Any, account: str) -> None:
    request.url = request.url.replace(f"//{account}.", "//")


def policy(arn: str, principal: Any, *actions: str) -> str:
    statement = {"Effect": "Allow", "Principal": principal, "Action": actions, "Resource": [arn, f"{arn}/object/*"]}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def delegation(bucket: str) -> str:
    """The bucket leaves it to the access points of its owner."""
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": "*",
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        "Condition": {"StringEquals": {"s3:DataAccessPointAccount": OWNER}},
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
def point(server: Server) -> Any:
    s3, s3control = new_client(server.endpoint, "s3", OWNER), control(server, OWNER)
    bucket, name = make_bucket(s3), f"door-{secrets.token_hex(4)}"
    made = s3control.create_access_point(AccountId=OWNER, Name=name, Bucket=bucket)
    return {"s3": s3, "control": s3control, "bucket": bucket, "name": name, **made, "arn": made["AccessPointArn"]}


def test_life_of_an_access_point(point: Any) -> None:
    s3control, name, bucket = point["control"], point["name"], point["bucket"]
    about = s3control.get_access_point(AccountId=OWNER, Name=name)
    assert about["Bucket"] == bucket
    assert about["NetworkOrigin"] == "Internet"
    assert about["Alias"] == point["Alias"]
    assert about["Alias"].endswith("-s3alias")
    assert len(about["Alias"]) <= 63
    assert about["PublicAccessBlockConfiguration"]["BlockPublicPolicy"] is True
    assert about["AccessPointArn"] == f"arn:aws:s3:us-east-1:{OWNER}:accesspoint/{name}"
    listed = s3control.list_access_points(AccountId=OWNER, Bucket=bucket)["AccessPointList"]
    assert [one["Name"] for one in listed] == [name]
    with refused("AccessPointAlreadyOwnedByYou"):
        s3control.create_access_point(AccountId=OWNER, Name=name, Bucket=bucket)
    with refused("BucketHasAccessPointsAttached"):
        point["s3"].delete_bucket(Bucket=bucket)
    s3control.delete_access_point(AccountId=OWNER, Name=name)
    with refused("NoSuchAccessPoint"):
        s3control.get_access_point(AccountId=OWNER, Name=name)
    with refused("NoSuchBucket"):
        point["s3"].list_objects_v2(Bucket=point["Alias"])
    point["s3"].delete_bucket(Bucket=bucket)


def test_names_and_buckets_are_checked(server: Server, point: Any) -> None:
    s3control = point["control"]
    for name in ("Upper", "-dash", "dot.ted", "some-s3alias"):
        with refused("InvalidRequest"):
            s3control.create_access_point(AccountId=OWNER, Name=name, Bucket=point["bucket"])
    with refused("NoSuchBucket"):
        s3control.create_access_point(AccountId=OWNER, Name="fine", Bucket="there-is-no-such-bucket")
    with refused("AccessDenied"):
        control(server, OTHER).create_access_point(AccountId=OTHER, Name="theirs", Bucket=point["bucket"])


def test_policy_and_its_status(point: Any) -> None:
    s3control, name, arn = point["control"], point["name"], point["arn"]
    with refused("NoSuchAccessPointPolicy"):
        s3control.get_access_point_policy(AccountId=OWNER, Name=name)
    with refused("AccessDenied"):
        s3control.put_access_point_policy(AccountId=OWNER, Name=name, Policy=policy(arn, "*", "s3:GetObject"))
    with refused("MalformedPolicy"):
        elsewhere = policy(f"arn:aws:s3:::{point['bucket']}", {"AWS": OTHER}, "s3:GetObject")
        s3control.put_access_point_policy(AccountId=OWNER, Name=name, Policy=elsewhere)
    written = policy(arn, {"AWS": OTHER}, "s3:GetObject")
    s3control.put_access_point_policy(AccountId=OWNER, Name=name, Policy=written)
    assert json.loads(s3control.get_access_point_policy(AccountId=OWNER, Name=name)["Policy"]) == json.loads(written)
    status = s3control.get_access_point_policy_status(AccountId=OWNER, Name=name)
    assert status["PolicyStatus"]["IsPublic"] is False
    s3control.delete_access_point_policy(AccountId=OWNER, Name=name)
    with refused("NoSuchAccessPointPolicy"):
        s3control.get_access_point_policy_status(AccountId=OWNER, Name=name)


def test_objects_go_through_the_alias(point: Any) -> None:
    s3, alias, bucket = point["s3"], point["Alias"], point["bucket"]
    s3.put_object(Bucket=alias, Key="a/b", Body=b"through")
    assert s3.get_object(Bucket=bucket, Key="a/b")["Body"].read() == b"through"
    assert s3.head_bucket(Bucket=alias)["AccessPointAlias"] is True
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=alias)["Contents"]] == ["a/b"]
    s3.copy_object(Bucket=alias, Key="copy", CopySource=f"{alias}/a/b")
    s3.copy_object(Bucket=bucket, Key="copy2", CopySource=f"{point['arn']}/object/a/b")
    deleted = s3.delete_objects(Bucket=alias, Delete={"Objects": [{"Key": "copy"}, {"Key": "copy2"}]})
    assert len(deleted["Deleted"]) == 2
    with refused("MethodNotAllowed"):
        s3.put_bucket_versioning(Bucket=alias, VersioningConfiguration={"Status": "Enabled"})


def test_objects_go_through_the_arn_and_the_host(server: Server, point: Any) -> None:
    session = boto3.Session(OWNER, "test", region_name="us-east-1")
    s3 = session.client("s3", endpoint_url=f"http://localhost:{server.endpoint.rpartition(':')[2]}")
    seen: list[str] = []

    def to_loopback(request: Any, **_: Any) -> None:
        label = request.url.split("//")[1].split(".")[0]
        seen.append(label)
        request.headers["Host"] = request.url.split("//")[1].split("/")[0]
        request.url = request.url.replace(f"{label}.localhost", "127.0.0.1")

    s3.meta.events.register("before-send.s3", to_loopback)
    s3.put_object(Bucket=point["arn"], Key="k", Body=b"by arn")
    assert s3.get_object(Bucket=point["arn"], Key="k")["Body"].read() == b"by arn"
    assert seen == [f"{point['name']}-{OWNER}"] * 2
    host = f"{point['name']}-{OWNER}.s3-accesspoint.us-east-1.amazonaws.com"
    answer = requests.get(f"{server.endpoint}/k", headers={"Host": host}, timeout=60)
    assert answer.status_code == 403
    assert "AccessDenied" in answer.text


def test_both_policies_decide(server: Server, point: Any) -> None:
    s3, s3control, name, arn, bucket = (point[one] for one in ("s3", "control", "name", "arn", "bucket"))
    theirs = new_client(server.endpoint, "s3", OTHER)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    with refused("AccessDenied"):
        theirs.get_object(Bucket=point["Alias"], Key="k")
    s3control.put_access_point_policy(AccountId=OWNER, Name=name, Policy=policy(arn, {"AWS": OTHER}, "s3:GetObject"))
    with refused("AccessDenied"):  # the bucket says nothing yet
        theirs.get_object(Bucket=point["Alias"], Key="k")
    s3.delete_public_access_block(Bucket=bucket)
    s3.put_bucket_policy(Bucket=bucket, Policy=delegation(bucket))
    assert theirs.get_object(Bucket=point["Alias"], Key="k")["Body"].read() == b"x"
    with refused("AccessDenied"):  # not through the bucket itself
        theirs.get_object(Bucket=bucket, Key="k")
    with refused("AccessDenied"):  # not what the access point does not allow
        theirs.put_object(Bucket=point["Alias"], Key="k", Body=b"y")
    keys = {"Bool": {"aws:SecureTransport": "false"}, "ArnEquals": {"s3:DataAccessPointArn": arn}}
    statement = {"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": f"{arn}/object/*", "Condition": keys}
    s3control.put_access_point_policy(
        AccountId=OWNER, Name=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    )
    with refused("AccessDenied"):
        s3.get_object(Bucket=point["Alias"], Key="k")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"


def test_a_user_needs_a_permission_on_the_access_point(server: Server, point: Any) -> None:
    iam = new_client(server.endpoint, "iam", OWNER)
    user = f"u-{secrets.token_hex(4)}"
    iam.create_user(UserName=user)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    s3 = boto3.client(
        "s3",
        endpoint_url=server.endpoint,
        aws_access_key_id=key["AccessKeyId"],
        aws_secret_access_key=key["SecretAccessKey"],
        region_name="us-east-1",
    )
    point["s3"].put_object(Bucket=point["bucket"], Key="k", Body=b"x")
    with refused("AccessDenied"):
        s3.get_object(Bucket=point["Alias"], Key="k")
    allow = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{point['arn']}/object/*"}
    iam.put_user_policy(
        UserName=user, PolicyName="p", PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [allow]})
    )
    assert s3.get_object(Bucket=point["Alias"], Key="k")["Body"].read() == b"x"
    with refused("AccessDenied"):
        s3.get_object(Bucket=point["bucket"], Key="k")


def test_vpc_access_points_let_nothing_in_from_outside(point: Any) -> None:
    s3control, name = point["control"], f"vpc-{secrets.token_hex(4)}"
    made = s3control.create_access_point(
        AccountId=OWNER, Name=name, Bucket=point["bucket"], VpcConfiguration={"VpcId": "vpc-1"}
    )
    about = s3control.get_access_point(AccountId=OWNER, Name=name)
    assert about["NetworkOrigin"] == "VPC"
    assert about["VpcConfiguration"] == {"VpcId": "vpc-1"}
    with refused("AccessDenied"):
        point["s3"].list_objects_v2(Bucket=made["Alias"])


def test_tags_of_an_access_point(point: Any) -> None:
    s3control, arn = point["control"], point["arn"]
    s3control.tag_resource(
        AccountId=OWNER, ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "2"}]
    )
    s3control.untag_resource(AccountId=OWNER, ResourceArn=arn, TagKeys=["a"])
    found = s3control.list_tags_for_resource(AccountId=OWNER, ResourceArn=arn)["Tags"]
    assert found == [{"Key": "b", "Value": "2"}]
