"""How parameters are kept, named and found."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import String, select
from sqlalchemy.orm import Mapped, mapped_column

from backends.db import Base, Scoped
from backends.identity.seal import Seal
from compat.context import Context
from compat.ec2.catalogue import parameters as public_parameters
from compat.errors import AWSError

PUBLIC = "/aws/service/"
SEALED_FOR = "parameter"

PUBLISHED = datetime(2025, 10, 17, tzinfo=UTC)
"""When the public parameters were last changed."""

Version = dict[str, Any]


class Parameter(Scoped, Base):
    """One parameter. `versions` lists what it was, oldest first, in AWS's member names; the last one is what it is."""

    __tablename__ = "parameter"
    __topic__ = "parameter"
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    region: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(1011), primary_key=True)
    versions: Mapped[list[Any]]
    tags: Mapped[dict[str, Any]] = mapped_column(default=dict)

    @property
    def newest(self) -> Version:
        """What the parameter is now."""
        found: Version = self.versions[-1]
        return found


def parameter_arn(ctx: Context, name: str) -> str:
    """The ARN of a parameter; public ones belong to no account."""
    account = "" if name.startswith(PUBLIC) else ctx.account
    return ctx.arn("ssm", f"parameter/{name.lstrip('/')}", account=account)


def plain_name(name: str) -> tuple[str, str | None]:
    """A name without the ARN around it, and the version or label that it selects (`name:3`)."""
    if name.startswith("arn:"):
        path = name.split(":", 5)[5].removeprefix("parameter")
        name, _, selector = path.partition(":")
        name = name if name.count("/") > 1 else name.lstrip("/")
    else:
        name, _, selector = name.partition(":")
    return name, selector or None


def find(ctx: Context, name: str) -> Parameter | None:
    """The caller's parameter of that name."""
    return ctx.session.scalar(select(Parameter).where(Parameter.name == name))


def missing(name: str) -> AWSError:
    """The error that says that there is no such parameter."""
    return AWSError("ParameterNotFound", f"Parameter {name} not found.")


def _seal(ctx: Context) -> Seal:
    seal: Seal = ctx.cloud.hosts["identity"]
    return seal


def sealed(ctx: Context, value: str) -> str:
    """A secret value as it is kept, and as callers see it who do not ask for its decryption."""
    return base64.b64encode(_seal(ctx).close(value.encode(), SEALED_FOR)).decode()


def value_of(ctx: Context, version: Version, decrypt: bool) -> str:
    """The value of a version; a secret one is opened only when the call asks for that."""
    value: str = version["Value"]
    if version["Type"] == "SecureString" and decrypt:
        return _seal(ctx).open(base64.b64decode(value), SEALED_FOR).decode()
    return value


def select_version(parameter: Parameter, selector: str | None) -> Version:
    """The version that a selector names by number or label. Raises ParameterVersionNotFound."""
    if selector is None:
        return parameter.newest
    for version in parameter.versions:
        if str(version["Version"]) == selector or selector in version.get("Labels", ()):
            found: Version = version
            return found
    raise AWSError(
        "ParameterVersionNotFound",
        f"Systems Manager could not find version {selector} of {parameter.name}. Verify the version and try again.",
    )


def public_parameter(ctx: Context, name: str) -> dict[str, Any] | None:
    """A parameter that AWS publishes, in AWS's form."""
    value = public_parameters(ctx.region).get(name)
    if value is None:
        return None
    return {
        "Name": name,
        "Type": "String",
        "Value": value,
        "Version": 1,
        "LastModifiedDate": PUBLISHED,
        "ARN": parameter_arn(ctx, name),
        "DataType": "aws:ec2:image" if value.startswith("ami-") else "text",
    }
