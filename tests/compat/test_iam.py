"""IAM as boto3 sees it: users, keys, groups, roles, policies; and that keys do exactly what their policies say."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.compat.conftest import Client, new_client

Statement = dict[str, Any]


def policy(*statements: Statement) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def allow(*actions: str, on: str | list[str] = "*", **condition: Any) -> Statement:
    statement: Statement = {"Effect": "Allow", "Action": list(actions), "Resource": on}
    return statement | ({"Condition": condition} if condition else {})


def deny(*actions: str, on: str | list[str] = "*", **condition: Any) -> Statement:
    return allow(*actions, on=on, **condition) | {"Effect": "Deny"}


def trust(principal: str | dict[str, Any]) -> str:
    return policy({"Effect": "Allow", "Principal": {"AWS": principal}, "Action": "sts:AssumeRole"})


class Account:
    """An account with its root, and clients for its users and sessions."""

    def __init__(self, endpoint: str, id: str) -> None:
        self.endpoint, self.id = endpoint, id
        self.iam = self.root("iam")

    def root(self, service: str, **options: Any) -> Client:
        return new_client(self.endpoint, service, self.id, **options)

    def client(self, service: str, credentials: dict[str, Any], **options: Any) -> Client:
        """A client with what CreateAccessKey or AssumeRole answered."""
        token = credentials.get("SessionToken")
        if token is not None:
            options["aws_session_token"] = token
        return new_client(
            self.endpoint, service, credentials["AccessKeyId"], secret=credentials["SecretAccessKey"], **options
        )

    def user(self, name: str, *statements: Statement) -> dict[str, Any]:
        """A new user with an inline policy; gives its access key."""
        self.iam.create_user(UserName=name)
        if statements:
            self.iam.put_user_policy(UserName=name, PolicyName="own", PolicyDocument=policy(*statements))
        key: dict[str, Any] = self.iam.create_access_key(UserName=name)["AccessKey"]
        return key


@pytest.fixture
def home(endpoint: str, account: str) -> Account:
    return Account(endpoint, account)


def refused(call: Callable[..., Any], **params: Any) -> tuple[str, int, str]:
    """Code, status and message of a call that must fail."""
    with pytest.raises(ClientError) as caught:
        call(**params)
    answer = caught.value.response
    return answer["Error"]["Code"], answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Message"]


def test_a_user_and_its_key(home: Account) -> None:
    made = home.iam.create_user(UserName="bob", Path="/dev/", Tags=[{"Key": "team", "Value": "red"}])["User"]
    assert made["Arn"] == f"arn:aws:iam::{home.id}:user/dev/bob"
    assert home.iam.get_user(UserName="bob")["User"] == made
    key = home.iam.create_access_key(UserName="bob")["AccessKey"]
    me = home.client("sts", key).get_caller_identity()
    assert (me["UserId"], me["Account"], me["Arn"]) == (made["UserId"], home.id, made["Arn"])
    home.iam.update_access_key(UserName="bob", AccessKeyId=key["AccessKeyId"], Status="Inactive")
    assert refused(home.client("sts", key).get_caller_identity)[:2] == ("InvalidClientTokenId", 403)
    home.iam.update_access_key(UserName="bob", AccessKeyId=key["AccessKeyId"], Status="Active")
    wrong = key | {"SecretAccessKey": "x" * 40}
    assert refused(home.client("sts", wrong).get_caller_identity)[:2] == ("SignatureDoesNotMatch", 403)
    assert refused(home.iam.delete_user, UserName="bob")[:2] == ("DeleteConflict", 409)
    home.iam.delete_access_key(UserName="bob", AccessKeyId=key["AccessKeyId"])
    home.iam.delete_user(UserName="bob")
    assert refused(home.iam.get_user, UserName="bob") == (
        "NoSuchEntity",
        404,
        "The user with name bob cannot be found.",
    )


def test_errors_have_their_status(home: Account) -> None:
    home.iam.create_group(GroupName="g")
    assert refused(home.iam.create_group, GroupName="G")[:2] == ("EntityAlreadyExists", 409)
    assert refused(home.iam.create_policy, PolicyName="p", PolicyDocument="{}")[:2] == ("MalformedPolicyDocument", 400)
    assert refused(home.iam.create_user, UserName="no spaces")[:2] == ("ValidationError", 400)
    for number in range(2):
        home.iam.create_user(UserName=f"u{number}")
    home.iam.create_access_key(UserName="u0")
    home.iam.create_access_key(UserName="u0")
    assert refused(home.iam.create_access_key, UserName="u0")[:2] == ("LimitExceeded", 409)


def test_documents_come_back_as_given(home: Account) -> None:
    text = '{\n  "Version": "2012-10-17",\n  "Statement": [{"Effect": "Allow", "Action": "s3:*", "Resource": "*"}]\n}'
    home.iam.create_user(UserName="bob")
    home.iam.put_user_policy(UserName="bob", PolicyName="p", PolicyDocument=text)
    assert home.iam.get_user_policy(UserName="bob", PolicyName="p")["PolicyDocument"] == json.loads(text)
    arn = home.iam.create_policy(PolicyName="p", PolicyDocument=text)["Policy"]["Arn"]
    version = home.iam.get_policy_version(PolicyArn=arn, VersionId="v1")["PolicyVersion"]
    assert version["Document"] == json.loads(text) and version["IsDefaultVersion"]


def test_paginators(home: Account) -> None:
    for number in range(12):
        home.iam.create_role(RoleName=f"r{number:02}", AssumeRolePolicyDocument=trust(home.id))
    pages = list(home.iam.get_paginator("list_roles").paginate(PaginationConfig={"PageSize": 5}))
    assert [len(page["Roles"]) for page in pages] == [5, 5, 2]
    assert [role["RoleName"] for page in pages for role in page["Roles"]] == [f"r{number:02}" for number in range(12)]
    names = [p["PolicyName"] for page in home.iam.get_paginator("list_policies").paginate() for p in page["Policies"]]
    assert {"AdministratorAccess", "ReadOnlyAccess", "AmazonSSMManagedInstanceCore"} <= set(names)


def test_waiters(home: Account) -> None:
    home.iam.create_user(UserName="bob")
    home.iam.get_waiter("user_exists").wait(UserName="bob", WaiterConfig={"Delay": 1, "MaxAttempts": 1})
    home.iam.create_role(RoleName="r", AssumeRolePolicyDocument=trust(home.id))
    home.iam.get_waiter("role_exists").wait(RoleName="r", WaiterConfig={"Delay": 1, "MaxAttempts": 1})


def test_ec2_is_refused_and_allowed_as_policies_say(home: Account) -> None:
    key = home.user("bob", allow("ec2:DescribeVpcs"))
    ec2 = home.client("ec2", key)
    assert len(ec2.describe_vpcs()["Vpcs"]) == 1
    code, status, message = refused(ec2.describe_subnets)
    assert (code, status) == ("UnauthorizedOperation", 403)
    assert message.startswith("You are not authorized to perform this operation. User: arn:aws:iam::")
    code, _, message = refused(ec2.create_vpc, CidrBlock="10.0.0.0/16")
    encoded = message.partition("Encoded authorization failure message: ")[2]
    decoded = json.loads(home.root("sts").decode_authorization_message(EncodedMessage=encoded)["DecodedMessage"])
    assert (code, decoded["context"]["action"]) == ("UnauthorizedOperation", "ec2:CreateVpc")
    tagged = {
        "CidrBlock": "10.0.0.0/16",
        "TagSpecifications": [{"ResourceType": "vpc", "Tags": [{"Key": "env", "Value": "dev"}]}],
    }
    home.iam.put_user_policy(
        UserName="bob",
        PolicyName="own",
        PolicyDocument=policy(
            allow("ec2:CreateVpc", StringEquals={"aws:RequestTag/env": "dev"}),
            allow("ec2:CreateTags", StringEquals={"ec2:CreateAction": "CreateVpc"}),
            allow("ec2:DeleteVpc", StringEquals={"aws:ResourceTag/env": "dev"}),
            deny("*", StringNotEquals={"aws:RequestedRegion": "us-east-1"}),
        ),
    )
    assert refused(ec2.create_vpc, CidrBlock="10.0.0.0/16")[0] == "UnauthorizedOperation"
    assert refused(ec2.create_vpc, **tagged, DryRun=True)[0] == "DryRunOperation"
    vpc = ec2.create_vpc(**tagged)["Vpc"]["VpcId"]
    other = home.root("ec2").create_vpc(CidrBlock="10.1.0.0/16")["Vpc"]["VpcId"]
    assert refused(ec2.delete_vpc, VpcId=other)[0] == "UnauthorizedOperation"
    ec2.delete_vpc(VpcId=vpc)
    elsewhere = home.client("ec2", key, region="eu-west-1")
    code, _, message = refused(elsewhere.create_vpc, **tagged)
    assert code == "UnauthorizedOperation" and "with an explicit deny in an identity-based policy" in message
    assert refused(ec2.describe_vpcs)[0] == "UnauthorizedOperation"


def test_s3_is_refused_and_allowed_as_policies_say(home: Account) -> None:
    bucket = f"iam-{home.id}"
    root = home.root("s3")
    root.create_bucket(Bucket=bucket)
    root.put_object(Bucket=bucket, Key="bob/a", Body=b"1")
    root.put_object(Bucket=bucket, Key="eve/a", Body=b"2")
    s3 = home.client("s3", home.user("bob"))
    assert refused(s3.get_object, Bucket=bucket, Key="bob/a")[:2] == ("AccessDenied", 403)
    assert refused(s3.list_buckets)[0] == "AccessDenied"
    home.iam.put_user_policy(
        UserName="bob",
        PolicyName="own",
        PolicyDocument=policy(
            allow("s3:ListBucket", on=f"arn:aws:s3:::{bucket}", StringLike={"s3:prefix": "${aws:username}/*"}),
            allow("s3:GetObject", "s3:PutObject", on=f"arn:aws:s3:::{bucket}/${{aws:username}}/*"),
            deny("s3:PutObject", on=f"arn:aws:s3:::{bucket}/bob/closed/*"),
        ),
    )
    assert s3.get_object(Bucket=bucket, Key="bob/a")["Body"].read() == b"1"
    s3.put_object(Bucket=bucket, Key="bob/b", Body=b"3")
    listed = s3.list_objects_v2(Bucket=bucket, Prefix="bob/")
    assert [one["Key"] for one in listed["Contents"]] == ["bob/a", "bob/b"]
    assert refused(s3.list_objects_v2, Bucket=bucket)[0] == "AccessDenied"
    assert refused(s3.get_object, Bucket=bucket, Key="eve/a")[0] == "AccessDenied"
    code, status, message = refused(s3.put_object, Bucket=bucket, Key="bob/closed/x", Body=b"")
    assert (code, status) == ("AccessDenied", 403)
    assert message == (
        f"User: arn:aws:iam::{home.id}:user/bob is not authorized to perform: s3:PutObject on resource: "
        f'"arn:aws:s3:::{bucket}/bob/closed/x" with an explicit deny in an identity-based policy'
    )
    assert refused(s3.delete_object, Bucket=bucket, Key="bob/a")[0] == "AccessDenied"


def test_a_bucket_policy_must_name_somebody(home: Account) -> None:
    bucket, s3 = f"named-{home.id}", home.root("s3")
    s3.create_bucket(Bucket=bucket)

    def names(user: str, operator: str = "StringEquals") -> str:
        principal = {"AWS": f"arn:aws:iam::{home.id}:user/{user}"}
        statement = {"Effect": "Allow", "Principal": principal, "Action": "s3:GetObject"}
        condition = {operator: {"aws:RequestedRegion": "us-east-1"}}
        return policy(statement | {"Resource": f"arn:aws:s3:::{bucket}/*", "Condition": condition})

    key = home.user("bob")
    assert refused(s3.put_bucket_policy, Bucket=bucket, Policy=names("nobody")) == (
        "MalformedPolicy",
        400,
        "Invalid principal in policy",
    )
    assert refused(s3.put_bucket_policy, Bucket=bucket, Policy=names("bob", "StringSame"))[0] == "MalformedPolicy"
    s3.put_bucket_policy(Bucket=bucket, Policy=names("bob"))
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    assert home.client("s3", key).get_object(Bucket=bucket, Key="k")["Body"].read() == b"1"


def test_groups_and_managed_policies(home: Account) -> None:
    key = home.user("bob")
    iam = home.client("iam", key)
    assert refused(iam.list_users)[:2] == ("AccessDenied", 403)
    home.iam.create_group(GroupName="readers")
    home.iam.add_user_to_group(GroupName="readers", UserName="bob")
    home.iam.attach_group_policy(GroupName="readers", PolicyArn="arn:aws:iam::aws:policy/IAMReadOnlyAccess")
    assert [user["UserName"] for user in iam.list_users()["Users"]] == ["bob"]
    assert refused(iam.create_user, UserName="eve")[0] == "AccessDenied"
    arn = home.iam.create_policy(PolicyName="makers", PolicyDocument=policy(allow("iam:CreateUser")))["Policy"]["Arn"]
    home.iam.attach_user_policy(UserName="bob", PolicyArn=arn)
    iam.create_user(UserName="eve")
    home.iam.create_policy_version(PolicyArn=arn, PolicyDocument=policy(deny("iam:*")), SetAsDefault=True)
    code, _, message = refused(iam.list_users)
    assert code == "AccessDenied" and message.endswith(f"with an explicit deny in an identity-based policy: {arn}")


def test_a_role_for_instances(home: Account) -> None:
    document = policy({"Effect": "Allow", "Principal": {"Service": "ec2.amazonaws.com"}, "Action": "sts:AssumeRole"})
    home.iam.create_role(RoleName="web", AssumeRolePolicyDocument=document, Description="for instances")
    home.iam.put_role_policy(RoleName="web", PolicyName="p", PolicyDocument=policy(allow("s3:GetObject")))
    home.iam.create_instance_profile(InstanceProfileName="web")
    home.iam.add_role_to_instance_profile(InstanceProfileName="web", RoleName="web")
    profile = home.iam.get_instance_profile(InstanceProfileName="web")["InstanceProfile"]
    assert profile["Roles"][0]["AssumeRolePolicyDocument"] == json.loads(document)
    assert home.iam.get_role(RoleName="web")["Role"]["Description"] == "for instances"
    assert refused(home.iam.delete_role, RoleName="web")[0] == "DeleteConflict"
    home.iam.remove_role_from_instance_profile(InstanceProfileName="web", RoleName="web")
    home.iam.delete_instance_profile(InstanceProfileName="web")
    home.iam.delete_role_policy(RoleName="web", PolicyName="p")
    home.iam.delete_role(RoleName="web")


def test_accounts_do_not_see_each_other(home: Account, endpoint: str) -> None:
    other = Account(endpoint, str(10**12 - 1 - int(home.id)).zfill(12))
    home.iam.create_user(UserName="bob")
    assert refused(other.iam.get_user, UserName="bob")[0] == "NoSuchEntity"
    other.iam.create_user(UserName="bob")
    assert other.iam.get_user(UserName="bob")["User"]["Arn"] != home.iam.get_user(UserName="bob")["User"]["Arn"]


def test_the_summary_counts_what_is_the_accounts_own(client: Callable[..., Client]) -> None:
    client("iam", account="444455556666").create_user(UserName="somebody-elses")
    iam = client("iam")
    iam.create_user(UserName="own")
    iam.create_group(GroupName="own")
    summary = iam.get_account_summary()["SummaryMap"]
    assert (summary["Users"], summary["Groups"]) == (1, 1)
