"""The policy language: patterns, condition operators, documents as a whole, against tables and a naive evaluator."""

from __future__ import annotations

import fnmatch
import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compat.iam.policy.compiled import EMPTY, Policy, PolicySet
from compat.iam.policy.conditions import OPERATORS, compile_clause, known_operator
from compat.iam.policy.evaluate import Decision, Holdings, Reason, evaluate
from compat.iam.policy.patterns import arn_matcher, text_matcher
from compat.iam.policy.request import AccessRequest, ContextValue
from compat.iam.principal import Principal, PrincipalKind

BOB = Principal("111111111111", "arn:aws:iam::111111111111:user/bob", PrincipalKind.USER, "AIDABOB", user_name="bob")


def ask(action: str = "s3:GetObject", resource: str = "*", **context: ContextValue) -> AccessRequest:
    """A question by bob; context keys are given with `__` for the colon."""
    values = {key.replace("__", ":"): value for key, value in context.items()}
    return AccessRequest(BOB, action, resource, lambda key: values.get(key))


def policy_set(*statements: dict[str, Any], version: str = "2012-10-17") -> PolicySet:
    return PolicySet([Policy("test", None, json.dumps({"Version": version, "Statement": list(statements)}))])


def decide(statements: list[dict[str, Any]], request: AccessRequest) -> Decision:
    return evaluate(request, Holdings(policy_set(*statements)))


@pytest.mark.parametrize(
    ("pattern", "arn", "expected"),
    [
        ("*", "arn:aws:s3:::b/k", True),
        ("*", "*", True),
        ("arn:aws:s3:::b/*", "arn:aws:s3:::b/a/b:c", True),
        ("arn:aws:s3:::b/*", "arn:aws:s3:::b", False),
        ("arn:aws:s3:::b", "arn:aws:s3:::B", False),
        ("arn:aws:s3:::*", "arn:aws:s3:::*", True),
        ("arn:aws:ec2:*:111111111111:instance/*", "arn:aws:ec2:eu-west-1:111111111111:instance/i-1", True),
        ("arn:aws:ec2:*:instance/*", "arn:aws:ec2:eu-west-1:111111111111:instance/i-1", False),
        ("arn:aws:ec2:*", "arn:aws:ec2:eu-west-1:111111111111:instance/i-1", True),
        ("arn:aws:*:*:111111111111:instance/?-1", "arn:aws:ec2:eu-west-1:111111111111:instance/i-1", True),
        ("arn:*:s3:::b", "arn:aws:x:s3:::b", False),
        ("arn:aws:ec2:*:*:instance/*", "*", False),
        ("arn:aws:s3:::b/${aws:username}/*", "arn:aws:s3:::b/bob/x", True),
        ("arn:aws:s3:::b/${aws:username}/*", "arn:aws:s3:::b/eve/x", False),
        ("arn:aws:s3:::b/${aws:nothing}/*", "arn:aws:s3:::b/", False),
        ("arn:aws:s3:::b/${aws:nothing, 'public'}/*", "arn:aws:s3:::b/public/x", True),
        ("arn:aws:s3:::b/${*}", "arn:aws:s3:::b/*", True),
        ("arn:aws:s3:::b/${*}", "arn:aws:s3:::b/x", False),
        ("arn:aws:s3:::b/${$}{x}", "arn:aws:s3:::b/${x}", True),
    ],
)
def test_resource_patterns(pattern: str, arn: str, expected: bool) -> None:
    assert arn_matcher(pattern, variables=True)(arn, ask(aws__username="bob")) is expected


def test_a_variable_adds_no_wildcard() -> None:
    matcher = arn_matcher("arn:aws:s3:::b/${aws:username}/*", variables=True)
    assert not matcher("arn:aws:s3:::b/bob/x", ask(aws__username="*"))
    assert matcher("arn:aws:s3:::b/*/x", ask(aws__username="*"))


def test_variables_mean_nothing_in_the_old_version() -> None:
    matcher = arn_matcher("arn:aws:s3:::b/${aws:username}", variables=False)
    assert matcher("arn:aws:s3:::b/${aws:username}", ask(aws__username="bob"))
    assert not matcher("arn:aws:s3:::b/bob", ask(aws__username="bob"))


TEXT = st.text(alphabet="ab*?:/", max_size=8)


@given(pattern=TEXT, text=TEXT)
def test_text_patterns_agree_with_fnmatch(pattern: str, text: str) -> None:
    naive = re.compile(fnmatch.translate(pattern)).match(text) is not None
    assert text_matcher(pattern, wild=True, variables=True)(text, ask()) is naive


SEGMENT = st.text(alphabet="ab*?", max_size=4)


@given(pattern=st.lists(SEGMENT, min_size=6, max_size=6), arn=st.lists(SEGMENT, min_size=6, max_size=6))
def test_arn_patterns_match_part_by_part(pattern: list[str], arn: list[str]) -> None:
    naive = all(re.compile(fnmatch.translate(p)).match(a) for p, a in zip(pattern, arn, strict=True))
    assert arn_matcher(":".join(pattern), variables=False)(":".join(arn), ask()) is naive


CASES: list[tuple[str, Any, ContextValue, bool]] = [
    ("StringEquals", "a", "a", True),
    ("StringEquals", "a", "A", False),
    ("StringEquals", "a*", "ab", False),
    ("StringEquals", "${*}", "*", True),
    ("StringEquals", ["a", "b"], "b", True),
    ("StringEquals", "a", None, False),
    ("StringEquals", "${aws:username}", "bob", True),
    ("StringEquals", "${aws:absent}", "bob", False),
    ("StringNotEquals", "${aws:absent}", "bob", True),
    ("StringNotEquals", ["a", "b"], "c", True),
    ("StringNotEquals", ["a", "b"], "b", False),
    ("StringNotEquals", "a", None, True),
    ("StringEqualsIgnoreCase", "AbC", "aBc", True),
    ("StringNotEqualsIgnoreCase", "AbC", "aBc", False),
    ("StringLike", "a?c*", "abcdef", True),
    ("StringLike", "a?c*", "acdef", False),
    ("StringLike", "${aws:username}/*", "bob/x", True),
    ("StringNotLike", "a*", "b", True),
    ("StringNotLike", "a*", None, True),
    ("stringlike", "a*", "ab", True),
    ("StringEqualsIfExists", "a", None, True),
    ("StringEqualsIfExists", "a", "b", False),
    ("NumericEquals", "10", "10.0", True),
    ("NumericNotEquals", "10", "11", True),
    ("NumericLessThan", "10", "9", True),
    ("NumericLessThan", "10", "10", False),
    ("NumericLessThanEquals", "10", "10", True),
    ("NumericGreaterThan", "10", "9", False),
    ("NumericGreaterThanEquals", ["10", "5"], "6", True),
    ("NumericLessThan", "10", "many", False),
    ("NumericLessThan", "10", None, False),
    ("NumericLessThanIfExists", "10", None, True),
    ("DateEquals", "2026-01-01T00:00:00Z", "1767225600", True),
    ("DateLessThan", "2026-01-02T00:00:00Z", "2026-01-01T23:59:59Z", True),
    ("DateLessThan", "2026-01-01", "2026-01-01T00:00:01Z", False),
    ("DateGreaterThan", "2026-01-01T00:00:00+01:00", "2026-01-01T00:00:00Z", True),
    ("DateGreaterThanEquals", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", True),
    ("DateLessThanEquals", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z", True),
    ("DateNotEquals", "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", True),
    ("DateLessThan", "whenever", "2026-01-01T00:00:00Z", False),
    ("Bool", "true", "true", True),
    ("Bool", True, "true", True),
    ("Bool", "True", "true", True),
    ("Bool", "true", "false", False),
    ("Bool", "false", None, False),
    ("BoolIfExists", "true", None, True),
    ("BinaryEquals", "QmluYXJ5VmFsdWU=", "QmluYXJ5VmFsdWU=", True),
    ("BinaryEquals", "QmluYXJ5VmFsdWU=", "QmluYXJ5", False),
    ("IpAddress", "203.0.113.0/24", "203.0.113.9", True),
    ("IpAddress", ["10.0.0.0/8", "2001:db8::/32"], "2001:db8::1", True),
    ("IpAddress", "203.0.113.7", "203.0.113.8", False),
    ("IpAddress", "203.0.113.0/24", "::ffff:203.0.113.9", True),
    ("NotIpAddress", "203.0.113.0/24", "198.51.100.1", True),
    ("NotIpAddress", "203.0.113.0/24", None, True),
    ("ArnEquals", "arn:aws:sns:*:111111111111:t", "arn:aws:sns:us-east-1:111111111111:t", True),
    ("ArnLike", "arn:aws:sns:*:t", "arn:aws:sns:us-east-1:111111111111:t", False),
    ("ArnNotLike", "arn:aws:iam::*:role/a", "arn:aws:iam::111111111111:role/b", True),
    ("ArnNotEquals", "arn:aws:iam::1:role/a", "arn:aws:iam::1:role/a", False),
    ("Null", "true", None, True),
    ("Null", "true", "x", False),
    ("Null", "false", "x", True),
    ("Null", "false", (), False),
    ("ForAnyValue:StringEquals", ["a", "b"], ("b", "c"), True),
    ("ForAnyValue:StringEquals", ["a", "b"], ("c",), False),
    ("ForAnyValue:StringEquals", ["a"], None, False),
    ("ForAnyValue:StringNotEquals", ["a"], ("a", "b"), True),
    ("ForAnyValue:StringNotEquals", ["a"], ("a",), False),
    ("ForAnyValue:StringLike", ["a*"], "abc", True),
    ("ForAllValues:StringEquals", ["a", "b"], ("a", "b"), True),
    ("ForAllValues:StringEquals", ["a", "b"], ("a", "c"), False),
    ("ForAllValues:StringEquals", ["a"], None, True),
    ("ForAllValues:StringEquals", ["a"], (), True),
    ("ForAllValues:StringNotLike", ["x*"], ("a", "b"), True),
    ("ForAllValues:StringNotLike", ["x*"], ("a", "xb"), False),
    ("StringEquals", ["a"], ("a", "b"), True),
    ("StringNotEquals", ["a"], ("a", "b"), False),
]


@pytest.mark.parametrize(("operator", "values", "value", "expected"), CASES)
def test_condition_operators(operator: str, values: Any, value: ContextValue, expected: bool) -> None:
    statement = {"Effect": "Allow", "Action": "*", "Resource": "*", "Condition": {operator: {"Test:Key": values}}}
    request = ask(test__key=value, aws__username="bob")
    assert decide([statement], request).allowed is expected


def test_every_operator_has_a_case() -> None:
    tried = {re.sub("ifexists$", "", operator.lower().rpartition(":")[2]) for operator, *_ in CASES}
    assert tried >= OPERATORS.keys() | {"null"}


@pytest.mark.parametrize("name", ["StringEqualsX", "ForSomeValues:StringEquals", "NullIfExists", "", "IfExists"])
def test_unknown_operators(name: str) -> None:
    assert not known_operator(name)


@given(
    operator=st.sampled_from(sorted(OPERATORS)),
    values=st.lists(st.text(max_size=8), min_size=1, max_size=3),
    value=st.none() | st.text(max_size=8) | st.lists(st.text(max_size=5), max_size=3).map(tuple),
)
def test_operators_never_raise_and_negate(operator: str, values: list[str], value: ContextValue) -> None:
    request = ask(test__key=value)
    outcome = compile_clause(operator, "test:key", values, variables=True)(request)
    positive = operator.replace("not", "", 1)
    if positive != operator and positive in OPERATORS:
        assert outcome is not compile_clause(positive, "test:key", values, variables=True)(request)


# --- whole policies against a naive evaluator -------------------------------------------------------------------------

ACTIONS = ["s3:GetObject", "s3:PutObject", "ec2:RunInstances"]
ACTION_PATTERNS = ["*", "s3:*", "S3:get*", "s3:GetObject", "ec2:RunInstance?", "ec2:Describe*"]
RESOURCES = ["arn:aws:s3:::b/k", "arn:aws:s3:::b/bob/k", "arn:aws:s3:::c", "*"]
RESOURCE_PATTERNS = ["*", "arn:aws:s3:::b/*", "arn:aws:s3:::c", "arn:aws:s3:::b/${aws:username}/*", "arn:aws:ec2:*:*:x"]

statements = st.lists(
    st.fixed_dictionaries(
        {"Effect": st.sampled_from(["Allow", "Deny"])},
    ).flatmap(
        lambda base: st.tuples(
            st.sampled_from(["Action", "NotAction"]),
            st.lists(st.sampled_from(ACTION_PATTERNS), min_size=1, max_size=2),
            st.sampled_from(["Resource", "NotResource"]),
            st.lists(st.sampled_from(RESOURCE_PATTERNS), min_size=1, max_size=2),
            st.none() | st.tuples(st.sampled_from(["StringEquals", "StringNotEquals"]), st.sampled_from(["x", "y"])),
        ).map(
            lambda t: {
                **base,
                t[0]: t[1],
                t[2]: t[3],
                **({"Condition": {t[4][0]: {"test:key": t[4][1]}}} if t[4] else {}),
            }
        )
    ),
    max_size=5,
)


def naive(policy: list[dict[str, Any]], action: str, resource: str, value: str | None) -> str:
    def matches(one: dict[str, Any]) -> bool:
        wanted = one.get("Action") or one["NotAction"]
        hit = any(fnmatch.fnmatchcase(action.lower(), pattern.lower()) for pattern in wanted)
        if hit != ("Action" in one):
            return False
        named = [p.replace("${aws:username}", "bob") for p in one.get("Resource") or one["NotResource"]]
        if any(fnmatch.fnmatchcase(resource, pattern) for pattern in named) != ("Resource" in one):
            return False
        for operator, block in one.get("Condition", {}).items():
            if (value == block["test:key"]) != (operator == "StringEquals"):
                return False
        return True

    effects = [one["Effect"] for one in policy if matches(one)]
    return "explicit-deny" if "Deny" in effects else "allow" if effects else "implicit-deny"


@given(
    policy=statements,
    action=st.sampled_from(ACTIONS),
    resource=st.sampled_from(RESOURCES),
    value=st.sampled_from([None, "x", "y"]),
)
def test_policies_agree_with_a_naive_evaluator(
    policy: list[dict[str, Any]], action: str, resource: str, value: str | None
) -> None:
    decision = decide(policy, ask(action, resource, test__key=value, aws__username="bob"))
    assert decision.reason.value == naive(policy, action, resource, value)
    if decision.reason is not Reason.IMPLICIT_DENY:
        assert decision.cited is not None
        assert decision.cited.statement.allow is decision.allowed
        assert naive([policy[decision.cited.statement.index]], action, resource, value) == decision.reason.value


def test_no_policy_allows_nothing() -> None:
    assert evaluate(ask(), Holdings(EMPTY)).reason is Reason.IMPLICIT_DENY
