"""Where resources that have a policy of their own say what it is.

A service whose resources carry policies registers one function, asked for each resource of a call before anything else
happens:

    @guard("s3")
    def bucket_side(ctx: Context, action: str, resource: str) -> ResourceSide | None: ...

It gives whose the resource is, its policy text, and whether an access control list lets the caller in; None for
resources that are simply the caller's own. It must be quick: keep what it reads under a stamp. It must not raise for a
resource that does not exist (None, so that the handler can say so to those who may know).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from compat.iam.policy.evaluate import ResourceSide

if TYPE_CHECKING:
    from compat.context import Context
    from compat.errors import AWSError
    from compat.operation import Operation, Params

Guard = Callable[["Context", str, str], ResourceSide | None]
TagsOf = Callable[["Context", str], Mapping[str, str] | None]

Exemption = Callable[["Context", "Operation", "Params"], bool]

GUARDS: dict[str, Guard] = {}
EXEMPTIONS: dict[str, Exemption] = {}
"""By service: says quickly that no resource of a call has anything to say about an account's own root."""
REFUSALS: dict[str, Callable[[Context, Operation], AWSError | None]] = {}
"""By service: what may say something else than that access is denied (S3: that nothing is there)."""
RESOURCE_TAGS: dict[str, TagsOf] = {}
"""By ARN service: the tags of the resource with a given ARN, or None where it has none or does not exist. `s3:bucket`,
`s3:accesspoint` and `s3:object` are the tags of those parts of an ARN, for S3's own condition keys."""


def guard(service: str) -> Callable[[Guard], Guard]:
    """Register the function that knows the resource policies of `service` (botocore's name)."""

    def register(function: Guard) -> Guard:
        if service in GUARDS:
            raise RuntimeError(f"{service} has a guard already")
        GUARDS[service] = function
        return function

    return register


def exemption(service: str) -> Callable[[Exemption], Exemption]:
    """Register the function that knows calls about which a guard has nothing to say where an account's root makes them.
    It must be quicker than the guard, and say no where it does not know."""

    def register(function: Exemption) -> Exemption:
        EXEMPTIONS[service] = function
        return function

    return register


def resource_tags(service: str) -> Callable[[TagsOf], TagsOf]:
    """Register the function that knows the tags of resources of `service` (as it stands in ARNs)."""

    def register(function: TagsOf) -> TagsOf:
        if service in RESOURCE_TAGS:
            raise RuntimeError(f"{service} has resource tags already")
        RESOURCE_TAGS[service] = function
        return function

    return register
