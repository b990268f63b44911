"""Key pairs. The private half is answered once and never kept."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select

from backends.compute.models import LoginKey
from backends.errors import Exists
from compat import audit
from compat.context import Context
from compat.describe import page
from compat.ec2 import key_material
from compat.errors import AWSError
from compat.filters import Filters
from compat.kinds import kind
from compat.operation import Params, Raises, Result, operation
from compat.tags import drop_tags

kind(
    "key-pair",
    prefix="key-",
    row=LoginKey,
    missing="InvalidKeyPair.NotFound",
    label="key pair ID",
    ids="KeyPairIds",
    quota=5000,
)

DUPLICATE: Raises = {
    Exists: lambda fact: AWSError("InvalidKeyPair.Duplicate", f"The keypair already exists: {fact.name}")
}


def render_key_pair(ctx: Context, key: LoginKey) -> dict[str, Any]:
    """A key pair in AWS's form; the public half when the call asks for it."""
    answer: dict[str, Any] = {
        "KeyPairId": key.id,
        "KeyFingerprint": key.fingerprint,
        "KeyName": key.name,
        "KeyType": key.kind,
        "Tags": ctx.tags(key.id),
        "CreateTime": key.created,
    }
    if ctx.params.get("IncludePublicKey"):
        answer["PublicKey"] = f"{key.public} {key.name}\n"
    return answer


def _name(p: Params) -> str:
    name: str = p["KeyName"].strip()
    if not name or len(name) > 255 or not name.isascii():
        raise AWSError(
            "InvalidParameterValue",
            f"Invalid value '{p['KeyName']}' for keyName. A name has 1 to 255 ASCII characters.",
        )
    return name


@operation("ec2:CreateKeyPair", on="key-pair/{KeyName}", raises=DUPLICATE, streams=True, slow=True)
def create_key_pair(ctx: Context, p: Params) -> Result:
    """Make a key pair and hand out its private half. No transaction is open while the key is made."""
    name, kind = _name(p), p.get("KeyType") or "rsa"
    made = key_material.make(kind, p.get("KeyFormat") or "pem")
    with ctx.transaction(write=True):
        id = ctx.mint("key-pair")
        ctx.compute.add_key(id=id, name=name, kind=kind, public=made.public, fingerprint=made.fingerprint)
        tags = ctx.tags(id)
        audit.record(ctx)
    return {
        "KeyName": name,
        "KeyPairId": id,
        "KeyFingerprint": made.fingerprint,
        "KeyMaterial": made.private,
        "Tags": tags,
    }


@operation("ec2:ImportKeyPair", on="key-pair/{KeyName}", raises=DUPLICATE)
def import_key_pair(ctx: Context, p: Params) -> Result:
    """Keep a public key that the caller made."""
    name = _name(p)
    try:
        key = key_material.read_public(p["PublicKeyMaterial"])
    except key_material.NotAKey as error:
        raise AWSError("InvalidKey.Format", "Key is not in valid OpenSSH public key format") from error
    id, fingerprint = ctx.mint("key-pair"), key_material.imported_fingerprint(key)
    ctx.compute.add_key(
        id=id, name=name, kind=key_material.kind_of(key), public=key_material.openssh(key), fingerprint=fingerprint
    )
    return {"KeyName": name, "KeyPairId": id, "KeyFingerprint": fingerprint, "Tags": ctx.tags(id)}


KEY_FILTERS: Filters = {"key-pair-id": LoginKey.id, "fingerprint": LoginKey.fingerprint, "key-name": LoginKey.name}


@operation("ec2:DescribeKeyPairs")
def describe_key_pairs(ctx: Context, p: Params) -> Result:
    """The caller's key pairs."""
    names = p.get("KeyNames")
    if not names:
        return page(ctx, p, "key-pair", KEY_FILTERS, render_key_pair)
    found = set(ctx.session.scalars(select(LoginKey.name).where(LoginKey.name.in_(names))))
    for name in names:
        if name not in found:
            raise missing_key(name)
    return page(ctx, p, "key-pair", KEY_FILTERS, render_key_pair, where=(LoginKey.name.in_(names),))


def missing_key(name: str) -> AWSError:
    """The error that says that there is no key pair of that name."""
    return AWSError("InvalidKeyPair.NotFound", f"The key pair '{name}' does not exist")


@operation("ec2:DeleteKeyPair", on=lambda ctx, p: [f"key-pair/{p.get('KeyName') or p.get('KeyPairId') or '*'}"])
def delete_key_pair(ctx: Context, p: Params) -> Result:
    """Forget a key pair. One that does not exist is no error."""
    name, id = p.get("KeyName"), p.get("KeyPairId")
    if not name and not id:
        raise AWSError("MissingParameter", "The request must contain the parameter KeyName or KeyPairId")
    key = ctx.session.scalar(select(LoginKey).where(LoginKey.name == name if name else LoginKey.id == id))
    if key is None:
        return {"Return": True}
    drop_tags(ctx, key.id)
    ctx.session.delete(key)
    return {"Return": True, "KeyPairId": key.id}
