"""Condition keys of KMS."""

from __future__ import annotations

from collections.abc import Callable

from compat.iam.keys import Keys, service_keys, text, truth
from compat.iam.policy.request import ContextValue
from compat.kms.places import known_as, origin
from compat.kms.specs import BY_NATIVE
from compat.kms.words import context_of, via

MEMBERS = {
    "encryptionalgorithm": "EncryptionAlgorithm",
    "signingalgorithm": "SigningAlgorithm",
    "macalgorithm": "MacAlgorithm",
    "messagetype": "MessageType",
    "datakeypairspec": "KeyPairSpec",
    "granteeprincipal": "GranteePrincipal",
    "retiringprincipal": "RetiringPrincipal",
    "grantoperations": "Operations",
    "wrappingalgorithm": "WrappingAlgorithm",
    "wrappingkeyspec": "WrappingKeySpec",
    "expirationmodel": "ExpirationModel",
    "replicaregion": "ReplicaRegion",
    "keyagreementalgorithm": "KeyAgreementAlgorithm",
    "scheduledeletionpendingwindowindays": "PendingWindowInDays",
    "rotationperiodindays": "RotationPeriodInDays",
}


def _of_key(member: str) -> Callable[[Keys], ContextValue]:
    def answer(keys: Keys) -> ContextValue:
        known = known_as(keys.ctx, keys.resource)
        if known is None:
            given = {"spec": "KeySpec", "purpose": "KeyUsage"}[member]
            return text(keys.p.get(given))
        return BY_NATIVE[known.spec] if member == "spec" else str(getattr(known, member))

    return answer


def _origin(keys: Keys) -> ContextValue:
    known = known_as(keys.ctx, keys.resource)
    return str(keys.p.get("Origin") or "AWS_KMS") if known is None else origin(known)


def _aliases(keys: Keys) -> ContextValue:
    known = known_as(keys.ctx, keys.resource)
    return tuple(known.names) or None if known is not None else None


def _request_alias(keys: Keys) -> ContextValue:
    named = keys.p.get("KeyId") or ""
    return "alias/" + named.partition("alias/")[2] if "alias/" in named else None


def _grant_constraint(keys: Keys) -> ContextValue:
    return next(iter(keys.p.get("Constraints") or ()), None)


EXACT: dict[str, Callable[[Keys], ContextValue]] = {
    "viaservice": lambda keys: via(keys.ctx),
    "calleraccount": lambda keys: None if keys.ctx.principal.is_anonymous else keys.ctx.account,
    "encryptioncontextkeys": lambda keys: tuple(context_of(keys.ctx)) or None,
    "keyspec": _of_key("spec"),
    "keyusage": _of_key("purpose"),
    "keyorigin": _origin,
    "requestalias": _request_alias,
    "resourcealiases": _aliases,
    "grantconstrainttype": _grant_constraint,
    "grantisforawsresource": lambda keys: truth(via(keys.ctx) is not None),
    "multiregion": lambda keys: truth(keys.p.get("MultiRegion") or ":key/mrk-" in keys.resource),
    "bypasspolicylockoutsafetycheck": lambda keys: truth(keys.p.get("BypassPolicyLockoutSafetyCheck") or False),
}


@service_keys("kms")
def _kms_keys(keys: Keys, name: str) -> ContextValue:
    exact = EXACT.get(name)
    if exact is not None:
        return exact(keys)
    family, colon, rest = name.partition(":")
    if colon and family == "encryptioncontext":
        return next((value for key, value in context_of(keys.ctx).items() if key.lower() == rest), None)
    member = MEMBERS.get(name)
    return text(keys.p.get(member)) if member is not None else None
