"""The decision on every call. Asked by `compat/dispatch.py`, and by handlers that act on resources one by one."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from compat.errors import AWSError
from compat.iam import demands as demanding
from compat.iam.directory import directory
from compat.iam.guards import EXEMPTIONS, GUARDS, REFUSALS
from compat.iam.keys import Keys
from compat.iam.policy.document import PolicyType
from compat.iam.policy.evaluate import ALLOWED, Decision, Passage, Reason, ResourceSide, evaluate
from compat.iam.policy.request import AccessRequest, ContextValue
from compat.iam.principal import PrincipalKind
from compat.model import service_model

if TYPE_CHECKING:
    from collections.abc import Mapping

    from compat.context import Context
    from compat.operation import Operation, Params

_NOTHING: Mapping[str, ContextValue] = {}
UNUSABLE = Decision(False, Reason.IMPLICIT_DENY, unusable=True)
USED = frozenset({PrincipalKind.USER, PrincipalKind.ROLE_SESSION})
"""Of whom it is noted when they were last used."""
SEALED_FOR = "authorization message"


def authorize(ctx: Context, operation: Operation, p: Params) -> Decision:
    """Decide whether the caller may do `operation` with `p`: every action that it demands, on every resource.

    The first denial is the answer. Costs about a microsecond for the root of an account where no resource policy can
    be involved.
    """
    principal = ctx.principal
    if principal.session_bucket is not None and operation.service != "s3":
        return UNUSABLE
    guard = GUARDS.get(operation.service)
    if principal.kind is PrincipalKind.ROOT and not principal.temporary:
        exempt = EXEMPTIONS.get(operation.service)
        if guard is None or (exempt is not None and exempt(ctx, operation, p)):
            return ALLOWED
    if principal.kind in USED:
        directory(ctx.cloud).note_use(principal, ctx.region, operation.service)
    if principal.temporary and operation.service in ("iam", "sts") and not _usable(ctx, operation):
        return UNUSABLE
    decision = ALLOWED
    for demand in demanding.demands(ctx, operation, p):
        for resource in demand.resources:
            decision = ask(ctx, demand.action, resource, p, demand.extra)
            if not decision.allowed:
                return decision
    return decision


def ask(
    ctx: Context, action: str, resource: str, p: Params | None = None, extra: Mapping[str, ContextValue] = _NOTHING
) -> Decision:
    """Decide one question: may the caller do `action` (`s3:GetObject`) on the ARN `resource`?

    `extra` holds condition keys that come not from the call but from what the handler knows (in lower case).
    """
    service = action.partition(":")[0]
    guard = GUARDS.get(service)
    side = guard(ctx, action, resource) if guard is not None else None
    if side is None and ctx.principal.kind is PrincipalKind.ROOT and not ctx.principal.temporary:
        return ALLOWED
    if side is not None and side.passage is not None:
        return _through(ctx, action, side, side.passage, ctx.params if p is None else p, extra)
    return _judge(ctx, action, resource, side, ctx.params if p is None else p, extra)


def _through(
    ctx: Context, action: str, side: ResourceSide, passage: Passage, p: Params, extra: Mapping[str, ContextValue]
) -> Decision:
    """Both what is passed and what is behind it must allow; one permission of the caller's own does for both."""
    extra = {**extra, **passage.keys}
    first = _judge(ctx, action, passage.resource, passage.side, p, extra)
    if not first.allowed:
        return first
    second = _judge(ctx, action, passage.behind, side, p, extra)
    own = first.cited is not None and first.cited.policy is not passage.side.policy
    if second.reason is Reason.IMPLICIT_DENY and second.where is PolicyType.IDENTITY and own:
        return first
    return second


def _judge(
    ctx: Context,
    action: str,
    resource: str,
    side: ResourceSide | None,
    p: Params,
    extra: Mapping[str, ContextValue],
) -> Decision:
    principal = ctx.principal if ctx.partition == "aws" else ctx.principal.within(ctx.partition)
    if side is not None and side.owner != principal.account:
        extra = {**extra, "owner": side.owner}
    keys = Keys(ctx, p, action, resource, extra)
    request = AccessRequest(principal, action, resource, keys)
    decision = evaluate(request, directory(ctx.cloud).holdings(principal), side)
    if not decision.allowed and side is not None and side.owner != principal.account:
        return replace(decision, foreign=True)
    return decision


def _usable(ctx: Context, operation: Operation) -> bool:
    """GetSessionToken's keys without MFA, and GetFederationToken's, work neither for IAM nor (AssumeRole apart) STS."""
    principal = ctx.principal
    if principal.kind is PrincipalKind.ROLE_SESSION:
        return True
    if operation.service == "iam":
        return principal.mfa and principal.kind is not PrincipalKind.FEDERATED
    return operation.name == "AssumeRole" and principal.kind is not PrincipalKind.FEDERATED


# --- saying no ------------------------------------------------------------------------------------------------------


def refusal(ctx: Context, operation: Operation, decision: Decision) -> AWSError:
    """The error that says `decision` as the service says it."""
    if decision.unusable:
        return AWSError("InvalidClientTokenId", "The security token included in the request is invalid")
    otherwise = REFUSALS.get(operation.service)
    if otherwise is not None and (error := otherwise(ctx, operation)) is not None:
        return error
    message = wording(ctx, operation, decision)
    if operation.service == "ec2":
        message = f"You are not authorized to perform this operation. {message}"
        if decision.resource not in ("", "*"):
            message += f". Encoded authorization failure message: {encode_message(ctx, decision)}"
        return AWSError("UnauthorizedOperation", message)
    protocol = service_model(operation.service).protocol
    if protocol in ("json", "smithy-rpc-v2-cbor"):
        return AWSError("AccessDeniedException", message, 400)
    return AWSError("AccessDeniedException" if protocol == "rest-json" else "AccessDenied", message, 403)


def wording(ctx: Context, operation: Operation, decision: Decision) -> str:
    """The sentence that says who may not do what, and which policy is to blame."""
    principal = ctx.principal
    if operation.service == "s3" and (principal.is_anonymous or decision.foreign):
        return "Access Denied"
    resource = decision.resource
    if operation.service == "s3":
        resource = f'"{resource}"'
    on = f" on resource: {resource}" if decision.resource not in ("", "*") else ""
    text = f"User: {principal.within(ctx.partition).arn} is not authorized to perform: {decision.action}{on}"
    if decision.action in ("sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"):
        return text
    where = decision.where or PolicyType.IDENTITY
    if decision.reason is Reason.EXPLICIT_DENY:
        article = "an" if where is PolicyType.IDENTITY else "a"
        text += f" with an explicit deny in {article} {where.value}"
        if decision.cited is not None and decision.cited.policy.arn is not None:
            text += f": {decision.cited.policy.arn}"
        return text
    return text + f" because no {where.value} allows the {decision.action} action"


def encode_message(ctx: Context, decision: Decision) -> str:
    """An account of `decision` that only this cloud can read; `sts:DecodeAuthorizationMessage` does."""
    cited = decision.cited
    matched: list[dict[str, Any]] = []
    if cited is not None:
        statement = cited.statement
        matched.append(
            {
                "statementId": statement.sid or "",
                "effect": "ALLOW" if statement.allow else "DENY",
                "principals": {"items": [{"value": ctx.principal.unique_id}]},
                "principalGroups": {"items": []},
                "actions": {"items": [{"value": action} for action in statement.actions]},
                "resources": {"items": [{"value": resource} for resource in statement.resources or ()]},
                "conditions": {
                    "items": [
                        {"key": clause.key, "values": {"items": [{"value": value} for value in clause.values]}}
                        for clause in statement.conditions
                    ]
                },
            }
        )
    account = {
        "allowed": decision.allowed,
        "explicitDeny": decision.reason is Reason.EXPLICIT_DENY,
        "matchedStatements": {"items": matched},
        "failures": {"items": []},
        "context": {
            "principal": {"id": ctx.principal.unique_id, "arn": ctx.principal.within(ctx.partition).arn},
            "action": decision.action,
            "resource": decision.resource,
            "conditions": {"items": _conditions(ctx, decision)},
        },
    }
    sealed = directory(ctx.cloud).seal.close(zlib.compress(json.dumps(account).encode()), SEALED_FOR)
    return base64.urlsafe_b64encode(sealed).decode().rstrip("=")


def _conditions(ctx: Context, decision: Decision) -> list[dict[str, Any]]:
    keys = Keys(ctx, ctx.params, decision.action, decision.resource, _NOTHING)
    parts = decision.resource.split(":", 5)
    told: dict[str, ContextValue] = {
        "aws:Region": ctx.region,
        "aws:Service": "ec2",
        "aws:Resource": parts[5] if len(parts) == 6 else decision.resource,
        "aws:Type": keys.type,
        "aws:Account": ctx.account,
        "aws:ARN": decision.resource,
        "ec2:Region": ctx.region,
        "ec2:InstanceType": keys("ec2:instancetype"),
        "ec2:Tenancy": keys("ec2:tenancy"),
    }
    return [{"key": key, "values": {"items": [{"value": value}]}} for key, value in told.items() if value]
