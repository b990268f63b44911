"""Who may not come in, and what each service says to it: through boto3, and by requests made by hand."""

from __future__ import annotations

import http.client
import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from tests.server import Server

pytestmark = pytest.mark.embedded
Client = Any
Answer = tuple[int, str, bytes]


def fault(call: Callable[[], Any]) -> tuple[str, int, str]:
    with pytest.raises(ClientError) as caught:
        call()
    error = caught.value.response
    return error["Error"]["Code"], error["ResponseMetadata"]["HTTPStatusCode"], error["Error"].get("Message", "")


# service -> (a call, code and status for: an unknown key, a wrong secret, an unknown session token, a skewed clock)
CALLS: dict[str, tuple[Callable[[Client], Any], tuple[str, int], tuple[str, int], tuple[str, int], tuple[str, int]]] = {
    "s3": (lambda s3: s3.list_buckets(), ("InvalidAccessKeyId", 403), ("SignatureDoesNotMatch", 403),
           ("InvalidToken", 400), ("RequestTimeTooSkewed", 403)),
    "ec2": (lambda ec2: ec2.describe_regions(), ("AuthFailure", 401), ("AuthFailure", 401), ("AuthFailure", 401),
            ("RequestExpired", 400)),
    "iam": (lambda iam: iam.list_users(), ("InvalidClientTokenId", 403), ("SignatureDoesNotMatch", 403),
            ("InvalidClientTokenId", 403), ("SignatureDoesNotMatch", 403)),
    "sts": (lambda sts: sts.get_caller_identity(), ("InvalidClientTokenId", 403), ("SignatureDoesNotMatch", 403),
            ("InvalidClientTokenId", 403), ("SignatureDoesNotMatch", 403)),
    "ssm": (lambda ssm: ssm.describe_parameters(), ("UnrecognizedClientException", 400),
            ("InvalidSignatureException", 400), ("UnrecognizedClientException", 400),
            ("InvalidSignatureException", 400)),
    "kms": (lambda kms: kms.list_keys(), ("UnrecognizedClientException", 400), ("InvalidSignatureException", 400),
            ("UnrecognizedClientException", 400), ("InvalidSignatureException", 400)),
    "ebs": (lambda ebs: ebs.list_snapshot_blocks(SnapshotId="snap-0123456789abcdef0"),
            ("UnrecognizedClientException", 403), ("InvalidSignatureException", 403),
            ("UnrecognizedClientException", 403), ("InvalidSignatureException", 403)),
    "cloudwatch": (lambda cloudwatch: cloudwatch.list_metrics(), ("UnrecognizedClientException", 400),
                   ("InvalidSignatureException", 400), ("UnrecognizedClientException", 400),
                   ("InvalidSignatureException", 400)),
    "elbv2": (lambda elbv2: elbv2.describe_load_balancers(), ("InvalidClientTokenId", 403),
              ("SignatureDoesNotMatch", 403), ("InvalidClientTokenId", 403), ("SignatureDoesNotMatch", 403)),
}  # fmt: skip


@pytest.mark.parametrize("service", CALLS)
def test_boto3_hears_what_aws_would_say(client: Callable[..., Client], service: str) -> None:
    call, unknown, wrong, token, skewed = CALLS[service]
    assert fault(lambda: call(client(service, key="AKIANOBODY")))[:2] == unknown
    assert fault(lambda: call(client(service, secret="wrong")))[:2] == wrong
    assert fault(lambda: call(client(service, aws_session_token="nonsense")))[:2] == token
    for hours in (-1, 1):
        then = datetime.now(UTC) + timedelta(hours=hours)
        with (
            mock.patch("botocore.crt.auth.get_current_datetime", lambda remove_tzinfo, then=then: then),
            mock.patch("botocore.auth.get_current_datetime", lambda then=then: then.replace(tzinfo=None)),
        ):
            assert fault(lambda: call(client(service)))[:2] == skewed


@pytest.mark.parametrize("service", ["s3", "ec2", "iam", "ssm"])
def test_the_region_is_as_the_caller_says(client: Callable[..., Client], service: str) -> None:
    try:
        CALLS[service][0](client(service, region="eu-north-1"))
    except ClientError as error:
        assert error.response["Error"]["Code"] == "NotImplemented"


# --- by hand ----------------------------------------------------------------------------------------------------------


class Caller:
    """Sends requests that a test has spoilt."""

    def __init__(self, server: Server, account: str) -> None:
        self.port, self.account = server.port, account

    def sign(
        self,
        service: str,
        path: str = "/",
        *,
        method: str = "GET",
        data: bytes = b"",
        headers: dict[str, str] | None = None,
        signer: type[auth.SigV4Auth] | None = None,
        **options: Any,
    ) -> AWSRequest:
        signer = signer or (auth.S3SigV4Auth if service == "s3" else auth.SigV4Auth)
        request = AWSRequest(method, f"http://127.0.0.1:{self.port}{path}", headers or {}, data)
        request.context["client_config"] = None
        signer(Credentials(self.account, "test"), service, "us-east-1", **options).add_auth(request)
        return request

    def send(self, request: AWSRequest, **changed: str | None) -> Answer:
        headers = dict(request.headers.items())
        for name, value in changed.items():
            header = name.replace("_", "-")
            for old in [old for old in headers if old.lower() == header]:
                del headers[old]
            if value is not None:
                headers[header] = value
        url = urlsplit(request.url)
        target = url.path + (f"?{url.query}" if url.query else "")
        return self.exchange(request.method, target, headers, request.data)

    def exchange(self, method: str, target: str, headers: dict[str, str], data: bytes = b"") -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, target, data or None, headers)
            response = connection.getresponse()
            return response.status, response.getheader("content-type", ""), response.read()
        finally:
            connection.close()


@pytest.fixture
def caller(server: Server, account: str) -> Iterator[Caller]:
    yield Caller(server, account)


def code(answer: Answer) -> tuple[int, str]:
    status, kind, content = answer
    if b"json" in kind.encode():
        return status, json.loads(content)["__type"].rpartition("#")[2]
    found = re.search(rb"<Code>([^<]*)</Code>", content)
    return status, found[1].decode() if found else ""


@pytest.mark.parametrize(
    "service, call, wrong",
    [
        ("ec2", lambda client: client.describe_availability_zones()["AvailabilityZones"], "AuthFailure"),
        ("iam", lambda client: client.list_account_aliases()["ResponseMetadata"], "SignatureDoesNotMatch"),
        ("sts", lambda client: client.get_caller_identity()["Account"], "SignatureDoesNotMatch"),
    ],
)
def test_old_clients_sign_forms_with_version_2(
    client: Callable[..., Client], service: str, call: Callable[[Client], Any], wrong: str
) -> None:
    config = Config(signature_version="v2", retries={"max_attempts": 0})
    assert call(client(service, config=config))
    assert fault(lambda: call(client(service, config=config, secret="wrong")))[0] == wrong


FORM = {"Content-Type": "application/x-www-form-urlencoded"}
WHO = b"Action=GetCallerIdentity&Version=2011-06-15"


def test_without_credentials(caller: Caller) -> None:
    regions = b"Action=DescribeRegions&Version=2016-11-15"
    users = b"Action=ListUsers&Version=2010-05-08"
    answer = caller.exchange("POST", "/", FORM, regions)
    assert code(answer) == (400, "MissingParameter")
    assert b"<Response><Errors><Error>" in answer[2]
    assert b"The request must contain the parameter AWSAccessKeyId" in answer[2]
    answer = caller.exchange("POST", "/", FORM, users)
    assert code(answer) == (403, "MissingAuthenticationToken")
    assert b"<Type>Sender</Type>" in answer[2]
    target = {"X-Amz-Target": "AmazonSSM.DescribeParameters", "Content-Type": "application/x-amz-json-1.1"}
    assert code(caller.exchange("POST", "/", target, b"{}")) == (400, "MissingAuthenticationTokenException")


def test_a_header_that_lacks_something(caller: Caller) -> None:
    request = caller.sign("sts", method="POST", data=WHO, headers=FORM)
    header = request.headers["Authorization"]
    for part in ("Credential", "SignedHeaders", "Signature"):
        answer = caller.send(request, authorization=header.replace(f"{part}=", f"No{part}="))
        assert code(answer) == (400, "IncompleteSignature")
        assert f"Authorization header requires '{part}' parameter.".encode() in answer[2].replace(b"&apos;", b"'")
    bucket = caller.sign("s3", "/bucket/key")
    answer = caller.send(bucket, authorization=bucket.headers["Authorization"].replace("Signature=", "Sig="))
    assert code(answer) == (400, "AuthorizationHeaderMalformed")


def test_the_scope_of_the_credential(caller: Caller) -> None:
    request = caller.sign("sts", method="POST", data=WHO, headers=FORM)
    header = request.headers["Authorization"]
    day = header.partition("/")[2][:8]
    for old, new, words in (
        (day, "20200101", b"Date in Credential scope does not match"),
        ("aws4_request", "aws5_request", b"valid terminator"),
        ("us-east-1", "eu-west-1", b"The request signature we calculated"),
    ):
        answer = caller.send(request, authorization=header.replace(old, new))
        assert code(answer) == (403, "SignatureDoesNotMatch")
        assert words in answer[2]
    # The action is STS's, whatever the scope says.
    answer = caller.send(caller.sign("iam", method="POST", data=WHO, headers=FORM))
    assert code(answer)[0] in (400, 403)
    bucket = caller.sign("s3", "/bucket/key")
    answer = caller.send(bucket, authorization=bucket.headers["Authorization"].replace(day, "20200101"))
    assert code(answer) == (400, "AuthorizationHeaderMalformed")


def test_a_body_that_is_not_what_was_signed(caller: Caller) -> None:
    request = caller.sign("sts", method="POST", data=WHO, headers=FORM)
    request.data = WHO + b"&x=1"
    assert code(caller.send(request)) == (403, "SignatureDoesNotMatch")
    target = {"X-Amz-Target": "AmazonSSM.DescribeParameters", "Content-Type": "application/x-amz-json-1.1"}
    request = caller.sign("ssm", method="POST", data=b"{}", headers=target)
    request.data = b"{ }"
    assert code(caller.send(request)) == (400, "InvalidSignatureException")
    assert code(caller.send(request, x_amz_target="AmazonSSM.GetParameters"))[0] == 400


def test_what_s3_shows_of_a_wrong_signature(caller: Caller) -> None:
    request = caller.sign("s3", "/bucket/a%20key?versions")
    header = request.headers["Authorization"]
    status, _, content = caller.send(request, authorization=header[:-64] + "0" * 64)
    assert (status, re.findall(rb"<(\w+)>", content)[:3]) == (403, [b"Error", b"Code", b"Message"])
    for element in (b"AWSAccessKeyId", b"StringToSign", b"SignatureProvided", b"StringToSignBytes", b"CanonicalRequest",
                    b"CanonicalRequestBytes", b"RequestId", b"HostId"):  # fmt: skip
        assert b"<" + element + b">" in content
    assert b"<CanonicalRequest>GET\n/bucket/a%20key\nversions=\nhost:127.0.0.1" in content
    assert b"<SignatureProvided>" + b"0" * 64 in content


def test_s3_headers_must_be_signed(caller: Caller) -> None:
    status, _, content = caller.send(caller.sign("s3", "/bucket/key"), x_amz_acl="public-read")
    assert status == 403
    assert (
        b"<Code>AccessDenied</Code><Message>There were headers present in the request which were not signed" in content
    )
    assert b"<HeadersNotSigned>x-amz-acl</HeadersNotSigned>" in content
    assert code(caller.send(caller.sign("s3", "/bucket/key"), x_amz_content_sha256=None)) == (400, "InvalidRequest")


def test_presigned_requests(caller: Caller) -> None:
    def presigned(**options: Any) -> AWSRequest:
        return caller.sign("s3", "/bucket/key", signer=auth.S3SigV4QueryAuth, **options)

    def answer(request: AWSRequest, old: str, new: str) -> tuple[int, str]:
        assert old in request.url
        request.url = request.url.replace(old, new)
        return code(caller.send(request))

    malformed = (400, "AuthorizationQueryParametersError")
    assert answer(presigned(expires=60), "X-Amz-Expires=60", "X-Amz-Expires=604801") == malformed
    assert answer(presigned(expires=60), "X-Amz-Expires=60", "X-Amz-Expires=never") == malformed
    assert answer(presigned(), "X-Amz-SignedHeaders=host&", "") == malformed
    assert answer(presigned(), "/bucket/key", "/bucket/other") == (403, "SignatureDoesNotMatch")
    assert answer(presigned(), "aws4_request", "aws4") == malformed
    then = datetime.now(UTC).replace(tzinfo=None) - timedelta(minutes=10)
    with mock.patch("botocore.auth.get_current_datetime", lambda: then):
        expired = caller.send(presigned(expires=60))
    assert code(expired) == (403, "AccessDenied")
    for words in (b"Request has expired", b"<X-Amz-Expires>60</X-Amz-Expires>", b"<Expires>", b"<ServerTime>"):
        assert words in expired[2]
    both = caller.send(presigned(), authorization="AWS4-HMAC-SHA256 x")
    assert code(both) == (400, "InvalidArgument")
    assert b"Only one auth mechanism allowed" in both[2]


def test_other_ways_to_sign(caller: Caller) -> None:
    other = {"Authorization": "AWS4-ECDSA-P256-SHA256 Credential=x, SignedHeaders=host, Signature=0", "X-Amz-Date": "x"}
    answer = caller.exchange("GET", "/bucket/key", other)
    assert code(answer) == (400, "InvalidRequest")
    assert b"Please use AWS4-HMAC-SHA256" in answer[2]
    assert code(caller.exchange("GET", "/bucket/key", {"Authorization": "Basic eDp5"})) == (400, "InvalidArgument")
    old = {"Authorization": "AWS nobody:c2ln", "Date": datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")}
    assert code(caller.exchange("GET", "/bucket/key", old)) == (403, "InvalidAccessKeyId")


def test_version_4a(client: Callable[..., Client]) -> None:
    code, status, message = fault(lambda: client("s3", config=Config(signature_version="s3v4a")).list_buckets())
    assert (code, status) == ("InvalidRequest", 400)
    assert "Please use AWS4-HMAC-SHA256" in message


def test_errors_of_head_have_no_body(caller: Caller) -> None:
    request = caller.sign("s3", "/bucket/key", method="HEAD")
    assert caller.send(request, x_amz_content_sha256=None)[::2] == (400, b"")
