"""Groups of IAM, and who is in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backends.identity.models import Group, User
from compat.iam.faults import FAULTS, limit
from compat.iam.names import a_new, arn, new_id, the_group, the_user, under
from compat.iam.pages import marked, marked_rows
from compat.iam.users import render_user
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

MOST_GROUPS = 300
MOST_GROUPS_A_USER = 10


def render_group(ctx: Context, group: Group) -> dict[str, Any]:
    """A group, without its members."""
    return {
        "Path": group.path,
        "GroupName": group.name,
        "GroupId": group.id,
        "Arn": arn(ctx, group),
        "CreateDate": group.created,
    }


@operation("iam:CreateGroup", on=a_new("group", "GroupName"), raises=FAULTS)
def create_group(ctx: Context, p: Params) -> Result:
    if ctx.identity.count(Group) >= MOST_GROUPS:
        raise limit("GroupsPerAccount", MOST_GROUPS)
    group = Group(id=new_id("AGPA"), name=p["GroupName"], path=p.get("Path") or "/")
    return {"Group": render_group(ctx, ctx.identity.add(group))}


@operation("iam:GetGroup", on=the_group, raises=FAULTS)
def get_group(ctx: Context, p: Params) -> Result:
    group = ctx.identity.get(Group, p["GroupName"])
    members = ctx.identity.members_of(group)
    page = marked(p, "Users", members, lambda user: user.folded, lambda user: render_user(ctx, user))
    return {"Group": render_group(ctx, group)} | page


@operation("iam:ListGroups", on=under("group"), raises=FAULTS)
def list_groups(ctx: Context, p: Params) -> Result:
    return marked_rows(ctx, p, "Groups", Group, render_group)


@operation("iam:UpdateGroup", on=the_group, raises=FAULTS)
def update_group(ctx: Context, p: Params) -> None:
    group = ctx.identity.get(Group, p["GroupName"])
    ctx.identity.rename(group, p.get("NewGroupName"), p.get("NewPath"))


@operation("iam:DeleteGroup", on=the_group, raises=FAULTS)
def delete_group(ctx: Context, p: Params) -> None:
    ctx.identity.remove_group(ctx.identity.get(Group, p["GroupName"]))


@operation("iam:AddUserToGroup", on=the_group, raises=FAULTS)
def add_user_to_group(ctx: Context, p: Params) -> None:
    group = ctx.identity.get(Group, p["GroupName"])
    user = ctx.identity.get(User, p["UserName"])
    held = {held.id for held in ctx.identity.groups_of(user)}
    if group.id not in held and len(held) >= MOST_GROUPS_A_USER:
        raise limit("GroupsPerUser", MOST_GROUPS_A_USER)
    ctx.identity.join(user, group)


@operation("iam:RemoveUserFromGroup", on=the_group, raises=FAULTS)
def remove_user_from_group(ctx: Context, p: Params) -> None:
    group = ctx.identity.get(Group, p["GroupName"])
    ctx.identity.leave(ctx.identity.get(User, p["UserName"]), group)


@operation("iam:ListGroupsForUser", on=the_user, raises=FAULTS)
def list_groups_for_user(ctx: Context, p: Params) -> Result:
    groups = ctx.identity.groups_of(ctx.identity.get(User, p["UserName"]))
    return marked(p, "Groups", groups, lambda group: group.folded, lambda group: render_group(ctx, group))
