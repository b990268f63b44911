"""What all sessions share: the role taken on, how long, with which policies, and the keys that are issued."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from compat.errors import AWSError
from compat.iam.directory import RoleFacts, directory, facts_of
from compat.iam.names import new_access_key
from compat.iam.policy.document import Malformed
from compat.iam.policy.validate import identity_policy
from compat.iam.principal import Principal, PrincipalKind

if TYPE_CHECKING:
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


def issue(ctx: Context, session: Principal, seconds: int) -> dict[str, Any]:
    """Keys for a session, as `Credentials`."""
    id = new_access_key("ASIA", session.account)
    issued = ctx.identity.issue_session_key(id, session.account, facts_of(session), seconds)
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
