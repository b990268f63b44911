"""An object that is not there: 404 to those who may list its bucket, 403 to all others, who must not learn it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compat.errors import AWSError
from compat.iam.authorize import ask, refusal
from compat.s3 import faults

if TYPE_CHECKING:
    from compat.context import Context


def absent(ctx: Context, key: str, version: str | None = None) -> AWSError:
    """The error for a key, or for a version of it as the call names it, in the call's bucket."""
    if ctx.rules.auth == "enforce":
        # The condition s3:prefix sees the key that was asked for.
        decision = ask(ctx, "s3:ListBucket", f"arn:{ctx.partition}:s3:::{ctx.params['Bucket']}", {"Prefix": key})
        if not decision.allowed:
            return refusal(ctx, ctx.operation, decision)
    return faults.no_such_key(key) if version is None else faults.no_such_version(key, version)
