"""Tags in IAM: the rules for all resources, and the operations of each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from backends.identity.models import Policy, Profile, Role, User
from compat.iam.faults import FAULTS, invalid_input, limit
from compat.iam.guards import resource_tags
from compat.iam.names import own_policy, the_profile, the_role, the_user
from compat.iam.pages import marked
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

MOST_TAGS = 50


class Tagged(Protocol):
    """What has tags."""

    tags: Any


def checked(tags: Iterable[Mapping[str, str]] | None) -> dict[str, str]:
    """The tags of a request as a mapping. Raises InvalidInput for keys that are doubled (whatever case) or reserved."""
    found: dict[str, str] = {}
    folded: set[str] = set()
    for tag in tags or ():
        key = tag["Key"]
        if key.casefold() in folded:
            raise invalid_input("Duplicate tag keys found. Please note that Tag keys are case insensitive.")
        if key.lower().startswith("aws:"):
            raise invalid_input(f"Tag key {key} is not valid: keys that begin with aws: are reserved.")
        folded.add(key.casefold())
        found[key] = tag.get("Value") or ""
    return found


def listing(tags: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as answers carry them."""
    return [{"Key": key, "Value": value} for key, value in tags.items()]


def put(thing: Tagged, tags: Iterable[Mapping[str, str]], kind: str) -> None:
    """Set tags; a key that differs only in case replaces the old one."""
    new = checked(tags)
    folded = {key.casefold() for key in new}
    merged = {key: value for key, value in thing.tags.items() if key.casefold() not in folded} | new
    if len(merged) > MOST_TAGS:
        raise limit(f"TagsPer{kind}", MOST_TAGS)
    thing.tags = merged


def drop(thing: Tagged, keys: Iterable[str]) -> None:
    """Remove tags; keys that are not there are no error."""
    gone = {key.casefold() for key in keys}
    thing.tags = {key: value for key, value in thing.tags.items() if key.casefold() not in gone}


def page_of(p: Params, tags: Mapping[str, str]) -> Result:
    """A page of a List…Tags operation."""
    return marked(
        p, "Tags", sorted(tags.items()), lambda pair: pair[0], lambda pair: {"Key": pair[0], "Value": pair[1]}
    )


# --- users ----------------------------------------------------------------------------------------------------------


@operation("iam:TagUser", on=the_user, raises=FAULTS)
def tag_user(ctx: Context, p: Params) -> None:
    put(ctx.identity.get(User, p["UserName"]), p["Tags"], "User")


@operation("iam:UntagUser", on=the_user, raises=FAULTS)
def untag_user(ctx: Context, p: Params) -> None:
    drop(ctx.identity.get(User, p["UserName"]), p["TagKeys"])


@operation("iam:ListUserTags", on=the_user, raises=FAULTS)
def list_user_tags(ctx: Context, p: Params) -> Result:
    return page_of(p, ctx.identity.get(User, p["UserName"]).tags)


# --- roles ----------------------------------------------------------------------------------------------------------


@operation("iam:TagRole", on=the_role, raises=FAULTS)
def tag_role(ctx: Context, p: Params) -> None:
    put(ctx.identity.get(Role, p["RoleName"]), p["Tags"], "Role")


@operation("iam:UntagRole", on=the_role, raises=FAULTS)
def untag_role(ctx: Context, p: Params) -> None:
    drop(ctx.identity.get(Role, p["RoleName"]), p["TagKeys"])


@operation("iam:ListRoleTags", on=the_role, raises=FAULTS)
def list_role_tags(ctx: Context, p: Params) -> Result:
    return page_of(p, ctx.identity.get(Role, p["RoleName"]).tags)


# --- policies -------------------------------------------------------------------------------------------------------


@operation("iam:TagPolicy", on="{PolicyArn}", raises=FAULTS)
def tag_policy(ctx: Context, p: Params) -> None:
    put(own_policy(ctx, p["PolicyArn"]), p["Tags"], "Policy")


@operation("iam:UntagPolicy", on="{PolicyArn}", raises=FAULTS)
def untag_policy(ctx: Context, p: Params) -> None:
    drop(own_policy(ctx, p["PolicyArn"]), p["TagKeys"])


@operation("iam:ListPolicyTags", on="{PolicyArn}", raises=FAULTS)
def list_policy_tags(ctx: Context, p: Params) -> Result:
    return page_of(p, own_policy(ctx, p["PolicyArn"]).tags)


# --- instance profiles ----------------------------------------------------------------------------------------------


@operation("iam:TagInstanceProfile", on=the_profile, raises=FAULTS)
def tag_instance_profile(ctx: Context, p: Params) -> None:
    put(ctx.identity.get(Profile, p["InstanceProfileName"]), p["Tags"], "InstanceProfile")


@operation("iam:UntagInstanceProfile", on=the_profile, raises=FAULTS)
def untag_instance_profile(ctx: Context, p: Params) -> None:
    drop(ctx.identity.get(Profile, p["InstanceProfileName"]), p["TagKeys"])


@operation("iam:ListInstanceProfileTags", on=the_profile, raises=FAULTS)
def list_instance_profile_tags(ctx: Context, p: Params) -> Result:
    return page_of(p, ctx.identity.get(Profile, p["InstanceProfileName"]).tags)


@resource_tags("iam")
def tags_of_arn(ctx: Context, resource: str) -> Mapping[str, str] | None:
    """The tags of a user, role, policy or instance profile, for conditions on `aws:ResourceTag`."""
    kind, _, tail = resource.split(":", 5)[5].partition("/")
    name = tail.rpartition("/")[2]
    found: User | Role | Policy | Profile | None = None
    if kind == "user":
        found = ctx.identity.find(User, name)
    elif kind == "role":
        found = ctx.identity.find(Role, name)
    elif kind == "policy":
        found = ctx.identity.find(Policy, name)
    elif kind == "instance-profile":
        found = ctx.identity.find(Profile, name)
    return found.tags if found is not None else None
