"""Public SSH keys of users."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from backends.identity.models import Possession, User
from compat.errors import AWSError
from compat.iam.faults import FAULTS, limit, no_such
from compat.iam.names import new_id, subject, the_user
from compat.iam.pages import marked
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

KIND = "ssh key"
MOST_KEYS = 5


def _parse(body: str) -> RSAPublicKey:
    data = body.strip().encode()
    load = serialization.load_ssh_public_key if data.startswith(b"ssh-") else serialization.load_pem_public_key
    try:
        key = load(data)
    except (ValueError, UnsupportedAlgorithm):
        raise AWSError("InvalidPublicKey", "The public key is malformed or otherwise invalid.") from None
    if not isinstance(key, RSAPublicKey) or key.key_size < 2048:
        raise AWSError("InvalidPublicKey", "Only RSA keys of at least 2048 bits are supported.")
    return key


def _openssh(key: RSAPublicKey) -> str:
    return key.public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH).decode()


def _pem(key: RSAPublicKey) -> str:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


def _fingerprint(key: RSAPublicKey) -> str:
    """MD5 of the key's wire form, in pairs of digits."""
    digest = hashlib.md5(base64.b64decode(_openssh(key).split()[1]), usedforsecurity=False).hexdigest()
    return ":".join(digest[place : place + 2] for place in range(0, 32, 2))


def _key(ctx: Context, p: Params) -> tuple[User, Possession]:
    user = ctx.identity.get(User, p["UserName"])
    found = ctx.identity.possession(KIND, p["SSHPublicKeyId"])
    if found is None or found.user_id != user.id:
        raise no_such(f"The Public Key with id {p['SSHPublicKeyId']} cannot be found.")
    return user, found


def _brief(user: User, key: Possession) -> dict[str, Any]:
    return {
        "UserName": user.name,
        "SSHPublicKeyId": key.id,
        "Status": key.about["status"],
        "UploadDate": key.created,
    }


def _whole(user: User, key: Possession, body: str) -> dict[str, Any]:
    return _brief(user, key) | {"Fingerprint": key.about["fingerprint"], "SSHPublicKeyBody": body}


@operation("iam:UploadSSHPublicKey", on=the_user, raises=FAULTS)
def upload_ssh_public_key(ctx: Context, p: Params) -> Result:
    user = ctx.identity.get(User, p["UserName"])
    parsed = _parse(p["SSHPublicKeyBody"])
    held = ctx.identity.possessions(KIND, user)
    if any(one.about["openssh"] == _openssh(parsed) for one in held):
        raise AWSError("DuplicateSSHPublicKey", "The SSH public key is already associated with the user.")
    if len(held) >= MOST_KEYS:
        raise limit("SSHPublicKeysPerUser", MOST_KEYS)
    about = {
        "status": "Active",
        "fingerprint": _fingerprint(parsed),
        "body": p["SSHPublicKeyBody"],
        "openssh": _openssh(parsed),
    }
    key = ctx.identity.file(Possession(id=new_id("APKA"), kind=KIND, user_id=user.id, about=about))
    return {"SSHPublicKey": _whole(user, key, p["SSHPublicKeyBody"])}


@operation("iam:GetSSHPublicKey", on=the_user, raises=FAULTS)
def get_ssh_public_key(ctx: Context, p: Params) -> Result:
    user, key = _key(ctx, p)
    parsed = _parse(key.about["openssh"])
    return {"SSHPublicKey": _whole(user, key, _openssh(parsed) if p["Encoding"] == "SSH" else _pem(parsed))}


@operation("iam:ListSSHPublicKeys", on=the_user, raises=FAULTS)
def list_ssh_public_keys(ctx: Context, p: Params) -> Result:
    user = subject(ctx, p.get("UserName"))
    held = [] if user is None else [(user, key) for key in ctx.identity.possessions(KIND, user)]
    return marked(p, "SSHPublicKeys", held, lambda pair: pair[1].id, lambda pair: _brief(*pair))


@operation("iam:UpdateSSHPublicKey", on=the_user, raises=FAULTS)
def update_ssh_public_key(ctx: Context, p: Params) -> None:
    _, key = _key(ctx, p)
    key.about = key.about | {"status": p["Status"]}


@operation("iam:DeleteSSHPublicKey", on=the_user, raises=FAULTS)
def delete_ssh_public_key(ctx: Context, p: Params) -> None:
    ctx.identity.drop(_key(ctx, p)[1])
