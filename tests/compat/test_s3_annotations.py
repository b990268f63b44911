"""Annotations of objects: put, get, list, delete; versions, copies, keys, locks and rights."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.compat.conftest import new_client
from tests.compat.s3_worlds import code_of, error_of, make_bucket
from tests.server import Server

TEXTS = [b"x", "Wolken über Theben ☁".encode(), b"i" * 16384, b"o" * 16385, b"l" * (1 << 20)]


@pytest.fixture
def s3(client: Callable[..., Any]) -> Any:
    return client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    name = make_bucket(s3)
    s3.put_object(Bucket=name, Key="k", Body=b"object")
    return name


def put(s3: Any, bucket: str, name: str, text: bytes | str = b"text", **more: Any) -> Any:
    return s3.put_object_annotation(Bucket=bucket, Key="k", AnnotationName=name, AnnotationPayload=text, **more)


def get(s3: Any, bucket: str, name: str, key: str = "k", **more: Any) -> bytes:
    got = s3.get_object_annotation(Bucket=bucket, Key=key, AnnotationName=name, **more)
    return bytes(got["AnnotationPayload"].read())


def names(s3: Any, bucket: str, key: str = "k", **more: Any) -> list[str]:
    listed = s3.list_object_annotations(Bucket=bucket, Key=key, **more)
    return [one["AnnotationName"] for one in listed.get("Annotations", [])]


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: str(len(text)))
def test_what_is_put_is_got(s3: Any, bucket: str, text: bytes) -> None:
    made = put(s3, bucket, "a/b c+ü", text)
    assert (made["Key"], made["AnnotationName"]) == ("k", "a/b c+ü")
    assert made["ETag"] == f'"{hashlib.md5(text).hexdigest()}"'
    assert made["ServerSideEncryption"] == "AES256"
    assert made["ChecksumType"] == "FULL_OBJECT"
    got = s3.get_object_annotation(Bucket=bucket, Key="k", AnnotationName="a/b c+ü", ChecksumMode="ENABLED")
    assert got["AnnotationPayload"].read() == text
    assert (got["ContentLength"], got["ETag"]) == (len(text), made["ETag"])
    assert got["ChecksumCRC32"] == made["ChecksumCRC32"]
    assert "ObjectVersionId" not in got
    listed = s3.list_object_annotations(Bucket=bucket, Key="k")
    assert listed["AnnotationCount"] == 1
    entry = listed["Annotations"][0]
    assert (entry["AnnotationName"], entry["Size"], entry["ETag"]) == ("a/b c+ü", len(text), made["ETag"])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"object"


def test_replace_and_delete(s3: Any, bucket: str) -> None:
    for text in (b"first", b"second" * 10_000, b"third"):
        put(s3, bucket, "one", text)
        assert get(s3, bucket, "one") == text
    put(s3, bucket, "two")
    answer = s3.delete_object_annotation(Bucket=bucket, Key="k", AnnotationName="one")
    assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204
    assert names(s3, bucket) == ["two"]
    error = error_of(lambda: get(s3, bucket, "one"))
    assert (error["Code"], error["Status"]) == ("NoSuchAnnotation", 404)
    s3.delete_object_annotation(Bucket=bucket, Key="k", AnnotationName="one")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("ü" * 257, "AnnotationNameTooLong"),
        ("aws:mine", "InvalidAnnotationName"),
        ("AWSmine", "InvalidAnnotationName"),
        ("S3-mine", "InvalidAnnotationName"),
    ],
)
def test_bad_names(s3: Any, bucket: str, name: str, code: str) -> None:
    assert code_of(lambda: put(s3, bucket, name)) == code
    put(s3, bucket, "ü" * 256)


def test_bad_texts(s3: Any, bucket: str) -> None:
    error = error_of(lambda: put(s3, bucket, "binary", b"ab\xff"))
    assert (error["Code"], error["Status"]) == ("UnsupportedMediaType", 415)
    assert code_of(lambda: put(s3, bucket, "cut", "ü".encode()[:1])) == "UnsupportedMediaType"
    assert code_of(lambda: put(s3, bucket, "empty", b"")) == "InvalidRequest"
    assert code_of(lambda: put(s3, bucket, "large", b"l" * ((1 << 20) + 1))) == "EntityTooLarge"
    assert code_of(lambda: put(s3, bucket, "sum", b"text", ChecksumSHA256="A" * 43 + "=")) == "BadDigest"
    assert names(s3, bucket) == []


def test_pages(s3: Any, bucket: str) -> None:
    every = [f"{letter}{number:02}" for letter in "xyz" for number in range(7)]
    for name in reversed(every):
        put(s3, bucket, name, name)
    assert names(s3, bucket) == every
    assert names(s3, bucket, AnnotationPrefix="y") == every[7:14]
    seen, token = [], {}
    while True:
        page = s3.list_object_annotations(Bucket=bucket, Key="k", MaxAnnotationResults=3, AnnotationPrefix="z", **token)
        seen += [one["AnnotationName"] for one in page["Annotations"]]
        assert page["AnnotationCount"] == len(page["Annotations"]) <= page["MaxAnnotationResults"] == 3
        if "NextContinuationToken" not in page:
            break
        token = {"ContinuationToken": page["NextContinuationToken"]}
    assert seen == every[14:]
    assert code_of(s3.list_object_annotations, Bucket=bucket, Key="k", MaxAnnotationResults=1001) == "InvalidArgument"


@pytest.mark.embedded
def test_no_more_than_a_thousand(s3: Any, bucket: str) -> None:
    for number in range(1000):
        put(s3, bucket, f"{number:04}", b"t")
    assert code_of(lambda: put(s3, bucket, "more")) == "AnnotationLimitExceeded"
    put(s3, bucket, "0500", b"replaced")
    assert get(s3, bucket, "0500") == b"replaced"
    assert len(names(s3, bucket)) == 1000


def test_an_object_must_be_there(s3: Any, bucket: str) -> None:
    for call in (s3.get_object_annotation, s3.delete_object_annotation):
        assert code_of(call, Bucket=bucket, Key="none", AnnotationName="a") == "NoSuchKey"
    assert code_of(s3.list_object_annotations, Bucket=bucket, Key="none") == "NoSuchKey"
    assert code_of(lambda: get(s3, "no-such-bucket-at-all", "a")) == "NoSuchBucket"
    s3.delete_object(Bucket=bucket, Key="k")
    assert code_of(lambda: put(s3, bucket, "a")) == "NoSuchKey"


def test_they_go_with_their_object(s3: Any, bucket: str) -> None:
    put(s3, bucket, "small")
    put(s3, bucket, "large", b"l" * 100_000)
    s3.put_object(Bucket=bucket, Key="k", Body=b"another")
    assert names(s3, bucket) == []
    put(s3, bucket, "again", b"l" * 100_000)
    s3.delete_object(Bucket=bucket, Key="k")
    s3.put_object(Bucket=bucket, Key="k", Body=b"a third")
    assert names(s3, bucket) == []


def test_each_version_has_its_own(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    assert put(s3, bucket, "of", b"null")["ObjectVersionId"] == "null"
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"1")["VersionId"]
    assert names(s3, bucket) == []
    put(s3, bucket, "of", b"first")
    second = s3.put_object(Bucket=bucket, Key="k", Body=b"2")["VersionId"]
    put(s3, bucket, "of", b"second")
    assert get(s3, bucket, "of", VersionId="null") == b"null"
    assert get(s3, bucket, "of", VersionId=first) == b"first"
    assert s3.get_object_annotation(Bucket=bucket, Key="k", AnnotationName="of")["ObjectVersionId"] == second
    put(s3, bucket, "of", b"changed", VersionId=first)
    assert get(s3, bucket, "of", VersionId=first) == b"changed"
    s3.delete_object(Bucket=bucket, Key="k")
    assert code_of(lambda: get(s3, bucket, "of")) == "NoSuchKey"
    s3.delete_object(Bucket=bucket, Key="k", VersionId=second)
    assert code_of(lambda: get(s3, bucket, "of", VersionId=second)) == "NoSuchVersion"
    assert names(s3, bucket, VersionId=first) == ["of"]


def test_only_if_the_object_matches(s3: Any, bucket: str) -> None:
    etag = s3.head_object(Bucket=bucket, Key="k")["ETag"]
    put(s3, bucket, "a", ObjectIfMatch=etag)
    wrong = '"00000000000000000000000000000000"'
    assert code_of(lambda: put(s3, bucket, "b", ObjectIfMatch=wrong)) == "PreconditionFailed"
    drop = {"Bucket": bucket, "Key": "k", "AnnotationName": "a"}
    assert code_of(lambda: s3.delete_object_annotation(**drop, ObjectIfMatch=wrong)) == "PreconditionFailed"
    assert names(s3, bucket) == ["a"]
    s3.delete_object_annotation(**drop, ObjectIfMatch=etag)


def test_copies_take_them_along(s3: Any, bucket: str) -> None:
    put(s3, bucket, "small", b"s")
    put(s3, bucket, "large", b"l" * 100_000)
    source = {"Bucket": bucket, "Key": "k"}
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=source)
    s3.copy_object(Bucket=bucket, Key="without", CopySource=source, AnnotationDirective="EXCLUDE")
    s3.copy_object(Bucket=bucket, Key="k", CopySource=source, MetadataDirective="REPLACE", Metadata={"a": "b"})
    assert names(s3, bucket, "without") == []
    s3.delete_object_annotation(Bucket=bucket, Key="k", AnnotationName="small")
    assert names(s3, bucket) == ["large"]
    s3.delete_object(Bucket=bucket, Key="k")
    assert names(s3, bucket, "copy") == ["large", "small"]
    assert get(s3, bucket, "large", "copy") == b"l" * 100_000
    assert get(s3, bucket, "small", "copy") == b"s"
    bad = {"CopySource": {"Bucket": bucket, "Key": "copy"}, "AnnotationDirective": "MOVE"}
    assert code_of(lambda: s3.copy_object(Bucket=bucket, Key="bad", **bad)) == "InvalidArgument"


def test_they_are_encrypted_as_their_object(s3: Any, bucket: str, client: Callable[..., Any]) -> None:
    kms = client("kms")
    key = kms.create_key()["KeyMetadata"]["Arn"]
    sealed = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    s3.put_object(Bucket=bucket, Key="k", Body=b"object", **sealed)
    text = os.urandom(40_000).hex().encode()
    made = put(s3, bucket, "a", text)
    assert made["ServerSideEncryption"] == "aws:kms"
    assert made["ETag"] != f'"{hashlib.md5(text).hexdigest()}"'
    assert get(s3, bucket, "a") == text
    s3.copy_object(Bucket=bucket, Key="plain", CopySource={"Bucket": bucket, "Key": "k"}, ServerSideEncryption="AES256")
    s3.copy_object(Bucket=bucket, Key="again", CopySource={"Bucket": bucket, "Key": "plain"}, **sealed)
    kms.disable_key(KeyId=key)
    assert code_of(lambda: get(s3, bucket, "a")) == "KMS.DisabledException"
    assert code_of(lambda: get(s3, bucket, "a", "again")) == "KMS.DisabledException"
    assert get(s3, bucket, "a", "plain") == text
    kms.enable_key(KeyId=key)
    assert get(s3, bucket, "a", "again") == text


def test_none_for_a_customers_key(s3: Any, bucket: str) -> None:
    mine = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": os.urandom(32)}
    put(s3, bucket, "a")
    copied = {"CopySource": {"Bucket": bucket, "Key": "k"}, **mine}
    assert code_of(lambda: s3.copy_object(Bucket=bucket, Key="copy", **copied)) == "InvalidRequest"
    s3.copy_object(Bucket=bucket, Key="copy", AnnotationDirective="EXCLUDE", **copied)
    s3.put_object(Bucket=bucket, Key="k", Body=b"object", **mine)
    assert code_of(lambda: put(s3, bucket, "a")) == "InvalidRequest"


def test_locked_objects_keep_them(s3: Any) -> None:
    bucket = make_bucket(s3, ObjectLockEnabledForBucket=True)
    until = datetime.now(UTC) + timedelta(days=1)
    s3.put_object(Bucket=bucket, Key="k", Body=b"o", ObjectLockMode="GOVERNANCE", ObjectLockRetainUntilDate=until)
    put(s3, bucket, "a")
    drop = {"Bucket": bucket, "Key": "k", "AnnotationName": "a"}
    assert code_of(lambda: s3.delete_object_annotation(**drop)) == "AccessDenied"

    def bypass(params: Any, **_: Any) -> None:
        params["headers"]["x-amz-bypass-governance-retention"] = "true"

    s3.meta.events.register("before-call.s3.DeleteObjectAnnotation", bypass)
    s3.delete_object_annotation(**drop)
    assert names(s3, bucket) == []
    put(s3, bucket, "a")
    s3.put_object_legal_hold(Bucket=bucket, Key="k", LegalHold={"Status": "ON"})
    assert code_of(lambda: s3.delete_object_annotation(**drop)) == "AccessDenied"
    s3.put_object_legal_hold(Bucket=bucket, Key="k", LegalHold={"Status": "OFF"})


def test_rights(s3: Any, bucket: str, server: Server, account: str) -> None:
    put(s3, bucket, "a", b"text")
    iam = new_client(server.endpoint, "iam", account)
    user = f"u-{secrets.token_hex(4)}"
    iam.create_user(UserName=user)
    key = iam.create_access_key(UserName=user)["AccessKey"]
    mine = new_client(server.endpoint, "s3", key["AccessKeyId"], secret=key["SecretAccessKey"])

    def allow(*actions: str) -> None:
        statement = {"Effect": "Allow", "Action": actions, "Resource": f"arn:aws:s3:::{bucket}*"}
        document = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName=user, PolicyName="p", PolicyDocument=document)

    copied = {"Bucket": bucket, "Key": "copy", "CopySource": {"Bucket": bucket, "Key": "k"}}
    allow("s3:GetObject", "s3:PutObject")
    assert code_of(lambda: get(mine, bucket, "a")) == "AccessDenied"
    assert code_of(lambda: put(mine, bucket, "b")) == "AccessDenied"
    assert code_of(lambda: names(mine, bucket)) == "AccessDenied"
    assert code_of(mine.copy_object, **copied) == "AccessDenied"
    mine.copy_object(**copied, AnnotationDirective="EXCLUDE")
    allow("s3:GetObject", "s3:PutObject", "s3:GetObjectAnnotation", "s3:PutObjectAnnotation")
    mine.copy_object(**copied)
    assert get(mine, bucket, "a", "copy") == b"text"
    assert code_of(lambda: get(mine, bucket, "a", VersionId="null")) == "AccessDenied"
    allow("s3:*ObjectVersionAnnotation*")
    assert get(mine, bucket, "a", VersionId="null") == b"text"
    assert names(mine, bucket, VersionId="null") == ["a"]
    drop = {"Bucket": bucket, "Key": "k", "AnnotationName": "a"}
    assert code_of(mine.delete_object_annotation, **drop) == "AccessDenied"
    mine.delete_object_annotation(**drop, VersionId="null")
    assert names(s3, bucket) == []
