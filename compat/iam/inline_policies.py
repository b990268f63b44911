"""Policies that belong to one user, group or role."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.identity.models import Group, Role, User
from compat.errors import AWSError
from compat.iam.faults import FAULTS, malformed
from compat.iam.names import changeable, the_group, the_role, the_user
from compat.iam.pages import encoded, marked
from compat.iam.policy.document import Malformed
from compat.iam.policy.validate import identity_policy, size
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

LARGEST: dict[type[User | Group | Role], int] = {User: 2048, Group: 5120, Role: 10240}
"""How many characters (white space left out) all inline policies of one holder may have together."""


def _put(ctx: Context, holder: User | Group | Role, p: Params) -> None:
    text, name = p["PolicyDocument"], p["PolicyName"]
    try:
        identity_policy(text)
    except Malformed as fault:
        raise malformed(fault) from None
    most = LARGEST[type(holder)]
    others = sum(size(one.text) for one in ctx.identity.inlines(holder) if one.folded != name.casefold())
    if others + size(text) > most:
        kind = type(holder).__name__.lower()
        raise AWSError("LimitExceeded", f"Maximum policy size of {most} bytes exceeded for {kind} {holder.name}")
    ctx.identity.put_inline(holder, name, text)


def _get(ctx: Context, holder: User | Group | Role, p: Params) -> Result:
    found = ctx.identity.inline(holder, p["PolicyName"])
    member = f"{type(holder).__name__}Name"
    return {member: holder.name, "PolicyName": found.name, "PolicyDocument": encoded(found.text)}


def _list(ctx: Context, p: Params, holder: User | Group | Role) -> Result:
    return marked(p, "PolicyNames", ctx.identity.inlines(holder), lambda one: one.folded, lambda one: one.name)


@operation("iam:PutUserPolicy", on=the_user, raises=FAULTS)
def put_user_policy(ctx: Context, p: Params) -> None:
    _put(ctx, ctx.identity.get(User, p["UserName"]), p)


@operation("iam:GetUserPolicy", on=the_user, raises=FAULTS)
def get_user_policy(ctx: Context, p: Params) -> Result:
    return _get(ctx, ctx.identity.get(User, p["UserName"]), p)


@operation("iam:ListUserPolicies", on=the_user, raises=FAULTS)
def list_user_policies(ctx: Context, p: Params) -> Result:
    return _list(ctx, p, ctx.identity.get(User, p["UserName"]))


@operation("iam:DeleteUserPolicy", on=the_user, raises=FAULTS)
def delete_user_policy(ctx: Context, p: Params) -> None:
    ctx.identity.remove_inline(ctx.identity.get(User, p["UserName"]), p["PolicyName"])


@operation("iam:PutGroupPolicy", on=the_group, raises=FAULTS)
def put_group_policy(ctx: Context, p: Params) -> None:
    _put(ctx, ctx.identity.get(Group, p["GroupName"]), p)


@operation("iam:GetGroupPolicy", on=the_group, raises=FAULTS)
def get_group_policy(ctx: Context, p: Params) -> Result:
    return _get(ctx, ctx.identity.get(Group, p["GroupName"]), p)


@operation("iam:ListGroupPolicies", on=the_group, raises=FAULTS)
def list_group_policies(ctx: Context, p: Params) -> Result:
    return _list(ctx, p, ctx.identity.get(Group, p["GroupName"]))


@operation("iam:DeleteGroupPolicy", on=the_group, raises=FAULTS)
def delete_group_policy(ctx: Context, p: Params) -> None:
    ctx.identity.remove_inline(ctx.identity.get(Group, p["GroupName"]), p["PolicyName"])


@operation("iam:PutRolePolicy", on=the_role, raises=FAULTS)
def put_role_policy(ctx: Context, p: Params) -> None:
    _put(ctx, changeable(ctx.identity.get(Role, p["RoleName"])), p)


@operation("iam:GetRolePolicy", on=the_role, raises=FAULTS)
def get_role_policy(ctx: Context, p: Params) -> Result:
    return _get(ctx, ctx.identity.get(Role, p["RoleName"]), p)


@operation("iam:ListRolePolicies", on=the_role, raises=FAULTS)
def list_role_policies(ctx: Context, p: Params) -> Result:
    return _list(ctx, p, ctx.identity.get(Role, p["RoleName"]))


@operation("iam:DeleteRolePolicy", on=the_role, raises=FAULTS)
def delete_role_policy(ctx: Context, p: Params) -> None:
    ctx.identity.remove_inline(changeable(ctx.identity.get(Role, p["RoleName"])), p["PolicyName"])
