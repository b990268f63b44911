"""UpdateObjectEncryption: the same object under another KMS key."""

from __future__ import annotations

import pytest

from tests.compat.conftest import new_client
from tests.compat.refused import refused
from tests.compat.s3_worlds import make_bucket
from tests.server import Server

pytestmark = pytest.mark.embedded
ACCOUNT = "500000000001"


def test_an_object_gets_another_key(server: Server) -> None:
    s3, kms = (new_client(server.endpoint, name, ACCOUNT) for name in ("s3", "kms"))
    arns = [kms.create_key()["KeyMetadata"]["Arn"] for _ in range(2)]
    bucket = make_bucket(s3)
    body = b"x" * 100_000
    before = s3.put_object(Bucket=bucket, Key="k", Body=body)
    for arn in arns:
        s3.update_object_encryption(
            Bucket=bucket, Key="k", ObjectEncryption={"SSEKMS": {"KMSKeyArn": arn, "BucketKeyEnabled": True}}
        )
        found = s3.get_object(Bucket=bucket, Key="k")
        assert found["Body"].read() == body
        assert (found["ServerSideEncryption"], found["SSEKMSKeyId"]) == ("aws:kms", arn)
        assert found["ETag"] == before["ETag"]
    kms.disable_key(KeyId=arns[0])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == body
    kms.disable_key(KeyId=arns[1])
    with refused("KMS.DisabledException"):
        s3.get_object(Bucket=bucket, Key="k")


def test_what_cannot_be_changed(server: Server) -> None:
    s3, kms = (new_client(server.endpoint, name, ACCOUNT) for name in ("s3", "kms"))
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    bucket = make_bucket(s3)
    wanted = {"SSEKMS": {"KMSKeyArn": arn}}
    with refused("NoSuchKey"):
        s3.update_object_encryption(Bucket=bucket, Key="gone", ObjectEncryption=wanted)
    s3.put_object(Bucket=bucket, Key="own", Body=b"x", SSECustomerAlgorithm="AES256", SSECustomerKey=b"k" * 32)
    with refused("InvalidRequest"):
        s3.update_object_encryption(Bucket=bucket, Key="own", ObjectEncryption=wanted)
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    with refused("InvalidRequest"):
        s3.update_object_encryption(
            Bucket=bucket, Key="k", ObjectEncryption={"SSEKMS": {"KMSKeyArn": "alias/some-alias-of-a-key"}}
        )
