"""Roles taken on with the tokens of an OpenID Connect provider, which the tests bring along."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from botocore import UNSIGNED
from botocore.config import Config

from tests.compat.conftest import Client, new_client
from tests.compat.issuer import Issuer
from tests.compat.test_iam import Account, allow, policy, refused

ROLE, ACTION = "builder", "sts:AssumeRoleWithWebIdentity"


@pytest.fixture
def home(endpoint: str, account: str) -> Account:
    return Account(endpoint, account)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Issuer]:
    with Issuer(tmp_path_factory.mktemp("issuer")) as issuer:
        yield issuer


@pytest.fixture(scope="module")
def plain() -> Iterator[Issuer]:
    with Issuer() as issuer:
        yield issuer


def trusting(home: Account, issuer: Issuer, *actions: str, **conditions: Any) -> str:
    """A role of `home` that whoever has a token of `issuer` may take on; gives its ARN."""
    arn = f"arn:aws:iam::{home.id}:oidc-provider/{issuer.id}"
    statement = {"Effect": "Allow", "Principal": {"Federated": arn}, "Action": [ACTION, *actions]}
    if conditions:
        statement["Condition"] = {
            operator: {f"{issuer.id}:{claim}": value for claim, value in told.items()}
            for operator, told in conditions.items()
        }
    made = home.iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=policy(statement))
    arn_of_role: str = made["Role"]["Arn"]
    return arn_of_role


def provider(home: Account, issuer: Issuer, *thumbprints: str, client: str = "app") -> str:
    made = home.iam.create_open_id_connect_provider(
        Url=issuer.url, ClientIDList=[client], ThumbprintList=list(thumbprints)
    )
    arn: str = made["OpenIDConnectProviderArn"]
    return arn


def nobody(home: Account) -> Client:
    """STS without credentials."""
    return new_client(home.endpoint, "sts", "none", config=Config(signature_version=UNSIGNED))


def assume(home: Account, role: str, token: str, **more: Any) -> Any:
    return nobody(home).assume_role_with_web_identity(
        RoleArn=role, RoleSessionName="job-1", WebIdentityToken=token, **more
    )


def test_a_token_over_tls(home: Account, secure: Issuer) -> None:
    """The provider's certificate is known by its thumbprint alone."""
    arn = provider(home, secure, "0" * 40, secure.thumbprint.upper())
    role = trusting(home, secure, StringEquals={"aud": "app"}, StringLike={"sub": "repo:acme/*"})
    home.iam.put_role_policy(
        RoleName=ROLE,
        PolicyName="p",
        PolicyDocument=policy(
            allow("iam:ListUsers", StringEquals={f"{secure.id}:sub": "repo:acme/site"}),
            allow("iam:ListRoles", StringEquals={f"{secure.id}:sub": "repo:acme/other"}),
            allow("iam:ListGroups", ArnEquals={"aws:FederatedProvider": arn}),
        ),
    )
    answer = assume(home, role, secure.token(sub="repo:acme/site"), DurationSeconds=900)
    assert (answer["SubjectFromWebIdentityToken"], answer["Audience"]) == ("repo:acme/site", "app")
    assert answer["Provider"] == arn
    session = answer["Credentials"]
    me = home.client("sts", session).get_caller_identity()
    assert me["Arn"] == answer["AssumedRoleUser"]["Arn"] == f"arn:aws:sts::{home.id}:assumed-role/{ROLE}/job-1"
    iam = home.client("iam", session)
    iam.list_users()
    iam.list_groups()
    assert refused(iam.list_roles)[0] == "AccessDenied"
    used = home.iam.get_role(RoleName=ROLE)["Role"]["RoleLastUsed"]
    assert used["Region"] == "us-east-1"
    assert abs(used["LastUsedDate"].timestamp() - time.time()) < 60
    with pytest.raises(nobody(home).exceptions.ClientError) as caught:
        assume(home, role, secure.token(sub="repo:evil/site"))
    assert caught.value.response["Error"] == {
        "Type": "Sender",
        "Code": "AccessDenied",
        "Message": "Not authorized to perform sts:AssumeRoleWithWebIdentity",
    }


def test_tokens_that_prove_nothing(home: Account, secure: Issuer, plain: Issuer) -> None:
    provider(home, secure, secure.thumbprint)
    role = trusting(home, secure)
    forged = secure.token().rpartition(".")[0] + "." + plain.token().rpartition(".")[2]
    unsigned = ".".join([*plain.token().split(".")[:1], *secure.token().split(".")[1:2], ""])
    cases = {
        "not.a.token": "InvalidIdentityToken",
        "opaque": "InvalidIdentityToken",
        secure.token(exp=int(time.time()) - 1): "ExpiredTokenException",
        secure.token(exp="soon"): "InvalidIdentityToken",
        secure.token(aud="another"): "InvalidIdentityToken",
        secure.token(sub=None): "InvalidIdentityToken",
        plain.token(): "InvalidIdentityToken",
        forged: "InvalidIdentityToken",
        unsigned: "InvalidIdentityToken",
    }
    for token, code in cases.items():
        assert (
            refused(
                nobody(home).assume_role_with_web_identity,
                RoleArn=role,
                RoleSessionName="job",
                WebIdentityToken=token,
            )[0]
            == code
        ), token
    missing = refused(assume, home=home, role=role + "x", token=secure.token())
    assert missing[:2] == ("AccessDenied", 403)
    assert refused(assume, home=home, role=role, token=secure.token(), DurationSeconds=7200)[0] == "ValidationError"
    assume(home, role, secure.token())


def test_a_certificate_that_nobody_knows(home: Account, secure: Issuer) -> None:
    arn = provider(home, secure, "0" * 40)
    role = trusting(home, secure)
    code, _, message = refused(assume, home=home, role=role, token=secure.token())
    assert (code, "thumbprint" in message) == ("InvalidIdentityToken", True)
    home.iam.update_open_id_connect_provider_thumbprint(
        OpenIDConnectProviderArn=arn, ThumbprintList=[secure.thumbprint]
    )
    assume(home, role, secure.token())


def test_tags_and_source_of_a_token(home: Account, plain: Issuer) -> None:
    """A provider on this machine needs no TLS; its tokens may be signed with elliptic curves."""
    provider(home, plain)
    told = {
        "https://aws.amazon.com/tags": {"principal_tags": {"team": ["red"]}, "transitive_tag_keys": ["team"]},
        "https://aws.amazon.com/source_identity": "alice",
    }
    role = trusting(home, plain)
    code, status, message = refused(assume, home=home, role=role, token=plain.token("ES256", **told))
    assert (code, status, message) == ("AccessDenied", 403, "Not authorized to perform sts:TagSession")
    document = json.loads(json.dumps(home.iam.get_role(RoleName=ROLE)["Role"]["AssumeRolePolicyDocument"]))
    document["Statement"][0]["Action"] = [ACTION, "sts:TagSession", "sts:SetSourceIdentity"]
    home.iam.update_assume_role_policy(RoleName=ROLE, PolicyDocument=json.dumps(document))
    home.iam.put_role_policy(
        RoleName=ROLE,
        PolicyName="p",
        PolicyDocument=policy(
            allow("iam:ListUsers", StringEquals={"aws:PrincipalTag/team": "red", "aws:SourceIdentity": "alice"})
        ),
    )
    answer = assume(home, role, plain.token("ES256", **told))
    assert answer["SourceIdentity"] == "alice" and answer["PackedPolicySize"] > 0
    home.client("iam", answer["Credentials"]).list_users()
    narrowed = assume(home, role, plain.token("ES256", **told), Policy=policy(allow("iam:ListRoles")))
    assert refused(home.client("iam", narrowed["Credentials"]).list_users)[0] == "AccessDenied"


def test_a_provider_that_is_away(home: Account) -> None:
    with Issuer() as issuer:
        pass
    provider(home, issuer)
    assert refused(assume, home=home, role=trusting(home, issuer), token=issuer.token())[0] == "IDPCommunicationError"


def test_what_is_not_offered(home: Account) -> None:
    role = f"arn:aws:iam::{home.id}:role/x"
    given = {"RoleArn": role, "PrincipalArn": f"arn:aws:iam::{home.id}:saml-provider/x", "SAMLAssertion": "AAAA"}
    assert refused(nobody(home).assume_role_with_saml, **given)[:2] == ("NotImplemented", 501)
