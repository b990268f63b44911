"""Keys as boto3 sees them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

Client = Any
MakeClient = Callable[..., Client]
pytestmark = pytest.mark.embedded


@pytest.fixture
def kms(client: MakeClient) -> Client:
    return client("kms")


def refused(call: Callable[[], Any]) -> str:
    """The error code with which a call is answered."""
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


def new_key(kms: Client, **about: Any) -> str:
    return str(kms.create_key(**about)["KeyMetadata"]["KeyId"])


def test_a_key_is_described_by_each_of_its_names(kms: Client, account: str) -> None:
    made = kms.create_key(Description="mine", Tags=[{"TagKey": "a", "TagValue": "b"}])["KeyMetadata"]
    kms.create_alias(AliasName="alias/mine", TargetKeyId=made["KeyId"])
    assert made["Arn"] == f"arn:aws:kms:us-east-1:{account}:key/{made['KeyId']}"
    assert (made["KeyState"], made["KeyUsage"], made["KeySpec"]) == ("Enabled", "ENCRYPT_DECRYPT", "SYMMETRIC_DEFAULT")
    alias = f"arn:aws:kms:us-east-1:{account}:alias/mine"
    for name in (made["KeyId"], made["Arn"], "alias/mine", alias):
        assert kms.describe_key(KeyId=name)["KeyMetadata"] == made
    kms.update_key_description(KeyId=made["KeyId"], Description="yours")
    assert kms.describe_key(KeyId="alias/mine")["KeyMetadata"]["Description"] == "yours"
    assert kms.list_resource_tags(KeyId=made["KeyId"])["Tags"] == [{"TagKey": "a", "TagValue": "b"}]
    kms.tag_resource(KeyId=made["KeyId"], Tags=[{"TagKey": "c", "TagValue": ""}])
    kms.untag_resource(KeyId=made["KeyId"], TagKeys=["a"])
    assert kms.list_resource_tags(KeyId=made["KeyId"])["Tags"] == [{"TagKey": "c", "TagValue": ""}]


def test_what_is_not_there_is_not_found(kms: Client, client: MakeClient) -> None:
    for name in ("alias/none", "1234abcd-12ab-34cd-56ef-1234567890ab", "nonsense"):
        assert refused(lambda name=name: kms.describe_key(KeyId=name)) == "NotFoundException"
    made = kms.create_key()["KeyMetadata"]
    elsewhere = client("kms", region="eu-west-1")
    assert refused(lambda: elsewhere.describe_key(KeyId=made["KeyId"])) == "NotFoundException"
    assert refused(lambda: elsewhere.describe_key(KeyId=made["Arn"])) == "NotFoundException"


def test_what_is_encrypted_is_decrypted_with_the_same_words_only(kms: Client) -> None:
    key, other = new_key(kms), new_key(kms)
    words = {"a": "1", "b": "2"}
    closed = kms.encrypt(KeyId=key, Plaintext=b"hello", EncryptionContext=words)["CiphertextBlob"]
    assert b"hello" not in closed
    opened = kms.decrypt(CiphertextBlob=closed, EncryptionContext={"b": "2", "a": "1"})
    assert (opened["Plaintext"], opened["KeyId"].rpartition("/")[2]) == (b"hello", key)
    assert refused(lambda: kms.decrypt(CiphertextBlob=closed)) == "InvalidCiphertextException"
    wrong = lambda: kms.decrypt(CiphertextBlob=closed, EncryptionContext=words, KeyId=other)  # noqa: E731
    assert refused(wrong) == "IncorrectKeyException"
    for place in (0, 8, 22, len(closed) - 1):
        bad = bytearray(closed)
        bad[place] ^= 1
        code = refused(lambda bad=bytes(bad): kms.decrypt(CiphertextBlob=bad, EncryptionContext=words))
        assert code == "InvalidCiphertextException", place
    again = kms.re_encrypt(
        CiphertextBlob=closed, SourceEncryptionContext=words, DestinationKeyId=other,
        DestinationEncryptionContext={"c": "3"},
    )  # fmt: skip
    assert again["KeyId"].endswith(other) and again["SourceKeyId"].endswith(key)
    opened = kms.decrypt(CiphertextBlob=again["CiphertextBlob"], EncryptionContext={"c": "3"}, KeyId=other)
    assert opened["Plaintext"] == b"hello"


def test_data_keys(kms: Client) -> None:
    key = new_key(kms)
    made = kms.generate_data_key(KeyId=key, KeySpec="AES_256", EncryptionContext={"x": "y"})
    assert len(made["Plaintext"]) == 32
    assert (
        kms.decrypt(CiphertextBlob=made["CiphertextBlob"], EncryptionContext={"x": "y"})["Plaintext"]
        == made["Plaintext"]
    )
    assert len(kms.generate_data_key(KeyId=key, NumberOfBytes=77)["Plaintext"]) == 77
    without = kms.generate_data_key_without_plaintext(KeyId=key, KeySpec="AES_128")
    assert "Plaintext" not in without and len(kms.decrypt(CiphertextBlob=without["CiphertextBlob"])["Plaintext"]) == 16
    assert refused(lambda: kms.generate_data_key(KeyId=key)) == "ValidationException"
    pair = kms.generate_data_key_pair(KeyId=key, KeyPairSpec="ECC_NIST_P256")
    private = serialization.load_der_private_key(pair["PrivateKeyPlaintext"], None)
    public = serialization.load_der_public_key(pair["PublicKey"])
    assert private.public_key() == public
    assert kms.decrypt(CiphertextBlob=pair["PrivateKeyCiphertextBlob"])["Plaintext"] == pair["PrivateKeyPlaintext"]
    assert "PrivateKeyPlaintext" not in kms.generate_data_key_pair_without_plaintext(
        KeyId=key, KeyPairSpec="ECC_NIST_P384"
    )
    assert len(kms.generate_random(NumberOfBytes=40)["Plaintext"]) == 40


def test_new_material_still_opens_what_the_old_one_closed(kms: Client) -> None:
    key = new_key(kms)
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False
    before = kms.encrypt(KeyId=key, Plaintext=b"old")["CiphertextBlob"]
    kms.rotate_key_on_demand(KeyId=key)
    after = kms.encrypt(KeyId=key, Plaintext=b"new")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=before)["Plaintext"] == b"old"
    assert kms.decrypt(CiphertextBlob=after)["Plaintext"] == b"new"
    rotations = kms.list_key_rotations(KeyId=key)["Rotations"]
    assert [one["RotationType"] for one in rotations] == ["ON_DEMAND"]
    # The new material is another one: under the old one's number the new ciphertext does not open.
    assert refused(lambda: kms.decrypt(CiphertextBlob=after[:20] + before[20:24] + after[24:])) == (
        "InvalidCiphertextException"
    )
    kms.enable_key_rotation(KeyId=key, RotationPeriodInDays=100)
    status = kms.get_key_rotation_status(KeyId=key)
    assert (status["KeyRotationEnabled"], status["RotationPeriodInDays"]) == (True, 100)
    kms.disable_key_rotation(KeyId=key)
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False


def test_a_key_that_is_off_does_nothing(kms: Client) -> None:
    key = new_key(kms)
    closed = kms.encrypt(KeyId=key, Plaintext=b"x")["CiphertextBlob"]
    kms.disable_key(KeyId=key)
    assert refused(lambda: kms.encrypt(KeyId=key, Plaintext=b"x")) == "DisabledException"
    assert refused(lambda: kms.decrypt(CiphertextBlob=closed)) == "DisabledException"
    kms.enable_key(KeyId=key)
    assert kms.decrypt(CiphertextBlob=closed)["Plaintext"] == b"x"
    assert refused(lambda: kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=3)) == "ValidationException"
    going = kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)
    assert going["KeyState"] == "PendingDeletion"
    for call in (
        lambda: kms.decrypt(CiphertextBlob=closed),
        lambda: kms.enable_key(KeyId=key),
        lambda: kms.schedule_key_deletion(KeyId=key),
        lambda: kms.create_alias(AliasName="alias/late", TargetKeyId=key),
    ):
        assert refused(call) == "KMSInvalidStateException"
    kms.cancel_key_deletion(KeyId=key)
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"] == "Disabled"
    assert refused(lambda: kms.cancel_key_deletion(KeyId=key)) == "KMSInvalidStateException"


@pytest.mark.parametrize("spec", ["RSA_2048", "ECC_NIST_P256", "ECC_NIST_P521", "ECC_SECG_P256K1"])
def test_signatures_are_those_of_the_public_key(kms: Client, spec: str) -> None:
    made = kms.create_key(KeySpec=spec, KeyUsage="SIGN_VERIFY")["KeyMetadata"]
    key, message = made["KeyId"], b"a message"
    public = serialization.load_der_public_key(kms.get_public_key(KeyId=key)["PublicKey"])
    for algorithm in made["SigningAlgorithms"]:
        digest = getattr(hashes, "SHA" + algorithm[-3:])()
        hashed = hashlib.new("sha" + algorithm[-3:], message).digest()
        for kind, given in (("RAW", message), ("DIGEST", hashed)):
            about = {"KeyId": key, "SigningAlgorithm": algorithm, "MessageType": kind, "Message": given}
            signature = kms.sign(**about)["Signature"]
            if isinstance(public, ec.EllipticCurvePublicKey):
                public.verify(signature, message, ec.ECDSA(digest))
            else:
                scheme = (
                    padding.PSS(padding.MGF1(digest), digest.digest_size) if "PSS" in algorithm else padding.PKCS1v15()
                )
                public.verify(signature, message, scheme, digest)  # type: ignore[union-attr,call-arg]
            assert kms.verify(**about, Signature=signature)["SignatureValid"] is True
            about["Message"] = given[::-1]
            assert refused(lambda a=about, s=signature: kms.verify(**a, Signature=s)) == "KMSInvalidSignatureException"
    assert refused(lambda: kms.encrypt(KeyId=key, Plaintext=b"x")) == "InvalidKeyUsageException"


def test_rsa_encrypts_hmac_authenticates_and_curves_agree(kms: Client) -> None:
    rsa = new_key(kms, KeySpec="RSA_2048", KeyUsage="ENCRYPT_DECRYPT")
    for algorithm in ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256"):
        closed = kms.encrypt(KeyId=rsa, Plaintext=b"hi", EncryptionAlgorithm=algorithm)["CiphertextBlob"]
        opened = kms.decrypt(KeyId=rsa, CiphertextBlob=closed, EncryptionAlgorithm=algorithm)
        assert opened["Plaintext"] == b"hi"
    assert refused(lambda: kms.encrypt(KeyId=rsa, Plaintext=b"hi")) == "InvalidKeyUsageException"
    mac = new_key(kms, KeySpec="HMAC_256", KeyUsage="GENERATE_VERIFY_MAC")
    made = kms.generate_mac(KeyId=mac, Message=b"m", MacAlgorithm="HMAC_SHA_256")["Mac"]
    assert kms.verify_mac(KeyId=mac, Message=b"m", MacAlgorithm="HMAC_SHA_256", Mac=made)["MacValid"] is True
    other = lambda: kms.verify_mac(KeyId=mac, Message=b"n", MacAlgorithm="HMAC_SHA_256", Mac=made)  # noqa: E731
    assert refused(other) == "KMSInvalidMacException"
    one, two = (new_key(kms, KeySpec="ECC_NIST_P256", KeyUsage="KEY_AGREEMENT") for _ in range(2))
    secrets = {
        kms.derive_shared_secret(
            KeyId=mine, KeyAgreementAlgorithm="ECDH", PublicKey=kms.get_public_key(KeyId=theirs)["PublicKey"]
        )["SharedSecret"]
        for mine, theirs in ((one, two), (two, one))
    }
    assert len(secrets) == 1
    assert refused(lambda: kms.create_key(KeySpec="RSA_2048")) == "ValidationException"


def test_aliases_move_and_go(kms: Client) -> None:
    one, two = new_key(kms), new_key(kms)
    kms.create_alias(AliasName="alias/a", TargetKeyId=one)
    assert refused(lambda: kms.create_alias(AliasName="alias/a", TargetKeyId=two)) == "AlreadyExistsException"
    kms.update_alias(AliasName="alias/a", TargetKeyId=two)
    assert kms.describe_key(KeyId="alias/a")["KeyMetadata"]["KeyId"] == two
    assert [a["AliasName"] for a in kms.list_aliases(KeyId=two)["Aliases"]] == ["alias/a"]
    kms.delete_alias(AliasName="alias/a")
    assert refused(lambda: kms.delete_alias(AliasName="alias/a")) == "NotFoundException"
    assert refused(lambda: kms.create_alias(AliasName="a", TargetKeyId=one)) == "ValidationException"
    assert refused(lambda: kms.create_alias(AliasName="alias/aws/x", TargetKeyId=one)) == "NotAuthorizedException"


@pytest.mark.parametrize("spec, usage", [("RSA_2048", "SIGN_VERIFY"), ("HMAC_256", "GENERATE_VERIFY_MAC")])
def test_keys_that_are_never_rotated_say_so(kms: Client, spec: str, usage: str) -> None:
    key = new_key(kms, KeySpec=spec, KeyUsage=usage)
    assert kms.get_key_rotation_status(KeyId=key)["KeyRotationEnabled"] is False
    assert refused(lambda: kms.enable_key_rotation(KeyId=key)) == "UnsupportedOperationException"


def test_lists_come_in_pages(kms: Client) -> None:
    keys = sorted(new_key(kms) for _ in range(5))
    for number, key in enumerate(keys):
        kms.create_alias(AliasName=f"alias/n{number}", TargetKeyId=key)
    pages = list(kms.get_paginator("list_keys").paginate(PaginationConfig={"PageSize": 2}))
    assert [one["KeyId"] for page in pages for one in page["Keys"]] == keys and len(pages) == 3
    pages = list(kms.get_paginator("list_aliases").paginate(PaginationConfig={"PageSize": 2}))
    managed = [f"alias/aws/{name}" for name in ("ebs", "s3", "ssm")]
    aliases = [one for page in pages for one in page["Aliases"]]
    assert [one["AliasName"] for one in aliases] == [*managed, *(f"alias/n{n}" for n in range(5))]
    assert ["TargetKeyId" in one for one in aliases] == [False] * 3 + [True] * 5
    assert refused(lambda: kms.list_keys(Marker="%%")) == "InvalidMarkerException"


def test_managed_keys_are_there_when_asked_for(kms: Client) -> None:
    about = kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"]
    assert about["KeyManager"] == "AWS" and kms.describe_key(KeyId="alias/aws/s3")["KeyMetadata"] == about
    assert refused(lambda: kms.disable_key(KeyId=about["KeyId"])) == "AccessDeniedException"
    # Nobody uses it but through S3.
    assert refused(lambda: kms.encrypt(KeyId="alias/aws/s3", Plaintext=b"x")) == "AccessDeniedException"


# --- who may ----------------------------------------------------------------------------------------------------------


def user(client: MakeClient, name: str, *actions: str, resource: str = "*") -> tuple[str, Client]:
    """A user who may do `actions`, by identity policy; the ARN and a KMS client."""
    iam = client("iam")
    arn = iam.create_user(UserName=name)["User"]["Arn"]
    if actions:
        policy = {
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": list(actions), "Resource": resource}],
        }
        iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return arn, client("kms", key=key["AccessKeyId"], secret=key["SecretAccessKey"])


def statement(principal: str, *actions: str, **more: Any) -> dict[str, Any]:
    return {"Effect": "Allow", "Principal": {"AWS": principal}, "Action": list(actions), "Resource": "*", **more}


def policy(*statements: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": list(statements)})


def test_the_default_policy_hands_the_decision_to_iam(kms: Client, client: MakeClient) -> None:
    key = new_key(kms)
    _, able = user(client, "able", "kms:Encrypt")
    _, unable = user(client, "unable")
    able.encrypt(KeyId=key, Plaintext=b"x")
    assert refused(lambda: able.describe_key(KeyId=key)) == "AccessDeniedException"
    assert refused(lambda: unable.encrypt(KeyId=key, Plaintext=b"x")) == "AccessDeniedException"


def test_without_a_word_in_the_key_policy_iam_counts_for_nothing(kms: Client, client: MakeClient, account: str) -> None:
    arn, able = user(client, "able", "kms:*")
    named, unable = user(client, "named")
    root = f"arn:aws:iam::{account}:root"
    manage = statement(root, "kms:PutKeyPolicy", "kms:GetKeyPolicy")
    key = new_key(kms, Policy=policy(manage, statement(named, "kms:Encrypt")))
    assert refused(lambda: able.encrypt(KeyId=key, Plaintext=b"x")) == "AccessDeniedException"
    unable.encrypt(KeyId=key, Plaintext=b"x")
    assert refused(lambda: kms.encrypt(KeyId=key, Plaintext=b"x")) == "AccessDeniedException"
    assert refused(lambda: kms.put_key_policy(KeyId=key, Policy=policy(statement(arn, "kms:Encrypt")))) == (
        "MalformedPolicyDocumentException"
    )
    kms.put_key_policy(KeyId=key, Policy=policy(statement(root, "kms:*")))
    able.encrypt(KeyId=key, Plaintext=b"x")
    assert json.loads(kms.get_key_policy(KeyId=key)["Policy"])["Statement"][0]["Action"] == ["kms:*"]
    assert kms.list_key_policies(KeyId=key)["PolicyNames"] == ["default"]


def test_another_account_needs_both(kms: Client, client: MakeClient, account: str) -> None:
    other = client("kms", account="222233334444")
    root = f"arn:aws:iam::{account}:root"
    arn = kms.create_key()["KeyMetadata"]["Arn"]
    assert refused(lambda: other.encrypt(KeyId=arn, Plaintext=b"x")) == "AccessDeniedException"
    kms.put_key_policy(
        KeyId=arn, Policy=policy(statement(root, "kms:*"), statement("222233334444", "kms:Encrypt", "kms:Decrypt"))
    )
    closed = other.encrypt(KeyId=arn, Plaintext=b"x")["CiphertextBlob"]
    assert kms.decrypt(CiphertextBlob=closed)["Plaintext"] == b"x"
    assert other.decrypt(CiphertextBlob=closed)["Plaintext"] == b"x"
    assert refused(lambda: other.disable_key(KeyId=arn)) == "AccessDeniedException"


def test_policies_read_the_encryption_context(kms: Client, client: MakeClient, account: str) -> None:
    arn, named = user(client, "named")
    when = {"StringEquals": {"kms:EncryptionContext:project": "moon"}}
    root = statement(f"arn:aws:iam::{account}:root", "kms:*")
    key = new_key(kms, Policy=policy(root, statement(arn, "kms:Encrypt", Condition=when)))
    named.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext={"project": "moon"})
    other = lambda: named.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext={"project": "sun"})  # noqa: E731
    assert refused(other) == "AccessDeniedException"
    assert refused(lambda: named.encrypt(KeyId=key, Plaintext=b"x")) == "AccessDeniedException"


def test_grants_let_in_and_are_taken_back(kms: Client, client: MakeClient) -> None:
    key = new_key(kms)
    arn, grantee = user(client, "grantee")
    retiring, retirer = user(client, "retirer")
    assert refused(lambda: grantee.encrypt(KeyId=key, Plaintext=b"x")) == "AccessDeniedException"
    constraints = {"EncryptionContextSubset": {"a": "1"}}
    made = kms.create_grant(
        KeyId=key, GranteePrincipal=arn, RetiringPrincipal=retiring, Operations=["Encrypt"], Constraints=constraints
    )
    grantee.encrypt(KeyId=key, Plaintext=b"x", EncryptionContext={"a": "1", "b": "2"})
    assert refused(lambda: grantee.encrypt(KeyId=key, Plaintext=b"x")) == "AccessDeniedException"
    listed = kms.list_grants(KeyId=key)["Grants"]
    assert [(one["GrantId"], one["GranteePrincipal"], one["Constraints"]) for one in listed] == [
        (made["GrantId"], arn, constraints)
    ]
    assert [one["GrantId"] for one in kms.list_retirable_grants(RetiringPrincipal=retiring)["Grants"]] == [
        made["GrantId"]
    ]
    assert refused(lambda: grantee.retire_grant(GrantToken=made["GrantToken"])) == "AccessDeniedException"
    retirer.retire_grant(GrantToken=made["GrantToken"])
    assert kms.list_grants(KeyId=key)["Grants"] == []
    again = kms.create_grant(KeyId=key, GranteePrincipal=arn, Operations=["Encrypt"])["GrantId"]
    grantee.encrypt(KeyId=key, Plaintext=b"x")
    kms.retire_grant(KeyId=key, GrantId=again)
    assert refused(lambda: grantee.encrypt(KeyId=key, Plaintext=b"x")) == "AccessDeniedException"
    assert refused(lambda: kms.revoke_grant(KeyId=key, GrantId=again)) == "NotFoundException"
    wrong = lambda: kms.create_grant(KeyId=key, GranteePrincipal=arn, Operations=["Sign"])  # noqa: E731
    assert refused(wrong) == "ValidationException"


def test_a_dry_run_says_so(kms: Client) -> None:
    key = new_key(kms)
    with pytest.raises(ClientError) as caught:
        kms.encrypt(KeyId=key, Plaintext=b"x", DryRun=True)
    assert caught.value.response["Error"]["Code"] == "DryRunOperationException"
