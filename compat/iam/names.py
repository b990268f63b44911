"""Ids and ARNs of IAM: how they are minted, written, read back, and found for authorisation."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, TypeVar

from backends.identity.models import Group, Named, Policy, Profile, Role, User
from compat.errors import AWSError
from compat.iam.catalogue import catalogued
from compat.iam.faults import no_such
from compat.iam.principal import PrincipalKind

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params

N = TypeVar("N", User, Group, Role, Profile)
ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
PREFIXES: dict[type[Named], str] = {User: "AIDA", Group: "AGPA", Role: "AROA", Policy: "ANPA", Profile: "AIPA"}
ARN_TYPES: dict[type[Named], str] = {
    User: "user",
    Group: "group",
    Role: "role",
    Policy: "policy",
    Profile: "instance-profile",
}


def new_id(prefix: str) -> str:
    """A unique id: the prefix and 17 characters."""
    return prefix + "".join(secrets.choice(ALPHABET) for _ in range(17))


def new_access_key(prefix: str, account: str) -> str:
    """An access key id (`AKIA…`, `ASIA…`), 20 characters, which spells its account as AWS's do."""
    number = int(account) if account.isdigit() and len(account) <= 12 else 0
    head = (1 << 47 | number << 7 | secrets.randbits(7)).to_bytes(6, "big")
    return prefix + base64.b32encode(head + secrets.token_bytes(4)).decode()


def account_in(access_key: str) -> str | None:
    """The account that an access key id spells, or None for an id of another form."""
    try:
        data = base64.b32decode(access_key[4:])
    except ValueError:
        return None
    if len(data) != 10 or not data[0] & 0x80:
        return None
    return str((int.from_bytes(data[:6], "big") >> 7) & (1 << 40) - 1).zfill(12)


def arn(ctx: Context, thing: Named) -> str:
    """The ARN of a user, group, role, policy or instance profile of the caller's account."""
    return f"arn:{ctx.partition}:iam::{thing.tenant}:{part(thing)}"


def part(thing: Named) -> str:
    """The resource part of its ARN."""
    return f"{ARN_TYPES[type(thing)]}{thing.path}{thing.name}"


# --- references to policies -------------------------------------------------------------------------------------------


def reference(ctx: Context, policy_arn: str) -> str:
    """What stands for a policy in the books: its id, or `/path/Name` for one of AWS's. Raises NoSuchEntity."""
    return reference_or_none(ctx, policy_arn) or _unattachable(policy_arn)


def _unattachable(policy_arn: str) -> str:
    raise no_such(f"Policy {policy_arn} does not exist or is not attachable.")


def reference_or_none(ctx: Context, policy_arn: str) -> str | None:
    """The same; None for a policy that does not exist. Raises ValidationError for what is no ARN."""
    parts = policy_arn.split(":", 5)
    if len(parts) < 6 or parts[0] != "arn" or parts[2] != "iam" or not parts[5].startswith("policy/"):
        raise AWSError("ValidationError", "Invalid ARN:  Could not be parsed!")
    tail = parts[5].removeprefix("policy")
    if parts[4] == "aws":
        return tail if catalogued(tail) is not None else None
    if parts[4] != ctx.account:
        return None
    found = ctx.identity.find(Policy, tail.rpartition("/")[2])
    return found.id if found is not None and found.path + found.name == tail else None


def own_policy(ctx: Context, policy_arn: str) -> Policy:
    """A policy of the account, by ARN. Raises NoSuchEntity, and AccessDenied for one of AWS's."""
    found = reference_or_none(ctx, policy_arn)
    if found is not None and not found.startswith("/"):
        return ctx.identity.policies_by_id([found])[found]
    if found is not None:
        raise AWSError("AccessDenied", f"Cannot change the AWS managed policy {policy_arn}.", 403)
    raise no_such(f"Policy {policy_arn} was not found.")


def names_of(ctx: Context, references: Iterable[str]) -> list[tuple[str, str]]:
    """(name, ARN) of the policies behind references, in that order."""
    wanted = list(references)
    own = ctx.identity.policies_by_id([one for one in wanted if not one.startswith("/")])
    found = []
    for one in wanted:
        if (known := catalogued(one)) is not None:
            found.append((known.name, f"arn:{ctx.partition}:iam::aws:policy{known.reference}"))
        elif one in own:
            found.append((own[one].name, arn(ctx, own[one])))
    return found


# --- the caller and its own things ------------------------------------------------------------------------------------


def subject(ctx: Context, name: str | None) -> User | None:
    """The user that a call is about: the one named, or the caller itself; None for the root of the account."""
    if name is not None:
        return ctx.identity.get(User, name)
    principal = ctx.principal
    if principal.kind is PrincipalKind.ROOT:
        return None
    if principal.kind is PrincipalKind.USER and principal.user_name is not None:
        return ctx.identity.get(User, principal.user_name)
    raise AWSError("ValidationError", "Must specify userName when calling with non-User credentials")


def changeable(role: Role) -> Role:
    """The role, unless it belongs to a service. Raises UnmodifiableEntity."""
    if role.service is not None:
        raise AWSError(
            "UnmodifiableEntity",
            f"Cannot perform the operation on the protected role '{role.name}' - this role is only modifiable by AWS",
        )
    return role


# --- what authorisation is about (for `on=`) ------------------------------------------------------------------------


def _named(ctx: Context, row: type[N], name: str | None) -> list[str]:
    if not name:
        return [f"{ARN_TYPES[row]}/*"]
    found = ctx.identity.find(row, name)
    return [part(found) if found is not None else f"{ARN_TYPES[row]}/{name}"]


def the_user(ctx: Context, p: Params) -> list[str]:
    """The user that the call names, with its path; the caller where it names none."""
    name = p.get("UserName")
    if name is None and ctx.principal.kind is PrincipalKind.USER:
        name = ctx.principal.user_name
    return _named(ctx, User, name)


def the_group(ctx: Context, p: Params) -> list[str]:
    """The group that the call names, with its path."""
    return _named(ctx, Group, p.get("GroupName"))


def the_role(ctx: Context, p: Params) -> list[str]:
    """The role that the call names, with its path."""
    return _named(ctx, Role, p.get("RoleName"))


def the_profile(ctx: Context, p: Params) -> list[str]:
    """The instance profile that the call names, with its path."""
    return _named(ctx, Profile, p.get("InstanceProfileName"))


def a_new(kind: str, member: str) -> Callable[[Context, Params], list[str]]:
    """What a Create operation is about: the path and name that it asks for."""

    def about(ctx: Context, p: Params) -> list[str]:
        return [f"{kind}{p.get('Path') or '/'}{p[member]}"]

    return about


def under(kind: str) -> Callable[[Context, Params], list[str]]:
    """What a List operation is about: the path prefix that it asks for."""

    def about(ctx: Context, p: Params) -> list[str]:
        return [f"{kind}{p.get('PathPrefix') or '/'}"]

    return about
