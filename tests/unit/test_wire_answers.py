"""Answers byte by byte, where a parser would not notice the difference but a client may."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.head import Head
from gateway.wire import WireRequest, WireResponse, codec, scalars
from gateway.wire import cbor as wire_cbor

MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)


def answer(service: str, operation: str, result: dict[str, Any], protocol: str = "") -> WireResponse:
    return codec(service, operation, protocol).write(result).render("rid", "hid")


def test_ec2() -> None:
    response = answer(
        "ec2", "DescribeVpcs", {"Vpcs": [{"VpcId": "vpc-1", "Tags": [], "IsDefault": True, "State": None}]}
    )
    assert response.body.startswith(
        b'<?xml version="1.0" encoding="UTF-8"?>\n'
        b'<DescribeVpcsResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/"><requestId>rid</requestId><vpcSet><item>'
    )
    assert response.body.endswith(b"</item></vpcSet></DescribeVpcsResponse>")
    assert b"<tagSet/>" in response.body and b"<isDefault>true</isDefault>" in response.body
    assert b"state" not in response.body
    assert dict(response.headers)[b"content-length"] == b"%d" % len(response.body)


def test_ec2_operations_without_output_answer_true() -> None:
    assert answer("ec2", "DeleteVpc", {}).body.endswith(
        b"<requestId>rid</requestId><return>true</return></DeleteVpcResponse>"
    )


def test_query() -> None:
    response = answer("sts", "GetCallerIdentity", {"Account": "1", "Arn": "a", "UserId": "u"})
    assert response.body == (
        b'<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
        b"<UserId>u</UserId><Account>1</Account><Arn>a</Arn></GetCallerIdentityResult>"
        b"<ResponseMetadata><RequestId>rid</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    )
    assert b"Result" not in answer("iam", "DeleteUser", {}).body


def test_an_encoded_answer_is_rendered_many_times() -> None:
    encoded = codec("ec2", "DescribeVpcs").write({"Vpcs": []})
    first, second = encoded.render("one"), encoded.render("two")
    assert first.body.replace(b"one", b"two") == second.body
    assert (b"x-amzn-requestid", b"one") in first.headers and (b"x-amzn-requestid", b"two") in second.headers


def test_timestamps_by_service() -> None:
    user = {"User": {"Path": "/", "UserName": "u", "UserId": "U", "Arn": "a", "CreateDate": MOMENT}}
    assert b"<CreateDate>2026-01-02T03:04:05Z</CreateDate>" in answer("iam", "GetUser", user).body
    instance = {"Reservations": [{"Instances": [{"LaunchTime": MOMENT}]}]}
    assert b"<launchTime>2026-01-02T03:04:05.678Z</launchTime>" in answer("ec2", "DescribeInstances", instance).body
    head = dict(answer("s3", "HeadObject", {"LastModified": MOMENT}).headers)
    assert head[b"last-modified"] == b"Fri, 02 Jan 2026 03:04:05 GMT"
    assert answer("kms", "DescribeKey", {"KeyMetadata": {"KeyId": "k", "CreationDate": MOMENT}}).body == (
        b'{"KeyMetadata":{"KeyId":"k","CreationDate":1767323045.678}}'
    )


def test_s3_roots_and_namespaces() -> None:
    listing = answer("s3", "ListObjectsV2", {"Name": "b", "KeyCount": 0, "IsTruncated": False, "Contents": []}).body
    assert listing.startswith(
        b'<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    )
    assert b"<Contents" not in listing
    assert b"<ListAllMyBucketsResult " in answer("s3", "ListBuckets", {"Buckets": []}).body
    assert b"<Buckets/>" in answer("s3", "ListBuckets", {"Buckets": []}).body
    assert b"<VersioningConfiguration " in answer("s3", "GetBucketVersioning", {}).body
    assert b"<InitiateMultipartUploadResult " in answer("s3", "CreateMultipartUpload", {"UploadId": "u"}).body


def test_s3_location_is_the_root_itself() -> None:
    place = answer("s3", "GetBucketLocation", {"LocationConstraint": "eu-west-1"}).body
    assert place.endswith(
        b'<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">eu-west-1</LocationConstraint>'
    )
    assert answer("s3", "GetBucketLocation", {}).body.endswith(b'"http://s3.amazonaws.com/doc/2006-03-01/"/>')


def test_s3_grantees_have_a_type() -> None:
    grants = [{"Grantee": {"Type": "CanonicalUser", "ID": "1"}, "Permission": "READ"}]
    body = answer("s3", "GetBucketAcl", {"Grants": grants}).body
    assert b'<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>1</ID>' in body


def test_s3_headers_metadata_and_streams() -> None:
    stream = object()
    result = {"Body": stream, "ContentLength": 5, "Metadata": {"Colour": "red"}, "ETag": '"e"', "DeleteMarker": False}
    response = answer("s3", "GetObject", result)
    headers = dict(response.headers)
    assert response.body is stream
    assert headers[b"content-length"] == b"5" and headers[b"x-amz-meta-colour"] == b"red"
    assert headers[b"etag"] == b'"e"' and headers[b"x-amz-delete-marker"] == b"false"
    assert headers[b"x-amz-request-id"] == b"rid" and headers[b"x-amz-id-2"] == b"hid"


def test_statuses_that_the_model_does_not_have() -> None:
    part = {"Body": object(), "ContentRange": "bytes 0-1/9", "ContentLength": 2}
    assert answer("s3", "GetObject", part).status == 206
    assert answer("s3", "HeadObject", {"ContentRange": "bytes 0-1/9", "ContentLength": 2}).status == 206
    assert answer("s3", "RestoreObject", {"$status": 202}).status == 202
    assert answer("s3", "RestoreObject", {}).status == 200


def test_dates_that_are_none_are_passed_over_where_http_says_so() -> None:
    head = Head("PUT", b"/b/k", b"", [(b"expires", b"never"), (b"if-modified-since", b"yesterday")])
    request = WireRequest(head, {"Bucket": "b", "Key": "k"})
    assert codec("s3", "GetObject").read(request) == {"Bucket": "b", "Key": "k"}
    assert codec("s3", "PutObject").read(request) == {"Bucket": "b", "Key": "k", "Expires": "never"}
    assert dict(answer("s3", "GetObject", {"Expires": "never"}).headers)[b"expires"] == b"never"


def test_s3_head_has_the_length_of_the_object_and_no_body() -> None:
    response = answer("s3", "HeadObject", {"ContentLength": 7})
    assert response.body == b"" and [v for n, v in response.headers if n == b"content-length"] == [b"7"]


def test_s3_text_payloads_go_as_they_are() -> None:
    response = answer("s3", "GetBucketPolicy", {"Policy": '{"a":"<&>"}'})
    assert response.body == b'{"a":"<&>"}'
    assert answer("s3", "DeleteBucketPolicy", {}).status == 204


def test_no_header_can_carry_another() -> None:
    headers = answer("s3", "GetObject", {"ContentType": "a\r\nx-evil: 1", "Metadata": {"k": "a\nb"}}).headers
    assert all(b"\n" not in value and b"\r" not in value for _, value in headers)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-01-02T03:04:05.678Z", MOMENT),
        ("2026-01-02T03:04:05.678000+00:00", MOMENT),
        ("2026-01-02T05:04:05.678+02:00", MOMENT),
        ("20260102T030405.678Z", MOMENT),
        ("1767323045.678", MOMENT),
        ("1767323045", MOMENT.replace(microsecond=0)),
        ("Fri, 02 Jan 2026 03:04:05 GMT", MOMENT.replace(microsecond=0)),
        ("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC)),
        ("2026-01-02T03:04:05", MOMENT.replace(microsecond=0)),
    ],
)
def test_spellings_of_an_instant(text: str, instant: datetime) -> None:
    assert scalars.read_timestamp(text) == instant


@given(st.text())
def test_text_is_an_instant_or_a_value_error(text: str) -> None:
    try:
        assert scalars.read_timestamp(text).tzinfo is not None
    except ValueError:
        pass


def test_instants_of_any_zone_are_written_in_utc() -> None:
    there = MOMENT.astimezone(timezone(timedelta(hours=5)))
    assert scalars.iso_milliseconds(there) == "2026-01-02T03:04:05.678Z"
    assert scalars.iso_seconds(there) == "2026-01-02T03:04:05Z"
    assert scalars.http_date(there) == "Fri, 02 Jan 2026 03:04:05 GMT"
    assert scalars.epoch(there) == 1767323045.678


def test_header_lists_may_be_quoted() -> None:
    head = Head("GET", b"/b/k", b"attributes", [(b"x-amz-object-attributes", b'ETag, "Object,Size" ,Checksum')])
    found = codec("s3", "GetObjectAttributes").read(WireRequest(head, {"Bucket": "b", "Key": "k"}))
    assert found["ObjectAttributes"] == ["ETag", "Object,Size", "Checksum"]


def test_metadata_headers_become_a_map() -> None:
    head = Head("PUT", b"/b/k", b"", [(b"x-amz-meta-a", b"1"), (b"x-amz-meta-b-c", "é".encode())])
    found = codec("s3", "PutObject").read(WireRequest(head, {"Bucket": "b", "Key": "k"}))
    assert found["Metadata"] == {"a": "1", "b-c": "é"}


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_cbor_reads_what_it_writes(value: Any) -> None:
    try:
        assert wire_cbor.loads(wire_cbor.dumps(value)) == value
    except UnicodeEncodeError:
        pytest.fail("text could not be written")


@given(st.binary(max_size=60))
def test_cbor_reads_or_raises_value_error(data: bytes) -> None:
    try:
        wire_cbor.loads(data)
    except ValueError:
        pass
