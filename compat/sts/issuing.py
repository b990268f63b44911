"""What all sessions share: the role taken on, how long, with which policies, and the keys that are issued."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compat.errors import AWSError
from compat.iam.directory import RoleFacts, directory, facts_of
from compat.iam.names import new_access_key
from compat.iam.policy.document import Malformed
from compat.iam.policy.validate import identity_policy
from compat.iam.principal import Principal, PrincipalKind, role_session

if TYPE_CHECKING:
    from backends.identity.keys import Issued
    from backends.identity.service import IdentityService
    from compat.context import Context
    from compat.operation import Params

CHAINED_SECONDS = 3600
PACKED_ROOM = 4096
"""How many compressed bytes the policies and tags of a session may have together."""
ROLE = re.compile(r"arn:aws[a-z\-]*:iam::(\d{12}):role(/(?:.*/)?)([^/]+)")


def role_named(ctx: Context, arn: str) -> RoleFacts | None:
    """The role of that ARN, whoever's it is; None when there is none."""
    named = ROLE.fullmatch(arn)
    if named is None:
        return None
    account, path, name = named.groups()
    role = directory(ctx.cloud).role(account, name)
    return role if role is not None and role.path == path and role.name == name else None


def role_seconds(caller: Principal, role: RoleFacts, asked: int | None) -> int:
    """How long a session of `role` lasts. Raises ValidationError."""
    if caller.kind is PrincipalKind.ROLE_SESSION and asked is not None and asked > CHAINED_SECONDS:
        raise AWSError(
            "ValidationError",
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining",
        )
    if asked is not None and asked > role.longest:
        raise AWSError(
            "ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role."
        )
    return asked or 3600


def session_tags(caller: Principal, p: Params) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """The tags of the new session, and which of them go on to sessions made from it."""
    given = {tag["Key"]: tag["Value"] for tag in p.get("Tags") or ()}
    if len({key.casefold() for key in given}) < len(p.get("Tags") or ()):
        raise AWSError(
            "InvalidParameterValue", "Duplicate tag keys found. Please note that Tag keys are case insensitive."
        )
    for key in given:
        if key.lower().startswith("aws:"):
            raise AWSError("InvalidParameterValue", f"Tag key {key} is reserved.")
    inherited = {key: value for key, value in caller.session_tags if key in caller.transitive_tags}
    if {key.casefold() for key in inherited} & {key.casefold() for key in given}:
        raise AWSError(
            "InvalidParameterValue",
            "One of the specified transitive tag keys can't be set because it conflicts with a transitive tag key from "
            "the calling session.",
        )
    folded = {key.casefold(): key for key in given}
    transitive = []
    for key in p.get("TransitiveTagKeys") or ():
        if key.casefold() not in folded:
            raise AWSError(
                "InvalidParameterValue",
                "The specified transitive tag key must be included in the requested tags.",
            )
        transitive.append(folded[key.casefold()])
    return tuple((inherited | given).items()), (*inherited, *transitive)


def session_of(caller: Principal, role: RoleFacts, p: Params) -> Principal:
    """A session of `role` with the tags, policies and source identity that a call gives it; the tags and the source
    identity of whoever calls go on where they have to. Raises AccessDenied for another source identity, and what
    `session_tags` and `policies` raise."""
    tags, transitive = session_tags(caller, p)
    if caller.source_identity and p.get("SourceIdentity") not in (None, caller.source_identity):
        raise AWSError("AccessDenied", "The source identity of a session cannot be changed.")
    return replace(
        role_session(role.account, role.id, role.name, role.path, p["RoleSessionName"]),
        session_tags=tags,
        transitive_tags=transitive,
        session_policies=policies(p),
        session_policy_arns=policy_arns(p),
        source_identity=caller.source_identity or p.get("SourceIdentity"),
    )


def assumed(ctx: Context, session: Principal, seconds: int, p: Params) -> dict[str, Any]:
    """What whoever took on a role is answered: its keys, who it is now, and what was given to the session. Raises
    PackedPolicyTooLarge."""
    size = packed(p)  # a session that is refused gets no key
    answer: dict[str, Any] = {
        "Credentials": issue(ctx, session, seconds),
        "AssumedRoleUser": {"AssumedRoleId": session.unique_id, "Arn": session.within(ctx.partition).arn},
    }
    if p.get("Policy") or p.get("PolicyArns") or p.get("Tags"):
        answer["PackedPolicySize"] = size
    if session.source_identity:
        answer["SourceIdentity"] = session.source_identity
    return answer


def session_key(identity: IdentityService, session: Principal, seconds: int) -> Issued:
    """A key, good for so many seconds, with which calls are the session's."""
    return identity.issue_session_key(
        new_access_key("ASIA", session.account), session.account, facts_of(session), seconds
    )


def issue(ctx: Context, session: Principal, seconds: int) -> dict[str, Any]:
    """Keys for a session, as `Credentials`."""
    issued = session_key(ctx.identity, session, seconds)
    return {
        "AccessKeyId": issued.id,
        "SecretAccessKey": issued.secret,
        "SessionToken": issued.token,
        "Expiration": issued.expires,
    }


def policies(p: Mapping[str, Any]) -> tuple[str, ...]:
    """The policy that narrows a session. Raises MalformedPolicyDocument."""
    text = p.get("Policy")
    if not text:
        return ()
    try:
        identity_policy(text)
    except Malformed as fault:
        raise AWSError("MalformedPolicyDocument", str(fault)) from None
    return (text,)


def policy_arns(p: Mapping[str, Any]) -> tuple[str, ...]:
    """The ARNs of further ones."""
    return tuple(one["arn"] for one in p.get("PolicyArns") or ())


def packed(p: Mapping[str, Any]) -> int:
    """How much of the room for policies and tags a session takes, in percent. Raises PackedPolicyTooLarge."""
    parts = [p.get("Policy") or "", *policy_arns(p)]
    parts += [f"{tag['Key']}={tag['Value']}" for tag in p.get("Tags") or ()]
    if not any(parts):
        return 0
    share = -(-100 * len(zlib.compress("\n".join(parts).encode(), 9)) // PACKED_ROOM)
    if share > 100:
        raise AWSError(
            "PackedPolicyTooLarge",
            f"Packed policy consumes {share}% of allotted space, please use smaller policy.",
        )
    return share
