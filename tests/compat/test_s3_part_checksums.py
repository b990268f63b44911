"""Checksums of uploads in parts: what a completion may say, and what is told of uploads that have none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from backends import checksum
from tests.compat.refused import refused
from tests.compat.s3_worlds import make_bucket

pytestmark = pytest.mark.embedded
Client = Any
CRC32C = checksum.encode(checksum.of("CRC32C", b"part"))
OTHER = checksum.encode(checksum.of("CRC32C", b"other"))
SHA256 = checksum.encode(checksum.of("SHA256", b"part"))


@pytest.fixture
def s3(client: Callable[..., Client]) -> Client:
    return client("s3")


def begun(s3: Client, **options: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """An upload of one part, and that part."""
    named = {"Bucket": make_bucket(s3), "Key": "k"}
    named["UploadId"] = s3.create_multipart_upload(**named, **options)["UploadId"]
    etag = s3.upload_part(**named, PartNumber=1, Body=b"part", ChecksumAlgorithm="CRC32C")["ETag"]
    return named, {"ETag": etag, "PartNumber": 1}


def test_an_upload_without_checksums(s3: Client) -> None:
    named, part = begun(s3)
    for wrong in ({"ChecksumCRC32C": CRC32C}, {"ChecksumSHA256": SHA256}):
        with refused("InvalidPart"):
            s3.complete_multipart_upload(**named, MultipartUpload={"Parts": [part | wrong]})
    with refused("InvalidRequest", "the null checksum mode"):
        s3.complete_multipart_upload(**named, MultipartUpload={"Parts": [part]}, ChecksumType="FULL_OBJECT")
    s3.complete_multipart_upload(**named, MultipartUpload={"Parts": [part]}, ChecksumCRC32C=f"{OTHER}-2")
    assert s3.head_object(Bucket=named["Bucket"], Key="k", ChecksumMode="ENABLED")["ChecksumType"] == "FULL_OBJECT"


def test_the_checksum_of_the_whole(s3: Client) -> None:
    named, part = begun(s3, ChecksumAlgorithm="CRC32C", ChecksumType="FULL_OBJECT")
    parts = {"Parts": [part | {"ChecksumCRC32C": CRC32C}]}
    for wrong in (
        {"ChecksumCRC32C": CRC32C},  # without its type
        {"ChecksumCRC32C": OTHER, "ChecksumType": "FULL_OBJECT"},
        {"ChecksumCRC32": "AAAAAA==", "ChecksumType": "FULL_OBJECT"},
    ):
        with refused("BadDigest", "The crc32c you specified did not match the calculated checksum."):
            s3.complete_multipart_upload(**named, MultipartUpload=parts, **wrong)
    done = s3.complete_multipart_upload(
        **named, MultipartUpload=parts, ChecksumCRC32C=CRC32C, ChecksumType="FULL_OBJECT"
    )
    assert done["ChecksumCRC32C"] == CRC32C


def test_checksums_of_parts(s3: Client) -> None:
    named, part = begun(s3, ChecksumAlgorithm="CRC32C")
    with refused("InvalidRequest", "the COMPOSITE checksum mode"):
        s3.complete_multipart_upload(**named, MultipartUpload={"Parts": [part]}, ChecksumType="FULL_OBJECT")
    with refused("BadDigest", "The sha256 you specified for part 1 did not match what we received."):
        s3.complete_multipart_upload(**named, MultipartUpload={"Parts": [part | {"ChecksumSHA256": SHA256}]})
    with refused("InvalidPart"):
        s3.complete_multipart_upload(**named, MultipartUpload={"Parts": [part | {"ChecksumCRC32C": OTHER}]})


def test_initiators_have_names(s3: Client) -> None:
    named, _ = begun(s3)
    listed = s3.list_multipart_uploads(Bucket=named["Bucket"])["Uploads"][0]
    assert listed["Initiator"] == s3.list_parts(**named)["Initiator"]
    assert listed["Initiator"]["ID"] == listed["Owner"]["ID"]
    assert listed["Initiator"]["DisplayName"]


@pytest.mark.parametrize("type", ["FULL_OBJECT", "COMPOSITE", ""])
def test_checksums_of_parts_are_told_where_the_whole_is_made_of_them(s3: Client, type: str) -> None:
    named = {"Bucket": make_bucket(s3), "Key": "k"}
    options = {"ChecksumAlgorithm": "CRC32C", "ChecksumType": type} if type else {}
    upload = named | {"UploadId": s3.create_multipart_upload(**named, **options)["UploadId"]}
    parts = []
    for number, body in ((1, bytes(5 << 20)), (2, b"part")):
        made = s3.upload_part(**upload, PartNumber=number, Body=body, ChecksumAlgorithm="CRC32C")
        told = {"ChecksumCRC32C": made["ChecksumCRC32C"]} if type else {}
        parts.append({"PartNumber": number, "ETag": made["ETag"], **told})
    s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": parts})
    head = s3.head_object(**named, PartNumber=2, ChecksumMode="ENABLED")
    shown = (head.get("ChecksumCRC32C"), head.get("ChecksumCRC64NVME"), head.get("ChecksumType"))
    assert shown == ((CRC32C, None, "COMPOSITE") if type == "COMPOSITE" else (None, None, None))


def test_a_checksum_under_a_key_of_kms_is_told_later(s3: Client) -> None:
    named, part = begun(s3, ServerSideEncryption="aws:kms")
    assert "ChecksumType" not in s3.complete_multipart_upload(**named, MultipartUpload={"Parts": [part]})
    assert "ChecksumCRC64NVME" in s3.head_object(Bucket=named["Bucket"], Key="k", ChecksumMode="ENABLED")
