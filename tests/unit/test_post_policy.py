"""Form uploads: who signed the policy, whether the form keeps to it, and the multipart body around the file."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from hypothesis import given
from hypothesis import strategies as st

from compat.errors import AWSError
from gateway.body import BytesSource
from gateway.formdata import FileBody, read_form
from gateway.postpolicy import Policy, authenticate_form, check_policy, check_size, parse_policy
from gateway.signature_faults import Fault, SignatureFault
from tests.unit.signing import KEY, NOW, TEMPORARY, known, sign, temporary

SOON = "2026-11-22T13:00:00Z"


def encoded(document: Any) -> str:
    return base64.b64encode(json.dumps(document).encode()).decode()


def policy(*conditions: Any, expiration: str = SOON) -> Policy:
    return parse_policy(encoded({"expiration": expiration, "conditions": list(conditions)}))


def refused(call: Callable[[], Any]) -> tuple[str, int, str]:
    with pytest.raises(AWSError) as caught:
        call()
    return caught.value.code, caught.value.status, caught.value.message


# --- signatures -------------------------------------------------------------------------------------------------------


def signed_form(signer: type[auth.BaseSigner], token: str | None = None) -> dict[str, str]:
    fields: dict[str, str] = {}
    document = {"expiration": SOON, "conditions": [{"bucket": "b"}, ["starts-with", "$key", "k"]]}
    real = AWSRequest.__init__

    def start(self: AWSRequest, *arguments: Any, **options: Any) -> None:
        real(self, *arguments, **options)
        self.context |= {"s3-presign-post-fields": fields, "s3-presign-post-policy": document}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AWSRequest, "__init__", start)
        sign(signer, "http://localhost/b", method="POST", token=token)
    return {name.lower(): value for name, value in fields.items()}


@pytest.mark.parametrize("signer", [auth.S3SigV4PostAuth, auth.HmacV1PostAuth])
def test_what_botocore_signs_is_accepted_and_kept_to(signer: type[auth.BaseSigner]) -> None:
    fields = signed_form(signer)
    found = authenticate_form(fields, known, NOW)
    assert found is not None
    assert (found.access_key, found.how) == (KEY, "post")
    check_policy(parse_policy(fields["policy"]), {**fields, "bucket": "b", "key": "kx"}, NOW)
    for name in ("policy", "x-amz-signature" if "x-amz-signature" in fields else "signature"):
        with pytest.raises(SignatureFault) as caught:
            authenticate_form({**fields, name: fields[name].swapcase()}, known, NOW)
        assert caught.value.kind is Fault.MISMATCH


@pytest.mark.parametrize("signer", [auth.S3SigV4PostAuth, auth.HmacV1PostAuth])
def test_session_tokens(signer: type[auth.BaseSigner]) -> None:
    fields = signed_form(signer, "token/+=")
    found = authenticate_form(fields, temporary, NOW)
    assert found is not None and found.credential is TEMPORARY
    with pytest.raises(SignatureFault) as caught:
        authenticate_form({**fields, "x-amz-security-token": "x"}, temporary, NOW)
    assert caught.value.kind is Fault.TOKEN


def test_a_form_without_policy_is_nobodys() -> None:
    assert authenticate_form({"key": "k", "acl": "public-read"}, known, NOW) is None


V4 = signed_form(auth.S3SigV4PostAuth)


@pytest.mark.parametrize("name", ["policy", "x-amz-credential", "x-amz-date", "x-amz-signature", "x-amz-algorithm"])
def test_a_missing_field_is_named(name: str) -> None:
    code, status, message = refused(
        lambda: authenticate_form({key: value for key, value in V4.items() if key != name}, known, NOW)
    )
    assert (code, status) == ("InvalidArgument", 400)
    assert f"must contain a field named '{name.title()}'.  If it is specified" in message


@pytest.mark.parametrize(
    ("name", "old", "new", "kind"),
    [
        ("x-amz-algorithm", "SHA256", "SHA1", Fault.UNSUPPORTED),
        ("x-amz-credential", "/s3/", "/", Fault.CREDENTIAL),
        ("x-amz-credential", "/s3/", "/ec2/", Fault.SERVICE),
        ("x-amz-credential", "aws4_request", "aws4", Fault.TERMINATOR),
        ("x-amz-credential", "20261122", "20261121", Fault.DATE),
        ("x-amz-credential", KEY, "nobody", Fault.UNKNOWN_KEY),
        ("x-amz-date", "T", "", Fault.DATE),
    ],
)
def test_faults(name: str, old: str, new: str, kind: Fault) -> None:
    with pytest.raises(SignatureFault) as caught:
        authenticate_form({**V4, name: V4[name].replace(old, new)}, known, NOW)
    assert caught.value.kind is kind


# --- conditions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("conditions", "fields"),
    [
        ([{"key": "a"}], {"key": "a"}),
        ([["eq", "$Key", "a"]], {"key": "a"}),
        ([["starts-with", "$key", ""]], {"key": "anything"}),
        ([["EQ", "$key", "a"], ["starts-with", "$key", "a"]], {"key": "a"}),
        ([["starts-with", "$Content-Type", "image/"]], {"content-type": "image/png,image/gif"}),
        ([["starts-with", "$success_action_redirect", ""]], {}),
        ([{"key": "a"}], {"key": "a", "x-ignore-me": "1", "policy": "p", "x-amz-signature": "s", "signature": "t"}),
    ],
)
def test_forms_that_keep_to_their_policy(conditions: list[Any], fields: dict[str, str]) -> None:
    check_policy(policy(*conditions), fields, NOW)


@pytest.mark.parametrize(
    ("conditions", "fields", "reason"),
    [
        ([{"key": "a"}], {"key": "b"}, 'Policy Condition failed: ["eq", "$key", "a"]'),
        ([["eq", "$key", "a"]], {}, 'Policy Condition failed: ["eq", "$key", "a"]'),
        ([["starts-with", "$key", "u/"]], {"key": "v"}, 'Policy Condition failed: ["starts-with", "$key", "u/"]'),
        ([["starts-with", "$Content-Type", "image/"]], {"content-type": "image/png,text/html"},
         'Policy Condition failed: ["starts-with", "$Content-Type", "image/"]'),
        ([{"key": "a"}], {"key": "a", "acl": "private"}, "Extra input fields: acl"),
        ([{"key": "a"}], {"key": "a", "x-amz-security-token": "t"}, "Extra input fields: x-amz-security-token"),
    ],
)  # fmt: skip
def test_forms_that_do_not(conditions: list[Any], fields: dict[str, str], reason: str) -> None:
    answer = refused(lambda: check_policy(policy(*conditions), fields, NOW))
    assert answer == ("AccessDenied", 403, f"Invalid according to Policy: {reason}")


def test_an_expired_policy() -> None:
    checked = policy({"key": "a"}, expiration="2026-11-22T12:30:46.500Z")
    check_policy(checked, {"key": "a"}, NOW)
    answer = refused(lambda: check_policy(checked, {"key": "a"}, NOW + timedelta(seconds=2)))
    assert answer == ("AccessDenied", 403, "Invalid according to Policy: Policy expired.")


@pytest.mark.parametrize(
    "condition",
    [["eq", "a", "b"], ["starts-with", "a", ""], ["content-length-range", "x", 5]],
)
def test_conditions_that_are_not_well_formed_fail(condition: list[Any]) -> None:
    checked = policy(condition)
    told = refused(lambda: check_policy(checked, {"a": "b"}, NOW))
    assert told == (
        "AccessDenied",
        403,
        f"Invalid according to Policy: Policy Condition failed: {json.dumps(condition)}",
    )


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"expiration": SOON},
        {"conditions": [{"a": "b"}]},
        {"expiration": SOON, "conditions": []},
        {"expiration": SOON, "conditions": {"a": "b"}},
        {"expiration": "soon", "conditions": [{"a": "b"}]},
        {"expiration": 5, "conditions": [{"a": "b"}]},
        {"Expiration": SOON, "conditions": [{"a": "b"}]},
        {"expiration": SOON, "CONDITIONS": [{"a": "b"}]},
        {"expiration": SOON, "conditions": [{"a": "b", "c": "d"}]},
        {"expiration": SOON, "conditions": [{"a": 1}]},
        {"expiration": SOON, "conditions": [["eq", "$a"]]},
        {"expiration": SOON, "conditions": [["like", "$a", "b"]]},
        {"expiration": SOON, "conditions": [["content-length-range", 0]]},
        {"expiration": SOON, "conditions": ["eq"]},
    ],
)
def test_documents_that_are_no_policies(document: Any) -> None:
    code, status, message = refused(lambda: parse_policy(encoded(document)))
    assert (code, status) == ("InvalidPolicyDocument", 400)
    assert message.startswith("Invalid Policy: ")


@given(st.one_of(st.text(), st.binary().map(lambda raw: base64.b64encode(raw).decode())))
def test_arbitrary_text_is_refused(text: str) -> None:
    assert refused(lambda: parse_policy(text))[:2] == ("InvalidPolicyDocument", 400)


def test_size_range() -> None:
    below = policy(["content-length-range", -1, 0])
    assert refused(lambda: check_size(below, 1, complete=False))[:2] == ("EntityTooLarge", 400)
    checked = policy(["content-length-range", 2, "4"])
    check_size(checked, 1, complete=False)
    check_size(checked, 4, complete=True)
    assert refused(lambda: check_size(checked, 5, complete=False))[:2] == ("EntityTooLarge", 400)
    assert refused(lambda: check_size(checked, 1, complete=True))[:2] == ("EntityTooSmall", 400)


# --- the form ---------------------------------------------------------------------------------------------------------

KIND = "multipart/form-data; boundary=XX"


class Pieces:
    """A source that hands out a body in given pieces."""

    def __init__(self, data: bytes, size: int) -> None:
        self.left = [data[at : at + size] for at in range(0, len(data), size)]

    def read(self) -> bytes:
        return self.left.pop(0) if self.left else b""


def form(fields: list[tuple[str, bytes]], file: bytes | None, boundary: str = "XX") -> bytes:
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"
             for name, value in fields]  # fmt: skip
    if file is not None:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a\\"b.txt"\r\n'
        parts.append(head.encode() + b"Content-Type: text/plain\r\n\r\n" + file + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode()


@given(
    st.lists(st.tuples(st.sampled_from(["key", "acl", "Tag"]), st.text("ab\r\n-X", max_size=8)), max_size=4),
    st.one_of(st.binary(max_size=60), st.text("\r\n-X", max_size=30).map(str.encode)),
    st.integers(1, 40),
)
def test_a_form_in_pieces(fields: list[tuple[str, str]], file: bytes, size: int) -> None:
    if b"\r\n--XX" in b"\r\n" + file or any("\r\n--XX" in "\r\n" + value for _, value in fields):
        return
    body = form([(name, value.encode()) for name, value in fields], file)
    read = read_form(KIND, Pieces(body, size))
    first: dict[str, str] = {}
    for name, value in fields:
        first.setdefault(name.lower(), value)
    assert read.fields == first
    assert read.filename == 'a"b.txt'
    assert read.file is not None
    assert b"".join(FileBody(read.file, None).blocks()) == file


def test_a_form_without_file() -> None:
    read = read_form(KIND, BytesSource(form([("key", b"a")], None)))
    assert (read.fields, read.file) == ({"key": "a"}, None)


def test_a_file_outside_its_range_stops_the_reading() -> None:
    source = Pieces(form([("key", b"a")], bytes(100_000)), 1000)
    read = read_form(KIND, source)
    assert read.file is not None
    body = FileBody(read.file, policy(["content-length-range", 0, 10_000]))
    assert refused(lambda: list(body.blocks()))[0] == "EntityTooLarge"
    assert len(source.left) > 80
    small = read_form(KIND, BytesSource(form([], b"abc")))
    assert small.file is not None
    body = FileBody(small.file, policy(["content-length-range", 4, 10]))
    assert refused(lambda: list(body.blocks()))[0] == "EntityTooSmall"


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        ("text/plain", b"", "PreconditionFailed"),
        ("multipart/form-data", b"", "PreconditionFailed"),
        (KIND, b"", "MalformedPOSTRequest"),
        (KIND, b"--XX", "MalformedPOSTRequest"),
        (KIND, b"--XX--\r\n", "MalformedPOSTRequest"),
        (KIND, b"--XXX\r\n", "MalformedPOSTRequest"),
        (KIND, b"--XX\r\n\r\nvalue\r\n--XX--", "MalformedPOSTRequest"),
        (KIND, b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\nvalue', "MalformedPOSTRequest"),
        (KIND, b'--XX\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--XX--', "MalformedPOSTRequest"),
        (KIND, b"--XX\r\n" + b"x" * 5000, "MalformedPOSTRequest"),
        (KIND, form([("a", b"x" * 20000), ("b", b"x" * 1000)], b""), "MaxPostPreDataLengthExceededError"),
    ],
)
def test_forms_that_are_none(kind: str, body: bytes, code: str) -> None:
    assert refused(lambda: read_form(kind, BytesSource(body)))[0] == code


@given(st.text(max_size=40), st.binary(max_size=80), st.integers(1, 20))
def test_arbitrary_forms_raise_nothing_but_errors(kind: str, body: bytes, size: int) -> None:
    for content_type in (kind, KIND):
        for content in (
            body,
            b"--XX\r\nContent-Disposition: form-data; name=" + body,
            form([("a", b"b")], body)[: len(body)],
        ):
            try:
                read = read_form(content_type, Pieces(content, size))
                if read.file is not None:
                    list(FileBody(read.file, None).blocks())
            except AWSError as error:
                assert error.status < 500
