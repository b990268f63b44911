"""Put, get, head: metadata, ranges, conditions, overrides, checksums."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from botocore.exceptions import ClientError

from backends import checksum
from tests.compat.s3_worlds import code_of, error_of, make_bucket

SMALL, LARGE = b"hello, world", os.urandom(300_000)


@pytest.fixture
def s3(client: Callable[..., Any]) -> Any:
    return client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    return make_bucket(s3)


@pytest.mark.parametrize("body", [b"", SMALL, b"i" * 16384, b"o" * 16385, LARGE], ids=lambda body: str(len(body)))
def test_what_is_put_is_got(s3: Any, bucket: str, body: bytes) -> None:
    put = s3.put_object(Bucket=bucket, Key="k", Body=body)
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert put["ServerSideEncryption"] == "AES256"
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["Body"].read() == body
    assert (got["ContentLength"], got["ETag"], got["AcceptRanges"]) == (len(body), put["ETag"], "bytes")
    assert got["ContentType"] == "binary/octet-stream"
    assert "VersionId" not in got
    assert abs(got["LastModified"] - datetime.now(UTC)) < timedelta(minutes=1)
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["ContentLength"], head["ETag"]) == (len(body), put["ETag"])


def test_headers_and_metadata_come_back(s3: Any, bucket: str) -> None:
    told = {
        "CacheControl": "max-age=60",
        "ContentDisposition": 'attachment; filename="x"',
        "ContentEncoding": "gzip",
        "ContentLanguage": "la",
        "ContentType": "text/plain; charset=utf-8",
        "Metadata": {"colour": "blue", "empty": ""},
        "StorageClass": "STANDARD_IA",
        "WebsiteRedirectLocation": "/elsewhere",
    }
    s3.put_object(
        Bucket=bucket, Key="k", Body=SMALL, Expires=datetime(2030, 1, 2, tzinfo=UTC), Tagging="a=1&b=2", **told
    )
    for answer in (s3.head_object(Bucket=bucket, Key="k"), s3.get_object(Bucket=bucket, Key="k")):
        assert {name: answer[name] for name in told} == told
        assert answer["ExpiresString"] == "Wed, 02 Jan 2030 00:00:00 GMT"
    assert s3.get_object(Bucket=bucket, Key="k")["TagCount"] == 2


def test_answers_are_overridden_on_wish(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=SMALL, ContentType="text/plain")
    got = s3.get_object(
        Bucket=bucket, Key="k", ResponseContentType="a/b", ResponseCacheControl="no-store", ResponseContentLanguage="xx"
    )
    assert (got["ContentType"], got["CacheControl"], got["ContentLanguage"]) == ("a/b", "no-store", "xx")


@pytest.mark.parametrize("key", ["a b+c", "dir/", "ü/é", "\U0001f600", "a&b=c?d#e", "..", "a//b", "%41", "k" * 1024])
def test_any_key_serves(s3: Any, bucket: str, key: str) -> None:
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]] == [key]
    s3.delete_object(Bucket=bucket, Key=key)
    assert code_of(s3.get_object, Bucket=bucket, Key=key) == "NoSuchKey"


def test_what_is_refused(s3: Any, bucket: str) -> None:
    assert error_of(s3.get_object, Bucket=bucket, Key="none")["Key"] == "none"
    assert error_of(s3.head_object, Bucket=bucket, Key="none")["Status"] == 404
    assert code_of(s3.put_object, Bucket=bucket, Key="k" * 1025, Body=b"") == "KeyTooLongError"
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"", Metadata={"m": "x" * 2048}) == "MetadataTooLarge"
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"", StorageClass="GOLD") == "InvalidStorageClass"
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"", Tagging="a=1&a=2") == "InvalidArgument"
    assert code_of(s3.put_object, Bucket=bucket + "x", Key="k", Body=b"") == "NoSuchBucket"
    assert code_of(s3.get_object, Bucket=bucket, Key="k", VersionId="nonsense") == "InvalidArgument"
    assert code_of(s3.get_object, Bucket=bucket, Key="k", ExpectedBucketOwner="999999999999") == "AccessDenied"
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize("body", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=3-7", 3, 8),
        ("bytes=5-", 5, None),
        ("bytes=-4", -4, None),
        ("bytes=2-99999999", 2, None),
    ],
)
def test_ranges(s3: Any, bucket: str, body: bytes, wanted: str, start: int, stop: int | None) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=body)
    got = s3.get_object(Bucket=bucket, Key="k", Range=wanted)
    expected = body[start:stop]
    first = start % len(body)
    assert got["Body"].read() == expected
    assert got["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert got["ContentRange"] == f"bytes {first}-{first + len(expected) - 1}/{len(body)}"
    assert s3.head_object(Bucket=bucket, Key="k", Range=wanted)["ContentLength"] == len(expected)


def test_ranges_that_are_none(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=SMALL)
    for wanted in ("bytes=12-", "bytes=100-200", "bytes=-0"):
        error = error_of(s3.get_object, Bucket=bucket, Key="k", Range=wanted)
        assert (error["Code"], error["Status"], error["ActualObjectSize"]) == ("InvalidRange", 416, "12")
    for wanted in ("bytes=7-3", "lines=1-2", "bytes=0-1,3-4"):
        assert s3.get_object(Bucket=bucket, Key="k", Range=wanted)["Body"].read() == SMALL


def test_conditional_reads(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=SMALL)["ETag"]
    past, future = datetime(2020, 1, 1, tzinfo=UTC), datetime.now(UTC) + timedelta(days=1)
    for read in (s3.get_object, s3.head_object):
        for holds in (
            {"IfMatch": etag},
            {"IfMatch": "*"},
            {"IfNoneMatch": '"other"'},
            {"IfModifiedSince": past},
            {"IfUnmodifiedSince": future},
            {"IfMatch": etag, "IfUnmodifiedSince": past},
        ):
            assert read(Bucket=bucket, Key="k", **holds)["ETag"] == etag
        for fails in ({"IfMatch": '"other"'}, {"IfUnmodifiedSince": past}):
            assert error_of(read, Bucket=bucket, Key="k", **fails)["Status"] == 412
        modified = read(Bucket=bucket, Key="k")["LastModified"]
        for fails in ({"IfNoneMatch": etag}, {"IfNoneMatch": "*"}, {"IfModifiedSince": modified}):
            error = error_of(read, Bucket=bucket, Key="k", **fails)
            assert error["Status"] == 304
            assert error["Headers"]["etag"] == etag


def test_conditional_writes(s3: Any, bucket: str) -> None:
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1", IfNoneMatch="*")["ETag"]
    error = error_of(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfNoneMatch="*")
    assert (error["Code"], error["Status"], error["Condition"]) == ("PreconditionFailed", 412, "If-None-Match")
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=b"2", IfMatch='"other"') == "PreconditionFailed"
    assert code_of(s3.put_object, Bucket=bucket, Key="none", Body=b"2", IfMatch=first) == "NoSuchKey"
    s3.put_object(Bucket=bucket, Key="k", Body=b"3", IfMatch=first)
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"3"
    assert code_of(s3.delete_object, Bucket=bucket, Key="k", IfMatch=first) == "PreconditionFailed"
    s3.delete_object(Bucket=bucket, Key="k", IfMatch=s3.head_object(Bucket=bucket, Key="k")["ETag"])
    assert code_of(s3.get_object, Bucket=bucket, Key="k") == "NoSuchKey"


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
@pytest.mark.parametrize("body", [b"", SMALL, LARGE], ids=["empty", "small", "large"])
def test_each_checksum(s3: Any, bucket: str, algorithm: str, body: bytes) -> None:
    member, value = f"Checksum{algorithm}", checksum.encode(checksum.of(algorithm, body))
    put = s3.put_object(Bucket=bucket, Key="computed", Body=body, ChecksumAlgorithm=algorithm)
    assert (put[member], put["ChecksumType"]) == (value, "FULL_OBJECT")
    s3.put_object(Bucket=bucket, Key="given", Body=body, **{member: value})
    wrong = checksum.encode(checksum.of(algorithm, body + b"."))
    assert code_of(s3.put_object, Bucket=bucket, Key="wrong", Body=body, **{member: wrong}) == "BadDigest"
    assert code_of(s3.get_object, Bucket=bucket, Key="wrong") == "NoSuchKey"
    for key in ("computed", "given"):
        got = s3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        assert (got[member], got["ChecksumType"], got["Body"].read()) == (value, "FULL_OBJECT", body)
        told = s3.get_object_attributes(Bucket=bucket, Key=key, ObjectAttributes=["Checksum", "ObjectSize", "ETag"])
        assert (told["Checksum"][member], told["ObjectSize"]) == (value, len(body))
    listed = s3.list_objects_v2(Bucket=bucket)["Contents"]
    assert [one["ChecksumAlgorithm"] for one in listed] == [[algorithm], [algorithm]]


def test_the_server_sums_what_comes_without_a_checksum(s3: Any, bucket: str) -> None:
    url = s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "k"})
    assert requests.put(url, data=SMALL, timeout=60).status_code == 200
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head["ChecksumCRC64NVME"] == checksum.encode(checksum.of("CRC64NVME", SMALL))
    assert "ChecksumCRC64NVME" not in s3.head_object(Bucket=bucket, Key="k")


def test_content_md5_is_checked(s3: Any, bucket: str) -> None:
    right = base64.b64encode(hashlib.md5(SMALL).digest()).decode()
    s3.put_object(Bucket=bucket, Key="k", Body=SMALL, ContentMD5=right)
    assert code_of(s3.put_object, Bucket=bucket, Key="k", Body=LARGE, ContentMD5=right) == "BadDigest"
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == SMALL


def test_tags_of_objects(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=SMALL, Tagging="a=1&b=%40")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [
        {"Key": "a", "Value": "1"},
        {"Key": "b", "Value": "@"},
    ]
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "c", "Value": ""}]})
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "c", "Value": ""}]
    many = [{"Key": str(n), "Value": "x"} for n in range(11)]
    assert code_of(s3.put_object_tagging, Bucket=bucket, Key="k", Tagging={"TagSet": many}) == "BadRequest"
    s3.delete_object_tagging(Bucket=bucket, Key="k")
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
    assert code_of(s3.get_object_tagging, Bucket=bucket, Key="none") == "NoSuchKey"


def test_deleting_many(s3: Any, bucket: str) -> None:
    for number in range(5):
        s3.put_object(Bucket=bucket, Key=f"k{number}", Body=SMALL)
    etag = s3.head_object(Bucket=bucket, Key="k0")["ETag"]
    wanted = [{"Key": "k0", "ETag": etag}, {"Key": "k1", "ETag": '"other"'}, {"Key": "k2"}, {"Key": "none"}]
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": wanted})
    assert [one["Key"] for one in done["Deleted"]] == ["k0", "k2", "none"]
    assert [(one["Key"], one["Code"]) for one in done["Errors"]] == [("k1", "PreconditionFailed")]
    quiet = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k3"}], "Quiet": True})
    assert "Deleted" not in quiet
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["k1", "k4"]
    many = [{"Key": str(n)} for n in range(1001)]
    assert code_of(s3.delete_objects, Bucket=bucket, Delete={"Objects": many}) == "MalformedXML"


def test_copies(s3: Any, bucket: str) -> None:
    other = make_bucket(s3)
    source = {"Bucket": bucket, "Key": "a b+c/ü"}
    put = s3.put_object(
        **source, Body=LARGE, Metadata={"m": "1"}, ContentType="text/x", Tagging="t=1", ChecksumAlgorithm="SHA1"
    )
    copied = s3.copy_object(Bucket=other, Key="copy", CopySource=source)["CopyObjectResult"]
    assert (copied["ETag"], copied["ChecksumSHA1"]) == (put["ETag"], put["ChecksumSHA1"])
    got = s3.get_object(Bucket=other, Key="copy")
    assert (got["Body"].read(), got["Metadata"], got["ContentType"], got["TagCount"]) == (
        LARGE,
        {"m": "1"},
        "text/x",
        1,
    )
    s3.copy_object(
        Bucket=other,
        Key="copy",
        CopySource={"Bucket": other, "Key": "copy"},
        MetadataDirective="REPLACE",
        Metadata={"n": "2"},
    )
    got = s3.head_object(Bucket=other, Key="copy")
    assert (got["Metadata"], got["ContentType"]) == ({"n": "2"}, "binary/octet-stream")
    s3.copy_object(Bucket=other, Key="summed", CopySource=source, ChecksumAlgorithm="CRC32C")
    head = s3.head_object(Bucket=other, Key="summed", ChecksumMode="ENABLED")
    assert head["ChecksumCRC32C"] == checksum.encode(checksum.of("CRC32C", LARGE))
    s3.delete_object(**source)
    assert s3.get_object(Bucket=other, Key="copy")["Body"].read() == LARGE
    itself = {"Bucket": other, "Key": "copy"}
    assert code_of(s3.copy_object, **itself, CopySource=itself) == "InvalidRequest"
    assert code_of(s3.copy_object, **itself, CopySource=source) == "NoSuchKey"
    assert (
        code_of(s3.copy_object, Bucket=bucket, Key="k", CopySource=itself, CopySourceIfMatch='"no"')
        == "PreconditionFailed"
    )
    assert (
        code_of(s3.copy_object, Bucket=other, Key="summed", CopySource=itself, IfNoneMatch="*") == "PreconditionFailed"
    )


def test_presigned_requests(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=LARGE)
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k", "ResponseContentType": "x/y"})
    got = requests.get(url, timeout=60)
    assert (got.content, got.headers["content-type"]) == (LARGE, "x/y")
    assert requests.get(url.replace("/k?", "/other?"), timeout=60).status_code == 403
    assert requests.get(url.partition("?")[0], timeout=60).status_code == 403


def test_conditions_of_deletes(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="k", Body=SMALL)["ETag"]
    assert code_of(s3.delete_object, Bucket=bucket, Key="k", IfMatch='"other"') == "PreconditionFailed"
    for condition, header in (
        ({"IfMatchSize": len(SMALL)}, "x-amz-if-match-size"),
        ({"IfMatchLastModifiedTime": datetime.now(UTC)}, "x-amz-if-match-last-modified-time"),
    ):
        error = error_of(s3.delete_object, Bucket=bucket, Key="k", **condition)
        assert (error["Code"], error["Status"], error["Header"]) == ("NotImplemented", 501, header)
    many = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k", "Size": 1}, {"Key": "k", "ETag": '"x"'}]})
    assert [one["Code"] for one in many["Errors"]] == ["NotImplemented", "PreconditionFailed"]
    s3.delete_object(Bucket=bucket, Key="k", IfMatch=etag)
    assert code_of(s3.head_object, Bucket=bucket, Key="k") == "404"
    for gone in ("*", etag):
        assert code_of(s3.delete_object, Bucket=bucket, Key="k", IfMatch=gone) == "NoSuchKey"
    s3.put_object(Bucket=bucket, Key="k", Body=SMALL)
    s3.delete_object(Bucket=bucket, Key="k", IfMatch="*")


def test_conditions_of_deletes_are_about_the_current_version(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    made = s3.put_object(Bucket=bucket, Key="k", Body=SMALL)
    error = error_of(s3.delete_object, Bucket=bucket, Key="k", VersionId=made["VersionId"], IfMatch=made["ETag"])
    assert (error["Code"], error["Status"], error["Header"]) == ("NotImplemented", 501, "If-Match")
    s3.delete_object(Bucket=bucket, Key="k", IfMatch="*")
    for behind in ("*", made["ETag"]):
        assert code_of(s3.delete_object, Bucket=bucket, Key="k", IfMatch=behind) == "NoSuchKey"
        many = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k", "ETag": behind}]})
        assert [one["Code"] for one in many["Errors"]] == ["NoSuchKey"]
    s3.delete_object(Bucket=bucket, Key="k", VersionId=made["VersionId"])


def test_an_answer_that_is_kept_is_not_given_when_anything_has_changed(s3: Any, bucket: str) -> None:
    def get(**more: Any) -> tuple[bytes, str, str | None]:
        got = s3.get_object(Bucket=bucket, Key="k", **more)
        return got["Body"].read(), got["ContentType"], got.get("VersionId")

    s3.put_object(Bucket=bucket, Key="k", Body=SMALL)
    for _ in range(2):  # the second time it was kept
        assert get() == (SMALL, "binary/octet-stream", None)
        assert get(Range="bytes=1-3")[0] == SMALL[1:4]
        assert get(ResponseContentType="text/css")[1] == "text/css"
    with pytest.raises(ClientError, match="304"):
        get(IfNoneMatch=hashlib.md5(SMALL).hexdigest())
    s3.put_object(Bucket=bucket, Key="k", Body=b"other", ContentType="text/plain")
    assert get() == (b"other", "text/plain", None)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert get() == (b"other", "text/plain", "null")
    s3.meta.events.register(
        "before-call.s3.GetObject",
        lambda params, **_: params["headers"].update({"x-amz-server-side-encryption": "AES256"}),
        unique_id="more",
    )
    with pytest.raises(ClientError, match="InvalidArgument"):
        get()
    s3.meta.events.unregister("before-call.s3.GetObject", unique_id="more")
    s3.delete_object(Bucket=bucket, Key="k")
    with pytest.raises(ClientError, match="NoSuchKey"):
        get()
