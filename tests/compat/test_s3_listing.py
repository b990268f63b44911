"""Listings: pages, delimiters, markers, encodings, byte order."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import requests

from tests.compat.s3_worlds import code_of, fill, make_bucket
from tests.server import Server

KEYS = ["a", "a b", "a+b", "dir/1", "dir/2", "dir/sub/3", "dir2/", "z", "Ä", "\ue000", "\U0001f600"]
IN_ORDER = sorted(KEYS, key=str.encode)


@pytest.fixture
def s3(client: Callable[..., Any]) -> Any:
    return client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    name = make_bucket(s3)
    fill(s3, name, *KEYS)
    return name


def keys(page: dict[str, Any]) -> list[str]:
    return [one["Key"] for one in page.get("Contents", ())]


def prefixes(page: dict[str, Any]) -> list[str]:
    return [one["Prefix"] for one in page.get("CommonPrefixes", ())]


@pytest.mark.parametrize("operation", ["list_objects_v2", "list_objects"])
def test_keys_come_in_byte_order_whatever_the_page(s3: Any, bucket: str, operation: str) -> None:
    assert keys(getattr(s3, operation)(Bucket=bucket)) == IN_ORDER
    for size in (1, 2, 3):
        pages = s3.get_paginator(operation).paginate(Bucket=bucket, PaginationConfig={"PageSize": size})
        assert [key for page in pages for key in keys(page)] == IN_ORDER


@pytest.mark.parametrize("operation", ["list_objects_v2", "list_objects"])
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_delimiters_roll_up(s3: Any, bucket: str, operation: str, size: int) -> None:
    def pages(**options: Any) -> tuple[list[str], list[str]]:
        found = list(
            s3.get_paginator(operation).paginate(Bucket=bucket, PaginationConfig={"PageSize": size}, **options)
        )
        return [key for page in found for key in keys(page)], [one for page in found for one in prefixes(page)]

    assert pages(Delimiter="/") == ([key for key in IN_ORDER if "/" not in key], ["dir/", "dir2/"])
    assert pages(Delimiter="/", Prefix="dir/") == (["dir/1", "dir/2"], ["dir/sub/"])
    assert pages(Delimiter=" ", Prefix="a") == (["a", "a+b"], ["a "])
    assert pages(Prefix="dir") == (["dir/1", "dir/2", "dir/sub/3", "dir2/"], [])
    assert pages(Delimiter="/", Prefix="none") == ([], [])


def test_what_version_two_says(s3: Any, bucket: str) -> None:
    page = s3.list_objects_v2(Bucket=bucket, MaxKeys=3, Delimiter="/", StartAfter="a b", FetchOwner=True)
    assert (keys(page), prefixes(page)) == (["a+b"], ["dir/", "dir2/"])
    assert (page["KeyCount"], page["MaxKeys"], page["IsTruncated"], page["StartAfter"]) == (3, 3, True, "a b")
    assert len(page["Contents"][0]["Owner"]["ID"]) == 64
    assert "DisplayName" not in page["Contents"][0]["Owner"]
    rest = s3.list_objects_v2(Bucket=bucket, Delimiter="/", ContinuationToken=page["NextContinuationToken"])
    assert keys(rest) == ["z", "Ä", "\ue000", "\U0001f600"]
    assert "Owner" not in rest["Contents"][0]
    assert rest["Contents"][0]["StorageClass"] == "STANDARD"
    empty = s3.list_objects_v2(Bucket=bucket, MaxKeys=0)
    assert (empty["IsTruncated"], empty["KeyCount"]) == (False, 0)
    assert code_of(s3.list_objects_v2, Bucket=bucket, MaxKeys=-1) == "InvalidArgument"
    assert code_of(s3.list_objects_v2, Bucket=bucket, ContinuationToken="nonsense") == "InvalidArgument"
    assert code_of(s3.list_objects_v2, Bucket=bucket, EncodingType="rot13") == "InvalidArgument"
    assert code_of(s3.list_objects_v2, Bucket=bucket + "-no") == "NoSuchBucket"


def test_what_version_one_says(s3: Any, bucket: str) -> None:
    page = s3.list_objects(Bucket=bucket, MaxKeys=2, Delimiter="/", Marker="a b")
    assert (keys(page), prefixes(page), page["NextMarker"]) == (["a+b"], ["dir/"], "dir/")
    assert "NextMarker" not in s3.list_objects(Bucket=bucket, MaxKeys=2)
    assert "Owner" in page["Contents"][0]


def test_two_hundred_keys_after_two_hundred_prefixes(s3: Any, bucket: str) -> None:
    for number in range(60):
        fill(s3, bucket, f"p{number:03}/x", f"p{number:03}/y", f"q{number:03}")
    page = s3.list_objects_v2(Bucket=bucket, Delimiter="/", Prefix="p")
    assert prefixes(page) == [f"p{number:03}/" for number in range(60)]
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 7}, Delimiter="/")
    found = list(pages)
    assert [one for page in found for one in prefixes(page)][-60:] == [f"p{number:03}/" for number in range(60)]
    assert len([one for page in found for one in keys(page) if one.startswith("q")]) == 60


def test_strangers_are_not_told_whose_objects_are(server: Server, s3: Any, bucket: str) -> None:
    assert all("Owner" in one for one in s3.list_objects(Bucket=bucket)["Contents"])
    s3.delete_public_access_block(Bucket=bucket)
    statement = {"Effect": "Allow", "Principal": "*", "Action": "s3:ListBucket", "Resource": f"arn:aws:s3:::{bucket}"}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    listing = requests.get(f"{server.endpoint}/{bucket}", timeout=60).text
    assert "<Key>a b</Key>" in listing
    assert "<Owner>" not in listing
