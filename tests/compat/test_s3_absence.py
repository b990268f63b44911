"""Who learns that something is not there, and whose an object is that another account wrote."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.compat.conftest import new_client
from tests.compat.refused import refused
from tests.compat.s3_worlds import make_bucket
from tests.server import Server

pytestmark = pytest.mark.embedded
OWNER, OTHER = "450000000000", "460000000000"


def policy(bucket: str, *actions: str, condition: dict[str, Any] | None = None) -> str:
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": "*"},
        "Action": actions,
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        **({"Condition": condition} if condition else {}),
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


@pytest.fixture
def owner(server: Server) -> Any:
    return new_client(server.endpoint, "s3", OWNER)


@pytest.fixture
def other(server: Server) -> Any:
    return new_client(server.endpoint, "s3", OTHER)


def open_bucket(s3: Any, ownership: str = "BucketOwnerEnforced") -> str:
    bucket = make_bucket(s3, ObjectOwnership=ownership)
    s3.delete_public_access_block(Bucket=bucket)
    return bucket


def test_absence_is_told_to_those_who_may_list(owner: Any, other: Any) -> None:
    bucket = open_bucket(owner)
    with refused("NoSuchKey"):
        owner.get_object(Bucket=bucket, Key="gone")
    owner.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, "s3:GetObject"))
    with refused("AccessDenied"):
        other.get_object(Bucket=bucket, Key="gone")
    condition = {"StringLike": {"s3:prefix": "public/*"}}
    owner.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, "s3:ListBucket", condition=condition))
    with refused("NoSuchKey"):
        other.get_object(Bucket=bucket, Key="public/gone")
    with refused("AccessDenied"):
        other.get_object(Bucket=bucket, Key="private/gone")
    with refused("404"):
        other.head_object(Bucket=bucket, Key="public/gone")
    owner.put_object(Bucket=bucket, Key="public/there", Body=b"x")
    with refused("AccessDenied"):
        other.get_object(Bucket=bucket, Key="public/there")


def test_a_missing_bucket_is_missing_for_everybody(server: Server, other: Any) -> None:
    answer = requests.get(f"{server.endpoint}/there-is-no-such-bucket/key", timeout=60)
    assert (answer.status_code, "NoSuchBucket" in answer.text) == (404, True)
    with refused("NoSuchBucket"):
        other.put_object(Bucket="there-is-no-such-bucket", Key="k", Body=b"x")


def test_what_another_account_wrote_is_its_own(owner: Any, other: Any) -> None:
    bucket = open_bucket(owner, "ObjectWriter")
    owner.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, "s3:PutObject", "s3:GetObject"))
    other.put_object(Bucket=bucket, Key="theirs", Body=b"x")
    with refused("AccessDenied"):
        owner.get_object(Bucket=bucket, Key="theirs")
    with refused("AccessDenied"):
        owner.get_object_acl(Bucket=bucket, Key="theirs")
    assert other.get_object(Bucket=bucket, Key="theirs")["Body"].read() == b"x"
    other.put_object(Bucket=bucket, Key="shared", Body=b"x", ACL="bucket-owner-full-control")
    assert owner.get_object(Bucket=bucket, Key="shared")["Body"].read() == b"x"
    owner.delete_object(Bucket=bucket, Key="theirs")


def test_the_owner_may_prefer_to_own(owner: Any, other: Any) -> None:
    bucket = open_bucket(owner, "BucketOwnerPreferred")
    owner.put_bucket_policy(Bucket=bucket, Policy=policy(bucket, "s3:PutObject"))
    other.put_object(Bucket=bucket, Key="given", Body=b"x", ACL="bucket-owner-full-control")
    other.put_object(Bucket=bucket, Key="kept", Body=b"x")
    assert owner.get_object(Bucket=bucket, Key="given")["Body"].read() == b"x"
    with refused("AccessDenied"):
        owner.get_object(Bucket=bucket, Key="kept")


def test_pages_go_on_behind_deleted_null_versions(owner: Any) -> None:
    bucket = open_bucket(owner)
    for number in range(5):
        owner.put_object(Bucket=bucket, Key=f"k{number}", Body=b"x")
    first = owner.list_object_versions(Bucket=bucket, MaxKeys=2)
    for one in first["Versions"]:
        owner.delete_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])
    rest = owner.list_object_versions(
        Bucket=bucket, KeyMarker=first["NextKeyMarker"], VersionIdMarker=first["NextVersionIdMarker"]
    )
    assert [one["Key"] for one in rest["Versions"]] == ["k2", "k3", "k4"]


def test_a_preflight_is_answered_once(server: Server, owner: Any) -> None:
    bucket = open_bucket(owner)
    rules = [{"AllowedMethods": ["GET", "PUT"], "AllowedOrigins": ["http://a.example"]}]
    owner.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})
    asked = {"Origin": "http://a.example", "Access-Control-Request-Method": "PUT"}
    answer = requests.options(f"{server.endpoint}/{bucket}/k", headers=asked, timeout=60)
    assert answer.headers["access-control-allow-origin"] == "http://a.example"
    answer = requests.get(f"{server.endpoint}/{bucket}/k", headers=asked, timeout=60)
    assert answer.headers["access-control-allow-origin"] == "http://a.example"
