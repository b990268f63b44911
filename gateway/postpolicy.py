"""POST policies: what a browser's form upload may contain, who signed that, and whether the form keeps to it.

All names of form fields are in lower case here, as S3 takes them in any case. Nothing in this module waits or stores.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NoReturn

from compat.errors import AWSError
from gateway.authenticated import V2, V4, Authenticated, Lookup, moment_of, proven, same
from gateway.signature_faults import Fault, SignatureFault
from gateway.sigv2 import sign
from gateway.sigv4 import MEANT_REGION, NO_REGION, signing_key

# Fields that a policy need not mention.
_FREE = frozenset({"policy", "signature", "awsaccesskeyid", "x-amz-signature", "file"})
_OPERATORS = frozenset({"eq", "starts-with"})
NEVER = "never"
"""The operator of a condition that is not well-formed, and fails."""


@dataclass(frozen=True, slots=True)
class Condition:
    """One demand on a form field. `shown` is the condition as S3 repeats it when it fails."""

    operator: str
    name: str
    value: str
    shown: str

    def holds(self, given: str) -> bool:
        """Whether a field's value is as demanded; of a list of content types every one must be."""
        if self.operator == NEVER:
            return False
        if self.operator == "eq":
            return given == self.value
        if self.name == "content-type":
            return all(each.strip().startswith(self.value) for each in given.split(","))
        return given.startswith(self.value)


@dataclass(frozen=True, slots=True)
class Policy:
    """A decoded policy. `least` and `most` bound the file's size in bytes; `most` is None without a range."""

    expiration: datetime
    conditions: tuple[Condition, ...]
    least: int = 0
    most: int | None = None
    names: frozenset[str] = field(default_factory=frozenset)


# --- decoding ---------------------------------------------------------------------------------------------------------


def parse_policy(encoded: str) -> Policy:
    """Decode a form's `policy`. Raises `AWSError` (InvalidPolicyDocument)."""
    try:
        document = json.loads(base64.b64decode(encoded, validate=True).decode("utf-8"))
    except (binascii.Error, ValueError, RecursionError):
        _invalid("Invalid JSON.")
    if not isinstance(document, dict):
        _invalid("Invalid JSON.")
    for name in document:
        if name not in ("expiration", "conditions"):
            _invalid(f"Unexpected: '{name}'")
    if "expiration" not in document:
        _invalid("Policy missing expiration.")
    if "conditions" not in document:
        _invalid("Policy missing conditions.")
    expiration = _expiration(document["expiration"])
    if not isinstance(document["conditions"], list) or not document["conditions"]:
        _invalid("Conditions must be a list.")
    return _conditions(expiration, document["conditions"])


def _invalid(reason: str) -> NoReturn:
    raise AWSError("InvalidPolicyDocument", f"Invalid Policy: {reason}", 400)


def _expiration(value: Any) -> datetime:
    if isinstance(value, str) and value.endswith("Z"):
        for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S.%fZ"):
            try:
                return datetime.strptime(value, form).replace(tzinfo=UTC)
            except ValueError:
                continue
    _invalid(f"Invalid 'expiration' value: '{value}'")


def _conditions(expiration: datetime, listed: list[Any]) -> Policy:
    found: list[Condition] = []
    least, most = 0, None
    for each in listed:
        if isinstance(each, dict):
            found.append(_simple(each))
        elif isinstance(each, list) and len(each) == 3 and isinstance(each[0], str):
            operator = each[0].lower()
            if operator == "content-length-range":
                lower, upper = _bound(each[1]), _bound(each[2])
                if lower is None or upper is None:
                    found.append(Condition(NEVER, operator, "", json.dumps(each)))
                    continue
                least, most = max(least, lower), upper if most is None else min(most, upper)
            elif operator in _OPERATORS:
                found.append(_matching(operator, each))
            else:
                _invalid(f"Invalid Condition operation: '{each[0]}'")
        else:
            _invalid(f"Invalid Condition: {json.dumps(each)}")
    return Policy(expiration, tuple(found), least, most, frozenset(condition.name for condition in found))


def _simple(each: dict[str, Any]) -> Condition:
    if len(each) != 1:
        _invalid("Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.")
    ((name, value),) = each.items()
    if not isinstance(value, str):
        _invalid("Invalid Simple-Condition: value must be a string.")
    return Condition("eq", name.lower(), value, json.dumps(["eq", f"${name}", value]))


def _matching(operator: str, each: list[Any]) -> Condition:
    name, value = each[1], each[2]
    if not isinstance(name, str) or not isinstance(value, str):
        _invalid("Invalid Condition: values must be strings.")
    shown = json.dumps([operator, name, value])
    return Condition(operator if name[:1] == "$" else NEVER, name[1:].lower(), value, shown)


def _bound(value: Any) -> int | None:
    """A bound of a size in bytes, which may be below zero; None for what is none."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return None


# --- checking ---------------------------------------------------------------------------------------------------------


def check_policy(policy: Policy, fields: Mapping[str, str], now: datetime) -> None:
    """Hold a form against its policy: not expired, every condition met, no field that the policy does not mention.

    `fields` must hold `bucket` (from host or path) and `key` with `${filename}` put in. Raises `AWSError` (403).
    """
    if now >= policy.expiration:
        raise _denied("Policy expired.")
    for condition in policy.conditions:
        if not condition.holds(fields.get(condition.name, "")):
            raise _denied(f"Policy Condition failed: {condition.shown}")
    extra = [
        name for name in fields if name not in policy.names and name not in _FREE and not name.startswith("x-ignore-")
    ]
    if extra:
        raise _denied(f"Extra input fields: {', '.join(sorted(extra))}")


def check_size(policy: Policy, size: int, *, complete: bool) -> None:
    """Hold the file's size so far (or, when `complete`, its size) against the policy's range. Raises `AWSError`."""
    if policy.most is not None and size > policy.most:
        raise AWSError(
            "EntityTooLarge",
            "Your proposed upload exceeds the maximum allowed size",
            400,
            ProposedSize=size,
            MaxSizeAllowed=policy.most,
        )
    if complete and size < policy.least:
        raise AWSError(
            "EntityTooSmall",
            "Your proposed upload is smaller than the minimum allowed size",
            400,
            ProposedSize=size,
            MinSizeAllowed=policy.least,
        )


def _denied(reason: str) -> AWSError:
    return AWSError("AccessDenied", f"Invalid according to Policy: {reason}", 403)


# --- who signed it ----------------------------------------------------------------------------------------------------


def authenticate_form(fields: Mapping[str, str], lookup: Lookup, now: datetime) -> Authenticated | None:
    """Who signed a form's policy; None for a form without policy and signature: an anonymous upload.

    Raises `SignatureFault`, and `AWSError` for a field that is missing.
    """
    v4 = any(name in fields for name in ("x-amz-signature", "x-amz-credential", "x-amz-algorithm"))
    v2 = any(name in fields for name in ("signature", "awsaccesskeyid"))
    if not (v4 or v2):
        if "policy" in fields:
            raise AWSError("AccessDenied", "Access Denied", 403)  # a policy that nobody signed
        return None
    if not v4:
        key, policy, signature = _needed(fields, "AWSAccessKeyId", "Policy", "Signature")
        return _version_2(key, policy, signature, fields, lookup, now)
    algorithm, text, date, policy, signature = _needed(
        fields, "X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "Policy", "X-Amz-Signature"
    )
    if algorithm != V4:
        raise SignatureFault(Fault.UNSUPPORTED, algorithm=algorithm)
    return _version_4(text, date, policy, signature, fields, lookup, now)


def _needed(fields: Mapping[str, str], *names: str) -> tuple[str, ...]:
    for name in names:
        if not fields.get(name.lower()):
            raise missing_field(name)
    return tuple(fields[name.lower()] for name in names)


def missing_field(name: str) -> AWSError:
    """The refusal of a form that lacks a field."""
    return AWSError(
        "InvalidArgument",
        f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the fields.",
        400,
        ArgumentName=name,
        ArgumentValue="",
    )


def _version_4(
    text: str, date: str, policy: str, signature: str, fields: Mapping[str, str], lookup: Lookup, now: datetime
) -> Authenticated:
    parts = text.rsplit("/", 4)
    if len(parts) != 5 or not all(parts):
        raise SignatureFault(Fault.CREDENTIAL, place="query", credential=text)
    access_key, day, region, service, terminator = parts
    if terminator != "aws4_request":
        raise SignatureFault(Fault.TERMINATOR, place="query", given=terminator)
    if service != "s3":
        raise SignatureFault(Fault.SERVICE, place="query", given=service, expected="s3")
    if region == NO_REGION:
        raise SignatureFault(Fault.REGION, place="query", given=region, expected=MEANT_REGION)
    moment = moment_of(date)
    if moment is None or date[:8] != day:
        raise SignatureFault(Fault.DATE, place="query", scoped=day, date=date)
    credential = proven(access_key, fields.get("x-amz-security-token"), lookup, now)
    key = signing_key(credential.secret, day, region, service)
    right = hmac.digest(key, policy.encode("utf-8", "surrogateescape"), "sha256").hex()
    if not same(right, signature):
        raise _mismatch(access_key, policy, signature)
    return Authenticated(access_key, credential, "post", V4, moment, region, service, "", right, key, date)


def _version_2(
    access_key: str, policy: str, signature: str, fields: Mapping[str, str], lookup: Lookup, now: datetime
) -> Authenticated:
    credential = proven(access_key, fields.get("x-amz-security-token"), lookup, now)
    right = sign(credential.secret, policy.encode("utf-8", "surrogateescape"))
    if not same(right, signature):
        raise _mismatch(access_key, policy, signature)
    return Authenticated(access_key, credential, "post", V2, now, signature=right)


def _mismatch(access_key: str, policy: str, signature: str) -> SignatureFault:
    return SignatureFault(
        Fault.MISMATCH, access_key=access_key, string_to_sign=policy, canonical_request=None, provided=signature
    )
