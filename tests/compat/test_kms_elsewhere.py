"""Keys whose material is brought along, and keys that are in several regions."""

from __future__ import annotations

import datetime
import os
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding

from tests.compat.test_kms import Client, MakeClient, kms, new_key, refused

__all__ = ["kms"]
pytestmark = pytest.mark.embedded
FOREVER = {"ExpirationModel": "KEY_MATERIAL_DOES_NOT_EXPIRE"}


def wrapped(kms: Client, key: str, material: bytes, algorithm: str = "RSAES_OAEP_SHA_256") -> dict[str, Any]:
    """The parameters that bring material, wrapped as KMS asks for it."""
    about = kms.get_parameters_for_import(KeyId=key, WrappingAlgorithm=algorithm, WrappingKeySpec="RSA_2048")
    public: Any = serialization.load_der_public_key(about["PublicKey"])
    digest: Any = hashes.SHA1() if algorithm.endswith("_1") else hashes.SHA256()
    oaep = padding.OAEP(padding.MGF1(digest), digest, None)
    if algorithm.startswith("RSAES"):
        closed = public.encrypt(material, oaep)
    else:
        inner = os.urandom(32)
        closed = public.encrypt(inner, oaep) + keywrap.aes_key_wrap_with_padding(inner, material)
    return {"KeyId": key, "ImportToken": about["ImportToken"], "EncryptedKeyMaterial": closed}


def state(kms: Client, key: str) -> str:
    return str(kms.describe_key(KeyId=key)["KeyMetadata"]["KeyState"])


def test_material_comes_and_goes(kms: Client) -> None:
    made = kms.create_key(Origin="EXTERNAL")["KeyMetadata"]
    key, material = made["KeyId"], os.urandom(32)
    assert (made["Origin"], made["KeyState"], made["Enabled"]) == ("EXTERNAL", "PendingImport", False)
    assert "CurrentKeyMaterialId" not in made
    assert refused(lambda: kms.encrypt(KeyId=key, Plaintext=b"x")) == "KMSInvalidStateException"
    assert refused(lambda: kms.enable_key(KeyId=key)) == "KMSInvalidStateException"
    answer = kms.import_key_material(**wrapped(kms, key, material), **FOREVER)
    about = kms.describe_key(KeyId=key)["KeyMetadata"]
    assert (about["KeyState"], about["ExpirationModel"]) == ("Enabled", "KEY_MATERIAL_DOES_NOT_EXPIRE")
    assert about["CurrentKeyMaterialId"] == answer["KeyMaterialId"]
    closed = kms.encrypt(KeyId=key, Plaintext=b"secret")["CiphertextBlob"]
    assert refused(lambda: kms.enable_key_rotation(KeyId=key)) == "UnsupportedOperationException"
    assert kms.delete_imported_key_material(KeyId=key)["KeyMaterialId"] == answer["KeyMaterialId"]
    assert state(kms, key) == "PendingImport"
    assert refused(lambda: kms.decrypt(CiphertextBlob=closed)) == "KMSInvalidStateException"
    other = wrapped(kms, key, os.urandom(32))
    assert refused(lambda: kms.import_key_material(**other, **FOREVER)) == "IncorrectKeyMaterialException"
    kms.import_key_material(**wrapped(kms, key, material, "RSA_AES_KEY_WRAP_SHA_1"), **FOREVER)
    opened = kms.decrypt(CiphertextBlob=closed)
    assert (opened["Plaintext"], opened["KeyMaterialId"]) == (b"secret", answer["KeyMaterialId"])


def test_what_is_no_material(kms: Client) -> None:
    key, other, own = new_key(kms, Origin="EXTERNAL"), new_key(kms, Origin="EXTERNAL"), new_key(kms)
    given = wrapped(kms, key, os.urandom(32))
    assert refused(lambda: kms.import_key_material(**given)) == "ValidationException"
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    assert refused(lambda: kms.import_key_material(**given, ValidTo=past)) == "ValidationException"
    for changed, code in (
        ({"KeyId": other}, "InvalidImportTokenException"),
        ({"ImportToken": b"x" * 100}, "InvalidImportTokenException"),
        ({"EncryptedKeyMaterial": b"x" * 256}, "InvalidCiphertextException"),
        (wrapped(kms, key, b"short"), "IncorrectKeyMaterialException"),
    ):
        assert refused(lambda: kms.import_key_material(**given | changed, **FOREVER)) == code  # noqa: B023
    assert refused(lambda: wrapped(kms, own, b"")) == "UnsupportedOperationException"
    assert refused(lambda: kms.delete_imported_key_material(KeyId=own)) == "UnsupportedOperationException"


def test_material_of_a_signing_key(kms: Client) -> None:
    key = new_key(kms, Origin="EXTERNAL", KeySpec="ECC_NIST_P256", KeyUsage="SIGN_VERIFY")
    private = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    material = private.private_bytes(serialization.Encoding.DER, form, serialization.NoEncryption())
    kms.import_key_material(**wrapped(kms, key, material, "RSA_AES_KEY_WRAP_SHA_256"), **FOREVER)
    signed = kms.sign(KeyId=key, Message=b"m", SigningAlgorithm="ECDSA_SHA_256")["Signature"]
    private.public_key().verify(signed, b"m", ec.ECDSA(hashes.SHA256()))


def test_materials_have_ids(kms: Client) -> None:
    key = new_key(kms)
    first = kms.describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"]
    closed = kms.generate_data_key(KeyId=key, KeySpec="AES_256")
    assert closed["KeyMaterialId"] == first and len(first) == 64
    kms.rotate_key_on_demand(KeyId=key)
    second = kms.describe_key(KeyId=key)["KeyMetadata"]["CurrentKeyMaterialId"]
    assert kms.decrypt(CiphertextBlob=closed["CiphertextBlob"])["KeyMaterialId"] == first != second
    again = kms.re_encrypt(CiphertextBlob=closed["CiphertextBlob"], DestinationKeyId=key)
    assert (again["SourceKeyMaterialId"], again["DestinationKeyMaterialId"]) == (first, second)
    told = kms.list_key_rotations(KeyId=key, IncludeKeyMaterial="ALL_KEY_MATERIAL")["Rotations"]
    assert [one["KeyMaterialId"] for one in told] == [first, second]


def test_a_key_in_two_regions(kms: Client, client: MakeClient, account: str) -> None:
    key, there = new_key(kms, MultiRegion=True), client("kms", region="eu-west-1")
    assert refused(lambda: there.describe_key(KeyId=key)) == "NotFoundException"
    made = kms.replicate_key(
        KeyId=key, ReplicaRegion="eu-west-1", Description="copy", Tags=[{"TagKey": "a", "TagValue": "b"}]
    )["ReplicaKeyMetadata"]
    assert made["Arn"] == f"arn:aws:kms:eu-west-1:{account}:key/{key}"
    assert made["MultiRegionConfiguration"] == {
        "MultiRegionKeyType": "REPLICA",
        "PrimaryKey": {"Arn": f"arn:aws:kms:us-east-1:{account}:key/{key}", "Region": "us-east-1"},
        "ReplicaKeys": [{"Arn": made["Arn"], "Region": "eu-west-1"}],
    }
    assert there.describe_key(KeyId=key)["KeyMetadata"] == made
    assert refused(lambda: kms.replicate_key(KeyId=key, ReplicaRegion="eu-west-1")) == "AlreadyExistsException"
    assert refused(lambda: there.replicate_key(KeyId=key, ReplicaRegion="eu-west-2")) == "UnsupportedOperationException"
    kms.rotate_key_on_demand(KeyId=key)
    closed = kms.encrypt(KeyId=key, Plaintext=b"secret", EncryptionContext={"a": "b"})["CiphertextBlob"]
    opened = there.decrypt(CiphertextBlob=closed, EncryptionContext={"a": "b"})
    assert (opened["Plaintext"], opened["KeyId"]) == (b"secret", made["Arn"])
    there.create_alias(AliasName="alias/copy", TargetKeyId=key)
    assert there.list_aliases(KeyId=key)["Aliases"][0]["TargetKeyId"] == key
    assert kms.list_aliases(KeyId=key)["Aliases"] == []
    assert [one["KeyId"] for one in there.list_keys()["Keys"]] == [key]
    assert there.list_resource_tags(KeyId=key)["Tags"] == [{"TagKey": "a", "TagValue": "b"}]
    assert kms.list_resource_tags(KeyId=key)["Tags"] == []
    there.disable_key(KeyId=key)
    assert (state(kms, key), state(there, key)) == ("Enabled", "Disabled")
    assert kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)["KeyState"] == "PendingReplicaDeletion"
    assert kms.describe_key(KeyId=key)["KeyMetadata"]["PendingDeletionWindowInDays"] == 7
    kms.cancel_key_deletion(KeyId=key)
    assert state(kms, key) == "Disabled"
