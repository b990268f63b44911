"""Who is let in to directory buckets: `s3express` actions, their condition keys, bucket policies."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.compat.conftest import new_client
from tests.compat.s3_worlds import code_of
from tests.compat.test_iam import Account, allow, deny, home
from tests.compat.test_s3_directory_buckets import LASTING, configuration, make, name_in
from tests.server import Server

__all__ = ["home"]
pytestmark = pytest.mark.embedded


def arn_of(account: str, bucket: str) -> str:
    return f"arn:aws:s3express:us-east-1:{account}:bucket/{bucket}"


def s3_of(home: Account, name: str, *statements: dict[str, Any], **options: Any) -> Any:
    return home.client("s3", home.user(name, *statements), **options)


def test_one_permission_is_for_all_objects(home: Account) -> None:
    root = home.root("s3")
    bucket, other = make(root), make(root)
    s3 = s3_of(home, "ada", allow("s3express:CreateSession", on=arn_of(home.id, bucket)))
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    s3.rename_object(Bucket=bucket, Key="l", RenameSource=f"{bucket}/k")
    assert code_of(s3.get_object, Bucket=bucket, Key="absent") == "NoSuchKey"
    s3.head_bucket(Bucket=bucket)
    assert code_of(s3.put_object, Bucket=other, Key="k", Body=b"x") == "AccessDenied"
    for call in (s3.delete_bucket, s3.get_bucket_policy):
        assert code_of(call, Bucket=bucket) == "AccessDenied"
    assert code_of(s3.list_directory_buckets) == "AccessDenied"
    assert code_of(s3.create_bucket, Bucket=name_in(), CreateBucketConfiguration=configuration()) == "NoSuchBucket"


def test_lasting_keys_ask_the_same(home: Account) -> None:
    bucket = make(home.root("s3"))
    s3 = s3_of(home, "bea", allow("s3express:CreateSession", on=arn_of(home.id, bucket)), config=LASTING)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k"}]})
    never = s3_of(home, "cyn", allow("s3:*"), config=LASTING)
    assert code_of(never.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    assert code_of(never.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": "k"}]}) == "AccessDenied"


def test_the_mode_of_a_session(home: Account) -> None:
    root = home.root("s3")
    bucket = make(root)
    root.put_object(Bucket=bucket, Key="k", Body=b"x")
    only = {"StringEquals": {"s3express:SessionMode": "ReadOnly"}}
    reading = s3_of(home, "dot", allow("s3express:CreateSession", **only))
    assert reading.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    assert code_of(reading.put_object, Bucket=bucket, Key="k", Body=b"y") == "AccessDenied"
    assert code_of(reading.create_session, Bucket=bucket, SessionMode="ReadWrite") == "AccessDenied"
    reading.create_session(Bucket=bucket, SessionMode="ReadOnly")


def test_buckets_are_made_by_those_who_may(home: Account) -> None:
    where = {"StringEquals": {"s3express:LocationName": "use1-az4"}}
    s3 = s3_of(
        home,
        "eva",
        allow("s3express:CreateBucket", **where),
        allow("s3express:DeleteBucket", "s3express:ListAllMyDirectoryBuckets"),
    )
    name = name_in()
    s3.create_bucket(Bucket=name, CreateBucketConfiguration=configuration())
    assert [one["Name"] for one in s3.list_directory_buckets()["Buckets"]] == [name]
    s3.delete_bucket(Bucket=name)
    elsewhere = name_in("use1-az6")
    about = configuration("use1-az6")
    assert code_of(s3.create_bucket, Bucket=elsewhere, CreateBucketConfiguration=about) == "NoSuchBucket"
    lasting = s3_of(home, "fay", allow("s3express:CreateBucket"), config=LASTING)
    tagged = configuration(Tags=[{"Key": "a", "Value": "b"}])
    assert code_of(lasting.create_bucket, Bucket=name, CreateBucketConfiguration=tagged) == "AccessDenied"


def test_a_session_is_not_beyond_a_denial(home: Account) -> None:
    bucket = make(home.root("s3"))
    s3 = s3_of(home, "gil", allow("s3express:*"), deny("s3express:DeleteBucket"))
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.delete_object(Bucket=bucket, Key="k")
    assert code_of(s3.delete_bucket, Bucket=bucket) == "AccessDenied"


def test_other_accounts_come_in_by_the_buckets_policy(server: Server, home: Account) -> None:
    root, guest = home.root("s3"), "510000000000"
    bucket = make(root)
    theirs = new_client(server.endpoint, "s3", guest)
    assert code_of(theirs.get_object, Bucket=bucket, Key="k") == "AccessDenied"
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": guest},
        "Action": "s3express:CreateSession",
        "Resource": arn_of(home.id, bucket),
        "Condition": {"StringEquals": {"s3express:SessionMode": "ReadOnly"}},
    }
    root.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": statement}))
    root.put_object(Bucket=bucket, Key="k", Body=b"x")
    theirs = new_client(server.endpoint, "s3", guest)
    assert theirs.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    assert code_of(theirs.put_object, Bucket=bucket, Key="k", Body=b"y") == "AccessDenied"
    assert code_of(theirs.delete_bucket, Bucket=bucket) == "AccessDenied"
    everybody = statement | {"Principal": "*", "Condition": {}}
    text = json.dumps({"Version": "2012-10-17", "Statement": everybody})
    assert code_of(root.put_bucket_policy, Bucket=bucket, Policy=text) == "AccessDenied"
    taken = new_client(server.endpoint, "s3", guest, config=LASTING)
    assert code_of(taken.create_bucket, Bucket=bucket, CreateBucketConfiguration=configuration()) == (
        "BucketAlreadyExists"
    )
