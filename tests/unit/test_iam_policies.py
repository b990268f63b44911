"""Policies by IAM's operations, without a gateway: managed and inline ones, boundaries, tags, simulation."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

from tests.unit.nimbus import ACCOUNT, Nimbus, allow, deny, policy, refused

ADMIN = "arn:aws:iam::aws:policy/AdministratorAccess"


def test_managed_policies(nimbus: Nimbus) -> None:
    text = json.dumps(json.loads(policy(allow("s3:*"))), indent=4)
    made = nimbus.call("iam:CreatePolicy", PolicyName="p", Path="/x/", PolicyDocument=text, Description="d")["Policy"]
    arn = made["Arn"]
    assert arn == f"arn:aws:iam::{ACCOUNT}:policy/x/p" and re.fullmatch(r"ANPA[A-Z2-7]{17}", made["PolicyId"])
    version = nimbus.call("iam:GetPolicyVersion", PolicyArn=arn, VersionId="v1")["PolicyVersion"]
    assert unquote(version["Document"]) == text and version["IsDefaultVersion"]
    for number in range(2, 6):
        nimbus.call("iam:CreatePolicyVersion", PolicyArn=arn, PolicyDocument=text, SetAsDefault=number == 5)
    code, message = refused(nimbus, "iam:CreatePolicyVersion", PolicyArn=arn, PolicyDocument=text)
    assert code == "LimitExceeded" and message.startswith("A managed policy can have up to 5 versions.")
    versions = nimbus.call("iam:ListPolicyVersions", PolicyArn=arn)["Versions"]
    assert [one["VersionId"] for one in versions] == ["v5", "v4", "v3", "v2", "v1"]
    assert nimbus.call("iam:GetPolicy", PolicyArn=arn)["Policy"]["DefaultVersionId"] == "v5"
    assert refused(nimbus, "iam:DeletePolicyVersion", PolicyArn=arn, VersionId="v5") == (
        "DeleteConflict",
        "Cannot delete the default version of a policy.",
    )
    assert refused(nimbus, "iam:DeletePolicy", PolicyArn=arn)[0] == "DeleteConflict"
    nimbus.call("iam:SetDefaultPolicyVersion", PolicyArn=arn, VersionId="v1")
    for number in range(2, 6):
        nimbus.call("iam:DeletePolicyVersion", PolicyArn=arn, VersionId=f"v{number}")
    again = nimbus.call("iam:CreatePolicyVersion", PolicyArn=arn, PolicyDocument=text)["PolicyVersion"]
    assert again["VersionId"] == "v6" and not again["IsDefaultVersion"]
    nimbus.call("iam:DeletePolicyVersion", PolicyArn=arn, VersionId="v6")
    nimbus.call("iam:CreateGroup", GroupName="g")
    nimbus.call("iam:AttachGroupPolicy", GroupName="g", PolicyArn=arn)
    assert nimbus.call("iam:GetPolicy", PolicyArn=arn)["Policy"]["AttachmentCount"] == 1
    assert refused(nimbus, "iam:DeletePolicy", PolicyArn=arn) == (
        "DeleteConflict",
        "Cannot delete a policy attached to entities.",
    )
    nimbus.call("iam:DetachGroupPolicy", GroupName="g", PolicyArn=arn)
    assert refused(nimbus, "iam:DetachGroupPolicy", GroupName="g", PolicyArn=arn) == (
        "NoSuchEntity",
        f"Policy {arn} was not found.",
    )
    nimbus.call("iam:DeletePolicy", PolicyArn=arn)
    assert refused(nimbus, "iam:GetPolicy", PolicyArn=arn) == ("NoSuchEntity", f"Policy {arn} was not found.")
    assert refused(nimbus, "iam:AttachGroupPolicy", GroupName="g", PolicyArn=arn) == (
        "NoSuchEntity",
        f"Policy {arn} does not exist or is not attachable.",
    )
    assert refused(nimbus, "iam:GetPolicy", PolicyArn="x" * 20)[0] == "ValidationError"


def test_lists_of_policies(nimbus: Nimbus) -> None:
    nimbus.call("iam:CreatePolicy", PolicyName="mine", PolicyDocument=policy(allow("s3:*")))
    nimbus.call("iam:CreateUser", UserName="bob")
    nimbus.call("iam:AttachUserPolicy", UserName="bob", PolicyArn=ADMIN)

    def names(**params: Any) -> list[str]:
        found, marker = [], None
        while True:
            page = nimbus.call("iam:ListPolicies", **params, **({"Marker": marker} if marker else {}))
            found += [one["PolicyName"] for one in page["Policies"]]
            if not page["IsTruncated"]:
                return found
            marker = page["Marker"]

    assert names(Scope="Local") == ["mine"]
    assert "AdministratorAccess" in names(Scope="AWS") and "mine" not in names(Scope="AWS")
    assert names(MaxItems=7) == names() and len(set(names())) == len(names())
    assert names(OnlyAttached=True) == ["AdministratorAccess"]
    assert names(PolicyUsageFilter="PermissionsBoundary") == []
    assert "AWSLambdaBasicExecutionRole" in names(PathPrefix="/service-role/")
    entities = nimbus.call("iam:ListEntitiesForPolicy", PolicyArn=ADMIN)
    assert [one["UserName"] for one in entities["PolicyUsers"]] == ["bob"]
    assert entities["PolicyRoles"] == entities["PolicyGroups"] == []


def test_ten_attached_policies_are_the_most(nimbus: Nimbus) -> None:
    nimbus.call("iam:CreateUser", UserName="bob")
    for number in range(11):
        nimbus.call("iam:CreatePolicy", PolicyName=f"p{number}", PolicyDocument=policy(allow("s3:*")))
    for number in range(10):
        nimbus.call("iam:AttachUserPolicy", UserName="bob", PolicyArn=f"arn:aws:iam::{ACCOUNT}:policy/p{number}")
    nimbus.call("iam:AttachUserPolicy", UserName="bob", PolicyArn=f"arn:aws:iam::{ACCOUNT}:policy/p3")
    assert refused(nimbus, "iam:AttachUserPolicy", UserName="bob", PolicyArn=f"arn:aws:iam::{ACCOUNT}:policy/p10") == (
        "LimitExceeded",
        "Cannot exceed quota for PoliciesPerUser: 10",
    )


def test_inline_policies(nimbus: Nimbus) -> None:
    nimbus.call("iam:CreateUser", UserName="bob")
    text = policy(allow("s3:*"))
    nimbus.call("iam:PutUserPolicy", UserName="bob", PolicyName="p", PolicyDocument=text)
    got = nimbus.call("iam:GetUserPolicy", UserName="bob", PolicyName="p")
    assert got["UserName"] == "bob" and unquote(got["PolicyDocument"]) == text
    assert nimbus.call("iam:ListUserPolicies", UserName="bob")["PolicyNames"] == ["p"]
    assert refused(nimbus, "iam:GetUserPolicy", UserName="bob", PolicyName="q") == (
        "NoSuchEntity",
        "The user policy with name q cannot be found.",
    )
    assert refused(nimbus, "iam:PutUserPolicy", UserName="bob", PolicyName="q", PolicyDocument="{}")[0] == (
        "MalformedPolicyDocument"
    )
    long = policy(allow("s3:*", on=[f"arn:aws:s3:::{'b' * 60}{number}" for number in range(25)]))
    assert refused(nimbus, "iam:PutUserPolicy", UserName="bob", PolicyName="q", PolicyDocument=long) == (
        "LimitExceeded",
        "Maximum policy size of 2048 bytes exceeded for user bob",
    )
    nimbus.call("iam:DeleteUserPolicy", UserName="bob", PolicyName="p")
    assert refused(nimbus, "iam:DeleteUserPolicy", UserName="bob", PolicyName="p")[0] == "NoSuchEntity"


def test_tags_decide(nimbus: Nimbus) -> None:
    key = nimbus.user(
        "boss", policy(allow("iam:DeleteUser", StringEquals={"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}))
    )
    nimbus.call("iam:TagUser", UserName="boss", Tags=[{"Key": "team", "Value": "red"}])
    nimbus.call("iam:CreateUser", UserName="red", Tags=[{"Key": "Team", "Value": "red"}])
    nimbus.call("iam:CreateUser", UserName="blue", Tags=[{"Key": "Team", "Value": "blue"}])
    assert refused(nimbus, "iam:DeleteUser", by=key, UserName="blue")[0] == "AccessDenied"
    nimbus.call("iam:DeleteUser", by=key, UserName="red")


def test_boundaries(nimbus: Nimbus) -> None:
    nimbus.call("iam:CreateUser", UserName="bob", PermissionsBoundary=ADMIN)
    got = nimbus.call("iam:GetUser", UserName="bob")["User"]
    assert got["PermissionsBoundary"] == {"PermissionsBoundaryType": "Policy", "PermissionsBoundaryArn": ADMIN}
    assert nimbus.call("iam:GetPolicy", PolicyArn=ADMIN)["Policy"]["PermissionsBoundaryUsageCount"] == 1
    nimbus.call("iam:DeleteUserPermissionsBoundary", UserName="bob")
    assert "PermissionsBoundary" not in nimbus.call("iam:GetUser", UserName="bob")["User"]
    assert refused(nimbus, "iam:DeleteUserPermissionsBoundary", UserName="bob")[0] == "NoSuchEntity"
    missing = f"arn:aws:iam::{ACCOUNT}:policy/missing"
    assert refused(nimbus, "iam:CreateUser", UserName="eve", PermissionsBoundary=missing)[0] == "NoSuchEntity"


def test_simulation(nimbus: Nimbus) -> None:
    nimbus.user(
        "bob", policy(allow("s3:Get*", on="arn:aws:s3:::b/*"), deny("s3:*", Bool={"aws:SecureTransport": "false"}))
    )
    arn = f"arn:aws:iam::{ACCOUNT}:user/bob"
    results = nimbus.call(
        "iam:SimulatePrincipalPolicy",
        PolicySourceArn=arn,
        ActionNames=["s3:GetObject", "s3:PutObject"],
        ResourceArns=["arn:aws:s3:::b/k"],
    )["EvaluationResults"]
    assert [one["EvalDecision"] for one in results] == ["allowed", "implicitDeny"]
    assert results[0]["MissingContextValues"] == ["aws:SecureTransport"]
    denied = nimbus.call(
        "iam:SimulatePrincipalPolicy",
        PolicySourceArn=arn,
        ActionNames=["s3:GetObject"],
        ContextEntries=[
            {"ContextKeyName": "aws:SecureTransport", "ContextKeyValues": ["false"], "ContextKeyType": "boolean"}
        ],
    )["EvaluationResults"][0]
    assert denied["EvalDecision"] == "explicitDeny"
    text = '{"Version": "2012-10-17",\n "Statement": [\n  {"Effect":"Allow","Action":"s3:*","Resource":"*"}\n]}'
    custom = nimbus.call("iam:SimulateCustomPolicy", PolicyInputList=[text], ActionNames=["s3:GetObject"])
    matched = custom["EvaluationResults"][0]["MatchedStatements"][0]
    assert matched["StartPosition"] == {"Line": 3, "Column": 4}
    assert matched["EndPosition"] == {"Line": 3, "Column": 3 + len('{"Effect":"Allow","Action":"s3:*","Resource":"*"}')}
    keys = nimbus.call("iam:GetContextKeysForPrincipalPolicy", PolicySourceArn=arn)["ContextKeyNames"]
    assert keys == ["aws:SecureTransport"]
