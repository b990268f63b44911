"""Versions, delete markers, null versions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.compat.s3_worlds import code_of, error_of, make_bucket


@pytest.fixture
def s3(client: Callable[..., Any]) -> Any:
    return client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    return make_bucket(s3)


def keep(s3: Any, bucket: str, status: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})


def history(s3: Any, bucket: str) -> list[tuple[str, str, bool, bool]]:
    """Every version: key, version, whether it is a marker, whether it is the latest."""
    page = s3.list_object_versions(Bucket=bucket)
    found = [(one, False) for one in page.get("Versions", ())] + [(one, True) for one in page.get("DeleteMarkers", ())]
    return [(one["Key"], one["VersionId"], marker, one["IsLatest"]) for one, marker in found]


def test_the_state_of_a_bucket(s3: Any, bucket: str) -> None:
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)
    for status in ("Enabled", "Suspended", "Enabled"):
        keep(s3, bucket, status)
        assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == status
    assert code_of(keep, s3=s3, bucket=bucket, status="On") == "MalformedXML"


def test_versions_are_kept_and_found(s3: Any, bucket: str) -> None:
    assert "VersionId" not in s3.put_object(Bucket=bucket, Key="k", Body=b"null")
    keep(s3, bucket, "Enabled")
    assert s3.get_object(Bucket=bucket, Key="k")["VersionId"] == "null"
    first, second = (s3.put_object(Bucket=bucket, Key="k", Body=body)["VersionId"] for body in (b"1", b"2"))
    assert history(s3, bucket) == [("k", second, False, True), ("k", first, False, False), ("k", "null", False, False)]
    for version, body in ((first, b"1"), (second, b"2"), ("null", b"null")):
        got = s3.get_object(Bucket=bucket, Key="k", VersionId=version)
        assert (got["Body"].read(), got["VersionId"]) == (body, version)
    marker = s3.delete_object(Bucket=bucket, Key="k")
    assert marker["DeleteMarker"] is True
    gone = error_of(s3.get_object, Bucket=bucket, Key="k")
    assert (gone["Code"], gone["Headers"]["x-amz-delete-marker"]) == ("NoSuchKey", "true")
    refused = error_of(s3.get_object, Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    assert (refused["Code"], refused["Status"], refused["Headers"]["allow"]) == ("MethodNotAllowed", 405, "DELETE")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    undone = s3.delete_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    assert (undone["DeleteMarker"], undone["VersionId"]) == (True, marker["VersionId"])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"2"
    s3.delete_object(Bucket=bucket, Key="k", VersionId=second)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"
    missing = error_of(s3.get_object, Bucket=bucket, Key="k", VersionId=second)
    assert (missing["Code"], missing["VersionId"]) == ("NoSuchVersion", second)


def test_a_suspended_bucket_has_one_null_version(s3: Any, bucket: str) -> None:
    keep(s3, bucket, "Enabled")
    old = s3.put_object(Bucket=bucket, Key="k", Body=b"old")["VersionId"]
    keep(s3, bucket, "Suspended")
    for body in (b"1", b"2"):
        assert "VersionId" not in s3.put_object(Bucket=bucket, Key="k", Body=body)
    assert history(s3, bucket) == [("k", "null", False, True), ("k", old, False, False)]
    deleted = s3.delete_object(Bucket=bucket, Key="k")
    assert (deleted["DeleteMarker"], deleted["VersionId"]) == (True, "null")
    assert history(s3, bucket) == [("k", old, False, False), ("k", "null", True, True)]
    s3.delete_object(Bucket=bucket, Key="k", VersionId="null")
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"old"


def test_versions_are_listed_in_pages(s3: Any, bucket: str) -> None:
    keep(s3, bucket, "Enabled")
    for key in ("a", "b/1", "b/2", "c"):
        for body in (b"1", b"2", b"3"):
            s3.put_object(Bucket=bucket, Key=key, Body=body)
    s3.delete_object(Bucket=bucket, Key="c")
    whole = s3.list_object_versions(Bucket=bucket)
    for size in (1, 2, 5):
        pages = list(
            s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": size})
        )
        assert [one for page in pages for one in page.get("Versions", ())] == whole["Versions"]
        assert [one for page in pages for one in page.get("DeleteMarkers", ())] == whole["DeleteMarkers"]
    rolled = s3.list_object_versions(Bucket=bucket, Delimiter="/", Prefix="b")
    assert [one["Prefix"] for one in rolled["CommonPrefixes"]] == ["b/"]
    assert code_of(s3.list_object_versions, Bucket=bucket, VersionIdMarker="null") == "InvalidArgument"


def test_a_bucket_with_versions_is_not_empty(s3: Any, bucket: str) -> None:
    keep(s3, bucket, "Enabled")
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    s3.delete_object(Bucket=bucket, Key="k")
    assert code_of(s3.delete_bucket, Bucket=bucket) == "BucketNotEmpty"
    doomed = [{"Key": key, "VersionId": version} for key, version, _, _ in history(s3, bucket)]
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": doomed})
    assert sum(one.get("DeleteMarker", False) for one in done["Deleted"]) == 1
    s3.delete_bucket(Bucket=bucket)


def test_tags_and_copies_of_versions(s3: Any, bucket: str) -> None:
    keep(s3, bucket, "Enabled")
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1", Tagging="t=1")["VersionId"]
    second = s3.put_object(Bucket=bucket, Key="k", Body=b"2")["VersionId"]
    tagged = s3.get_object_tagging(Bucket=bucket, Key="k", VersionId=first)
    assert (tagged["TagSet"], tagged["VersionId"]) == ([{"Key": "t", "Value": "1"}], first)
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
    source = {"Bucket": bucket, "Key": "k", "VersionId": first}
    copied = s3.copy_object(Bucket=bucket, Key="k", CopySource=source)
    assert copied["CopySourceVersionId"] == first
    assert copied["VersionId"] not in (first, second)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"


def test_nothing_is_put_on_a_delete_marker(s3: Any) -> None:
    bucket = make_bucket(s3)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    marker = {"Bucket": bucket, "Key": "k", "VersionId": s3.delete_object(Bucket=bucket, Key="k")["VersionId"]}
    newest = {"Bucket": bucket, "Key": "k"}
    for where in (marker, newest):
        for error in (
            error_of(s3.put_object_tagging, **where, Tagging={"TagSet": []}),
            error_of(s3.put_object_acl, **where, ACL="private"),
        ):
            assert (error["Code"], error["Method"], error["Status"]) == ("MethodNotAllowed", "PUT", 405)
            assert error["Headers"]["x-amz-delete-marker"] == "true"
    for call in (s3.get_object_tagging, s3.get_object_acl, s3.list_object_annotations):
        error = error_of(call, **marker)
        assert (error["Code"], error["Method"], error["ResourceType"]) == ("MethodNotAllowed", "GET", "DeleteMarker")
        assert code_of(call, **newest) == ("MethodNotAllowed" if call == s3.get_object_tagging else "NoSuchKey")
    assert code_of(s3.delete_object_tagging, **marker) == "MethodNotAllowed"


def test_what_is_no_state_of_versioning(s3: Any) -> None:
    bucket = make_bucket(s3)

    def refusal(**configuration: str) -> str:
        return code_of(s3.put_bucket_versioning, Bucket=bucket, VersioningConfiguration=configuration)

    assert refusal() == "IllegalVersioningConfigurationException"
    assert refusal(Status="enabled") == "MalformedXML"
    assert refusal(Status="Enabled", MFADelete="Enabled") == "AccessDenied"


def test_mfa_delete_is_told_once_it_was_spoken_of(s3: Any) -> None:
    bucket = make_bucket(s3)

    def after(**configuration: str) -> tuple[str | None, str | None]:
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=configuration)
        told = s3.get_bucket_versioning(Bucket=bucket)
        return told.get("Status"), told.get("MFADelete")

    assert after(Status="Enabled") == ("Enabled", None)
    assert after(Status="Enabled", MFADelete="Disabled") == ("Enabled", "Disabled")
    assert after(Status="Suspended") == ("Suspended", "Disabled")
