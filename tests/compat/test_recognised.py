"""Every operation of every service that Nephele speaks is answered by name: done, refused as AWS refuses, or 501."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.model import Shape

from compat.model import SERVICES
from compat.operation import load
from tests.compat.conftest import new_client
from tests.server import Server

ACCOUNT = "310000000000"
# Event streams need a duplex connection that boto3 does not offer.
DUPLEX = ("logs", "StartLiveTail")
# Told from S3's own PutObject by the host alone, which does not resolve here.
BY_HOST = ("s3control", "CreateBucket")

# The names that S3's oldest clients know; on the wire they are the newer operations.
TWINS = {
    ("s3", f"{verb}Bucket{subject}"): ("s3", f"{verb}Bucket{subject}Configuration")
    for verb in ("Get", "Put")
    for subject in ("Lifecycle", "Notification")
}


def least(shape: Shape, depth: int = 0) -> Any:
    """The smallest value that a shape lets pass: required members only, the first of an enumeration."""
    if shape.type_name == "structure":
        required = shape.metadata.get("required", []) if depth < 6 else []
        return {name: least(shape.members[name], depth + 1) for name in required}
    if shape.type_name == "list":
        return [least(shape.member, depth + 1)] if depth < 6 else []
    if shape.type_name == "map":
        return {}
    if shape.type_name in ("string", "character"):
        if shape.enum:
            return shape.enum[0]
        return "x" * max(1, min(int(shape.metadata.get("min", 3)), 64))
    if shape.type_name in ("integer", "long"):
        return max(1, int(shape.metadata.get("min", 1)))
    if shape.type_name in ("float", "double"):
        return 1.0
    if shape.type_name == "timestamp":
        return datetime(2026, 1, 1, tzinfo=UTC)
    if shape.type_name == "blob":
        return b"x"
    return False  # booleans


def arguments(service: str, shape: Shape | None) -> dict[str, Any]:
    given: dict[str, Any] = least(shape) if shape is not None else {}
    if service == "s3" and "Bucket" in given:
        given["Bucket"] = "no-such-bucket-here"
    if service == "s3control" and "AccountId" in given:
        given["AccountId"] = ACCOUNT
    if "DryRun" in (shape.members if shape is not None else {}):
        given["DryRun"] = True
    return given


def _without_account(request: Any, **_: Any) -> None:
    request.url = request.url.replace(f"//{ACCOUNT}.", "//")


@pytest.mark.embedded
@pytest.mark.parametrize("service", sorted(SERVICES))
def test_every_operation_is_answered_by_name(server: Server, service: str) -> None:
    config = Config(parameter_validation=False, inject_host_prefix=False)
    client = new_client(server.endpoint, service, ACCOUNT, config=config)
    # The account stands before the host, which only a wildcard name resolves: the route tells it by the header as well.
    client.meta.events.register("before-sign.s3-control", _without_account)
    implemented = {name for of, name in load() if of == service}
    wrong: list[str] = []
    for name in client.meta.service_model.operation_names:
        if (service, name) in (DUPLEX, BY_HOST):
            continue
        model = client.meta.service_model.operation_model(name)
        try:
            getattr(client, xform_name(name))(**arguments(service, model.input_shape))
            status, code, message = 200, "", ""
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            code, message = error.response["Error"]["Code"], error.response["Error"].get("Message", "")
        if TWINS.get((service, name), (service, name))[1] not in implemented:
            named = name in message or model.http.get("method") == "HEAD"
            if status != 501 or (model.http.get("method") != "HEAD" and (code != "NotImplemented" or not named)):
                wrong.append(f"{name} is not implemented, but was answered {status} {code} {message}")
        elif status >= 500 or status in (404, 405) and code == "InvalidAction":
            wrong.append(f"{name} is implemented, but was answered {status} {code} {message}")
    client.close()
    assert not wrong, "\n".join(wrong)
