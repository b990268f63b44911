"""What an operation demands: its own action on its resources, and the further actions that AWS demands with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple

from compat.iam.policy.request import ContextValue
from compat.iam.resources import expander, qualify

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Operation, Params


_NOTHING: Mapping[str, ContextValue] = {}


class Demand(NamedTuple):
    """One action on some resources, with condition keys of its own (in lower case)."""

    action: str
    resources: tuple[str, ...]
    extra: Mapping[str, ContextValue] = _NOTHING


Further = Callable[["Context", "Params"], Iterable[Demand]]
Renamed = Callable[["Context", "Params"], "str | None"]
Instead = Callable[["Context", "Operation", "Params"], "list[Demand] | None"]
FURTHER: dict[str, list[Further]] = {}
RENAMED: dict[str, Renamed] = {}
INSTEAD: dict[str, Instead] = {}


def demands_also(*operations: str) -> Callable[[Further], Further]:
    """Register further demands of operations (`service:Operation`)."""

    def register(function: Further) -> Further:
        for name in operations:
            FURTHER.setdefault(name, []).append(function)
        return function

    return register


def acts_as(*operations: str) -> Callable[[Renamed], Renamed]:
    """Register a choice of the action by the parameters (None: the usual one); S3 has such operations."""

    def register(function: Renamed) -> Renamed:
        for name in operations:
            RENAMED[name] = function
        return function

    return register


def demands_instead(service: str) -> Callable[[Instead], Instead]:
    """Register what may know the demand of a service's call, apart from further ones (None: the usual)."""

    def register(function: Instead) -> Instead:
        INSTEAD[service] = function
        return function

    return register


def demands(ctx: Context, operation: Operation, p: Params) -> list[Demand]:
    """Everything that must be allowed for the call, in the order in which it is asked."""
    action, key = operation.action, operation.key
    instead = INSTEAD.get(operation.service)
    found = None if instead is None else instead(ctx, operation, p)
    if found is None:
        renamed = RENAMED.get(key)
        if renamed is not None:
            action = renamed(ctx, p) or action
        found = [Demand(action, expander(operation)(ctx, p))]
    if operation.service == "ec2" and ("TagSpecifications" in p or "TagSpecification" in p):
        found += _tag_on_create(ctx, operation, p)
    for further in FURTHER.get(key, ()):
        found += further(ctx, p)
    return found


def _tag_on_create(ctx: Context, operation: Operation, p: Params) -> Iterable[Demand]:
    """EC2 demands `ec2:CreateTags` on what is to be created, when it is to be created with tags."""
    for specification in p.get("TagSpecifications") or p.get("TagSpecification") or ():
        if specification.get("Tags"):
            resource = qualify(ctx, "ec2", f"{specification.get('ResourceType')}/*")
            yield Demand("ec2:CreateTags", (resource,), {"ec2:createaction": operation.name})


@demands_also("ec2:RunInstances", "ec2:AssociateIamInstanceProfile", "ec2:ReplaceIamInstanceProfileAssociation")
def _pass_role(ctx: Context, p: Params) -> Iterable[Demand]:
    """Giving a guest a profile passes the profile's role to EC2."""
    given = p.get("IamInstanceProfile") or {}
    name = given.get("Name") or (given.get("Arn") or "").rpartition("/")[2]
    if name and (role := ctx.identity.role_of_profile(name)) is not None:
        arn = qualify(ctx, "iam", f"role{role.path}{role.name}")
        yield Demand("iam:PassRole", (arn,), {"iam:passedtoservice": "ec2.amazonaws.com"})
