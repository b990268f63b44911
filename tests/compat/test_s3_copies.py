"""Copies of objects to themselves, and which versions a copy is told of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.compat.refused import refused
from tests.compat.s3_worlds import make_bucket

pytestmark = pytest.mark.embedded
Client = Any


@pytest.fixture
def s3(client: Callable[..., Client]) -> Client:
    return client("s3")


@pytest.fixture
def bucket(s3: Client) -> str:
    return make_bucket(s3)


def in_place(s3: Client, bucket: str, **options: Any) -> Any:
    return s3.copy_object(Bucket=bucket, Key="k", CopySource=f"{bucket}/k", **options)


@pytest.mark.parametrize(
    "reason",
    [
        {"StorageClass": "STANDARD"},
        {"WebsiteRedirectLocation": "/there"},
        {"ServerSideEncryption": "AES256"},
        {"MetadataDirective": "REPLACE"},
    ],
)
def test_reasons_to_copy_in_place(s3: Client, bucket: str, reason: dict[str, str]) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"some", WebsiteRedirectLocation="/there", Metadata={"a": "b"})
    in_place(s3, bucket, **reason)


@pytest.mark.parametrize("option", [{}, {"ACL": "private"}, {"Metadata": {"a": "c"}}])
def test_no_reason_to_copy_in_place(s3: Client, option: dict[str, Any]) -> None:
    bucket = make_bucket(s3, ObjectOwnership="ObjectWriter")
    s3.put_object(Bucket=bucket, Key="k", Body=b"some", Metadata={"a": "b"})
    with refused("InvalidRequest", "to itself"):
        in_place(s3, bucket, **option)


def test_an_encryption_that_is_asked_for_is_reason_enough(s3: Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"some", ServerSideEncryption="aws:kms")
    assert in_place(s3, bucket)["ServerSideEncryption"] == "AES256"
    with refused("InvalidRequest"):
        in_place(s3, bucket)
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    in_place(s3, bucket)


def test_a_source_as_a_url(s3: Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a b", Body=b"some")
    source = f"{s3.meta.endpoint_url}/{bucket}/a b"
    s3.copy_object(Bucket=bucket, Key="k", CopySource=source)
    assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == 4


def test_versions_of_copies(s3: Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"some")
    assert {"VersionId", "CopySourceVersionId"}.isdisjoint(in_place(s3, bucket, MetadataDirective="REPLACE"))
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = in_place(s3, bucket, MetadataDirective="REPLACE")
    assert "CopySourceVersionId" not in first  # the source has no version of its own
    second = in_place(s3, bucket, MetadataDirective="REPLACE")
    assert second["CopySourceVersionId"] == first["VersionId"] != second["VersionId"]
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    third = in_place(s3, bucket, MetadataDirective="REPLACE")
    assert (third["VersionId"], third["CopySourceVersionId"]) == ("null", second["VersionId"])
    assert "VersionId" not in s3.put_object(Bucket=bucket, Key="k", Body=b"some")
