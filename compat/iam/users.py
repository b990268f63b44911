"""Users of IAM."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from backends.identity.models import User
from compat.iam.boundaries import boundary, boundary_of
from compat.iam.faults import FAULTS, limit
from compat.iam.names import a_new, arn, new_id, subject, the_user, under
from compat.iam.pages import marked_rows
from compat.iam.tags import checked, listing
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

MOST_USERS = 5000
ROOT_CREATED = datetime(2006, 3, 14, tzinfo=UTC)
"""When an account says that its root was made: accounts here begin with their first call, and keep no such date."""


def render_user(ctx: Context, user: User) -> dict[str, Any]:
    """A user as lists show it: without tags and boundary."""
    return {
        "Path": user.path,
        "UserName": user.name,
        "UserId": user.id,
        "Arn": arn(ctx, user),
        "CreateDate": user.created,
    }


def render_whole_user(ctx: Context, user: User) -> dict[str, Any]:
    """A user with all that is known of it."""
    whole = render_user(ctx, user) | boundary_of(ctx, user)
    return whole | {"Tags": listing(user.tags)} if user.tags else whole


@operation("iam:CreateUser", on=a_new("user", "UserName"), raises=FAULTS)
def create_user(ctx: Context, p: Params) -> Result:
    tags = checked(p.get("Tags"))
    if ctx.identity.count(User) >= MOST_USERS:
        raise limit("UsersPerAccount", MOST_USERS)
    user = User(id=new_id("AIDA"), name=p["UserName"], path=p.get("Path") or "/", tags=tags, limit=boundary(ctx, p))
    return {"User": render_whole_user(ctx, ctx.identity.add(user))}


@operation("iam:GetUser", on=the_user, raises=FAULTS)
def get_user(ctx: Context, p: Params) -> Result:
    user = subject(ctx, p.get("UserName"))
    if user is not None:
        return {"User": render_whole_user(ctx, user)}
    arn_of_root = f"arn:{ctx.partition}:iam::{ctx.account}:root"
    return {"User": {"UserId": ctx.account, "Arn": arn_of_root, "CreateDate": ROOT_CREATED}}


@operation("iam:ListUsers", on=under("user"), raises=FAULTS)
def list_users(ctx: Context, p: Params) -> Result:
    return marked_rows(ctx, p, "Users", User, render_user)


@operation("iam:UpdateUser", on=the_user, raises=FAULTS)
def update_user(ctx: Context, p: Params) -> None:
    user = ctx.identity.get(User, p["UserName"])
    ctx.identity.rename(user, p.get("NewUserName"), p.get("NewPath"))


@operation("iam:DeleteUser", on=the_user, raises=FAULTS)
def delete_user(ctx: Context, p: Params) -> None:
    ctx.identity.remove_user(ctx.identity.get(User, p["UserName"]))
