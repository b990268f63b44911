"""Condition keys: what a policy may ask of a call. Each is computed when a policy mentions it, not before."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from compat.iam.directory import directory
from compat.iam.guards import RESOURCE_TAGS
from compat.iam.mfa_devices import KIND as MFA_DEVICE
from compat.iam.mfa_devices import verified_step
from compat.iam.policy.request import ContextValue
from compat.iam.principal import PrincipalKind
from compat.iam.reference import applies
from compat.kinds import kind_of

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params

PRINCIPAL_TYPES = {
    PrincipalKind.ROOT: "Account",
    PrincipalKind.USER: "User",
    PrincipalKind.ROLE_SESSION: "AssumedRole",
    PrincipalKind.FEDERATED: "FederatedUser",
    PrincipalKind.WEB_IDENTITY: "WebIdentityUser",
    PrincipalKind.ANONYMOUS: "Anonymous",
    PrincipalKind.SERVICE: "AWSService",
}


class Keys:
    """The condition keys of one question: a call, an action, one resource, and what the asker adds of its own
    (`extra`, keys in lower case). Keys that AWS does not list for the action on such a resource are absent."""

    __slots__ = ("action", "ctx", "extra", "p", "resource")

    def __init__(self, ctx: Context, p: Params, action: str, resource: str, extra: Mapping[str, ContextValue]) -> None:
        self.ctx, self.p, self.action, self.resource, self.extra = ctx, p, action, resource, extra

    def __call__(self, key: str) -> ContextValue:
        if key in self.extra:
            return self.extra[key]
        exact = EXACT.get(key)
        if exact is not None:
            return exact(self)
        family, slash, name = key.partition("/")
        if slash and (named := FAMILIES.get(family)) is not None:
            universal = family == "aws:principaltag"
            return named(self, name) if universal or applies(self.action, self.type, key) else None
        service, _, name = key.partition(":")
        answers = SERVICE_KEYS.get(service)
        if answers is not None:
            return answers(self, name) if applies(self.action, self.type, key) else None
        return dict(self.ctx.principal.federation).get(key)

    @property
    def type(self) -> str:
        """The resource type that the ARN names: `instance` of `…:instance/i-1`."""
        return self.resource.rpartition(":")[2].partition("/")[0]

    @property
    def id(self) -> str:
        """What follows the type in the ARN."""
        return self.resource.rpartition(":")[2].partition("/")[2]


def truth(value: object) -> ContextValue:
    """A boolean as conditions read it; None stays None."""
    return None if value is None else str(bool(value)).lower()


def text(value: object) -> ContextValue:
    """A parameter as conditions read it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return truth(value)
    if isinstance(value, (list, tuple)):
        return tuple(str(one) for one in value)
    return str(value)


def request_tags(keys: Keys) -> dict[str, str] | None:
    """The tags that the call gives to resources of this type, or None where it gives none."""
    p = keys.p
    if "request-tags" in keys.extra:
        return dict(pair.split("=", 1) for pair in keys.extra["request-tags"] or ())
    specifications = p.get("TagSpecifications") or p.get("TagSpecification")
    if specifications:
        tags: list[Any] = [
            tag for one in specifications if one.get("ResourceType") == keys.type for tag in one.get("Tags") or ()
        ]
    else:
        given = p.get("Tags") or p.get("TagSet") or p.get("TagList") or ()
        if isinstance(given, Mapping):
            return {str(key): str(value) for key, value in given.items()}
        tags = [tag for tag in given if isinstance(tag, Mapping)]
    return {tag.get("Key") or "": tag.get("Value") or "" for tag in tags} or None


def _tag_keys(keys: Keys) -> ContextValue:
    if not applies(keys.action, keys.type, "aws:tagkeys"):
        return None
    tags = request_tags(keys)
    if tags:
        return tuple(tags)
    removed = keys.p.get("TagKeys")
    return tuple(removed) if removed else None


def _request_tag(keys: Keys, name: str) -> ContextValue:
    for key, value in (request_tags(keys) or {}).items():
        if key.lower() == name:
            return value
    return None


def _resource_tag(keys: Keys, name: str) -> ContextValue:
    tags = resource_tags_of(keys)
    for key, value in (tags or {}).items():
        if key.lower() == name:
            return value
    return None


def resource_tags_of(keys: Keys) -> Mapping[str, str] | None:
    """The tags that the resource has already."""
    service = keys.resource.split(":", 3)[2] if keys.resource.startswith("arn:") else ""
    asked = RESOURCE_TAGS.get(service)
    if asked is not None:
        return asked(keys.ctx, keys.resource)
    if service == "ec2" and kind_of(keys.id) is not None:
        return {tag["Key"]: tag["Value"] for tag in keys.ctx.tags(keys.id)}
    return None


def _principal_tag(keys: Keys, name: str) -> ContextValue:
    return directory(keys.ctx.cloud).principal_tags(keys.ctx.principal).get(name)


def _moment(keys: Keys) -> str:
    return str(keys.ctx.cloud.database.clock().strftime("%Y-%m-%dT%H:%M:%SZ"))


def _user_name(keys: Keys) -> ContextValue:
    principal = keys.ctx.principal
    return principal.user_name if principal.kind is PrincipalKind.USER else None


def _principal_arn(keys: Keys) -> ContextValue:
    principal = keys.ctx.principal
    if principal.is_anonymous or principal.kind in (PrincipalKind.SERVICE, PrincipalKind.WEB_IDENTITY):
        return None
    return principal.role_arn or principal.arn


def _principal_account(keys: Keys) -> ContextValue:
    return None if keys.ctx.principal.is_anonymous else keys.ctx.principal.account


def _mfa_present(keys: Keys) -> ContextValue:
    """Of temporary keys only; but a code that AssumeRole brings counts for that very call."""
    principal = keys.ctx.principal
    if keys.p.get("TokenCode") and keys.ctx.operation.name == "AssumeRole":
        device = keys.ctx.identity.possession(MFA_DEVICE, keys.p.get("SerialNumber") or "")
        if device is None or device.user_id != principal.unique_id:
            return "false"
        now = keys.ctx.cloud.database.clock()
        return truth(verified_step(keys.ctx, device, keys.p["TokenCode"], now) is not None)
    return truth(principal.mfa) if principal.temporary else None


def _mfa_age(keys: Keys) -> ContextValue:
    principal = keys.ctx.principal
    if not principal.mfa or principal.issued_at is None:
        return None
    return str(int((keys.ctx.cloud.database.clock() - principal.issued_at).total_seconds()))


def _issued(keys: Keys) -> ContextValue:
    issued = keys.ctx.principal.issued_at
    return issued.strftime("%Y-%m-%dT%H:%M:%SZ") if issued is not None else None


def _resource_account(keys: Keys) -> ContextValue:
    parts = keys.resource.split(":", 5)
    if len(parts) == 6 and parts[4]:
        return parts[4]
    owner = keys.extra.get("owner")
    return owner if owner is not None else keys.ctx.account


def _requested_region(keys: Keys) -> ContextValue:
    return "us-east-1" if keys.ctx.operation.service in ("iam", "sts") else keys.ctx.region


EXACT: dict[str, Callable[[Keys], ContextValue]] = {
    "aws:currenttime": _moment,
    "aws:epochtime": lambda keys: str(int(keys.ctx.cloud.database.clock().timestamp())),
    "aws:sourceip": lambda keys: keys.ctx.call.source_ip,
    "aws:securetransport": lambda keys: truth(keys.ctx.call.tls is not None),
    "aws:useragent": lambda keys: keys.ctx.call.user_agent or None,
    "aws:referer": lambda keys: (keys.ctx.call.headers or {}).get("referer"),
    "aws:requestedregion": _requested_region,
    "aws:resourceaccount": _resource_account,
    "aws:principalarn": _principal_arn,
    "aws:principalaccount": _principal_account,
    "aws:principaltype": lambda keys: PRINCIPAL_TYPES[keys.ctx.principal.kind],
    "aws:principalisawsservice": lambda keys: truth(keys.ctx.principal.kind is PrincipalKind.SERVICE),
    "aws:principalservicename": lambda keys: keys.ctx.principal.service,
    "aws:viaawsservice": lambda keys: "false",
    "aws:username": _user_name,
    "aws:userid": lambda keys: keys.ctx.principal.unique_id,
    "aws:federatedprovider": lambda keys: dict(keys.ctx.principal.federation).get("aws:federatedprovider"),
    "aws:sourceidentity": lambda keys: keys.ctx.principal.source_identity,
    "aws:tokenissuetime": _issued,
    "aws:multifactorauthpresent": _mfa_present,
    "aws:multifactorauthage": _mfa_age,
    "aws:tagkeys": _tag_keys,
}

FAMILIES: dict[str, Callable[[Keys, str], ContextValue]] = {
    "aws:principaltag": _principal_tag,
    "aws:requesttag": _request_tag,
    "aws:resourcetag": _resource_tag,
    "ec2:resourcetag": _resource_tag,
    "iam:resourcetag": _resource_tag,
}

SERVICE_KEYS: dict[str, Callable[[Keys, str], ContextValue]] = {}
"""By service prefix: what answers `prefix:name`, `name` in lower case."""


def service_keys(prefix: str) -> Callable[[Callable[[Keys, str], ContextValue]], Callable[[Keys, str], ContextValue]]:
    """Register what answers the condition keys of a service."""

    def register(function: Callable[[Keys, str], ContextValue]) -> Callable[[Keys, str], ContextValue]:
        if prefix in SERVICE_KEYS:
            raise RuntimeError(f"{prefix} has keys already")
        SERVICE_KEYS[prefix] = function
        return function

    return register
