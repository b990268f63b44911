"""Signature version 2, which old S3 clients still speak."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from urllib.parse import quote

import pytest
from botocore import auth
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.authenticated import Lookup
from gateway.head import Head
from gateway.signature_faults import Family, Fault, SignatureFault, as_error
from gateway.sigv2 import SUBRESOURCES
from gateway.sigv4 import authenticate
from tests.unit.signing import KEY, NOW, TEMPORARY, head_of, known, sign, temporary

HOST = "http://localhost:4566"
SUB = st.sampled_from([name for name in auth.HmacV1Auth.QSAOfInterest if name != "accelerate"])


def fault(head: Head, lookup: Lookup = known, **options: Any) -> SignatureFault:
    with pytest.raises(SignatureFault) as caught:
        authenticate(head, lookup, options.pop("now", NOW), **options)
    return caught.value


@settings(max_examples=50)
@given(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
    st.dictionaries(SUB, st.text("ab /é", max_size=4), max_size=3),
    st.sampled_from(["", "text/plain"]),
    st.booleans(),
)
def test_headers_and_queries(key: str, query: dict[str, str], kind: str, presign: bool) -> None:
    pairs = "&".join(f"{name}={quote(value)}" if value else name for name, value in query.items())
    url = f"{HOST}/bucket/{quote(key)}" + (f"?{pairs}&marker=free" if pairs else "")
    headers = {"x-amz-meta-b": "2", "x-amz-meta-a": "1", **({"Content-Type": kind} if kind else {})}
    signer = auth.HmacV1QueryAuth if presign else auth.HmacV1Auth
    request = sign(signer, url, method="PUT", headers=headers)
    if presign:
        for name in list(request.headers):
            del request.headers[name]  # the signer moved them into the query
    found = authenticate(head_of(request), known, NOW, service="s3")
    assert found is not None
    assert (found.access_key, found.how, found.version) == (KEY, "query" if presign else "header", "AWS")


def test_the_bucket_of_the_host_is_part_of_the_signed_path() -> None:
    request = sign(auth.HmacV1Auth, "http://bucket.localhost:4566/key", auth_path="/bucket/key")
    head = head_of(request)
    assert authenticate(head, known, NOW, host_bucket="bucket") is not None
    assert fault(head).kind is Fault.MISMATCH
    assert fault(head, host_bucket="other").kind is Fault.MISMATCH


def test_session_tokens() -> None:
    for signer in (auth.HmacV1Auth, auth.HmacV1QueryAuth):
        found = authenticate(head_of(sign(signer, f"{HOST}/b/k", token="token/+=")), temporary, NOW)
        assert found is not None and found.credential is TEMPORARY
        assert fault(head_of(sign(signer, f"{HOST}/b/k", token="other")), temporary).kind is Fault.TOKEN
        assert fault(head_of(sign(signer, f"{HOST}/b/k")), temporary).kind is Fault.UNKNOWN_KEY


HEAD = head_of(
    sign(auth.HmacV1Auth, f"{HOST}/bucket/key?acl&versionId=v", method="PUT", headers={"x-amz-acl": "private"})
)


@given(
    st.sampled_from(["path", "x-amz-acl", "date", "authorization", "query"]), st.integers(0, 999), st.integers(33, 126)
)
def test_a_changed_byte_is_refused(part: str, at: int, byte: int) -> None:
    assert authenticate(HEAD, known, NOW) is not None
    path, query, headers = HEAD.raw_path, HEAD.raw_query, dict(HEAD.headers)

    def changed(text: bytes) -> bytes:
        place = at % len(text)
        assume(text[place] != byte)
        return text[:place] + bytes([byte]) + text[place + 1 :]

    if part == "path":
        path = changed(path)
    elif part == "query":
        query = changed(query)
    else:
        headers[part.encode()] = changed(headers[part.encode()])
    with pytest.raises(SignatureFault):
        authenticate(Head(HEAD.method, path, query, list(headers.items())), known, NOW)


def with_authorization(value: bytes, *more: tuple[bytes, bytes]) -> Head:
    date = (b"date", b"Sun, 22 Nov 2026 12:30:45 GMT")
    return Head("GET", b"/b", b"", [(b"host", b"x"), date, (b"authorization", value), *more])


@pytest.mark.parametrize(
    ("head", "kind", "code", "status"),
    [
        (with_authorization(b"AWS " + KEY.encode() + b":x"), Fault.MISMATCH, "SignatureDoesNotMatch", 403),
        (with_authorization(b"AWS nobody:x"), Fault.UNKNOWN_KEY, "InvalidAccessKeyId", 403),
        (with_authorization(b"AWS x"), Fault.HEADER_2, "InvalidArgument", 400),
        (with_authorization(b"AWSX a:b"), Fault.TYPE, "InvalidArgument", 400),
        (Head("GET", b"/b", b"", [(b"authorization", b"AWS a:b")]), Fault.NO_DATE, "AccessDenied", 403),
        (with_authorization(b"AWS a:b", (b"x-amz-date", b"")), Fault.NO_DATE, "AccessDenied", 403),
        (
            with_authorization(b"AWS a:b", (b"x-amz-date", b"Tue, 07 Jul 1950 21:53:04 GMT")),
            Fault.NO_DATE,
            "AccessDenied",
            403,
        ),
        (
            head_of(sign(auth.HmacV1Auth, f"{HOST}/b", at=NOW - timedelta(hours=1))),
            Fault.SKEWED,
            "RequestTimeTooSkewed",
            403,
        ),
        (
            head_of(sign(auth.HmacV1QueryAuth, f"{HOST}/b", at=NOW - timedelta(hours=2))),
            Fault.EXPIRED,
            "AccessDenied",
            403,
        ),
        (
            Head("GET", b"/b", b"AWSAccessKeyId=a&Signature=b", []),
            Fault.QUERY_2,
            "AccessDenied",
            403,
        ),
        (Head("GET", b"/b", b"AWSAccessKeyId=a&Expires=99999999999", []), Fault.QUERY_2, "AccessDenied", 403),
    ],
)
def test_faults(head: Head, kind: Fault, code: str, status: int) -> None:
    refused = fault(head, service="s3")
    answer = as_error(refused, Family.S3)
    assert (refused.kind, answer.code, answer.status) == (kind, code, status)


def test_only_s3_speaks_it() -> None:
    assert fault(HEAD, service="ec2").kind is Fault.UNSUPPORTED
    query = head_of(sign(auth.HmacV1QueryAuth, f"{HOST}/b"))
    assert authenticate(query, known, NOW, service="ec2") is None


def test_every_sub_resource_that_botocore_signs_is_known() -> None:
    assert set(auth.HmacV1Auth.QSAOfInterest) <= SUBRESOURCES


@given(st.binary(max_size=20), st.binary(max_size=30), st.binary(max_size=20))
def test_arbitrary_bytes_raise_nothing_but_faults(authorization: bytes, query: bytes, date: bytes) -> None:
    for head in (
        Head("GET", query, query, [(b"date", date), (b"authorization", b"AWS " + authorization)]),
        Head(
            "GET",
            query,
            b"AWSAccessKeyId=" + KEY.encode() + b"&Expires=99999999999&Signature=" + query,
            [(b"date", date)],
        ),
        Head("GET", query, b"AWSAccessKeyId=a&Signature=&Expires=" + query, []),
    ):
        with pytest.raises(SignatureFault):
            authenticate(head, known, NOW)
