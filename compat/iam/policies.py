"""Managed policies of IAM and their versions; AWS's own are read from the catalogue."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from backends.errors import Missing
from backends.identity.models import Policy, PolicyVersion
from compat.errors import AWSError
from compat.iam.catalogue import Catalogued, catalogue, catalogued
from compat.iam.faults import FAULTS, invalid_input, limit, malformed, no_such
from compat.iam.names import a_new, arn, new_id, own_policy, reference_or_none
from compat.iam.pages import encoded, marked
from compat.iam.policy.document import Malformed
from compat.iam.policy.validate import identity_policy, size
from compat.iam.tags import checked, listing
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

MOST_POLICIES = 1500
MOST_VERSIONS = 5
LARGEST_POLICY = 6144


def policy_text(text: str) -> str:
    """The document of a managed policy, checked. Raises MalformedPolicyDocument, LimitExceeded."""
    try:
        identity_policy(text)
    except Malformed as fault:
        raise malformed(fault) from None
    if size(text) > LARGEST_POLICY:
        raise limit("PolicySize", LARGEST_POLICY)
    return text


def render_policy(ctx: Context, policy: Policy, uses: tuple[int, int]) -> dict[str, Any]:
    """A policy of the account as lists show it; `uses`: by how many it is held, how many it bounds."""
    return {
        "PolicyName": policy.name,
        "PolicyId": policy.id,
        "Arn": arn(ctx, policy),
        "Path": policy.path,
        "DefaultVersionId": f"v{policy.current}",
        "AttachmentCount": uses[0],
        "PermissionsBoundaryUsageCount": uses[1],
        "IsAttachable": True,
        "CreateDate": policy.created,
        "UpdateDate": policy.updated,
    }


def render_catalogued(ctx: Context, policy: Catalogued, uses: tuple[int, int]) -> dict[str, Any]:
    """The same for one of AWS's."""
    return {
        "PolicyName": policy.name,
        "PolicyId": policy.id,
        "Arn": f"arn:{ctx.partition}:iam::aws:policy{policy.reference}",
        "Path": policy.path,
        "DefaultVersionId": f"v{policy.version}",
        "AttachmentCount": uses[0],
        "PermissionsBoundaryUsageCount": uses[1],
        "IsAttachable": True,
        "CreateDate": policy.created,
        "UpdateDate": policy.updated,
    }


def render_version(policy: Policy, version: PolicyVersion, *, whole: bool) -> dict[str, Any]:
    """One version of a policy, with its document when `whole`."""
    shown: dict[str, Any] = {
        "VersionId": f"v{version.number}",
        "IsDefaultVersion": version.number == policy.current,
        "CreateDate": version.created,
    }
    return shown | {"Document": encoded(version.text)} if whole else shown


def _number(version: str) -> int:
    if not re.fullmatch(r"v[1-9][0-9]{0,8}", version):
        raise invalid_input(f"Policy version {version} is not valid.")
    return int(version[1:])


@operation("iam:CreatePolicy", on=a_new("policy", "PolicyName"), raises=FAULTS)
def create_policy(ctx: Context, p: Params) -> Result:
    tags = checked(p.get("Tags"))
    text = policy_text(p["PolicyDocument"])
    if ctx.identity.count(Policy) >= MOST_POLICIES:
        raise limit("PoliciesPerAccount", MOST_POLICIES)
    policy = Policy(
        id=new_id("ANPA"),
        name=p["PolicyName"],
        path=p.get("Path") or "/",
        description=p.get("Description"),
        tags=tags,
    )
    ctx.identity.add_policy(policy, text)
    shown = render_policy(ctx, policy, (0, 0))
    return {"Policy": shown | {"Tags": listing(tags)} if tags else shown}


@operation("iam:GetPolicy", on="{PolicyArn}", raises=FAULTS)
def get_policy(ctx: Context, p: Params) -> Result:
    held = _found(ctx, p["PolicyArn"])
    uses = ctx.identity.uses_of([held])[held]
    if (known := catalogued(held)) is not None:
        return {"Policy": render_catalogued(ctx, known, uses) | {"Description": known.description, "Tags": []}}
    policy = ctx.identity.policies_by_id([held])[held]
    shown = render_policy(ctx, policy, uses) | {"Tags": listing(policy.tags)}
    return {"Policy": shown if policy.description is None else shown | {"Description": policy.description}}


def _found(ctx: Context, policy_arn: str) -> str:
    held = reference_or_none(ctx, policy_arn)
    if held is None:
        raise no_such(f"Policy {policy_arn} was not found.")
    return held


@operation("iam:ListPolicies", on="*", raises=FAULTS)
def list_policies(ctx: Context, p: Params) -> Result:
    scope, prefix = p.get("Scope") or "All", p.get("PathPrefix") or "/"
    own = {} if scope == "AWS" else {one.id: one for one in ctx.identity.listed(Policy, prefix=prefix)}
    theirs = {} if scope == "Local" else {key: one for key, one in catalogue().items() if one.path.startswith(prefix)}
    uses = ctx.identity.uses_of([*own, *theirs])
    usage = p.get("PolicyUsageFilter")
    shown = []
    for key, counts in uses.items():
        used = counts[0] + counts[1] if usage is None else counts[usage == "PermissionsBoundary"]
        if (p.get("OnlyAttached") or usage is not None) and not used:
            continue
        shown.append(
            render_policy(ctx, own[key], counts) if key in own else render_catalogued(ctx, theirs[key], counts)
        )
    shown.sort(key=_place)
    return marked(p, "Policies", shown, _place, lambda one: one)


def _place(shown: dict[str, Any]) -> str:
    """Where a policy stands in lists: the account's own first."""
    return f"{':iam::aws:' in shown['Arn']:d}{shown['PolicyName'].casefold()}{shown['Path']}"


@operation("iam:DeletePolicy", on="{PolicyArn}", raises=FAULTS)
def delete_policy(ctx: Context, p: Params) -> None:
    ctx.identity.remove_policy(own_policy(ctx, p["PolicyArn"]))


@operation("iam:CreatePolicyVersion", on="{PolicyArn}", raises=FAULTS)
def create_policy_version(ctx: Context, p: Params) -> Result:
    policy = own_policy(ctx, p["PolicyArn"])
    text = policy_text(p["PolicyDocument"])
    if len(ctx.identity.versions_of(policy)) >= MOST_VERSIONS:
        raise AWSError(
            "LimitExceeded",
            f"A managed policy can have up to {MOST_VERSIONS} versions. "
            "Before you create a new version, you must delete an existing version.",
        )
    version = ctx.identity.add_version(policy, text, current=bool(p.get("SetAsDefault")))
    return {"PolicyVersion": render_version(policy, version, whole=False)}


@operation("iam:GetPolicyVersion", on="{PolicyArn}", raises=FAULTS)
def get_policy_version(ctx: Context, p: Params) -> Result:
    held = _found(ctx, p["PolicyArn"])
    number = _number(p["VersionId"])
    absent = no_such(f"Policy {p['PolicyArn']} version {p['VersionId']} does not exist or is not attachable.")
    if (known := catalogued(held)) is not None:
        if known.version != number:
            raise absent
        return {"PolicyVersion": _catalogued_version(known) | {"Document": encoded(known.text)}}
    policy = ctx.identity.policies_by_id([held])[held]
    try:
        version = ctx.identity.version(policy, number)
    except Missing:
        raise absent from None
    return {"PolicyVersion": render_version(policy, version, whole=True)}


def _catalogued_version(policy: Catalogued) -> dict[str, Any]:
    return {"VersionId": f"v{policy.version}", "IsDefaultVersion": True, "CreateDate": policy.updated}


@operation("iam:ListPolicyVersions", on="{PolicyArn}", raises=FAULTS)
def list_policy_versions(ctx: Context, p: Params) -> Result:
    held = _found(ctx, p["PolicyArn"])
    if (known := catalogued(held)) is not None:
        return {"Versions": [_catalogued_version(known)], "IsTruncated": False}
    policy = ctx.identity.policies_by_id([held])[held]
    newest_first = ctx.identity.versions_of(policy)
    return marked(
        p,
        "Versions",
        newest_first,
        lambda version: f"{10**9 - version.number:010}",
        lambda version: render_version(policy, version, whole=False),
    )


@operation("iam:SetDefaultPolicyVersion", on="{PolicyArn}", raises=FAULTS)
def set_default_policy_version(ctx: Context, p: Params) -> None:
    policy = own_policy(ctx, p["PolicyArn"])
    policy.current = ctx.identity.version(policy, _number(p["VersionId"])).number
    policy.updated = ctx.identity.moment


@operation("iam:DeletePolicyVersion", on="{PolicyArn}", raises=FAULTS)
def delete_policy_version(ctx: Context, p: Params) -> None:
    ctx.identity.remove_version(own_policy(ctx, p["PolicyArn"]), _number(p["VersionId"]))
