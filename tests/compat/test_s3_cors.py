"""Preflights: what is answered to whom, and why not."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.compat.conftest import new_client
from tests.compat.s3_worlds import make_bucket
from tests.server import Server

pytestmark = pytest.mark.embedded
ORIGIN = {"Origin": "http://a.example"}
PUT = {**ORIGIN, "Access-Control-Request-Method": "PUT"}
Client = Any


@pytest.fixture
def s3(client: Callable[..., Client]) -> Client:
    return client("s3")


def asked(server: Server, path: str, headers: dict[str, str]) -> requests.Response:
    return requests.options(f"{server.endpoint}/{path}", headers=headers, timeout=60)


def members(answer: requests.Response) -> list[str]:
    return [
        re.findall(f"<{name}>(.*?)</{name}>", answer.text)[0] for name in ("Code", "Message", "Method", "ResourceType")
    ]


def test_why_a_preflight_is_refused(server: Server, s3: Client) -> None:
    assert asked(server, "there-is-no-such-bucket/k", {}).status_code == 400
    nowhere = asked(server, "there-is-no-such-bucket/k", ORIGIN)
    assert nowhere.status_code == 403
    assert members(nowhere) == ["AccessForbidden", "CORSResponse: Bucket not found", "OPTIONS", "BUCKET"]
    bucket = make_bucket(s3)
    off = ["AccessForbidden", "CORSResponse: CORS is not enabled for this bucket."]
    assert members(asked(server, f"{bucket}/k", PUT)) == [*off, "PUT", "BUCKET"]
    assert members(asked(server, f"{bucket}/k", ORIGIN)) == [*off, "OPTIONS", "BUCKET"]
    rules = [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"]}]
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})
    for path, kind in ((f"{bucket}/k", "OBJECT"), (bucket, "BUCKET")):
        code, message, method, level = members(asked(server, path, PUT))
        assert (code, method, level) == ("AccessForbidden", "PUT", kind)
        assert message.startswith("CORSResponse: This CORS request is not allowed.")
        for method, shown in ({}, "null"), ({"Access-Control-Request-Method": "get"}, "get"):
            unclear = asked(server, path, ORIGIN | method)
            assert unclear.status_code == 400
            assert f"<Message>Invalid Access-Control-Request-Method: {shown}</Message>" in unclear.text


def test_a_page_is_told_nothing_of_what_it_may_not_send(server: Server, s3: Client) -> None:
    bucket = make_bucket(s3)
    rules = [{"AllowedMethods": ["GET"], "AllowedOrigins": ["*"], "AllowedHeaders": ["x-amz-*"]}]
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})
    for wanted, allowed in (("x-amz-date, x-amz-acl", True), ("x-other", False)):
        headers = {**ORIGIN, "Access-Control-Request-Headers": wanted}
        answer = requests.get(f"{server.endpoint}/{bucket}/k", headers=headers, timeout=60)
        assert ("Access-Control-Allow-Origin" in answer.headers) is allowed


def test_a_preflight_has_ids(server: Server, s3: Client) -> None:
    bucket = make_bucket(s3)
    rules = [{"AllowedMethods": ["PUT"], "AllowedOrigins": ["http://*.example"]}]
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})
    answer = asked(server, f"{bucket}/k", PUT)
    assert answer.status_code == 200
    assert {"x-amz-request-id", "x-amz-id-2"} <= {name.lower() for name in answer.headers}


def test_the_operators_origins_may_call_every_service(tmp_path: Path, account: str) -> None:
    origins = {"NEPHELE_CORS_ORIGINS": "http://a.example,https://*.b.example"}
    with Server(tmp_path / "data", environment=origins) as server:
        ask = {**ORIGIN, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization,x-a"}
        let = asked(server, "", ask)
        assert (let.status_code, let.headers["Access-Control-Allow-Origin"]) == (200, ORIGIN["Origin"])
        assert let.headers["Access-Control-Allow-Headers"] == "authorization, x-a"
        assert asked(server, "", ask | {"Origin": "https://www.b.example"}).status_code == 200
        assert asked(server, "", ask | {"Origin": "https://b.example.evil"}).status_code == 403

        def origin(service: str, called: str, **about: Any) -> str | None:
            client = new_client(server.endpoint, service, account)
            client.meta.events.register("before-send", lambda request, **_: request.headers.update(ORIGIN))
            heads: dict[str, str] = getattr(client, called)(**about)["ResponseMetadata"]["HTTPHeaders"]
            return heads.get("access-control-allow-origin")

        for service, called in (
            ("ec2", "describe_vpcs"), ("sts", "get_caller_identity"), ("kms", "list_keys"), ("s3", "list_buckets"),
        ):  # fmt: skip
            assert origin(service, called) == ORIGIN["Origin"], service
        s3 = new_client(server.endpoint, "s3", account)
        bucket = make_bucket(s3)
        assert origin("s3", "list_objects_v2", Bucket=bucket) == ORIGIN["Origin"]
        rules = [{"AllowedMethods": ["GET"], "AllowedOrigins": ["http://c.example"]}]
        s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})
        assert origin("s3", "list_objects_v2", Bucket=bucket) is None
        refusal = requests.post(server.endpoint, data={"Action": "DescribeVpcs"}, headers=ORIGIN, timeout=60)
        assert refusal.headers["Access-Control-Allow-Origin"] == ORIGIN["Origin"]


def test_pages_of_other_sites_do_nothing_in_the_name_of_the_root_that_everybody_knows(
    server: Server, client: Callable[..., Client], s3: Client
) -> None:
    bucket = make_bucket(s3)
    s3.put_object(Bucket=bucket, Key="k", Body=b"kept")
    ec2 = client("ec2")
    calls = [
        ec2.generate_presigned_url("create_key_pair", Params={"KeyName": "key"}, HttpMethod=method)
        for method in ("GET", "POST")
    ]
    calls.append(s3.generate_presigned_url("create_multipart_upload", Params={"Bucket": bucket, "Key": "k"}))

    def send(number: int, **headers: str) -> tuple[int, bool]:
        method = "POST" if number else "GET"
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = requests.request(method, calls[number], headers=named, timeout=60)
        return answer.status_code, "everybody knows" in answer.text

    for number in range(3):
        for origin in ("http://evil.example", "null", "http://localhost.evil.example", "http://["):
            assert send(number, Origin=origin) == (403, True)
        assert send(number, Sec_Fetch_Site="cross-site") == (403, True)
    assert ec2.describe_key_pairs()["KeyPairs"] == []
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)
    read = s3.generate_presigned_url("get_object", Params={"Bucket": bucket, "Key": "k"})
    assert requests.get(read, headers=ORIGIN | {"Sec-Fetch-Site": "cross-site"}, timeout=60).text == "kept"
    assert send(0, Sec_Fetch_Site="same-site") == (200, False)
    assert not any(send(1, Origin=origin)[1] for origin in ("http://localhost:3000", server.endpoint))
    rules = [{"AllowedMethods": ["POST"], "AllowedOrigins": [ORIGIN["Origin"]]}]
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})
    assert send(2, **ORIGIN) == (200, False)
