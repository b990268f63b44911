"""Requests with gzip in them, signed over the packed bytes as botocore does."""

from __future__ import annotations

import gzip
from typing import Any

import pytest

from tests.compat.conftest import new_client
from tests.compat.refused import refused
from tests.server import Server

pytestmark = pytest.mark.embedded


@pytest.mark.parametrize(("service", "call"), [("sts", "get_caller_identity"), ("ssm", "describe_parameters")])
def test_packed_documents_are_understood(server: Server, service: str, call: str) -> None:
    client = new_client(server.endpoint, service, "470000000000")

    def prepare(params: dict[str, Any], **_: Any) -> None:
        body = params["body"]
        if isinstance(body, dict):
            body = "&".join(f"{name}={value}" for name, value in body.items())
        params["body"] = gzip.compress(body if isinstance(body, bytes) else body.encode())
        params["headers"]["Content-Encoding"] = "gzip"

    client.meta.events.register(f"before-call.{service}", prepare)
    assert getattr(client, call)()["ResponseMetadata"]["HTTPStatusCode"] == 200


def test_a_broken_one_is_refused(server: Server) -> None:
    client = new_client(server.endpoint, "ssm", "470000000000")

    def prepare(params: dict[str, Any], **_: Any) -> None:
        params["body"] = b"not gzip"
        params["headers"]["Content-Encoding"] = "gzip"

    client.meta.events.register("before-call.ssm", prepare)
    with refused("SerializationException"):
        client.describe_parameters()
