"""What belongs to the account as a whole: alias, password rules, counts, and everything at once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from backends.identity.models import Group, Policy, Possession, Profile, Role, User
from compat.errors import AWSError
from compat.iam.attachments import MOST_ATTACHED
from compat.iam.boundaries import boundary_of
from compat.iam.catalogue import catalogued
from compat.iam.faults import FAULTS, no_such
from compat.iam.groups import MOST_GROUPS, MOST_GROUPS_A_USER, render_group
from compat.iam.inline_policies import LARGEST
from compat.iam.instance_profiles import MOST_PROFILES, render_instance_profile
from compat.iam.login_profiles import DEFAULT_RULES
from compat.iam.names import names_of
from compat.iam.pages import encoded, marked
from compat.iam.policies import (
    LARGEST_POLICY,
    MOST_POLICIES,
    MOST_VERSIONS,
    render_catalogued,
    render_policy,
    render_version,
)
from compat.iam.providers import OIDC, SAML
from compat.iam.roles import LARGEST_TRUST, MOST_ROLES, last_used, render_role
from compat.iam.tags import listing
from compat.iam.users import MOST_USERS, render_user
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

TOKENS = "token version"
_ALIAS = re.compile(r"[a-z0-9]([a-z0-9]|-(?!-)){1,61}[a-z0-9]")


@operation("iam:CreateAccountAlias", on="*", raises=FAULTS)
def create_account_alias(ctx: Context, p: Params) -> None:
    alias = p["AccountAlias"]
    if not _ALIAS.fullmatch(alias) or re.fullmatch(r"[0-9]{12}", alias):
        raise AWSError("ValidationError", f"The account alias {alias} is not valid.")
    facts = ctx.identity.tenant_for_change()
    if facts.alias != alias and ctx.identity.alias_taken(alias):
        raise AWSError("EntityAlreadyExists", f"The account alias {alias} already exists.")
    facts.alias = alias


@operation("iam:ListAccountAliases", on="*", raises=FAULTS)
def list_account_aliases(ctx: Context, p: Params) -> Result:
    facts = ctx.identity.tenant()
    return {"AccountAliases": [facts.alias] if facts is not None and facts.alias else [], "IsTruncated": False}


@operation("iam:DeleteAccountAlias", on="*", raises=FAULTS)
def delete_account_alias(ctx: Context, p: Params) -> None:
    facts = ctx.identity.tenant()
    if facts is None or facts.alias != p["AccountAlias"]:
        raise no_such(f"The account alias {p['AccountAlias']} cannot be found.")
    facts.alias = None


@operation("iam:UpdateAccountPasswordPolicy", on="*", raises=FAULTS)
def update_account_password_policy(ctx: Context, p: Params) -> None:
    defaults = DEFAULT_RULES | {"MinimumPasswordLength": 6}
    ctx.identity.tenant_for_change().password_rules = defaults | {
        name: value for name, value in p.items() if value is not None
    }


@operation("iam:GetAccountPasswordPolicy", on="*", raises=FAULTS)
def get_account_password_policy(ctx: Context, p: Params) -> Result:
    facts = ctx.identity.tenant()
    if facts is None or facts.password_rules is None:
        raise no_such(f"The Password Policy with domain name {ctx.account} cannot be found.")
    return {
        "PasswordPolicy": facts.password_rules | {"ExpirePasswords": bool(facts.password_rules.get("MaxPasswordAge"))}
    }


@operation("iam:DeleteAccountPasswordPolicy", on="*", raises=FAULTS)
def delete_account_password_policy(ctx: Context, p: Params) -> None:
    facts = ctx.identity.tenant()
    if facts is None or facts.password_rules is None:
        raise no_such("The account policy with name PasswordPolicy cannot be found.")
    facts.password_rules = None


@operation("iam:GetAccountSummary", on="*", raises=FAULTS)
def get_account_summary(ctx: Context, p: Params) -> Result:
    identity = ctx.identity
    tokens = identity.possession(TOKENS, TOKENS)
    return {
        "SummaryMap": {
            "Users": identity.count(User),
            "UsersQuota": MOST_USERS,
            "Groups": identity.count(Group),
            "GroupsQuota": MOST_GROUPS,
            "Roles": identity.count(Role),
            "RolesQuota": MOST_ROLES,
            "Policies": identity.count(Policy),
            "PoliciesQuota": MOST_POLICIES,
            "InstanceProfiles": identity.count(Profile),
            "InstanceProfilesQuota": MOST_PROFILES,
            "ServerCertificates": len(identity.possessions("server certificate")),
            "ServerCertificatesQuota": 20,
            "MFADevices": len(identity.possessions("mfa device")),
            "MFADevicesInUse": sum(one.user_id is not None for one in identity.possessions("mfa device")),
            "AccountMFAEnabled": 0,
            "AccountAccessKeysPresent": int(bool(identity.keys_of(None))),
            "AccountPasswordPresent": 1,
            "AccountSigningCertificatesPresent": 0,
            "Providers": len(identity.possessions(OIDC)) + len(identity.possessions(SAML)),
            "AccessKeysPerUserQuota": 2,
            "SigningCertificatesPerUserQuota": 2,
            "GroupsPerUserQuota": MOST_GROUPS_A_USER,
            "UserPolicySizeQuota": LARGEST[User],
            "GroupPolicySizeQuota": LARGEST[Group],
            "RolePolicySizeQuota": LARGEST[Role],
            "AssumeRolePolicySizeQuota": LARGEST_TRUST,
            "PolicySizeQuota": LARGEST_POLICY,
            "PolicyVersionsInUse": identity.policy_versions(),
            "PolicyVersionsInUseQuota": 10000,
            "VersionsPerPolicyQuota": MOST_VERSIONS,
            "AttachedPoliciesPerUserQuota": MOST_ATTACHED,
            "AttachedPoliciesPerGroupQuota": MOST_ATTACHED,
            "AttachedPoliciesPerRoleQuota": MOST_ATTACHED,
            "GlobalEndpointTokenVersion": 1 if tokens is None else tokens.about["version"],
        }
    }


@operation("iam:SetSecurityTokenServicePreferences", on="*", raises=FAULTS)
def set_security_token_service_preferences(ctx: Context, p: Params) -> None:
    """Keep which version of tokens the account wants of STS's global endpoint; tokens here are good everywhere."""
    about = {"version": int(p["GlobalEndpointTokenVersion"][1])}
    held = ctx.identity.possession(TOKENS, TOKENS)
    if held is None:
        ctx.identity.file(Possession(id=TOKENS, kind=TOKENS, about=about))
    else:
        held.about = about


# --- everything at once -----------------------------------------------------------------------------------------------


@operation("iam:GetAccountAuthorizationDetails", on="*", raises=FAULTS)
def get_account_authorization_details(ctx: Context, p: Params) -> Result:
    wanted = set(p.get("Filter") or ("User", "Group", "Role", "LocalManagedPolicy", "AWSManagedPolicy"))
    identity = ctx.identity
    found: list[tuple[str, dict[str, Any]]] = []
    if "User" in wanted:
        found += [("UserDetailList", _user(ctx, user)) for user in identity.listed(User)]
    if "Group" in wanted:
        found += [("GroupDetailList", _group(ctx, group)) for group in identity.listed(Group)]
    if "Role" in wanted:
        found += [("RoleDetailList", _role(ctx, role)) for role in identity.listed(Role)]
    if "LocalManagedPolicy" in wanted:
        found += [("Policies", _policy(ctx, policy)) for policy in identity.listed(Policy)]
    if "AWSManagedPolicy" in wanted:
        found += [("Policies", shown) for shown in _attached_catalogued(ctx)]
    numbered = [(f"{number:08}", *one) for number, one in enumerate(found)]
    page = marked(p, "all", numbered, lambda one: one[0], lambda one: one[1:])
    shown: list[tuple[str, dict[str, Any]]] = page.pop("all")
    for member in ("UserDetailList", "GroupDetailList", "RoleDetailList", "Policies"):
        page[member] = [detail for of, detail in shown if of == member]
    return page


def _held(ctx: Context, holder: User | Group | Role, inline: str) -> dict[str, Any]:
    return {
        inline: [{"PolicyName": one.name, "PolicyDocument": encoded(one.text)} for one in ctx.identity.inlines(holder)],
        "AttachedManagedPolicies": [
            {"PolicyName": name, "PolicyArn": arn} for name, arn in names_of(ctx, ctx.identity.attached(holder))
        ],
    }


def _user(ctx: Context, user: User) -> dict[str, Any]:
    groups = [group.name for group in ctx.identity.groups_of(user)]
    extra = {"GroupList": groups, "Tags": listing(user.tags)}
    return render_user(ctx, user) | _held(ctx, user, "UserPolicyList") | boundary_of(ctx, user) | extra


def _group(ctx: Context, group: Group) -> dict[str, Any]:
    return render_group(ctx, group) | _held(ctx, group, "GroupPolicyList")


def _role(ctx: Context, role: Role) -> dict[str, Any]:
    profiles = [render_instance_profile(ctx, profile) for profile in ctx.identity.profiles_of(role)]
    extra = {"InstanceProfileList": profiles, "Tags": listing(role.tags), "RoleLastUsed": last_used(ctx, role)}
    shown = render_role(ctx, role) | _held(ctx, role, "RolePolicyList") | boundary_of(ctx, role) | extra
    return {name: value for name, value in shown.items() if name not in ("MaxSessionDuration", "Description")}


def _policy(ctx: Context, policy: Policy) -> dict[str, Any]:
    versions = [render_version(policy, version, whole=True) for version in ctx.identity.versions_of(policy)]
    return render_policy(ctx, policy, ctx.identity.uses_of([policy.id])[policy.id]) | {"PolicyVersionList": versions}


def _attached_catalogued(ctx: Context) -> list[dict[str, Any]]:
    shown = []
    for reference in ctx.identity.catalogued_in_use():
        if (known := catalogued(reference)) is not None:
            version = {
                "VersionId": f"v{known.version}",
                "IsDefaultVersion": True,
                "CreateDate": known.updated,
                "Document": encoded(known.text),
            }
            uses = ctx.identity.uses_of([reference])[reference]
            shown.append(render_catalogued(ctx, known, uses) | {"PolicyVersionList": [version]})
    return shown
