"""What would be allowed: the evaluator, asked with made-up calls."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from backends.identity.models import Group, Role, User
from compat.errors import AWSError
from compat.iam.directory import directory
from compat.iam.faults import FAULTS, invalid_input, no_such
from compat.iam.names import part
from compat.iam.pages import marked
from compat.iam.policy.compiled import Cited, Policy, PolicySet, compile_text
from compat.iam.policy.document import Malformed, PolicyType
from compat.iam.policy.evaluate import Decision, Holdings, Reason, ResourceSide, evaluate
from compat.iam.policy.request import AccessRequest, ContextValue
from compat.iam.policy.validate import identity_policy, resource_policy
from compat.iam.principal import Principal, PrincipalKind
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

DECISIONS = {Reason.ALLOW: "allowed", Reason.EXPLICIT_DENY: "explicitDeny", Reason.IMPLICIT_DENY: "implicitDeny"}
_VARIABLE = re.compile(r"\$\{([^{},*?$]+)[^{}]*\}")


def _documents(texts: list[str] | None, name: str) -> list[Policy]:
    found = []
    for number, text in enumerate(texts or (), 1):
        try:
            identity_policy(text)
        except Malformed as fault:
            raise invalid_input(f"Policy {number} of {name} is not valid: {fault}") from None
        found.append(Policy(f"{name}.{number}", None, text))
    return found


def _context(p: Params) -> Mapping[str, ContextValue]:
    found: dict[str, ContextValue] = {}
    for entry in p.get("ContextEntries") or ():
        values = tuple(entry.get("ContextKeyValues") or ())
        listed = (entry.get("ContextKeyType") or "").endswith("List")
        found[entry["ContextKeyName"].lower()] = values if listed or len(values) != 1 else values[0]
    return found


def _simulate(ctx: Context, p: Params, principal: Principal, holdings: Holdings) -> Result:
    """One result for each action on each resource, in the order asked."""
    given = _context(p)
    side = None
    if p.get("ResourcePolicy"):
        try:
            resource_policy(p["ResourcePolicy"])
        except Malformed as fault:
            raise invalid_input(str(fault)) from None
        owner = (p.get("ResourceOwner") or principal.arn).split(":")[4] or ctx.account
        side = ResourceSide(owner, p["ResourcePolicy"], name="ResourcePolicy.1")
    results = []
    for action in p["ActionNames"]:
        if not re.fullmatch(r"[\w\-]+:\w+", action):
            raise invalid_input(f"Invalid action name: {action}")
        for resource in p.get("ResourceArns") or ("*",):
            request = AccessRequest(principal, action, resource, lambda key: _answer(given, principal, key))
            results.append(_rendered(request, evaluate(request, holdings, side), given, holdings, p))
    numbered = [(f"{number:08}", one) for number, one in enumerate(results)]
    return marked(p, "EvaluationResults", numbered, lambda one: one[0], lambda one: one[1])


def _answer(given: Mapping[str, ContextValue], principal: Principal, key: str) -> ContextValue:
    if key in given:
        return given[key]
    if key == "aws:username":
        return principal.user_name
    if key == "aws:userid":
        return principal.unique_id
    if key == "aws:principalarn":
        return principal.role_arn or principal.arn
    return None


def _rendered(
    request: AccessRequest, decision: Decision, given: Mapping[str, ContextValue], holdings: Holdings, p: Params
) -> dict[str, Any]:
    missing = sorted(
        key for key in _keys(holdings, p) if key.lower() not in given and request.context(key.lower()) is None
    )
    matched = [] if decision.cited is None else [_statement(decision.cited)]
    common: dict[str, Any] = {"MatchedStatements": matched, "MissingContextValues": missing}
    if holdings.boundary is not None:
        allowed = decision.where is not PolicyType.BOUNDARY
        common["PermissionsBoundaryDecisionDetail"] = {"AllowedByPermissionsBoundary": allowed}
    word = DECISIONS[decision.reason]
    on_resource = {"EvalResourceName": request.resource, "EvalResourceDecision": word, **common}
    return {
        "EvalActionName": request.action,
        "EvalResourceName": request.resource,
        "EvalDecision": word,
        "EvalDecisionDetails": {},
        "OrganizationsDecisionDetail": {"AllowedByOrganizations": True},
        **common,
        "ResourceSpecificResults": [on_resource] if p.get("ResourceArns") else [],
    }


def _statement(cited: Cited) -> dict[str, Any]:
    """Where the statement stands in the document as it was given; lines and columns count from one.

    As IAM has it, a statement begins behind its opening brace and ends behind the closing one.
    """
    text = cited.policy.text
    start, end = _spans(text)[cited.statement.index]
    return {
        "SourcePolicyId": cited.policy.name,
        "SourcePolicyType": "IAM Policy",
        "StartPosition": _position(text, start + 1),
        "EndPosition": _position(text, end),
    }


def _position(text: str, offset: int) -> dict[str, int]:
    before = text[:offset]
    return {"Line": before.count("\n") + 1, "Column": offset - (before.rfind("\n") + 1) + 1}


def _spans(text: str) -> list[tuple[int, int]]:
    """The offsets at which each statement of a valid document begins and ends."""
    decode = json.JSONDecoder().raw_decode
    spans: list[tuple[int, int]] = []
    at = _past(text, _past(text, 0) + 1)
    while text[at] != "}":
        name, at = decode(text, at)
        at = _past(text, _past(text, at) + 1)
        start, (value, end) = at, decode(text, at)
        if name == "Statement" and isinstance(value, list):
            at = _past(text, start + 1)
            while text[at] != "]":
                _, stop = decode(text, at)
                spans.append((at, stop))
                at = _past(text, stop)
                at = _past(text, at + 1) if text[at] == "," else at
        elif name == "Statement":
            spans.append((start, end))
        at = _past(text, end)
        at = _past(text, at + 1) if text[at] == "," else at
    return spans


def _past(text: str, at: int) -> int:
    """The first offset from `at` on that is not white space."""
    while text[at].isspace():
        at += 1
    return at


def _keys(holdings: Holdings, p: Params) -> set[str]:
    """The context keys that the policies ask for, as they write them."""
    texts = [policy.text for held in (holdings.identity, holdings.boundary) if held for policy in held.policies]
    if p.get("ResourcePolicy"):
        texts.append(p["ResourcePolicy"])
    return keys_of(texts)


def keys_of(texts: list[str]) -> set[str]:
    """The condition keys and policy variables in policy documents, as they are written."""
    found: set[str] = set()
    for text in texts:
        for statement in compile_text(text)[0].statements:
            found |= {clause.key for clause in statement.conditions}
            values = [value for clause in statement.conditions for value in clause.values]
            for value in (*values, *(statement.resources or ())):
                found |= {name.strip() for name in _VARIABLE.findall(value)}
    return found


def _source(ctx: Context, source_arn: str) -> tuple[Principal, Holdings]:
    """The principal that an ARN of a user, group or role names, and what it holds."""
    parts = source_arn.split(":", 5)
    if len(parts) != 6 or parts[2] != "iam" or parts[4] != ctx.account:
        raise invalid_input(f"Invalid Entity Arn: {source_arn}")
    kind, _, tail = parts[5].partition("/")
    name = tail.rpartition("/")[2]
    who = directory(ctx.cloud)
    found: User | Role | Group | None = None
    if kind == "user":
        found = ctx.identity.find(User, name)
        principal = Principal(ctx.account, source_arn, PrincipalKind.USER, found.id if found else "", user_name=name)
    elif kind == "role":
        found = ctx.identity.find(Role, name)
        id = found.id if found else ""
        principal = Principal(ctx.account, source_arn, PrincipalKind.ROLE_SESSION, id, role_name=name)
    elif kind == "group":
        found = ctx.identity.find(Group, name)
        principal = Principal(ctx.account, source_arn, PrincipalKind.USER, found.id if found else "")
    if found is None or part(found) != parts[5]:
        raise no_such(f"The {kind} {source_arn} does not exist.")
    if isinstance(found, Group):
        return principal, Holdings(who.group(ctx.account, found.id))
    return principal, who.holdings(principal)


@operation("iam:SimulatePrincipalPolicy", on="{PolicySourceArn}", raises=FAULTS)
def simulate_principal_policy(ctx: Context, p: Params) -> Result:
    principal, held = _source(ctx, p["PolicySourceArn"])
    more = _documents(p.get("PolicyInputList"), "PolicyInputList")
    bound = _documents(p.get("PermissionsBoundaryPolicyInputList"), "PermissionsBoundaryPolicyInputList")
    holdings = Holdings(
        PolicySet((*held.identity.policies, *more)), PolicySet(bound) if bound else held.boundary, held.session
    )
    return _simulate(ctx, p, principal, holdings)


@operation("iam:SimulateCustomPolicy", on="*", raises=FAULTS)
def simulate_custom_policy(ctx: Context, p: Params) -> Result:
    policies = _documents(p["PolicyInputList"], "PolicyInputList")
    bound = _documents(p.get("PermissionsBoundaryPolicyInputList"), "PermissionsBoundaryPolicyInputList")
    if p.get("ResourcePolicy") and not p.get("CallerArn"):
        raise AWSError("InvalidInput", "A CallerArn is required when a ResourcePolicy is given.")
    arn = p.get("CallerArn") or f"arn:{ctx.partition}:iam::{ctx.account}:user/simulated"
    name = arn.rpartition("/")[2] if ":user/" in arn else None
    principal = Principal(arn.split(":")[4] or ctx.account, arn, PrincipalKind.USER, "AIDASIMULATED", user_name=name)
    return _simulate(ctx, p, principal, Holdings(PolicySet(policies), PolicySet(bound) if bound else None))


@operation("iam:GetContextKeysForCustomPolicy", on="*", raises=FAULTS)
def get_context_keys_for_custom_policy(ctx: Context, p: Params) -> Result:
    texts = [policy.text for policy in _documents(p["PolicyInputList"], "PolicyInputList")]
    return {"ContextKeyNames": sorted(keys_of(texts))}


@operation("iam:GetContextKeysForPrincipalPolicy", on="{PolicySourceArn}", raises=FAULTS)
def get_context_keys_for_principal_policy(ctx: Context, p: Params) -> Result:
    _, held = _source(ctx, p["PolicySourceArn"])
    texts = [policy.text for policy in _documents(p.get("PolicyInputList"), "PolicyInputList")]
    texts += [policy.text for policies in (held.identity, held.boundary) if policies for policy in policies.policies]
    return {"ContextKeyNames": sorted(keys_of(texts))}
