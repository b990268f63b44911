"""Grants: leave for a principal to use a key, without a word in a policy."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from backends.keys.models import Grant, MasterKey
from compat.errors import AWSError
from compat.iam.authorize import ask
from compat.kms import faults
from compat.kms.leave import is_named
from compat.kms.pages import paged
from compat.kms.places import arn_of, check_enabled, find, id_of, the_key
from compat.kms.rows import service
from compat.kms.specs import AGREE, BY_NATIVE, ENCRYPT, MAC, SIGN
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

MOST = 50_000
KEPT = ("Name", "GranteePrincipal", "RetiringPrincipal", "Operations", "Constraints")
ALWAYS = frozenset({"CreateGrant", "RetireGrant", "DescribeKey"})
OF_USAGE = {
    ENCRYPT: frozenset({"Encrypt", "Decrypt", "ReEncryptFrom", "ReEncryptTo"}),
    SIGN: frozenset({"Sign", "Verify"}),
    MAC: frozenset({"GenerateMac", "VerifyMac"}),
    AGREE: frozenset({"DeriveSharedSecret"}),
}
OF_SYMMETRIC = frozenset(
    {
        "GenerateDataKey",
        "GenerateDataKeyWithoutPlaintext",
        "GenerateDataKeyPair",
        "GenerateDataKeyPairWithoutPlaintext",
    }
)


@operation("kms:CreateGrant", on=the_key)
def create_grant(ctx: Context, p: Params) -> Result:
    if not p.get("GranteePrincipal"):
        raise faults.invalid("A grant must have a grantee principal.")
    for member in ("GranteePrincipal", "RetiringPrincipal"):
        if p.get(member) and not p[member].startswith("arn:"):
            raise AWSError("InvalidArnException", f"ARN does not refer to a valid principal: {p[member]}")
    known = find(ctx, p["KeyId"])
    arn = arn_of(ctx, known)
    check_enabled(arn, known)
    allowed = ALWAYS | OF_USAGE[known.purpose]
    if known.spec == "SYMMETRIC":
        allowed |= OF_SYMMETRIC
    elif BY_NATIVE[known.spec].startswith(("RSA", "ECC")):
        allowed |= {"GetPublicKey"}
    if wrong := set(p["Operations"]) - allowed:
        raise faults.invalid(f"Grant operation {min(wrong)} is not valid for {arn}.")
    about: dict[str, Any] = {member: p[member] for member in KEPT if p.get(member)}
    about["IssuingAccount"] = f"arn:{ctx.partition}:iam::{ctx.account}:root"
    made = service(ctx).grant(service(ctx).get(known.id), about)
    return {"GrantToken": made.token, "GrantId": made.id}


def _shown(ctx: Context, key: MasterKey | Any, id: str, about: dict[str, Any], created: datetime) -> dict[str, Any]:
    return {"KeyId": arn_of(ctx, key), "GrantId": id, "Name": "", "CreationDate": created, **about}


@operation("kms:ListGrants", on=the_key, streams=True)
def list_grants(ctx: Context, p: Params) -> Result:
    key = find(ctx, p["KeyId"])
    wanted, grantee = p.get("GrantId"), p.get("GranteePrincipal")
    grants = [
        grant
        for grant in sorted(key.grants)
        if wanted in (None, grant.id) and grantee in (None, grant.about["GranteePrincipal"])
    ]
    return paged(
        p,
        "Grants",
        grants,
        lambda grant: grant.id,
        lambda grant: _shown(ctx, key, grant.id, grant.about, grant.created),
        most=50,
    )


def _grants(ctx: Context) -> Sequence[tuple[Grant, MasterKey]]:
    return sorted(service(ctx).grants_of(ctx.account, ctx.region), key=lambda pair: pair[0].id)


@operation("kms:ListRetirableGrants")
def list_retirable_grants(ctx: Context, p: Params) -> Result:
    retiring = p.get("RetiringPrincipal")
    found = [(grant, key) for grant, key in _grants(ctx) if grant.about.get("RetiringPrincipal") == retiring]
    return paged(
        p,
        "Grants",
        found,
        lambda pair: pair[0].id,
        lambda pair: _shown(ctx, pair[1], pair[0].id, pair[0].about, pair[0].created),
        most=50,
    )


@operation("kms:RevokeGrant", on=the_key)
def revoke_grant(ctx: Context, p: Params) -> None:
    key = find(ctx, p["KeyId"])
    if all(grant.id != p["GrantId"] for grant in key.grants):
        raise faults.not_found(f"Grant {p['GrantId']} not found on {arn_of(ctx, key)}")
    service(ctx).drop_grant(p["GrantId"])


def _retired(ctx: Context, p: Params) -> tuple[Grant, MasterKey]:
    token, id = p.get("GrantToken"), p.get("GrantId")
    if (token is None) == (id is None or not p.get("KeyId")):
        raise faults.invalid("Specify either a grant token, or a key ARN and a grant ID.")
    for grant, key in _grants(ctx):
        if token is not None and grant.token == token:
            return grant, key
        if token is None and grant.id == id and p["KeyId"] in (id_of(key), arn_of(ctx, key)):
            return grant, key
    if token is not None:
        raise AWSError("InvalidGrantTokenException", "The grant token is not valid.")
    raise faults.not_found(f"Grant {id} not found")


@operation("kms:RetireGrant", open=True)
def retire_grant(ctx: Context, p: Params) -> None:
    """Those whom the grant names may retire it without any policy."""
    grant, key = _retired(ctx, p)
    named = is_named(ctx, grant.about.get("RetiringPrincipal")) or (
        is_named(ctx, grant.about.get("GranteePrincipal")) and "RetireGrant" in grant.about["Operations"]
    )
    if not named and ctx.rules.auth == "enforce" and not ask(ctx, "kms:RetireGrant", arn_of(ctx, key)).allowed:
        raise AWSError(
            "AccessDeniedException", f"User: {ctx.principal.arn} is not authorized to perform: kms:RetireGrant"
        )
    service(ctx).drop_grant(grant.id)
