"""Login keys: made, read in whatever form they come, printed in the forms that clients read, and fingerprinted."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import struct
from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
    load_ssh_public_key,
)

PublicKey = RSAPublicKey | Ed25519PublicKey
PrivateKey = RSAPrivateKey | Ed25519PrivateKey

RSA_SIZES = range(1024, 16385)


class NotAKey(ValueError):
    """The text is no public key that EC2 takes."""


@dataclass(frozen=True, slots=True)
class Made:
    """A new key: the private half as text, the public half as OpenSSH text, and AWS's fingerprint."""

    private: str
    public: str
    fingerprint: str


def make(kind: str, form: str) -> Made:
    """A new key of kind `rsa` (2048 bits) or `ed25519`, its private half as `pem` or `ppk`."""
    key: PrivateKey
    key = generate_private_key(65537, 2048) if kind == "rsa" else Ed25519PrivateKey.generate()
    private = ppk(key) if form == "ppk" else pem(key)
    return Made(private, openssh(key.public_key()), made_fingerprint(key))


def openssh(key: PublicKey) -> str:
    """The key as it stands in `authorized_keys`."""
    return key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()


def kind_of(key: PublicKey) -> str:
    """`rsa` or `ed25519`."""
    return "rsa" if isinstance(key, RSAPublicKey) else "ed25519"


def pem(key: PrivateKey) -> str:
    """The private key in the form that EC2 hands out: PKCS #1 for RSA, OpenSSH's own for Ed25519."""
    form = PrivateFormat.TraditionalOpenSSL if isinstance(key, RSAPrivateKey) else PrivateFormat.OpenSSH
    return key.private_bytes(Encoding.PEM, form, NoEncryption()).decode()


def made_fingerprint(key: PrivateKey) -> str:
    """The fingerprint of a key that EC2 made: SHA-1 over the private half in PKCS #8 for RSA; else as imported."""
    if isinstance(key, Ed25519PrivateKey):
        return imported_fingerprint(key.public_key())
    return _colons(hashlib.sha1(key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).hexdigest())


def imported_fingerprint(key: PublicKey) -> str:
    """The fingerprint of an imported key: MD5 over the public key in DER for RSA, SHA-256 in base64 for Ed25519."""
    if isinstance(key, RSAPublicKey):
        der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return _colons(hashlib.md5(der, usedforsecurity=False).hexdigest())
    return base64.b64encode(hashlib.sha256(_blob(key)).digest()).decode()


def read_public(material: bytes) -> PublicKey:
    """A public key in any form that EC2 imports: OpenSSH, RFC 4716, PEM or DER in base64. Raises `NotAKey`."""
    text = material.strip()
    key: object
    try:
        if text.startswith(b"---- BEGIN SSH2 PUBLIC KEY ----"):
            key = load_ssh_public_key(_from_rfc4716(text))
        elif text.startswith(b"-----BEGIN"):
            key = load_pem_public_key(text)
        elif text.startswith((b"ssh-", b"ecdsa-", b"sk-")):
            key = load_ssh_public_key(text)
        else:
            key = load_der_public_key(base64.b64decode(text, validate=True))
    except (ValueError, UnsupportedAlgorithm, binascii.Error, IndexError) as error:
        raise NotAKey(str(error)) from error
    if isinstance(key, RSAPublicKey) and key.key_size in RSA_SIZES:
        return key
    if isinstance(key, Ed25519PublicKey):
        return key
    raise NotAKey("only RSA and Ed25519 keys are taken")


def ppk(key: PrivateKey) -> str:
    """The private key as PuTTY keeps it (its format 2, without a passphrase)."""
    public = _blob(key.public_key())
    if isinstance(key, RSAPrivateKey):
        numbers = key.private_numbers()
        name, private = "ssh-rsa", b"".join(map(_mpint, (numbers.d, numbers.p, numbers.q, numbers.iqmp)))
    else:
        name, private = "ssh-ed25519", _string(key.private_bytes_raw())
    comment = "imported-openssh-key"
    signed = b"".join(map(_string, (name.encode(), b"none", comment.encode(), public, private)))
    secret = hashlib.sha1(b"putty-private-key-file-mac-key").digest()
    lines = [f"PuTTY-User-Key-File-2: {name}", "Encryption: none", f"Comment: {comment}"]
    for title, blob in (("Public", public), ("Private", private)):
        text = base64.b64encode(blob).decode()
        rows = [text[start : start + 64] for start in range(0, len(text), 64)]
        lines += [f"{title}-Lines: {len(rows)}", *rows]
    lines.append(f"Private-MAC: {hmac.new(secret, signed, 'sha1').hexdigest()}")
    return "\n".join(lines) + "\n"


def _blob(key: PublicKey) -> bytes:
    return base64.b64decode(openssh(key).split()[1])


def _from_rfc4716(text: bytes) -> bytes:
    body = [line for line in text.splitlines()[1:-1] if b":" not in line and not line.endswith(b"\\")]
    blob = base64.b64decode(b"".join(body), validate=True)
    length = int.from_bytes(blob[:4], "big")
    return blob[4 : 4 + length] + b" " + base64.b64encode(blob)


def _colons(digits: str) -> str:
    return ":".join(digits[place : place + 2] for place in range(0, len(digits), 2))


def _string(value: bytes) -> bytes:
    return struct.pack(">I", len(value)) + value


def _mpint(value: int) -> bytes:
    return _string(value.to_bytes(value.bit_length() // 8 + 1, "big"))
