"""What the tests of S3 share: a fresh bucket, and how errors look."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from botocore.exceptions import ClientError

Client = Any


def bucket_name() -> str:
    return f"test-{secrets.token_hex(10)}"


def make_bucket(s3: Client, **options: Any) -> str:
    """A new bucket in us-east-1; its name."""
    name = bucket_name()
    s3.create_bucket(Bucket=name, **options)
    return name


def error_of(call: Any, **params: Any) -> dict[str, Any]:
    """The error that a call must end with: its members, `Status` and `Headers`."""
    with pytest.raises(ClientError) as caught:
        call(**params)
    answer = caught.value.response
    about = answer["ResponseMetadata"]
    return {**answer["Error"], "Status": about["HTTPStatusCode"], "Headers": about["HTTPHeaders"]}


def code_of(call: Any, **params: Any) -> str:
    """The code of the error that a call must end with."""
    return str(error_of(call, **params)["Code"])


def fill(s3: Client, bucket: str, *keys: str, body: bytes = b"x") -> None:
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=body)
