"""Form uploads as a browser makes them, with boto3's presigned posts, against a started server."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import requests
from botocore.config import Config

Client = Callable[..., Any]


@pytest.fixture
def bucket(client: Client, account: str) -> str:
    name = f"forms-{account}"
    client("s3").create_bucket(Bucket=name)
    return name


def test_a_presigned_form_stores_its_file(client: Client, bucket: str) -> None:
    s3 = client("s3")
    fields = {"Content-Type": "text/plain", "x-amz-meta-colour": "red", "success_action_status": "201"}
    conditions = [{"Content-Type": "text/plain"}, {"x-amz-meta-colour": "red"}, {"success_action_status": "201"}]
    form = s3.generate_presigned_post(bucket, "in/${filename}", Fields=fields, Conditions=conditions)
    answer = requests.post(form["url"], data=form["fields"], files={"file": ("a b.txt", b"hello")}, timeout=60)
    assert answer.status_code == 201, answer.text
    assert f"<Bucket>{bucket}</Bucket><Key>in/a b.txt</Key>" in answer.text
    found = s3.get_object(Bucket=bucket, Key="in/a b.txt")
    assert found["Body"].read() == b"hello"
    assert found["ContentType"] == "text/plain" and found["Metadata"] == {"colour": "red"}


def test_a_large_file_streams(client: Client, bucket: str) -> None:
    s3, body = client("s3"), bytes(range(256)) * 40_000
    form = s3.generate_presigned_post(bucket, "large", Conditions=[["content-length-range", 1, len(body)]])
    answer = requests.post(form["url"], data=form["fields"], files={"file": ("f", body)}, timeout=60)
    assert answer.status_code == 204, answer.text
    assert s3.get_object(Bucket=bucket, Key="large")["Body"].read() == body


@pytest.mark.parametrize(
    ("size", "code"), [(2, "EntityTooSmall"), (2000, "EntityTooLarge"), (200_000, "EntityTooLarge")]
)
def test_the_size_range_is_kept(client: Client, bucket: str, size: int, code: str) -> None:
    s3 = client("s3")
    form = s3.generate_presigned_post(bucket, "ranged", Conditions=[["content-length-range", 10, 1000]])
    answer = requests.post(form["url"], data=form["fields"], files={"file": ("f", b"x" * size)}, timeout=60)
    assert answer.status_code == 400 and f"<Code>{code}</Code>" in answer.text
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


def test_a_field_that_the_policy_does_not_know_is_refused(client: Client, bucket: str) -> None:
    form = client("s3").generate_presigned_post(bucket, "key")
    fields = {**form["fields"], "x-amz-meta-sly": "yes"}
    answer = requests.post(form["url"], data=fields, files={"file": ("f", b"x")}, timeout=60)
    assert answer.status_code == 403 and "Extra input fields: x-amz-meta-sly" in answer.text


def test_a_changed_key_and_a_changed_signature_are_refused(client: Client, bucket: str) -> None:
    form = client("s3", config=Config(signature_version="s3v4")).generate_presigned_post(bucket, "key")
    other = {**form["fields"], "key": "other"}
    answer = requests.post(form["url"], data=other, files={"file": ("f", b"x")}, timeout=60)
    assert answer.status_code == 403 and "Policy Condition failed" in answer.text
    forged = {**form["fields"], "x-amz-signature": "0" * 64}
    answer = requests.post(form["url"], data=forged, files={"file": ("f", b"x")}, timeout=60)
    assert answer.status_code == 403 and "SignatureDoesNotMatch" in answer.text


def test_an_anonymous_form_is_denied_by_a_private_bucket(client: Client, bucket: str, endpoint: str) -> None:
    answer = requests.post(f"{endpoint}/{bucket}", data={"key": "k"}, files={"file": ("f", b"x")}, timeout=60)
    assert answer.status_code == 403 and "AccessDenied" in answer.text


def test_a_redirection_tells_where_and_cannot_break_a_header(client: Client, bucket: str) -> None:
    target = "http://example.test/done\r\nset-cookie: x"
    fields = {"success_action_redirect": target}
    form = client("s3").generate_presigned_post(bucket, "key", Fields=fields, Conditions=[fields])
    answer = requests.post(
        form["url"], data=form["fields"], files={"file": ("f", b"x")}, timeout=30, allow_redirects=False
    )
    assert answer.status_code == 303, answer.text
    assert answer.headers["location"].startswith("http://example.test/done%0D%0Aset-cookie:%20x?bucket=")
    assert "set-cookie" not in answer.headers
