"""Roles of IAM and their trust policies."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from backends.identity.models import Role
from compat.iam.boundaries import boundary, boundary_of
from compat.iam.directory import directory
from compat.iam.faults import FAULTS, limit, malformed
from compat.iam.names import a_new, arn, changeable, new_id, the_role, under
from compat.iam.pages import encoded, marked_rows
from compat.iam.policy.document import Malformed
from compat.iam.policy.validate import size
from compat.iam.tags import checked, listing
from compat.iam.trust import checked_trust
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

MOST_ROLES = 1000
LARGEST_TRUST = 2048
REMEMBERED = timedelta(days=400)


def render_role(ctx: Context, role: Role) -> dict[str, Any]:
    """A role as lists show it: without tags and boundary."""
    shown: dict[str, Any] = {
        "Path": role.path,
        "RoleName": role.name,
        "RoleId": role.id,
        "Arn": arn(ctx, role),
        "CreateDate": role.created,
        "AssumeRolePolicyDocument": encoded(role.trust),
        "MaxSessionDuration": role.longest,
    }
    return shown if role.description is None else shown | {"Description": role.description}


def render_whole_role(ctx: Context, role: Role) -> dict[str, Any]:
    """A role with all that is known of it."""
    whole = render_role(ctx, role) | boundary_of(ctx, role)
    return whole | {"Tags": listing(role.tags)} if role.tags else whole


def trust_text(ctx: Context, text: str) -> str:
    """The trust policy of a request, checked. Raises MalformedPolicyDocument, LimitExceeded."""
    try:
        checked_trust(ctx, text)
    except Malformed as fault:
        raise malformed(fault) from None
    if size(text) > LARGEST_TRUST:
        raise limit("ACLSizePerRole", LARGEST_TRUST)
    return text


def last_used(ctx: Context, role: Role) -> dict[str, Any]:
    """When and where a role was used last, within the 400 days that IAM remembers; as `RoleLastUsed`."""
    now, found = ctx.now, directory(ctx.cloud).unwritten_use(role.id)
    if found is None:
        noted = ctx.identity.use_of(role.id)
        found = (noted.used, noted.region) if noted is not None else None
    if found is None or found[0] < now - REMEMBERED:
        return {}
    return {"LastUsedDate": found[0], "Region": found[1]}


@operation("iam:CreateRole", on=a_new("role", "RoleName"), raises=FAULTS)
def create_role(ctx: Context, p: Params) -> Result:
    """The answer names the longest session only where the caller did, as IAM's does; GetRole always does."""
    tags = checked(p.get("Tags"))
    trust = trust_text(ctx, p["AssumeRolePolicyDocument"])
    if ctx.identity.count(Role) >= MOST_ROLES:
        raise limit("RolesPerAccount", MOST_ROLES)
    role = Role(
        id=new_id("AROA"),
        name=p["RoleName"],
        path=p.get("Path") or "/",
        trust=trust,
        description=p.get("Description"),
        longest=p.get("MaxSessionDuration") or 3600,
        limit=boundary(ctx, p),
        tags=tags,
    )
    shown = render_whole_role(ctx, ctx.identity.add(role))
    if p.get("MaxSessionDuration") is None:
        del shown["MaxSessionDuration"]
    return {"Role": shown}


@operation("iam:GetRole", on=the_role, raises=FAULTS)
def get_role(ctx: Context, p: Params) -> Result:
    role = ctx.identity.get(Role, p["RoleName"])
    return {"Role": render_whole_role(ctx, role) | {"RoleLastUsed": last_used(ctx, role)}}


@operation("iam:ListRoles", on=under("role"), raises=FAULTS)
def list_roles(ctx: Context, p: Params) -> Result:
    return marked_rows(ctx, p, "Roles", Role, render_role)


@operation("iam:UpdateRole", on=the_role, raises=FAULTS)
def update_role(ctx: Context, p: Params) -> Result:
    """A service's own role can be given another description, and nothing else."""
    role = ctx.identity.get(Role, p["RoleName"])
    if p.get("MaxSessionDuration") is not None:
        changeable(role)
    if p.get("Description") is not None:
        role.description = p["Description"]
    if p.get("MaxSessionDuration") is not None:
        role.longest = p["MaxSessionDuration"]
    return {}


@operation("iam:UpdateRoleDescription", on=the_role, raises=FAULTS)
def update_role_description(ctx: Context, p: Params) -> Result:
    role = ctx.identity.get(Role, p["RoleName"])
    role.description = p["Description"]
    return {"Role": render_whole_role(ctx, role)}


@operation("iam:UpdateAssumeRolePolicy", on=the_role, raises=FAULTS)
def update_assume_role_policy(ctx: Context, p: Params) -> None:
    role = changeable(ctx.identity.get(Role, p["RoleName"]))
    role.trust = trust_text(ctx, p["PolicyDocument"])


@operation("iam:DeleteRole", on=the_role, raises=FAULTS)
def delete_role(ctx: Context, p: Params) -> None:
    ctx.identity.remove_role(changeable(ctx.identity.get(Role, p["RoleName"])))
