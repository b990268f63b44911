"""Permissions boundaries of users and roles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backends.identity.models import Role, User
from compat.iam.faults import FAULTS, no_such
from compat.iam.names import changeable, names_of, reference, the_role, the_user
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params


def boundary_of(ctx: Context, holder: User | Role) -> dict[str, Any]:
    """The boundary of a user or role as answers carry it; nothing where there is none."""
    if holder.limit is None:
        return {}
    for _, arn in names_of(ctx, [holder.limit]):
        return {"PermissionsBoundary": {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": arn}}
    return {}


def boundary(ctx: Context, p: Params) -> str | None:
    """The reference of the boundary that a Create call asks for."""
    return reference(ctx, p["PermissionsBoundary"]) if p.get("PermissionsBoundary") else None


@operation("iam:PutUserPermissionsBoundary", on=the_user, raises=FAULTS)
def put_user_permissions_boundary(ctx: Context, p: Params) -> None:
    ctx.identity.get(User, p["UserName"]).limit = reference(ctx, p["PermissionsBoundary"])


@operation("iam:DeleteUserPermissionsBoundary", on=the_user, raises=FAULTS)
def delete_user_permissions_boundary(ctx: Context, p: Params) -> None:
    _unbound(ctx.identity.get(User, p["UserName"]))


@operation("iam:PutRolePermissionsBoundary", on=the_role, raises=FAULTS)
def put_role_permissions_boundary(ctx: Context, p: Params) -> None:
    changeable(ctx.identity.get(Role, p["RoleName"])).limit = reference(ctx, p["PermissionsBoundary"])


@operation("iam:DeleteRolePermissionsBoundary", on=the_role, raises=FAULTS)
def delete_role_permissions_boundary(ctx: Context, p: Params) -> None:
    _unbound(changeable(ctx.identity.get(Role, p["RoleName"])))


def _unbound(holder: User | Role) -> None:
    if holder.limit is None:
        kind = "User" if isinstance(holder, User) else "Role"
        raise no_such(f"{kind} {holder.name} does not have a permissions boundary.")
    holder.limit = None
