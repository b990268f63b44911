"""What is filed under users and accounts: SSH keys, MFA devices, certificates, providers, passwords, uses of keys."""

from __future__ import annotations

import base64
import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from compat.errors import AWSError
from compat.iam.mfa_devices import code_at
from tests.unit.fresh import fresh_database
from tests.unit.nimbus import ACCOUNT, Nimbus, allow, policy, trust

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def nimbus(tmp_path: Path, clock: Clock) -> Iterator[Nimbus]:
    made = Nimbus(fresh_database(tmp_path, clock))
    yield made
    made.close()


@pytest.fixture(scope="module")
def key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@pytest.fixture(scope="module")
def certificate(key: rsa.RSAPrivateKey) -> str:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.com")])
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, NOW, NOW + timedelta(days=30))
    return built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


def pem(key: rsa.RSAPrivateKey) -> str:
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    return key.private_bytes(*form).decode()


def refused(nimbus: Nimbus, wire_name: str, **params: Any) -> str:
    with pytest.raises(AWSError) as caught:
        nimbus.call(wire_name, **params)
    return caught.value.code


def test_ssh_keys(nimbus: Nimbus, key: rsa.RSAPrivateKey) -> None:
    nimbus.call("iam:CreateUser", UserName="bob")
    form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    body = key.public_key().public_bytes(*form).decode()
    made = nimbus.call("iam:UploadSSHPublicKey", UserName="bob", SSHPublicKeyBody=body)["SSHPublicKey"]
    assert made["SSHPublicKeyId"].startswith("APKA") and made["Fingerprint"].count(":") == 15
    id = made["SSHPublicKeyId"]
    got = nimbus.call("iam:GetSSHPublicKey", UserName="bob", SSHPublicKeyId=id, Encoding="PEM")["SSHPublicKey"]
    assert got["SSHPublicKeyBody"].startswith("-----BEGIN PUBLIC KEY-----")
    assert refused(nimbus, "iam:UploadSSHPublicKey", UserName="bob", SSHPublicKeyBody=body) == "DuplicateSSHPublicKey"
    assert refused(nimbus, "iam:UploadSSHPublicKey", UserName="bob", SSHPublicKeyBody="ssh-rsa x") == "InvalidPublicKey"
    nimbus.call("iam:UpdateSSHPublicKey", UserName="bob", SSHPublicKeyId=id, Status="Inactive")
    assert nimbus.call("iam:ListSSHPublicKeys", UserName="bob")["SSHPublicKeys"][0]["Status"] == "Inactive"
    assert refused(nimbus, "iam:DeleteUser", UserName="bob") == "DeleteConflict"
    nimbus.call("iam:DeleteSSHPublicKey", UserName="bob", SSHPublicKeyId=id)
    nimbus.call("iam:DeleteUser", UserName="bob")


def test_codes_are_those_of_the_standard() -> None:
    """RFC 6238, appendix B, the last six digits of the values for SHA-1."""
    seed = b"12345678901234567890"
    for moment, code in ((59, "287082"), (1111111109, "081804"), (1234567890, "005924"), (20000000000, "353130")):
        assert code_at(seed, moment // 30) == code


def test_mfa(nimbus: Nimbus, clock: Clock) -> None:
    bob = nimbus.user("bob", policy(allow("iam:ListUsers", Bool={"aws:MultiFactorAuthPresent": "true"})))
    made = nimbus.call("iam:CreateVirtualMFADevice", VirtualMFADeviceName="phone")["VirtualMFADevice"]
    serial, seed = made["SerialNumber"], base64.b32decode(made["Base32StringSeed"])
    assert serial == f"arn:aws:iam::{ACCOUNT}:mfa/phone"

    def code(offset: int = 0) -> str:
        return code_at(seed, int(clock.now.timestamp()) // 30 + offset)

    wrong = {"AuthenticationCode1": code(0), "AuthenticationCode2": code(0)}
    about = {"UserName": "bob", "SerialNumber": serial}
    assert refused(nimbus, "iam:EnableMFADevice", **about, **wrong) == "InvalidAuthenticationCode"
    nimbus.call("iam:EnableMFADevice", **about, AuthenticationCode1=code(-1), AuthenticationCode2=code(0))
    assert [one["SerialNumber"] for one in nimbus.call("iam:ListMFADevices", UserName="bob")["MFADevices"]] == [serial]
    assert refused(nimbus, "iam:DeleteVirtualMFADevice", SerialNumber=serial) == "DeleteConflict"
    assert refused(nimbus, "sts:GetSessionToken", by=bob, SerialNumber=serial, TokenCode=code(0)) == "AccessDenied"
    clock.now += timedelta(seconds=30)
    assert refused(nimbus, "iam:ListUsers", by=bob) == "AccessDenied"
    session = nimbus.call("sts:GetSessionToken", by=bob, SerialNumber=serial, TokenCode=code())["Credentials"]
    nimbus.call("iam:ListUsers", by=session["AccessKeyId"])
    assert refused(nimbus, "sts:GetSessionToken", by=bob, SerialNumber=serial, TokenCode=code()) == "AccessDenied"
    text = trust(f"arn:aws:iam::{ACCOUNT}:user/bob", Bool={"aws:MultiFactorAuthPresent": "true"})
    nimbus.call("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=text)
    asked = {"by": bob, "RoleArn": f"arn:aws:iam::{ACCOUNT}:role/r", "RoleSessionName": "bob"}
    assert refused(nimbus, "sts:AssumeRole", **asked) == "AccessDenied"
    clock.now += timedelta(seconds=30)
    assert refused(nimbus, "sts:AssumeRole", **asked, SerialNumber=serial, TokenCode="000000") == "AccessDenied"
    nimbus.call("sts:AssumeRole", **asked, SerialNumber=serial, TokenCode=code())
    nimbus.call("iam:DeactivateMFADevice", **about)
    nimbus.call("iam:DeleteVirtualMFADevice", SerialNumber=serial)
    assert nimbus.call("iam:ListVirtualMFADevices")["VirtualMFADevices"] == []


def test_certificates(nimbus: Nimbus, key: rsa.RSAPrivateKey, certificate: str) -> None:
    nimbus.call("iam:CreateUser", UserName="bob")
    made = nimbus.call("iam:UploadSigningCertificate", UserName="bob", CertificateBody=certificate)["Certificate"]
    again = {"UserName": "bob", "CertificateBody": certificate}
    assert refused(nimbus, "iam:UploadSigningCertificate", **again) == "DuplicateCertificate"
    nimbus.call("iam:DeleteSigningCertificate", UserName="bob", CertificateId=made["CertificateId"])
    assert nimbus.call("iam:ListSigningCertificates", UserName="bob")["Certificates"] == []

    given = {"ServerCertificateName": "web", "CertificateBody": certificate}
    other = rsa.generate_private_key(65537, 2048)
    assert refused(nimbus, "iam:UploadServerCertificate", **given, PrivateKey=pem(other)) == "KeyPairMismatch"
    assert refused(nimbus, "iam:UploadServerCertificate", **given, PrivateKey="x") == "MalformedCertificate"
    nimbus.call("iam:UploadServerCertificate", **given, PrivateKey=pem(key))
    got = nimbus.call("iam:GetServerCertificate", ServerCertificateName="web")["ServerCertificate"]
    assert got["ServerCertificateMetadata"]["Expiration"] == NOW + timedelta(days=30)
    assert "PrivateKey" not in got
    nimbus.call(
        "iam:UpdateServerCertificate", ServerCertificateName="web", NewServerCertificateName="www", NewPath="/x/"
    )
    listed = nimbus.call("iam:ListServerCertificates", PathPrefix="/x/")["ServerCertificateMetadataList"]
    assert [one["Arn"] for one in listed] == [f"arn:aws:iam::{ACCOUNT}:server-certificate/x/www"]
    nimbus.call("iam:DeleteServerCertificate", ServerCertificateName="www")
    assert refused(nimbus, "iam:GetServerCertificate", ServerCertificateName="www") == "NoSuchEntity"


METADATA = (
    '<EntityDescriptor xmlns="urn:oasis:names:tc:SAML:2.0:metadata" entityID="urn:idp"'
    ' validUntil="2040-01-02T03:04:05Z">'
    '<IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">'
    "<!--" + " " * 1000 + "-->"
    '<SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="https://idp.example/sso"/>'
    "</IDPSSODescriptor></EntityDescriptor>"
)


def test_saml_providers(nimbus: Nimbus) -> None:
    given: dict[str, Any] = {"Name": "idp", "SAMLMetadataDocument": METADATA, "Tags": [{"Key": "a", "Value": "b"}]}
    arn = nimbus.call("iam:CreateSAMLProvider", **given)["SAMLProviderArn"]
    assert arn == f"arn:aws:iam::{ACCOUNT}:saml-provider/idp"
    assert refused(nimbus, "iam:CreateSAMLProvider", **given) == "EntityAlreadyExists"
    for text in ("no xml " * 200, METADATA.replace("EntityDescriptor", "Other"), "<!DOCTYPE a>" + METADATA):
        assert refused(nimbus, "iam:CreateSAMLProvider", Name="other", SAMLMetadataDocument=text) == "InvalidInput"
    got = nimbus.call("iam:GetSAMLProvider", SAMLProviderArn=arn)
    assert (got["SAMLMetadataDocument"], got["ValidUntil"].isoformat()) == (METADATA, "2040-01-02T03:04:05+00:00")
    assert got["Tags"] == given["Tags"]
    unlimited = METADATA.replace(' validUntil="2040-01-02T03:04:05Z"', "")
    nimbus.call("iam:UpdateSAMLProvider", SAMLProviderArn=arn, SAMLMetadataDocument=unlimited)
    [listed] = nimbus.call("iam:ListSAMLProviders")["SAMLProviderList"]
    assert listed["Arn"] == arn and (listed["ValidUntil"] - listed["CreateDate"]).days == 36500
    nimbus.call("iam:TagSAMLProvider", SAMLProviderArn=arn, Tags=[{"Key": "c", "Value": "d"}])
    nimbus.call("iam:UntagSAMLProvider", SAMLProviderArn=arn, TagKeys=["a"])
    assert nimbus.call("iam:ListSAMLProviderTags", SAMLProviderArn=arn)["Tags"] == [{"Key": "c", "Value": "d"}]
    nimbus.call("iam:DeleteSAMLProvider", SAMLProviderArn=arn)
    assert refused(nimbus, "iam:GetSAMLProvider", SAMLProviderArn=arn) == "NoSuchEntity"


def test_identity_providers(nimbus: Nimbus) -> None:
    url = "https://token.actions.githubusercontent.com"
    given: dict[str, Any] = {
        "Url": url,
        "ClientIDList": ["sts.amazonaws.com"],
        "ThumbprintList": ["6938fd4d98bab03faadb97b34396831e3780aea1"],
    }
    arn = nimbus.call("iam:CreateOpenIDConnectProvider", **given)["OpenIDConnectProviderArn"]
    assert arn == f"arn:aws:iam::{ACCOUNT}:oidc-provider/token.actions.githubusercontent.com"
    assert refused(nimbus, "iam:CreateOpenIDConnectProvider", **given) == "EntityAlreadyExists"
    assert refused(nimbus, "iam:CreateOpenIDConnectProvider", Url="http://x.example") == "ValidationError"
    slashed = nimbus.call("iam:CreateOpenIDConnectProvider", Url="https://acme.auth0.com/")
    assert slashed["OpenIDConnectProviderArn"] == f"arn:aws:iam::{ACCOUNT}:oidc-provider/acme.auth0.com/"
    nimbus.call("iam:DeleteOpenIDConnectProvider", **slashed)
    named = {"OpenIDConnectProviderArn": arn}
    nimbus.call("iam:AddClientIDToOpenIDConnectProvider", **named, ClientID="more")
    nimbus.call("iam:RemoveClientIDFromOpenIDConnectProvider", **named, ClientID="sts.amazonaws.com")
    nimbus.call("iam:TagOpenIDConnectProvider", **named, Tags=[{"Key": "a", "Value": "b"}])
    got = nimbus.call("iam:GetOpenIDConnectProvider", **named)
    assert (got["Url"], got["ClientIDList"]) == ("token.actions.githubusercontent.com", ["more"])
    assert got["Tags"] == [{"Key": "a", "Value": "b"}]
    assert nimbus.call("iam:ListOpenIDConnectProviders")["OpenIDConnectProviderList"] == [{"Arn": arn}]
    nimbus.call("iam:DeleteOpenIDConnectProvider", **named)
    assert refused(nimbus, "iam:GetOpenIDConnectProvider", **named) == "NoSuchEntity"


def test_service_passwords(nimbus: Nimbus) -> None:
    nimbus.call("iam:CreateUser", UserName="bob")
    given = {"UserName": "bob", "ServiceName": "codecommit.amazonaws.com"}
    made = nimbus.call("iam:CreateServiceSpecificCredential", **given)["ServiceSpecificCredential"]
    assert made["ServiceUserName"] == f"bob-at-{ACCOUNT}" and made["ServicePassword"]
    named = {"UserName": "bob", "ServiceSpecificCredentialId": made["ServiceSpecificCredentialId"]}
    reset = nimbus.call("iam:ResetServiceSpecificCredential", **named)["ServiceSpecificCredential"]
    assert reset["ServicePassword"] != made["ServicePassword"]
    listed = nimbus.call("iam:ListServiceSpecificCredentials", UserName="bob")["ServiceSpecificCredentials"]
    assert len(listed) == 1 and "ServicePassword" not in listed[0]
    nimbus.call("iam:DeleteServiceSpecificCredential", **named)
    assert refused(nimbus, "iam:CreateServiceSpecificCredential", UserName="bob", ServiceName="x") == "NoSuchEntity"


def test_passwords(nimbus: Nimbus) -> None:
    bob = nimbus.user("bob", policy(allow("iam:ChangePassword")))
    nimbus.call("iam:CreateLoginProfile", UserName="bob", Password="Correct-horse-1", PasswordResetRequired=True)
    assert (
        refused(nimbus, "iam:CreateLoginProfile", UserName="bob", Password="Correct-horse-1") == "EntityAlreadyExists"
    )
    assert nimbus.call("iam:GetLoginProfile", UserName="bob")["LoginProfile"]["PasswordResetRequired"]
    change = {"by": bob, "NewPassword": "Battery-staple-2"}
    assert refused(nimbus, "iam:ChangePassword", **change, OldPassword="wrong") == "AccessDenied"
    nimbus.call("iam:ChangePassword", **change, OldPassword="Correct-horse-1")
    assert not nimbus.call("iam:GetLoginProfile", UserName="bob")["LoginProfile"]["PasswordResetRequired"]
    nimbus.call("iam:DeleteLoginProfile", UserName="bob")
    assert refused(nimbus, "iam:GetLoginProfile", UserName="bob") == "NoSuchEntity"


def test_the_last_use_of_a_key(nimbus: Nimbus, clock: Clock) -> None:
    bob = nimbus.user("bob", policy(allow("iam:ListUsers")))
    before = nimbus.call("iam:GetAccessKeyLastUsed", AccessKeyId=bob)
    assert before["UserName"] == "bob" and before["AccessKeyLastUsed"] == {"ServiceName": "N/A", "Region": "N/A"}
    nimbus.call("iam:ListUsers", by=bob, region="eu-west-1")
    used = nimbus.call("iam:GetAccessKeyLastUsed", AccessKeyId=bob)["AccessKeyLastUsed"]
    assert (used["ServiceName"], used["Region"]) == ("iam", "eu-west-1") and "LastUsedDate" in used


def test_ended_keys_are_forgotten(nimbus: Nimbus, clock: Clock) -> None:
    nimbus.call("iam:CreateRole", RoleName="r", AssumeRolePolicyDocument=trust(ACCOUNT))
    asked = {"RoleArn": f"arn:aws:iam::{ACCOUNT}:role/r", "RoleSessionName": "alice"}
    id = nimbus.call("sts:AssumeRole", **asked)["Credentials"]["AccessKeyId"]
    clock.now += timedelta(hours=2)
    nimbus.directory.settle()
    ended = nimbus.directory.credential(id)
    assert ended is not None and ended.expires is not None and ended.expires < clock.now
    clock.now += timedelta(days=2)
    nimbus.directory.settle()
    nimbus.call("iam:CreateUser", UserName="bob")
    assert nimbus.directory.credential(id) is None


def test_the_credential_report(nimbus: Nimbus, clock: Clock) -> None:
    assert refused(nimbus, "iam:GetCredentialReport") == "ReportNotPresent"
    bob = nimbus.user("bob")
    nimbus.call("iam:CreateLoginProfile", UserName="bob", Password="Correct-horse-1")
    nimbus.call("iam:UpdateAccessKey", UserName="bob", AccessKeyId=bob, Status="Inactive")
    assert nimbus.call("iam:GenerateCredentialReport")["State"] == "COMPLETE"
    report = nimbus.call("iam:GetCredentialReport")
    rows = {row["user"]: row for row in csv.DictReader(report["Content"].decode().splitlines())}
    assert rows["<root_account>"]["arn"] == f"arn:aws:iam::{ACCOUNT}:root"
    assert (rows["bob"]["password_enabled"], rows["bob"]["access_key_1_active"]) == ("true", "false")
    assert rows["bob"]["access_key_1_last_rotated"] == "2026-11-22T12:00:00+00:00"
    clock.now += timedelta(hours=5)
    assert refused(nimbus, "iam:GetCredentialReport") == "ReportExpired"
    nimbus.call("iam:CreateUser", UserName="eve")
    nimbus.call("iam:GenerateCredentialReport")
    assert b"eve" in nimbus.call("iam:GetCredentialReport")["Content"]
