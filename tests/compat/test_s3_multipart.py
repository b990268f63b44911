"""Uploads in parts."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from io import BytesIO
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig

from backends import checksum
from tests.compat.s3_worlds import code_of, error_of, make_bucket

MEBI = 1 << 20
FIRST, SECOND, LAST = os.urandom(5 * MEBI), os.urandom(6 * MEBI), b"the end"


@pytest.fixture
def s3(client: Callable[..., Any]) -> Any:
    return client("s3")


@pytest.fixture
def bucket(s3: Any) -> str:
    return make_bucket(s3)


def send(
    s3: Any, bucket: str, upload: str, number: int, body: bytes, algorithm: str = "", **options: Any
) -> dict[str, Any]:
    """Upload a part; its entry for the completion."""
    given = {"ChecksumAlgorithm": algorithm} if algorithm else {}
    sent = s3.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=body, **given, **options)
    part = {"PartNumber": number, "ETag": sent["ETag"]}
    return part | ({f"Checksum{algorithm}": sent[f"Checksum{algorithm}"]} if algorithm else {})


@pytest.mark.parametrize(
    ("algorithm", "kind"),
    [
        ("CRC32", "COMPOSITE"),
        ("CRC32", "FULL_OBJECT"),
        ("CRC32C", "FULL_OBJECT"),
        ("CRC64NVME", "FULL_OBJECT"),
        ("SHA1", "COMPOSITE"),
        ("SHA256", "COMPOSITE"),
    ],
)
def test_parts_make_an_object(s3: Any, bucket: str, algorithm: str, kind: str) -> None:
    made = s3.create_multipart_upload(
        Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm, ChecksumType=kind, Metadata={"m": "1"}, ContentType="a/b"
    )
    upload = made["UploadId"]
    bodies = {9: LAST, 3: FIRST, 5: SECOND}
    parts = sorted(
        (send(s3, bucket, upload, n, body, algorithm) for n, body in bodies.items()), key=lambda p: p["PartNumber"]
    )
    whole = FIRST + SECOND + LAST
    done = s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts})
    digests = b"".join(hashlib.md5(body).digest() for body in (FIRST, SECOND, LAST))
    assert done["ETag"] == f'"{hashlib.md5(digests).hexdigest()}-3"'
    if kind == "FULL_OBJECT":
        expected = checksum.encode(checksum.of(algorithm, whole))
    else:
        pieces = [checksum.of(algorithm, body) for body in (FIRST, SECOND, LAST)]
        expected = f"{checksum.encode(checksum.composite(algorithm, pieces))}-3"
    assert (done[f"Checksum{algorithm}"], done["ChecksumType"]) == (expected, kind)
    got = s3.get_object(Bucket=bucket, Key="k")
    assert (got["Body"].read(), got["Metadata"], got["ContentType"]) == (whole, {"m": "1"}, "a/b")
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (head[f"Checksum{algorithm}"], head["ChecksumType"]) == (expected, kind)
    part = s3.get_object(Bucket=bucket, Key="k", PartNumber=5)
    assert (part["Body"].read(), part["PartsCount"]) == (SECOND, 3)
    across = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={5 * MEBI - 10}-{5 * MEBI + 9}")
    assert across["Body"].read() == FIRST[-10:] + SECOND[:10]
    told = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ObjectParts", "ObjectSize"])
    assert (told["ObjectParts"]["TotalPartsCount"], told["ObjectSize"]) == (3, len(whole))
    if kind == "COMPOSITE":
        assert [one["PartNumber"] for one in told["ObjectParts"]["Parts"]] == [3, 5, 9]
    again = s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts})
    assert again["ETag"] == done["ETag"]
    assert code_of(s3.list_parts, Bucket=bucket, Key="k", UploadId=upload) == "NoSuchUpload"


def test_what_a_completion_refuses(s3: Any, bucket: str) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    one, two, three = (send(s3, bucket, upload, n, body) for n, body in ((1, FIRST), (2, b"short"), (3, LAST)))

    def complete(*parts: dict[str, Any], **options: Any) -> dict[str, Any]:
        return error_of(
            s3.complete_multipart_upload,
            Bucket=bucket,
            Key="k",
            UploadId=upload,
            MultipartUpload={"Parts": list(parts)},
            **options,
        )

    assert complete(two, one)["Code"] == "InvalidPartOrder"
    assert complete(one, {"PartNumber": 2, "ETag": '"other"'})["Code"] == "InvalidPart"
    assert complete(one, {"PartNumber": 4, "ETag": one["ETag"]})["Code"] == "InvalidPart"
    small = complete(one, two, three)
    assert (small["Code"], small["PartNumber"], small["MinSizeAllowed"]) == ("EntityTooSmall", "2", str(5 * MEBI))
    assert complete(one, three, MpuObjectSize=7)["Code"] == "InvalidRequest"
    assert complete(one, three, ChecksumCRC64NVME="AAAAAAAAAAA=")["Code"] == "BadDigest"
    assert complete()["Code"] == "MalformedXML"
    s3.put_object(Bucket=bucket, Key="k", Body=b"before")
    assert complete(one, three, IfNoneMatch="*")["Code"] == "PreconditionFailed"
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"before"
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": [one, three]})
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == FIRST + LAST


def test_an_abort_ends_everything(s3: Any, bucket: str) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    part = send(s3, bucket, upload, 1, LAST)
    s3.abort_multipart_upload(Bucket=bucket, Key="k", UploadId=upload)
    assert code_of(send, s3=s3, bucket=bucket, upload=upload, number=2, body=b"x") == "NoSuchUpload"
    done = {"MultipartUpload": {"Parts": [part]}}
    assert code_of(s3.complete_multipart_upload, Bucket=bucket, Key="k", UploadId=upload, **done) == "NoSuchUpload"
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


def test_what_is_over_may_be_aborted_again(s3: Any, bucket: str) -> None:
    named = {"Bucket": bucket, "Key": "k"}
    upload = s3.create_multipart_upload(**named)["UploadId"]
    part = send(s3, bucket, upload, 1, LAST)
    s3.complete_multipart_upload(**named, UploadId=upload, MultipartUpload={"Parts": [part]})
    s3.abort_multipart_upload(**named, UploadId=upload)
    assert s3.get_object(**named)["Body"].read() == LAST
    s3.delete_object(**named)
    s3.abort_multipart_upload(**named, UploadId=upload)

    aborted = s3.create_multipart_upload(**named)["UploadId"]
    for _ in range(2):
        s3.abort_multipart_upload(**named, UploadId=aborted)

    def refused(id: str, key: str = "k", bucket: str = bucket) -> bool:
        return code_of(s3.abort_multipart_upload, Bucket=bucket, Key=key, UploadId=id) == "NoSuchUpload"

    assert refused(aborted, key="l")
    assert refused(aborted, bucket=make_bucket(s3))
    assert refused("A" + aborted[1:] if aborted[0] != "A" else "B" + aborted[1:])
    assert all(refused(id) for id in (aborted[:-1], aborted + "A", aborted + "!", "none", "\u00fc", "a" * 54))


def test_parts_and_uploads_are_listed_in_pages(s3: Any, bucket: str) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    for number in (4, 2, 7):
        send(s3, bucket, upload, number, b"%d" % number)
    send(s3, bucket, upload, 2, b"again")
    first = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload, MaxParts=2)
    assert [(part["PartNumber"], part["Size"]) for part in first["Parts"]] == [(2, 5), (4, 1)]
    assert (first["IsTruncated"], first["NextPartNumberMarker"]) == (True, 4)
    rest = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload, PartNumberMarker=4)
    assert ([part["PartNumber"] for part in rest["Parts"]], rest["IsTruncated"]) == ([7], False)
    none = s3.list_parts(Bucket=bucket, Key="k", UploadId=upload, MaxParts=0)
    assert ("Parts" in none, none["IsTruncated"], none["NextPartNumberMarker"]) == (False, False, 0)
    keys = ["a/1", "a/2", "b", "k"]
    uploads = {key: s3.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"] for key in keys}
    pages = s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
    listed = [(one["Key"], one["UploadId"]) for page in pages for one in page["Uploads"]]
    assert listed == [
        ("a/1", uploads["a/1"]),
        ("a/2", uploads["a/2"]),
        ("b", uploads["b"]),
        ("k", upload),
        ("k", uploads["k"]),
    ]
    rolled = s3.list_multipart_uploads(Bucket=bucket, Delimiter="/")
    assert [one["Prefix"] for one in rolled["CommonPrefixes"]] == ["a/"]


def test_limits_below_zero_are_refused_by_name(s3: Any, bucket: str) -> None:
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    parts = error_of(s3.list_parts, Bucket=bucket, Key="k", UploadId=upload, MaxParts=-1)
    assert parts["Message"] == "Argument max-parts must be an integer between 0 and 2147483647"
    uploads = error_of(s3.list_multipart_uploads, Bucket=bucket, MaxUploads=-1)
    assert uploads["Message"] == "Argument max-uploads must be an integer between 0 and 2147483647"
    objects = error_of(s3.list_objects_v2, Bucket=bucket, MaxKeys=-1)
    assert objects["Message"] == "Argument maxKeys must be an integer between 0 and 2147483647"
    assert {one["Code"] for one in (parts, uploads, objects)} == {"InvalidArgument"}


def test_parts_can_be_copied(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="source", Body=SECOND)
    source = {"Bucket": bucket, "Key": "source"}
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]

    def copy(number: int, **options: Any) -> dict[str, Any]:
        answer = s3.upload_part_copy(
            Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, CopySource=source, **options
        )
        return {"PartNumber": number, "ETag": answer["CopyPartResult"]["ETag"]}

    parts = [copy(1), copy(2, CopySourceRange="bytes=10-19")]
    assert code_of(copy, number=3, CopySourceRange=f"bytes=0-{len(SECOND)}") == "InvalidArgument"
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts})
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == SECOND + SECOND[10:20]
    copied = s3.copy_object(Bucket=bucket, Key="whole", CopySource={"Bucket": bucket, "Key": "k"})["CopyObjectResult"]
    assert copied["ETag"] == f'"{hashlib.md5(SECOND + SECOND[10:20]).hexdigest()}"'


def test_boto3_transfers(s3: Any, bucket: str) -> None:
    body = os.urandom(17 * MEBI)
    config = TransferConfig(multipart_threshold=5 * MEBI, multipart_chunksize=5 * MEBI)
    s3.upload_fileobj(BytesIO(body), bucket, "k", Config=config)
    assert s3.head_object(Bucket=bucket, Key="k")["ETag"].endswith('-4"')
    back = BytesIO()
    s3.download_fileobj(bucket, "k", back, Config=config)
    assert back.getvalue() == body
