"""Nephele's own paths: what they answer, whom they let act, and which requests they leave to S3."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.head import Head
from gateway.hooks import Hooks
from gateway.internal import State as Known
from gateway.internal import claims, make
from gateway.metrics import Metrics
from gateway.settings import load


class State:
    """A cloud that only remembers what was asked of it."""

    def __init__(self) -> None:
        self.well = True
        self.resets: list[str | None] = []

    def is_well(self) -> bool:
        return self.well

    def reset(self, account: str | None) -> None:
        self.resets.append(account)


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Cloud:
    def __init__(self, **settings: Any) -> None:
        self.state = State()
        self.metrics = Metrics("1.2.3")
        self.app = make(load(settings), "1.2.3", lambda: {"s3": 5, "ec2": 9}, cast(Known, self.state), self.metrics)

    def ask(self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer:
        path, _, query = target.partition("?")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(k.encode(), v.encode()) for k, v in ({"host": "x:1"} | (headers or {})).items()],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        async def exchange() -> None:
            await self.app(scope, receive, send)

        asyncio.run(exchange())
        return Answer(
            sent[0]["status"],
            {k.decode(): v.decode() for k, v in sent[0]["headers"]},
            b"".join(message.get("body", b"") for message in sent[1:]),
        )


@pytest.mark.parametrize("path", ["/_nephele/health", "/_localstack/health", "/health"])
def test_health_follows_the_database(path: str) -> None:
    cloud = Cloud()
    answer = cloud.ask("GET", path)
    assert (answer.status, answer.json["services"]) == (200, {"ec2": "running", "s3": "running"})
    cloud.state.well = False
    answer = cloud.ask("GET", path)
    assert (answer.status, answer.json["services"]["s3"]) == (503, "error")


def test_info_tells_what_is_enforced_and_which_drivers() -> None:
    info = Cloud(auth="soft").ask("GET", "/_nephele/info").json
    assert (info["version"], info["auth"], info["operations"]) == ("1.2.3", "soft", {"ec2": 9, "s3": 5})
    assert info["drivers"] == {"compute": "simulated", "volume": "sparse", "network": "simulated", "objects": "files"}


def test_init_stages(tmp_path: Path) -> None:
    cloud = Cloud(data_dir=tmp_path, init_dirs=str(tmp_path))
    (tmp_path / "ready.d").mkdir()
    (tmp_path / "ready.d" / "one.py").write_text("")
    assert cloud.ask("GET", "/_localstack/init").json["completed"]["READY"] is False
    hooks = Hooks(load({"data_dir": tmp_path, "init_dirs": str(tmp_path)}), {})
    hooks.run("boot")
    assert cloud.ask("GET", "/_localstack/init/boot").json == {"completed": True, "scripts": []}
    script = {"stage": "READY", "name": "one.py", "state": "UNKNOWN"}
    assert cloud.ask("GET", "/_localstack/init/ready").json == {"completed": False, "scripts": [script]}
    hooks.run("ready")
    told = {"completed": True, "scripts": [script | {"state": "SUCCESSFUL"}]}
    assert cloud.ask("GET", "/_localstack/init/ready").json == told
    assert cloud.ask("GET", "/_localstack/init/never").status == 404


@pytest.mark.parametrize("path", ["/_nephele/reset", "/_localstack/state/reset", "/moto-api/reset", "//moto-api/reset"])
def test_reset_throws_everything_away(path: str) -> None:
    cloud = Cloud()
    assert cloud.ask("POST", path).status == 200
    assert cloud.state.resets == [None]
    assert cloud.ask("GET", path).status == 405
    assert cloud.state.resets == [None]


def test_reset_of_one_account() -> None:
    cloud = Cloud()
    assert cloud.ask("POST", "/_nephele/reset?account=123456789012").json == {"reset": "account 123456789012"}
    assert cloud.ask("POST", "/_nephele/reset", b'{"account": "210987654321"}').status == 200
    assert cloud.state.resets == ["123456789012", "210987654321"]


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("?account=12", b""),
        ("", b'{"account": 123456789012}'),
        ("", b'{"acount": "123456789012"}'),
        ("", b"[]"),
        ("", b"{"),
        ("", b'"' + b"x" * 70000 + b'"'),
    ],
)
def test_a_reset_that_is_not_understood_resets_nothing(target: str, body: bytes) -> None:
    cloud = Cloud()
    assert cloud.ask("POST", "/_nephele/reset" + target, body).status == 400
    assert cloud.state.resets == []


@pytest.mark.parametrize(
    "headers",
    [{"origin": "https://example.com"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}],
)
def test_other_sites_pages_reset_nothing(headers: dict[str, str]) -> None:
    cloud = Cloud()
    assert cloud.ask("POST", "/_nephele/reset", headers=headers).status == 403
    assert cloud.state.resets == []
    assert cloud.ask("POST", "/_nephele/reset", headers={"origin": "http://x:1"}).status == 200


def test_away_from_loopback_a_root_key_resets() -> None:
    cloud = Cloud(host="0.0.0.0", root_keys="ALPHA:one,BETA:two")
    for proof, status in ((None, 401), ("ALPHA:two", 401), ("test:test", 401), ("BETA:two", 200)):
        headers = {} if proof is None else {"authorization": "Basic " + base64.b64encode(proof.encode()).decode()}
        assert cloud.ask("POST", "/_nephele/reset", headers=headers).status == status
    assert cloud.ask("POST", "/_nephele/reset", headers={"authorization": "Basic ###"}).status == 401
    assert cloud.state.resets == [None]
    assert cloud.ask("GET", "/_nephele/health").status == 200


def test_an_unknown_path_is_named() -> None:
    answer = Cloud().ask("GET", "/_nephele/helth")
    assert (answer.status, answer.json["message"]) == (404, "Nephele has no GET /_nephele/helth")


def test_metrics_count_by_operation_and_status() -> None:
    cloud = Cloud()
    for seconds in (0.0001, 0.004, 99.0):
        cloud.metrics.count("s3:GetObject", 200, seconds)
    cloud.metrics.count("s3:GetObject", 404, 0.2)
    answer = cloud.ask("GET", "/metrics")
    lines = answer.body.decode().splitlines()
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'nephele_requests_total{operation="GetObject",service="s3",status="200"} 3.0' in lines
    assert 'nephele_requests_total{operation="GetObject",service="s3",status="404"} 1.0' in lines
    bucket = 'nephele_request_seconds_bucket{le="%s",operation="GetObject",service="s3"} %s'
    assert bucket % ("0.0005", "1.0") in lines
    assert bucket % ("0.005", "2.0") in lines
    assert bucket % ("10.0", "3.0") in lines
    assert bucket % ("+Inf", "4.0") in lines
    assert any(line.startswith("process_resident_memory_bytes") for line in lines)


def test_workers_metrics_are_added_up(tmp_path: Any) -> None:
    one, two = (Metrics("1", folder=tmp_path, worker=number) for number in (0, 1))
    one.count("ec2:DescribeVpcs", 200, 0.1)
    two.count("ec2:DescribeVpcs", 200, 0.1)
    two.save()
    line = b'nephele_requests_total{operation="DescribeVpcs",service="ec2",status="200"} 2.0'
    assert line in one.render().splitlines()
    assert line not in two.render().splitlines()


# --- which requests are Nephele's own --------------------------------------------------------------------------------


def head(method: str, target: str, **headers: str) -> Head:
    path, _, query = target.partition("?")
    pairs = [(name.encode(), value.encode()) for name, value in ({"host": "localhost:4566"} | headers).items()]
    return Head(method, path.encode(), query.encode(), pairs)


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("GET", "/_nephele/health", {}),
        ("POST", "/_nephele/reset?account=123456789012", {}),
        ("GET", "/_localstack/health", {"host": "127.0.0.1:4566"}),
        ("GET", "/_localstack/health", {"host": "[::1]:4566"}),
        ("GET", "/_localstack/init/ready", {"host": "localhost.localstack.cloud:4566"}),
        ("GET", "/health", {"host": "nephele"}),
        ("GET", "/metrics", {"host": "cloud.example.org"}),
        ("POST", "/moto-api/reset", {"authorization": "Basic eDp5"}),
        ("POST", "//moto-api/reset", {}),
        ("GET", "//_nephele/health", {}),
    ],
)
def test_own_paths_are_claimed(method: str, target: str, headers: dict[str, str]) -> None:
    assert claims(head(method, target, **headers))


@pytest.mark.parametrize(
    ("method", "target", "headers"),
    [
        ("PUT", "/health", {}),
        ("GET", "/health/", {}),
        ("GET", "/health/key", {}),
        ("GET", "/health?list-type=2", {}),
        ("GET", "/metrics", {"authorization": "AWS4-HMAC-SHA256 Credential=x"}),
        ("GET", "/metrics?X-Amz-Signature=1", {}),
        ("POST", "/moto-api/reset?uploads", {}),
        ("POST", "//moto-api/reset?uploads", {}),
        ("POST", "///moto-api/reset", {}),
        ("GET", "//bucket", {}),
        ("GET", "/_nephele/health", {"authorization": "AWS4-HMAC-SHA256 Credential=x"}),
        ("GET", "/_nephele/health?X-Amz-Signature=1", {}),
        ("GET", "/_nephele/health", {"host": "bucket.localhost:4566"}),
        ("GET", "/health", {"host": "bucket.s3.us-east-1.localhost.localstack.cloud:4566"}),
        ("GET", "/health", {"host": "bucket.s3.localhost.localstack.cloud"}),
        ("GET", "/metrics", {"host": "bucket.s3.amazonaws.com"}),
        ("GET", "/metrics", {"host": "a.b.s3-website-us-east-1.amazonaws.com"}),
        ("GET", "/metrics", {"host": "a.s3-eu-west-1.amazonaws.com"}),
        ("GET", "/_other", {}),
        ("GET", "/bucket", {}),
    ],
)
def test_requests_of_s3_are_left_to_it(method: str, target: str, headers: dict[str, str]) -> None:
    assert not claims(head(method, target, **headers))


@given(st.from_regex(r"[a-z0-9][a-z0-9.-]{1,20}[a-z0-9]", fullmatch=True), st.text(max_size=8))
def test_no_signed_request_for_a_bucket_is_claimed(bucket: str, key: str) -> None:
    for name in (bucket, "health", "metrics", "moto-api"):
        raw = f"/{name}/{key}".encode()
        assert not claims(Head("GET", raw, b"", [(b"host", b"x"), (b"authorization", b"AWS4-HMAC-SHA256 x")]))
