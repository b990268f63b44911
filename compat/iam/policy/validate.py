"""Refusing malformed policies, in the words that AWS has for each kind of policy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from compat.iam.policy.conditions import known_operator, parse_date
from compat.iam.policy.document import (
    PRINCIPAL_TYPES,
    STATEMENT_KEYS,
    VERSIONS,
    Document,
    Malformed,
    PolicyType,
    load,
    read,
    strings,
)

SYNTAX = "Syntax errors in policy."
LEGACY = "The policy failed legacy parsing"
PARTITIONS = ("aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f", "aws-eusc")
IAM_PATHS = (
    "user/", "federated-user/", "role/", "group/", "instance-profile/", "mfa/", "server-certificate/", "policy/",
    "sms-mfa/", "saml-provider/", "oidc-provider/", "report/", "access-report/",
)  # fmt: skip
_VENDOR = re.compile(r"[a-zA-Z0-9\-.]+")
_SID = re.compile(r"[0-9A-Za-z]*")


def identity_policy(text: str) -> Document:
    """Check a policy of a user, group or role, or a managed or session policy. Raises `Malformed`."""
    if text[:1].isspace():
        raise Malformed(LEGACY)
    try:
        raw = load(text)
    except ValueError:
        raise Malformed(SYNTAX) from None
    statements = _shape(raw)
    if raw.get("Version") != VERSIONS[1]:
        raise Malformed("Policy document must be version 2012-10-17 or greater.")
    for statement in statements:
        if "Principal" in statement or "NotPrincipal" in statement:
            raise Malformed("Policy document should not specify a principal.")
    _sids(statements)
    for statement in statements:
        _actions(statement)
    for statement in statements:
        _resources(statement)
    for statement in statements:
        _dates(statement)
    return read(raw)


def _shape(raw: dict[str, Any]) -> list[dict[str, Any]]:
    """The statements, when names and types are as the grammar has them."""
    _require(not raw.keys() - {"Version", "Id", "Statement"})
    _require("Version" not in raw or raw["Version"] in VERSIONS)
    _require(isinstance(raw.get("Id", ""), str))
    listed = raw.get("Statement")
    statements: list[Any] = listed if isinstance(listed, list) else [listed]
    _require(bool(statements))
    for one in statements:
        _require(isinstance(one, dict) and not one.keys() - STATEMENT_KEYS)
        _require(one.get("Effect") in ("Allow", "Deny") and isinstance(one.get("Sid", ""), str))
        for name in ("Action", "Resource", "Principal"):
            _require(name not in one or f"Not{name}" not in one)
        for name in ("Action", "NotAction", "Resource", "NotResource"):
            _require(name not in one or _texts(one[name]))
        _condition(one.get("Condition", {}))
    return statements


def _require(holds: bool) -> None:
    if not holds:
        raise Malformed(SYNTAX)


def _texts(value: object) -> bool:
    several = value if isinstance(value, list) else [value]
    return bool(several) and all(isinstance(one, str) for one in several)


def _condition(block: object) -> None:
    _require(isinstance(block, dict))
    assert isinstance(block, dict)
    for operator, keys in block.items():
        _require(known_operator(operator) and isinstance(keys, dict))
        for key, values in keys.items():
            if ":" not in key:
                raise Malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
            try:
                strings(values)
            except ValueError:
                raise Malformed(SYNTAX) from None


def _sids(statements: Iterable[dict[str, Any]]) -> None:
    seen: set[str] = set()
    for statement in statements:
        sid = statement.get("Sid", "")
        if not _SID.fullmatch(sid):
            raise Malformed(
                "Statement IDs (SID) must be alpha-numeric. "
                "Check that your input satisfies the regular expression [0-9A-Za-z]*"
            )
        if sid and sid in seen:
            raise Malformed("Statement IDs (SID) in a single policy must be unique.")
        seen.add(sid)


def _actions(statement: dict[str, Any]) -> None:
    given = statement.get("Action", statement.get("NotAction"))
    if given is None:
        raise Malformed("Policy statement must contain actions.")
    for action in strings(given):
        if action == "*":
            continue
        vendor, colon, name = action.partition(":")
        if not colon:
            raise Malformed("Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc.")
        if ":" in name:
            raise Malformed("Actions/Condition can contain only one colon.")
        if not _VENDOR.fullmatch(vendor):
            raise Malformed(f"Vendor {vendor} is not valid")


def _resources(statement: dict[str, Any]) -> None:
    given = statement.get("Resource", statement.get("NotResource"))
    if given is None:
        raise Malformed("Policy statement must contain resources.")
    for resource in strings(given):
        if resource != "*":
            _resource(resource)


def _resource(resource: str) -> None:
    first, colon, rest = resource.partition(":")
    if not colon or first not in ("arn", "*"):
        raise Malformed(f'Resource {resource} must be in ARN format or "*".')
    partition, colon, rest = rest.partition(":")
    if partition not in PARTITIONS and "*" not in partition and "?" not in partition and "${" not in partition:
        raise Malformed(f'Partition "{partition}" is not valid for resource "{resource}".')
    if not colon:
        raise Malformed("Resource vendor must be fully qualified and cannot contain regexes.")
    service, _, rest = rest.partition(":")
    if service != "*" and not _VENDOR.fullmatch(service) and "${" not in service:
        raise Malformed("Resource vendor must be fully qualified and cannot contain regexes.")
    if service in ("s3", "iam"):
        _global_resource(service, resource, rest)
    if "::" in resource and resource.count(":") < 5:  # a colon forgotten; where a wildcard stands for parts, none is
        raise Malformed(LEGACY)


def _global_resource(service: str, resource: str, rest: str) -> None:
    region, _, tail = rest.partition(":")
    if region not in ("", "*") and service == "iam":
        raise Malformed(f"IAM resource {resource} cannot contain region information.")
    if service == "s3" and region not in ("", "*") and ":accesspoint" not in resource and "$" not in region:
        if re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", region) and not re.search(
            r":(async-request|job|storage-lens)", resource
        ):
            raise Malformed(f"Resource {resource} can not contain region information.")
    if service == "iam" and ":" in tail:
        path = tail.partition(":")[2]
        if path not in ("*", "root") and not path.startswith(IAM_PATHS) and not re.match(r"[a-z-]*[*?$]", path):
            raise Malformed(f'IAM resource path must either be "*" or start with {", ".join(IAM_PATHS)}.')


def _dates(statement: dict[str, Any]) -> None:
    for operator, keys in statement.get("Condition", {}).items():
        if re.sub(r"^for(any|all)values?:", "", operator.lower()).startswith("date"):
            for values in keys.values():
                if any(parse_date(value) is None and "${" not in value for value in strings(values)):
                    raise Malformed(LEGACY)


# --- trust policies and resource policies: the newer parser -----------------------------------------------------------


def trust_policy(text: str) -> Document:
    """Check the form of a role's trust policy. Raises `Malformed`. Whom it names is checked by who can look them up."""
    try:
        raw = load(text)
    except ValueError:
        raise Malformed("This policy contains invalid Json") from None
    document = _strict(raw, PolicyType.TRUST)
    for statement in document.statements:
        if statement.resources is not None:
            raise Malformed("Has prohibited field Resource")
        for action in statement.actions:
            if action != "*" and not action.lower().startswith("sts:"):
                raise Malformed("AssumeRole policy may only specify STS AssumeRole actions.")
    return document


def resource_policy(text: str) -> Document:
    """Check the form of a bucket policy, or of another resource's. Raises `Malformed`."""
    if text[:1] != "{":
        raise Malformed("Policies must be valid JSON and the first byte must be '{'")
    try:
        raw = load(text)
    except ValueError:
        raise Malformed("This policy contains invalid Json") from None
    return _strict(raw, PolicyType.RESOURCE)


def _strict(raw: dict[str, Any], kind: PolicyType) -> Document:
    for name in raw:
        if name not in ("Version", "Id", "Statement"):
            raise Malformed(f"Unknown field {name}")
    if raw.get("Version", VERSIONS[0]) not in VERSIONS:
        raise Malformed(f"The policy must contain a valid version string: {raw['Version']}")
    if "Statement" not in raw:
        raise Malformed("Missing required field Statement")
    listed = raw["Statement"]
    statements = listed if isinstance(listed, list) else [listed]
    if not statements:
        raise Malformed("Could not parse the policy: Statement is empty!")
    for one in statements:
        _strict_statement(one, kind)
    sids = [one["Sid"] for one in statements if one.get("Sid")]
    if len(set(sids)) < len(sids):
        raise Malformed("Statement IDs (SID) in a single policy must be unique.")
    try:
        return read(raw)
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Malformed("Invalid policy syntax.") from None


def _strict_statement(one: object, kind: PolicyType) -> None:
    if not isinstance(one, dict):
        raise Malformed("Invalid policy syntax.")
    for name in one:
        if name not in STATEMENT_KEYS:
            raise Malformed(f"Unknown field {name}")
    for name in ("Action", "Resource", "Principal"):
        if name in one and f"Not{name}" in one:
            raise Malformed(f"Statement cannot have both {name} and Not{name}")
    needed = ["Effect", "Principal", "Action"] + (["Resource"] if kind is PolicyType.RESOURCE else [])
    for name in needed:
        if name not in one and f"Not{name}" not in one:
            raise Malformed(f"Missing required field {name}")
    if one["Effect"] not in ("Allow", "Deny"):
        raise Malformed(f"Invalid effect: {one['Effect']}")
    if not isinstance(one.get("Sid", ""), str):
        raise Malformed("Invalid policy syntax.")
    _strict_principal(one.get("Principal", one.get("NotPrincipal")), kind)
    for name in ("Action", "NotAction"):
        if name in one and not (_texts(one[name]) and all(a == "*" or ":" in a for a in strings(one[name]))):
            raise Malformed("Policy has invalid action")
    for name in ("Resource", "NotResource"):
        if name in one and not (
            _texts(one[name]) and all(r == "*" or r.startswith("arn:") for r in strings(one[name]))
        ):
            raise Malformed("Policy has invalid resource")
    _strict_condition(one.get("Condition", {}))


def _strict_principal(value: object, policy: PolicyType) -> None:
    if value == "*":
        return
    if not isinstance(value, dict) or not value:
        raise Malformed("Invalid principal in policy")
    for kind, names in value.items():
        # Terraform writes a kind without anybody as an empty list, next to one that names somebody.
        nobody = policy is PolicyType.TRUST and names == [] and any(value.values())
        if kind.lower() not in PRINCIPAL_TYPES or not (nobody or _texts(names)):
            raise Malformed("Invalid principal in policy")


def _strict_condition(block: object) -> None:
    if not isinstance(block, dict):
        raise Malformed("Invalid policy syntax.")
    for operator, keys in block.items():
        if not known_operator(operator):
            raise Malformed(f"Invalid Condition type : {operator}")
        if not isinstance(keys, dict):
            raise Malformed("Invalid policy syntax.")
        for key, values in keys.items():
            if ":" not in key:
                raise Malformed(f"Policy has an invalid condition key - {key}")
            try:
                strings(values)
            except ValueError:
                raise Malformed("Invalid policy syntax.") from None


def size(text: str) -> int:
    """The size that quotas count: characters, white space left out."""
    return len(text) - sum(map(str.isspace, text))
