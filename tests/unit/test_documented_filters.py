"""Every filter that AWS documents for an operation is known to it: the names are read from the model's own text."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator

import pytest
from botocore.loaders import Loader

from backends import schema
from compat.context import Call
from compat.dispatch import Dispatcher, invoke
from compat.errors import AWSError
from compat.iam.principal import root
from compat.operation import load
from gateway import settings
from gateway.compose import compose

# A documented name stands in code marks at the head of a list item; `tag` is `tag:<key>`, which every resource has.
NAME = re.compile(r"<li> *<p> *<code>([a-z0-9][a-zA-Z0-9.:\-/]*)(?:&lt;[^<]*&gt;|:&lt;key&gt;)?</code>")


def documented() -> dict[str, list[str]]:
    """Operation → documented filter names, for the EC2 operations that are implemented and have filters."""
    raw = Loader().load_service_model("ec2", "service-2")
    found: dict[str, list[str]] = {}
    for service, name in load():
        if service != "ec2" or "input" not in raw["operations"].get(name, {}):
            continue
        members = raw["shapes"][raw["operations"][name]["input"]["shape"]]["members"]
        text = (members.get("Filters") or members.get("Filter") or {}).get("documentation", "")
        names = [each for each in NAME.findall(text) if each != "tag"]
        if names:
            found[name] = sorted(set(names))
    return found


@pytest.fixture(scope="module")
def dispatcher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dispatcher]:
    folder = tmp_path_factory.mktemp("filters")
    parts = compose(settings.load({"data_dir": folder}))
    schema.prepare(parts.cloud.database)
    yield parts.dispatcher
    parts.close()


@pytest.mark.parametrize("operation", sorted(documented()))
def test_every_documented_filter_is_known(dispatcher: Dispatcher, operation: str) -> None:
    unknown = []
    for name in documented()[operation]:
        params = {"Filters": [{"Name": name, "Values": ["x"]}]}
        if operation in ("DescribeNatGateways",):
            params = {"Filter": params["Filters"]}
        call = Call("ec2", operation, params, root("111111111111"), "us-east-1", secrets.token_hex(4))
        try:
            invoke(dispatcher, call)
        except AWSError as error:
            if error.code == "InvalidParameterValue" and f"'{name}'" in error.message and "filter" in error.message:
                unknown.append(name)
    assert unknown == []


def test_the_reading_of_names_finds_them() -> None:
    assert len(documented()["DescribeCustomerGateways"]) >= 5


