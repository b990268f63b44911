"""Certificates: of users, for signing; of the account, for servers."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from backends.identity.models import Possession, User
from compat.errors import AWSError
from compat.iam.faults import FAULTS, limit, no_such
from compat.iam.names import new_id, subject, the_user
from compat.iam.pages import marked
from compat.iam.tags import checked, drop, listing, page_of, put
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

SIGNING, SERVER = "signing certificate", "server certificate"
MOST_SIGNING, MOST_SERVER = 2, 20


def _parse(body: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(body.strip().encode())
    except ValueError:
        raise AWSError("MalformedCertificate", f"Certificate is malformed: {body[:64]}") from None


def _certificate_id() -> str:
    return base64.b32encode(secrets.token_bytes(20)).decode()


# --- of users -------------------------------------------------------------------------------------------------------


def _signing(user: User, certificate: Possession) -> dict[str, Any]:
    return {
        "UserName": user.name,
        "CertificateId": certificate.id,
        "CertificateBody": certificate.about["body"],
        "Status": certificate.about["status"],
        "UploadDate": certificate.created,
    }


def _owner(ctx: Context, p: Params) -> User:
    user = subject(ctx, p.get("UserName"))
    if user is None:
        raise AWSError("ValidationError", "Must specify userName when calling as the root of the account")
    return user


def _of_user(ctx: Context, p: Params) -> tuple[User, Possession]:
    user = _owner(ctx, p)
    found = ctx.identity.possession(SIGNING, p["CertificateId"])
    if found is None or found.user_id != user.id:
        raise no_such(f"The Certificate with id {p['CertificateId']} cannot be found.")
    return user, found


@operation("iam:UploadSigningCertificate", on=the_user, raises=FAULTS)
def upload_signing_certificate(ctx: Context, p: Params) -> Result:
    user, body = _owner(ctx, p), p["CertificateBody"]
    _parse(body)
    held = ctx.identity.possessions(SIGNING, user)
    if any(one.about["body"].strip() == body.strip() for one in held):
        raise AWSError("DuplicateCertificate", "The certificate is already associated with the user.", 409)
    if len(held) >= MOST_SIGNING:
        raise limit("CertificatesPerUser", MOST_SIGNING)
    filed = Possession(id=_certificate_id(), kind=SIGNING, user_id=user.id, about={"body": body, "status": "Active"})
    return {"Certificate": _signing(user, ctx.identity.file(filed))}


@operation("iam:ListSigningCertificates", on=the_user, raises=FAULTS)
def list_signing_certificates(ctx: Context, p: Params) -> Result:
    user = subject(ctx, p.get("UserName"))
    held = [] if user is None else [(user, one) for one in ctx.identity.possessions(SIGNING, user)]
    return marked(p, "Certificates", held, lambda pair: pair[1].id, lambda pair: _signing(*pair))


@operation("iam:UpdateSigningCertificate", on=the_user, raises=FAULTS)
def update_signing_certificate(ctx: Context, p: Params) -> None:
    _, certificate = _of_user(ctx, p)
    certificate.about = certificate.about | {"status": p["Status"]}


@operation("iam:DeleteSigningCertificate", on=the_user, raises=FAULTS)
def delete_signing_certificate(ctx: Context, p: Params) -> None:
    ctx.identity.drop(_of_user(ctx, p)[1])


# --- of servers -----------------------------------------------------------------------------------------------------


def _new_server(ctx: Context, p: Params) -> list[str]:
    return [f"server-certificate{p.get('Path') or '/'}{p['ServerCertificateName']}"]


def _the_server(ctx: Context, p: Params) -> list[str]:
    found = ctx.identity.possession(SERVER, p["ServerCertificateName"])
    path = found.about["path"] if found is not None else "/"
    return [f"server-certificate{path}{p['ServerCertificateName']}"]


def _server(ctx: Context, p: Params) -> Possession:
    found = ctx.identity.possession(SERVER, p["ServerCertificateName"])
    if found is None:
        raise no_such(f"The Server Certificate with name {p['ServerCertificateName']} cannot be found.")
    return found


def _metadata(ctx: Context, certificate: Possession) -> dict[str, Any]:
    about = certificate.about
    return {
        "Path": about["path"],
        "ServerCertificateName": certificate.id,
        "ServerCertificateId": about["id"],
        "Arn": f"arn:{ctx.partition}:iam::{ctx.account}:server-certificate{about['path']}{certificate.id}",
        "UploadDate": certificate.created,
        "Expiration": _parse(about["body"]).not_valid_after_utc,
    }


@operation("iam:UploadServerCertificate", on=_new_server, raises=FAULTS)
def upload_server_certificate(ctx: Context, p: Params) -> Result:
    name, body, tags = p["ServerCertificateName"], p["CertificateBody"], checked(p.get("Tags"))
    certificate = _parse(body)
    try:
        key = serialization.load_pem_private_key(p["PrivateKey"].strip().encode(), None)
    except (ValueError, TypeError):
        raise AWSError("MalformedCertificate", "Private key is malformed, encrypted or not in PEM.") from None
    form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise AWSError("KeyPairMismatch", "The public key certificate and the private key do not match.")
    if ctx.identity.possession(SERVER, name) is not None:
        raise AWSError("EntityAlreadyExists", f"The Server Certificate with name {name} already exists.")
    if len(ctx.identity.possessions(SERVER)) >= MOST_SERVER:
        raise limit("ServerCertificatesPerAccount", MOST_SERVER)
    sealed = ctx.identity.seal.close(p["PrivateKey"].encode(), SERVER)
    about = {
        "id": new_id("ASCA"),
        "path": p.get("Path") or "/",
        "body": body,
        "chain": p.get("CertificateChain"),
        "key": base64.b64encode(sealed).decode(),
    }
    filed = ctx.identity.file(Possession(id=name, kind=SERVER, about=about, tags=tags))
    answer: Result = {"ServerCertificateMetadata": _metadata(ctx, filed)}
    return answer | {"Tags": listing(tags)} if tags else answer


@operation("iam:GetServerCertificate", on=_the_server, raises=FAULTS)
def get_server_certificate(ctx: Context, p: Params) -> Result:
    found = _server(ctx, p)
    shown: Result = {
        "ServerCertificateMetadata": _metadata(ctx, found),
        "CertificateBody": found.about["body"].strip(),
        "Tags": listing(found.tags),
    }
    chain = found.about["chain"]
    return {"ServerCertificate": shown | {"CertificateChain": chain.strip()} if chain else shown}


@operation("iam:ListServerCertificates", on="*", raises=FAULTS)
def list_server_certificates(ctx: Context, p: Params) -> Result:
    prefix = p.get("PathPrefix") or "/"
    held = [one for one in ctx.identity.possessions(SERVER) if one.about["path"].startswith(prefix)]
    return marked(p, "ServerCertificateMetadataList", held, lambda one: one.id, lambda one: _metadata(ctx, one))


@operation("iam:UpdateServerCertificate", on=_the_server, raises=FAULTS)
def update_server_certificate(ctx: Context, p: Params) -> None:
    found, name = _server(ctx, p), p.get("NewServerCertificateName")
    if name and name != found.id:
        if ctx.identity.possession(SERVER, name) is not None:
            raise AWSError("EntityAlreadyExists", f"The Server Certificate with name {name} already exists.")
        found.id = name
    if p.get("NewPath"):
        found.about = found.about | {"path": p["NewPath"]}


@operation("iam:DeleteServerCertificate", on=_the_server, raises=FAULTS)
def delete_server_certificate(ctx: Context, p: Params) -> None:
    ctx.identity.drop(_server(ctx, p))


@operation("iam:TagServerCertificate", on=_the_server, raises=FAULTS)
def tag_server_certificate(ctx: Context, p: Params) -> None:
    put(_server(ctx, p), p["Tags"], "ServerCertificate")


@operation("iam:UntagServerCertificate", on=_the_server, raises=FAULTS)
def untag_server_certificate(ctx: Context, p: Params) -> None:
    drop(_server(ctx, p), p["TagKeys"])


@operation("iam:ListServerCertificateTags", on=_the_server, raises=FAULTS)
def list_server_certificate_tags(ctx: Context, p: Params) -> Result:
    return page_of(p, _server(ctx, p).tags)
