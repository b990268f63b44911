"""A cloud without a gateway: calls go straight to the dispatcher, by a principal or by an access key."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from backends.db import Database
from backends.identity.seal import Seal
from backends.identity.service import IdentityService
from backends.object.containers import Known
from compat.cloud import Cloud, Rules
from compat.context import Call, Context
from compat.dispatch import Dispatcher, invoke
from compat.errors import AWSError
from compat.iam.authorize import ask
from compat.iam.directory import Directory, directory
from compat.iam.principal import Principal
from compat.operation import Operation, load

load()  # before the first table is made: every model must be known
ACCOUNT = "111111111111"
OTHER = "222222222222"


def policy(*statements: dict[str, Any]) -> str:
    """A policy document."""
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(*actions: str, on: str | list[str] = "*", **condition: Any) -> dict[str, Any]:
    """An Allow statement for an identity policy."""
    return {"Effect": "Allow", "Action": list(actions), "Resource": on} | (
        {"Condition": condition} if condition else {}
    )


def deny(*actions: str, on: str | list[str] = "*", **condition: Any) -> dict[str, Any]:
    """A Deny statement for an identity policy."""
    return allow(*actions, on=on, **condition) | {"Effect": "Deny"}


def trust(*principals: str, action: str | list[str] = "sts:AssumeRole", **condition: Any) -> str:
    """A trust policy for AWS principals."""
    statement = {"Effect": "Allow", "Principal": {"AWS": list(principals)}, "Action": action}
    return policy(statement | ({"Condition": condition} if condition else {}))


class EveryContainer:
    """What the guard of S3 asks: here every bucket is there, has no policy, and belongs to `ACCOUNT`."""

    def find(self, name: str) -> Known:
        enforced = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
        return Known(1, name, ACCOUNT, "us-east-1", datetime.now(UTC), "", {"ownership": enforced})


class NoObjects:
    """And all that is asked of objects: whether one is there."""

    def head(self, container: int, key: str, version: str | None = None) -> None:
        return None


class Nimbus:
    """A small cloud for tests of identity. `call` is by the root of `ACCOUNT` unless told otherwise."""

    def __init__(self, database: Database, seal: Seal | None = None) -> None:
        self.database = database
        self.seal = seal or Seal.fresh()
        services = {"identity": lambda unit: IdentityService(unit, self.seal)}
        hosts = {"identity": self.seal, "containers": EveryContainer(), "objects": NoObjects()}
        self.cloud = Cloud(self.database, Rules(), services, hosts)
        self.dispatcher = Dispatcher(self.cloud)
        self.number = 0

    @property
    def directory(self) -> Directory:
        return directory(self.cloud)

    def principal(self, key: str) -> Principal:
        """Whom an access key speaks for; looked up as for every call."""
        credential = self.directory.credential(key)
        assert credential is not None, f"nobody has the key {key}"
        return credential.principal

    def call(self, wire_name: str, *, by: str | Principal = ACCOUNT, region: str = "us-east-1", **params: Any) -> Any:
        service, _, name = wire_name.partition(":")
        self.number += 1
        principal = self.principal(by) if isinstance(by, str) else by
        call = Call(service, name, params, principal, region, f"request-{self.number}", raw=repr(params).encode())
        return invoke(self.dispatcher, call).result

    def may(self, by: str, action: str, resource: str = "*") -> bool:
        """Whether the policies of a key let it do `action`; nothing is done."""
        service, _, name = action.partition(":")
        operation = Operation(service, name, lambda ctx, p: None, resource, action)
        call = Call(service, name, {}, self.principal(by), "us-east-1", "request")
        return ask(Context(self.cloud, operation, call), action, resource).allowed

    def user(self, name: str, *policies: str, by: str = ACCOUNT) -> str:
        """A new user with inline policies; gives its access key."""
        self.call("iam:CreateUser", by=by, UserName=name)
        for number, text in enumerate(policies):
            self.call("iam:PutUserPolicy", by=by, UserName=name, PolicyName=f"p{number}", PolicyDocument=text)
        key: str = self.call("iam:CreateAccessKey", by=by, UserName=name)["AccessKey"]["AccessKeyId"]
        return key

    def close(self) -> None:
        self.database.close()


def refused(nimbus: Nimbus, wire_name: str, **params: Any) -> tuple[str, str]:
    """The code and the message of a call that must fail."""
    with pytest.raises(AWSError) as caught:
        nimbus.call(wire_name, **params)
    return caught.value.code, caught.value.message
