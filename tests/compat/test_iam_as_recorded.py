"""What IAM and STS really answer where their documentation is silent or differs; from recordings of AWS."""

from __future__ import annotations

import json

import pytest

from tests.compat.test_iam import Account, allow, policy, refused, trust


@pytest.fixture
def home(endpoint: str, account: str) -> Account:
    return Account(endpoint, account)


def test_a_new_role_tells_its_longest_session_only_when_asked(home: Account) -> None:
    document = trust(home.id)
    assert "MaxSessionDuration" not in home.iam.create_role(RoleName="a", AssumeRolePolicyDocument=document)["Role"]
    named = home.iam.create_role(RoleName="b", AssumeRolePolicyDocument=document, MaxSessionDuration=7200)["Role"]
    assert named["MaxSessionDuration"] == 7200
    assert home.iam.get_role(RoleName="a")["Role"]["MaxSessionDuration"] == 3600


def test_what_is_no_arn_of_a_policy(home: Account) -> None:
    home.iam.create_user(UserName="bob")
    told = refused(home.iam.attach_user_policy, UserName="bob", PolicyArn="longpolicynamebutnoarn")
    assert told == ("ValidationError", 400, "Invalid ARN:  Could not be parsed!")


def test_credentials_of_services_that_have_none(home: Account) -> None:
    home.iam.create_user(UserName="bob")
    given = {"UserName": "bob", "ServiceName": "lambda.amazonaws.com"}
    wording = "No such service lambda.amazonaws.com is supported for Service Specific Credentials"
    for call in (home.iam.create_service_specific_credential, home.iam.list_service_specific_credentials):
        assert refused(call, **given) == ("NoSuchEntity", 404, wording)
    home.iam.create_service_specific_credential(UserName="bob", ServiceName="codecommit.amazonaws.com")
    page = home.iam.list_service_specific_credentials(UserName="bob")
    assert len(page["ServiceSpecificCredentials"]) == 1
    assert "IsTruncated" not in page
    told = refused(home.iam.delete_user, UserName="bob")
    assert told == ("DeleteConflict", 409, "Cannot delete entity, must remove referenced objects first.")


@pytest.mark.parametrize(
    ("service", "name"),
    [
        ("acm.amazonaws.com", "AWSServiceRoleForCertificateManager"),
        ("ec2-instance-connect.amazonaws.com", "AWSServiceRoleForEc2InstanceConnect"),
    ],
)
def test_roles_of_services(home: Account, service: str, name: str) -> None:
    told = refused(home.iam.create_service_linked_role, AWSServiceName=service, CustomSuffix="x")
    assert told[::2] == ("InvalidInput", f"Custom suffix is not allowed for {service}")
    home.iam.create_service_linked_role(AWSServiceName=service)
    statement = home.iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]["Statement"][0]
    assert statement == {"Action": "sts:AssumeRole", "Effect": "Allow", "Principal": {"Service": service}}


def test_simulations_tell_of_each_resource(home: Account) -> None:
    text = json.dumps({"Version": "2012-10-17", "Statement": allow("s3:PutObject")})
    result = home.iam.simulate_custom_policy(
        PolicyInputList=[text], ActionNames=["s3:PutObject"], ResourceArns=["arn:aws:s3:::b"]
    )["EvaluationResults"][0]
    matched = result["MatchedStatements"][0]
    begins, ends = matched["StartPosition"], matched["EndPosition"]
    assert text[begins["Column"] - 2] == "{"
    assert text[ends["Column"] - 2] == "}"
    one = result["ResourceSpecificResults"][0]
    assert (one["EvalResourceName"], one["EvalResourceDecision"]) == ("arn:aws:s3:::b", "allowed")
    assert one["MatchedStatements"] == [matched]
    assert result["OrganizationsDecisionDetail"] == {"AllowedByOrganizations": True}


@pytest.mark.parametrize("arn", ["arn:a::::something/test-role", "arn:a:a::aaaaaaaaaa:", "nothing-of-an-arn-here"])
def test_roles_that_are_no_arns(home: Account, arn: str) -> None:
    told = refused(home.root("sts").assume_role, RoleArn=arn, RoleSessionName="one")
    assert told == ("ValidationError", 400, f"{arn} is invalid")


def test_transitive_tags_in_another_case(home: Account) -> None:
    document = json.loads(trust(home.id))
    document["Statement"][0]["Action"] = ["sts:AssumeRole", "sts:TagSession"]
    home.iam.create_role(RoleName="r", AssumeRolePolicyDocument=json.dumps(document))
    home.iam.put_role_policy(
        RoleName="r", PolicyName="p", PolicyDocument=policy(allow("sts:AssumeRole", "sts:TagSession"))
    )
    given = {"RoleArn": f"arn:aws:iam::{home.id}:role/r", "RoleSessionName": "one"}
    tagged = given | {"Tags": [{"Key": "Team", "Value": "a"}]}
    told = refused(home.root("sts").assume_role, **tagged, TransitiveTagKeys=["other"])
    assert told[2] == "The specified transitive tag key must be included in the requested tags."
    first = home.root("sts").assume_role(**tagged, TransitiveTagKeys=["team"])["Credentials"]
    told = refused(home.client("sts", first).assume_role, **given, Tags=[{"Key": "TEAM", "Value": "b"}])
    assert told[2].startswith("One of the specified transitive tag keys can't be set because it conflicts with")


def test_a_federation_token_without_policy_packs_nothing(home: Account) -> None:
    assert home.root("sts").get_federation_token(Name="bob")["PackedPolicySize"] == 0


def test_an_account_counts_its_own_only(home: Account, endpoint: str) -> None:
    home.iam.create_user(UserName="bob")
    other = Account(endpoint, str(int(home.id) ^ 1))
    other.iam.create_user(UserName="bob")
    other.iam.create_group(GroupName="g")
    summary = home.iam.get_account_summary()["SummaryMap"]
    assert (summary["Users"], summary["Groups"]) == (1, 0)
    home.iam.create_group(GroupName="g")
    assert home.iam.get_account_summary()["SummaryMap"]["Groups"] == 1
