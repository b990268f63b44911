"""Requester pays: whoever is not the owner says that they pay, and hears that they do."""

from __future__ import annotations

import json
from typing import Any

import pytest
import requests

from tests.compat.conftest import new_client
from tests.compat.refused import refused
from tests.compat.s3_worlds import error_of, make_bucket
from tests.server import Server

pytestmark = pytest.mark.embedded
OWNER, OTHER = "430000000000", "440000000000"


@pytest.fixture
def bucket(server: Server) -> str:
    owner = new_client(server.endpoint, "s3", OWNER)
    bucket = make_bucket(owner)
    owner.delete_public_access_block(Bucket=bucket)
    arn = f"arn:aws:s3:::{bucket}"
    allow = {"Effect": "Allow", "Principal": "*", "Action": "s3:*", "Resource": [arn, f"{arn}/*"]}
    owner.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allow]}))
    owner.put_object(Bucket=bucket, Key="k", Body=b"x")
    owner.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration={"Payer": "Requester"})
    return bucket


def test_the_requester_says_so(server: Server, bucket: str) -> None:
    other = new_client(server.endpoint, "s3", OTHER)
    mine = make_bucket(other)
    calls: list[tuple[Any, dict[str, Any]]] = [
        (other.get_object, {"Key": "k"}),
        (other.head_object, {"Key": "k"}),
        (other.list_objects_v2, {}),
        (other.list_object_versions, {}),
        (other.put_object, {"Key": "new", "Body": b"x"}),
        (other.delete_object, {"Key": "new"}),
    ]
    for call, more in calls:
        assert error_of(call, Bucket=bucket, **more)["Status"] == 403
        assert call(Bucket=bucket, **more, RequestPayer="requester")["RequestCharged"] == "requester"
    source = {"Bucket": bucket, "Key": "k"}
    with refused("AccessDenied"):
        other.copy_object(Bucket=mine, Key="copy", CopySource=source)
    other.copy_object(Bucket=mine, Key="copy", CopySource=source, RequestPayer="requester")
    # What cannot be charged is as it was.
    assert other.get_bucket_versioning(Bucket=bucket).get("Status") is None


def test_the_owner_need_not_and_nobody_cannot(server: Server, bucket: str) -> None:
    owner = new_client(server.endpoint, "s3", OWNER)
    assert "RequestCharged" not in owner.get_object(Bucket=bucket, Key="k")
    url = f"{server.endpoint}/{bucket}/k"
    assert requests.get(url, timeout=10).status_code == 403
    assert requests.get(url, headers={"x-amz-request-payer": "requester"}, timeout=10).status_code == 403
    owner.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration={"Payer": "BucketOwner"})
    assert requests.get(url, timeout=10).status_code == 200
