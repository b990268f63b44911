"""RenameObject: in directory buckets, at once, under conditions, once for each client token."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ParamValidationError

from tests.compat.conftest import new_client
from tests.compat.refused import refused
from tests.compat.s3_worlds import code_of, error_of, fill, make_bucket
from tests.compat.test_s3_directory_buckets import make
from tests.server import Server


@pytest.fixture
def s3(server: Server, account: str) -> Any:
    return new_client(server.endpoint, "s3", account)


@pytest.fixture
def bucket(s3: Any) -> str:
    return make(s3)


def keys(s3: Any, bucket: str) -> list[str]:
    return sorted(one["Key"] for one in s3.list_objects_v2(Bucket=bucket).get("Contents", ()))


def test_all_but_the_key_stays(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="d/old", Body=b"x" * 100000, Metadata={"a": "b"}, ContentType="text/plain")
    before = s3.head_object(Bucket=bucket, Key="d/old", ChecksumMode="ENABLED")
    s3.rename_object(Bucket=bucket, Key="e/new", RenameSource=f"{bucket}/d/old")
    after = s3.head_object(Bucket=bucket, Key="e/new", ChecksumMode="ENABLED")
    for about in (before, after):
        del about["ResponseMetadata"]
    assert after == before
    assert s3.get_object(Bucket=bucket, Key="e/new")["Body"].read() == b"x" * 100000
    assert keys(s3, bucket) == ["e/new"]


def test_ways_to_name_the_source(s3: Any, bucket: str) -> None:
    fill(s3, bucket, "a b/ü", body=b"x")
    s3.rename_object(Bucket=bucket, Key="one/k", RenameSource=f"/{bucket}/a%20b/%C3%BC")
    s3.rename_object(Bucket=bucket, Key="two", RenameSource="one/k")
    assert keys(s3, bucket) == ["two"]
    assert code_of(s3.rename_object, Bucket=bucket, Key="k", RenameSource=f"{bucket}/absent") == "NoSuchKey"
    other = make(s3)
    assert code_of(s3.rename_object, Bucket=bucket, Key="k", RenameSource=f"{other}/two") == "InvalidArgument"
    for source, new in ((f"{bucket}/d/", "k"), (f"{bucket}/two", "d/")):
        assert code_of(s3.rename_object, Bucket=bucket, Key=new, RenameSource=source) == "InvalidRequest"
    with pytest.raises(ParamValidationError):
        s3.rename_object(Bucket=bucket, Key="k")


def test_what_is_there_is_replaced(s3: Any, bucket: str) -> None:
    for key in ("a", "b"):
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode() * 50000)
    error = error_of(s3.rename_object, Bucket=bucket, Key="b", RenameSource=f"{bucket}/a", DestinationIfNoneMatch="*")
    assert (error["Code"], error["Status"]) == ("PreconditionFailed", 412)
    s3.rename_object(Bucket=bucket, Key="b", RenameSource=f"{bucket}/a")
    assert s3.get_object(Bucket=bucket, Key="b")["Body"].read() == b"a" * 50000
    assert keys(s3, bucket) == ["b"]


def test_conditions_on_both(s3: Any, bucket: str) -> None:
    fill(s3, bucket, "a", "b")
    about = {key: s3.head_object(Bucket=bucket, Key=key) for key in ("a", "b")}
    before, after = (about["a"]["LastModified"] + timedelta(hours=hours) for hours in (-1, 1))
    call: dict[str, Any] = {"Bucket": bucket, "Key": "b", "RenameSource": f"{bucket}/a"}
    for wrong in (
        {"SourceIfMatch": about["b"]["ETag"]},
        {"SourceIfNoneMatch": about["a"]["ETag"]},
        {"SourceIfNoneMatch": "*"},
        {"SourceIfModifiedSince": after},
        {"SourceIfUnmodifiedSince": before},
        {"DestinationIfMatch": about["a"]["ETag"]},
        {"DestinationIfModifiedSince": after},
        {"DestinationIfUnmodifiedSince": before},
    ):
        assert code_of(s3.rename_object, **call, **wrong) == "PreconditionFailed", wrong
    assert code_of(s3.rename_object, **(call | {"Key": "c"}), DestinationIfMatch="*") == "PreconditionFailed"
    s3.rename_object(
        **call,
        SourceIfMatch=about["a"]["ETag"],
        SourceIfModifiedSince=before,
        SourceIfUnmodifiedSince=after,
        DestinationIfMatch=about["b"]["ETag"],
        DestinationIfUnmodifiedSince=after,
    )
    assert keys(s3, bucket) == ["b"]


def test_a_token_renames_once(s3: Any, bucket: str) -> None:
    fill(s3, bucket, "a", "c")
    call: dict[str, Any] = {"Bucket": bucket, "Key": "b", "RenameSource": f"{bucket}/a", "ClientToken": "t" * 64}
    s3.rename_object(**call)
    s3.rename_object(**call)
    assert keys(s3, bucket) == ["b", "c"]
    with refused("IdempotencyParameterMismatch"):
        s3.rename_object(**(call | {"RenameSource": f"{bucket}/c"}))
    with refused("InvalidArgument"):
        s3.rename_object(**(call | {"ClientToken": "t" * 65}))
    # A rename that failed is none.
    again = call | {"ClientToken": "other", "RenameSource": f"{bucket}/a"}
    assert code_of(s3.rename_object, **again) == "NoSuchKey"
    fill(s3, bucket, "a")
    s3.rename_object(**again)


def test_other_buckets_have_no_renames(s3: Any) -> None:
    plain = make_bucket(s3)
    fill(s3, plain, "a")
    error = error_of(s3.rename_object, Bucket=plain, Key="b", RenameSource=f"{plain}/a")
    assert (error["Code"], error["Status"]) == ("NotImplemented", 501)
    assert keys(s3, plain) == ["a"]
