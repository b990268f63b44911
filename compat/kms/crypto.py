"""Encrypt, decrypt, and keys for data."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from backends.keys import material
from backends.keys.ring import Known
from compat.errors import AWSError
from compat.iam.authorize import ask, refusal
from compat.kms import faults
from compat.kms.cipher import close, key_of, number_in, open_closed
from compat.kms.places import arn_of, find, material_id, ring, the_key, usable
from compat.kms.specs import BY_NATIVE, ENCRYPT, PAIRS, SPECS, SYMMETRIC
from compat.kms.words import Words, on_behalf
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

SIZES = {"AES_128": 16, "AES_256": 32}


def _digest(algorithm: str) -> str:
    return "SHA_" + algorithm.rpartition("_")[2]


def _check_algorithm(key: Known, algorithm: str) -> None:
    """Refuse an algorithm that the key does not have."""
    spec = BY_NATIVE[key.spec]
    if algorithm not in SPECS[spec].uses[ENCRYPT]:
        raise AWSError("InvalidKeyUsageException", f"Algorithm {algorithm} and key spec {spec} are incompatible.")


def encrypt_with(ctx: Context, key: Known, plain: bytes, words: Words, algorithm: str) -> bytes:
    """`plain` under a key that may encrypt. Raises KMS's errors."""
    usable(ctx, key, ENCRYPT)
    _check_algorithm(key, algorithm)
    if algorithm == SYMMETRIC:
        return close(ring(ctx), key, plain, words)
    _no_words(words)
    secret = ring(ctx).secret(key)
    assert secret is not None
    try:
        return material.encrypt(secret, plain, _digest(algorithm))
    except material.Unfit:
        raise faults.invalid(f"Algorithm {algorithm} and key spec {key.spec} cannot encrypt data that long.") from None


def decrypt_with(ctx: Context, key: Known, blob: bytes, words: Words, algorithm: str) -> bytes:
    """What `encrypt_with` gave. Raises KMS's errors."""
    usable(ctx, key, ENCRYPT)
    _check_algorithm(key, algorithm)
    if algorithm == SYMMETRIC:
        return open_closed(ring(ctx), key, blob, words)
    _no_words(words)
    secret = ring(ctx).secret(key)
    assert secret is not None
    try:
        return material.decrypt(secret, blob, _digest(algorithm))
    except material.Unopenable:
        raise faults.invalid_ciphertext() from None


def closed_by(key: Known, blob: bytes) -> str:
    """Which of a symmetric key's materials closed a ciphertext."""
    number = number_in(blob)
    return material_id(key, next(turn for turn in key.past if turn.number == number))


def _no_words(words: Words) -> None:
    if words:
        raise faults.invalid("EncryptionContext can only be specified with symmetric encryption keys.")


# --- which key a ciphertext means -------------------------------------------------------------------------------------


def _opener(ctx: Context, blob: bytes | None, named: str | None, algorithm: str) -> Known:
    """The key that opens a ciphertext; where the call names one, it must be that. A dry run may name the key only."""
    if blob is None:
        if named is None or not ctx.params.get("DryRun"):
            raise faults.invalid("CiphertextBlob is required, except in a dry run that names the key.")
        return find(ctx, named)
    if algorithm != SYMMETRIC:
        if named is None:
            raise faults.invalid("The KeyId parameter is required to decrypt with an asymmetric KMS key.")
        return find(ctx, named)
    asked = None if named is None else find(ctx, named)
    key = key_of(ctx, blob)
    if asked is not None and asked.id != key.id:
        raise AWSError(
            "IncorrectKeyException",
            "The key ID in the request does not identify a CMK that can perform this operation.",
        )
    return key


def _of_decrypt(ctx: Context, p: Params) -> Iterable[str]:
    algorithm = p.get("EncryptionAlgorithm") or SYMMETRIC
    return (arn_of(ctx, _opener(ctx, p.get("CiphertextBlob"), p.get("KeyId"), algorithm)),)


def _of_source(ctx: Context, p: Params) -> Iterable[str]:
    algorithm = p.get("SourceEncryptionAlgorithm") or SYMMETRIC
    return (arn_of(ctx, _opener(ctx, p.get("CiphertextBlob"), p.get("SourceKeyId"), algorithm)),)


# --- operations -------------------------------------------------------------------------------------------------------


@operation("kms:Encrypt", on=the_key, streams=True, reads=True)
def encrypt(ctx: Context, p: Params) -> Result:
    key, algorithm = find(ctx, p["KeyId"]), p.get("EncryptionAlgorithm") or SYMMETRIC
    blob = encrypt_with(ctx, key, p["Plaintext"], p.get("EncryptionContext") or {}, algorithm)
    return {"CiphertextBlob": blob, "KeyId": arn_of(ctx, key), "EncryptionAlgorithm": algorithm}


@operation("kms:Decrypt", on=_of_decrypt, streams=True, reads=True)
def decrypt(ctx: Context, p: Params) -> Result:
    _no_enclave(p)
    algorithm = p.get("EncryptionAlgorithm") or SYMMETRIC
    blob = p.get("CiphertextBlob")
    key = _opener(ctx, blob, p.get("KeyId"), algorithm)
    assert blob is not None
    plain = decrypt_with(ctx, key, blob, p.get("EncryptionContext") or {}, algorithm)
    answer = {"Plaintext": plain, "KeyId": arn_of(ctx, key), "EncryptionAlgorithm": algorithm}
    return answer | ({"KeyMaterialId": closed_by(key, blob)} if algorithm == SYMMETRIC else {})


@operation("kms:ReEncrypt", on=_of_source, action="kms:ReEncryptFrom", streams=True, reads=True)
def re_encrypt(ctx: Context, p: Params) -> Result:
    before = p.get("SourceEncryptionAlgorithm") or SYMMETRIC
    after = p.get("DestinationEncryptionAlgorithm") or SYMMETRIC
    source = _opener(ctx, p.get("CiphertextBlob"), p.get("SourceKeyId"), before)
    target, words = find(ctx, p["DestinationKeyId"]), p.get("DestinationEncryptionContext") or {}
    permit(ctx, "kms:ReEncryptTo", target, words, None)
    plain = decrypt_with(ctx, source, p["CiphertextBlob"], p.get("SourceEncryptionContext") or {}, before)
    materials = {}
    if before == SYMMETRIC:
        materials["SourceKeyMaterialId"] = closed_by(source, p["CiphertextBlob"])
    if after == SYMMETRIC:
        materials["DestinationKeyMaterialId"] = material_id(target, target.past[-1])
    return materials | {
        "CiphertextBlob": encrypt_with(ctx, target, plain, words, after),
        "SourceKeyId": arn_of(ctx, source),
        "KeyId": arn_of(ctx, target),
        "SourceEncryptionAlgorithm": before,
        "DestinationEncryptionAlgorithm": after,
    }


def permit(ctx: Context, action: str, key: Known, words: Words, service: str | None) -> None:
    """Ask whether the caller may do `action` with a key under these words (through `service`, where one asks for its
    caller). Raises AccessDenied in the words of the service that is called."""
    if ctx.rules.auth != "enforce":
        return
    with on_behalf(words, service):
        decision = ask(ctx, action, arn_of(ctx, key))
    if not decision.allowed:
        raise refusal(ctx, ctx.operation, decision)


def _no_enclave(p: Params) -> None:
    if p.get("Recipient"):
        raise AWSError("NotImplemented", "Attested recipients are not implemented by Nephele.", 501)


def _size(p: Params) -> int:
    given, spec = p.get("NumberOfBytes"), p.get("KeySpec")
    if (given is None) == (spec is None):
        raise faults.invalid("Please specify either number of bytes or key spec.")
    return int(given) if given is not None else SIZES[spec or ""]


def _data_key(ctx: Context, p: Params) -> tuple[Result, bytes]:
    _no_enclave(p)
    key, size = find(ctx, p["KeyId"]), _size(p)
    _check_wraps(ctx, key)
    plain = os.urandom(size)
    blob = close(ring(ctx), key, plain, p.get("EncryptionContext") or {})
    return {
        "CiphertextBlob": blob,
        "KeyId": arn_of(ctx, key),
        "KeyMaterialId": material_id(key, key.past[-1]),
    }, plain


def _check_wraps(ctx: Context, key: Known) -> None:
    """Data keys are closed by symmetric keys only."""
    arn = usable(ctx, key, ENCRYPT)
    if key.spec != "SYMMETRIC":
        raise faults.invalid_usage(arn, f"{ENCRYPT} with key spec {key.spec}", ctx.operation.name)


@operation("kms:GenerateDataKey", on=the_key, streams=True, reads=True)
def generate_data_key(ctx: Context, p: Params) -> Result:
    result, plain = _data_key(ctx, p)
    return result | {"Plaintext": plain}


@operation("kms:GenerateDataKeyWithoutPlaintext", on=the_key, streams=True, reads=True)
def generate_data_key_without_plaintext(ctx: Context, p: Params) -> Result:
    return _data_key(ctx, p)[0]


def _data_key_pair(ctx: Context, p: Params) -> tuple[Result, bytes]:
    _no_enclave(p)
    key, spec = find(ctx, p["KeyId"]), p["KeyPairSpec"]
    _check_wraps(ctx, key)
    if spec not in PAIRS:
        raise AWSError("NotImplemented", f"Key pairs of spec {spec} are not implemented by Nephele.", 501)
    private = material.make(SPECS[spec].native)
    return {
        "PrivateKeyCiphertextBlob": close(ring(ctx), key, private, p.get("EncryptionContext") or {}),
        "PublicKey": material.public_bytes(private),
        "KeyId": arn_of(ctx, key),
        "KeyPairSpec": spec,
        "KeyMaterialId": material_id(key, key.past[-1]),
    }, private


@operation("kms:GenerateDataKeyPair", on=the_key, streams=True, reads=True, slow=True)
def generate_data_key_pair(ctx: Context, p: Params) -> Result:
    result, private = _data_key_pair(ctx, p)
    return result | {"PrivateKeyPlaintext": private}


@operation("kms:GenerateDataKeyPairWithoutPlaintext", on=the_key, streams=True, reads=True, slow=True)
def generate_data_key_pair_without_plaintext(ctx: Context, p: Params) -> Result:
    return _data_key_pair(ctx, p)[0]


@operation("kms:GenerateRandom", streams=True, reads=True)
def generate_random(ctx: Context, p: Params) -> Result:
    _no_enclave(p)
    if p.get("CustomKeyStoreId"):
        raise AWSError("NotImplemented", "Custom key stores are not implemented by Nephele.", 501)
    size: Any = p.get("NumberOfBytes")
    if size is None:
        raise faults.invalid("NumberOfBytes is required.")
    return {"Plaintext": os.urandom(size)}
