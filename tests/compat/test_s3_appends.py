"""Appending to objects of directory buckets."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

import pytest

from backends import checksum
from backends.object.versions import Head
from compat.errors import AWSError
from compat.s3 import appending
from tests.compat.conftest import new_client
from tests.compat.s3_worlds import error_of, make_bucket
from tests.compat.test_s3_directory_buckets import make
from tests.server import Server


@pytest.fixture
def s3(server: Server, account: str) -> Any:
    return new_client(server.endpoint, "s3", account)


@pytest.fixture
def bucket(s3: Any) -> str:
    return make(s3)


def refusal(call: Any, **params: Any) -> tuple[str, int]:
    error = error_of(call, **params)
    return error["Code"], error["Status"]


def body_of(s3: Any, bucket: str, key: str, **more: Any) -> bytes:
    return bytes(s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read())


@pytest.mark.parametrize("size", [5, 40_000], ids=["in the index", "in a file"])
def test_bytes_go_behind_those_that_are_there(s3: Any, bucket: str, size: int) -> None:
    pieces = [b"a" * size, b"b" * 7, b"c" * 70_000]
    made = s3.put_object(Bucket=bucket, Key="log", Body=pieces[0], ContentType="text/x-log", Metadata={"a": "b"})
    assert "Size" not in made
    offset = size
    for piece in pieces[1:]:
        answer = s3.put_object(Bucket=bucket, Key="log", Body=piece, WriteOffsetBytes=offset)
        offset += len(piece)
        assert answer["Size"] == offset
        assert answer["ETag"] != made["ETag"]
        made = answer
    whole = b"".join(pieces)
    assert body_of(s3, bucket, "log") == whole
    assert body_of(s3, bucket, "log", Range=f"bytes={size - 2}-{size + 10}") == whole[size - 2 : size + 11]
    head = s3.head_object(Bucket=bucket, Key="log", ChecksumMode="ENABLED")
    assert (head["ContentLength"], head["ETag"], head["ContentType"]) == (len(whole), made["ETag"], "text/x-log")
    assert head["Metadata"] == {"a": "b"}
    assert head["ChecksumCRC32"] == checksum.encode(checksum.of("CRC32", whole))
    assert head["ChecksumType"] == "FULL_OBJECT"
    second = s3.get_object(Bucket=bucket, Key="log", PartNumber=2)
    assert (second["PartsCount"], second["Body"].read()) == (3, pieces[1])


def test_what_is_not_there_begins_at_nothing(s3: Any, bucket: str) -> None:
    assert refusal(s3.put_object, Bucket=bucket, Key="new", Body=b"x", WriteOffsetBytes=1) == ("NoSuchKey", 404)
    assert s3.put_object(Bucket=bucket, Key="new", Body=b"x", WriteOffsetBytes=0).get("Size") is None
    assert refusal(s3.put_object, Bucket=bucket, Key="new", Body=b"y", WriteOffsetBytes=0) == (
        "InvalidWriteOffset",
        400,
    )
    assert refusal(s3.put_object, Bucket=bucket, Key="new", Body=b"", WriteOffsetBytes=1) == ("InvalidArgument", 400)
    assert body_of(s3, bucket, "new") == b"x"
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    s3.put_object(Bucket=bucket, Key="empty", Body=b"now", WriteOffsetBytes=0)
    assert body_of(s3, bucket, "empty") == b"now"


def test_an_append_may_have_conditions(s3: Any, bucket: str) -> None:
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"one")["ETag"]
    second = s3.put_object(Bucket=bucket, Key="k", Body=b"two", WriteOffsetBytes=3, IfMatch=first)["ETag"]
    wrong = refusal(s3.put_object, Bucket=bucket, Key="k", Body=b"!", WriteOffsetBytes=6, IfMatch=first)
    assert wrong == ("PreconditionFailed", 412)
    s3.put_object(Bucket=bucket, Key="k", Body=b"three", WriteOffsetBytes=6, IfMatch=second)
    assert body_of(s3, bucket, "k") == b"onetwothree"


def test_digests_that_do_not_combine_are_those_of_the_parts(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"one", ChecksumAlgorithm="SHA256")
    mixed = refusal(s3.put_object, Bucket=bucket, Key="k", Body=b"two", WriteOffsetBytes=3, ChecksumAlgorithm="CRC32C")
    assert mixed == ("InvalidRequest", 400)
    answer = s3.put_object(Bucket=bucket, Key="k", Body=b"two", WriteOffsetBytes=3, ChecksumAlgorithm="SHA256")
    parts = [hashlib.sha256(piece).digest() for piece in (b"one", b"two")]
    assert answer["ChecksumSHA256"] == base64.b64encode(parts[1]).decode()
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(b"".join(parts)).digest()).decode() + "-2"
    about = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts"])["ObjectParts"]
    assert [part["ChecksumSHA256"] for part in about["Parts"]] == [base64.b64encode(one).decode() for one in parts]


def test_copies_and_new_names_keep_what_they_had(s3: Any, bucket: str) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")
    where = {"Bucket": bucket, "Key": "k", "UploadId": upload["UploadId"]}
    parts = []
    for number, data in ((1, b"1" * (5 << 20)), (2, b"2")):
        sent = s3.upload_part(**where, PartNumber=number, Body=data, ChecksumAlgorithm="CRC32")
        parts.append({"PartNumber": number, "ETag": sent["ETag"], "ChecksumCRC32": sent["ChecksumCRC32"]})
    s3.complete_multipart_upload(**where, MultipartUpload={"Parts": parts}, ChecksumType="FULL_OBJECT")
    size = (5 << 20) + 1
    s3.put_object(Bucket=bucket, Key="k", Body=b"3", WriteOffsetBytes=size)
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/k")
    s3.put_object(Bucket=bucket, Key="k", Body=b"4", WriteOffsetBytes=size + 1)
    s3.put_object(Bucket=bucket, Key="copy", Body=b"5", WriteOffsetBytes=size + 1)
    s3.rename_object(Bucket=bucket, Key="name", RenameSource=f"/{bucket}/k")
    s3.put_object(Bucket=bucket, Key="name", Body=b"6", WriteOffsetBytes=size + 2)
    assert body_of(s3, bucket, "name", Range="bytes=-5") == b"12346"
    s3.delete_object(Bucket=bucket, Key="name")
    assert body_of(s3, bucket, "copy") == b"1" * (5 << 20) + b"235"
    head = s3.head_object(Bucket=bucket, Key="copy", ChecksumMode="ENABLED")
    assert head["ChecksumCRC32"] == checksum.encode(checksum.of("CRC32", b"1" * (5 << 20) + b"235"))


def test_objects_under_a_key_of_kms_go_on_under_it(server: Server, s3: Any, account: str) -> None:
    key = new_client(server.endpoint, "kms", account).create_key()["KeyMetadata"]["Arn"]
    bucket = make(s3)
    s3.put_object(Bucket=bucket, Key="plain", Body=b"1")
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": [rule]})
    s3.put_object(Bucket=bucket, Key="k", Body=b"1" * 20_000)
    answer = s3.put_object(Bucket=bucket, Key="k", Body=b"2", WriteOffsetBytes=20_000)
    assert (answer["ServerSideEncryption"], answer["SSEKMSKeyId"]) == ("aws:kms", key)
    assert body_of(s3, bucket, "k") == b"1" * 20_000 + b"2"
    mixed = refusal(s3.put_object, Bucket=bucket, Key="plain", Body=b"2", WriteOffsetBytes=1)
    assert mixed == ("EncryptionTypeMismatch", 400)


def test_other_buckets_do_not_append(s3: Any) -> None:
    bucket = make_bucket(s3)
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    assert refusal(s3.put_object, Bucket=bucket, Key="k", Body=b"2", WriteOffsetBytes=1)[1] == 501


def test_the_last_part_is_the_ten_thousandth() -> None:
    full = Head("", 0, 0, 1, 0, "", "", "", "", appending.MOST_PARTS, "", "", "", "", None, "assembly", None)
    appending.check_room(full._replace(parts=appending.MOST_PARTS - 1))
    with pytest.raises(AWSError) as caught:
        appending.check_room(full)
    assert (caught.value.code, caught.value.status) == ("TooManyParts", 400)
