"""What S3 refuses, in the order and with the arguments that recordings of AWS show."""

from __future__ import annotations

import http.client
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from tests.compat.s3_worlds import code_of, error_of, make_bucket

pytestmark = pytest.mark.embedded
Client = Any
FORGED = "HPniJFCxqTsMuIH9KX8K8wEjNUgmABCD"


@pytest.fixture
def s3(client: Callable[..., Client]) -> Client:
    return client("s3")


@pytest.fixture
def bucket(s3: Client) -> str:
    return make_bucket(s3)


def test_versions_that_nobody_made(s3: Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"some")
    for state in ("", "Enabled"):
        if state:
            s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": state})
        for call in (s3.get_object, s3.delete_object, s3.get_object_tagging):
            told = error_of(call, Bucket=bucket, Key="k", VersionId=FORGED)
            assert (told["Code"], told["ArgumentValue"]) == ("InvalidArgument", FORGED)
        many = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k", "VersionId": FORGED}]})
        assert [one["Code"] for one in many["Errors"]] == ["NoSuchVersion"]
    version = {"Bucket": bucket, "Key": "k", "VersionId": s3.put_object(Bucket=bucket, Key="k")["VersionId"]}
    for _ in range(2):
        s3.delete_object(**version)
    assert code_of(s3.get_object, **version) == "NoSuchVersion"


def test_pages_go_on_behind_the_version_that_was_the_newest(s3: Client, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    made = [s3.put_object(Bucket=bucket, Key="k", Body=b"x")["VersionId"] for _ in range(5)][::-1]
    first = s3.list_object_versions(Bucket=bucket, MaxKeys=3)
    for version in made[:3]:
        s3.delete_object(Bucket=bucket, Key="k", VersionId=version)
    markers = {"KeyMarker": first["NextKeyMarker"], "VersionIdMarker": first["NextVersionIdMarker"]}
    rest = s3.list_object_versions(Bucket=bucket, **markers)["Versions"]
    assert [(one["VersionId"], one["IsLatest"]) for one in rest] == [(made[3], True), (made[4], False)]


def test_conditions_of_writes(s3: Client, bucket: str) -> None:
    told = error_of(s3.put_object, Bucket=bucket, Key="k", IfMatch="*")
    assert (told["Code"], told["Status"], told["Header"]) == ("NotImplemented", 501, "If-Match")


def test_ranges_that_end_behind_the_source(s3: Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    named = {"Bucket": bucket, "Key": "l", "PartNumber": 1, "CopySource": f"{bucket}/k"}
    named["UploadId"] = s3.create_multipart_upload(Bucket=bucket, Key="l")["UploadId"]
    told = error_of(s3.upload_part_copy, **named, CopySourceRange="bytes=0-100")
    assert (told["Code"], told["ArgumentValue"]) == ("InvalidArgument", "bytes=0-100")
    told = error_of(s3.copy_object, Bucket=bucket, Key="l", CopySource="none")
    assert (told["Code"], told["Message"]) == ("InvalidArgument", "Invalid copy source object key")


def test_governance_where_nothing_is_locked(s3: Client, bucket: str) -> None:
    for given in (True, False):
        told = error_of(s3.delete_object, Bucket=bucket, Key="k", BypassGovernanceRetention=given)
        assert (told["Code"], told["ArgumentName"]) == ("InvalidArgument", "x-amz-bypass-governance-retention")
    objects = {"Objects": [{"Key": "k"}]}
    assert code_of(s3.delete_objects, Bucket=bucket, Delete=objects, BypassGovernanceRetention=True) == told["Code"]


def test_versions_are_emptied_with_a_bypass_that_nothing_needs(s3: Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k")
    objects = {"Objects": [{"Key": "k", "VersionId": "null"}]}
    emptied = s3.delete_objects(Bucket=bucket, Delete=objects, BypassGovernanceRetention=True)
    assert [one["Key"] for one in emptied["Deleted"]] == ["k"]
    s3.delete_bucket(Bucket=bucket)


def test_half_a_retention(s3: Client) -> None:
    bucket = make_bucket(s3, ObjectLockEnabledForBucket=True)
    ahead = datetime.now(UTC) + timedelta(days=1)
    for half, lacking in (
        ({"ObjectLockMode": "GOVERNANCE"}, "x-amz-object-lock-retain-until-date"),
        ({"ObjectLockRetainUntilDate": ahead}, "x-amz-object-lock-mode"),
    ):
        assert error_of(s3.put_object, Bucket=bucket, Key="k", **half)["ArgumentName"] == lacking
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    past = {"Mode": "GOVERNANCE", "RetainUntilDate": datetime(2020, 1, 1, tzinfo=UTC)}
    told = error_of(s3.put_object_retention, Bucket=bucket, Key="k", Retention=past)
    assert (told["ArgumentName"], told["ArgumentValue"]) == ("RetainUntilDate", "Tue Dec 31 16:00:00 PST 2019")
    other = make_bucket(s3)
    assert code_of(s3.put_object_legal_hold, Bucket=other, Key="k", LegalHold={}) == "MalformedXML"


def test_customers_keys(s3: Client, bucket: str) -> None:
    key = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32}
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", **key)
    told = error_of(
        s3.put_object, Bucket=bucket, Key="k", ServerSideEncryption="AES256", **key | {"SSECustomerAlgorithm": "KMS"}
    )
    assert (told["Code"], told["ArgumentValue"]) == ("InvalidArgument", "AES256")
    for wrong in ("short", "x" * 32):
        told = error_of(s3.get_object, Bucket=bucket, Key="k", SSECustomerAlgorithm="AES256", SSECustomerKey=wrong)
        assert (told["Code"], told["Status"]) == ("AccessDenied", 403)
    upload = {"Bucket": bucket, "Key": "l"}
    upload["UploadId"] = s3.create_multipart_upload(**upload, **key)["UploadId"]
    etag = s3.upload_part(**upload, PartNumber=1, Body=b"x", **key)["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": etag}]}
    done = s3.complete_multipart_upload(**upload, MultipartUpload=parts)
    assert "ChecksumCRC64NVME" not in done
    head = s3.head_object(Bucket=bucket, Key="l", ChecksumMode="ENABLED", **key)
    assert "ChecksumType" not in head


@pytest.mark.parametrize(
    ("site", "code", "argument"),
    [
        ({"IndexDocument": {"Suffix": "/i"}}, "InvalidArgument", ("IndexDocument", "/i")),
        ({"ErrorDocument": {"Key": "e"}}, "InvalidArgument", ("IndexDocument", "null")),
        (
            {"RedirectAllRequestsTo": {"HostName": "h"}, "IndexDocument": {"Suffix": "i"}},
            "InvalidArgument",
            ("RedirectAllRequestsTo", "not null"),
        ),
        ({"RedirectAllRequestsTo": {"HostName": "h", "Protocol": "ftp"}}, "InvalidRequest", None),
        ({"IndexDocument": {"Suffix": "i"}, "RoutingRules": []}, "MalformedXML", None),
        (
            {"IndexDocument": {"Suffix": "i"}, "RoutingRules": [{"Condition": {}, "Redirect": {"HostName": "h"}}]},
            "InvalidRequest",
            None,
        ),
    ],
)
def test_websites(s3: Client, bucket: str, site: dict[str, Any], code: str, argument: tuple[str, str] | None) -> None:
    told = error_of(s3.put_bucket_website, Bucket=bucket, WebsiteConfiguration=site)
    assert told["Code"] == code
    assert argument is None or (told["ArgumentName"], told["ArgumentValue"]) == argument


def test_words_of_documents(s3: Client, bucket: str) -> None:
    assert code_of(s3.put_bucket_policy, Bucket=bucket, Policy="") == "MalformedPolicy"
    mixed = {"SSEAlgorithm": "AES256", "KMSMasterKeyID": "k"}
    rules = {"Rules": [{"ApplyServerSideEncryptionByDefault": mixed}]}
    told = error_of(s3.put_bucket_encryption, Bucket=bucket, ServerSideEncryptionConfiguration=rules)
    assert told["ArgumentName"] == "ApplyServerSideEncryptionByDefault"
    none = {"Bucket": f"none-{secrets.token_hex(8)}", "ServerSideEncryptionConfiguration": {"Rules": []}}
    assert code_of(s3.put_bucket_encryption, **none) == "NoSuchBucket"
    dotted = f"a.{secrets.token_hex(8)}"
    s3.create_bucket(Bucket=dotted)
    accelerated = {"Bucket": dotted, "AccelerateConfiguration": {"Status": "fast"}}
    assert code_of(s3.put_bucket_accelerate_configuration, **accelerated) == "InvalidRequest"
    tags = {"Tags": [{"Key": "aws:a", "Value": "b"}]}
    told = error_of(s3.create_bucket, Bucket=f"new-{secrets.token_hex(8)}", CreateBucketConfiguration=tags)
    assert (told["Code"], "TagKey" in told) == ("InvalidTag", False)
    odd = {"Rules": [{"ID": "r", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]}
    told = error_of(
        s3.put_bucket_lifecycle_configuration,
        Bucket=bucket,
        LifecycleConfiguration=odd,
        TransitionDefaultMinimumObjectSize="odd",
    )
    assert told["Code"] == "InvalidRequest"
    odd["Rules"][0]["Expiration"] = {"Date": datetime(2030, 1, 1, 5, tzinfo=UTC)}
    told = error_of(s3.put_bucket_lifecycle_configuration, Bucket=bucket, LifecycleConfiguration=odd)
    assert (told["ArgumentName"], told["ArgumentValue"]) == ("Date", "2030-01-01T05:00:00Z")


def test_listings_of_uploads_and_parts(s3: Client, bucket: str) -> None:
    ids = {key: s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"] for key in "ab"}
    told = error_of(s3.list_multipart_uploads, Bucket=bucket, KeyMarker="a", UploadIdMarker=ids["b"])
    assert (told["ArgumentName"], told["Message"]) == ("upload-id-marker", "Invalid uploadId marker")
    told = error_of(s3.complete_multipart_upload, Bucket=bucket, Key="a", UploadId=ids["a"])
    assert (told["Code"], told["Message"]) == ("InvalidRequest", "You must specify at least one part")


def test_names_of_headers_and_ids(s3: Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="small", Body=b"some")
    s3.put_object(Bucket=bucket, Key="large", Body=bytes(1 << 20))
    for key in ("small", "large"):
        parts = urlsplit(s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": key}))
        connection = http.client.HTTPConnection(parts.netloc, timeout=60)
        connection.request("GET", f"{parts.path}?{parts.query}")
        answer = connection.getresponse()
        answer.read()
        names = {name for name, _ in answer.getheaders()}
        assert {"ETag", "Last-Modified", "Content-Type", "Content-Length", "x-amz-request-id"} <= names
        assert answer.headers["x-amz-id-2"] != answer.headers["x-amz-request-id"]
        connection.close()


def test_order_of_elements(s3: Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"some")
    for call, first, last in (
        ("list_buckets", b"<Owner>", b"<Buckets>"),
        ("list_objects", b"<IsTruncated>", b"<Contents>"),
        ("list_object_versions", b"<IsTruncated>", b"<Version>"),
    ):
        params = {} if call == "list_buckets" else {"Bucket": bucket}
        text = requests.get(s3.generate_presigned_url(call, Params=params), timeout=60).content
        assert 0 < text.index(first) < text.index(last)
