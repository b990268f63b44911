"""Key pairs that work: the private half opens what the public half locks."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_ssh_private_key,
    load_ssh_public_key,
)

from tests.compat.refused import refused

Client = Any


def test_rsa(ec2: Client) -> None:
    made = ec2.create_key_pair(
        KeyName="mine", TagSpecifications=[{"ResourceType": "key-pair", "Tags": [{"Key": "a", "Value": "b"}]}]
    )
    assert made["KeyMaterial"].startswith("-----BEGIN RSA PRIVATE KEY-----")
    assert len(made["KeyFingerprint"].split(":")) == 20
    (shown,) = ec2.describe_key_pairs(KeyNames=["mine"], IncludePublicKey=True)["KeyPairs"]
    assert (shown["KeyPairId"], shown["KeyType"]) == (made["KeyPairId"], "rsa")
    assert shown["KeyFingerprint"] == made["KeyFingerprint"] and shown["Tags"] == [{"Key": "a", "Value": "b"}]
    private = load_pem_private_key(made["KeyMaterial"].encode(), None)
    public = load_ssh_public_key(shown["PublicKey"].encode())
    assert isinstance(private, rsa.RSAPrivateKey) and isinstance(public, rsa.RSAPublicKey)
    signature = private.sign(b"hello", padding.PKCS1v15(), hashes.SHA256())
    public.verify(signature, b"hello", padding.PKCS1v15(), hashes.SHA256())
    assert "PublicKey" not in ec2.describe_key_pairs(KeyPairIds=[made["KeyPairId"]])["KeyPairs"][0]


def test_ed25519(ec2: Client) -> None:
    made = ec2.create_key_pair(KeyName="mine", KeyType="ed25519")
    private = load_ssh_private_key(made["KeyMaterial"].encode(), None)
    (shown,) = ec2.describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
    public = load_ssh_public_key(shown["PublicKey"].encode())
    assert isinstance(private, ed25519.Ed25519PrivateKey) and isinstance(public, ed25519.Ed25519PublicKey)
    public.verify(private.sign(b"hello"), b"hello")


@pytest.mark.skipif(shutil.which("ssh-keygen") is None, reason="OpenSSH's ssh-keygen is not installed")
def test_openssh_reads_it(ec2: Client, tmp_path: Path) -> None:
    made = ec2.create_key_pair(KeyName="mine", KeyType="ed25519")
    file = tmp_path / "key"
    file.write_text(made["KeyMaterial"])
    file.chmod(0o600)
    told = subprocess.run(["ssh-keygen", "-l", "-f", file], capture_output=True, text=True, check=True).stdout
    assert f"SHA256:{made['KeyFingerprint'].rstrip('=')} " in told


def test_import(ec2: Client) -> None:
    key = ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    made = ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=key + b" me@here")
    (shown,) = ec2.describe_key_pairs(IncludePublicKey=True)["KeyPairs"]
    assert shown["KeyFingerprint"] == made["KeyFingerprint"] and shown["PublicKey"].startswith(key.decode())
    with refused("InvalidKeyPair.Duplicate", "mine"):
        ec2.import_key_pair(KeyName="mine", PublicKeyMaterial=key)
    with refused("InvalidKey.Format"):
        ec2.import_key_pair(KeyName="other", PublicKeyMaterial=b"no key at all")


def test_delete_and_not_found(ec2: Client) -> None:
    made = ec2.create_key_pair(KeyName="mine", KeyType="ed25519")
    with refused("InvalidKeyPair.Duplicate"):
        ec2.create_key_pair(KeyName="mine", KeyType="ed25519")
    assert ec2.delete_key_pair(KeyName="mine")["KeyPairId"] == made["KeyPairId"]
    assert ec2.delete_key_pair(KeyName="mine")["Return"] is True
    with refused("InvalidKeyPair.NotFound", "mine"):
        ec2.describe_key_pairs(KeyNames=["mine"])
    with refused("DryRunOperation"):
        ec2.create_key_pair(KeyName="dry", DryRun=True)
    assert ec2.describe_key_pairs()["KeyPairs"] == []
