"""Keys that end: taken on with a role, made for a federated user, or for a session of one's own."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compat.errors import AWSError
from compat.iam.demands import Demand, demands_also
from compat.iam.directory import RoleFacts, directory, facts_of
from compat.iam.guards import guard
from compat.iam.keys import Keys, service_keys
from compat.iam.mfa_devices import proves
from compat.iam.names import new_access_key
from compat.iam.policy.document import Malformed
from compat.iam.policy.evaluate import ResourceSide
from compat.iam.policy.request import ContextValue
from compat.iam.policy.validate import identity_policy
from compat.iam.principal import Principal, PrincipalKind
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

CHAINED_SECONDS = 3600
ROOT_SECONDS = 3600
USUAL_SECONDS = 43200
PACKED_ROOM = 4096
"""How many compressed bytes the policies and tags of a session may have together."""
_ARN = re.compile(r"arn:[^:]+:[^:]+:[^:]*:[^:]*:.+")
_ROLE = re.compile(r"arn:aws[a-z\-]*:iam::(\d{12}):role(/(?:.*/)?)([^/]+)")


# --- roles ------------------------------------------------------------------------------------------------------------


def _role(ctx: Context, arn: str) -> RoleFacts | None:
    named = _ROLE.fullmatch(arn)
    if named is None:
        return None
    account, path, name = named.groups()
    role = directory(ctx.cloud).role(account, name)
    return role if role is not None and role.path == path and role.name == name else None


@guard("sts")
def trust_of_role(ctx: Context, action: str, resource: str) -> ResourceSide | None:
    """A role's trust policy must allow whoever takes it on, even in its own account."""
    named = _ROLE.fullmatch(resource)
    if named is None:
        return None
    role = _role(ctx, resource)
    return ResourceSide(named[1], role.trust if role is not None else None, name="trust policy", required=True)


@service_keys("sts")
def _sts_keys(keys: Keys, name: str) -> ContextValue:
    p = keys.p
    if name == "externalid":
        return p.get("ExternalId")
    if name == "rolesessionname":
        return p.get("RoleSessionName")
    if name == "sourceidentity":
        return p.get("SourceIdentity")
    if name == "durationseconds":
        return str(p["DurationSeconds"]) if p.get("DurationSeconds") else None
    if name == "transitivetagkeys":
        return tuple(p.get("TransitiveTagKeys") or ()) or None
    return None


@demands_also("sts:AssumeRole")
def _tags_and_source(ctx: Context, p: Params) -> Iterable[Demand]:
    if p.get("Tags"):
        yield Demand("sts:TagSession", (p["RoleArn"],))
    if p.get("SourceIdentity"):
        yield Demand("sts:SetSourceIdentity", (p["RoleArn"],))


@operation("sts:AssumeRole", on="{RoleArn}")
def assume_role(ctx: Context, p: Params) -> Result:
    """The root of an account may take on roles here, where AWS refuses: `test` is root, and has scripts to run."""
    caller, arn = ctx.principal, p["RoleArn"]
    if _ARN.fullmatch(arn) is None:
        raise AWSError("ValidationError", f"{arn} is invalid")
    role = _role(ctx, arn)
    if role is None:
        raise AWSError(
            "AccessDenied",
            f"User: {caller.within(ctx.partition).arn} is not authorized to perform: sts:AssumeRole on resource: {arn}",
        )
    seconds = _role_seconds(caller, role, p.get("DurationSeconds"))
    tags, transitive = _session_tags(caller, p)
    source = caller.source_identity or p.get("SourceIdentity")
    if caller.source_identity and p.get("SourceIdentity") not in (None, caller.source_identity):
        raise AWSError("AccessDenied", "The source identity of a session cannot be changed.")
    name = p["RoleSessionName"]
    session = Principal(
        account=role.account,
        arn=f"arn:aws:sts::{role.account}:assumed-role/{role.name}/{name}",
        kind=PrincipalKind.ROLE_SESSION,
        unique_id=f"{role.id}:{name}",
        role_name=role.name,
        role_path=role.path,
        session_name=name,
        session_tags=tags,
        transitive_tags=transitive,
        session_policies=_policies(p),
        session_policy_arns=_policy_arns(p),
        source_identity=source,
        mfa=_mfa(ctx, p),
    )
    answer: dict[str, Any] = {
        "Credentials": _issue(ctx, session, seconds),
        "AssumedRoleUser": {"AssumedRoleId": session.unique_id, "Arn": session.within(ctx.partition).arn},
    }
    if p.get("Policy") or p.get("PolicyArns") or p.get("Tags"):
        answer["PackedPolicySize"] = _packed(p)
    return answer | {"SourceIdentity": source} if source else answer


def _role_seconds(caller: Principal, role: RoleFacts, asked: int | None) -> int:
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


def _session_tags(caller: Principal, p: Params) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
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


# --- federated users and sessions of one's own ------------------------------------------------------------------------


@operation("sts:GetFederationToken", on="federated-user/{Name}", reads=False)
def get_federation_token(ctx: Context, p: Params) -> Result:
    caller = _lasting(ctx, "GetFederationToken")
    name = p["Name"]
    session = Principal(
        account=ctx.account,
        arn=f"arn:aws:sts::{ctx.account}:federated-user/{name}",
        kind=PrincipalKind.FEDERATED,
        unique_id=f"{ctx.account}:{name}",
        user_name=caller.user_name,
        session_name=name,
        session_tags=_session_tags(caller, p)[0],
        session_policies=_policies(p),
        session_policy_arns=_policy_arns(p),
    )
    return {
        "Credentials": _issue(ctx, session, _own_seconds(caller, p)),
        "FederatedUser": {"FederatedUserId": session.unique_id, "Arn": session.within(ctx.partition).arn},
        "PackedPolicySize": _packed(p),
    }


@operation("sts:GetSessionToken", reads=False, open=True)
def get_session_token(ctx: Context, p: Params) -> Result:
    caller = _lasting(ctx, "GetSessionToken")
    session = replace(caller, access_key=None, mfa=_mfa(ctx, p))
    return {"Credentials": _issue(ctx, session, _own_seconds(caller, p))}


def _mfa(ctx: Context, p: Params) -> bool:
    """Whether the call proves a second factor. Raises AccessDenied where it tries and fails."""
    serial, code = p.get("SerialNumber"), p.get("TokenCode")
    if serial is None and code is None:
        return False
    if ctx.principal.kind is PrincipalKind.USER and proves(ctx, serial or "", code or "", ctx.principal.unique_id):
        return True
    raise AWSError("AccessDenied", "MultiFactorAuthentication failed with invalid MFA one time pass code.")


def _lasting(ctx: Context, operation: str) -> Principal:
    if ctx.principal.kind not in (PrincipalKind.USER, PrincipalKind.ROOT) or ctx.principal.temporary:
        raise AWSError("AccessDenied", f"Cannot call {operation} with session credentials")
    return ctx.principal


def _own_seconds(caller: Principal, p: Params) -> int:
    asked: int = p.get("DurationSeconds") or USUAL_SECONDS
    return min(asked, ROOT_SECONDS) if caller.is_root else asked


# --- what all of them share -------------------------------------------------------------------------------------------


def _issue(ctx: Context, session: Principal, seconds: int) -> dict[str, Any]:
    id = new_access_key("ASIA", session.account)
    issued = ctx.identity.issue_session_key(id, session.account, facts_of(session), seconds)
    return {
        "AccessKeyId": issued.id,
        "SecretAccessKey": issued.secret,
        "SessionToken": issued.token,
        "Expiration": issued.expires,
    }


def _policies(p: Mapping[str, Any]) -> tuple[str, ...]:
    text = p.get("Policy")
    if not text:
        return ()
    try:
        identity_policy(text)
    except Malformed as fault:
        raise AWSError("MalformedPolicyDocument", str(fault)) from None
    return (text,)


def _policy_arns(p: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(one["arn"] for one in p.get("PolicyArns") or ())


def _packed(p: Mapping[str, Any]) -> int:
    """How much of the room for policies and tags a session takes, in percent. Raises PackedPolicyTooLarge."""
    parts = [p.get("Policy") or "", *_policy_arns(p)]
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
