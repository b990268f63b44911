"""Signatures, message authentication codes, shared secrets, and the public halves of keys."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from backends.keys import material
from backends.keys.ring import Known
from compat.errors import AWSError
from compat.kms import faults
from compat.kms.places import arn_of, check_enabled, find, ring, the_key, usable
from compat.kms.specs import AGREE, BY_NATIVE, MAC, MEMBERS, SIGN, SPECS, signing
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result


def _ready(ctx: Context, p: Params, usage: str, algorithm: str) -> tuple[Known, bytes]:
    """The key of the call and its material, when it is for that, and has the algorithm."""
    key = find(ctx, p["KeyId"])
    usable(ctx, key, usage)
    spec = BY_NATIVE[key.spec]
    if algorithm not in SPECS[spec].uses[usage]:
        raise AWSError("InvalidKeyUsageException", f"Algorithm {algorithm} and key spec {spec} are incompatible.")
    secret = ring(ctx).secret(key)
    assert secret is not None
    return key, secret


def _is_digest(p: Params) -> bool:
    kind = p.get("MessageType") or "RAW"
    if kind not in ("RAW", "DIGEST"):
        raise faults.invalid(f"MessageType {kind} is not valid for the key spec.")
    return bool(kind == "DIGEST")


@operation("kms:Sign", on=the_key, streams=True, reads=True)
def sign(ctx: Context, p: Params) -> Result:
    algorithm = p["SigningAlgorithm"]
    key, secret = _ready(ctx, p, SIGN, algorithm)
    scheme, digest = signing(algorithm)
    try:
        signature = material.sign(secret, p["Message"], scheme, digest, hashed=_is_digest(p))
    except material.Unfit as fault:
        raise faults.invalid(str(fault)) from None
    return {"KeyId": arn_of(ctx, key), "Signature": signature, "SigningAlgorithm": algorithm}


@operation("kms:Verify", on=the_key, streams=True, reads=True)
def verify(ctx: Context, p: Params) -> Result:
    algorithm = p["SigningAlgorithm"]
    key, secret = _ready(ctx, p, SIGN, algorithm)
    scheme, digest = signing(algorithm)
    try:
        valid = material.verify(secret, p["Message"], p["Signature"], scheme, digest, hashed=_is_digest(p))
    except material.Unfit as fault:
        raise faults.invalid(str(fault)) from None
    if not valid:
        raise AWSError("KMSInvalidSignatureException", "")
    return {"KeyId": arn_of(ctx, key), "SignatureValid": True, "SigningAlgorithm": algorithm}


@operation("kms:GenerateMac", on=the_key, streams=True, reads=True)
def generate_mac(ctx: Context, p: Params) -> Result:
    algorithm = p["MacAlgorithm"]
    key, secret = _ready(ctx, p, MAC, algorithm)
    mac = material.mac(secret, p["Message"], algorithm.removeprefix("HMAC_"))
    return {"Mac": mac, "MacAlgorithm": algorithm, "KeyId": arn_of(ctx, key)}


@operation("kms:VerifyMac", on=the_key, streams=True, reads=True)
def verify_mac(ctx: Context, p: Params) -> Result:
    algorithm = p["MacAlgorithm"]
    key, secret = _ready(ctx, p, MAC, algorithm)
    if not hmac.compare_digest(material.mac(secret, p["Message"], algorithm.removeprefix("HMAC_")), p["Mac"]):
        raise AWSError("KMSInvalidMacException", "")
    return {"KeyId": arn_of(ctx, key), "MacValid": True, "MacAlgorithm": algorithm}


@operation("kms:DeriveSharedSecret", on=the_key, streams=True, reads=True)
def derive_shared_secret(ctx: Context, p: Params) -> Result:
    key, secret = _ready(ctx, p, AGREE, p["KeyAgreementAlgorithm"])
    try:
        shared = material.agree(secret, p["PublicKey"])
    except material.Unfit:
        raise faults.invalid("The public key is not valid for the key spec.") from None
    return {
        "KeyId": arn_of(ctx, key),
        "SharedSecret": shared,
        "KeyAgreementAlgorithm": p["KeyAgreementAlgorithm"],
        "KeyOrigin": "AWS_KMS",
    }


@operation("kms:GetPublicKey", on=the_key, streams=True)
def get_public_key(ctx: Context, p: Params) -> Result:
    key = find(ctx, p["KeyId"])
    arn, spec = arn_of(ctx, key), BY_NATIVE[key.spec]
    check_enabled(arn, key)
    if not spec.startswith(("RSA", "ECC")):
        raise faults.unsupported(f"{arn} key spec is {spec} which is not valid for GetPublicKey.")
    secret = ring(ctx).secret(key)
    assert secret is not None
    return {
        "KeyId": arn,
        "PublicKey": material.public_bytes(secret),
        "CustomerMasterKeySpec": spec,
        "KeySpec": spec,
        "KeyUsage": key.purpose,
        MEMBERS[key.purpose]: list(SPECS[spec].uses[key.purpose]),
    }
