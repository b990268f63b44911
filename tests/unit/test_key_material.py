"""Login keys: what is made can be read, and fingerprints are those that AWS tells."""

from __future__ import annotations

import base64
import hashlib
import hmac
import struct

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from compat.ec2 import key_material
from compat.ec2.key_material import NotAKey

# A key from RFC 8032 (its first test vector), as OpenSSH prints it.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(SEED)
RSA = rsa.generate_private_key(65537, 1024)


def test_the_fingerprint_of_a_made_rsa_key_is_sha1_over_pkcs8() -> None:
    der = RSA.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    digits = key_material.made_fingerprint(RSA)
    assert digits.replace(":", "") == hashlib.sha1(der).hexdigest()
    assert [len(pair) for pair in digits.split(":")] == [2] * 20


def test_the_fingerprint_of_an_imported_rsa_key_is_md5_over_the_public_der() -> None:
    der = RSA.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert key_material.imported_fingerprint(RSA.public_key()).replace(":", "") == hashlib.md5(der).hexdigest()


def test_the_fingerprint_of_an_ed25519_key_is_openssh_s() -> None:
    blob = base64.b64decode(key_material.openssh(ED25519.public_key()).split()[1])
    expected = base64.b64encode(hashlib.sha256(blob).digest()).decode()
    assert key_material.made_fingerprint(ED25519) == expected
    assert key_material.imported_fingerprint(ED25519.public_key()) == expected


def rfc4716(key: rsa.RSAPublicKey | ed25519.Ed25519PublicKey) -> bytes:
    text = key_material.openssh(key).split()[1]
    lines = [text[start : start + 70] for start in range(0, len(text), 70)]
    return "\n".join(
        ["---- BEGIN SSH2 PUBLIC KEY ----", 'Comment: "mine"', *lines, "---- END SSH2 PUBLIC KEY ----"]
    ).encode()


@pytest.mark.parametrize("private", [RSA, ED25519], ids=["rsa", "ed25519"])
def test_a_public_key_is_read_in_every_form(private: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> None:
    key = private.public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    for form in (
        key_material.openssh(key).encode(),
        key_material.openssh(key).encode() + b" me@here\n",
        key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        base64.b64encode(der),
        rfc4716(key),
    ):
        read = key_material.read_public(form)
        assert key_material.openssh(read) == key_material.openssh(key)
        assert key_material.kind_of(read) == ("rsa" if private is RSA else "ed25519")


@given(st.binary(max_size=300) | st.text(max_size=200).map(lambda text: ("ssh-rsa " + text).encode()))
def test_what_is_no_key_is_refused(material: bytes) -> None:
    with pytest.raises(NotAKey):
        key_material.read_public(material)


def test_kinds_that_ec2_does_not_take() -> None:
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    with pytest.raises(NotAKey):
        key_material.read_public(other.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH))


def read_string(blob: bytes) -> tuple[bytes, bytes]:
    (length,) = struct.unpack(">I", blob[:4])
    return blob[4 : 4 + length], blob[4 + length :]


def test_putty_s_form_holds_the_key_and_its_own_proof() -> None:
    lines = key_material.ppk(RSA).splitlines()
    assert lines[:2] == ["PuTTY-User-Key-File-2: ssh-rsa", "Encryption: none"]
    comment = lines[2].removeprefix("Comment: ")
    count = int(lines[3].removeprefix("Public-Lines: "))
    public = base64.b64decode("".join(lines[4 : 4 + count]))
    rest = lines[4 + count :]
    private = base64.b64decode("".join(rest[1 : 1 + int(rest[0].removeprefix("Private-Lines: "))]))
    assert public == base64.b64decode(key_material.openssh(RSA.public_key()).split()[1])
    numbers = RSA.private_numbers()
    for expected in (numbers.d, numbers.p, numbers.q, numbers.iqmp):
        number, private_rest = read_string(private)
        assert int.from_bytes(number, "big") == expected
        private = private_rest
    whole = base64.b64decode("".join(rest[1:-1]))
    parts = (b"ssh-rsa", b"none", comment.encode(), public, whole)
    signed = b"".join(struct.pack(">I", len(part)) + part for part in parts)
    proof = hmac.new(hashlib.sha1(b"putty-private-key-file-mac-key").digest(), signed, "sha1").hexdigest()
    assert rest[-1] == f"Private-MAC: {proof}"


def test_what_is_made_differs_each_time() -> None:
    one, two = (key_material.make("ed25519", "pem") for _ in range(2))
    assert one.private != two.private and one.fingerprint != two.fingerprint
