"""IAM's operations without a gateway: what they keep, what they refuse, and with which words."""

from __future__ import annotations

import base64
import json
import re
from typing import Any
from urllib.parse import unquote

import pytest

from compat.iam.names import account_in, new_access_key
from tests.unit.nimbus import ACCOUNT, OTHER, Nimbus, allow, policy, refused, trust

ADMIN = "arn:aws:iam::aws:policy/AdministratorAccess"


def test_users(nimbus: Nimbus) -> None:
    made = nimbus.call("iam:CreateUser", UserName="Bob", Path="/dev/", Tags=[{"Key": "a", "Value": "1"}])["User"]
    assert re.fullmatch(r"AIDA[A-Z2-7]{17}", made["UserId"])
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/dev/Bob"
    assert made["Tags"] == [{"Key": "a", "Value": "1"}]
    assert made["CreateDate"].microsecond == 0
    assert nimbus.call("iam:GetUser", UserName="Bob")["User"] == made
    assert refused(nimbus, "iam:CreateUser", UserName="bOB") == (
        "EntityAlreadyExists",
        "User with name bOB already exists.",
    )
    assert refused(nimbus, "iam:GetUser", UserName="eve") == (
        "NoSuchEntity",
        "The user with name eve cannot be found.",
    )
    nimbus.call("iam:UpdateUser", UserName="Bob", NewUserName="Rob", NewPath="/ops/")
    assert nimbus.call("iam:GetUser", UserName="Rob")["User"]["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/ops/Rob"
    assert [user["UserName"] for user in nimbus.call("iam:ListUsers", PathPrefix="/ops/")["Users"]] == ["Rob"]
    assert nimbus.call("iam:ListUsers", PathPrefix="/dev/")["Users"] == []
    assert nimbus.call("iam:ListUsers", by=OTHER)["Users"] == []
    nimbus.call("iam:DeleteUser", UserName="Rob")
    assert refused(nimbus, "iam:DeleteUser", UserName="Rob")[0] == "NoSuchEntity"


def test_root_has_no_name(nimbus: Nimbus) -> None:
    root = nimbus.call("iam:GetUser")["User"]
    assert (root["Arn"], root["UserId"]) == (f"arn:aws:iam::{ACCOUNT}:root", ACCOUNT)
    assert "UserName" not in root


def test_a_user_with_anything_left_stays(nimbus: Nimbus) -> None:
    key = nimbus.user("bob", policy(allow("s3:*")))
    nimbus.call("iam:CreateGroup", GroupName="g")
    nimbus.call("iam:AddUserToGroup", GroupName="g", UserName="bob")
    nimbus.call("iam:AttachUserPolicy", UserName="bob", PolicyArn=ADMIN)
    nimbus.call("iam:CreateLoginProfile", UserName="bob", Password="Correct-horse-1")
    said = []
    for undo in (
        ("iam:DeleteAccessKey", {"UserName": "bob", "AccessKeyId": key}),
        ("iam:DeleteLoginProfile", {"UserName": "bob"}),
        ("iam:DeleteUserPolicy", {"UserName": "bob", "PolicyName": "p0"}),
        ("iam:DetachUserPolicy", {"UserName": "bob", "PolicyArn": ADMIN}),
        ("iam:RemoveUserFromGroup", {"UserName": "bob", "GroupName": "g"}),
    ):
        code, message = refused(nimbus, "iam:DeleteUser", UserName="bob")
        assert code == "DeleteConflict"
        said.append(message)
        nimbus.call(undo[0], **undo[1])
    assert said == [
        "Cannot delete entity, must delete access keys first.",
        "Cannot delete entity, must delete login profile first.",
        "Cannot delete entity, must delete policies first.",
        "Cannot delete entity, must detach all policies first.",
        "Cannot delete entity, must remove users from group first.",
    ]
    nimbus.call("iam:DeleteUser", UserName="bob")


def test_pages(nimbus: Nimbus) -> None:
    names = [f"user{number:02}" for number in range(7)]
    for name in reversed(names):
        nimbus.call("iam:CreateUser", UserName=name)
    first = nimbus.call("iam:ListUsers", MaxItems=3)
    assert first["IsTruncated"] and [user["UserName"] for user in first["Users"]] == names[:3]
    nimbus.call("iam:DeleteUser", UserName=names[2])
    second = nimbus.call("iam:ListUsers", MaxItems=3, Marker=first["Marker"])
    assert [user["UserName"] for user in second["Users"]] == names[3:6]
    third = nimbus.call("iam:ListUsers", MaxItems=3, Marker=second["Marker"])
    assert [user["UserName"] for user in third["Users"]] == names[6:]
    assert not third["IsTruncated"] and "Marker" not in third
    assert refused(nimbus, "iam:ListUsers", Marker="!") == ("ValidationError", "Invalid Marker.")


def test_groups(nimbus: Nimbus) -> None:
    made = nimbus.call("iam:CreateGroup", GroupName="g")["Group"]
    assert re.fullmatch(r"AGPA[A-Z2-7]{17}", made["GroupId"])
    for name in ("bob", "alice"):
        nimbus.call("iam:CreateUser", UserName=name)
        nimbus.call("iam:AddUserToGroup", GroupName="g", UserName=name)
        nimbus.call("iam:AddUserToGroup", GroupName="g", UserName=name)
    got = nimbus.call("iam:GetGroup", GroupName="g")
    assert got["Group"] == made
    assert [user["UserName"] for user in got["Users"]] == ["alice", "bob"]
    assert [group["GroupName"] for group in nimbus.call("iam:ListGroupsForUser", UserName="bob")["Groups"]] == ["g"]
    assert refused(nimbus, "iam:DeleteGroup", GroupName="g")[0] == "DeleteConflict"
    for name in ("bob", "alice"):
        nimbus.call("iam:RemoveUserFromGroup", GroupName="g", UserName=name)
    assert refused(nimbus, "iam:RemoveUserFromGroup", GroupName="g", UserName="bob")[0] == "NoSuchEntity"
    nimbus.call("iam:DeleteGroup", GroupName="g")
    for number in range(11):
        nimbus.call("iam:CreateGroup", GroupName=f"g{number}")
    for number in range(10):
        nimbus.call("iam:AddUserToGroup", GroupName=f"g{number}", UserName="bob")
    assert refused(nimbus, "iam:AddUserToGroup", GroupName="g10", UserName="bob") == (
        "LimitExceeded",
        "Cannot exceed quota for GroupsPerUser: 10",
    )


def test_roles(nimbus: Nimbus) -> None:
    text = '{"Version": "2012-10-17",\n  "Statement": [' + json.dumps(json.loads(trust(ACCOUNT))["Statement"][0]) + "]}"
    made = nimbus.call("iam:CreateRole", RoleName="r", Path="/x/", AssumeRolePolicyDocument=text, Description="d~")[
        "Role"
    ]
    assert re.fullmatch(r"AROA[A-Z2-7]{17}", made["RoleId"])
    assert unquote(made["AssumeRolePolicyDocument"]) == text
    assert "+" not in made["AssumeRolePolicyDocument"] and "%20" in made["AssumeRolePolicyDocument"]
    got = nimbus.call("iam:GetRole", RoleName="r")["Role"]
    assert got["RoleLastUsed"] == {} and got["MaxSessionDuration"] == 3600 and got["Description"] == "d~"
    nimbus.call("iam:UpdateRole", RoleName="r", MaxSessionDuration=7200, Description="")
    got = nimbus.call("iam:GetRole", RoleName="r")["Role"]
    assert got["MaxSessionDuration"] == 7200 and got["Description"] == ""
    nimbus.call("iam:UpdateAssumeRolePolicy", RoleName="r", PolicyDocument=trust("*"))
    assert unquote(nimbus.call("iam:GetRole", RoleName="r")["Role"]["AssumeRolePolicyDocument"]) == trust("*")
    assert (
        refused(nimbus, "iam:UpdateAssumeRolePolicy", RoleName="r", PolicyDocument="x")[0] == "MalformedPolicyDocument"
    )
    nobody = f"arn:aws:iam::{ACCOUNT}:user/nobody"
    assert refused(nimbus, "iam:CreateRole", RoleName="s", AssumeRolePolicyDocument=trust(nobody)) == (
        "MalformedPolicyDocument",
        f'Invalid principal in policy: "AWS":"{nobody}"',
    )
    long = trust(ACCOUNT, StringEquals={"aws:PrincipalTag/x": ["y" * 100] * 20})
    assert refused(nimbus, "iam:CreateRole", RoleName="s", AssumeRolePolicyDocument=long) == (
        "LimitExceeded",
        "Cannot exceed quota for ACLSizePerRole: 2048",
    )
    nimbus.call("iam:DeleteRole", RoleName="r")
    assert refused(nimbus, "iam:GetRole", RoleName="r")[1] == "The role with name r cannot be found."


@pytest.mark.parametrize(
    "principal",
    [
        {"Service": "ec2.amazonaws.com"},
        {"Service": ["lambda.amazonaws.com", "eks.amazonaws.com"]},
        {"AWS": "*"},
        {"AWS": OTHER},
        {"AWS": f"arn:aws:iam::{OTHER}:root"},
        {"AWS": f"arn:aws:sts::{OTHER}:assumed-role/r/s"},
        {"Federated": "cognito-identity.amazonaws.com"},
        {"Federated": f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"},
        "*",
    ],
)
def test_trust_in_many(nimbus: Nimbus, principal: Any) -> None:
    text = policy({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"})
    assert nimbus.call("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=text)["Role"]["RoleName"] == "r"


def test_access_keys(nimbus: Nimbus) -> None:
    nimbus.call("iam:CreateUser", UserName="bob")
    made = nimbus.call("iam:CreateAccessKey", UserName="bob")["AccessKey"]
    assert re.fullmatch(r"AKIA[A-Z2-7]{16}", made["AccessKeyId"]) and len(made["SecretAccessKey"]) == 40
    assert nimbus.call("sts:GetAccessKeyInfo", AccessKeyId=made["AccessKeyId"])["Account"] == ACCOUNT
    nimbus.call("iam:CreateAccessKey", UserName="bob")
    assert refused(nimbus, "iam:CreateAccessKey", UserName="bob") == (
        "LimitExceeded",
        "Cannot exceed quota for AccessKeysPerUser: 2",
    )
    listed = nimbus.call("iam:ListAccessKeys", UserName="bob")["AccessKeyMetadata"]
    assert len(listed) == 2 and all("SecretAccessKey" not in one for one in listed)
    assert (
        refused(nimbus, "iam:DeleteAccessKey", UserName="bob", AccessKeyId="AKIAAAAAAAAAAAAAAAAA")[0] == "NoSuchEntity"
    )
    nimbus.call("iam:CreateUser", by=OTHER, UserName="bob")
    assert refused(nimbus, "iam:DeleteAccessKey", by=OTHER, UserName="bob", AccessKeyId=made["AccessKeyId"])[0] == (
        "NoSuchEntity"
    )
    own = nimbus.call("iam:CreateAccessKey")["AccessKey"]["AccessKeyId"]
    assert nimbus.call("sts:GetCallerIdentity", by=own)["Arn"] == f"arn:aws:iam::{ACCOUNT}:root"


def test_a_user_tends_its_own_keys(nimbus: Nimbus) -> None:
    own = "arn:aws:iam::*:user/${aws:username}"
    key = nimbus.user("bob", policy(allow("iam:*AccessKey*", on=own)))
    nimbus.call("iam:CreateUser", UserName="eve")
    listed = nimbus.call("iam:ListAccessKeys", by=key)
    assert listed["UserName"] == "bob" and [one["AccessKeyId"] for one in listed["AccessKeyMetadata"]] == [key]
    assert refused(nimbus, "iam:ListAccessKeys", by=key, UserName="eve")[0] == "AccessDenied"
    assert nimbus.call("iam:CreateAccessKey", by=key)["AccessKey"]["UserName"] == "bob"


def test_instance_profiles(nimbus: Nimbus) -> None:
    nimbus.call("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=trust(ACCOUNT))
    made = nimbus.call("iam:CreateInstanceProfile", InstanceProfileName="p")["InstanceProfile"]
    assert made["Roles"] == [] and re.fullmatch(r"AIPA[A-Z2-7]{17}", made["InstanceProfileId"])
    nimbus.call("iam:AddRoleToInstanceProfile", InstanceProfileName="p", RoleName="r")
    assert refused(nimbus, "iam:AddRoleToInstanceProfile", InstanceProfileName="p", RoleName="r") == (
        "LimitExceeded",
        "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1",
    )
    got = nimbus.call("iam:GetInstanceProfile", InstanceProfileName="p")["InstanceProfile"]
    assert [role["RoleName"] for role in got["Roles"]] == ["r"]
    for_role = nimbus.call("iam:ListInstanceProfilesForRole", RoleName="r")["InstanceProfiles"]
    assert [one["InstanceProfileName"] for one in for_role] == ["p"]
    assert refused(nimbus, "iam:DeleteRole", RoleName="r")[0] == "DeleteConflict"
    assert refused(nimbus, "iam:DeleteInstanceProfile", InstanceProfileName="p")[0] == "DeleteConflict"
    nimbus.call("iam:RemoveRoleFromInstanceProfile", InstanceProfileName="p", RoleName="r")
    assert (
        refused(nimbus, "iam:RemoveRoleFromInstanceProfile", InstanceProfileName="p", RoleName="r")[0] == "NoSuchEntity"
    )
    nimbus.call("iam:DeleteInstanceProfile", InstanceProfileName="p")
    nimbus.call("iam:DeleteRole", RoleName="r")


def test_tags(nimbus: Nimbus) -> None:
    nimbus.call("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=trust(ACCOUNT))
    nimbus.call("iam:TagRole", RoleName="r", Tags=[{"Key": "Dept", "Value": "1"}, {"Key": "b", "Value": ""}])
    nimbus.call("iam:TagRole", RoleName="r", Tags=[{"Key": "dept", "Value": "2"}])
    assert nimbus.call("iam:ListRoleTags", RoleName="r")["Tags"] == [
        {"Key": "b", "Value": ""},
        {"Key": "dept", "Value": "2"},
    ]
    nimbus.call("iam:UntagRole", RoleName="r", TagKeys=["b", "nothing"])
    assert nimbus.call("iam:GetRole", RoleName="r")["Role"]["Tags"] == [{"Key": "dept", "Value": "2"}]
    twice = [{"Key": "a", "Value": "1"}, {"Key": "A", "Value": "2"}]
    assert refused(nimbus, "iam:TagRole", RoleName="r", Tags=twice) == (
        "InvalidInput",
        "Duplicate tag keys found. Please note that Tag keys are case insensitive.",
    )
    many = [{"Key": f"k{number}", "Value": ""} for number in range(50)]
    assert refused(nimbus, "iam:TagRole", RoleName="r", Tags=many)[0] == "LimitExceeded"
    assert refused(nimbus, "iam:TagRole", RoleName="r", Tags=[{"Key": "aws:x", "Value": ""}])[0] == "InvalidInput"


def test_the_account(nimbus: Nimbus) -> None:
    assert nimbus.call("iam:ListAccountAliases")["AccountAliases"] == []
    nimbus.call("iam:CreateAccountAlias", AccountAlias="nephele")
    assert nimbus.call("iam:ListAccountAliases")["AccountAliases"] == ["nephele"]
    assert refused(nimbus, "iam:CreateAccountAlias", by=OTHER, AccountAlias="nephele")[0] == "EntityAlreadyExists"
    nimbus.call("iam:DeleteAccountAlias", AccountAlias="nephele")
    assert refused(nimbus, "iam:DeleteAccountAlias", AccountAlias="nephele")[0] == "NoSuchEntity"
    assert refused(nimbus, "iam:GetAccountPasswordPolicy") == (
        "NoSuchEntity",
        f"The Password Policy with domain name {ACCOUNT} cannot be found.",
    )
    nimbus.call("iam:UpdateAccountPasswordPolicy", MinimumPasswordLength=12, RequireSymbols=True, MaxPasswordAge=90)
    rules = nimbus.call("iam:GetAccountPasswordPolicy")["PasswordPolicy"]
    assert rules["MinimumPasswordLength"] == 12 and rules["ExpirePasswords"] and not rules["RequireNumbers"]
    nimbus.call("iam:CreateUser", UserName="bob")
    assert refused(nimbus, "iam:CreateLoginProfile", UserName="bob", Password="abcdefghijklm")[0] == (
        "PasswordPolicyViolation"
    )
    nimbus.call("iam:CreateLoginProfile", UserName="bob", Password="abcdefghijkl!")
    nimbus.call("iam:DeleteAccountPasswordPolicy")
    summary = nimbus.call("iam:GetAccountSummary")["SummaryMap"]
    assert summary["Users"] == 1 and summary["AccountMFAEnabled"] == 0


def test_everything_at_once(nimbus: Nimbus) -> None:
    nimbus.user("bob", policy(allow("s3:*")))
    nimbus.call("iam:CreateGroup", GroupName="g")
    nimbus.call("iam:AddUserToGroup", GroupName="g", UserName="bob")
    nimbus.call("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=trust(ACCOUNT))
    nimbus.call("iam:AttachRolePolicy", RoleName="r", PolicyArn=ADMIN)
    nimbus.call("iam:CreatePolicy", PolicyName="p", PolicyDocument=policy(allow("s3:*")))
    whole = nimbus.call("iam:GetAccountAuthorizationDetails")
    assert whole["UserDetailList"][0]["GroupList"] == ["g"]
    assert whole["UserDetailList"][0]["UserPolicyList"][0]["PolicyName"] == "p0"
    assert whole["RoleDetailList"][0]["AttachedManagedPolicies"] == [
        {"PolicyName": "AdministratorAccess", "PolicyArn": ADMIN}
    ]
    assert [one["PolicyName"] for one in whole["Policies"]] == ["p", "AdministratorAccess"]
    seen, marker = 0, dict[str, str]()
    while True:
        page = nimbus.call("iam:GetAccountAuthorizationDetails", MaxItems=2, **marker)
        seen += sum(len(page[one]) for one in ("UserDetailList", "GroupDetailList", "RoleDetailList", "Policies"))
        if not page["IsTruncated"]:
            break
        marker = {"Marker": page["Marker"]}
    assert seen == 5


def test_service_linked_roles(nimbus: Nimbus) -> None:
    made = nimbus.call("iam:CreateServiceLinkedRole", AWSServiceName="autoscaling.amazonaws.com")["Role"]
    name = "AWSServiceRoleForAutoScaling"
    assert made["Arn"] == f"arn:aws:iam::{ACCOUNT}:role/aws-service-role/autoscaling.amazonaws.com/{name}"
    assert (
        refused(nimbus, "iam:CreateServiceLinkedRole", AWSServiceName="autoscaling.amazonaws.com")[0] == "InvalidInput"
    )
    assert refused(nimbus, "iam:DeleteRole", RoleName=name)[0] == "UnmodifiableEntity"
    assert refused(nimbus, "iam:AttachRolePolicy", RoleName=name, PolicyArn=ADMIN)[0] == "UnmodifiableEntity"
    assert refused(nimbus, "iam:UpdateRole", RoleName=name, MaxSessionDuration=7200)[0] == "UnmodifiableEntity"
    nimbus.call("iam:UpdateRole", RoleName=name, Description="mine")
    assert nimbus.call("iam:GetRole", RoleName=name)["Role"]["Description"] == "mine"
    task = nimbus.call("iam:DeleteServiceLinkedRole", RoleName=name)["DeletionTaskId"]
    assert nimbus.call("iam:GetServiceLinkedRoleDeletionStatus", DeletionTaskId=task)["Status"] == "SUCCEEDED"
    assert refused(nimbus, "iam:GetServiceLinkedRoleDeletionStatus", DeletionTaskId="x")[0] == "NoSuchEntity"
    assert refused(nimbus, "iam:GetRole", RoleName=name)[0] == "NoSuchEntity"


def test_access_key_ids_spell_their_account() -> None:
    for account in ("000000000000", "111111111111", "999999999999", "012345678901"):
        id = new_access_key("AKIA", account)
        assert re.fullmatch(r"AKIA[A-Z2-7]{16}", id)
        assert account_in(id) == account
    assert account_in("AKIA" + base64.b32encode(bytes(10)).decode()) is None
    assert account_in("test") is None
