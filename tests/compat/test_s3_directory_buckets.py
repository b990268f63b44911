"""Directory buckets: boto3 makes its sessions by itself, as it does with AWS."""

from __future__ import annotations

import hashlib
import json
import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import requests
from botocore.config import Config

from tests.compat.conftest import new_client
from tests.compat.refused import refused
from tests.compat.s3_worlds import code_of, error_of, fill, make_bucket
from tests.compat.test_s3_access_points import control
from tests.server import Server

ZONE = "use1-az4"
LASTING = Config(s3={"disable_s3_express_session_auth": True, "addressing_style": "path"})
"""Signs with the caller's own keys."""


def name_in(zone: str = ZONE) -> str:
    return f"test-{secrets.token_hex(6)}--{zone}--x-s3"


def configuration(zone: str = ZONE, **more: Any) -> dict[str, Any]:
    return {
        "Location": {"Type": "AvailabilityZone", "Name": zone},
        "Bucket": {"Type": "Directory", "DataRedundancy": "SingleAvailabilityZone"},
        **more,
    }


def make(s3: Any, **more: Any) -> str:
    name = name_in()
    s3.create_bucket(Bucket=name, CreateBucketConfiguration=configuration(**more))
    return name


@pytest.fixture
def s3(server: Server, account: str) -> Any:
    return new_client(server.endpoint, "s3", account)


@pytest.fixture
def bucket(s3: Any) -> str:
    return make(s3)


def test_a_bucket_is_made_seen_and_deleted(s3: Any, account: str) -> None:
    name = name_in()
    made = s3.create_bucket(Bucket=name, CreateBucketConfiguration=configuration())
    arn = f"arn:aws:s3express:us-east-1:{account}:bucket/{name}"
    assert made["BucketArn"] == arn
    seen = s3.head_bucket(Bucket=name)
    assert (seen["BucketLocationType"], seen["BucketLocationName"]) == ("AvailabilityZone", ZONE)
    assert (seen["BucketRegion"], seen["BucketArn"], seen["AccessPointAlias"]) == ("us-east-1", arn, False)
    with refused("BucketAlreadyOwnedByYou"):
        s3.create_bucket(Bucket=name, CreateBucketConfiguration=configuration())
    plain = make_bucket(s3)
    assert [one["Name"] for one in s3.list_buckets()["Buckets"]] == [plain]
    assert "BucketLocationType" not in s3.head_bucket(Bucket=plain)
    listed = s3.list_directory_buckets()["Buckets"]
    assert [(one["Name"], one["BucketArn"]) for one in listed] == [(name, arn)]
    upload = s3.create_multipart_upload(Bucket=name, Key="k")["UploadId"]
    with refused("BucketNotEmpty"):
        s3.delete_bucket(Bucket=name)
    s3.abort_multipart_upload(Bucket=name, Key="k", UploadId=upload)
    s3.delete_bucket(Bucket=name)
    assert s3.list_directory_buckets()["Buckets"] == []
    with refused("NoSuchBucket"):
        s3.get_object(Bucket=name, Key="k")


def test_names_and_configurations_are_checked(server: Server, s3: Any) -> None:
    plain = new_client(server.endpoint, "s3", "test", config=LASTING)
    cases: list[tuple[str, dict[str, Any], str]] = [
        (name_in(), {"LocationConstraint": "us-west-2"}, "MalformedXML"),
        (name_in(), configuration(LocationConstraint="us-west-2"), "MalformedXML"),
        (name_in("use1-az6"), configuration(), "InvalidRequest"),
        (name_in("usw2-az1"), configuration("usw2-az1"), "InvalidRequest"),
        ("Upper--use1-az4--x-s3", configuration(), "InvalidBucketName"),
        ("with.dot--use1-az4--x-s3", configuration(), "InvalidBucketName"),
        ("nozone--x-s3", configuration(), "InvalidBucketName"),
        ("a" * 50 + "--use1-az4--x-s3", configuration(), "InvalidBucketName"),
        ("no-directory-" + secrets.token_hex(4), configuration(), "InvalidRequest"),
        (
            name_in(),
            {**configuration(), "Location": {"Type": "LocalZone", "Name": ZONE}},
            "AccessDenied",
        ),
    ]
    for name, about, code in cases:
        found = code_of(plain.create_bucket, Bucket=name, CreateBucketConfiguration=about)
        assert found == code, (name, about)
    west = new_client(server.endpoint, "s3", "test", region="us-west-2", config=LASTING)
    west.create_bucket(Bucket=name_in("usw2-az1"), CreateBucketConfiguration=configuration("usw2-az1"))
    with refused("MalformedXML"):
        plain.create_bucket(Bucket=name_in())


def test_listing_goes_by_pages_and_regions(server: Server, s3: Any, account: str) -> None:
    names = sorted(make(s3) for _ in range(3))
    pages = list(s3.get_paginator("list_directory_buckets").paginate(PaginationConfig={"PageSize": 2}))
    assert [[one["Name"] for one in page["Buckets"]] for page in pages] == [names[:2], names[2:]]
    west = new_client(server.endpoint, "s3", account, region="us-west-2")
    assert west.list_directory_buckets()["Buckets"] == []
    with refused("InvalidArgument"):
        s3.list_directory_buckets(ContinuationToken="?")


def test_objects_differ_as_documented(s3: Any, bucket: str) -> None:
    body = b"fast"
    put = s3.put_object(Bucket=bucket, Key="d/k", Body=body, Metadata={"a": "b"})
    assert put["ETag"].strip('"') != hashlib.md5(body).hexdigest()
    assert put["Expiration"] == "NotImplemented"
    got = s3.get_object(Bucket=bucket, Key="d/k")
    assert (got["Body"].read(), got["ETag"], got["Metadata"]) == (body, put["ETag"], {"a": "b"})
    seen = s3.head_object(Bucket=bucket, Key="d/k")
    assert (seen["StorageClass"], seen["Expiration"]) == ("EXPRESS_ONEZONE", "NotImplemented")
    assert "VersionId" not in seen
    attributes = s3.get_object_attributes(
        Bucket=bucket, Key="d/k", ObjectAttributes=["ETag", "Checksum", "ObjectSize", "StorageClass"]
    )
    assert attributes["StorageClass"] == "EXPRESS_ONEZONE"
    assert attributes["ETag"] == put["ETag"].strip('"')
    for class_ in ("STANDARD", "GLACIER"):
        assert code_of(s3.put_object, Bucket=bucket, Key="k", StorageClass=class_) == "InvalidStorageClass"
    assert code_of(s3.put_object, Bucket=make_bucket(s3), Key="k", StorageClass="EXPRESS_ONEZONE") == (
        "InvalidStorageClass"
    )


def test_what_directory_buckets_do_not_have(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    absent: list[dict[str, Any]] = [
        {"ACL": "private"},
        {"Tagging": "a=b"},
        {"ObjectLockLegalHoldStatus": "ON"},
        {"WebsiteRedirectLocation": "/there"},
        {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": "k" * 32},
    ]
    for members in absent:
        error = error_of(s3.put_object, Bucket=bucket, Key="k", **members)
        assert (error["Code"], error["Status"]) == ("NotImplemented", 501), members
    operations: list[tuple[Any, dict[str, Any]]] = [
        (s3.get_bucket_versioning, {}),
        (s3.get_bucket_tagging, {}),
        (s3.get_bucket_location, {}),
        (s3.list_objects, {}),
        (s3.list_object_versions, {}),
        (s3.get_object_tagging, {"Key": "k"}),
        (s3.get_object_acl, {"Key": "k"}),
    ]
    for call, more in operations:
        error = error_of(call, Bucket=bucket, **more)
        assert (error["Code"], error["Status"]) == ("MethodNotAllowed", 405), call
    with refused("InvalidArgument", "VersioningConfiguration is not valid, expected CreateBucketConfiguration"):
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    with refused("InvalidArgument", "Tagging is not valid, expected CreateBucketConfiguration"):
        s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": []})
    plain = make_bucket(s3)
    with refused("InvalidRequest"):
        s3.create_session(Bucket=plain)


def test_listings_are_of_directories_and_in_no_order(s3: Any, bucket: str) -> None:
    keys = [f"d{number:02}/k" for number in range(20)]
    fill(s3, bucket, *keys)
    listed = [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]]
    assert sorted(listed) == keys
    assert listed != keys
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 7})
    assert sorted(one["Key"] for page in pages for one in page["Contents"]) == keys
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket, Prefix="d03/")["Contents"]] == ["d03/k"]
    for wrong in ({"Prefix": "d0"}, {"Delimiter": "-"}):
        assert code_of(s3.list_objects_v2, Bucket=bucket, **wrong) == "InvalidArgument"
        assert code_of(s3.list_multipart_uploads, Bucket=bucket, **wrong) == "InvalidArgument"
    assert code_of(s3.list_objects_v2, Bucket=bucket, StartAfter="d03/k") == "NotImplemented"


def test_prefixes_of_uploads_in_progress_are_listed(s3: Any, bucket: str) -> None:
    fill(s3, bucket, "a/1", "c/1", "top")
    for key in ("b/1", "b/2", "d/e/f", "loose", "loose2"):
        s3.create_multipart_upload(Bucket=bucket, Key=key)
    found = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert {one["Prefix"] for one in found["CommonPrefixes"]} == {"a/", "b/", "c/", "d/"}
    assert [one["Key"] for one in found["Contents"]] == ["top"]
    for size in (1, 2, 3):
        pages = s3.get_paginator("list_objects_v2").paginate(
            Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": size}
        )
        seen = [
            *(one["Prefix"] for page in pages for one in page.get("CommonPrefixes", ())),
            *(one["Key"] for page in pages for one in page.get("Contents", ())),
        ]
        assert sorted(seen) == ["a/", "b/", "c/", "d/", "top"]
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 3
    pages = s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
    assert sorted(one["Key"] for page in pages for one in page["Uploads"]) == ["b/1", "b/2", "d/e/f", "loose", "loose2"]


def test_multipart_uploads(s3: Any, bucket: str) -> None:
    parts = [b"a" * (5 << 20), b"b"]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="big")["UploadId"]
    sent = []
    for number, body in enumerate(parts, 1):
        etag = s3.upload_part(Bucket=bucket, Key="big", UploadId=upload, PartNumber=number, Body=body)["ETag"]
        assert etag.strip('"') != hashlib.md5(body).hexdigest()
        sent.append({"PartNumber": number, "ETag": etag})
    assert s3.list_parts(Bucket=bucket, Key="big", UploadId=upload)["StorageClass"] == "EXPRESS_ONEZONE"
    s3.complete_multipart_upload(Bucket=bucket, Key="big", UploadId=upload, MultipartUpload={"Parts": sent})
    assert s3.get_object(Bucket=bucket, Key="big")["Body"].read() == b"".join(parts)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="other")["UploadId"]
    began = s3.list_multipart_uploads(Bucket=bucket)["Uploads"][0]["Initiated"]
    abort: dict[str, Any] = {"Bucket": bucket, "Key": "other", "UploadId": upload}
    wrong = began - timedelta(hours=1)
    assert code_of(s3.abort_multipart_upload, **abort, IfMatchInitiatedTime=wrong) == "PreconditionFailed"
    s3.abort_multipart_upload(**abort, IfMatchInitiatedTime=began)


def test_deletes_may_ask_for_time_and_size(s3: Any, bucket: str) -> None:
    fill(s3, bucket, "k", "l")
    modified = s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    for wrong in ({"IfMatchSize": 2}, {"IfMatchLastModifiedTime": modified - timedelta(minutes=1)}):
        assert code_of(s3.delete_object, Bucket=bucket, Key="k", **wrong) == "PreconditionFailed"
    s3.delete_object(Bucket=bucket, Key="k", IfMatchSize=1, IfMatchLastModifiedTime=modified)
    done = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "l", "Size": 9}, {"Key": "l2"}]})
    assert [one["Code"] for one in done["Errors"]] == ["PreconditionFailed"]
    assert done["Deleted"] == [{"Key": "l2"}]
    plain = make_bucket(s3)
    assert code_of(s3.delete_object, Bucket=plain, Key="k", IfMatchSize=2) == "NotImplemented"


def test_copies_between_types_of_buckets(s3: Any, bucket: str) -> None:
    plain = make_bucket(s3)
    s3.put_object(Bucket=plain, Key="k", Body=b"x", Tagging="a=b")
    source = {"Bucket": plain, "Key": "k"}
    error = error_of(s3.copy_object, Bucket=bucket, Key="k", CopySource=source)
    assert (error["Code"], error["Status"]) == ("NotImplemented", 501)
    s3.copy_object(Bucket=bucket, Key="k", CopySource=source, TaggingDirective="REPLACE")
    assert s3.head_object(Bucket=bucket, Key="k")["StorageClass"] == "EXPRESS_ONEZONE"
    s3.copy_object(Bucket=plain, Key="back", CopySource={"Bucket": bucket, "Key": "k"})
    back = s3.get_object(Bucket=plain, Key="back")
    assert (back["Body"].read(), back["ETag"].strip('"')) == (b"x", hashlib.md5(b"x").hexdigest())


def test_documents_that_directory_buckets_have(s3: Any, bucket: str, account: str) -> None:
    arn = f"arn:aws:s3express:us-east-1:{account}:bucket/{bucket}"
    statement = {"Effect": "Allow", "Principal": {"AWS": account}, "Action": "s3express:CreateSession", "Resource": arn}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": statement}))
    assert json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])["Statement"] == statement
    for wrong in ({"Action": "s3:GetObject"}, {"Resource": f"{arn}/*"}):
        text = json.dumps({"Version": "2012-10-17", "Statement": statement | wrong})
        assert code_of(s3.put_bucket_policy, Bucket=bucket, Policy=text) == "MalformedPolicy"
    s3.delete_bucket_policy(Bucket=bucket)
    with refused("NoSuchBucketPolicy"):
        s3.get_bucket_policy(Bucket=bucket)
    rule = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"][0]
    assert rule["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "AES256"
    expire = {"ID": "r", "Status": "Enabled", "Filter": {"Prefix": "tmp/"}, "Expiration": {"Days": 1}}
    s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [expire]})
    assert s3.get_bucket_lifecycle_configuration(Bucket=bucket)["Rules"] == [expire]
    moves = expire | {"Expiration": {"Days": 9}, "Transitions": [{"Days": 1, "StorageClass": "GLACIER"}]}
    tagged = expire | {"Filter": {"Tag": {"Key": "a", "Value": "b"}}}
    for wrong_rule in (moves, tagged):
        with refused("InvalidRequest"):
            s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": [wrong_rule]})
    s3.delete_bucket_lifecycle(Bucket=bucket)


def test_objects_under_a_key_of_kms(server: Server, s3: Any, account: str, bucket: str) -> None:
    key = new_client(server.endpoint, "kms", account).create_key()["KeyMetadata"]["Arn"]
    with refused("InvalidRequest"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", ServerSideEncryption="aws:kms", SSEKMSKeyId=key)

    def encrypt(**default: Any) -> None:
        rules = [{"ApplyServerSideEncryptionByDefault": default}]
        s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules})

    for wrong in ({"SSEAlgorithm": "aws:kms"}, {"SSEAlgorithm": "aws:kms:dsse", "KMSMasterKeyID": key}):
        with refused("InvalidRequest"):
            encrypt(**wrong)
    encrypt(SSEAlgorithm="aws:kms", KMSMasterKeyID=key)
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"sealed")
    assert (put["ServerSideEncryption"], put["SSEKMSKeyId"], put["BucketKeyEnabled"]) == ("aws:kms", key, True)
    s3.rename_object(Bucket=bucket, Key="l", RenameSource=f"{bucket}/k")
    assert s3.get_object(Bucket=bucket, Key="l")["Body"].read() == b"sealed"
    session = s3.create_session(Bucket=bucket)
    assert (session["ServerSideEncryption"], session["SSEKMSKeyId"]) == ("aws:kms", key)
    with refused("InvalidRequest"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", ServerSideEncryption="AES256")


def test_tags_of_a_bucket(server: Server, s3: Any, account: str) -> None:
    bucket = make(s3, Tags=[{"Key": "team", "Value": "blue"}])
    s3control = control(server, account)
    about: dict[str, Any] = {
        "AccountId": account, "ResourceArn": f"arn:aws:s3express:us-east-1:{account}:bucket/{bucket}"
    }  # fmt: skip
    s3control.tag_resource(**about, Tags=[{"Key": "stage", "Value": "test"}])
    s3control.untag_resource(**about, TagKeys=["team"])
    assert s3control.list_tags_for_resource(**about)["Tags"] == [{"Key": "stage", "Value": "test"}]


def test_presigned_urls(s3: Any, bucket: str) -> None:
    url = s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "k"})
    assert "X-Amz-S3session-Token" in url
    assert requests.put(url, data=b"by url", timeout=60).status_code == 200
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"})
    assert requests.get(url, timeout=60).content == b"by url"


@pytest.mark.embedded
def test_transfers_and_the_command_line(server: Server, s3: Any, bucket: str, aws: Any, tmp_path: Any) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"z" * (9 << 20))
    aws("s3", "cp", str(file), f"s3://{bucket}/d/file")
    assert s3.get_object(Bucket=bucket, Key="d/file")["Body"].read() == file.read_bytes()
    name = name_in()
    made = aws("s3api", "create-bucket", "--bucket", name, "--create-bucket-configuration", json.dumps(configuration()))
    assert json.loads(made.stdout)["BucketArn"].endswith(name)


def test_sessions(server: Server, s3: Any, account: str, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    session = s3.create_session(Bucket=bucket, SessionMode="ReadOnly")["Credentials"]
    assert timedelta(minutes=4) < session["Expiration"] - datetime.now(UTC) <= timedelta(minutes=5)
    other = make(s3)

    def client(service: str) -> Any:
        return new_client(
            server.endpoint,
            service,
            session["AccessKeyId"],
            secret=session["SecretAccessKey"],
            aws_session_token=session["SessionToken"],
            config=LASTING,
        )

    mine = client("s3")
    assert mine.get_object(Bucket=bucket, Key="k")["Body"].read() == b"x"
    assert mine.list_objects_v2(Bucket=bucket)["KeyCount"] == 1
    assert code_of(mine.put_object, Bucket=bucket, Key="k", Body=b"y") == "AccessDenied"
    assert code_of(mine.delete_objects, Bucket=bucket, Delete={"Objects": [{"Key": "k"}]}) == "AccessDenied"
    assert code_of(mine.get_object, Bucket=other, Key="k") == "AccessDenied"
    assert code_of(mine.create_session, Bucket=bucket) == "AccessDenied"
    assert code_of(mine.list_buckets) == "InvalidAccessKeyId"
    assert code_of(client("sts").get_caller_identity) == "InvalidClientTokenId"
    with refused("InvalidArgument"):
        s3.create_session(Bucket=bucket, SessionMode="Sometimes")
