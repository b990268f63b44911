"""JSON Web Tokens as identity providers sign them (RFC 7515, 7517, 7519): read, and checked with a provider's keys."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512")
CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}


class NoToken(ValueError):
    """The text is no signed JSON Web Token."""


@dataclass(frozen=True, slots=True)
class WebToken:
    """A token whose signature is not checked yet. `signed` are the bytes that were signed."""

    header: Mapping[str, Any]
    claims: Mapping[str, Any]
    signed: bytes
    signature: bytes

    @property
    def audiences(self) -> tuple[str, ...]:
        """For whom it was made."""
        found = self.claims.get("aud")
        return tuple(str(one) for one in found) if isinstance(found, list) else (str(found),) if found else ()


def read_token(text: str) -> WebToken:
    """The parts of a token. Raises `NoToken`."""
    parts = text.split(".")
    if len(parts) != 3:
        raise NoToken
    header, claims = (_object(part) for part in parts[:2])
    return WebToken(header, claims, f"{parts[0]}.{parts[1]}".encode(), _bytes(parts[2]))


def _object(part: str) -> Mapping[str, Any]:
    try:
        found = orjson.loads(_bytes(part))
    except orjson.JSONDecodeError:
        raise NoToken from None
    if not isinstance(found, dict):
        raise NoToken
    return found


def _bytes(part: str) -> bytes:
    try:
        return base64.b64decode(part.encode("ascii") + b"=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise NoToken from None


def fitting(keys: Sequence[Mapping[str, Any]], token: WebToken) -> list[Mapping[str, Any]]:
    """The keys among a provider's that may have signed a token: by its `kid`, its algorithm and its use."""
    algorithm, kid = token.header.get("alg"), token.header.get("kid")
    kind = "RSA" if str(algorithm).startswith("RS") else "EC"
    return [
        key
        for key in keys
        if isinstance(key, dict)
        and algorithm in ALGORITHMS
        and key.get("kty") == kind
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and (kid is None or key.get("kid", kid) == kid)
    ]


def verifies(key: Mapping[str, Any], token: WebToken) -> bool:
    """Whether a key (`fitting`) made the signature of a token. A key that is malformed made none."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

    algorithm = str(token.header["alg"])
    digests: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
    curves: dict[str, ec.EllipticCurve] = {"256": ec.SECP256R1(), "384": ec.SECP384R1(), "512": ec.SECP521R1()}
    digest = digests[algorithm[2:]]
    try:
        if algorithm.startswith("RS"):
            numbers = rsa.RSAPublicNumbers(_number(key["e"]), _number(key["n"]))
            numbers.public_key().verify(token.signature, token.signed, padding.PKCS1v15(), digest)
            return True
        if key["crv"] != CURVES[algorithm]:
            return False
        curve = curves[algorithm[2:]]
        half = (curve.key_size + 7) // 8
        if len(token.signature) != 2 * half:
            return False
        r, s = (int.from_bytes(part, "big") for part in (token.signature[:half], token.signature[half:]))
        point = ec.EllipticCurvePublicNumbers(_number(key["x"]), _number(key["y"]), curve)
        point.public_key().verify(utils.encode_dss_signature(r, s), token.signed, ec.ECDSA(digest))
        return True
    except (InvalidSignature, NoToken, KeyError, ValueError, TypeError, AttributeError):
        return False


def _number(text: str) -> int:
    return int.from_bytes(_bytes(text), "big")
