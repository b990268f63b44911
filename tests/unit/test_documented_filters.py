"""Every filter that AWS documents for an operation is known to it: the names are read from the model's own text."""

from __future__ import annotations

import functools
import re
import secrets
from collections.abc import Iterator
from html.parser import HTMLParser

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

NAME = re.compile(r"[a-z0-9][a-zA-Z0-9.:/-]*")


class Names(HTMLParser):
    """Collects filter names: the first code mark of every item of the outermost list."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self._depth, self._armed, self._in_code = 0, False, False

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._depth += tag == "ul"
        if tag == "li" and self._depth == 1:
            self._armed = True
        self._in_code = tag == "code" and self._armed

    def handle_endtag(self, tag: str) -> None:
        self._depth -= tag == "ul"

    def handle_data(self, data: str) -> None:
        if self._in_code:
            self._armed = self._in_code = False
            if NAME.fullmatch(data) and data != "tag":  # `tag:<key>`, which every resource has
                self.names.add(data)


@functools.cache
def documented() -> dict[str, list[str]]:
    """Operation → documented filter names, for the EC2 operations that are implemented and have filters."""
    raw = Loader().load_service_model("ec2", "service-2")
    found: dict[str, list[str]] = {}
    for service, name in load():
        if service != "ec2" or "input" not in raw["operations"].get(name, {}):
            continue
        members = raw["shapes"][raw["operations"][name]["input"]["shape"]]["members"]
        text = (members.get("Filters") or members.get("Filter") or {}).get("documentation", "")
        names = Names()
        names.feed(text)
        if names.names:
            found[name] = sorted(names.names)
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
