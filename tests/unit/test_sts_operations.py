"""STS without a gateway: trust, sessions, their policies, tags and ends."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backends.identity.seal import Seal
from tests.unit.fresh import fresh_database
from tests.unit.nimbus import ACCOUNT, OTHER, Nimbus, allow, policy, refused, trust

ROLE = f"arn:aws:iam::{ACCOUNT}:role/r"


def role(nimbus: Nimbus, document: str, *policies: str, **more: Any) -> None:
    nimbus.call("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=document, **more)
    for number, text in enumerate(policies):
        nimbus.call("iam:PutRolePolicy", RoleName="r", PolicyName=f"p{number}", PolicyDocument=text)


def assume(nimbus: Nimbus, by: str = ACCOUNT, **more: Any) -> str:
    """Take on the role; gives the access key of the session."""
    answer = nimbus.call("sts:AssumeRole", by=by, **{"RoleArn": ROLE, "RoleSessionName": "alice"} | more)
    key: str = answer["Credentials"]["AccessKeyId"]
    return key


def test_a_session(nimbus: Nimbus) -> None:
    role(nimbus, trust(ACCOUNT), policy(allow("iam:ListUsers")))
    answer = nimbus.call("sts:AssumeRole", RoleArn=ROLE, RoleSessionName="alice", DurationSeconds=900)
    given = answer["Credentials"]
    assert re.fullmatch(r"ASIA[A-Z2-7]{16}", given["AccessKeyId"]) and len(given["SecretAccessKey"]) == 40
    assert answer["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/r/alice"
    found = nimbus.directory.credential(given["AccessKeyId"])
    assert found is not None
    assert (found.secret, found.session_token) == (given["SecretAccessKey"], given["SessionToken"])
    assert found.expires == given["Expiration"]
    assert found.principal.issued_at is not None
    assert found.expires - found.principal.issued_at == timedelta(seconds=900)
    me = nimbus.call("sts:GetCallerIdentity", by=given["AccessKeyId"])
    assert me["Arn"] == answer["AssumedRoleUser"]["Arn"] and me["UserId"] == answer["AssumedRoleUser"]["AssumedRoleId"]
    nimbus.call("iam:ListUsers", by=given["AccessKeyId"])
    assert refused(nimbus, "iam:ListRoles", by=given["AccessKeyId"])[0] == "AccessDenied"


def test_trust_is_needed_even_at_home(nimbus: Nimbus) -> None:
    bob = nimbus.user("bob", policy(allow("sts:AssumeRole")))
    eve = nimbus.user("eve", policy(allow("sts:AssumeRole")))
    role(nimbus, trust(f"arn:aws:iam::{ACCOUNT}:user/bob"))
    assert assume(nimbus, bob)
    assert refused(nimbus, "sts:AssumeRole", by=eve, RoleArn=ROLE, RoleSessionName="eve") == (
        "AccessDenied",
        f"User: arn:aws:iam::{ACCOUNT}:user/eve is not authorized to perform: sts:AssumeRole on resource: {ROLE}",
    )


def test_an_account_that_delegates(nimbus: Nimbus) -> None:
    with_it = nimbus.user("with", policy(allow("sts:AssumeRole", on=ROLE)))
    without = nimbus.user("without")
    role(nimbus, trust(ACCOUNT))
    assert assume(nimbus, with_it)
    assert refused(nimbus, "sts:AssumeRole", by=without, RoleArn=ROLE, RoleSessionName="xx")[0] == "AccessDenied"


def test_across_accounts_both_must_allow(nimbus: Nimbus) -> None:
    nimbus.call("iam:CreateUser", by=OTHER, UserName="eve")
    eve = nimbus.call("iam:CreateAccessKey", by=OTHER, UserName="eve")["AccessKey"]["AccessKeyId"]
    role(nimbus, trust(OTHER, StringEquals={"sts:ExternalId": "secret"}))
    given = {"RoleArn": ROLE, "RoleSessionName": "eve", "ExternalId": "secret"}
    assert refused(nimbus, "sts:AssumeRole", by=eve, **given)[0] == "AccessDenied"
    text = policy(allow("sts:AssumeRole", on=ROLE))
    nimbus.call("iam:PutUserPolicy", by=OTHER, UserName="eve", PolicyName="p", PolicyDocument=text)
    answer = nimbus.call("sts:AssumeRole", by=eve, **given)
    assert nimbus.call("sts:GetCallerIdentity", by=answer["Credentials"]["AccessKeyId"])["Account"] == ACCOUNT
    assert refused(nimbus, "sts:AssumeRole", by=eve, **given | {"ExternalId": "wrong"})[0] == "AccessDenied"
    assert refused(nimbus, "sts:AssumeRole", by="333333333333", **given)[0] == "AccessDenied"


@pytest.mark.parametrize(
    ("arn", "code"),
    [
        (f"arn:aws:iam::{ACCOUNT}:role/missing", "AccessDenied"),
        (f"arn:aws:iam::{ACCOUNT}:role/x/r", "AccessDenied"),
        ("x" * 30, "ValidationError"),
    ],
)
def test_no_such_role(nimbus: Nimbus, arn: str, code: str) -> None:
    role(nimbus, trust(ACCOUNT))
    assert refused(nimbus, "sts:AssumeRole", RoleArn=arn, RoleSessionName="alice")[0] == code


def test_durations(nimbus: Nimbus) -> None:
    role(nimbus, trust(ACCOUNT, ROLE.replace(":role/r", ":root")), policy(allow("sts:*")), MaxSessionDuration=7200)
    key = assume(nimbus, DurationSeconds=7200)
    asked = {"RoleArn": ROLE, "RoleSessionName": "alice"}
    assert refused(nimbus, "sts:AssumeRole", **asked, DurationSeconds=7201) == (
        "ValidationError",
        "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
    )
    code, message = refused(nimbus, "sts:AssumeRole", by=key, **asked, DurationSeconds=3601)
    assert code == "ValidationError" and "role chaining" in message
    assert refused(nimbus, "sts:AssumeRole", **asked, DurationSeconds=899)[0] == "ValidationError"
    assert assume(nimbus, key, DurationSeconds=3600)


def test_session_policies_narrow(nimbus: Nimbus) -> None:
    role(nimbus, trust(ACCOUNT), policy(allow("iam:*")))
    key = assume(nimbus, Policy=policy(allow("iam:ListUsers", "s3:*")))
    nimbus.call("iam:ListUsers", by=key)
    code, message = refused(nimbus, "iam:ListRoles", by=key)
    assert code == "AccessDenied" and "because no session policy allows" in message
    listed = assume(nimbus, PolicyArns=[{"arn": "arn:aws:iam::aws:policy/IAMReadOnlyAccess"}])
    nimbus.call("iam:ListRoles", by=listed)
    assert refused(nimbus, "iam:CreateUser", by=listed, UserName="x")[0] == "AccessDenied"
    assert refused(nimbus, "sts:AssumeRole", RoleArn=ROLE, RoleSessionName="alice", Policy="{}")[0] == (
        "MalformedPolicyDocument"
    )


def test_session_tags(nimbus: Nimbus) -> None:
    red = allow("iam:GetAccountSummary", StringEquals={"aws:PrincipalTag/team": "red"})
    role(nimbus, trust(ACCOUNT, action=["sts:AssumeRole", "sts:TagSession"]), policy(red, allow("sts:*")))
    tags = [{"Key": "team", "Value": "red"}]
    key = assume(nimbus, Tags=tags, TransitiveTagKeys=["team"])
    nimbus.call("iam:GetAccountSummary", by=key)
    assert refused(nimbus, "iam:GetAccountSummary", by=assume(nimbus))[0] == "AccessDenied"
    chained = assume(nimbus, key)
    nimbus.call("iam:GetAccountSummary", by=chained)
    again = [{"Key": "TEAM", "Value": "blue"}]
    assert refused(nimbus, "sts:AssumeRole", by=key, RoleArn=ROLE, RoleSessionName="alice", Tags=again)[0] == (
        "InvalidParameterValue"
    )
    nimbus.call("iam:UpdateAssumeRolePolicy", RoleName="r", PolicyDocument=trust(ACCOUNT))
    code, message = refused(nimbus, "sts:AssumeRole", RoleArn=ROLE, RoleSessionName="alice", Tags=tags)
    assert code == "AccessDenied" and "sts:TagSession" in message


def test_session_tokens(nimbus: Nimbus) -> None:
    bob = nimbus.user("bob", policy(allow("iam:*", "sts:*")))
    key = nimbus.call("sts:GetSessionToken", by=bob)["Credentials"]["AccessKeyId"]
    assert nimbus.call("sts:GetCallerIdentity", by=key)["Arn"] == f"arn:aws:iam::{ACCOUNT}:user/bob"
    assert refused(nimbus, "iam:GetUser", by=key)[0] == "InvalidClientTokenId"
    assert refused(nimbus, "sts:GetSessionToken", by=key) == (
        "AccessDenied",
        "Cannot call GetSessionToken with session credentials",
    )
    assert refused(nimbus, "sts:GetFederationToken", by=key, Name="fed")[0] in ("AccessDenied", "InvalidClientTokenId")
    role(nimbus, trust(ACCOUNT))
    assert assume(nimbus, key)


def test_federated_users(nimbus: Nimbus) -> None:
    bob = nimbus.user("bob", policy(allow("sts:GetFederationToken", "ec2:DescribeRegions")))
    answer = nimbus.call("sts:GetFederationToken", by=bob, Name="fed", Policy=policy(allow("ec2:DescribeRegions")))
    assert answer["FederatedUser"]["Arn"] == f"arn:aws:sts::{ACCOUNT}:federated-user/fed"
    key = answer["Credentials"]["AccessKeyId"]
    assert nimbus.call("sts:GetCallerIdentity", by=key)["UserId"] == f"{ACCOUNT}:fed"
    assert nimbus.may(key, "ec2:DescribeRegions") and not nimbus.may(key, "sts:GetFederationToken")
    bare = nimbus.call("sts:GetFederationToken", by=bob, Name="fed")["Credentials"]["AccessKeyId"]
    assert not nimbus.may(bare, "ec2:DescribeRegions")
    assert refused(nimbus, "iam:ListUsers", by=key)[0] == "InvalidClientTokenId"
    nobody = nimbus.user("nobody")
    assert refused(nimbus, "sts:GetFederationToken", by=nobody, Name="fed")[0] == "AccessDenied"


def test_sessions_survive_a_restart(tmp_path: Path) -> None:
    database = fresh_database(tmp_path)
    first = Nimbus(database, Seal.at(tmp_path))
    role(first, trust(ACCOUNT))
    given = first.call("sts:AssumeRole", RoleArn=ROLE, RoleSessionName="alice")["Credentials"]
    found = Nimbus(database, Seal.at(tmp_path)).directory.credential(given["AccessKeyId"])
    assert found is not None and found.session_token == given["SessionToken"]
    stored = (tmp_path / "test.db").read_bytes() + (tmp_path / "test.db-wal").read_bytes()
    assert given["SessionToken"].encode() not in stored and given["SecretAccessKey"].encode() not in stored
    database.close()


def test_a_user_made_anew_is_another(nimbus: Nimbus) -> None:
    first = nimbus.user("bob")
    before = nimbus.call("sts:GetCallerIdentity", by=first)["UserId"]
    nimbus.call("iam:DeleteAccessKey", UserName="bob", AccessKeyId=first)
    nimbus.call("iam:DeleteUser", UserName="bob")
    after = nimbus.call("sts:GetCallerIdentity", by=nimbus.user("bob"))["UserId"]
    assert after != before


def test_access_key_info(nimbus: Nimbus) -> None:
    role(nimbus, trust(ACCOUNT))
    key = assume(nimbus)
    assert nimbus.call("sts:GetAccessKeyInfo", by=OTHER, AccessKeyId=key)["Account"] == ACCOUNT
    assert refused(nimbus, "sts:GetAccessKeyInfo", AccessKeyId="A" * 19 + "1")[0] == "ValidationError"
