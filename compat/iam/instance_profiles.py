"""Instance profiles: what an instance carries to take on a role."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from backends.identity.models import Profile, Role
from compat.iam.demands import Demand, demands_also
from compat.iam.faults import FAULTS, limit, no_such
from compat.iam.names import a_new, arn, new_id, the_profile, the_role, under
from compat.iam.pages import marked, marked_rows
from compat.iam.roles import render_role
from compat.iam.tags import checked, listing
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

MOST_PROFILES = 1000


def render_instance_profile(ctx: Context, profile: Profile) -> dict[str, Any]:
    """An instance profile with the role that it carries."""
    role = ctx.identity.role_in(profile)
    return {
        "Path": profile.path,
        "InstanceProfileName": profile.name,
        "InstanceProfileId": profile.id,
        "Arn": arn(ctx, profile),
        "CreateDate": profile.created,
        "Roles": [] if role is None else [render_role(ctx, role)],
    }


def _whole(ctx: Context, profile: Profile) -> dict[str, Any]:
    return render_instance_profile(ctx, profile) | {"Tags": listing(profile.tags)}


@operation("iam:CreateInstanceProfile", on=a_new("instance-profile", "InstanceProfileName"), raises=FAULTS)
def create_instance_profile(ctx: Context, p: Params) -> Result:
    tags = checked(p.get("Tags"))
    if ctx.identity.count(Profile) >= MOST_PROFILES:
        raise limit("InstanceProfilesPerAccount", MOST_PROFILES)
    profile = Profile(id=new_id("AIPA"), name=p["InstanceProfileName"], path=p.get("Path") or "/", tags=tags)
    return {"InstanceProfile": _whole(ctx, ctx.identity.add(profile))}


@operation("iam:GetInstanceProfile", on=the_profile, raises=FAULTS)
def get_instance_profile(ctx: Context, p: Params) -> Result:
    return {"InstanceProfile": _whole(ctx, ctx.identity.get(Profile, p["InstanceProfileName"]))}


@operation("iam:ListInstanceProfiles", on=under("instance-profile"), raises=FAULTS)
def list_instance_profiles(ctx: Context, p: Params) -> Result:
    return marked_rows(ctx, p, "InstanceProfiles", Profile, render_instance_profile)


@operation("iam:ListInstanceProfilesForRole", on=the_role, raises=FAULTS)
def list_instance_profiles_for_role(ctx: Context, p: Params) -> Result:
    profiles = ctx.identity.profiles_of(ctx.identity.get(Role, p["RoleName"]))
    return marked(
        p, "InstanceProfiles", profiles, lambda one: one.folded, lambda one: render_instance_profile(ctx, one)
    )


@operation("iam:AddRoleToInstanceProfile", on=the_profile, raises=FAULTS)
def add_role_to_instance_profile(ctx: Context, p: Params) -> None:
    profile = ctx.identity.get(Profile, p["InstanceProfileName"])
    role = ctx.identity.get(Role, p["RoleName"])
    if profile.role_id is not None:
        raise limit("InstanceSessionsPerInstanceProfile", 1)
    profile.role_id = role.id


@demands_also("iam:AddRoleToInstanceProfile")
def _passes_the_role(ctx: Context, p: Params) -> Iterable[Demand]:
    part = the_role(ctx, p)[0]
    resource = f"arn:{ctx.partition}:iam::{ctx.account}:{part}"
    yield Demand("iam:PassRole", (resource,), {"iam:passedtoservice": "ec2.amazonaws.com"})


@operation("iam:RemoveRoleFromInstanceProfile", on=the_profile, raises=FAULTS)
def remove_role_from_instance_profile(ctx: Context, p: Params) -> None:
    profile = ctx.identity.get(Profile, p["InstanceProfileName"])
    role = ctx.identity.get(Role, p["RoleName"])
    if profile.role_id != role.id:
        raise no_such(f"Role {role.name} in instance profile {profile.name} cannot be found.")
    profile.role_id = None


@operation("iam:DeleteInstanceProfile", on=the_profile, raises=FAULTS)
def delete_instance_profile(ctx: Context, p: Params) -> None:
    ctx.identity.remove_profile(ctx.identity.get(Profile, p["InstanceProfileName"]))
