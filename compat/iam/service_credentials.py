"""User names and passwords for single services (CodeCommit, Keyspaces). The password is told once and only hashed."""

from __future__ import annotations

import base64
import secrets
from typing import TYPE_CHECKING, Any

from backends.identity.keys import hash_password
from backends.identity.models import Possession, User
from compat.iam.faults import FAULTS, limit, no_such
from compat.iam.names import new_id, subject, the_user
from compat.iam.pages import marked
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

KIND = "service credential"
SERVICES = frozenset({"codecommit.amazonaws.com", "cassandra.amazonaws.com"})
MOST_A_SERVICE = 2


def _shown(user: User, held: Possession) -> dict[str, Any]:
    return {
        "UserName": user.name,
        "Status": held.about["status"],
        "ServiceUserName": held.about["name"],
        "CreateDate": held.created,
        "ServiceSpecificCredentialId": held.id,
        "ServiceName": held.about["service"],
    }


def _held(ctx: Context, p: Params) -> tuple[User, Possession]:
    found = ctx.identity.possession(KIND, p["ServiceSpecificCredentialId"])
    user = subject(ctx, p.get("UserName"))
    if found is None or user is None or found.user_id != user.id:
        raise no_such(f"No such credential {p['ServiceSpecificCredentialId']} exists")
    return user, found


def _password() -> tuple[str, str]:
    plain = base64.b64encode(secrets.token_bytes(33)).decode()
    return plain, base64.b64encode(hash_password(plain)).decode()


def _known(service: str) -> None:
    """NoSuchEntity for a service without such credentials, as IAM answers; NotSupportedService is only documented."""
    if service not in SERVICES:
        raise no_such(f"No such service {service} is supported for Service Specific Credentials")


@operation("iam:CreateServiceSpecificCredential", on=the_user, raises=FAULTS, slow=True)
def create_service_specific_credential(ctx: Context, p: Params) -> Result:
    user, service = ctx.identity.get(User, p["UserName"]), p["ServiceName"]
    _known(service)
    held = [one for one in ctx.identity.possessions(KIND, user) if one.about["service"] == service]
    if len(held) >= MOST_A_SERVICE:
        raise limit("ServiceSpecificCredentialsPerUser", MOST_A_SERVICE)
    plain, digest = _password()
    suffix = f"+{len(held)}" if held else ""
    about = {"service": service, "status": "Active", "name": f"{user.name}{suffix}-at-{ctx.account}", "digest": digest}
    filed = ctx.identity.file(Possession(id=new_id("ACCA"), kind=KIND, user_id=user.id, about=about))
    return {"ServiceSpecificCredential": _shown(user, filed) | {"ServicePassword": plain}}


@operation("iam:ListServiceSpecificCredentials", on=the_user, raises=FAULTS)
def list_service_specific_credentials(ctx: Context, p: Params) -> Result:
    """IsTruncated is only answered where it is true, as by IAM."""
    service = p.get("ServiceName")
    if service is not None:
        _known(service)
    if p.get("AllUsers"):
        held = [(user, one) for one in ctx.identity.possessions(KIND) if (user := ctx.identity.user_of(one))]
    else:
        user = subject(ctx, p.get("UserName"))
        held = [] if user is None else [(user, one) for one in ctx.identity.possessions(KIND, user)]
    wanted = [pair for pair in held if service in (None, pair[1].about["service"])]
    page = marked(p, "ServiceSpecificCredentials", wanted, lambda pair: pair[1].id, lambda pair: _shown(*pair))
    return {member: value for member, value in page.items() if value is not False}


@operation("iam:UpdateServiceSpecificCredential", on=the_user, raises=FAULTS)
def update_service_specific_credential(ctx: Context, p: Params) -> None:
    _, held = _held(ctx, p)
    held.about = held.about | {"status": p["Status"]}


@operation("iam:ResetServiceSpecificCredential", on=the_user, raises=FAULTS, slow=True)
def reset_service_specific_credential(ctx: Context, p: Params) -> Result:
    user, held = _held(ctx, p)
    plain, digest = _password()
    held.about = held.about | {"digest": digest}
    return {"ServiceSpecificCredential": _shown(user, held) | {"ServicePassword": plain}}


@operation("iam:DeleteServiceSpecificCredential", on=the_user, raises=FAULTS)
def delete_service_specific_credential(ctx: Context, p: Params) -> None:
    ctx.identity.drop(_held(ctx, p)[1])
