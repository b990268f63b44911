"""Connections, byte by byte: keep-alive, `Expect`, clients that leave, heads that are too large, what is no HTTP."""

from __future__ import annotations

import random
import socket

import pytest

from tests.compat.conftest import new_client
from tests.compat.s3_worlds import make_bucket
from tests.peer import code, peer
from tests.server import Server

pytestmark = pytest.mark.embedded
REFUSED_GET = b"GET /bucket/key HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\r\n"
REFUSED_PUT = b"PUT /bucket/key HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\nContent-Length: %d\r\n"
REFUSAL = (400, "InvalidArgument")


def test_a_connection_serves_many_requests(server: Server) -> None:
    with peer(server) as client:
        for _ in range(3):
            client.send(REFUSED_GET)
            status, headers, content = client.answer()
            assert (status, code(content)) == REFUSAL
            assert "connection" not in headers
        client.send(REFUSED_GET[:-2] + b"Connection: close\r\n\r\n")
        client.answer()
        assert client.is_closed()


def test_requests_sent_at_once_are_answered_in_order(server: Server) -> None:
    with peer(server) as client:
        client.send(REFUSED_GET + REFUSED_PUT % 3 + b"\r\nabc" + REFUSED_GET)
        assert [client.answer()[0] for _ in range(3)] == [400] * 3


@pytest.mark.parametrize("rest", [b"r", b"\x00\x01 nonsense\r\n\r\n"])
def test_what_follows_a_whole_request_is_not_its_fault(server: Server, rest: bytes) -> None:
    with peer(server) as client:
        client.send(REFUSED_PUT % 2 + b"\r\nba" + rest)
        status, headers, content = client.answer()
        assert (status, code(content)) == REFUSAL
        if "connection" not in headers:  # it was answered before anybody looked at the rest, which is refused by itself
            assert client.answer()[0] == 400
        assert client.is_closed()


def test_a_small_unread_body_leaves_the_connection_usable(server: Server) -> None:
    with peer(server) as client:
        client.send(REFUSED_PUT % 200_000 + b"\r\n" + bytes(200_000))
        status, headers, content = client.answer()
        assert (status, code(content)) == REFUSAL
        assert "connection" not in headers
        client.send(REFUSED_GET)
        assert client.answer()[0] == 400


def test_a_large_unread_body_ends_the_connection_but_the_answer_is_read(server: Server) -> None:
    with peer(server) as client:
        client.send(REFUSED_PUT % (1 << 30) + b"\r\n")
        for _ in range(4):
            client.send(bytes(1 << 20))
        status, headers, content = client.answer()
        assert (status, code(content)) == REFUSAL
        assert headers["connection"] == "close"


def test_nothing_is_asked_for_before_the_caller_may_send_it(server: Server) -> None:
    with peer(server) as client:
        client.send(REFUSED_PUT % 100 + b"Expect: 100-continue\r\n\r\n")
        status, headers, content = client.answer()
        assert (status, code(content)) == REFUSAL
        # Whoever got no `100 Continue` sends no body: what follows on this connection would be taken for it.
        assert headers["connection"] == "close"
        assert client.is_closed()


@pytest.mark.parametrize("length", [10, 1 << 20], ids=["short", "long"])
def test_a_body_that_ends_too_early(server: Server, account: str, length: int) -> None:
    s3 = new_client(server.endpoint, "s3", account)
    url = s3.generate_presigned_url("put_object", {"Bucket": make_bucket(s3), "Key": "key"})
    with peer(server) as client:
        head = (
            f"PUT {url.removeprefix(server.endpoint)} HTTP/1.1\r\nHost: {server.endpoint.removeprefix('http://')}\r\n"
        )
        client.send(head.encode() + b"Content-Length: %d\r\n\r\nabc" % length)
        client.socket.shutdown(socket.SHUT_WR)
        status, _, content = client.answer()
        assert (status, code(content)) == (400, "IncompleteBody")
        assert client.is_closed()


@pytest.mark.parametrize("path", [b"/bucket/a%zz", b"/bucket/a%2", b"/bucket/%", b"/%C0%AF/key", b"/bucket/%ED%A0%80"])
def test_a_path_that_is_no_text(server: Server, path: bytes) -> None:
    with peer(server) as client:
        client.send(b"GET " + path + b" HTTP/1.1\r\nHost: localhost\r\n\r\n")
        status, _, content = client.answer()
        assert (status, code(content)) == (400, "InvalidURI")


@pytest.mark.parametrize("sent", [b"", b"GET", b"GET / HTTP/1.1\r\nHost: loc", REFUSED_PUT % 10**6 + b"\r\nabc"])
def test_a_client_that_leaves_does_no_harm(server: Server, sent: bytes) -> None:
    for _ in range(20):
        with peer(server) as client:
            client.send(sent)
    with peer(server) as client:
        client.send(b"GET /_nephele/health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert client.answer()[0] == 200


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 70_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\n" + b"".join(b"X-%d: a\r\n" % number for number in range(300)) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Endless: " + b"a" * 3_000_000,
    ],
)
def test_a_head_that_is_too_large(server: Server, head: bytes) -> None:
    with peer(server) as client:
        for at in range(0, len(head), 50_000):
            client.send(head[at : at + 50_000])
        status, headers, content = client.answer()
        assert (status, code(content), headers["connection"]) == (400, "RequestHeaderSectionTooLarge", "close")
        assert client.is_closed()


def test_a_head_that_is_large_but_not_too_large(server: Server) -> None:
    head = b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"a" * 60_000 + b"\r\n\r\n"
    with peer(server) as client:
        for at in range(0, len(head), 7000):
            client.send(head[at : at + 7000])
        assert client.answer()[0] != 400


MALFORMED = [
    b"\r\n\r\n\x00\x01\x02",
    b"HELLO\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"get / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET \xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHo st: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzzz\r\n",
    b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://localhost HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://localhost/b/k HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET //b//k HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /%zz%00%ff?%zz=%ff&=& HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: \r\nAuthorization: \r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: \xff\xfe\r\nAuthorization: AWS4-HMAC-SHA256 \xff\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc",
    b"PUT /b/k HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
    b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PROPFIND /b HTTP/1.1\r\nHost: x\r\n\r\n",
]


@pytest.mark.parametrize("number", range(len(MALFORMED)))
def test_malformed_requests_are_refused(server: Server, number: int) -> None:
    with peer(server) as client:
        client.send(MALFORMED[number])
        client.socket.shutdown(socket.SHUT_WR)
        while client.more():
            pass
        if client.buffer:
            status = client.answer(body=False)[0]
            assert 200 <= status < 500 or status == 501


def test_bytes_changed_at_random_never_break_the_server(server: Server) -> None:
    chance = random.Random(7)
    request = b"\r\n".join(
        [
            b"POST /bucket/key?uploads&x=%20 HTTP/1.1",
            b"Host: localhost:4566",
            b"Content-Type: application/x-amz-json-1.1",
            b"X-Amz-Target: AmazonSSM.GetParameter",
            b"X-Amz-Date: 20261122T123045Z",
            b"Authorization: AWS4-HMAC-SHA256 Credential=test/20261122/us-east-1/ssm/aws4_request, "
            b"SignedHeaders=host;x-amz-date, Signature=" + b"0" * 64,
            b"Content-Length: 13",
            b"Connection: close",
            b"",
            b'{"Name": "a"}',
        ]
    )
    for _ in range(300):
        changed = bytearray(request)
        for _ in range(chance.randint(1, 6)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        with peer(server) as client:
            client.send(bytes(changed))
            client.socket.shutdown(socket.SHUT_WR)
            while client.more():
                pass
            if client.buffer:
                status = client.answer(body=False)[0]
                assert status < 500 or status == 501, bytes(changed)
