"""Error envelopes, as botocore's parsers read them."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.awsrequest import HeadersDict
from botocore.parsers import create_parser
from hypothesis import given, settings
from hypothesis import strategies as st

from compat.model import SERVICES
from gateway.wire import WireResponse, encode_error

SPOKEN = [(service.name, protocol) for service in SERVICES.values() for protocol in service.protocols]


def parsed(response: WireResponse, protocol: str) -> Any:
    headers = HeadersDict({name.decode(): value.decode() for name, value in response.headers})
    raw = {"status_code": response.status, "headers": headers, "body": response.body}
    return create_parser(protocol).parse(raw, None)  # type: ignore[arg-type]


@pytest.mark.parametrize(("service", "protocol"), SPOKEN)
def test_botocore_reads_code_message_and_request_id(service: str, protocol: str) -> None:
    text = 'It\'s <not> & never "fine" — 東京'
    found = parsed(encode_error(service, "Some.Code", text, 403, None, "rid", "hid", protocol=protocol), protocol)
    assert (found["Error"]["Code"], found["Error"]["Message"]) == ("Some.Code", text)
    assert found["ResponseMetadata"]["RequestId"] == "rid"
    assert found["ResponseMetadata"]["HTTPStatusCode"] == 403


def test_ec2_has_its_own_envelope() -> None:
    body = encode_error("ec2", "InvalidVpcID.NotFound", "gone", 400, None, "rid").body
    assert (
        b"<Response><Errors><Error><Code>InvalidVpcID.NotFound</Code><Message>gone</Message></Error></Errors>" in body
    )
    assert body.endswith(b"<RequestID>rid</RequestID></Response>")


@pytest.mark.parametrize(
    ("status", "side"), [(400, b"Sender"), (404, b"Sender"), (500, b"Receiver"), (503, b"Receiver")]
)
def test_query_services_say_whose_fault_it_is(status: int, side: bytes) -> None:
    body = encode_error("iam", "Code", "m", status).body
    assert b"<Type>" + side + b"</Type>" in body
    assert b'xmlns="https://iam.amazonaws.com/doc/2010-05-08/"' in body


def test_an_action_of_no_service_has_no_namespace() -> None:
    assert encode_error("", "InvalidAction", "m", 400, protocol="query").body.startswith(b"<ErrorResponse><Error>")


def test_s3_carries_further_fields_and_both_ids() -> None:
    response = encode_error("s3", "NoSuchKey", "m", 404, {"Key": "a<b", "Nothing": None}, "rid", "hid")
    assert b"<Key>a&lt;b</Key><RequestId>rid</RequestId><HostId>hid</HostId></Error>" in response.body
    assert b"Nothing" not in response.body
    assert (b"x-amz-request-id", b"rid") in response.headers and (b"x-amz-id-2", b"hid") in response.headers
    assert parsed(response, "rest-xml")["Error"]["Key"] == "a<b"


def test_a_head_request_gets_no_body() -> None:
    response = encode_error("s3", "NoSuchKey", "m", 404, None, "rid", "hid", head=True)
    assert encode_error("s3", "NotModified", "", 304).body == b""
    assert response.body == b"" and not any(name == b"content-length" for name, _ in response.headers)


def test_a_query_compatible_service_sends_the_older_code_too() -> None:
    for protocol in ("json", "smithy-rpc-v2-cbor"):
        response = encode_error("cloudwatch", "ResourceNotFound", "m", 404, protocol=protocol)
        assert (b"x-amzn-query-error", b"ResourceNotFound;Sender") in response.headers
        assert parsed(response, protocol)["Error"]["Type"] == "Sender"


def test_ebs_names_the_error_in_a_header() -> None:
    response = encode_error("ebs", "ValidationException", "m", 400, {"Reason": "INVALID_BLOCK"})
    assert (b"x-amzn-errortype", b"ValidationException") in response.headers
    assert b'"Reason":"INVALID_BLOCK"' in response.body


@settings(max_examples=200)
@given(
    st.sampled_from(SPOKEN),
    st.text("aé\n\r\0\ud800<", max_size=4),
    st.text(),
    st.dictionaries(st.sampled_from("AB"), st.text()),
)
def test_no_text_breaks_an_envelope(spoken: tuple[str, str], code: str, message: str, fields: dict[str, str]) -> None:
    service, protocol = spoken
    response = encode_error(service, code, message, 400, fields, "rid", protocol=protocol)
    assert isinstance(response.body, bytes) and dict(response.headers)[b"content-length"] == b"%d" % len(response.body)
    for _, value in response.headers:
        assert b"\n" not in value and b"\r" not in value


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"))))
def test_any_printable_message_arrives_whole(message: str) -> None:
    if "\ufffe" in message or "\uffff" in message:
        return
    for service, protocol in SPOKEN:
        found = parsed(encode_error(service, "Code", message, 400, None, "r", protocol=protocol), protocol)
        assert (found["Error"]["Message"] or "") == message
