"""Lifecycle rules come true when time has passed, and are checked as S3 checks them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.compat.conftest import new_client
from tests.compat.passing import DAY, advance, until
from tests.compat.s3_worlds import code_of, error_of, fill, make_bucket
from tests.server import Server

pytestmark = pytest.mark.embedded


@pytest.fixture
def s3(moving: Server, account: str) -> Iterator[Any]:
    client = new_client(moving.endpoint, "s3", account)
    yield client
    client.close()


@pytest.fixture
def bucket(s3: Any) -> str:
    return make_bucket(s3)


def rule(**actions: Any) -> dict[str, Any]:
    return {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""}} | actions


def put_rules(s3: Any, bucket: str, *rules: dict[str, Any], **more: Any) -> None:
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": list(rules)}, **more)


def keys(s3: Any, bucket: str) -> list[str]:
    return [one["Key"] for one in s3.list_objects_v2(Bucket=bucket).get("Contents", ())]


def keep_versions(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


def versions(s3: Any, bucket: str) -> list[str]:
    found = s3.list_object_versions(Bucket=bucket)
    return sorted(one["Key"] for one in found.get("Versions", ())) + sorted(
        f"marker of {one['Key']}" for one in found.get("DeleteMarkers", ())
    )


def test_objects_expire_by_prefix_tag_and_size(moving: Server, s3: Any, bucket: str) -> None:
    put_rules(
        s3,
        bucket,
        rule(ID="prefix", Filter={"Prefix": "old/"}, Expiration={"Days": 1}),
        rule(ID="tag", Filter={"Tag": {"Key": "a", "Value": "b"}}, Expiration={"Days": 1}),
        rule(ID="size", Filter={"And": {"Prefix": "s/", "ObjectSizeGreaterThan": 2}}, Expiration={"Days": 1}),
        rule(ID="later", Filter={"Prefix": "later/"}, Expiration={"Days": 30}),
        rule(ID="off", Status="Disabled", Expiration={"Days": 1}),
    )
    fill(s3, bucket, "old/1", "later/1", "s/small", "stays")
    s3.put_object(Bucket=bucket, Key="s/large", Body=b"xxx")
    s3.put_object(Bucket=bucket, Key="tagged", Body=b"x", Tagging="a=b&c=d")
    s3.put_object(Bucket=bucket, Key="otherwise", Body=b"x", Tagging="a=c")
    advance(moving.endpoint, 2 * DAY)
    left = ["later/1", "otherwise", "s/small", "stays"]
    until(lambda: keys(s3, bucket), lambda found: found == left)
    advance(moving.endpoint, 31 * DAY)
    until(lambda: keys(s3, bucket), lambda found: found == left[1:])


def test_answers_tell_when_an_object_expires(s3: Any, bucket: str) -> None:
    put_rules(s3, bucket, rule(ID="in two days", Filter={"Prefix": "a"}, Expiration={"Days": 2}))
    put = s3.put_object(Bucket=bucket, Key="a", Body=b"x")
    head = s3.head_object(Bucket=bucket, Key="a")
    midnight = (head["LastModified"] + timedelta(days=3)).replace(hour=0, minute=0, second=0)
    due = f'expiry-date="{midnight.strftime("%a, %d %b %Y %H:%M:%S GMT")}", rule-id="in%20two%20days"'
    got = s3.get_object(Bucket=bucket, Key="a")
    assert got["Body"].read() == b"x"
    assert put["Expiration"] == head["Expiration"] == got["Expiration"] == due
    assert "Expiration" not in s3.put_object(Bucket=bucket, Key="b", Body=b"x")


def test_where_versions_are_kept_a_marker_comes_and_old_versions_go(moving: Server, s3: Any, bucket: str) -> None:
    keep_versions(s3, bucket)
    put_rules(s3, bucket, rule(Expiration={"Days": 10}, NoncurrentVersionExpiration={"NoncurrentDays": 3}))
    fill(s3, bucket, "k", "k", "k")
    assert versions(s3, bucket) == ["k"] * 3
    advance(moving.endpoint, 4 * DAY)
    until(lambda: versions(s3, bucket), lambda found: found == ["k"])
    advance(moving.endpoint, 7 * DAY)
    until(lambda: versions(s3, bucket), lambda found: found == ["k", "marker of k"])
    advance(moving.endpoint, 4 * DAY)
    until(lambda: versions(s3, bucket), lambda found: found == ["marker of k"])
    advance(moving.endpoint, 10 * DAY)  # a marker that stands alone goes when its days are over
    until(lambda: versions(s3, bucket), lambda found: found == [])


def test_the_newest_old_versions_are_spared(moving: Server, s3: Any, bucket: str) -> None:
    keep_versions(s3, bucket)
    stale = {"NoncurrentDays": 1, "NewerNoncurrentVersions": 2}
    put_rules(s3, bucket, rule(NoncurrentVersionExpiration=stale))
    written = [s3.put_object(Bucket=bucket, Key="k", Body=b"x")["VersionId"] for _ in range(6)]
    advance(moving.endpoint, 2 * DAY)
    until(lambda: versions(s3, bucket), lambda found: found == ["k"] * 3)
    left = [one["VersionId"] for one in s3.list_object_versions(Bucket=bucket)["Versions"]]
    assert left == written[:2:-1]


def test_markers_that_stand_alone_go(moving: Server, s3: Any, bucket: str) -> None:
    keep_versions(s3, bucket)
    put_rules(s3, bucket, rule(Expiration={"ExpiredObjectDeleteMarker": True}))
    s3.delete_object(Bucket=bucket, Key="alone")
    fill(s3, bucket, "k")
    s3.delete_object(Bucket=bucket, Key="k")
    advance(moving.endpoint, DAY)
    until(lambda: versions(s3, bucket), lambda found: found == ["k", "marker of k"])


def test_locked_versions_stay(moving: Server, s3: Any) -> None:
    bucket = make_bucket(s3, ObjectLockEnabledForBucket=True)
    put_rules(s3, bucket, rule(NoncurrentVersionExpiration={"NoncurrentDays": 1}))
    held = s3.put_object(Bucket=bucket, Key="k", Body=b"x", ObjectLockLegalHoldStatus="ON")["VersionId"]
    fill(s3, bucket, "k", "k")
    advance(moving.endpoint, 2 * DAY)
    until(lambda: versions(s3, bucket), lambda found: found == ["k"] * 2)
    s3.put_object_legal_hold(Bucket=bucket, Key="k", VersionId=held, LegalHold={"Status": "OFF"})
    advance(moving.endpoint, DAY)
    until(lambda: versions(s3, bucket), lambda found: found == ["k"])


def test_open_uploads_are_dropped(moving: Server, s3: Any, bucket: str) -> None:
    abort = {"AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 2}}
    put_rules(s3, bucket, rule(ID="abort", Filter={"Prefix": "up"}, **abort))
    made = s3.create_multipart_upload(Bucket=bucket, Key="up")
    upload = {"Bucket": bucket, "Key": "up", "UploadId": made["UploadId"]}
    other = s3.create_multipart_upload(Bucket=bucket, Key="other")
    s3.upload_part(**upload, PartNumber=1, Body=b"x")
    assert made["AbortRuleId"] == s3.list_parts(**upload)["AbortRuleId"] == "abort"
    assert made["AbortDate"] == s3.list_parts(**upload)["AbortDate"]
    assert made["AbortDate"].hour == 0 and "AbortDate" not in other
    advance(moving.endpoint, 3 * DAY)
    left = [other["UploadId"]]
    until(
        lambda: [one["UploadId"] for one in s3.list_multipart_uploads(Bucket=bucket).get("Uploads", ())],
        lambda found: found == left,
    )
    assert code_of(s3.list_parts, **upload) == "NoSuchUpload"


def test_archived_objects_are_read_through_a_copy_that_was_asked_for(moving: Server, s3: Any, bucket: str) -> None:
    moves = [{"Days": 30, "StorageClass": "STANDARD_IA"}, {"Days": 60, "StorageClass": "GLACIER"}]
    put_rules(s3, bucket, rule(Transitions=moves))
    large = {"Bucket": bucket, "Key": "large"}
    s3.put_object(**large, Body=b"x" * (128 << 10))
    fill(s3, bucket, "small")

    def storage(key: str) -> str:
        return str(s3.head_object(Bucket=bucket, Key=key).get("StorageClass", "STANDARD"))

    advance(moving.endpoint, 31 * DAY)
    until(lambda: storage("large"), lambda found: found == "STANDARD_IA")
    before = s3.head_object(**large)
    advance(moving.endpoint, 31 * DAY)
    until(lambda: storage("large"), lambda found: found == "GLACIER")
    assert storage("small") == "STANDARD"
    after = s3.head_object(**large)
    assert (after["ETag"], after["LastModified"]) == (before["ETag"], before["LastModified"])

    refused = error_of(s3.get_object, **large)
    assert (refused["Code"], refused["Status"], refused["StorageClass"]) == ("InvalidObjectState", 403, "GLACIER")
    copy = {"Bucket": bucket, "Key": "copy", "CopySource": f"{bucket}/large"}
    assert code_of(s3.copy_object, **copy) == "ObjectNotInActiveTierError"
    wish: dict[str, Any] = {"Days": 3, "GlacierJobParameters": {"Tier": "Standard"}}
    first = s3.restore_object(**large, RestoreRequest=wish)
    assert first["ResponseMetadata"]["HTTPStatusCode"] == 202
    assert s3.head_object(**large)["Restore"] == 'ongoing-request="true"'
    assert code_of(s3.get_object, **large) == "InvalidObjectState"
    assert code_of(s3.restore_object, **large, RestoreRequest=wish) == "RestoreAlreadyInProgress"
    advance(moving.endpoint, 6 * 3600)
    assert s3.head_object(**large)["Restore"].startswith('ongoing-request="false", expiry-date="')
    assert len(s3.get_object(**large)["Body"].read()) == 128 << 10
    s3.copy_object(**copy)
    again = s3.restore_object(**large, RestoreRequest=wish | {"Days": 5})
    assert again["ResponseMetadata"]["HTTPStatusCode"] == 200
    advance(moving.endpoint, 7 * DAY)
    assert code_of(s3.get_object, **large) == "InvalidObjectState"
    assert "Restore" not in s3.head_object(**large)
    assert code_of(s3.restore_object, Bucket=bucket, Key="small", RestoreRequest=wish) == "InvalidObjectState"


def test_small_objects_move_where_a_rule_or_the_configuration_says_so(moving: Server, s3: Any, bucket: str) -> None:
    named = rule(ID="n", Filter={"And": {"Prefix": "n/", "ObjectSizeGreaterThan": 0}}, Transitions=[_to("GLACIER_IR")])
    varied = rule(ID="v", Filter={"Prefix": "v/"}, Transitions=[_to("DEEP_ARCHIVE")])
    put_rules(s3, bucket, named, varied, TransitionDefaultMinimumObjectSize="varies_by_storage_class")
    fill(s3, bucket, "n/1", "v/1")
    advance(moving.endpoint, DAY)

    def classes() -> list[str]:
        return [one["StorageClass"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]]

    until(classes, lambda found: found == ["GLACIER_IR", "DEEP_ARCHIVE"])


def _to(storage: str, days: int = 0) -> dict[str, Any]:
    return {"Days": days, "StorageClass": storage}


def test_a_round_goes_on_after_a_crash(tmp_path: Any, account: str) -> None:
    """Killed while thousands of objects expire, the server finishes the round after its next start."""
    with Server(tmp_path / "data") as server:
        s3 = new_client(server.endpoint, "s3", account)
        bucket = make_bucket(s3)
        for number in range(600):
            s3.put_object(Bucket=bucket, Key=f"{number:04}", Body=b"x")
        s3.put_object(Bucket=bucket, Key="stays", Body=b"x")
        put_rules(s3, bucket, rule(Filter={"Prefix": "0"}, Expiration={"Days": 1}))
        advance(server.endpoint, 2 * DAY)
        until(lambda: len(keys(s3, bucket)), lambda count: count < 601)
        server.kill()
        server.start_again()
        until(lambda: keys(s3, bucket), lambda found: found == ["stays"])


MIDNIGHT = datetime(2031, 1, 1, tzinfo=UTC)
TAG = {"Key": "k", "Value": "v"}
NO_SIZE = {"ObjectSizeGreaterThan": 9, "ObjectSizeLessThan": 9}
WRONG: list[tuple[dict[str, Any], str]] = [
    (rule(), "InvalidRequest"),
    (rule(ID="x" * 256, Expiration={"Days": 1}), "InvalidArgument"),
    (rule(Status="enabled", Expiration={"Days": 1}), "MalformedXML"),
    (rule(Prefix="both", Expiration={"Days": 1}), "MalformedXML"),
    (rule(Filter={"Prefix": "a", "Tag": TAG}, Expiration={"Days": 1}), "MalformedXML"),
    (rule(Filter={"And": {"Prefix": "a"}}, Expiration={"Days": 1}), "MalformedXML"),
    (rule(Filter={"And": {"Tags": [TAG, TAG]}}, Expiration={"Days": 1}), "InvalidRequest"),
    (rule(Filter={"And": NO_SIZE}, Expiration={"Days": 1}), "InvalidRequest"),
    (rule(Expiration={"Days": 0}), "InvalidArgument"),
    (rule(Expiration={"Days": 1, "ExpiredObjectDeleteMarker": True}), "MalformedXML"),
    (rule(Expiration={"Date": MIDNIGHT + timedelta(hours=1)}), "InvalidArgument"),
    (rule(Filter={"Tag": TAG}, Expiration={"ExpiredObjectDeleteMarker": True}), "InvalidRequest"),
    (rule(Filter={"Tag": TAG}, AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1}), "InvalidRequest"),
    (rule(AbortIncompleteMultipartUpload={"DaysAfterInitiation": 0}), "InvalidArgument"),
    (rule(Transitions=[_to("STANDARD", 30)]), "MalformedXML"),
    (rule(Transitions=[_to("STANDARD_IA", 29)]), "InvalidArgument"),
    (rule(Transitions=[_to("STANDARD_IA", 30), _to("GLACIER", 59)]), "InvalidArgument"),
    (rule(Transitions=[_to("GLACIER", 10), _to("GLACIER", 20)]), "InvalidRequest"),
    (rule(Transitions=[_to("GLACIER", 10)], Expiration={"Days": 10}), "InvalidArgument"),
    (rule(Transitions=[_to("GLACIER", 10)], Expiration={"Date": MIDNIGHT}), "InvalidRequest"),
    (rule(NoncurrentVersionExpiration={"NoncurrentDays": 0}), "InvalidArgument"),
    (rule(NoncurrentVersionExpiration={"NoncurrentDays": 1, "NewerNoncurrentVersions": 101}), "InvalidArgument"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "code"), WRONG)
def test_what_is_no_configuration_is_refused(s3: Any, bucket: str, wrong: dict[str, Any], code: str) -> None:
    assert _refusal(s3, bucket, wrong) == code


def _refusal(s3: Any, bucket: str, wrong: dict[str, Any]) -> str:
    call = s3.put_bucket_lifecycle_configuration
    return code_of(call, Bucket=bucket, LifecycleConfiguration={"Rules": [wrong]})


def test_two_rules_of_one_id_are_refused(s3: Any, bucket: str) -> None:
    two = [rule(Expiration={"Days": 1}), rule(Expiration={"Days": 2})]
    call = s3.put_bucket_lifecycle_configuration
    assert code_of(call, Bucket=bucket, LifecycleConfiguration={"Rules": two}) == "InvalidArgument"
