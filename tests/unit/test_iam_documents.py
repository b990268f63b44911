"""Malformed policies are refused in AWS's words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compat.iam.catalogue import catalogue
from compat.iam.policy.document import Document, Malformed, parse
from compat.iam.policy.validate import LEGACY, SYNTAX, identity_policy, resource_policy, size, trust_policy
from tests.unit.nimbus import allow, policy

GOOD: dict[str, Any] = {"Effect": "Allow", "Action": "s3:ListBucket", "Resource": "arn:aws:s3:::b"}
VENDOR = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, ec2, etc."


def changed(**members: Any) -> dict[str, Any]:
    """A good statement with members changed; None removes one."""
    return {name: value for name, value in (GOOD | members).items() if value is not None}


def refused(check: Any, text: str) -> str:
    with pytest.raises(Malformed) as caught:
        check(text)
    return str(caught.value)


IDENTITY: list[tuple[str, str]] = [
    ("", SYNTAX),
    ("[]", SYNTAX),
    ("{", SYNTAX),
    (policy(changed(Resource="arn:aws:s3::b")), LEGACY),
    (" " + policy(GOOD), LEGACY),
    ('{"Version":"2012-10-17","Version":"2012-10-17","Statement":[]}', SYNTAX),
    (json.dumps({"Version": "2012-10-17"}), SYNTAX),
    (json.dumps({"Version": "2012-10-17", "Statement": []}), SYNTAX),
    (json.dumps({"Version": "2012-10-17", "Statement": "all"}), SYNTAX),
    (json.dumps({"Version": "2012-10-17", "Statement": [GOOD], "More": 1}), SYNTAX),
    (json.dumps({"Version": "2020-10-17", "Statement": [GOOD]}), SYNTAX),
    (
        json.dumps({"Version": "2008-10-17", "Statement": [GOOD]}),
        "Policy document must be version 2012-10-17 or greater.",
    ),
    (json.dumps({"Statement": [GOOD]}), "Policy document must be version 2012-10-17 or greater."),
    (policy(changed(Effect="allow")), SYNTAX),
    (policy(changed(Effect=None)), SYNTAX),
    (policy(changed(More="x")), SYNTAX),
    (policy(changed(NotAction="s3:*")), SYNTAX),
    (policy(changed(NotResource="*")), SYNTAX),
    (policy(changed(Action=[])), SYNTAX),
    (policy(changed(Action={"a": 1})), SYNTAX),
    (policy(changed(Sid=5)), SYNTAX),
    (policy(changed(Condition=[])), SYNTAX),
    (policy(changed(Condition={"StringEquals": "x"})), SYNTAX),
    (policy(changed(Condition={"StringSame": {"aws:username": "x"}})), SYNTAX),
    (policy(changed(Condition={"StringEquals": {"aws:username": {}}})), SYNTAX),
    (policy(changed(Condition={"StringEquals": {"username": "x"}})), VENDOR),
    (policy(changed(Condition={"DateGreaterThan": {"aws:CurrentTime": "yesterday"}})), LEGACY),
    (policy(changed(Principal="*")), "Policy document should not specify a principal."),
    (policy(changed(Action=None)), "Policy statement must contain actions."),
    (policy(changed(Resource=None)), "Policy statement must contain resources."),
    (policy(changed(Action="ListBucket")), VENDOR),
    (policy(changed(Action="s3:List:Bucket")), "Actions/Condition can contain only one colon."),
    (policy(changed(Action="s3*:ListBucket")), "Vendor s3* is not valid"),
    (policy(changed(Resource="b")), 'Resource b must be in ARN format or "*".'),
    (policy(changed(Resource="arn:awz:s3:::b")), 'Partition "awz" is not valid for resource "arn:awz:s3:::b".'),
    (policy(changed(Resource="arn:aws")), "Resource vendor must be fully qualified and cannot contain regexes."),
    (
        policy(changed(Resource="arn:aws:iam:us-east-1:111111111111:user/bob")),
        "IAM resource arn:aws:iam:us-east-1:111111111111:user/bob cannot contain region information.",
    ),
    (
        policy(changed(Resource="arn:aws:s3:us-east-1:111111111111:b")),
        "Resource arn:aws:s3:us-east-1:111111111111:b can not contain region information.",
    ),
    (policy(changed(Sid="a"), changed(Sid="a")), "Statement IDs (SID) in a single policy must be unique."),
    (
        policy(changed(Sid="a b")),
        "Statement IDs (SID) must be alpha-numeric. "
        "Check that your input satisfies the regular expression [0-9A-Za-z]*",
    ),
]


@pytest.mark.parametrize(("text", "message"), IDENTITY)
def test_identity_policies(text: str, message: str) -> None:
    assert refused(identity_policy, text) == message


@pytest.mark.parametrize(
    "statement",
    [
        GOOD,
        changed(Resource="*"),
        changed(Resource=["arn:aws:iam::*:user/${aws:username}", "arn:aws:iam::111111111111:root"]),
        changed(Action="*"),
        changed(NotAction="iam:*", Action=None),
        changed(
            Condition={
                "ForAllValues:StringLikeIfExists": {"aws:TagKeys": ["a*"]},
                "Bool": {"aws:SecureTransport": True},
            }
        ),
        changed(Condition={"DateGreaterThan": {"aws:CurrentTime": "2026-01-01T00:00:00Z"}}),
        changed(Sid="A1"),
    ],
)
def test_good_policies(statement: dict[str, Any]) -> None:
    text = policy(statement)
    document = identity_policy(text)
    assert document == parse(text)
    assert isinstance(document, Document) and len(document.statements) == 1


def test_a_single_statement_needs_no_list() -> None:
    assert len(identity_policy(json.dumps({"Version": "2012-10-17", "Statement": GOOD})).statements) == 1


TRUST = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "This policy contains invalid Json"),
        ("{}", "Missing required field Statement"),
        (json.dumps({"Statement": []}), "Could not parse the policy: Statement is empty!"),
        (json.dumps({"Statement": [TRUST], "More": 1}), "Unknown field More"),
        (policy(TRUST | {"More": 1}), "Unknown field More"),
        (policy(TRUST | {"Resource": "*"}), "Has prohibited field Resource"),
        (policy({k: v for k, v in TRUST.items() if k != "Principal"}), "Missing required field Principal"),
        (policy({k: v for k, v in TRUST.items() if k != "Action"}), "Missing required field Action"),
        (policy(TRUST | {"Action": "s3:GetObject"}), "AssumeRole policy may only specify STS AssumeRole actions."),
        (policy(TRUST | {"Principal": {"Somebody": "x"}}), "Invalid principal in policy"),
        (policy(TRUST | {"Principal": {"AWS": [], "Service": []}}), "Invalid principal in policy"),
        (policy(TRUST | {"Principal": {"AWS": "*", "Somebody": []}}), "Invalid principal in policy"),
    ],
)
def test_trust_policies(text: str, message: str) -> None:
    assert refused(trust_policy, text) == message


def test_a_trust_policy_may_name_nobody_of_a_kind() -> None:
    (statement,) = trust_policy(policy(TRUST | {"Principal": {"AWS": "111122223333", "Service": []}})).statements
    assert statement.principals == (("AWS", "111122223333"),)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" {}", "Policies must be valid JSON and the first byte must be '{'"),
        ("{", "This policy contains invalid Json"),
        (policy(TRUST), "Missing required field Resource"),
        (policy(TRUST | {"Resource": "b"}), "Policy has invalid resource"),
        (policy(TRUST | {"Resource": "*", "Action": "Get"}), "Policy has invalid action"),
    ],
)
def test_resource_policies(text: str, message: str) -> None:
    assert refused(resource_policy, text) == message


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from(["Allow", "*", "s3:*", "arn:aws:s3:::b"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["Version", "Statement", "Effect", "Action", "Resource", "Principal", "Condition", "AWS", "aws:x"]
            )
            | st.text(max_size=3),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_whatever_comes_is_read_or_refused(value: object) -> None:
    for check in (identity_policy, trust_policy, resource_policy):
        try:
            check(json.dumps(value))
        except Malformed:
            continue


def test_deep_nesting_is_refused() -> None:
    assert refused(identity_policy, "[" * 100_000) == SYNTAX


def test_the_catalogue_is_in_order() -> None:
    names = catalogue()
    for reference, known in names.items():
        identity_policy(known.text)
        assert len(known.id) == 21 and known.id.startswith("ANPA")
        assert reference == known.path + known.name
    assert {"/AdministratorAccess", "/PowerUserAccess", "/ReadOnlyAccess", "/AmazonS3ReadOnlyAccess"} <= names.keys()
    assert len({known.id for known in names.values()}) == len(names)


def test_white_space_does_not_count() -> None:
    assert size(json.dumps(json.loads(policy(allow("s3:*"))), indent=8)) == size(policy(allow("s3:*")))
