"""Object Lock holds on every path: deletes by version, one or many, retention made shorter, defaults, legal hold."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.compat.conftest import new_client
from tests.compat.passing import DAY, advance
from tests.compat.s3_worlds import code_of, error_of, make_bucket
from tests.server import Server

pytestmark = pytest.mark.embedded
GOVERNANCE, COMPLIANCE = "GOVERNANCE", "COMPLIANCE"


@pytest.fixture
def s3(moving: Server, account: str) -> Iterator[Any]:
    client = new_client(moving.endpoint, "s3", account)
    yield client
    client.close()


@pytest.fixture
def bucket(s3: Any) -> str:
    return make_bucket(s3, ObjectLockEnabledForBucket=True)


def future(s3: Any, bucket: str, days: float) -> datetime:
    """So many days from now, by the cloud's clock."""
    version = s3.put_object(Bucket=bucket, Key="clock")["VersionId"]
    now = s3.head_object(Bucket=bucket, Key="clock", VersionId=version)["LastModified"]
    moment: datetime = now + timedelta(days=days)
    return moment


def put_locked(s3: Any, bucket: str, key: str, mode: str, days: float = 2) -> str:
    until = future(s3, bucket, days)
    put = s3.put_object(Bucket=bucket, Key=key, Body=b"x", ObjectLockMode=mode, ObjectLockRetainUntilDate=until)
    return str(put["VersionId"])


def test_what_is_retained_stays_until_its_time(moving: Server, s3: Any, bucket: str) -> None:
    version = put_locked(s3, bucket, "k", COMPLIANCE)
    about = s3.head_object(Bucket=bucket, Key="k")
    assert (about["ObjectLockMode"], about["ObjectLockRetainUntilDate"] > datetime.now(UTC)) == (COMPLIANCE, True)
    refused = error_of(s3.delete_object, Bucket=bucket, Key="k", VersionId=version, BypassGovernanceRetention=True)
    assert (refused["Code"], refused["Message"]) == (
        "AccessDenied",
        "Access Denied because object protected by object lock.",
    )
    doomed = {"Objects": [{"Key": "k", "VersionId": version}, {"Key": "free"}]}
    many = s3.delete_objects(Bucket=bucket, Delete=doomed)
    assert [one["Code"] for one in many["Errors"]] == ["AccessDenied"]
    assert [one["Key"] for one in many["Deleted"]] == ["free"]
    marker = s3.delete_object(Bucket=bucket, Key="k")
    assert marker["DeleteMarker"]
    s3.delete_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    advance(moving.endpoint, 3 * DAY)
    s3.delete_object(Bucket=bucket, Key="k", VersionId=version)
    assert code_of(s3.get_object, Bucket=bucket, Key="k", VersionId=version) == "NoSuchVersion"


def test_governance_gives_way_to_those_who_may_bypass_it(moving: Server, s3: Any, bucket: str, account: str) -> None:
    version = put_locked(s3, bucket, "k", GOVERNANCE)
    iam = new_client(moving.endpoint, "iam", account)
    iam.create_user(UserName="u")
    statements = [
        {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
        {"Effect": "Deny", "Action": "s3:BypassGovernanceRetention", "Resource": "*"},
    ]
    document = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName="u", PolicyName="p", PolicyDocument=document)
    key = iam.create_access_key(UserName="u")["AccessKey"]
    user = new_client(moving.endpoint, "s3", key["AccessKeyId"], secret=key["SecretAccessKey"])
    target = {"Bucket": bucket, "Key": "k", "VersionId": version}
    assert code_of(user.delete_object, **target, BypassGovernanceRetention=True) == "AccessDenied"
    doomed = {"Objects": [{"Key": "k", "VersionId": version}]}
    assert user.delete_objects(Bucket=bucket, Delete=doomed, BypassGovernanceRetention=True)["Errors"]
    assert code_of(s3.delete_object, **target) == "AccessDenied"
    s3.delete_object(**target, BypassGovernanceRetention=True)
    assert code_of(s3.head_object, **target) == "404"


def test_retention_may_be_made_longer_but_not_weaker(s3: Any, bucket: str) -> None:
    put_locked(s3, bucket, "k", GOVERNANCE, 5)

    def retain(days: float, mode: str, **more: Any) -> Any:
        retention = {"Mode": mode, "RetainUntilDate": future(s3, bucket, days)}
        return s3.put_object_retention(Bucket=bucket, Key="k", Retention=retention, **more)

    def refused(*about: Any, **more: Any) -> str:
        return code_of(lambda: retain(*about, **more))

    retain(6, GOVERNANCE)
    assert refused(5, GOVERNANCE) == "AccessDenied"
    assert refused(7, COMPLIANCE) == "AccessDenied"
    assert refused(-1, GOVERNANCE) == "InvalidArgument"
    retain(4, GOVERNANCE, BypassGovernanceRetention=True)
    retain(4, COMPLIANCE, BypassGovernanceRetention=True)
    assert refused(5, GOVERNANCE, BypassGovernanceRetention=True) == "AccessDenied"
    assert refused(3, COMPLIANCE, BypassGovernanceRetention=True) == "AccessDenied"
    retain(8, COMPLIANCE)
    assert s3.get_object_retention(Bucket=bucket, Key="k")["Retention"]["Mode"] == COMPLIANCE
    assert code_of(s3.put_object_retention, Bucket=bucket, Key="k", Retention={"Mode": GOVERNANCE}) == "MalformedXML"


def test_a_default_locks_what_comes_by_every_way(s3: Any, bucket: str) -> None:
    rule = {"DefaultRetention": {"Mode": GOVERNANCE, "Days": 3}}
    s3.put_object_lock_configuration(
        Bucket=bucket, ObjectLockConfiguration={"ObjectLockEnabled": "Enabled", "Rule": rule}
    )
    s3.put_object(Bucket=bucket, Key="put", Body=b"x")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/put")
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload, MultipartUpload=parts)
    for key in ("put", "copy", "parts"):
        about = s3.head_object(Bucket=bucket, Key=key)
        length = about["ObjectLockRetainUntilDate"] - about["LastModified"]
        assert timedelta(days=3) <= length < timedelta(days=3, seconds=2)
        assert code_of(s3.delete_object, Bucket=bucket, Key=key, VersionId=about["VersionId"]) == "AccessDenied"


def test_legal_hold_knows_no_bypass(s3: Any, bucket: str) -> None:
    version = s3.put_object(Bucket=bucket, Key="k", Body=b"x", ObjectLockLegalHoldStatus="ON")["VersionId"]
    target = {"Bucket": bucket, "Key": "k", "VersionId": version}
    assert s3.head_object(**target)["ObjectLockLegalHoldStatus"] == "ON"
    assert code_of(s3.get_object_retention, **target) == "NoSuchObjectLockConfiguration"
    assert code_of(s3.delete_object, **target, BypassGovernanceRetention=True) == "AccessDenied"
    assert code_of(s3.put_object_legal_hold, **target, LegalHold={"Status": "maybe"}) == "MalformedXML"
    s3.put_object_legal_hold(**target, LegalHold={"Status": "OFF"})
    assert s3.get_object_legal_hold(**target)["LegalHold"] == {"Status": "OFF"}
    s3.delete_object(**target)


def test_locks_need_a_bucket_that_has_them(s3: Any) -> None:
    plain = make_bucket(s3)
    until = datetime.now(UTC) + timedelta(days=400)
    lock: dict[str, Any] = {"ObjectLockMode": GOVERNANCE, "ObjectLockRetainUntilDate": until}
    refused = error_of(s3.put_object, Bucket=plain, Key="k", Body=b"x", **lock)
    assert (refused["Code"], refused["Message"]) == ("InvalidRequest", "Bucket is missing Object Lock Configuration")
    s3.put_object(Bucket=plain, Key="k", Body=b"x")
    assert code_of(s3.get_object_retention, Bucket=plain, Key="k") == "InvalidRequest"
    assert code_of(s3.put_object_legal_hold, Bucket=plain, Key="k", LegalHold={"Status": "ON"}) == "InvalidRequest"
    enabled = {"ObjectLockEnabled": "Enabled"}
    assert code_of(s3.put_object_lock_configuration, Bucket=plain, ObjectLockConfiguration=enabled) == (
        "InvalidBucketState"
    )
    s3.put_bucket_versioning(Bucket=plain, VersioningConfiguration={"Status": "Enabled"})
    s3.put_object_lock_configuration(Bucket=plain, ObjectLockConfiguration=enabled)
    s3.put_object(Bucket=plain, Key="k", Body=b"x", **lock)
    for half in ({"ObjectLockMode": GOVERNANCE}, {"ObjectLockRetainUntilDate": until}):
        assert code_of(s3.put_object, Bucket=plain, Key="k", Body=b"x", **half) == "InvalidArgument"


def test_policies_may_limit_how_long_is_locked(moving: Server, s3: Any, bucket: str) -> None:
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObjectRetention",
        "Resource": f"arn:aws:s3:::{bucket}/*",
        "Condition": {"NumericGreaterThan": {"s3:object-lock-remaining-retention-days": "10"}},
    }
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": statement}))
    put_locked(s3, bucket, "k", GOVERNANCE, 9)
    retention = {"Mode": GOVERNANCE, "RetainUntilDate": future(s3, bucket, 20)}
    assert code_of(s3.put_object_retention, Bucket=bucket, Key="k", Retention=retention) == "AccessDenied"


def test_reading_the_lock_is_a_permission_of_its_own(moving: Server, s3: Any, bucket: str, account: str) -> None:
    put_locked(s3, bucket, "k", GOVERNANCE)
    iam = new_client(moving.endpoint, "iam", account)
    iam.create_user(UserName="reader")
    statement = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": statement})
    iam.put_user_policy(UserName="reader", PolicyName="p", PolicyDocument=document)
    key = iam.create_access_key(UserName="reader")["AccessKey"]
    reader: Callable[..., Any] = new_client(
        moving.endpoint, "s3", key["AccessKeyId"], secret=key["SecretAccessKey"]
    ).head_object
    assert "ObjectLockMode" not in reader(Bucket=bucket, Key="k")
    assert s3.head_object(Bucket=bucket, Key="k")["ObjectLockMode"] == GOVERNANCE


HELD = {"ObjectLockMode": COMPLIANCE, "ObjectLockEventHold": "ON", "ObjectLockEventHoldDurationDays": 3}


def held_of(s3: Any, bucket: str, key: str) -> dict[str, Any]:
    retention: dict[str, Any] = s3.get_object_retention(Bucket=bucket, Key=key)["Retention"]
    return retention


def test_an_event_hold_lasts_until_its_event_and_then_for_its_time(moving: Server, s3: Any, bucket: str) -> None:
    version = s3.put_object(Bucket=bucket, Key="k", Body=b"x", **HELD)["VersionId"]
    about = s3.head_object(Bucket=bucket, Key="k")
    assert {name: about[name] for name in HELD} == HELD
    assert "ObjectLockRetainUntilDate" not in about
    assert held_of(s3, bucket, "k") == {"Mode": COMPLIANCE, "EventHold": "ON", "EventHoldDuration": {"Days": 3}}
    gone = {"Bucket": bucket, "Key": "k", "VersionId": version}
    advance(moving.endpoint, 10 * DAY)
    assert code_of(s3.delete_object, **gone) == "AccessDenied"
    for weaker in ({}, {"EventHold": "ON", "EventHoldDuration": {"Days": 2}}, {"Mode": GOVERNANCE, "EventHold": "OFF"}):
        refused = code_of(s3.put_object_retention, Bucket=bucket, Key="k", Retention=weaker)
        assert refused == "AccessDenied", weaker
    s3.put_object_retention(Bucket=bucket, Key="k", Retention={"EventHold": "ON", "EventHoldDuration": {"Days": 4}})
    s3.put_object_retention(Bucket=bucket, Key="k", Retention={"EventHold": "OFF"})
    released = held_of(s3, bucket, "k")
    assert (released["EventHold"], released["RetainUntilDate"] > future(s3, bucket, 3.9)) == ("OFF", True)
    assert code_of(s3.delete_object, **gone) == "AccessDenied"
    advance(moving.endpoint, 5 * DAY)
    s3.delete_object(**gone)


def test_governance_lets_an_event_hold_be_bypassed(s3: Any, bucket: str) -> None:
    version = s3.put_object(Bucket=bucket, Key="k", Body=b"x", **HELD | {"ObjectLockMode": GOVERNANCE})["VersionId"]
    assert code_of(s3.put_object_retention, Bucket=bucket, Key="k", Retention={}) == "AccessDenied"
    s3.put_object_retention(Bucket=bucket, Key="k", Retention={}, BypassGovernanceRetention=True)
    s3.delete_object(Bucket=bucket, Key="k", VersionId=version)


def test_event_holds_by_default(s3: Any, bucket: str) -> None:
    default = {"Mode": GOVERNANCE, "DefaultEventHold": {"Years": 2}}
    configuration = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": default}}
    s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=configuration)
    assert s3.get_object_lock_configuration(Bucket=bucket)["ObjectLockConfiguration"] == configuration
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    expected = {"Mode": GOVERNANCE, "EventHold": "ON", "EventHoldDuration": {"Years": 2}}
    assert held_of(s3, bucket, "k") == expected
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/k")
    assert held_of(s3, bucket, "copy") == expected
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts", **HELD)["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": part}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload, MultipartUpload=parts)
    assert held_of(s3, bucket, "parts")["EventHoldDuration"] == {"Days": 3}


@pytest.mark.parametrize(
    "wrong",
    [
        {"ObjectLockEventHold": "ON"},
        {"ObjectLockEventHold": "ON", "ObjectLockMode": GOVERNANCE},
        {"ObjectLockEventHoldDurationDays": 3, "ObjectLockMode": GOVERNANCE},
        {**HELD, "ObjectLockEventHoldDurationYears": 1},
        {**HELD, "ObjectLockEventHoldDurationDays": 36501},
        {**HELD, "ObjectLockEventHoldDurationDays": 0},
    ],
)
def test_event_holds_that_say_too_little_or_too_much(s3: Any, bucket: str, wrong: dict[str, Any]) -> None:
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"x", **wrong) == "InvalidArgument"
