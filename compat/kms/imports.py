"""Material that is brought from elsewhere: wrapped by its owner with a key made for that, which is good for a day."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import orjson

from backends.identity.seal import Seal, Unsealable
from backends.keys import material
from backends.keys.models import MasterKey
from compat.errors import AWSError
from compat.kms import faults
from compat.kms.places import arn_of, find, known_as, material_id, the_key
from compat.kms.rows import lasting_row_of, row_of, service
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

GOOD_FOR, LONGEST = timedelta(hours=24), timedelta(days=365)
SEALED_FOR = "import of key material"
SPECS = ("RSA_2048", "RSA_3072", "RSA_4096")
ALGORITHMS = ("RSAES_OAEP_SHA_1", "RSAES_OAEP_SHA_256", "RSA_AES_KEY_WRAP_SHA_1", "RSA_AES_KEY_WRAP_SHA_256")
FOREVER = "KEY_MATERIAL_DOES_NOT_EXPIRE"


def _seal(ctx: Context) -> Seal:
    found: Seal = ctx.cloud.hosts["identity"]
    return found


def _row(ctx: Context, p: Params) -> MasterKey:
    row = lasting_row_of(ctx, p)
    _check_outside(ctx, row)
    return row


def _check_outside(ctx: Context, row: MasterKey) -> None:
    if not row.outside:
        raise faults.unsupported(f"{arn_of(ctx, row)} origin is AWS_KMS which is not valid for this operation.")


@operation("kms:GetParametersForImport", on=the_key, slow=True)
def get_parameters_for_import(ctx: Context, p: Params) -> Result:
    """The token holds the private half, sealed: nothing is kept."""
    row = _row(ctx, p)
    if p["WrappingKeySpec"] not in SPECS or p["WrappingAlgorithm"] not in ALGORITHMS:
        raise faults.unsupported(f"{p['WrappingAlgorithm']} with {p['WrappingKeySpec']} is not supported.")
    private, ends = material.make(p["WrappingKeySpec"]), ctx.now + GOOD_FOR
    about = orjson.dumps([row.id, p["WrappingAlgorithm"], ends.timestamp()])
    token = _seal(ctx).close(len(about).to_bytes(2, "big") + about + private, SEALED_FOR)
    return {
        "KeyId": arn_of(ctx, row),
        "ImportToken": token,
        "PublicKey": material.public_bytes(private),
        "ParametersValidTo": ends,
    }


def _unwrapped(ctx: Context, row: MasterKey, token: bytes, wrapped: bytes) -> bytes:
    """The material in plain. Raises KMS's errors."""
    try:
        plain = _seal(ctx).open(token, SEALED_FOR)
    except Unsealable:
        raise AWSError("InvalidImportTokenException", "") from None
    size = int.from_bytes(plain[:2], "big")
    key, algorithm, ends = orjson.loads(plain[2 : 2 + size])
    if key != row.id:
        raise AWSError("InvalidImportTokenException", "")
    if ends <= ctx.now.timestamp():
        raise AWSError("ExpiredImportTokenException", "")
    digest = "SHA_" + algorithm.rpartition("_")[2]
    try:
        if algorithm.startswith("RSAES"):
            return material.decrypt(plain[2 + size :], wrapped, digest)
        return material.unwrap(plain[2 + size :], wrapped, digest)
    except material.Unopenable:
        raise faults.invalid_ciphertext() from None


def _until(ctx: Context, p: Params) -> datetime | None:
    ends: datetime | None = p.get("ValidTo")
    if p.get("ExpirationModel") == FOREVER:
        if ends is not None:
            raise faults.invalid(f"ValidTo must not be specified when ExpirationModel is {FOREVER}")
        return None
    if ends is None:
        raise faults.invalid("A validTo date must be set if the ExpirationModel is KEY_MATERIAL_EXPIRES")
    if not ctx.now < ends <= ctx.now + LONGEST:
        raise faults.invalid("ValidTo must be in the future, and not more than 365 days from now.")
    return ends


@operation("kms:ImportKeyMaterial", on=the_key, slow=True)
def import_key_material(ctx: Context, p: Params) -> Result:
    row = _row(ctx, p)
    known, arn = known_as(ctx, arn_of(ctx, row)), arn_of(ctx, row)
    if p.get("ImportType") == "NEW_KEY_MATERIAL" and known is not None and known.past:
        raise AWSError("NotImplemented", "A second material of an EXTERNAL key is not implemented by Nephele.", 501)
    ends = _until(ctx, p)
    plain = _unwrapped(ctx, row, p["ImportToken"], p["EncryptedKeyMaterial"])
    try:
        material.check(row.spec, plain)
        mark = service(ctx).bring(row, plain, ends)
    except material.Unfit as fault:
        raise AWSError("IncorrectKeyMaterialException", str(fault)) from None
    if p.get("KeyMaterialId") not in (None, mark):
        raise AWSError("IncorrectKeyMaterialException", "The key material is not that of the given id.")
    return {"KeyId": arn} | ({"KeyMaterialId": mark} if row.spec == "SYMMETRIC" else {})


@operation("kms:DeleteImportedKeyMaterial", on=the_key)
def delete_imported_key_material(ctx: Context, p: Params) -> Result:
    row = row_of(ctx, p)
    _check_outside(ctx, row)
    past = find(ctx, p["KeyId"]).past
    if p.get("KeyMaterialId") and (not past or material_id(row, past[-1]) != p["KeyMaterialId"]):
        raise faults.not_found(f"Key material {p['KeyMaterialId']} is not associated with {arn_of(ctx, row)}.")
    service(ctx).empty(row)
    told = {"KeyId": arn_of(ctx, row)}
    return told | {"KeyMaterialId": material_id(row, past[-1])} if past and row.spec == "SYMMETRIC" else told
