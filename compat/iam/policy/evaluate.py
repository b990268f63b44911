"""Many policies, one answer: AWS's evaluation logic, within an account and across accounts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from compat.iam.policy.compiled import Cited, CompiledStatement, Policy, PolicySet, compile_text
from compat.iam.policy.document import PolicyType
from compat.iam.policy.principals import Named, names
from compat.iam.policy.request import AccessRequest, ContextValue
from compat.iam.principal import PrincipalKind

STRANGERS = frozenset({PrincipalKind.ANONYMOUS, PrincipalKind.SERVICE, PrincipalKind.WEB_IDENTITY})
"""Who holds no policies: only what the resource says counts."""


class Reason(StrEnum):
    """How a decision came about."""

    ALLOW = "allow"
    EXPLICIT_DENY = "explicit-deny"
    IMPLICIT_DENY = "implicit-deny"


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether a request may pass, and what said so.

    `where` is the type of policy that denied, or whose permission is missing. `action` and `resource` are those of the
    question that was answered with no (an operation may ask several); empty when everything is allowed.
    """

    allowed: bool
    reason: Reason
    cited: Cited | None = None
    where: PolicyType | None = None
    action: str = ""
    resource: str = ""
    foreign: bool = False
    """Whether the resource belongs to another account: such a denial tells less."""
    unusable: bool = False
    """Whether the credentials as such cannot call this operation, whatever policies say."""


ALLOWED = Decision(True, Reason.ALLOW)


@dataclass(frozen=True, slots=True)
class Holdings:
    """The policies on the side of a principal. None where there is no such limit."""

    identity: PolicySet
    boundary: PolicySet | None = None
    session: PolicySet | None = None


@dataclass(frozen=True, slots=True)
class Passage:
    """What stands before a resource, with a policy of its own (an access point before its bucket).

    `resource` is the ARN by which the caller asks, `behind` that of the resource itself; `keys` are condition keys that
    policies of both see, in lower case.
    """

    resource: str
    behind: str
    side: ResourceSide
    keys: Mapping[str, ContextValue]


class ResourceSide:
    """What a resource says itself: whose it is, and its policy.

    `required` means that the resource's policy must allow even its own account (role trust policies, key policies).
    `granted` says that an older mechanism (an access control list) lets the principal in; only policies can deny.
    """

    __slots__ = ("granted", "owner", "passage", "policy", "required", "unlimited_owner")

    def __init__(
        self,
        owner: str,
        policy: str | None = None,
        *,
        name: str = "",
        required: bool = False,
        granted: bool = False,
        unlimited_owner: bool = False,
        passage: Passage | None = None,
    ) -> None:
        self.owner = owner
        self.passage = passage
        """Through what else the resource is reached; then that must allow, too."""
        self.policy = Policy(name, None, policy) if policy is not None else None
        self.required = required
        self.granted = granted
        self.unlimited_owner = unlimited_owner
        """Whether no statement holds back the root of the owning account (S3, for the bucket policy itself)."""

    def matching(self, request: AccessRequest, allow: bool) -> tuple[Named, CompiledStatement | None]:
        """The statement with effect `allow` that names the principal most closely, and holds."""
        best, chosen = Named.NOT, None
        if self.policy is None:
            return best, chosen
        for statement in compile_text(self.policy.text)[1]:
            if statement.allow is not allow or not statement.action(request.action):
                continue
            named = names(statement.statement, request.principal)
            if named > best and statement.matches(request):
                best, chosen = named, statement
                if not allow:
                    break
        return best, chosen


def evaluate(request: AccessRequest, holdings: Holdings, resource: ResourceSide | None = None) -> Decision:
    """Decide `request`. Any Deny that holds wins; then the resource's policy, the identity's, the boundary and the
    session's must agree as AWS documents it: within one account either side may allow, across accounts both must."""
    if resource is None and holdings.boundary is None and holdings.session is None:
        return _by_identity(request, holdings.identity)
    principal = request.principal
    same_account = resource is None or resource.owner == principal.account
    if principal.is_root and same_account and resource is not None and resource.unlimited_owner:
        return ALLOWED
    denial = _denied(request, holdings, resource)
    if denial is not None:
        return denial
    named, allowing = resource.matching(request, True) if resource is not None else (Named.NOT, None)
    if resource is not None and resource.granted:
        named = Named.ITSELF
    if principal.kind in STRANGERS:
        return _from_resource(request, named)
    if not same_account or (resource is not None and resource.required):
        if named is Named.NOT:
            return _missing(request, PolicyType.RESOURCE)
        if same_account and named is Named.ITSELF:
            return ALLOWED
    if same_account and named is Named.ITSELF and not principal.is_root:
        return _allowed_by(resource, allowing)
    if principal.is_root:
        return _limited(request, holdings, None)
    if same_account and named is Named.ROLE:
        return _limited(request, holdings, None)
    permission = holdings.identity.permission(request)
    if permission is None:
        return _missing(request, PolicyType.IDENTITY)
    return _limited(request, holdings, permission)


def _by_identity(request: AccessRequest, identity: PolicySet) -> Decision:
    """The common case: the caller's own resource, and nothing but identity policies."""
    denied = identity.denial(request)
    if denied is not None:
        return Decision(False, Reason.EXPLICIT_DENY, denied, PolicyType.IDENTITY, request.action, request.resource)
    if request.principal.is_root:
        return ALLOWED
    permission = identity.permission(request)
    if permission is None:
        return _missing(request, PolicyType.IDENTITY)
    return Decision(True, Reason.ALLOW, permission)


def _denied(request: AccessRequest, holdings: Holdings, resource: ResourceSide | None) -> Decision | None:
    for policies, where in (
        (holdings.identity, PolicyType.IDENTITY),
        (holdings.boundary, PolicyType.BOUNDARY),
        (holdings.session, PolicyType.SESSION),
    ):
        if policies is not None and (cited := policies.denial(request)) is not None:
            return Decision(False, Reason.EXPLICIT_DENY, cited, where, request.action, request.resource)
    if resource is not None:
        statement = resource.matching(request, False)[1]
        if statement is not None and resource.policy is not None:
            cited = Cited(resource.policy, statement.statement)
            return Decision(False, Reason.EXPLICIT_DENY, cited, PolicyType.RESOURCE, request.action, request.resource)
    return None


def _limited(request: AccessRequest, holdings: Holdings, permission: Cited | None) -> Decision:
    if holdings.boundary is not None and holdings.boundary.permission(request) is None:
        return _missing(request, PolicyType.BOUNDARY)
    if holdings.session is not None and holdings.session.permission(request) is None:
        return _missing(request, PolicyType.SESSION)
    return ALLOWED if permission is None else Decision(True, Reason.ALLOW, permission)


def _from_resource(request: AccessRequest, named: Named) -> Decision:
    return ALLOWED if named is not Named.NOT else _missing(request, PolicyType.RESOURCE)


def _allowed_by(resource: ResourceSide | None, statement: CompiledStatement | None) -> Decision:
    if resource is None or resource.policy is None or statement is None:
        return ALLOWED
    return Decision(True, Reason.ALLOW, Cited(resource.policy, statement.statement))


def _missing(request: AccessRequest, where: PolicyType) -> Decision:
    return Decision(False, Reason.IMPLICIT_DENY, None, where, request.action, request.resource)
