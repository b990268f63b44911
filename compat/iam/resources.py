"""From an operation's `on=` and a call's parameters to the ARNs that a policy must allow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, Any

from compat.operation import ACTION_PREFIX, Operation, Params

if TYPE_CHECKING:
    from compat.context import Context

ACCOUNTLESS = frozenset({"image", "snapshot"})
"""EC2 resource types whose ARNs name no account."""

Expand = Callable[["Context", Params], tuple[str, ...]]
_PLACE = re.compile(r"\{(\w+)\}")


def qualify(ctx: Context, service: str, part: str) -> str:
    """The whole ARN of a resource part (`vpc/vpc-1`) of `service` (botocore's name), for the caller's account."""
    if part.startswith("arn:") or (part == "*" and service != "s3"):
        return part
    if service == "s3":
        return f"arn:{ctx.partition}:s3:::{part}"
    if service in ("iam", "sts"):
        return f"arn:{ctx.partition}:{service}::{ctx.account}:{part}"
    account = "" if service == "ec2" and part.partition("/")[0] in ACCOUNTLESS else ctx.account
    return f"arn:{ctx.partition}:{ACTION_PREFIX.get(service, service)}:{ctx.region}:{account}:{part}"


@lru_cache(None)
def expander(operation: Operation) -> Expand:
    """What gives the ARNs of a call of `operation`. Templates whose parameters a call does not send give none; a call
    that names no resource at all is about `*`."""
    on, service = operation.on, operation.service
    if on == "*":
        return lambda ctx, p: (qualify(ctx, service, "*"),)
    if callable(on):
        listed = on
        return lambda ctx, p: (
            tuple(qualify(ctx, service, part) for part in listed(ctx, p)) or (qualify(ctx, service, "*"),)
        )
    templates = [(template, tuple(_PLACE.findall(template))) for template in ((on,) if isinstance(on, str) else on)]

    def expand(ctx: Context, p: Params) -> tuple[str, ...]:
        found = [qualify(ctx, service, part) for template, names in templates for part in fill(template, names, p)]
        return tuple(found) or (qualify(ctx, service, "*"),)

    return expand


def fill(template: str, names: tuple[str, ...], p: Params) -> Iterable[str]:
    """`template` with its places filled from `p`; once for each element where a parameter is a list."""
    if not names:
        return (template,)
    values: list[list[Any]] = []
    for name in names:
        value = p.get(name)
        if value is None or value == []:
            return ()
        values.append(value if isinstance(value, list) else [value])
    return [template.format(**dict(zip(names, chosen, strict=True))) for chosen in product(*values)]
