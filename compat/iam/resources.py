"""From an operation's `on=` and a call's parameters to the ARNs that a policy must allow."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING

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
    if callable(on):
        listed = on
        return lambda ctx, p: _arns(ctx, service, listed(ctx, p))
    templates = [_template(one) for one in ((on,) if isinstance(on, str) else on)]
    if len(templates) == 1:
        only = templates[0]
        return lambda ctx, p: _arns(ctx, service, only(p))
    return lambda ctx, p: _arns(ctx, service, [part for template in templates for part in template(p)])


def _arns(ctx: Context, service: str, parts: Iterable[str]) -> tuple[str, ...]:
    return tuple([qualify(ctx, service, part) for part in parts]) or (qualify(ctx, service, "*"),)


def _template(text: str) -> Callable[[Params], Sequence[str]]:
    """What fills the places of `text` from parameters; once for each element where a parameter is a list."""
    names = _PLACE.findall(text)
    if not names:
        return lambda p: (text,)

    pattern = _PLACE.sub("%s", text.replace("%", "%%"))

    def fill(p: Params) -> Sequence[str]:
        values = [p.get(name) for name in names]
        if None in values:
            return ()
        if list not in map(type, values):
            return (pattern % tuple(values),)
        choices = product(*(value if isinstance(value, list) else [value] for value in values))
        return [pattern % chosen for chosen in choices]

    return fill
