"""Many policies, one answer: identity, resource, boundary and session policies, within and across accounts."""

from __future__ import annotations

from typing import Any

import pytest

from compat.iam.policy.compiled import EMPTY, Policy, PolicySet
from compat.iam.policy.document import PolicyType
from compat.iam.policy.evaluate import Decision, Holdings, Reason, ResourceSide, evaluate
from compat.iam.policy.request import AccessRequest
from compat.iam.principal import ANONYMOUS, Principal, PrincipalKind, root, service
from tests.unit.nimbus import ACCOUNT, OTHER, allow, deny, policy

BOB = Principal(ACCOUNT, f"arn:aws:iam::{ACCOUNT}:user/bob", PrincipalKind.USER, "AIDABOB", user_name="bob")
EVE = Principal(OTHER, f"arn:aws:iam::{OTHER}:user/eve", PrincipalKind.USER, "AIDAEVE", user_name="eve")
SESSION = Principal(
    ACCOUNT,
    f"arn:aws:sts::{ACCOUNT}:assumed-role/r/s",
    PrincipalKind.ROLE_SESSION,
    "AROAR:s",
    role_name="r",
    role_path="/x/",
    session_name="s",
)
FEDERATED = Principal(
    ACCOUNT, f"arn:aws:sts::{ACCOUNT}:federated-user/f", PrincipalKind.FEDERATED, f"{ACCOUNT}:f", user_name="bob"
)
EC2 = service("ec2.amazonaws.com", ACCOUNT)
KEY = "arn:aws:s3:::b/k"
YES = PolicySet([Policy("yes", None, policy(allow("s3:*")))])
NO = PolicySet([Policy("no", None, policy(deny("s3:*")))])
ELSE = PolicySet([Policy("else", None, policy(allow("ec2:*")))])


def side(
    principal: object, *, effect: str = "Allow", owner: str = ACCOUNT, key: str = "Principal", **more: Any
) -> ResourceSide:
    statement = {"Effect": effect, key: principal, "Action": "s3:GetObject", "Resource": KEY}
    return ResourceSide(owner, policy(statement), **more)


def decide(
    who: Principal,
    identity: PolicySet = EMPTY,
    resource: ResourceSide | None = None,
    boundary: PolicySet | None = None,
    session: PolicySet | None = None,
) -> Decision:
    request = AccessRequest(who, "s3:GetObject", KEY, lambda key: None)
    return evaluate(request, Holdings(identity, boundary, session), resource)


MATRIX: list[tuple[str, Principal, dict[str, Any], str]] = [
    # one account, no resource policy
    ("nothing", BOB, {}, "implicit-deny identity-based policy"),
    ("identity allows", BOB, {"identity": YES}, "allow"),
    ("identity denies", BOB, {"identity": NO}, "explicit-deny identity-based policy"),
    ("root", root(ACCOUNT), {}, "allow"),
    # boundaries and session policies narrow
    ("boundary allows too", BOB, {"identity": YES, "boundary": YES}, "allow"),
    ("boundary is silent", BOB, {"identity": YES, "boundary": ELSE}, "implicit-deny permissions boundary"),
    ("boundary denies", BOB, {"identity": YES, "boundary": NO}, "explicit-deny permissions boundary"),
    ("boundary grants nothing", BOB, {"boundary": YES}, "implicit-deny identity-based policy"),
    ("session is silent", SESSION, {"identity": YES, "session": ELSE}, "implicit-deny session policy"),
    ("session denies", SESSION, {"identity": YES, "session": NO}, "explicit-deny session policy"),
    ("session grants nothing", SESSION, {"session": YES}, "implicit-deny identity-based policy"),
    ("session allows too", SESSION, {"identity": YES, "session": YES}, "allow"),
    # one account, resource policy
    ("named user", BOB, {"resource": side({"AWS": BOB.arn})}, "allow"),
    ("named user, silent boundary", BOB, {"resource": side({"AWS": BOB.arn}), "boundary": ELSE}, "allow"),
    ("another user named", BOB, {"resource": side({"AWS": EVE.arn})}, "implicit-deny identity-based policy"),
    ("everybody", BOB, {"resource": side("*")}, "allow"),
    (
        "everybody, silent boundary",
        BOB,
        {"resource": side("*"), "boundary": ELSE},
        "implicit-deny permissions boundary",
    ),
    (
        "account delegates, identity silent",
        BOB,
        {"resource": side({"AWS": ACCOUNT})},
        "implicit-deny identity-based policy",
    ),
    ("account delegates, identity allows", BOB, {"resource": side({"AWS": ACCOUNT}), "identity": YES}, "allow"),
    ("role named", SESSION, {"resource": side({"AWS": SESSION.role_arn})}, "allow"),
    (
        "role named, silent session",
        SESSION,
        {"resource": side({"AWS": SESSION.role_arn}), "session": ELSE},
        "implicit-deny session policy",
    ),
    ("session named", SESSION, {"resource": side({"AWS": SESSION.arn}), "session": ELSE}, "allow"),
    (
        "denied user",
        BOB,
        {"resource": side("*", effect="Deny"), "identity": YES},
        "explicit-deny resource-based policy",
    ),
    ("denied root", root(ACCOUNT), {"resource": side("*", effect="Deny")}, "explicit-deny resource-based policy"),
    (
        "root that nothing holds back",
        root(ACCOUNT),
        {"resource": side("*", effect="Deny", unlimited_owner=True)},
        "allow",
    ),
    (
        "all but bob denied",
        BOB,
        {"resource": side({"AWS": BOB.arn}, effect="Deny", key="NotPrincipal"), "identity": YES},
        "allow",
    ),
    (
        "all but eve denied",
        BOB,
        {"resource": side({"AWS": EVE.arn}, effect="Deny", key="NotPrincipal"), "identity": YES},
        "explicit-deny resource-based policy",
    ),
    # a resource that must allow even its own account (role trust)
    (
        "required, silent",
        BOB,
        {"resource": ResourceSide(ACCOUNT, required=True), "identity": YES},
        "implicit-deny resource-based policy",
    ),
    ("required, names the user", BOB, {"resource": side({"AWS": BOB.arn}, required=True)}, "allow"),
    (
        "required, delegates",
        BOB,
        {"resource": side({"AWS": ACCOUNT}, required=True)},
        "implicit-deny identity-based policy",
    ),
    (
        "required, delegates, allowed",
        BOB,
        {"resource": side({"AWS": ACCOUNT}, required=True), "identity": YES},
        "allow",
    ),
    (
        "required, root not named",
        root(ACCOUNT),
        {"resource": side({"AWS": BOB.arn}, required=True)},
        "implicit-deny resource-based policy",
    ),
    ("required, root named", root(ACCOUNT), {"resource": side({"AWS": ACCOUNT}, required=True)}, "allow"),
    # across accounts both sides must allow
    (
        "foreign, identity only",
        EVE,
        {"resource": ResourceSide(ACCOUNT), "identity": YES},
        "implicit-deny resource-based policy",
    ),
    ("foreign, resource only", EVE, {"resource": side({"AWS": EVE.arn})}, "implicit-deny identity-based policy"),
    ("foreign, both", EVE, {"resource": side({"AWS": EVE.arn}), "identity": YES}, "allow"),
    ("foreign, account and identity", EVE, {"resource": side({"AWS": OTHER}), "identity": YES}, "allow"),
    ("foreign, everybody and identity", EVE, {"resource": side("*"), "identity": YES}, "allow"),
    (
        "foreign, both, silent boundary",
        EVE,
        {"resource": side("*"), "identity": YES, "boundary": ELSE},
        "implicit-deny permissions boundary",
    ),
    (
        "foreign, wrong account named",
        EVE,
        {"resource": side({"AWS": ACCOUNT}), "identity": YES},
        "implicit-deny resource-based policy",
    ),
    ("foreign root, named", root(OTHER), {"resource": side({"AWS": OTHER})}, "allow"),
    (
        "foreign root, not named",
        root(OTHER),
        {"resource": ResourceSide(ACCOUNT)},
        "implicit-deny resource-based policy",
    ),
    ("foreign, identity denies", EVE, {"resource": side("*"), "identity": NO}, "explicit-deny identity-based policy"),
    # nobody, services, lists
    ("anonymous, no policy", ANONYMOUS, {"resource": ResourceSide(ACCOUNT)}, "implicit-deny resource-based policy"),
    ("anonymous, everybody", ANONYMOUS, {"resource": side("*")}, "allow"),
    ("anonymous, {AWS: *}", ANONYMOUS, {"resource": side({"AWS": "*"})}, "allow"),
    ("anonymous, account", ANONYMOUS, {"resource": side({"AWS": ACCOUNT})}, "implicit-deny resource-based policy"),
    ("anonymous, granted by a list", ANONYMOUS, {"resource": ResourceSide(ACCOUNT, granted=True)}, "allow"),
    (
        "anonymous, granted but denied",
        ANONYMOUS,
        {"resource": side("*", effect="Deny", granted=True)},
        "explicit-deny resource-based policy",
    ),
    ("service named", EC2, {"resource": side({"Service": "ec2.amazonaws.com"})}, "allow"),
    (
        "another service",
        EC2,
        {"resource": side({"Service": "s3.amazonaws.com"})},
        "implicit-deny resource-based policy",
    ),
    # federated users: identity of their maker, narrowed by the session's
    ("federated, both", FEDERATED, {"identity": YES, "session": YES}, "allow"),
    ("federated, no session policy", FEDERATED, {"identity": YES, "session": EMPTY}, "implicit-deny session policy"),
    ("federated, named", FEDERATED, {"resource": side({"AWS": FEDERATED.arn}), "session": EMPTY}, "allow"),
]


@pytest.mark.parametrize(("who", "given", "expected"), [row[1:] for row in MATRIX], ids=[row[0] for row in MATRIX])
def test_matrix(who: Principal, given: dict[str, Any], expected: str) -> None:
    decision = decide(who, **given)
    said = decision.reason.value if decision.where is None else f"{decision.reason.value} {decision.where.value}"
    assert said == expected
    assert decision.allowed is (expected == "allow")


def test_the_deciding_statement_is_told() -> None:
    both = PolicySet(
        [Policy("a", None, policy(allow("s3:*"))), Policy("b", "arn:b", policy(allow("ec2:*"), deny("s3:Get*")))]
    )
    decision = decide(BOB, both)
    assert decision.reason is Reason.EXPLICIT_DENY and decision.where is PolicyType.IDENTITY
    assert decision.cited is not None
    assert (decision.cited.policy.arn, decision.cited.statement.index) == ("arn:b", 1)


def test_a_role_is_named_with_its_path() -> None:
    without_path = side({"AWS": f"arn:aws:iam::{ACCOUNT}:role/r"})
    assert not decide(SESSION, resource=without_path).allowed
    assert SESSION.role_arn == f"arn:aws:iam::{ACCOUNT}:role/x/r"


def test_unique_ids_name_principals() -> None:
    assert decide(BOB, resource=side({"AWS": "AIDABOB"})).allowed
    assert decide(SESSION, resource=side({"AWS": "AROAR"})).allowed
