"""Readers given nonsense: a fault in AWS's words, and never anything else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compat.model import SERVICES, operation_names
from gateway.head import Head
from gateway.wire import WireFault, WireRequest, codec, parse_form
from tests.unit.shapes import body_of, prepared

EMPTY = Head("POST", b"/", b"", [])


def read(service: str, operation: str, request: WireRequest, protocol: str = "") -> dict[str, Any]:
    return codec(service, operation, protocol).read(request)


def refused(service: str, operation: str, request: WireRequest, protocol: str = "") -> WireFault:
    with pytest.raises(WireFault) as caught:
        read(service, operation, request, protocol)
    return caught.value


def of_form(text: str) -> WireRequest:
    return WireRequest(EMPTY, form=parse_form(text.encode()))


def test_ec2_refuses_fields_it_does_not_know() -> None:
    for field in ("Colour=red", "VpcId=vpc-1&VpcId.x=1", "Filter.1.Colour=red", "Filter.1.Name.2=x", "MaxResults.1=5"):
        fault = refused("ec2", "DescribeVpcs", of_form(f"Action=DescribeVpcs&Version=2016-11-15&{field}"))
        assert fault.code in ("UnknownParameter", "InvalidParameterValue", "MalformedQueryString"), field
    fault = refused("ec2", "DescribeVpcs", of_form("Filter.1.Colour=red"))
    assert (fault.code, fault.message) == ("UnknownParameter", "The parameter Filter.1.Colour is not recognized")


def test_ec2_passes_over_what_belongs_to_the_signature() -> None:
    request = of_form("Action=DescribeVpcs&AWSAccessKeyId=A&Signature=s&X-Amz-Date=x&VpcId.1=vpc-1")
    assert read("ec2", "DescribeVpcs", request) == {"VpcIds": ["vpc-1"]}


def test_query_services_pass_over_fields_they_do_not_know() -> None:
    assert read("iam", "GetUser", of_form("Action=GetUser&UserName=u&Colour=red&A.b.c=1")) == {"UserName": "u"}


def test_numbered_elements_come_in_the_order_of_their_numbers() -> None:
    request = of_form("&".join(f"InstanceId.{n}=i-{n}" for n in (10, 2, 1, 33)))
    assert read("ec2", "DescribeInstances", request) == {"InstanceIds": ["i-1", "i-2", "i-10", "i-33"]}


@pytest.mark.parametrize("value", ["x", "1.5", "--1", "9" * 30, "٣", "1e3"])
def test_a_number_that_is_none(value: str) -> None:
    assert refused("ec2", "DescribeVpcs", of_form(f"MaxResults={value}")).code == "InvalidParameterValue"
    assert refused("iam", "ListUsers", of_form(f"MaxItems={value}")).code == "MalformedInput"


def test_booleans_in_any_case_and_nothing_else() -> None:
    assert read("ec2", "DescribeVpcs", of_form("DryRun=TRUE")) == {"DryRun": True}
    assert read("ec2", "DescribeVpcs", of_form("DryRun=false")) == {"DryRun": False}
    assert refused("ec2", "DescribeVpcs", of_form("DryRun=yes")).code == "InvalidParameterValue"


def test_forms_have_limits() -> None:
    assert refused("ec2", "DescribeVpcs", of_form("a." * 40 + "b=1")).code == "MalformedQueryString"
    for body in (b"&".join([b"a=1"] * 20_001), b"a=" + b"x" * (5 << 20), b"a=%ff", b"\xff=1"):
        with pytest.raises(WireFault):
            parse_form(body)
    assert parse_form(b"a=1&a=2&&b&c=%41+%2B") == {"a": "1", "b": "", "c": "A +"}


@pytest.mark.parametrize(
    "body",
    [
        b"<",
        b"not xml",
        b"<VersioningConfiguration>",
        b"<Wrong><Status>Enabled</Status></Wrong>",
        b'<!DOCTYPE x [<!ENTITY a "b">]><VersioningConfiguration><Status>&a;</Status></VersioningConfiguration>',
        b'<?xml version="1.0"?><!DOCTYPE VersioningConfiguration><VersioningConfiguration/>',
        b"<VersioningConfiguration><Status>&undefined;</Status></VersioningConfiguration>",
        b"<VersioningConfiguration><Status><b/></Status></VersioningConfiguration>",
        "<VersioningConfiguration><Status>é</Status></VersioningConfiguration>".encode("latin-1"),
        "<VersioningConfiguration/>".encode("utf-16"),
        b"<VersioningConfiguration>" + b" " * (9 << 20) + b"</VersioningConfiguration>",
        b"<a>" * 100_000,
    ],
)
def test_xml_that_is_refused(body: bytes) -> None:
    fault = refused("s3", "PutBucketVersioning", WireRequest(EMPTY, {"Bucket": "b"}, None, body))
    assert (fault.code, fault.status) == ("MalformedXML", 400)


def test_xml_is_read_with_and_without_its_namespace() -> None:
    for namespace in (b"", b' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"', b' xmlns="urn:other"'):
        body = b"<VersioningConfiguration" + namespace + b"> <Status>Enabled</Status>\n</VersioningConfiguration>"
        found = read("s3", "PutBucketVersioning", WireRequest(EMPTY, {"Bucket": "b"}, None, body))
        assert found["VersioningConfiguration"] == {"Status": "Enabled"}


@pytest.mark.parametrize(
    "body", [b"[]", b"1", b"{", b"\xff", b'{"KeyId": 1}', b'{"KeyId": "\\ud800"}', b"[" * 5000, b'"']
)
def test_json_that_is_refused(body: bytes) -> None:
    fault = refused("kms", "DescribeKey", WireRequest(EMPTY, body=body))
    assert (fault.code, fault.status) == ("SerializationException", 400)


def test_deep_documents_are_refused_or_read_but_never_crash() -> None:
    deep = b'{"Aggregators":' + b'[{"Aggregators":' * 450 + b"[]" + b"}]" * 450 + b"}"
    try:
        read("ssm", "GetInventory", WireRequest(EMPTY, body=deep))
    except WireFault as fault:
        assert fault.code == "SerializationException"


@pytest.mark.parametrize(
    "body", [b"\xff", b"\xa1", b"\x9f", b"\x1b" + b"\xff" * 8, b"\xbf\x01\x02\xff", b"\x9f" * 200, b"\x78\xff"]
)
def test_cbor_that_is_refused(body: bytes) -> None:
    fault = refused("cloudwatch", "PutMetricData", WireRequest(EMPTY, body=body), "smithy-rpc-v2-cbor")
    assert fault.code == "SerializationException"


def test_header_and_query_values_that_are_none() -> None:
    bad_date = Head("PUT", b"/b/k", b"", [(b"x-amz-object-lock-retain-until-date", b"tomorrow")])
    assert refused("s3", "PutObject", WireRequest(bad_date, {"Bucket": "b", "Key": "k"})).code == "InvalidArgument"
    bad_number = Head("GET", b"/b", b"max-keys=many", [])
    fault = refused("s3", "ListObjects", WireRequest(bad_number, {"Bucket": "b"}))
    assert (fault.code, fault.fields["ArgumentName"]) == ("InvalidArgument", "max-keys")
    not_text = Head("GET", b"/b", b"prefix=%ff", [])
    assert refused("s3", "ListObjects", WireRequest(not_text, {"Bucket": "b"})).code == "InvalidArgument"


OPERATIONS = sorted((service, name) for service in SERVICES for name in operation_names(service))
BYTES = st.binary(max_size=40)
QUERY = st.lists(
    st.sampled_from([b"max-keys=", b"prefix=", b"partNumber=", b"versionId=", b"%ff", b"x", b"&", b"1"]), max_size=6
)
NAMES = st.lists(
    st.sampled_from(
        ["Filter", "1", "2", "Name", "Value", "member", "entry", "key", "value", "Tags", "MaxResults", "", "x"]
    ),
    min_size=1,
    max_size=5,
).map(".".join)


@settings(max_examples=250)
@given(st.sampled_from(OPERATIONS), BYTES, QUERY, st.dictionaries(NAMES, st.text(max_size=5), max_size=5), BYTES)
def test_no_request_makes_a_reader_raise_anything_but_a_fault(
    operation: tuple[str, str], body: bytes, query: list[bytes], form: dict[str, str], header: bytes
) -> None:
    names = [b"content-length", b"x-amz-meta-a", b"if-match", b"expires", b"x-amz-object-attributes", b"x-amz-tagging"]
    head = Head("POST", b"/", b"".join(query), [(name, header) for name in names])
    for protocol in SERVICES[operation[0]].protocols:
        try:
            found = codec(*operation, protocol).read(WireRequest(head, {"Bucket": "b", "Key": "k"}, form, body))
        except WireFault as fault:
            assert fault.status == 400
        else:
            assert isinstance(found, dict)


@settings(max_examples=200)
@given(st.data())
def test_damaged_documents_are_faults(data: st.DataObject) -> None:
    """Documents of real requests with a piece cut out or replaced: they come closer to the walkers than noise does."""
    from compat.model import operation_model
    from tests.unit.shapes import Maker

    service, name = data.draw(st.sampled_from(OPERATIONS))
    model = operation_model(service, name)
    assert model is not None
    for protocol in SERVICES[service].protocols:
        if model.input_shape is None:
            continue
        params = Maker(data.draw(st.integers(0, 9)), True, empties=False).structure(model.input_shape)
        body = body_of(prepared(model, params, protocol))
        start, size = data.draw(st.integers(0, len(body))), data.draw(st.integers(0, 8))
        broken = body[:start] + data.draw(BYTES) + body[start + size :]
        try:
            form = parse_form(broken) if protocol in ("ec2", "query") else None
            codec(service, name, protocol).read(WireRequest(EMPTY, {}, form, broken))
        except WireFault as fault:
            assert fault.code
