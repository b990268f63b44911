"""`@operation`: the one line that makes a function answer an AWS operation."""

from __future__ import annotations

import importlib
import pkgutil
import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compat.context import Context

Params = Mapping[str, Any]
Result = dict[str, Any]
Handler = Callable[["Context", Params], Result | None]
On = str | tuple[str, ...] | Callable[["Context", Params], Iterable[str]]
Raises = Mapping[type[Exception], "str | Callable[[Any], Exception]"]

READ_VERBS = re.compile(r"(Describe|List|Get|Head|BatchGet|Select|Lookup|Search|Decode|Simulate)(?![a-z])")

# IAM's action prefix where it is not botocore's name of the service.
ACTION_PREFIX = {
    "elbv2": "elasticloadbalancing",
    "resourcegroupstaggingapi": "tag",
    "s3control": "s3",
}


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One answered operation. `on` names the resources that a policy must allow; see `operation`."""

    service: str
    name: str
    handler: Handler
    on: On
    action: str
    raises: Raises = field(default_factory=dict)
    streams: bool = False
    slow: bool = False
    reads: bool = False
    lasting: bool = False
    open: bool = False

    @property
    def key(self) -> str:
        """`service:Operation`, with botocore's name of the service."""
        return f"{self.service}:{self.name}"


OPERATIONS: dict[tuple[str, str], Operation] = {}
FALLBACKS: dict[str, Raises] = {}
"""Service -> what native errors are called there, where an operation's own `raises` says nothing of them."""
REASONS: dict[tuple[str, str], str] = {}
"""Why an operation that AWS has is not offered, where that was decided."""


def operation(
    wire_name: str,
    *,
    on: On = "*",
    action: str | None = None,
    raises: Raises | None = None,
    streams: bool = False,
    slow: bool = False,
    reads: bool | None = None,
    lasting: bool = False,
    open: bool = False,
) -> Callable[[Handler], Handler]:
    """Register a handler for `service:Operation` (botocore's service name).

    - `on`: the resources that authorisation is about: "*", templates filled from the parameters (`"vpc/{VpcId}"`; a
      list expands), or a callable giving ARNs or resource parts.
    - `action`: the IAM action, where it is not the operation's name.
    - `raises`: native error → AWS code, or → a function of the error giving an `AWSError`.
    - `streams`: a body is read or written; no unit of work is open, the handler opens short ones (`ctx.transaction`).
    - `slow`: must not run on the event loop's thread.
    - `reads`: changes nothing; by default told by the verb.
    - `lasting`: though it `streams`, an answer of which the handler says so (`ctx.lasts`) is good until anybody writes.
    - `open`: needs no permission (AWS documents a few such operations).
    """
    service, _, name = wire_name.partition(":")

    def register(handler: Handler) -> Handler:
        if (service, name) in OPERATIONS:
            raise RuntimeError(f"{wire_name} is registered twice")
        OPERATIONS[service, name] = Operation(
            service=service,
            name=name,
            handler=handler,
            on=on,
            action=action or f"{ACTION_PREFIX.get(service, service)}:{name}",
            raises=raises or {},
            streams=streams,
            slow=slow,
            reads=bool(READ_VERBS.match(name)) if reads is None else reads,
            lasting=lasting,
            open=open,
        )
        return handler

    return register


def find(service: str, name: str) -> Operation | None:
    """The operation, if it is answered. The modules of its service are imported when it is first asked for."""
    if service not in _loaded:
        _load(service)
    return OPERATIONS.get((service, name))


def withheld(reason: str, *wire_names: str) -> None:
    """Say why operations (`service:Operation`) are not offered: they are answered 501 with this reason."""
    for wire_name in wire_names:
        service, _, name = wire_name.partition(":")
        REASONS[service, name] = reason


def load() -> Mapping[tuple[str, str], Operation]:
    """Import every module of `compat`, so that every operation is registered, and give the register."""
    for module in pkgutil.iter_modules(_compat().__path__):
        _load(module.name)
    return OPERATIONS


# Packages whose modules answer a service, or prepare what its callers find, where that is not the one of its name.
_TOGETHER = {
    "ec2": ("ec2", "vpc"),
    "ebs": ("ebs", "ec2", "vpc"),
    "ssm": ("ssm", "ec2", "vpc"),
    "s3control": ("s3control", "s3"),
}
_loaded: set[str] = set()
_loading = threading.Lock()


def _load(service: str) -> None:
    """Import the modules that answer a service; whoever comes meanwhile waits."""
    with _loading:
        for package in _TOGETHER.get(service, (service,)):
            _import_below(_compat().__path__, "compat.", package)
        _loaded.add(service)


def _import_below(path: Iterable[str], prefix: str, name: str) -> None:
    for module in pkgutil.iter_modules(path):
        if module.name == name:
            found = importlib.import_module(prefix + name)
            if module.ispkg:
                for below in pkgutil.walk_packages(found.__path__, f"{prefix}{name}."):
                    importlib.import_module(below.name)


def _compat() -> Any:
    import compat

    return compat
