"""Condition keys of IAM's own operations."""

from __future__ import annotations

from backends.identity.models import Role, User
from compat.iam.keys import Keys, service_keys, text
from compat.iam.names import names_of
from compat.iam.policy.request import ContextValue

MEMBERS = {
    "policyarn": "PolicyArn",
    "permissionsboundary": "PermissionsBoundary",
    "awsservicename": "AWSServiceName",
    "servicespecificcredentialservicename": "ServiceName",
    "servicespecificcredentialagedays": "CredentialAgeDays",
}


@service_keys("iam")
def _iam_keys(keys: Keys, name: str) -> ContextValue:
    if name == "permissionsboundary" and "PermissionsBoundary" not in keys.p:
        return _boundary(keys)
    member = MEMBERS.get(name)
    return text(keys.p.get(member)) if member is not None else None


def _boundary(keys: Keys) -> ContextValue:
    """The boundary that the user or role of the call has already."""
    ctx, p = keys.ctx, keys.p
    holder: User | Role | None = None
    if p.get("UserName"):
        holder = ctx.identity.find(User, p["UserName"])
    elif p.get("RoleName"):
        holder = ctx.identity.find(Role, p["RoleName"])
    if holder is None or holder.limit is None:
        return None
    return next((arn for _, arn in names_of(ctx, [holder.limit])), None)
