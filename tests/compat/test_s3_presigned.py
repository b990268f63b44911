"""Presigned URLs: what their query says in the place of headers, and what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import pytest
import requests
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials

from tests.compat.refused import refused
from tests.compat.s3_worlds import make_bucket
from tests.server import Server

Client = Any
EMPTY = "d41d8cd98f00b204e9800998ecf8427e"


@pytest.fixture
def s3(client: Callable[..., Client]) -> Client:
    return client("s3", config=Config(signature_version="s3v4"))


@pytest.fixture
def bucket(s3: Client) -> str:
    return make_bucket(s3)


def signed(s3: Client, server: Server, path: str, method: str = "PUT", **query: str) -> str:
    """A URL that is signed with parameters that boto3 would make headers."""
    request = AWSRequest(method=method, url=f"{server.endpoint}/{path}", params=query)
    S3SigV4QueryAuth(s3._request_signer._credentials, "s3", "us-east-1").add_auth(request)
    return str(request.url)


def code(answer: requests.Response) -> tuple[int, str]:
    found = re.search("<Code>(.*?)</Code>", answer.text)
    return answer.status_code, found[1] if found else ""


def test_conditions_in_the_url(s3: Client, server: Server, bucket: str) -> None:
    once = signed(s3, server, f"{bucket}/k", **{"If-None-Match": "*"})
    assert requests.put(once, timeout=60).status_code == 200
    assert code(requests.put(once, timeout=60)) == (412, "PreconditionFailed")
    s3.put_object(Bucket=bucket, Key="k", Body=b"other")
    match = signed(s3, server, f"{bucket}/k", **{"If-Match": EMPTY})
    assert code(requests.put(match, timeout=60)) == (412, "PreconditionFailed")


def test_headers_in_the_url(s3: Client, server: Server, bucket: str) -> None:
    wanted = {"x-amz-meta-who": "me", "x-amz-storage-class": "STANDARD_IA", "x-amz-checksum-crc32": "AAAAAA=="}
    url = signed(s3, server, f"{bucket}/k", **wanted)
    assert requests.put(url, data=b"some", timeout=60).status_code == 200
    head = s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (head["Metadata"], head["StorageClass"]) == ({"who": "me"}, "STANDARD_IA")
    assert "ChecksumCRC32" not in head  # clients compute it of nothing when they sign
    copied = signed(s3, server, f"{bucket}/l", **{"x-amz-copy-source": f"{bucket}/k"})
    assert "<CopyObjectResult" in requests.put(copied, timeout=60).text
    assert s3.head_object(Bucket=bucket, Key="l")["Metadata"] == {"who": "me"}
    nameless = signed(s3, server, f"{bucket}/m", **{"x-amz-copy-source": f"{bucket}/k?versionId="})
    assert "<Message>Version id cannot be the empty string</Message>" in requests.put(nameless, timeout=10).text


def test_metadata_in_an_older_url(client: Callable[..., Client], s3: Client, bucket: str) -> None:
    older = client("s3", config=Config(signature_version="s3"))
    url = older.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k", "Metadata": {"who": "me"}})
    assert requests.put(url, data=b"some", timeout=60).status_code == 200
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == {"who": "me"}
    more = requests.put(url, data=b"some", headers={"x-amz-meta-more": "x"}, timeout=60)
    assert code(more) == (403, "SignatureDoesNotMatch")


def test_older_signatures_in_regions_that_are_newer(client: Callable[..., Client], bucket: str) -> None:
    older = client("s3", config=Config(signature_version="s3"))
    for region, status in (("eu-west-1", 200), ("eu-central-1", 400)):
        name = f"{bucket}-{region}"
        older.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": region})
        client("s3").put_object(Bucket=name, Key="k", Body=b"some")
        read = requests.get(older.generate_presigned_url("get_object", Params={"Bucket": name, "Key": "k"}), timeout=10)
        form = older.generate_presigned_post(name, "l")
        sent = requests.post(form["url"], data=form["fields"], files={"file": b"some"}, timeout=10)
        assert (read.status_code, sent.status_code) == (status, {200: 204}.get(status, status))
    for answer in (read, sent):
        assert code(answer) == (400, "InvalidRequest")
        assert "mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256." in answer.text
    with refused("InvalidRequest"):
        older.list_objects_v2(Bucket=name)


@pytest.mark.parametrize(
    ("version", "left", "told"),
    [("s3", "Expires", (403, "AccessDenied")), ("s3v4", "X-Amz-Date", (400, "AuthorizationQueryParametersError"))],
)
def test_what_a_url_lacks(
    client: Callable[..., Client], bucket: str, version: str, left: str, told: tuple[int, str]
) -> None:
    signer = client("s3", config=Config(signature_version=version))
    parts = urlsplit(signer.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"}))
    query = urlencode([pair for pair in parse_qsl(parts.query) if pair[0] != left])
    assert code(requests.get(urlunsplit(parts._replace(query=query)), timeout=60)) == told


def test_headers_that_are_not_signed(s3: Client, bucket: str) -> None:
    url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k"})
    for hash in ("UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "0" * 64):
        answer = requests.put(url, data=b"some", headers={"x-amz-content-sha256": hash}, timeout=60)
        assert answer.status_code == 200
        assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"some"
    answer = requests.put(url, data=b"some", headers={"x-amz-user-agent": "me"}, timeout=60)
    assert code(answer) == (403, "AccessDenied")


@pytest.mark.parametrize("given", [b"caf\xe9", "caf\u00e9 \u2014".encode()])
def test_headers_come_back_byte_by_byte(s3: Client, bucket: str, given: bytes) -> None:
    url = s3.generate_presigned_url("put_object", Params={"Bucket": bucket, "Key": "k"})
    assert requests.put(url, data=b"some", headers={"Cache-Control": given}, timeout=60).status_code == 200
    url = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    assert requests.get(url, timeout=60).headers["Cache-Control"].encode("latin-1") == given
    url = s3.generate_presigned_url(
        "get_object", Params={"Bucket": bucket, "Key": "k", "ResponseCacheControl": "\u00e9"}
    )
    assert requests.get(url, timeout=60).headers["Cache-Control"] == "\u00e9"


def test_no_region_in_particular_is_none_to_sign_for(
    s3: Client, client: Callable[..., Client], bucket: str, account: str
) -> None:
    assert client("s3", region="aws-global").head_bucket(Bucket=bucket)["BucketRegion"] == "us-east-1"
    keys, url = Credentials(account, "test"), f"{s3.meta.endpoint_url}/{bucket}"
    request = AWSRequest("PUT", url, headers={"x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
    S3SigV4Auth(keys, "s3", "aws-global").add_auth(request)
    answer = requests.put(request.url, headers=dict(request.headers.items()), timeout=60)
    assert code(answer) == (400, "AuthorizationHeaderMalformed")
    assert "the region 'aws-global' is wrong; expecting 'us-east-1'" in answer.text
    assert "<Region>us-east-1</Region>" in answer.text
    request = AWSRequest("GET", url)
    S3SigV4QueryAuth(keys, "s3", "aws-global").add_auth(request)
    assert code(requests.get(request.url, timeout=60)) == (400, "AuthorizationQueryParametersError")


def test_answers_that_no_header_can_say(s3: Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k")
    wanted = {"Bucket": bucket, "Key": "k", "ResponseCacheControl": "a — b"}
    answer = requests.get(s3.generate_presigned_url("get_object", Params=wanted), timeout=60)
    assert code(answer) == (400, "InvalidArgument")
    assert "<ArgumentName>response-cache-control</ArgumentName>" in answer.text
