"""What keys are made of, and what can be done with it."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, keywrap, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backends.errors import NativeError

SYMMETRIC = "SYMMETRIC"
CURVES: Mapping[str, type[ec.EllipticCurve]] = {
    "P256": ec.SECP256R1,
    "P384": ec.SECP384R1,
    "P521": ec.SECP521R1,
    "P256K1": ec.SECP256K1,
}
HASHES: Mapping[str, type[hashes.HashAlgorithm]] = {
    "SHA_1": hashes.SHA1,
    "SHA_224": hashes.SHA224,
    "SHA_256": hashes.SHA256,
    "SHA_384": hashes.SHA384,
    "SHA_512": hashes.SHA512,
}
OVERHEAD = 28


class Unopenable(NativeError):
    """The bytes were not closed with this key and these words, or they were changed."""


class Unfit(NativeError):
    """The bytes are too many, or too few, for what is asked."""


# --- making -----------------------------------------------------------------------------------------------------------


def make(spec: str) -> bytes:
    """Fresh material: `SYMMETRIC`, `HMAC_256` (bits), `RSA_2048`, `P256`, `ED25519`. Asymmetric ones in PKCS #8."""
    kind, _, bits = spec.partition("_")
    if spec == SYMMETRIC:
        return os.urandom(32)
    if kind == "HMAC":
        return os.urandom(int(bits) // 8)
    return private_bytes(_private(spec))


def _private(spec: str) -> Any:
    if spec.startswith("RSA_"):
        return rsa.generate_private_key(65537, int(spec[4:]))
    return ed25519.Ed25519PrivateKey.generate() if spec == "ED25519" else ec.generate_private_key(CURVES[spec]())


def private_bytes(key: Any) -> bytes:
    """A private key in PKCS #8 DER."""
    encoded: bytes = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return encoded


def public_bytes(material: bytes) -> bytes:
    """The public half in SubjectPublicKeyInfo DER."""
    public = loaded(material).public_key()
    encoded: bytes = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return encoded


def loaded(material: bytes) -> Any:
    """The private key behind PKCS #8 bytes."""
    return serialization.load_der_private_key(material, None)


# --- closing and opening ----------------------------------------------------------------------------------------------


def close(material: bytes, plain: bytes, words: bytes) -> bytes:
    """`plain` under a symmetric key; it opens with the same words only."""
    nonce = os.urandom(12)
    return nonce + AESGCM(material).encrypt(nonce, plain, words)


def open_closed(material: bytes, closed: bytes, words: bytes) -> bytes:
    """What was closed. Raises `Unopenable`."""
    try:
        return AESGCM(material).decrypt(closed[:12], closed[12:], words)
    except (InvalidTag, ValueError):
        raise Unopenable("the key or the words do not fit") from None


def _oaep(digest: str) -> padding.OAEP:
    algorithm = HASHES[digest]()
    return padding.OAEP(padding.MGF1(algorithm), algorithm, None)


def encrypt(material: bytes, plain: bytes, digest: str) -> bytes:
    """RSAES-OAEP with the public half. Raises `Unfit` when there is too much of it."""
    try:
        closed: bytes = loaded(material).public_key().encrypt(plain, _oaep(digest))
    except ValueError:
        raise Unfit("too long for the key") from None
    return closed


def decrypt(material: bytes, closed: bytes, digest: str) -> bytes:
    """The way back. Raises `Unopenable`."""
    try:
        plain: bytes = loaded(material).decrypt(closed, _oaep(digest))
    except ValueError:
        raise Unopenable("the key does not fit") from None
    return plain


def unwrap(material: bytes, wrapped: bytes, digest: str) -> bytes:
    """What was wrapped with AES (RFC 5649) under a key that an RSA key wrapped: that, and then the other, in one piece.
    Raises `Unopenable`."""
    size = loaded(material).key_size // 8
    wrapping = decrypt(material, wrapped[:size], digest)
    try:
        return keywrap.aes_key_unwrap_with_padding(wrapping, wrapped[size:])
    except (keywrap.InvalidUnwrap, ValueError):
        raise Unopenable("the key does not fit") from None


def check(spec: str, brought: bytes) -> None:
    """Refuse material that is none of that spec (see `make`). Raises `Unfit`."""
    kind, _, bits = spec.partition("_")
    if spec == SYMMETRIC or kind == "HMAC":
        if len(brought) != (32 if spec == SYMMETRIC else int(bits) // 8):
            raise Unfit("The key material has another length.")
        return
    try:
        key = loaded(brought)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise Unfit("The key material is no private key in PKCS #8.") from None
    if isinstance(key, rsa.RSAPrivateKey):
        found = f"RSA_{key.key_size}"
    elif isinstance(key, ec.EllipticCurvePrivateKey):
        found = next((name for name, curve in CURVES.items() if isinstance(key.curve, curve)), "")
    else:
        found = "ED25519" if isinstance(key, ed25519.Ed25519PrivateKey) else ""
    if found != spec:
        raise Unfit("The key material is of another kind.")


# --- signing ----------------------------------------------------------------------------------------------------------


def sign(material: bytes, message: bytes, scheme: str, digest: str, *, hashed: bool) -> bytes:
    """A signature by scheme `PSS`, `PKCS1`, `ECDSA` (DER) or `EDDSA`. `hashed`: the message is a digest already.

    Raises `Unfit` for a digest of the wrong length."""
    key = loaded(material)
    if scheme == "EDDSA":
        return key.sign(message)  # type: ignore[no-any-return]
    algorithm = _algorithm(message, digest, hashed=hashed)
    if scheme == "ECDSA":
        return key.sign(message, ec.ECDSA(algorithm))  # type: ignore[no-any-return]
    return key.sign(message, _padding(scheme, HASHES[digest]()), algorithm)  # type: ignore[no-any-return]


def verify(material: bytes, message: bytes, signature: bytes, scheme: str, digest: str, *, hashed: bool) -> bool:
    """Whether a signature is the key's. Raises `Unfit` for a digest of the wrong length."""
    key = loaded(material).public_key()
    try:
        if scheme == "EDDSA":
            key.verify(signature, message)
            return True
        algorithm = _algorithm(message, digest, hashed=hashed)
        if scheme == "ECDSA":
            key.verify(signature, message, ec.ECDSA(algorithm))
        else:
            key.verify(signature, message, _padding(scheme, HASHES[digest]()), algorithm)
    except InvalidSignature:
        return False
    return True


def _algorithm(message: bytes, digest: str, *, hashed: bool) -> Any:
    algorithm = HASHES[digest]()
    if not hashed:
        return algorithm
    if len(message) != algorithm.digest_size:
        raise Unfit("Digest is invalid length for algorithm.")
    return utils.Prehashed(algorithm)


def _padding(scheme: str, algorithm: hashes.HashAlgorithm) -> Any:
    if scheme == "PKCS1":
        return padding.PKCS1v15()
    return padding.PSS(padding.MGF1(algorithm), algorithm.digest_size)


def mac(material: bytes, message: bytes, digest: str) -> bytes:
    """The HMAC of a message."""
    return hmac.digest(material, message, digest.replace("_", "").lower())


def agree(material: bytes, other: bytes) -> bytes:
    """The secret that is shared with the holder of another public key (DER). Raises `Unfit` when it is of another
    curve, or none."""
    key = loaded(material)
    try:
        public = serialization.load_der_public_key(other)
        if not isinstance(public, ec.EllipticCurvePublicKey) or public.curve.name != key.curve.name:
            raise Unfit("the public key is of another curve")
        secret: bytes = key.exchange(ec.ECDH(), public)
    except ValueError:
        raise Unfit("no public key") from None
    return secret
