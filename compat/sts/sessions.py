"""Keys that end: taken on with a role, made for a federated user, or for a session of one's own."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from compat.errors import AWSError
from compat.iam.demands import Demand, demands_also
from compat.iam.guards import guard
from compat.iam.keys import Keys, service_keys
from compat.iam.mfa_devices import proves
from compat.iam.policy.evaluate import ResourceSide
from compat.iam.policy.request import ContextValue
from compat.iam.principal import Principal, PrincipalKind
from compat.operation import operation
from compat.sts.issuing import (
    ROLE,
    assumed,
    issue,
    packed,
    policies,
    policy_arns,
    role_named,
    role_seconds,
    session_of,
    session_tags,
)

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

ROOT_SECONDS = 3600
USUAL_SECONDS = 43200
_ARN = re.compile(r"arn:[^:]+:[^:]+:[^:]*:[^:]*:.+")


# --- roles ------------------------------------------------------------------------------------------------------------


@guard("sts")
def trust_of_role(ctx: Context, action: str, resource: str) -> ResourceSide | None:
    """A role's trust policy must allow whoever takes it on, even in its own account."""
    named = ROLE.fullmatch(resource)
    if named is None:
        return None
    role = role_named(ctx, resource)
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
    role = role_named(ctx, arn)
    if role is None:
        raise AWSError(
            "AccessDenied",
            f"User: {caller.within(ctx.partition).arn} is not authorized to perform: sts:AssumeRole on resource: {arn}",
        )
    seconds = role_seconds(caller, role, p.get("DurationSeconds"))
    session = replace(session_of(caller, role, p), mfa=_mfa(ctx, p))
    return assumed(ctx, session, seconds, p)


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
        session_tags=session_tags(caller, p)[0],
        session_policies=policies(p),
        session_policy_arns=policy_arns(p),
    )
    return {
        "Credentials": issue(ctx, session, _own_seconds(caller, p)),
        "FederatedUser": {"FederatedUserId": session.unique_id, "Arn": session.within(ctx.partition).arn},
        "PackedPolicySize": packed(p),
    }


@operation("sts:GetSessionToken", reads=False, open=True)
def get_session_token(ctx: Context, p: Params) -> Result:
    caller = _lasting(ctx, "GetSessionToken")
    session = replace(caller, access_key=None, mfa=_mfa(ctx, p))
    return {"Credentials": issue(ctx, session, _own_seconds(caller, p))}


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
