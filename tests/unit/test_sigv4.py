"""Signature version 4: what botocore signs is accepted, and nothing that differs from it by a byte."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import pytest
from botocore import auth
from botocore.crt import auth as crt
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.authenticated import Authenticated, Lookup
from gateway.head import Head, split_pairs
from gateway.signature_faults import Family, Fault, SignatureFault, as_error
from gateway.sigv4 import UNSIGNED, authenticate, canonical_query, normal_path, s3_path
from tests.unit.signing import KEY, NOW, TEMPORARY, head_of, known, sign, temporary

HOST = "http://localhost:4566"
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.text("abcdefghijklmnopqrstuvwxyzXY-_.~0123 é/+&=%", min_size=1, max_size=8)


def check(head: Head, *, now: datetime = NOW, lookup: Lookup = known, **options: Any) -> Authenticated:
    found = authenticate(head, lookup, now, **options)
    assert found is not None
    return found


def fault(head: Head, *, now: datetime = NOW, lookup: Lookup = known, **options: Any) -> SignatureFault:
    """The fault that refuses a request; every family of services must have an answer to it."""
    with pytest.raises(SignatureFault) as caught:
        authenticate(head, lookup, now, **options)
    for family in Family:
        answer = as_error(caught.value, family)
        assert 400 <= answer.status < 500
        assert answer.code and answer.message
    return caught.value


def with_header(head: Head, name: bytes, value: bytes | None) -> Head:
    headers = [(key, old) for key, old in head.headers if key != name]
    if value is not None:
        headers.append((name, value))
    return Head(head.method, head.raw_path, head.raw_query, headers)


def s3_get(url: str = f"{HOST}/bucket/key", **options: Any) -> Head:
    return head_of(sign(auth.S3SigV4Auth, url, **options))


def presigned(url: str = f"{HOST}/bucket/key", **options: Any) -> Head:
    return head_of(sign(auth.S3SigV4QueryAuth, url, **options))


def query_url(base: str, query: dict[str, str]) -> str:
    pairs = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query.items())
    return f"{base}?{pairs}" if pairs else base


# --- what is signed is accepted ---------------------------------------------------------------------------------------


@settings(max_examples=50)
@given(TEXT, st.dictionaries(NAMES, TEXT, max_size=4), st.lists(st.text("ab ,;=\t", max_size=9), max_size=3))
def test_s3_headers(path: str, query: dict[str, str], values: list[str]) -> None:
    url = query_url(f"{HOST}/bucket/{quote(path, safe='/~')}", query)
    headers = {f"x-amz-meta-{number}": value for number, value in enumerate(values)}
    request = sign(auth.S3SigV4Auth, url, method="PUT", headers=headers, data=b"body")
    found = check(head_of(request), service="s3")
    assert (found.access_key, found.how, found.region, found.service) == (KEY, "header", "eu-central-1", "s3")
    assert found.signed_at == NOW
    assert found.payload_hash == request.headers["X-Amz-Content-SHA256"]


@settings(max_examples=50)
@given(TEXT, st.dictionaries(NAMES, TEXT, max_size=4), st.integers(1, 604800))
def test_s3_presigned(path: str, query: dict[str, str], expires: int) -> None:
    head = presigned(query_url(f"{HOST}/bucket/{quote(path, safe='/~')}", query), expires=expires)
    end = NOW + timedelta(seconds=expires)
    found = check(head, service="s3", now=end)
    assert (found.how, found.payload_hash, found.age(end)) == ("query", UNSIGNED, expires)
    assert fault(head, now=end + timedelta(seconds=1)).kind is Fault.EXPIRED


@settings(max_examples=50)
@given(
    st.sampled_from([crt.CrtS3SigV4Auth, crt.CrtS3SigV4QueryAuth]),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=9),
    st.dictionaries(NAMES, TEXT, max_size=3),
)
def test_what_the_common_runtime_signs(signer: type[auth.BaseSigner], path: str, query: dict[str, str]) -> None:
    url = query_url(f"{HOST}/bucket/{quote(path, safe='/~')}", query)
    request = sign(signer, url, method="PUT", headers={"x-amz-meta-a": " b  c "}, token="token/+=")
    assert check(head_of(request), lookup=temporary, service="s3").access_key == KEY


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["a", ".", "..", "", "b%20c"]), max_size=5), st.binary(max_size=9))
def test_what_the_common_runtime_signs_for_other_services(path: list[str], body: bytes) -> None:
    request = sign(crt.CrtSigV4Auth, f"{HOST}/{'/'.join(path)}", method="POST", data=body, service="ebs")
    assert check(head_of(request), service="ebs", payload=body).access_key == KEY


def test_version_4a_is_refused_clearly() -> None:
    request = sign(crt.CrtS3SigV4AsymAuth, f"{HOST}/bucket/key")
    refused = fault(head_of(request), service="s3")
    assert refused.facts["algorithm"] == "AWS4-ECDSA-P256-SHA256"
    assert "Please use AWS4-HMAC-SHA256" in as_error(refused, Family.S3).message
    assert "AWS4-ECDSA-P256-SHA256" in as_error(refused, Family.QUERY).message


@settings(max_examples=50)
@given(st.lists(st.sampled_from(["a", ".", "..", "", "b c", "%2F", "é"]), max_size=6), st.binary(max_size=40))
def test_other_services(path: list[str], body: bytes) -> None:
    url = f"{HOST}/" + quote("/".join(path), safe="/%")
    head = head_of(sign(auth.SigV4Auth, url, method="POST", data=body, service="ebs"))
    assert check(head, service="ebs", payload=body).service == "ebs"
    assert fault(head, service="ebs", payload=body + b"x").kind is Fault.MISMATCH


def test_other_services_presigned() -> None:
    url = f"{HOST}/?Action=GetCallerIdentity&Version=2011-06-15"
    head = head_of(sign(auth.SigV4QueryAuth, url, service="sts", expires=60))
    for seconds in (0, 60, 899):  # tokens for EKS say 60 seconds and live as long as the skew allows
        assert check(head, service="sts", now=NOW + timedelta(seconds=seconds)).how == "query"
    late = fault(head, service="sts", now=NOW + timedelta(seconds=901))
    assert late.kind is Fault.EXPIRED
    assert as_error(late, Family.QUERY).code == "SignatureDoesNotMatch"
    assert as_error(late, Family.QUERY).message.startswith("Signature expired: 20261122T123045Z is now earlier than ")


@pytest.mark.parametrize("signer", [auth.S3SigV4Auth, auth.S3SigV4QueryAuth])
def test_session_tokens(signer: type[auth.BaseSigner]) -> None:
    assert check(head_of(sign(signer, f"{HOST}/b/k", token="token/+=")), lookup=temporary).credential is TEMPORARY
    wrong = fault(head_of(sign(signer, f"{HOST}/b/k", token="other")), lookup=temporary)
    without = fault(head_of(sign(signer, f"{HOST}/b/k")), lookup=temporary)
    needless = fault(head_of(sign(signer, f"{HOST}/b/k", token="token/+=")))
    later = NOW + timedelta(minutes=55)
    expired = fault(
        head_of(sign(signer, f"{HOST}/b/k", token="token/+=", at=later)), lookup=temporary, now=NOW + timedelta(hours=1)
    )
    kinds = [each.kind for each in (wrong, without, needless, expired)]
    assert kinds == [Fault.TOKEN, Fault.UNKNOWN_KEY, Fault.TOKEN, Fault.EXPIRED_TOKEN]


def test_repeated_headers_and_white_space() -> None:
    request = sign(auth.S3SigV4Auth, f"{HOST}/b/k", headers={"x-amz-meta-a": "one,two"})
    head = with_header(head_of(request), b"x-amz-meta-a", b"  one ")
    head.headers.append((b"x-amz-meta-a", b"two\t"))
    assert check(head).access_key == KEY
    swapped = with_header(head_of(request), b"x-amz-meta-a", b"two")
    swapped.headers.append((b"x-amz-meta-a", b"one"))
    assert fault(swapped).kind is Fault.MISMATCH


def test_a_repeated_and_an_empty_query_parameter() -> None:
    assert check(s3_get(f"{HOST}/b?acl&x=2&x=1&x=&y")).how == "header"
    assert fault(s3_get(f"{HOST}/b?x=2&x=1"), lookup=lambda key: None).kind is Fault.UNKNOWN_KEY
    head = s3_get(f"{HOST}/b?x=2&x=1")
    assert check(Head(head.method, head.raw_path, b"x=1&x=2", head.headers)).how == "header"
    assert fault(Head(head.method, head.raw_path, b"x=1", head.headers)).kind is Fault.MISMATCH


def test_plus_in_a_query_is_a_space() -> None:
    head = s3_get(f"{HOST}/b?prefix=a%20b")
    assert check(Head(head.method, head.raw_path, b"prefix=a+b", head.headers)).how == "header"
    assert fault(Head(head.method, head.raw_path, b"prefix=a%2Bb", head.headers)).kind is Fault.MISMATCH


def test_a_date_header_stands_in_for_x_amz_date() -> None:
    head = s3_get(headers={"Date": "now"})
    assert b"x-amz-date" not in head.view
    assert check(head).signed_at == NOW


def test_spacing_and_order_of_the_header_are_free() -> None:
    head = s3_get()
    algorithm, *parts = head.text(b"authorization").replace(",", " ").split()
    free = f"{algorithm}  {parts[2]},{parts[0]} ,  {parts[1]}".encode()
    assert check(with_header(head, b"authorization", free)).access_key == KEY


def test_a_request_without_credentials_is_nobodys() -> None:
    assert authenticate(Head("GET", b"/b/k", b"list-type=2", [(b"host", b"x")]), known, NOW) is None


def test_an_operation_with_unsigned_payload_takes_both() -> None:
    url = "https://localhost/snapshots/x/blocks/0"
    request = sign(auth.SigV4Auth, url, method="PUT", headers={"x-amz-content-sha256": UNSIGNED}, service="ebs")
    head = head_of(request)
    assert check(head, payload=b"any", unsigned_payload=True).payload_hash == UNSIGNED
    assert fault(head, payload=b"any").kind is Fault.MISMATCH


@given(
    st.lists(
        st.sampled_from(["a", "-", "%2D", "%2F", "%2f", "%", "=", "&", "+", "%20", "~", "_", "é", "%61"]), max_size=14
    )
)
def test_a_query_is_decoded_and_encoded_again(parts: list[str]) -> None:
    raw = "".join(parts).encode()
    encoded = sorted((quote(name, safe="-_.~"), quote(value, safe="-_.~")) for name, value in split_pairs(raw))
    expected = "&".join(f"{name}={value}" for name, value in encoded).encode()
    assert canonical_query(Head("GET", b"/", raw, []), False) == expected


# --- paths ------------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=20))
def test_an_s3_path_is_encoded_once_whatever_the_client_left_bare(key: bytes) -> None:
    full = quote(key, safe="/-_.~").encode()
    bare = b"".join(bytes([byte]) if byte != 0x25 else b"%25" for byte in key)
    assert s3_path(b"/" + full) == s3_path(b"/" + bare) == b"/" + full


@pytest.mark.parametrize(
    ("raw", "normal"),
    [
        (b"", b"/"), (b"/", b"/"), (b"//", b"/"), (b"/./", b"/"), (b"/a/../..", b"/"), (b"/a/./b", b"/a/b"),
        (b"//a//", b"/a/"), (b"/a/b/..", b"/a"), (b"/a/b/../", b"/a/"), (b"/a%20b", b"/a%2520b"), (b"/-._~", b"/-._~"),
    ],
)  # fmt: skip
def test_the_path_of_other_services(raw: bytes, normal: bytes) -> None:
    assert normal_path(raw) == normal


# --- nothing else is accepted -----------------------------------------------------------------------------------------

SIGNED = [
    s3_get(f"{HOST}/bucket/a%20key?versionId=x%2Fy&acl", method="PUT", headers={"x-amz-meta-a": "b"}, token="t"),
    presigned(f"{HOST}/bucket/a%20key?versionId=x%2Fy&acl", token="t"),
]


def anyone(key: str) -> Any:
    credential = temporary(key)
    return None if credential is None else type(credential)(credential.secret, "t", None, credential.principal)


def changed(text: bytes, at: int, byte: int) -> bytes:
    at %= len(text)
    assume(text[at] != byte)
    return text[:at] + bytes([byte]) + text[at + 1 :]


@given(
    st.sampled_from(SIGNED), st.integers(0, 10**6), st.integers(33, 126), st.sampled_from(["method", "path", "query"])
)
def test_a_changed_byte_of_the_request_line_is_refused(head: Head, at: int, byte: int, part: str) -> None:
    assert check(head, lookup=anyone).access_key == KEY
    method, path, query = head.method.encode(), head.raw_path, head.raw_query
    if part == "method":
        method = changed(method, at, byte)
    elif part == "path":
        path = changed(path, at, byte)
        assume(unquote_to_bytes(path) != unquote_to_bytes(head.raw_path))
    else:
        query = changed(query, at, byte)
        assume(sorted(split_pairs(query)) != sorted(split_pairs(head.raw_query)))
    fault(Head(method.decode(), path, query, head.headers), lookup=anyone)


@given(st.integers(0, 10**6), st.integers(33, 126), st.sampled_from(sorted(name for name, _ in SIGNED[0].headers)))
def test_a_changed_byte_of_a_signed_header_is_refused(at: int, byte: int, name: bytes) -> None:
    value = dict(SIGNED[0].headers)[name]
    fault(with_header(SIGNED[0], name, changed(value, at, byte)), lookup=anyone)


@pytest.mark.parametrize("head", SIGNED)
def test_a_header_that_is_not_signed_is_refused(head: Head) -> None:
    refused = fault(with_header(head, b"x-amz-acl", b"public-read"), lookup=anyone)
    assert (refused.kind, refused.facts["names"]) == (Fault.UNSIGNED, ["x-amz-acl"])
    answer = as_error(refused, Family.S3)
    assert (answer.code, answer.status, answer.fields["HeadersNotSigned"]) == ("AccessDenied", 403, "x-amz-acl")
    assert check(with_header(head, b"x-custom", b"free"), lookup=anyone).access_key == KEY


def test_a_claim_without_measure_is_refused() -> None:
    many = ";".join(["host", *(f"x{number}" for number in range(400))])
    assert fault(edited("host;", many + ";")).kind is Fault.HEADER
    assert fault(edited("eu-central-1", "e" * 600)).kind is Fault.CREDENTIAL


def test_the_host_must_be_signed() -> None:
    head = s3_get()
    header = head.view[b"authorization"].replace(b"host;", b"")
    refused = fault(with_header(head, b"authorization", header))
    assert (refused.kind, refused.facts["names"]) == (Fault.UNSIGNED, ["host"])
    assert "'Host' or ':authority' must be" in as_error(refused, Family.JSON).message


# --- each fault, by what causes it ------------------------------------------------------------------------------------

HEADER = s3_get().view[b"authorization"]


def edited(old: str, new: str) -> Head:
    assert old.encode() in HEADER
    return with_header(s3_get(), b"authorization", HEADER.replace(old.encode(), new.encode()))


def requery(old: str, new: str) -> Head:
    head = presigned()
    assert old.encode() in head.raw_query
    return Head(head.method, head.raw_path, head.raw_query.replace(old.encode(), new.encode()), head.headers)


MALFORMED = "AuthorizationHeaderMalformed"
PARAMETERS = "AuthorizationQueryParametersError"
CASES: dict[str, tuple[Callable[[], Head], Fault, str, int, str]] = {
    "no signature": (lambda: edited(", Signature=", ", Sig="), Fault.HEADER, MALFORMED, 400, "missing Signature."),
    "two parts": (lambda: edited(", Signature=", "; Signature="), Fault.HEADER, MALFORMED, 400, "three components"),
    "no equals": (lambda: edited(", Signature=", ", Signature-"), Fault.HEADER, MALFORMED, 400, 'component "Sig'),
    "empty": (lambda: with_header(s3_get(), b"authorization", b"AWS4-HMAC-SHA256"), Fault.HEADER, MALFORMED, 400, ""),
    "no region": (lambda: edited("/eu-central-1", ""), Fault.CREDENTIAL, MALFORMED, 400, "<YOUR-AKID>/YYYYMMDD"),
    "terminator": (lambda: edited("aws4_request", "aws5_request"), Fault.TERMINATOR, MALFORMED, 400, "aws5_request"),
    "service": (lambda: edited("/s3/", "/ec2/"), Fault.SERVICE, MALFORMED, 400, 'incorrect service "ec2"'),
    "scope date": (lambda: edited("/20261122/", "/20261121/"), Fault.DATE, MALFORMED, 400, '"20261121"'),
    "no date in scope": (lambda: edited("/20261122/", "/2026112/"), Fault.DATE, MALFORMED, 400,
                         'incorrect date format "2026112"'),
    "region": (lambda: edited("eu-central-1", "eu-west-1"), Fault.MISMATCH, "SignatureDoesNotMatch", 403, "signature"),
    "unknown key": (lambda: edited(KEY, "AKIDOTHER"), Fault.UNKNOWN_KEY, "InvalidAccessKeyId", 403, "does not exist"),
    "sigv4a": (lambda: edited("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), Fault.UNSUPPORTED, "InvalidRequest", 400,
               "Please use AWS4-HMAC-SHA256"),
    "bearer": (lambda: with_header(s3_get(), b"authorization", b"Bearer x"), Fault.TYPE, "InvalidArgument", 400,
               "Unsupported Authorization Type"),
    "no space": (lambda: with_header(s3_get(), b"authorization", b"Bearer"), Fault.TYPE, "InvalidArgument", 400,
                 "one and only one ' ' (space) required"),
    "no date": (lambda: with_header(s3_get(), b"x-amz-date", None), Fault.NO_DATE, "AccessDenied", 403, "valid Date"),
    "odd date": (lambda: with_header(s3_get(), b"x-amz-date", b"20261322T000000Z"), Fault.NO_DATE, "AccessDenied", 403,
                 "valid Date"),
    "no payload hash": (lambda: with_header(s3_get(), b"x-amz-content-sha256", None), Fault.NO_PAYLOAD_HASH,
                        "InvalidRequest", 400, "x-amz-content-sha256"),
    "odd payload hash": (lambda: with_header(s3_get(), b"x-amz-content-sha256", b"0"), Fault.PAYLOAD_HASH,
                         "InvalidArgument", 400, "valid sha256 value"),
    "old": (lambda: s3_get(at=NOW - timedelta(seconds=901)), Fault.SKEWED, "RequestTimeTooSkewed", 403, "too large"),
    "new": (lambda: s3_get(at=NOW + timedelta(seconds=901)), Fault.SKEWED, "RequestTimeTooSkewed", 403, "too large"),
    "wrong secret": (lambda: s3_get(secret="no"), Fault.MISMATCH, "SignatureDoesNotMatch", 403, "signing method"),
    "both": (lambda: with_header(presigned(), b"authorization", b"x"), Fault.TWO_MECHANISMS, "InvalidArgument", 400,
             "Only one auth mechanism allowed"),
    "q algorithm": (lambda: requery("HMAC-SHA256", "HMAC-SHA1"), Fault.QUERY, PARAMETERS, 400, "only supports"),
    "q sigv4a": (lambda: requery("AWS4-HMAC-SHA256", "AWS4-ECDSA-P256-SHA256"), Fault.UNSUPPORTED, "InvalidRequest",
                 400, ""),
    "q missing": (lambda: requery("X-Amz-Expires", "X-Amz-Expired"), Fault.QUERY, PARAMETERS, 400, "requires the"),
    "q credential": (lambda: requery("%2Fs3%2F", "%2F"), Fault.CREDENTIAL, PARAMETERS, 400, "mal-formed"),
    "q service": (lambda: requery("%2Fs3%2F", "%2Fec2%2F"), Fault.SERVICE, PARAMETERS, 400, "incorrect service"),
    "q scope date": (lambda: requery("%2F20261122%2F", "%2F20261121%2F"), Fault.DATE, PARAMETERS, 400,
                     'Invalid credential date "20261121". This date'),
    "q date": (lambda: requery("T123045Z", "T123045"), Fault.QUERY, PARAMETERS, 400, "ISO8601"),
    "q word": (lambda: requery("Expires=3600", "Expires=soon"), Fault.QUERY, PARAMETERS, 400, "a number"),
    "q negative": (lambda: requery("Expires=3600", "Expires=-1"), Fault.QUERY, PARAMETERS, 400, "non-negative"),
    "q long": (lambda: requery("Expires=3600", "Expires=604801"), Fault.QUERY, PARAMETERS, 400, "less than a week"),
    "q early": (lambda: presigned(at=NOW + timedelta(seconds=901)), Fault.EARLY, "AccessDenied", 403, "not yet valid"),
    "q late": (lambda: presigned(at=NOW - timedelta(seconds=3601)), Fault.EXPIRED, "AccessDenied", 403, "has expired"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_faults_and_what_s3_calls_them(case: str) -> None:
    make, kind, code, status, words = CASES[case]
    refused = fault(make(), service="s3")
    answer = as_error(refused, Family.S3)
    assert (refused.kind, answer.code, answer.status) == (kind, code, status)
    assert words in answer.message


def test_what_s3_tells_beside_the_code() -> None:
    answer = as_error(fault(s3_get(secret="no")), Family.S3)
    assert answer.fields["AWSAccessKeyId"] == KEY
    assert answer.fields["CanonicalRequest"].startswith("GET\n/bucket/key\n\nhost:localhost:4566\n")
    assert bytes.fromhex(answer.fields["CanonicalRequestBytes"]).decode() == answer.fields["CanonicalRequest"]
    assert bytes.fromhex(answer.fields["StringToSignBytes"]).decode() == answer.fields["StringToSign"]
    assert answer.fields["SignatureProvided"] in dict(s3_get(secret="no").headers)[b"authorization"].decode()
    skewed = as_error(fault(s3_get(at=NOW - timedelta(hours=1))), Family.S3)
    assert skewed.fields == {
        "RequestTime": "20261122T113045Z",
        "ServerTime": "2026-11-22T12:30:45Z",
        "MaxAllowedSkewMilliseconds": 900000,
    }
    expired = as_error(fault(presigned(at=NOW - timedelta(hours=2))), Family.S3)
    assert expired.fields == {
        "X-Amz-Expires": 3600,
        "Expires": "2026-11-22T11:30:45Z",
        "ServerTime": "2026-11-22T12:30:45Z",
    }


def other(**options: Any) -> Head:
    return head_of(sign(auth.SigV4Auth, f"{HOST}/", method="POST", service="ec2", data=b"", **options))


def unsigned_target() -> Head:
    return with_header(other(), b"x-amz-target", b"X.Y")


OTHERS: dict[str, tuple[Callable[[], Head], str, tuple[str, int], tuple[str, int], tuple[str, int]]] = {
    "wrong secret": (lambda: other(secret="no"), "ec2", ("AuthFailure", 401), ("SignatureDoesNotMatch", 403),
                     ("InvalidSignatureException", 400)),
    "unknown key": (lambda: with_header(other(), b"authorization", HEADER.replace(b"/s3/", b"/ec2/").replace(
        KEY.encode(), b"OTHER").replace(b"x-amz-content-sha256;", b"")), "ec2", ("AuthFailure", 401),
        ("InvalidClientTokenId", 403), ("UnrecognizedClientException", 400)),
    "old": (lambda: other(at=NOW - timedelta(hours=1)), "ec2", ("RequestExpired", 400), ("SignatureDoesNotMatch", 403),
            ("InvalidSignatureException", 400)),
    "service": (other, "iam", ("AuthFailure", 401), ("SignatureDoesNotMatch", 403), ("InvalidSignatureException", 400)),
    "unsigned": (unsigned_target, "ec2", ("AuthFailure", 401), ("SignatureDoesNotMatch", 403),
                 ("InvalidSignatureException", 400)),
    "incomplete": (lambda: with_header(other(), b"authorization", b"AWS4-HMAC-SHA256 Credential=a"), "ec2",
                   ("IncompleteSignature", 400), ("IncompleteSignature", 400), ("IncompleteSignatureException", 400)),
    "bearer": (lambda: with_header(other(), b"authorization", b"Bearer x"), "ec2", ("MissingParameter", 400),
               ("MissingAuthenticationToken", 403), ("MissingAuthenticationTokenException", 400)),
}  # fmt: skip


@pytest.mark.parametrize("case", OTHERS)
def test_what_the_other_families_call_them(case: str) -> None:
    make, service, *codes = OTHERS[case]
    refused = fault(make(), service=service, payload=b"")
    answers = [as_error(refused, family) for family in (Family.EC2, Family.QUERY, Family.JSON)]
    assert [(answer.code, answer.status) for answer in answers] == codes


def test_an_expired_token_outside_s3() -> None:
    refused = SignatureFault(Fault.EXPIRED_TOKEN, token="t")
    answers = [as_error(refused, family) for family in (Family.EC2, Family.QUERY, Family.JSON, Family.REST_JSON)]
    assert [(answer.code, answer.status) for answer in answers] == [
        ("RequestExpired", 400), ("ExpiredToken", 403), ("ExpiredTokenException", 400), ("ExpiredTokenException", 403),
    ]  # fmt: skip


def test_every_kind_has_an_answer_in_every_family() -> None:
    facts = dict.fromkeys(
        ("algorithm", "authorization", "reason", "scoped", "date", "given", "expected", "access_key", "token",
         "string_to_sign", "canonical_request", "provided", "credential"), "x",
    )  # fmt: skip
    for kind in Fault:
        for family in Family:
            refused = SignatureFault(
                kind, names=["x"], lacking=["x"], requested=NOW, now=NOW, expires=NOW, seconds=1, **facts
            )
            answer = as_error(refused, family)
            assert answer.code and answer.message and 400 <= answer.status < 500


# --- arbitrary requests -----------------------------------------------------------------------------------------------

LATIN = st.binary(max_size=30)
STARTED = b"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20261122T123045Z&"


@given(
    st.one_of(LATIN, st.builds(lambda tail: b"AWS4-HMAC-SHA256 " + tail, LATIN), st.just(HEADER), st.none()),
    LATIN,
    st.one_of(LATIN, st.builds(lambda tail: STARTED + tail, LATIN),
              st.builds(lambda end: presigned().raw_query[:end], st.integers(0, 400))),
    st.one_of(LATIN, st.just(b"20261122T123045Z")),
    LATIN,
)  # fmt: skip
def test_arbitrary_bytes_raise_nothing_but_faults(
    authorization: bytes | None, path: bytes, query: bytes, date: bytes, value: bytes
) -> None:
    headers = [(b"host", value), (b"x-amz-date", date), (b"x-amz-content-sha256", value), (b"date", value)]
    if authorization is not None:
        headers.append((b"authorization", authorization))
    for service in ("", "s3", "ec2"):
        try:
            authenticate(Head("GET", path, query, headers), known, NOW, service=service, payload=value)
        except SignatureFault as refused:
            for family in Family:
                assert as_error(refused, family).status < 500
