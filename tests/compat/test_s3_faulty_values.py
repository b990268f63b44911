"""Values that S3 takes nowhere, and what it says of each."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

Client = Any
PLAIN = Config(request_checksum_calculation="when_required")


@pytest.fixture
def s3(client: Callable[..., Client]) -> Client:
    return client("s3", config=PLAIN)


@pytest.fixture
def bucket(s3: Client) -> str:
    name = f"faulty-{secrets.token_hex(8)}"
    s3.create_bucket(Bucket=name)
    return name


def refused(call: Callable[..., Any], **params: Any) -> tuple[str, str]:
    with pytest.raises(ClientError) as caught:
        call(**params)
    error = caught.value.response["Error"]
    return error["Code"], error["Message"]


@pytest.mark.parametrize(
    ("redirect", "condition", "words"),
    [
        ({"HttpRedirectCode": "300"}, None, "redirect code (300) is not valid. Valid codes are 3XX except 300."),
        ({"HttpRedirectCode": "404"}, None, "redirect code (404) is not valid. Valid codes are 3XX except 300."),
        ({"HostName": "h"}, {"HttpErrorCodeReturnedEquals": "399"}, "code (399) is not valid. Valid codes are 4XX or"),
    ],
)
def test_codes_of_website_rules(
    s3: Client, bucket: str, redirect: dict[str, str], condition: dict[str, str] | None, words: str
) -> None:
    rule = {"Redirect": redirect} | ({"Condition": condition} if condition else {})
    site = {"IndexDocument": {"Suffix": "index.html"}, "RoutingRules": [rule]}
    code, message = refused(s3.put_bucket_website, Bucket=bucket, WebsiteConfiguration=site)
    assert code == "InvalidRequest"
    assert words in message


def test_redirects_of_copies(s3: Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k")
    named = {"Bucket": bucket, "Key": "l", "CopySource": f"{bucket}/k"}
    told = refused(s3.copy_object, **named, WebsiteRedirectLocation="ftp://example.com")
    assert told[0] == "InvalidRedirectLocation"
    s3.copy_object(**named, WebsiteRedirectLocation="/m")
    assert s3.head_object(Bucket=bucket, Key="l")["WebsiteRedirectLocation"] == "/m"


def test_types_of_checksums(s3: Client, bucket: str) -> None:
    named = {"Bucket": bucket, "Key": "k"}
    made = s3.create_multipart_upload(**named, ChecksumAlgorithm="crc32", ChecksumType="full_OBJECT")
    assert (made["ChecksumAlgorithm"], made["ChecksumType"]) == ("CRC32", "FULL_OBJECT")
    for algorithm in ({}, {"ChecksumAlgorithm": "CRC32"}):
        told = refused(s3.create_multipart_upload, **named, **algorithm, ChecksumType="whole")
        assert told == ("InvalidRequest", "Value for x-amz-checksum-type header is invalid.")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ChecksumType": "whole"}, "Value for x-amz-checksum-type header is invalid."),
        ({"ChecksumSHA1": "no digest"}, "Value for x-amz-checksum-sha1 header is invalid."),
        ({"ChecksumCRC32": "AAAAAA==-one"}, "Value for x-amz-checksum-crc32 header is invalid."),
        ({"MpuObjectSize": -1}, "Value for x-amz-mp-object-size header is less than zero: '-1'"),
    ],
)
def test_headers_of_completions(s3: Client, bucket: str, given: dict[str, Any], message: str) -> None:
    named = {"Bucket": bucket, "Key": "k"}
    named["UploadId"] = s3.create_multipart_upload(**named, ChecksumAlgorithm="CRC32")["UploadId"]
    part = s3.upload_part(**named, PartNumber=1, Body=b"a", ChecksumAlgorithm="CRC32")
    parts = [{"PartNumber": 1, "ETag": part["ETag"], "ChecksumCRC32": part["ChecksumCRC32"]}]
    complete = s3.complete_multipart_upload
    assert refused(complete, **named, **given, MultipartUpload={"Parts": parts}) == ("InvalidRequest", message)


@pytest.mark.parametrize("part", [{"PartNumber": 1}, {"ETag": '"x"'}])
def test_parts_that_say_too_little(s3: Client, bucket: str, part: dict[str, Any]) -> None:
    named = {"Bucket": bucket, "Key": "k"}
    named["UploadId"] = s3.create_multipart_upload(**named)["UploadId"]
    assert refused(s3.complete_multipart_upload, **named, MultipartUpload={"Parts": [part]})[0] == "MalformedXML"


def test_ranges_that_say_nothing(s3: Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    for text in ("bytes= -1", "bytes=0 -1", "bytes=0--1", "bytes=5-2", "words=0-1", "bytes=0-0,1-2"):
        answer = s3.get_object(Bucket=bucket, Key="k", Range=text)
        assert (answer["ResponseMetadata"]["HTTPStatusCode"], answer["ContentLength"]) == (200, 10)
        assert "ContentRange" not in answer
    assert s3.get_object(Bucket=bucket, Key="k", Range="bytes=00-01")["ContentRange"] == "bytes 0-1/10"


def test_what_is_wrong_with_the_call_comes_before_what_is_not_there(s3: Client, bucket: str) -> None:
    named = {"Bucket": bucket, "Key": "absent"}
    assert refused(s3.get_object, **named, PartNumber=0)[0] == "InvalidArgument"
    assert refused(s3.get_object_attributes, **named, ObjectAttributes=["Size"])[0] == "InvalidArgument"
    code, message = refused(s3.get_object_attributes, **named, ObjectAttributes=[])
    assert (code, message.endswith("is either missing or empty")) == ("InvalidRequest", True)


@pytest.mark.parametrize("header", ["two words", "a:b", "a/b", "(a)", 'a"b"'])
def test_headers_of_cors_rules(s3: Client, bucket: str, header: str) -> None:
    for member in ("AllowedHeader", "ExposeHeader"):
        rule = {"AllowedOrigins": ["*"], "AllowedMethods": ["GET"], f"{member}s": [header]}
        told = refused(s3.put_bucket_cors, Bucket=bucket, CORSConfiguration={"CORSRules": [rule]})
        assert told == ("InvalidRequest", f'{member} "{header}" contains invalid character.')


def put_policy(s3: Client, bucket: str, action: object, *resources: str) -> None:
    named = [f"arn:aws:s3:::{bucket}{resource}" for resource in resources]
    statement = {"Effect": "Deny", "Principal": "*", "Action": action, "Resource": named}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))


@pytest.mark.parametrize(
    "action", ["s3:", "s3::GetObject", "s3:Put-Object", "s3:Nothing", "s3:Abort?", "s3:*Obj??ect*"]
)
def test_actions_of_policies_that_there_are_not(s3: Client, bucket: str, action: str) -> None:
    with pytest.raises(ClientError, match=r"\(MalformedPolicy\).*Policy has invalid action"):
        put_policy(s3, bucket, action, "", "/*")


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        ("s3:GetObject", ""),
        ("s3:GetObjec?", ""),
        ("s3:Abort*", ""),
        ("s3:ListBucket", "/*"),
        ("s3:GetBucket*", "/*"),
        (["s3:GetObject", "s3:ListBucket"], "/*"),
    ],
)
def test_actions_of_policies_that_are_about_something_else(
    s3: Client, bucket: str, action: object, resource: str
) -> None:
    with pytest.raises(ClientError, match=r"\(MalformedPolicy\).*Action does not apply to any resource\(s\) in stat"):
        put_policy(s3, bucket, action, resource)
    put_policy(s3, bucket, action, "", "/*")
    put_policy(s3, bucket, action, "*")


def test_versions_without_a_name(s3: Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k")
    told = ("InvalidArgument", "Version id cannot be the empty string")
    for call in (s3.get_object, s3.delete_object, s3.get_object_tagging):
        assert refused(call, Bucket=bucket, Key="k", VersionId="") == told


def test_more_grants_than_a_list_has(s3: Client, bucket: str) -> None:
    s3.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls={"Rules": [{"ObjectOwnership": "ObjectWriter"}]})
    owner = s3.get_bucket_acl(Bucket=bucket)["Owner"]
    grant = {"Grantee": {"Type": "CanonicalUser", "ID": owner["ID"]}, "Permission": "READ"}
    s3.put_bucket_acl(Bucket=bucket, AccessControlPolicy={"Owner": owner, "Grants": [grant] * 100})
    many = {"Owner": owner, "Grants": [grant] * 101}
    assert refused(s3.put_bucket_acl, Bucket=bucket, AccessControlPolicy=many)[0] == "MalformedACLError"


@pytest.mark.parametrize(("id", "taken"), [("a.B-9_", True), ("a" * 64, True), ("a" * 65, False), ("a b", False)])
def test_ids_of_metrics(s3: Client, bucket: str, id: str, taken: bool) -> None:
    named = {"Bucket": bucket, "Id": id, "MetricsConfiguration": {"Id": id}}
    if taken:
        s3.put_bucket_metrics_configuration(**named)
    else:
        assert refused(s3.put_bucket_metrics_configuration, **named)[0] == "InvalidArgument"
