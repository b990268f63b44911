"""Requests that no sensible client sends: refused as S3 refuses them, never with a 500."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
import requests
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.compat.s3_worlds import make_bucket

LONG = "9" * 5000
QUERIES = [
    "list-type=2&max-keys=" + LONG,
    "list-type=2&max-keys=-1",
    "list-type=2&max-keys=x",
    "list-type=2&continuation-token=%FF",
    "list-type=2&prefix=%00%FF",
    "list-type=2&delimiter=%00&prefix=" + "p" * 2000,
    "versions&key-marker=k&version-id-marker=gAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "versions&key-marker=k&version-id-marker=%00",
    "uploads&key-marker=k&upload-id-marker=%00",
    "uploads&max-uploads=" + LONG,
]
KEYED = [
    "versionId=gAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "versionId=",
    "versionId=%00",
    "partNumber=0",
    "partNumber=" + LONG,
    "uploadId=%00",
    "uploadId=none&part-number-marker=" + LONG,
    "uploadId=none&max-parts=-5",
    "tagging&versionId=x",
    "acl&versionId=x",
]
HEADERS = [
    {"Range": f"bytes=0-{LONG}"},
    {"Range": f"bytes=-{LONG}"},
    {"Range": "bytes=٣-٤"},
    {"If-Match": '"' * 100},
    {"If-Modified-Since": "yesterday"},
    {"x-amz-expected-bucket-owner": "\xff"},
    {"x-amz-checksum-mode": "\xff"},
]
PUTS = [
    {"x-amz-copy-source": "%"},
    {"x-amz-copy-source": "/"},
    {"x-amz-copy-source": "b/%00%FF?versionId=%00"},
    {"x-amz-tagging": "%00=&=&a"},
    {"x-amz-acl": "everybody"},
    {"x-amz-grant-read": "id"},
    {"x-amz-storage-class": "\xff"},
    {"x-amz-checksum-crc32": "x"},
    {"x-amz-checksum-algorithm": "MD6"},
    {"x-amz-object-lock-mode": "GOVERNANCE"},
    {"x-amz-server-side-encryption": "ROT13"},
    {"x-amz-server-side-encryption-customer-algorithm": "AES256"},
    {"x-amz-website-redirect-location": "ftp://x"},
    {"If-None-Match": "abc"},
    {"If-Match": "a", "If-None-Match": "*"},
]
DOCUMENTS = [
    "versioning", "cors", "website", "lifecycle", "encryption", "tagging", "logging", "replication", "policy", "acl",
    "ownershipControls", "publicAccessBlock", "object-lock", "accelerate", "requestPayment", "notification",
    "inventory&id=x", "analytics&id=x", "metrics&id=x", "intelligent-tiering&id=x",
]  # fmt: skip
BODIES = [
    b"",
    b"x",
    b"<x/>",
    b"<a><b>",
    b"\xff\xfe",
    b"{}",
    b"[1]",
    b"null",
    b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>',
]


@pytest.fixture
def send(server: Any, account: str) -> Callable[..., requests.Response]:
    session = requests.Session()

    def send(method: str, path: str, headers: dict[str, str] | None = None, body: bytes = b"") -> requests.Response:
        encoded = {name: value.encode() for name, value in (headers or {}).items()}
        request = AWSRequest(method=method, url=server.endpoint + path, data=body)
        S3SigV4Auth(Credentials(account, "test"), "s3", "us-east-1").add_auth(request)
        signed = {name: value.encode() for name, value in request.headers.items()} | encoded
        prepared = requests.Request(method, server.endpoint, headers=signed, data=body).prepare()
        prepared.url = server.endpoint + path
        return session.send(prepared, timeout=60)

    return send


@pytest.fixture
def bucket(client: Callable[..., Any]) -> str:
    s3 = client("s3")
    name = make_bucket(s3)
    s3.put_object(Bucket=name, Key="k", Body=b"0123456789")
    return name


def test_reads(send: Callable[..., requests.Response], bucket: str) -> None:
    sent = [("GET", f"/{bucket}?{query}", {}) for query in QUERIES]
    sent += [(method, f"/{bucket}/k?{query}", {}) for query in KEYED for method in ("GET", "DELETE")]
    sent += [(method, f"/{bucket}/k", headers) for headers in HEADERS for method in ("GET", "HEAD")]
    sent += [("GET", "/?max-buckets=0", {}), ("GET", "/?continuation-token=AA%3D%3D", {}), ("GET", "/?prefix=%00", {})]
    sent += [("GET", f"/{quote('a' + chr(0))}", {}), ("HEAD", "/%FF%FE", {}), ("GET", f"/{bucket}/%00", {})]
    answered = {(method, path, str(headers)): send(method, path, headers).status_code for method, path, headers in sent}
    assert {one: status for one, status in answered.items() if status >= 500 and status != 501} == {}


def test_writes(send: Callable[..., requests.Response], bucket: str) -> None:
    answered = {str(headers): send("PUT", f"/{bucket}/new", headers, b"x") for headers in PUTS}
    assert {one: answer.text for one, answer in answered.items() if answer.status_code == 500} == {}
    for answer in answered.values():
        assert answer.status_code >= 400 or answer.status_code == 200


def test_documents(send: Callable[..., requests.Response], bucket: str) -> None:
    for name in DOCUMENTS:
        for body in BODIES:
            answer = send("PUT", f"/{bucket}?{name}", {}, body)
            assert answer.status_code < 500 or answer.status_code == 501, (name, body, answer.text)
    for query in ("delete", "uploads", "uploadId=x"):
        for body in BODIES:
            path = f"/{bucket}?{query}" if query == "delete" else f"/{bucket}/k?{query}"
            answer = send("POST", path, {}, body)
            assert answer.status_code < 500, (query, body, answer.text)
