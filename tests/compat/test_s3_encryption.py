"""Encryption of objects as boto3 sees it: by S3, by KMS, by a caller's own key; and what lies on disk."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.server import Server

Client = Any
MakeClient = Callable[..., Client]
pytestmark = pytest.mark.embedded
LARGE = os.urandom(200_000)
MIB = 1 << 20


def refused(call: Callable[[], Any]) -> str:
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


@pytest.fixture
def s3(client: MakeClient) -> Client:
    return client("s3")


@pytest.fixture
def kms(client: MakeClient) -> Client:
    return client("kms")


@pytest.fixture
def bucket(s3: Client, account: str) -> str:
    s3.create_bucket(Bucket=f"secret-{account}")
    return f"secret-{account}"


def body(s3: Client, bucket: str, key: str, **more: Any) -> bytes:
    return bytes(s3.get_object(Bucket=bucket, Key=key, **more)["Body"].read())


def customer(fill: bytes = b"c") -> dict[str, Any]:
    return {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": fill * 32}


def md5(data: bytes) -> str:
    return f'"{hashlib.md5(data).hexdigest()}"'


@pytest.mark.parametrize("data", [b"", b"small-and-private", LARGE])
def test_everything_is_encrypted_by_s3(s3: Client, bucket: str, data: bytes, server: Server) -> None:
    put = s3.put_object(Bucket=bucket, Key="k", Body=data)
    assert put["ServerSideEncryption"] == "AES256" and put["ETag"] == md5(data)
    got = s3.get_object(Bucket=bucket, Key="k")
    assert got["ServerSideEncryption"] == "AES256" and got["Body"].read() == data
    assert s3.head_object(Bucket=bucket, Key="k")["ServerSideEncryption"] == "AES256"
    if data:
        probe = data[:17]
        # The index, and all bytes of objects; other tests keep disks of many GiB beside them.
        for file in [*server.data.glob("nephele.db*"), *(server.data / "objects").rglob("*")]:
            with contextlib.suppress(FileNotFoundError):
                assert not file.is_file() or probe not in file.read_bytes(), file


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("data", [b"", b"small", LARGE])
def test_a_key_of_kms(s3: Client, kms: Client, bucket: str, data: bytes, shared: bool) -> None:
    key = kms.create_key()["KeyMetadata"]
    about = {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key["KeyId"], "BucketKeyEnabled": shared}
    put = s3.put_object(Bucket=bucket, Key="k", Body=data, **about)
    assert (put["ServerSideEncryption"], put["SSEKMSKeyId"]) == ("aws:kms", key["Arn"])
    assert put.get("BucketKeyEnabled", False) is shared and put["ETag"] != md5(data)
    for answer in (s3.get_object(Bucket=bucket, Key="k"), s3.head_object(Bucket=bucket, Key="k")):
        assert (answer["ServerSideEncryption"], answer["SSEKMSKeyId"]) == ("aws:kms", key["Arn"])
        assert answer.get("BucketKeyEnabled", False) is shared and answer["ETag"] == put["ETag"]
    assert body(s3, bucket, "k") == data
    if len(data) > 100:
        assert body(s3, bucket, "k", Range="bytes=65530-65545") == data[65530:65546]
    kms.rotate_key_on_demand(KeyId=key["KeyId"])
    assert body(s3, bucket, "k") == data
    kms.disable_key(KeyId=key["KeyId"])
    assert refused(lambda: body(s3, bucket, "k")) == "KMS.DisabledException"
    assert refused(lambda: s3.put_object(Bucket=bucket, Key="l", **about)) == "KMS.DisabledException"
    kms.schedule_key_deletion(KeyId=key["KeyId"])
    assert refused(lambda: body(s3, bucket, "k")) == "KMS.KMSInvalidStateException"
    kms.cancel_key_deletion(KeyId=key["KeyId"])
    kms.enable_key(KeyId=key["KeyId"])
    assert body(s3, bucket, "k") == data


def test_the_managed_key_and_two_layers(s3: Client, kms: Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ServerSideEncryption="aws:kms")
    managed = kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]["Arn"]
    assert s3.head_object(Bucket=bucket, Key="k")["SSEKMSKeyId"] == managed
    put = s3.put_object(Bucket=bucket, Key="d", Body=b"y", ServerSideEncryption="aws:kms:dsse", SSEKMSKeyId=managed)
    assert put["ServerSideEncryption"] == "aws:kms:dsse"
    assert (body(s3, bucket, "k"), body(s3, bucket, "d")) == (b"x", b"y")


def test_what_makes_no_sense_is_refused(s3: Client, kms: Client, bucket: str) -> None:
    def put(**about: Any) -> str:
        return refused(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"x", **about))

    assert put(ServerSideEncryption="aws:nothing") == "InvalidArgument"
    assert put(SSEKMSKeyId="x") == "InvalidArgument"
    assert put(ServerSideEncryption="AES256", SSEKMSKeyId="x") == "InvalidArgument"
    assert put(ServerSideEncryption="aws:kms", SSEKMSKeyId="alias/none") == "KMS.NotFoundException"
    assert put(ServerSideEncryption="aws:kms", SSEKMSEncryptionContext="e30x") == "InvalidArgument"
    assert put(ServerSideEncryption="AES256", **customer()) == "InvalidArgument"
    assert put(SSECustomerAlgorithm="AES256", SSECustomerKey=b"short") == "InvalidArgument"
    assert put(SSECustomerAlgorithm="AES128", SSECustomerKey=b"c" * 32) == "InvalidEncryptionAlgorithmError"
    encoded = base64.b64encode(b"c" * 32).decode()
    wrong = {"SSECustomerKey": encoded, "SSECustomerKeyMD5": "AAAAAAAAAAAAAAAAAAAAAA=="}
    assert put(SSECustomerAlgorithm="AES256", **wrong) == "InvalidArgument"


def test_the_bucket_has_a_default(s3: Client, kms: Client, bucket: str) -> None:
    key = kms.create_key()["KeyMetadata"]
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key["Arn"]}
    rules = [{"ApplyServerSideEncryptionByDefault": default, "BucketKeyEnabled": True}]
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration={"Rules": rules})
    put = s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert (put["ServerSideEncryption"], put["SSEKMSKeyId"]) == ("aws:kms", key["Arn"]) and put["BucketKeyEnabled"]
    assert s3.put_object(Bucket=bucket, Key="p", Body=b"x", ServerSideEncryption="AES256")["ETag"] == md5(b"x")
    assert body(s3, bucket, "k") == body(s3, bucket, "p") == b"x"
    s3.delete_bucket_encryption(Bucket=bucket)
    assert s3.put_object(Bucket=bucket, Key="k", Body=b"x")["ServerSideEncryption"] == "AES256"


def test_a_key_of_the_callers_own(s3: Client, bucket: str) -> None:
    digest = base64.b64encode(hashlib.md5(b"c" * 32).digest()).decode()
    for data in (b"", b"small", LARGE):
        put = s3.put_object(Bucket=bucket, Key="k", Body=data, **customer())
        assert put["SSECustomerAlgorithm"] == "AES256" and put["SSECustomerKeyMD5"] == digest
        assert "ServerSideEncryption" not in put and put["ETag"] != md5(data)
        got = s3.get_object(Bucket=bucket, Key="k", **customer())
        assert got["Body"].read() == data and got["SSECustomerKeyMD5"] == digest
        assert s3.head_object(Bucket=bucket, Key="k", **customer())["ContentLength"] == len(data)
        for call in (s3.get_object, s3.head_object):
            assert refused(lambda call=call: call(Bucket=bucket, Key="k")) in ("InvalidRequest", "400")
            assert refused(lambda call=call: call(Bucket=bucket, Key="k", **customer(b"d"))) in ("AccessDenied", "403")
    s3.put_object(Bucket=bucket, Key="p", Body=b"x")
    assert refused(lambda: s3.get_object(Bucket=bucket, Key="p", **customer())) == "InvalidRequest"
    blocked = {"Rules": [{"BlockedEncryptionTypes": {"EncryptionType": ["SSE-C"]}}]}
    s3.put_bucket_encryption(Bucket=bucket, ServerSideEncryptionConfiguration=blocked)
    assert refused(lambda: s3.put_object(Bucket=bucket, Key="k", **customer())) == "AccessDenied"
    assert body(s3, bucket, "k", **customer()) == LARGE


@pytest.mark.parametrize("source", ["s3", "kms", "customer"])
@pytest.mark.parametrize("target", ["s3", "kms", "customer"])
@pytest.mark.parametrize("data", [b"small", LARGE])
def test_copies_go_from_any_form_to_any(s3: Client, bucket: str, source: str, target: str, data: bytes) -> None:
    forms: dict[str, dict[str, Any]] = {
        "s3": {},
        "kms": {"ServerSideEncryption": "aws:kms"},
        "customer": customer(),
    }
    opening = customer() if source == "customer" else {}
    s3.put_object(Bucket=bucket, Key="a", Body=data, Metadata={"m": "1"}, **forms[source])
    of_source = {f"CopySource{name}": value for name, value in opening.items()}
    another = customer(b"d") if target == "customer" else forms[target]
    copied = s3.copy_object(Bucket=bucket, Key="b", CopySource=f"{bucket}/a", **of_source, **another)
    s3.delete_object(Bucket=bucket, Key="a")
    got = s3.get_object(Bucket=bucket, Key="b", **(customer(b"d") if target == "customer" else {}))
    assert got["Body"].read() == data and got["Metadata"] == {"m": "1"}
    assert got["ETag"] == copied["CopyObjectResult"]["ETag"]
    assert (got["ETag"] == md5(data)) is (target == "s3")
    assert got.get("ServerSideEncryption") == {"s3": "AES256", "kms": "aws:kms", "customer": None}[target]


@pytest.mark.parametrize("form", ["s3", "kms", "customer"])
def test_uploads_in_parts(s3: Client, bucket: str, form: str) -> None:
    about: dict[str, Any] = {"kms": {"ServerSideEncryption": "aws:kms"}, "customer": customer()}.get(form, {})
    with_key = customer() if form == "customer" else {}
    parts = [os.urandom(5 * MIB), os.urandom(5 * MIB + 77), b"tail"]
    s3.put_object(Bucket=bucket, Key="source", Body=parts[1], **customer(b"e"))
    of_source = {f"CopySource{name}": value for name, value in customer(b"e").items()}
    id = s3.create_multipart_upload(Bucket=bucket, Key="k", **about)["UploadId"]
    where = {"Bucket": bucket, "Key": "k", "UploadId": id}
    sent = [s3.upload_part(**where, PartNumber=1, Body=parts[0], **with_key)]
    sent.append(
        s3.upload_part_copy(**where, PartNumber=2, CopySource=f"{bucket}/source", **of_source, **with_key)[
            "CopyPartResult"
        ]
    )
    sent.append(s3.upload_part(**where, PartNumber=3, Body=parts[2], **with_key))
    assert (sent[0]["ETag"] == md5(parts[0])) is (form == "s3")
    if form == "customer":
        assert refused(lambda: s3.upload_part(**where, PartNumber=4, Body=b"x")) == "InvalidRequest"
        assert refused(lambda: s3.upload_part(**where, PartNumber=4, Body=b"x", **customer(b"d"))) == "InvalidRequest"
    else:
        assert refused(lambda: s3.upload_part(**where, PartNumber=4, Body=b"x", **customer())) == "InvalidRequest"
    listed = [{"PartNumber": number, "ETag": part["ETag"]} for number, part in enumerate(sent, 1)]
    done = s3.complete_multipart_upload(**where, MultipartUpload={"Parts": listed})
    assert done.get("ServerSideEncryption") == {"s3": "AES256", "kms": "aws:kms", "customer": None}[form]
    whole = b"".join(parts)
    assert body(s3, bucket, "k", **with_key) == whole
    start = len(parts[0]) - 3
    assert body(s3, bucket, "k", Range=f"bytes={start}-{start + 70_000}", **with_key) == whole[start : start + 70_001]
    assert body(s3, bucket, "k", PartNumber=3, **with_key) == b"tail"


def test_reading_needs_the_right_to_decrypt(s3: Client, kms: Client, client: MakeClient, bucket: str) -> None:
    iam = client("iam")
    iam.create_user(UserName="reader")
    keys = iam.create_access_key(UserName="reader")["AccessKey"]
    reader = client("s3", key=keys["AccessKeyId"], secret=keys["SecretAccessKey"])
    key = kms.create_key()["KeyMetadata"]["Arn"]

    def allow(*actions: str, **condition: Any) -> None:
        statement = {"Effect": "Allow", "Action": ["s3:*", *actions], "Resource": "*", **condition}
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        iam.put_user_policy(UserName="reader", PolicyName="p", PolicyDocument=policy)

    allow()
    about = {"Bucket": bucket, "Key": "k", "ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}
    s3.put_object(**about, Body=b"x")
    assert refused(lambda: body(reader, bucket, "k")) == "AccessDenied"
    assert refused(lambda: reader.put_object(**about, Body=b"y")) == "AccessDenied"
    allow("kms:GenerateDataKey")
    reader.put_object(**about, Body=b"y")
    assert refused(lambda: body(reader, bucket, "k")) == "AccessDenied"
    allow("kms:Decrypt")
    assert body(reader, bucket, "k") == b"y"
    arn = f"arn:aws:s3:::{bucket}/k"
    allow("kms:Decrypt", Condition={"StringEquals": {"kms:ViaService": "s3.us-east-1.amazonaws.com"}})
    assert refused(lambda: body(reader, bucket, "k")) == "AccessDenied"  # s3:* has no such key
    policy = {
        "Version": "2012-10-17",
        "Statement": [
            {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
            {
                "Effect": "Allow",
                "Action": "kms:Decrypt",
                "Resource": key,
                "Condition": {
                    "StringEquals": {
                        "kms:ViaService": "s3.us-east-1.amazonaws.com",
                        "kms:EncryptionContext:aws:s3:arn": arn,
                    }
                },
            },
        ],
    }
    iam.put_user_policy(UserName="reader", PolicyName="p", PolicyDocument=json.dumps(policy))
    assert body(reader, bucket, "k") == b"y"
    s3.copy_object(Bucket=bucket, Key="l", CopySource=f"{bucket}/k", ServerSideEncryption="aws:kms", SSEKMSKeyId=key)
    assert refused(lambda: body(reader, bucket, "l")) == "AccessDenied"


def test_a_bucket_policy_demands_encryption(s3: Client, bucket: str) -> None:
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:PutObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
        "Condition": {"StringNotEquals": {"s3:x-amz-server-side-encryption": "aws:kms"}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    s3.put_bucket_policy(Bucket=bucket, Policy=policy)
    assert refused(lambda: s3.put_object(Bucket=bucket, Key="k", Body=b"x")) == "AccessDenied"
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", ServerSideEncryption="aws:kms")


def test_a_customers_key_without_its_digest(s3: Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", **customer())

    def strip(params: Any, **_: Any) -> None:
        del params["headers"]["x-amz-server-side-encryption-customer-key-MD5"]

    for name in ("GetObject", "PutObject"):
        s3.meta.events.register_last(f"before-call.s3.{name}", strip)
    with pytest.raises(ClientError) as caught:
        s3.get_object(Bucket=bucket, Key="k", **customer())
    error = caught.value.response["Error"]
    assert error["Code"] == "AccessDenied" and "must provide the correct secret key" in error["Message"]
    with pytest.raises(ClientError) as caught:
        s3.put_object(Bucket=bucket, Key="k", Body=b"x", **customer())
    error = caught.value.response["Error"]
    assert (error["Code"], error["ArgumentName"]) == ("InvalidArgument", "x-amz-server-side-encryption")
