"""Every operation of every service: botocore's serializer to our reader, our writer to botocore's parser."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.awsrequest import HeadersDict
from botocore.model import OperationModel, StructureShape
from botocore.parsers import create_parser

from compat.model import SERVICES, operation_model, operation_names
from gateway.route import resolve, wants_form
from gateway.wire import WireRequest, codec, parse_form
from tests.unit.shapes import TEXT, Maker, body_of, head_of, prepared

SPOKEN = [(service.name, protocol) for service in SERVICES.values() for protocol in service.protocols]
# Older twins, which have the URL of their successors and are read as those.
TWINS = {
    "GetBucketLifecycle": "GetBucketLifecycleConfiguration",
    "PutBucketLifecycle": "PutBucketLifecycleConfiguration",
    "GetBucketNotification": "GetBucketNotificationConfiguration",
    "PutBucketNotification": "PutBucketNotificationConfiguration",
}
EXAMPLES = 3


def models(service: str) -> list[OperationModel]:
    found = [operation_model(service, name) for name in sorted(operation_names(service))]
    return [model for model in found if model is not None]


def without(params: dict[str, Any], name: str | None) -> dict[str, Any]:
    return {key: value for key, value in params.items() if key != name}


@pytest.mark.parametrize(("service", "protocol"), SPOKEN)
def test_every_input_is_read_as_botocore_wrote_it(service: str, protocol: str) -> None:
    for model in models(service):
        wire = codec(service, model.name, protocol)
        for seed in range(EXAMPLES):
            params: dict[str, Any] = {}
            if isinstance(model.input_shape, StructureShape):
                # botocore writes a carriage return into XML as it is, and XML reads it as a line feed.
                text = TEXT.replace("\r", "") if protocol == "rest-xml" else TEXT
                params = Maker(seed, seed != 0, empties=False, text=text).structure(model.input_shape)
            request = prepared(model, params, protocol)
            host = "s3-control.us-east-1.amazonaws.com:4566" if service == "s3control" and seed else "127.0.0.1:4566"
            if service == "s3control" and not seed:
                request.headers["x-amz-account-id"] = "000000000000"
                if model.input_shape is not None and "AccountId" in model.input_shape.members:
                    params["AccountId"] = "000000000000"
            head, body = head_of(request, service, host), body_of(request)
            form = parse_form(body) if wants_form(head) else None
            route = resolve(head, form)
            assert (route.service, route.protocol) == (service, protocol)
            if model.name == "ListDirectoryBuckets":  # told from ListBuckets by its host alone
                continue
            assert route.operation == TWINS.get(model.name, model.name)
            if model.name in TWINS:
                continue
            read = wire.read(WireRequest(head, route.path, route.form, b"" if wire.stream_in else body))
            if "ContentLength" not in params:  # any client counts its body
                read.pop("ContentLength", None)
            assert read == without(params, wire.stream_in), model.name


@pytest.mark.parametrize(("service", "protocol"), SPOKEN)
def test_every_output_is_parsed_by_botocore_as_it_was(service: str, protocol: str) -> None:
    for model in models(service):
        shape = model.output_shape
        # The oldest notifications share an element between members; the location is no member at all.
        if model.has_event_stream_output or model.name in ("GetBucketLocation", "GetBucketNotification"):
            continue
        wire = codec(service, model.name, protocol)
        for seed in range(EXAMPLES):
            result: dict[str, Any] = {}
            if shape is not None:
                maker = Maker(seed, seed != 0, empties=True, milliseconds=service not in ("iam", "sts"))
                result = maker.structure(shape)
            stream = object()
            if wire.stream_out in result:
                result[wire.stream_out] = stream
            response = wire.write(result).render("the-request-id", "the-host-id")
            headers = HeadersDict({name.decode(): value.decode() for name, value in response.headers})
            if isinstance(response.body, bytes) and service != "s3":
                assert response.status == 204 or headers["content-length"] == str(len(response.body))
            raw = {"status_code": response.status, "headers": headers, "body": response.body, "context": {}}
            parsed = create_parser(protocol).parse(raw, shape)  # type: ignore[arg-type]
            metadata = parsed.pop("ResponseMetadata", {})
            assert shape is None or metadata.get("RequestId") == "the-request-id"
            if response.body == b"" and "ContentLength" not in result:
                parsed.pop("ContentLength", None)
            assert_same(parsed, result, shape, model.name)


def assert_same(parsed: dict[str, Any], result: dict[str, Any], shape: StructureShape | None, name: str) -> None:
    """Equality, but for what botocore adds: a status code and header maps that are there even when empty."""
    for member, about in shape.members.items() if shape is not None else ():
        if about.serialization.get("location") == "statusCode" or parsed.get(member) in ({}, ""):
            if member not in result:
                parsed.pop(member, None)
    assert parsed == result, name
