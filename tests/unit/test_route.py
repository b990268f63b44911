"""Which service and operation a request means, by every sign that clients give."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compat.model import SERVICES, operation_model, operation_names
from gateway.head import Head
from gateway.hosts import parse_host
from gateway.route import Route, Router, resolve, wants_form
from gateway.wire import WireFault, parse_form
from tests.unit.shapes import Maker, body_of, head_of, prepared

S3_TWINS = {"GetBucketLifecycle", "PutBucketLifecycle", "GetBucketNotification", "PutBucketNotification"}


def signed(scope: str) -> tuple[bytes, bytes]:
    credential = f"AKIDEXAMPLE/20260102/us-east-1/{scope}/aws4_request"
    text = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders=host;x-amz-date, Signature=00"
    return (b"authorization", text.encode())


def request(
    method: str, target: str, *headers: tuple[bytes, bytes], host: str = "127.0.0.1:4566", scope: str = ""
) -> Head:
    path, _, query = target.partition("?")
    found = [(b"host", host.encode()), *headers]
    if scope:
        found.append(signed(scope))
    return Head(method, path.encode(), query.encode(), found)


def s3(method: str, target: str, *headers: tuple[bytes, bytes], host: str = "127.0.0.1:4566") -> Route:
    return resolve(request(method, target, *headers, host=host))


def fault(head: Head, form: dict[str, str] | None = None) -> WireFault:
    with pytest.raises(WireFault) as caught:
        resolve(head, form)
    return caught.value


def s3_requests(host: str) -> list[tuple[str, Head]]:
    found = []
    for name in sorted(operation_names("s3") - S3_TWINS - {"ListDirectoryBuckets"}):
        model = operation_model("s3", name)
        assert model is not None and model.input_shape is not None
        for seed in range(4):
            params = Maker(seed, seed != 0, empties=False).structure(model.input_shape)
            if "Bucket" in params:
                params["Bucket"] = "my.dotted.bucket"
            head = head_of(prepared(model, params, "rest-xml"), "s3", host)
            found.append((name, head))
    return found


def test_every_s3_operation_is_found_in_path_style() -> None:
    for name, head in s3_requests("127.0.0.1:4566"):
        assert resolve(head).operation == name, head


@pytest.mark.parametrize(
    "host",
    ["s3.us-west-2.amazonaws.com", "s3.localhost.localstack.cloud:4566", "localhost", "s3.eu-central-1.localhost"],
)
def test_every_s3_operation_is_found_as_virtual_host(host: str) -> None:
    for name, head in s3_requests(f"my.dotted.bucket.{host}"):
        if not head.raw_path.startswith(b"/my.dotted.bucket"):
            continue
        head.raw_path = head.raw_path[len(b"/my.dotted.bucket") :] or b"/"
        route = resolve(head)
        assert (route.operation, route.path["Bucket"], route.style) == (name, "my.dotted.bucket", "virtual")


@pytest.mark.parametrize("form_in_query", [False, True])
def test_calls_are_found_by_action_in_form_and_in_query(form_in_query: bool) -> None:
    for service in SERVICES.values():
        for protocol in {"ec2", "query"} & set(service.protocols):
            for name in sorted(operation_names(service.name)):
                fields = f"Action={name}&Version={service.api_version}"
                if form_in_query:
                    route = resolve(request("GET", f"/?{fields}", scope=service.scope))
                else:
                    route = resolve(request("POST", "/", scope=service.scope), parse_form(fields.encode()))
                assert (route.service, route.operation, route.protocol) == (service.name, name, protocol)


def test_an_unsigned_call_is_told_by_version_host_or_action() -> None:
    by_version = parse_form(b"Action=GetCallerIdentity&Version=2011-06-15")
    assert resolve(request("POST", "/"), by_version).service == "sts"
    both = parse_form(b"Action=DescribeTags&Version=2011-01-01")
    assert resolve(request("POST", "/"), both).service == "autoscaling"
    no_version = {"Action": "DescribeVpcs"}
    assert resolve(request("POST", "/"), no_version).service == "ec2"
    by_host = request("POST", "/", host="elasticloadbalancing.us-east-1.amazonaws.com")
    assert resolve(by_host, {"Action": "DescribeTags"}).service == "elbv2"
    by_query = resolve(request("GET", "/?Action=GetCallerIdentity&Version=2011-06-15"))
    assert (by_query.service, by_query.operation) == ("sts", "GetCallerIdentity")


def test_the_forms_that_must_be_read_before_routing() -> None:
    form = (b"content-type", b"application/x-www-form-urlencoded; charset=utf-8")
    assert wants_form(request("POST", "/", form, scope="ec2"))
    assert wants_form(request("POST", "/", scope="iam"))
    assert wants_form(request("POST", "/", form))
    assert wants_form(request("POST", "/", form, scope="monitoring"))
    assert not wants_form(request("POST", "/bucket/key?uploads", form))
    assert not wants_form(request("POST", "/", form, scope="s3"))
    assert not wants_form(request("POST", "/?delete", form, host="b.s3.amazonaws.com"))
    assert not wants_form(request("PUT", "/bucket/key", form, scope="s3"))
    assert not wants_form(request("POST", "/", (b"x-amz-target", b"TrentService.ListKeys"), scope="kms"))


@pytest.mark.parametrize(
    ("method", "target", "operation"),
    [
        ("GET", "/", "ListBuckets"),
        ("GET", "/b", "ListObjects"),
        ("GET", "/b/", "ListObjects"),
        ("GET", "/b?list-type=2&prefix=versions", "ListObjectsV2"),
        ("GET", "/b?list-type=2&x-id=ListObjectsV2", "ListObjectsV2"),
        ("GET", "/b?versions&prefix=a", "ListObjectVersions"),
        ("GET", "/b?uploads", "ListMultipartUploads"),
        ("GET", "/b?analytics", "ListBucketAnalyticsConfigurations"),
        ("GET", "/b?analytics&id=1", "GetBucketAnalyticsConfiguration"),
        ("GET", "/b?lifecycle", "GetBucketLifecycleConfiguration"),
        ("PUT", "/b?lifecycle=", "PutBucketLifecycleConfiguration"),
        ("POST", "/b?delete", "DeleteObjects"),
        ("POST", "/b", "PostObject"),
        ("GET", "/b/k", "GetObject"),
        ("GET", "/b/k?versionId=1&partNumber=2", "GetObject"),
        ("GET", "/b/k?uploadId=x", "ListParts"),
        ("GET", "/b/k?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=1", "GetObject"),
        ("PUT", "/b/k?partNumber=1&uploadId=x", "UploadPart"),
        ("PUT", "/b/k?tagging&versionId=3", "PutObjectTagging"),
        ("DELETE", "/b/k?uploadId=x", "AbortMultipartUpload"),
        ("DELETE", "/b/k?versionId=x", "DeleteObject"),
        ("POST", "/b/k?uploads", "CreateMultipartUpload"),
        ("POST", "/b/k?uploadId=x", "CompleteMultipartUpload"),
        ("POST", "/b/k?select&select-type=2", "SelectObjectContent"),
        ("HEAD", "/b", "HeadBucket"),
        ("HEAD", "/b/k", "HeadObject"),
        ("OPTIONS", "/b/k", "Preflight"),
        ("GET", "/b/k?attributes", "GetObjectAttributes"),
    ],
)
def test_s3_operations_by_method_and_sub_resource(method: str, target: str, operation: str) -> None:
    assert s3(method, target).operation == operation
    assert resolve(request(method, target, scope="s3")).operation == operation


def test_a_copy_is_told_by_its_header() -> None:
    source = (b"x-amz-copy-source", b"/b/k")
    assert s3("PUT", "/b/k", source).operation == "CopyObject"
    assert s3("PUT", "/b/k?partNumber=1&uploadId=x", source).operation == "UploadPartCopy"
    assert s3("PUT", "/b/k?tagging", source).operation == "PutObjectTagging"


def test_a_method_that_a_sub_resource_lacks_does_not_fall_through_to_the_whole() -> None:
    for method, target in [
        ("DELETE", "/b?versioning"),
        ("PUT", "/b?policyStatus"),
        ("DELETE", "/b/k?acl"),
        ("PUT", "/b/k?torrent"),
        ("POST", "/b/k"),
        ("DELETE", "/"),
        ("PATCH", "/b/k"),
    ]:
        refused = fault(request(method, target))
        assert (refused.code, refused.status, refused.service) == ("MethodNotAllowed", 405, "s3"), (method, target)
    for target in ("/b/k?uploadId=x", "/b/k?partNumber=1"):
        assert fault(request("PUT", target)).code == "InvalidArgument"


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ("/b/a%20b", "a b"),
        ("/b/a+b", "a+b"),
        ("/b/a%2520b", "a%20b"),
        ("/b//a", "/a"),
        ("/b/../etc/./passwd", "../etc/./passwd"),
        ("/b/%2e%2e/x", "../x"),
        ("/b/a%2Fb", "a/b"),
        ("/b/a%00b", "a\0b"),
        ("/b/a/", "a/"),
        ("/b/%C3%A9", "é"),
        ("/b/a;b=c", "a;b=c"),
    ],
)
def test_keys_are_decoded_once_and_never_normalised(raw: str, key: str) -> None:
    assert s3("GET", raw).path == {"Bucket": "b", "Key": key}
    assert s3("GET", raw[2:], host="b.s3.amazonaws.com").path == {"Bucket": "b", "Key": key}


def test_a_key_that_is_no_utf8_is_refused() -> None:
    refused = fault(request("GET", "/b/%ff%fe"))
    assert (refused.code, refused.status, refused.service) == ("InvalidURI", 400, "s3")


@pytest.mark.parametrize(
    ("host", "bucket", "style"),
    [
        ("127.0.0.1:4566", "", "path"),
        ("[::1]:4566", "", "path"),
        ("localhost:4566", "", "path"),
        ("localhost.localstack.cloud:4566", "", "path"),
        ("s3.localhost.localstack.cloud:4566", "", "path"),
        ("s3.us-east-1.localhost.localstack.cloud", "", "path"),
        ("s3.amazonaws.com", "", "path"),
        ("s3-us-west-2.amazonaws.com", "", "path"),
        ("s3.dualstack.us-west-2.amazonaws.com", "", "path"),
        ("s3.cn-north-1.amazonaws.com.cn", "", "path"),
        ("b.s3.us-east-1.localhost.localstack.cloud:4566", "b", "virtual"),
        ("b.s3.localhost.localstack.cloud:4566", "b", "virtual"),
        ("b.localhost:4566", "b", "virtual"),
        ("B.S3.amazonaws.com", "b", "virtual"),
        ("b.s3.us-gov-west-1.amazonaws.com", "b", "virtual"),
        ("b.s3-us-west-2.amazonaws.com", "b", "virtual"),
        ("b.s3.dualstack.eu-west-1.amazonaws.com", "b", "virtual"),
        ("b.s3-accelerate.amazonaws.com", "b", "virtual"),
        ("a.b.c.s3.eu-west-1.amazonaws.com", "a.b.c", "virtual"),
        ("x.s3.y.s3.eu-west-1.amazonaws.com", "x.s3.y", "virtual"),
        ("a.b.localhost", "a.b", "virtual"),
        ("b.s3-website.us-east-1.amazonaws.com", "b", "website"),
        ("b.s3-website-us-east-1.amazonaws.com", "b", "website"),
        ("a.b.s3-website.localhost.localstack.cloud:4566", "a.b", "website"),
        ("b.s3-website.us-east-1.localhost", "b", "website"),
        ("s3-website-us-east-1.amazonaws.com", "", "website"),
        ("s3-website.localhost:4566", "s3-website", "virtual"),
        ("ec2.us-east-1.amazonaws.com", "", "path"),
        ("ec2.localhost:4566", "", "path"),
        ("unrelated.example.com", "", "path"),
        ("", "", "path"),
    ],
)
def test_what_a_host_names(host: str, bucket: str, style: str) -> None:
    found = parse_host(host.encode())
    assert (found.bucket, found.style) == (bucket, style)


def test_domains_of_ones_own() -> None:
    router = Router(("cloud.test",))
    assert router.resolve(request("GET", "/k", host="b.s3.cloud.test:4566")).path == {"Bucket": "b", "Key": "k"}
    assert router.resolve(request("GET", "/b/k", host="cloud.test")).path == {"Bucket": "b", "Key": "k"}


def test_website_hosts_are_told_apart() -> None:
    route = s3("GET", "/", host="b.s3-website-us-east-1.amazonaws.com")
    assert (route.operation, route.style, route.path) == ("GetObject", "website", {"Bucket": "b", "Key": ""})
    assert s3("HEAD", "/a/", host="b.s3-website.us-east-1.amazonaws.com").path["Key"] == "a/"
    assert s3("PUT", "/a", host="b.s3-website.us-east-1.amazonaws.com").style == "website"  # refused in HTML


@pytest.mark.parametrize(
    "host", ["000000000001.s3-control.us-east-1.amazonaws.com", "000000000001.localhost:4566", "127.0.0.1:4566"]
)
def test_s3_control_by_host_or_header(host: str) -> None:
    headers = () if host[0] == "0" else ((b"x-amz-account-id", b"000000000001"),)
    target = "/v20180820/tags/arn%3Aaws%3As3%3A%3A%3Ab"
    route = resolve(request("GET", target, *headers, host=host, scope="s3"))
    assert (route.service, route.operation) == ("s3control", "ListTagsForResource")
    assert route.path == {"resourceArn": "arn:aws:s3:::b"}


def test_a_bucket_with_the_name_of_the_control_path_is_still_a_bucket() -> None:
    assert s3("GET", "/v20180820/tags/x").path == {"Bucket": "v20180820", "Key": "tags/x"}


def test_actions_that_aws_does_not_know() -> None:
    for service in SERVICES.values():
        for protocol in {"ec2", "query"} & set(service.protocols):
            refused = fault(request("POST", "/", scope=service.scope), {"Action": "MakeCoffee"})
            assert (refused.code, refused.status) == ("InvalidAction", 400)
            assert (refused.service, refused.protocol) == (service.name, protocol)
        if service.target:
            target = (b"x-amz-target", f"{service.target}.MakeCoffee".encode())
            refused = fault(request("POST", "/", target, scope=service.scope))
            assert (refused.code, refused.status, refused.protocol) == ("InvalidAction", 400, "json")
    assert fault(request("POST", "/", scope="ec2"), {}).code == "MissingAction"
    assert fault(request("POST", "/"), {"Action": "MakeCoffee"}).code == "InvalidAction"
    dated = fault(request("POST", "/"), {"Action": "MakeCoffee", "Version": "2016-11-15"})
    assert (dated.code, dated.service, dated.protocol) == ("InvalidAction", "ec2", "ec2")
    assert fault(request("GET", "/nowhere", scope="ebs")).service == "ebs"


def test_services_that_are_not_spoken() -> None:
    for head in (
        request("POST", "/", (b"x-amz-target", b"DynamoDB_20120810.ListTables"), scope="dynamodb"),
        request("GET", "/2015-03-31/functions/", scope="lambda"),
    ):
        refused = fault(head)
        assert (refused.code, refused.status) == ("NotImplemented", 501)
    classic = {"Action": "DescribeLoadBalancers", "Version": "2012-06-01"}
    assert fault(request("POST", "/", scope="elasticloadbalancing"), classic).status == 501


def test_json_and_cbor_targets() -> None:
    for service in SERVICES.values():
        for name in sorted(operation_names(service.name)) if service.target else ():
            target = (b"x-amz-target", f"{service.target}.{name}".encode())
            route = resolve(request("POST", "/", target, scope=service.scope))
            assert (route.service, route.operation, route.protocol) == (service.name, name, "json")
    cbor = request(
        "POST", "/service/GraniteServiceVersion20100801/operation/PutMetricData", (b"smithy-protocol", b"rpc-v2-cbor")
    )
    assert resolve(cbor) == Route("cloudwatch", "PutMetricData", "smithy-rpc-v2-cbor")


def test_a_presigned_scope_counts_like_a_signed_one() -> None:
    credential = "X-Amz-Credential=AKID%2F20260102%2Fus-east-1%2Fsts%2Faws4_request"
    route = resolve(request("GET", f"/?Action=GetCallerIdentity&Version=2011-06-15&{credential}"))
    assert (route.service, route.scope) == ("sts", "sts")


def test_directory_buckets_are_listed_at_a_host_of_their_own() -> None:
    route = resolve(request("GET", "/", host="s3express-control.us-east-1.amazonaws.com", scope="s3express"))
    assert route.operation == "ListDirectoryBuckets"


PIECES = st.sampled_from(
    [
        b"/",
        b"%",
        b"%2F",
        b"..",
        b"b",
        b"k",
        b"v20180820",
        b"tags",
        b"service",
        b"operation",
        b"\xff",
        b"\0",
        b"%ff",
        b"?",
        b"&",
    ]
    + [
        b"Action=",
        b"uploads",
        b"uploadId=1",
        b"list-type=2",
        b"versioning",
        b"=",
        b"X-Amz-Credential=a/b/c/d/e",
        b"snapshots",
    ]
)
TEXTS = st.lists(PIECES | st.binary(max_size=6), max_size=8).map(b"".join)
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [b"host", b"authorization", b"x-amz-target", b"smithy-protocol", b"x-amz-copy-source", b"content-type"]
            + [b"x-amz-account-id", b"x-amz-request-route"]
        ),
        TEXTS
        | st.sampled_from(
            [signed(service.scope)[1] for service in SERVICES.values()]
            + [
                b"b.s3.amazonaws.com",
                b"rpc-v2-cbor",
                b"application/x-www-form-urlencoded",
                b"AmazonSSM.",
                b"Credential=////",
            ]
        ),
    ),
    max_size=5,
)
METHODS = st.sampled_from(["GET", "PUT", "POST", "DELETE", "HEAD", "OPTIONS", "PATCH", "", "é"])
FORMS = st.none() | st.dictionaries(st.sampled_from(["Action", "Version", "x"]), st.text(max_size=8), max_size=3)


@settings(max_examples=250)
@given(METHODS, TEXTS, TEXTS, HEADERS, FORMS)
def test_no_head_makes_the_router_raise_anything_but_a_fault(
    method: str, path: bytes, query: bytes, headers: list[tuple[bytes, bytes]], form: dict[str, str] | None
) -> None:
    head = Head(method, path, query, headers)
    wants_form(head)
    try:
        route = resolve(head, form)
    except WireFault as refused:
        assert 400 <= refused.status < 600 and refused.code
    else:
        assert route.operation in operation_names(route.service) | {"PostObject", "Preflight"}
        assert all(isinstance(value, str) for value in route.path.values())


def test_bodies_of_known_requests_reach_the_same_route() -> None:
    model = operation_model("sts", "AssumeRole")
    assert model is not None
    sent = prepared(model, {"RoleArn": "arn:aws:iam::000000000000:role/r", "RoleSessionName": "s"}, "query")
    head = head_of(sent, "sts")
    assert wants_form(head)
    assert resolve(head, parse_form(body_of(sent))).operation == "AssumeRole"


def test_hosts_of_access_points_name_their_arn() -> None:
    route = s3("GET", "/a/b", host="door-000000000001.s3-accesspoint.eu-west-1.amazonaws.com")
    arn = "arn:aws:s3:eu-west-1:000000000001:accesspoint/door"
    assert (route.operation, route.path) == ("GetObject", {"Bucket": arn, "Key": "a/b"})
    assert s3("GET", "/", host="d-1-000000000001.s3-accesspoint-fips.dualstack.us-gov-west-1.amazonaws.com").path == {
        "Bucket": "arn:aws-us-gov:s3:us-gov-west-1:000000000001:accesspoint/d-1"
    }
