"""Bodies that stream: every encoding into a started server and out again, and clients that leave half way."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import os
import socket
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from botocore import UNSIGNED, auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from backends import checksum
from tests.peer import Peer, code, peer
from tests.server import Server

pytestmark = pytest.mark.embedded
Client = Any
MIB = 1 << 20
ALGORITHMS = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]
CONTENT = os.urandom(3 * MIB + 12345)


@pytest.fixture
def bucket(account: str) -> str:
    return f"streams-{account}"


@pytest.fixture
def s3(client: Callable[..., Client], bucket: str) -> Client:
    made = client("s3")
    made.create_bucket(Bucket=bucket)
    return made


class Signed:
    """A request that is signed here, chunk by chunk where it is to be."""

    def __init__(
        self, server: Server, account: str, method: str, path: str, payload: str, headers: dict[str, str] | None = None
    ) -> None:
        url = f"http://127.0.0.1:{server.port}{path}"
        request = AWSRequest(method, url, {"X-Amz-Content-SHA256": payload, **(headers or {})}, b"")
        signer = auth.SigV4Auth(Credentials(account, "test"), "s3", "us-east-1")
        signer._normalize_url_path = lambda path: path  # type: ignore[method-assign]
        signer.add_auth(request)
        parts = urlsplit(request.url)
        lines = [f"{method} {parts.path}{'?' + parts.query if parts.query else ''} HTTP/1.1", f"Host: {parts.netloc}"]
        self.head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in request.headers.items())]).encode()
        self.signature = request.headers["Authorization"][-64:]
        self.stamp = request.headers["X-Amz-Date"]
        self.scope = f"{self.stamp[:8]}/us-east-1/s3/aws4_request"
        key = b"AWS4test"
        for part in self.scope.split("/"):
            key = hmac.new(key, part.encode(), "sha256").digest()
        self.key = key

    def _seal(self, kind: str, *lines: str) -> str:
        to_sign = "\n".join([f"AWS4-HMAC-SHA256-{kind}", self.stamp, self.scope, self.signature, *lines])
        self.signature = hmac.new(self.key, to_sign.encode(), "sha256").hexdigest()
        return self.signature

    def chunks(self, content: bytes, size: int, trailers: dict[str, str] | None = None) -> bytes:
        out = []
        empty = hashlib.sha256(b"").hexdigest()
        for at in [*range(0, len(content), size), len(content)]:
            chunk = content[at : at + size]
            seal = self._seal("PAYLOAD", empty, hashlib.sha256(chunk).hexdigest())
            out.append(f"{len(chunk):x};chunk-signature={seal}\r\n".encode() + chunk)
            if chunk or trailers is None:
                out.append(b"\r\n")
        if trailers is not None:
            lines = "".join(f"{name}:{value}\n" for name, value in trailers.items()).encode()
            seal = self._seal("TRAILER", hashlib.sha256(lines).hexdigest())
            out.append(lines.replace(b"\n", b"\r\n") + f"x-amz-trailer-signature:{seal}\r\n\r\n".encode())
        return b"".join(out)


def put(
    server: Server, account: str, path: str, form: str, length: int, headers: dict[str, str] | None = None
) -> Signed:
    about = {"x-amz-decoded-content-length": str(length), "content-encoding": "aws-chunked", **(headers or {})}
    return Signed(server, account, "PUT", path, form, about)


def test_boto3_with_every_checksum(s3: Client, bucket: str) -> None:
    for algorithm in ALGORITHMS:
        for body in (CONTENT[:1000], CONTENT, io.BytesIO(CONTENT)):
            answer = s3.put_object(Bucket=bucket, Key="k", Body=body, ChecksumAlgorithm=algorithm)
            size = 1000 if body == CONTENT[:1000] else len(CONTENT)
            assert answer[f"Checksum{algorithm}"] == checksum.encode(checksum.of(algorithm, CONTENT[:size]))
            stored = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
            assert stored["Body"].read() == CONTENT[:size]
            assert stored[f"Checksum{algorithm}"] == answer[f"Checksum{algorithm}"]
        wrong = {f"Checksum{algorithm}": checksum.encode(checksum.of(algorithm, b"other"))}
        with pytest.raises(ClientError) as caught:
            s3.put_object(Bucket=bucket, Key="k", Body=b"abc", **wrong)
        assert caught.value.response["Error"]["Code"] == "BadDigest"


def test_presigned_uploads_and_downloads(
    client: Callable[..., Client], s3: Client, bucket: str, server: Server
) -> None:
    for version in ("s3v4", "s3"):
        signer = client("s3", config=Config(signature_version=version))
        for key in ("a b+ü/c", "plain"):
            for method, status in (("put_object", 200), ("get_object", 200), ("delete_object", 204)):
                url = urlsplit(signer.generate_presigned_url(method, Params={"Bucket": bucket, "Key": key}))
                verb = {"put": "PUT", "get": "GET", "delete": "DELETE"}[method.split("_")[0]]
                content = b"content" if verb == "PUT" else b""
                with peer(server) as plain:
                    head = f"{verb} {url.path}?{url.query} HTTP/1.1\r\nHost: {url.netloc}\r\n"
                    plain.send(head.encode() + b"Content-Length: %d\r\n\r\n" % len(content) + content)
                    answer = plain.answer()
                assert answer[0] == status, answer
                if verb == "GET":
                    assert answer[2] == b"content"


@pytest.mark.parametrize("size", [8192, 65536, 100_000, 2 * MIB])
def test_signed_chunks(server: Server, account: str, s3: Client, bucket: str, size: int) -> None:
    with peer(server) as client:
        for content in (CONTENT, b"", b"x"):
            request = put(server, account, f"/{bucket}/k", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", len(content))
            body = request.chunks(content, size)
            client.send(request.head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            assert client.answer()[0] == 200
            stored = s3.get_object(Bucket=bucket, Key="k")
            assert stored["Body"].read() == content
            assert "ContentEncoding" not in stored


def test_signed_trailers(server: Server, account: str, s3: Client, bucket: str) -> None:
    form = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
    for algorithm in ALGORITHMS:
        name = f"x-amz-checksum-{algorithm.lower()}"
        right, wrong = (checksum.encode(checksum.of(algorithm, data)) for data in (CONTENT, b""))
        with peer(server) as client:
            request = put(server, account, f"/{bucket}/k", form, len(CONTENT), {"x-amz-trailer": name})
            body = request.chunks(CONTENT, 65536, {name: right})
            client.send(request.head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            status, headers, _ = client.answer()
            assert (status, headers[name]) == (200, right)
            request = put(server, account, f"/{bucket}/k", form, len(CONTENT), {"x-amz-trailer": name})
            body = request.chunks(CONTENT, 65536, {name: wrong})
            client.send(request.head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            status, _, content = client.answer()
            assert (status, code(content)) == (400, "BadDigest")


def test_unsigned_trailers_in_a_body_of_unknown_length(server: Server, account: str, s3: Client, bucket: str) -> None:
    name, value = "x-amz-checksum-crc64nvme", checksum.encode(checksum.of("CRC64NVME", CONTENT))
    request = put(
        server, account, f"/{bucket}/k", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", len(CONTENT), {"x-amz-trailer": name}
    )
    body = f"{len(CONTENT):x}\r\n".encode() + CONTENT + f"\r\n0\r\n{name}:{value}\r\n\r\n".encode()
    with peer(server) as client:
        client.send(request.head + b"\r\nTransfer-Encoding: chunked\r\n\r\n")
        for at in range(0, len(body), 100_000):
            part = body[at : at + 100_000]
            client.send(b"%x\r\n" % len(part) + part + b"\r\n")
        client.send(b"0\r\n\r\n")
        assert client.answer()[0] == 200
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == CONTENT


def spoil(request: Signed, body: bytes, at: int) -> bytes:
    return request.head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:at] + b"?" + body[at + 1 :]


@pytest.mark.parametrize(
    "body",
    [
        b"x\r\nabc\r\n0\r\nx-amz-checksum-crc32:NSRBwg==\r\n\r\n",
        b"2\r\nabc\r\n0\r\nx-amz-checksum-crc32:NSRBwg==\r\n\r\n",
        b"3abc\r\n0\r\nx-amz-checksum-crc32:NSRBwg==\r\n\r\n",
        b"3\r\nabc0\r\nx-amz-checksum-crc32:NSRBwg==\r\n\r\n",
        b"3\r\nabc\r\n",
    ],
)
def test_chunks_that_are_none(server: Server, account: str, s3: Client, bucket: str, body: bytes) -> None:
    with peer(server) as client:
        more = {"x-amz-trailer": "x-amz-checksum-crc32"}
        request = put(server, account, f"/{bucket}/none", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", 3, more)
        client.send(request.head + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        status, _, content = client.answer()
    assert (status, code(content)) == (400, "IncompleteBody")
    assert b"<Message>The request body terminated unexpectedly</Message>" in content
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_what_is_spoilt_is_not_kept(server: Server, account: str, s3: Client, bucket: str) -> None:
    for at in (100, 70_000, -100_000):
        with peer(server) as client:
            request = put(server, account, f"/{bucket}/spoilt", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", len(CONTENT))
            body = request.chunks(CONTENT, 65536)
            client.send(spoil(request, body, at % len(body)))
            status, _, content = client.answer()
            assert (status, code(content)) in ((403, "SignatureDoesNotMatch"), (400, "IncompleteBody"))
    with peer(server) as client:
        digest = hashlib.sha256(CONTENT).hexdigest()
        request = Signed(server, account, "PUT", f"/{bucket}/spoilt", digest)
        client.send(spoil(request, CONTENT, 5))
        status, _, content = client.answer()
        assert (status, code(content)) == (400, "XAmzContentSHA256Mismatch")
        request = put(server, account, f"/{bucket}/spoilt", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", 5)
        client.send(request.head + b"\r\nContent-Length: 13\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        status, _, content = client.answer()
        assert (status, code(content)) == (400, "IncompleteBody")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_a_client_that_leaves_half_way_leaves_nothing(server: Server, account: str, s3: Client, bucket: str) -> None:
    for length in (100, 200_000, 10 * MIB):
        with peer(server) as client:
            request = Signed(server, account, "PUT", f"/{bucket}/half", "UNSIGNED-PAYLOAD")
            client.send(request.head + b"\r\nContent-Length: %d\r\n\r\n" % length + bytes(length // 2))
    s3.put_object(Bucket=bucket, Key="whole", Body=b"x")
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["whole"]


def test_nobody_uploads_where_everybody_may(client: Callable[..., Client], s3: Client, bucket: str) -> None:
    nobody = client("s3", config=Config(signature_version=UNSIGNED))
    with pytest.raises(ClientError) as caught:
        nobody.put_object(Bucket=bucket, Key="k", Body=b"abc")
    assert caught.value.response["Error"]["Code"] == "AccessDenied"
    s3.delete_public_access_block(Bucket=bucket)
    resource = f"arn:aws:s3:::{bucket}/*"
    statement = {"Effect": "Allow", "Principal": "*", "Action": ["s3:PutObject", "s3:GetObject"], "Resource": resource}
    s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    for body in (b"abc", CONTENT):
        nobody.put_object(Bucket=bucket, Key="k", Body=body, ChecksumAlgorithm="SHA256")
        assert nobody.get_object(Bucket=bucket, Key="k")["Body"].read() == body


@pytest.mark.parametrize("length", [100, 3 * MIB])
def test_expect(server: Server, account: str, s3: Client, bucket: str, length: int) -> None:
    with peer(server) as client:
        for _ in range(2):
            request = Signed(server, account, "PUT", f"/{bucket}/k", "UNSIGNED-PAYLOAD")
            client.send(request.head + b"\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % length)
            assert client.answer()[0] == 100
            client.send(bytes(length))
            assert client.answer()[0] == 200
        request = Signed(server, account, "PUT", f"/{bucket}-other/k", "UNSIGNED-PAYLOAD")
        client.send(request.head + b"\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % length)
        status, headers, content = client.answer()
        if status == 100:  # a small body may be asked for before the handler runs
            client.send(bytes(length))
            status, headers, content = client.answer()
        assert (status, code(content)) == (404, "NoSuchBucket")


def test_a_length_is_needed(server: Server, account: str, s3: Client, bucket: str) -> None:
    with peer(server) as client:
        client.send(Signed(server, account, "PUT", f"/{bucket}/k", "UNSIGNED-PAYLOAD").head + b"\r\n\r\n")
        status, _, content = client.answer()
        assert (status, code(content)) == (411, "MissingContentLength")
        request = Signed(server, account, "PUT", f"/{bucket}/k", "UNSIGNED-PAYLOAD")
        client.send(request.head + b"\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        status, _, content = client.answer()
        assert (status, code(content)) == (501, "NotImplemented")


def test_downloads_in_parts_and_whole(server: Server, account: str, s3: Client, bucket: str) -> None:
    content = os.urandom(9 * MIB + 17)
    s3.put_object(Bucket=bucket, Key="k", Body=content)
    with peer(server) as client:
        for first, last in ((0, 0), (1, MIB), (MIB, 8 * MIB), (9 * MIB, 9 * MIB + 16), (0, 9 * MIB + 16)):
            request = Signed(server, account, "GET", f"/{bucket}/k", "UNSIGNED-PAYLOAD")
            client.send(request.head + f"\r\nRange: bytes={first}-{last}\r\n\r\n".encode())
            status, headers, body = client.answer()
            assert (status, headers["content-range"]) == (206, f"bytes {first}-{last}/{len(content)}")
            assert body == content[first : last + 1]
        client.send(Signed(server, account, "HEAD", f"/{bucket}/k", "UNSIGNED-PAYLOAD").head + b"\r\n\r\n")
        assert client.answer(body=False)[1]["content-length"] == str(len(content))
        client.send(Signed(server, account, "GET", f"/{bucket}/k", "UNSIGNED-PAYLOAD").head + b"\r\n\r\n")
        assert client.answer()[2] == content


def test_a_client_that_stops_reading_does_no_harm(server: Server, account: str, s3: Client, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=bytes(64 * MIB))
    peers = [Peer(server.port) for _ in range(8)]
    for client in peers:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.send(Signed(server, account, "GET", f"/{bucket}/k", "UNSIGNED-PAYLOAD").head + b"\r\n\r\n")
        assert client.socket.recv(1000).startswith(b"HTTP/1.1 200")
    # Eight downloads stand still; others go on.
    assert s3.get_object(Bucket=bucket, Key="k", Range="bytes=5-9")["Body"].read() == bytes(5)
    for client in peers[:4]:
        client.socket.close()
    for client in peers[4:]:
        left = 64 * MIB - 5000
        while left > 0 and (data := client.socket.recv(MIB)):
            left -= len(data)
        assert left <= 0
        client.socket.close()
    assert s3.head_object(Bucket=bucket, Key="k")["ContentLength"] == 64 * MIB
