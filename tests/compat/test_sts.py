"""STS as boto3 sees it."""

from __future__ import annotations

import json
import secrets

import pytest

from tests.compat.conftest import new_client
from tests.compat.test_iam import Account, allow, policy, refused, trust


@pytest.fixture
def home(endpoint: str, account: str) -> Account:
    return Account(endpoint, account)


def test_the_root_of_an_account(home: Account) -> None:
    me = home.root("sts").get_caller_identity()
    assert (me["Account"], me["UserId"], me["Arn"]) == (home.id, home.id, f"arn:aws:iam::{home.id}:root")


def test_test_is_the_root_of_the_default_account(endpoint: str) -> None:
    assert new_client(endpoint, "sts", "test").get_caller_identity()["Account"] == "000000000000"


def test_partitions(home: Account) -> None:
    china = home.root("sts", region="cn-north-1").get_caller_identity()
    assert china["Arn"] == f"arn:aws-cn:iam::{home.id}:root"


def test_assume_role(home: Account) -> None:
    key = home.user("bob", allow("sts:AssumeRole", on=f"arn:aws:iam::{home.id}:role/*"))
    home.iam.create_role(RoleName="reader", AssumeRolePolicyDocument=trust(home.id))
    home.iam.put_role_policy(RoleName="reader", PolicyName="p", PolicyDocument=policy(allow("ec2:DescribeVpcs")))
    arn = f"arn:aws:iam::{home.id}:role/reader"
    answer = home.client("sts", key).assume_role(RoleArn=arn, RoleSessionName="bobs-session", DurationSeconds=900)
    session = answer["Credentials"]
    me = home.client("sts", session).get_caller_identity()
    assert me["Arn"] == answer["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{home.id}:assumed-role/reader/bobs-session"
    ec2 = home.client("ec2", session)
    assert len(ec2.describe_vpcs()["Vpcs"]) == 1
    assert refused(ec2.describe_subnets)[0] == "UnauthorizedOperation"
    without_token = {name: value for name, value in session.items() if name != "SessionToken"}
    assert refused(home.client("sts", without_token).get_caller_identity)[:2] == ("InvalidClientTokenId", 403)
    token = session["SessionToken"]
    wrong = session | {"SessionToken": token[:-1] + ("y" if token.endswith("x") else "x")}
    assert refused(home.client("sts", wrong).get_caller_identity)[:2] == ("InvalidClientTokenId", 403)


def test_sessions_with_more_tags_and_policies_than_there_is_room_for(home: Account) -> None:
    actions = ["sts:AssumeRole", "sts:TagSession"]
    key = home.user("bob", {**allow("sts:AssumeRole"), "Action": actions})
    role = json.loads(trust(home.id))
    role["Statement"][0]["Action"] = actions
    home.iam.create_role(RoleName="tagged", AssumeRolePolicyDocument=json.dumps(role))
    whom = {"RoleArn": f"arn:aws:iam::{home.id}:role/tagged", "RoleSessionName": "bobs"}
    sts, tags = home.client("sts", key), [{"Key": str(n), "Value": secrets.token_hex(100)} for n in range(50)]
    assert sts.assume_role(**whom, Tags=tags[:9])["PackedPolicySize"] in range(20, 60)
    assert refused(sts.assume_role, **whom, Tags=tags)[0] == "PackedPolicyTooLarge"


def test_assume_role_across_accounts(home: Account, endpoint: str) -> None:
    other = Account(endpoint, str(10**12 - 1 - int(home.id)).zfill(12))
    eve = other.user("eve")
    document = json.loads(trust(other.id))
    document["Statement"][0]["Condition"] = {"StringEquals": {"sts:ExternalId": "between-us"}}
    home.iam.create_role(RoleName="guest", AssumeRolePolicyDocument=json.dumps(document))
    given = {"RoleArn": f"arn:aws:iam::{home.id}:role/guest", "RoleSessionName": "eve", "ExternalId": "between-us"}
    sts = other.client("sts", eve)
    code, status, message = refused(sts.assume_role, **given)
    assert (code, status) == ("AccessDenied", 403)
    assert message == (
        f"User: arn:aws:iam::{other.id}:user/eve is not authorized to perform: sts:AssumeRole on resource: "
        f"{given['RoleArn']}"
    )
    other.iam.put_user_policy(UserName="eve", PolicyName="p", PolicyDocument=policy(allow("sts:AssumeRole")))
    assert home.client("sts", sts.assume_role(**given)["Credentials"]).get_caller_identity()["Account"] == home.id
    assert refused(sts.assume_role, **given | {"ExternalId": "guess"})[0] == "AccessDenied"


def test_session_and_federation_tokens(home: Account) -> None:
    key = home.user("bob", allow("sts:GetFederationToken", "ec2:DescribeVpcs"))
    session = home.client("sts", key).get_session_token(DurationSeconds=900)["Credentials"]
    assert home.client("sts", session).get_caller_identity()["Arn"].endswith(":user/bob")
    assert len(home.client("ec2", session).describe_vpcs()["Vpcs"]) == 1
    federated = home.client("sts", key).get_federation_token(Name="app", Policy=policy(allow("ec2:*")))["Credentials"]
    ec2 = home.client("ec2", federated)
    assert len(ec2.describe_vpcs()["Vpcs"]) == 1
    assert refused(ec2.describe_subnets)[0] == "UnauthorizedOperation"


def test_access_key_info(home: Account) -> None:
    key = home.user("bob")
    assert home.root("sts").get_access_key_info(AccessKeyId=key["AccessKeyId"])["Account"] == home.id
