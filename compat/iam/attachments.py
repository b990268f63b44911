"""Managed policies on users, groups and roles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.errors import Missing
from backends.identity.models import Group, Role, User
from compat.iam.faults import FAULTS, limit, no_such
from compat.iam.names import changeable, names_of, reference, reference_or_none, the_group, the_role, the_user
from compat.iam.pages import marked
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

MOST_ATTACHED = 10


def _attach(ctx: Context, holder: User | Group | Role, policy_arn: str) -> None:
    held = ctx.identity.attached(holder)
    wanted = reference(ctx, policy_arn)
    if wanted not in held and len(held) >= MOST_ATTACHED:
        raise limit(f"PoliciesPer{type(holder).__name__}", MOST_ATTACHED)
    ctx.identity.attach(holder, wanted)


def _detach(ctx: Context, holder: User | Group | Role, policy_arn: str) -> None:
    held = reference_or_none(ctx, policy_arn)
    try:
        ctx.identity.detach(holder, held or "")
    except Missing:
        raise no_such(f"Policy {policy_arn} was not found.") from None


def _list(ctx: Context, p: Params, holder: User | Group | Role) -> Result:
    prefix = p.get("PathPrefix") or "/"
    held = [
        (name, arn)
        for name, arn in names_of(ctx, ctx.identity.attached(holder))
        if arn.partition(":policy")[2].startswith(prefix)
    ]
    held.sort(key=lambda pair: (pair[0].casefold(), pair[1]))
    return marked(
        p,
        "AttachedPolicies",
        held,
        lambda pair: pair[0].casefold() + pair[1],
        lambda pair: {"PolicyName": pair[0], "PolicyArn": pair[1]},
    )


@operation("iam:AttachUserPolicy", on=the_user, raises=FAULTS)
def attach_user_policy(ctx: Context, p: Params) -> None:
    _attach(ctx, ctx.identity.get(User, p["UserName"]), p["PolicyArn"])


@operation("iam:AttachGroupPolicy", on=the_group, raises=FAULTS)
def attach_group_policy(ctx: Context, p: Params) -> None:
    _attach(ctx, ctx.identity.get(Group, p["GroupName"]), p["PolicyArn"])


@operation("iam:AttachRolePolicy", on=the_role, raises=FAULTS)
def attach_role_policy(ctx: Context, p: Params) -> None:
    _attach(ctx, changeable(ctx.identity.get(Role, p["RoleName"])), p["PolicyArn"])


@operation("iam:DetachUserPolicy", on=the_user, raises=FAULTS)
def detach_user_policy(ctx: Context, p: Params) -> None:
    _detach(ctx, ctx.identity.get(User, p["UserName"]), p["PolicyArn"])


@operation("iam:DetachGroupPolicy", on=the_group, raises=FAULTS)
def detach_group_policy(ctx: Context, p: Params) -> None:
    _detach(ctx, ctx.identity.get(Group, p["GroupName"]), p["PolicyArn"])


@operation("iam:DetachRolePolicy", on=the_role, raises=FAULTS)
def detach_role_policy(ctx: Context, p: Params) -> None:
    _detach(ctx, changeable(ctx.identity.get(Role, p["RoleName"])), p["PolicyArn"])


@operation("iam:ListAttachedUserPolicies", on=the_user, raises=FAULTS)
def list_attached_user_policies(ctx: Context, p: Params) -> Result:
    return _list(ctx, p, ctx.identity.get(User, p["UserName"]))


@operation("iam:ListAttachedGroupPolicies", on=the_group, raises=FAULTS)
def list_attached_group_policies(ctx: Context, p: Params) -> Result:
    return _list(ctx, p, ctx.identity.get(Group, p["GroupName"]))


@operation("iam:ListAttachedRolePolicies", on=the_role, raises=FAULTS)
def list_attached_role_policies(ctx: Context, p: Params) -> Result:
    return _list(ctx, p, ctx.identity.get(Role, p["RoleName"]))


@operation("iam:ListEntitiesForPolicy", on="{PolicyArn}", raises=FAULTS)
def list_entities_for_policy(ctx: Context, p: Params) -> Result:
    """One page holds entities of all three kinds, ordered by kind and name."""
    held = reference_or_none(ctx, p["PolicyArn"])
    if held is None:
        raise no_such(f"Policy {p['PolicyArn']} was not found.")
    prefix, usage, wanted = p.get("PathPrefix") or "/", p.get("PolicyUsageFilter"), p.get("EntityFilter")
    found: list[tuple[str, User | Group | Role]] = []
    if usage != "PermissionsBoundary":
        found += [("Group", one) for one in ctx.identity.holders_of(held, Group)]
        found += [("Role", one) for one in ctx.identity.holders_of(held, Role)]
        found += [("User", one) for one in ctx.identity.holders_of(held, User)]
    if usage != "PermissionsPolicy":
        found += [("Role", one) for one in ctx.identity.limited_by(held, Role)]
        found += [("User", one) for one in ctx.identity.limited_by(held, User)]
    several = sorted({one.id: (kind, one) for kind, one in found if one.path.startswith(prefix)}.values(), key=_place)
    if wanted in ("User", "Group", "Role"):
        several = [pair for pair in several if pair[0] == wanted]
    elif wanted is not None:
        several = []
    page = marked(p, "entities", several, _place, lambda pair: pair)
    entities: list[tuple[str, User | Group | Role]] = page.pop("entities")
    for kind in ("Group", "Role", "User"):
        page[f"Policy{kind}s"] = [{f"{kind}Name": one.name, f"{kind}Id": one.id} for of, one in entities if of == kind]
    return page


def _place(pair: tuple[str, User | Group | Role]) -> str:
    return f"{pair[0]} {pair[1].folded}"
