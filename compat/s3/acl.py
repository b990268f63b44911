"""Access control lists: canned ones, grants in headers and in documents, and whom they let in."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import orjson

from backends.errors import Missing
from backends.object.containers import Known
from backends.object.versions import Amendment
from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.s3 import faults, sequel
from compat.s3.absence import present
from compat.s3.places import bucket_of, canonical_id, key_of, named, owner, ownership, version_of

if TYPE_CHECKING:
    from compat.context import Context

ENFORCED = "BucketOwnerEnforced"
EVERYBODY = "http://acs.amazonaws.com/groups/global/AllUsers"
AUTHENTICATED = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
LOGGERS = "http://acs.amazonaws.com/groups/s3/LogDelivery"
GROUPS = frozenset({EVERYBODY, AUTHENTICATED, LOGGERS})
MOST_GRANTS = 100
"""Of one list."""
PERMISSIONS = frozenset({"FULL_CONTROL", "READ", "WRITE", "READ_ACP", "WRITE_ACP"})
CANNED = {
    "private": (),
    "public-read": ((EVERYBODY, "READ"),),
    "public-read-write": ((EVERYBODY, "READ"), (EVERYBODY, "WRITE")),
    "authenticated-read": ((AUTHENTICATED, "READ"),),
    "aws-exec-read": (),
    "log-delivery-write": ((LOGGERS, "WRITE"), (LOGGERS, "READ_ACP")),
}
FOR_OBJECTS = ("bucket-owner-read", "bucket-owner-full-control")
HEADERS = {
    "GrantFullControl": "FULL_CONTROL",
    "GrantRead": "READ",
    "GrantReadACP": "READ_ACP",
    "GrantWrite": "WRITE",
    "GrantWriteACP": "WRITE_ACP",
}
_GRANTEE = re.compile(r'\s*(id|uri|emailAddress)\s*=\s*"?([^",]+)"?\s*', re.IGNORECASE)

Grants = list[list[str]]
"""Pairs of grantee (canonical id or group) and permission, as they are kept."""


def canned_grants(name: str, owner_id: str, bucket_owner: str | None) -> Grants:
    """What a canned list grants. `bucket_owner` is the canonical id of the bucket's owner, for objects."""
    if name in CANNED and not (name == "log-delivery-write" and bucket_owner is not None):
        return [[owner_id, "FULL_CONTROL"], *([who, what] for who, what in CANNED[name])]
    if bucket_owner is not None and name in FOR_OBJECTS:
        what = "READ" if name == "bucket-owner-read" else "FULL_CONTROL"
        return [[owner_id, "FULL_CONTROL"], *([[bucket_owner, what]] if bucket_owner != owner_id else [])]
    raise faults.invalid_argument("", "x-amz-acl", name)


def grants_of_headers(ctx: Context, p: Params, owner_id: str, bucket_owner: str | None) -> Grants | None:
    """The list that headers ask for; None when they ask for none."""
    canned = p.get("ACL")
    given = [(text, what) for header, what in HEADERS.items() if (text := p.get(header))]
    if canned and given:
        raise faults.invalid_request("Specifying both Canned ACLs and Header Grants is not allowed")
    if canned:
        return canned_grants(canned, owner_id, bucket_owner)
    if not given:
        return None
    grants: Grants = []
    for text, what in given:
        for part in text.split(","):
            found = _GRANTEE.fullmatch(part)
            if found is None:
                header = "x-amz-grant-" + what.lower().replace("_", "-")
                raise faults.invalid_argument("Argument format not recognized", header, part)
            grants.append([_grantee(found[1].lower(), found[2]), what])
    return grants


def _grantee(kind: str, value: str, argument: str | None = None) -> str:
    """A grantee as it is kept; `argument` is the name under which a wrong one is refused."""
    if kind == "uri":
        if value not in GROUPS:
            raise faults.invalid_argument("Invalid group uri", argument or kind, value)
        return value
    if kind == "id":
        if not re.fullmatch(r"[0-9a-f]{64}", value):
            raise faults.invalid_argument("Invalid id", argument or kind, value)
        return value
    raise AWSError(
        "UnresolvableGrantByEmailAddress", "The e-mail address you provided does not match any account on record", 400
    )


def grants_of_document(policy: dict[str, Any] | None, owner_id: str) -> Grants:
    """The list in an `AccessControlPolicy`; refused when it changes the owner."""
    if policy is None or policy.get("Owner") is None:
        raise faults.malformed_acl()
    if _grantee("id", policy["Owner"].get("ID") or "", "CanonicalUser/ID") != owner_id:
        raise faults.denied()
    listed = policy.get("Grants") or ()
    if len(listed) > MOST_GRANTS:
        raise faults.malformed_acl()
    return listed_grants(listed)


def listed_grants(listed: Iterable[dict[str, Any]], permissions: frozenset[str] = PERMISSIONS) -> Grants:
    """The grants of a document. Refuses those that name nobody, or no permission out of `permissions`."""
    grants: Grants = []
    for grant in listed:
        grantee, permission = grant.get("Grantee") or {}, grant.get("Permission")
        if permission not in permissions:
            raise faults.malformed_acl()
        kind = grantee.get("Type")
        if kind == "Group":
            grants.append([_grantee("uri", grantee.get("URI") or "", "Group/URI"), permission])
        elif kind == "CanonicalUser":
            grants.append([_grantee("id", grantee.get("ID") or "", "CanonicalUser/ID"), permission])
        elif kind == "AmazonCustomerByEmail":
            _grantee("email", grantee.get("EmailAddress") or "")
        else:
            raise faults.malformed_acl()
    return grants


def shown_grants(ctx: Context, grants: Grants) -> list[dict[str, Any]]:
    """A list as members of an answer. With display names, which are of older days, groups come first, as they did."""
    if ctx.rules.owner_display_names:
        grants = sorted(grants, key=lambda grant: grant[0] not in GROUPS)
    return [
        {
            "Grantee": {"Type": "Group", "URI": who} if who in GROUPS else {"Type": "CanonicalUser", **named(ctx, who)},
            "Permission": what,
        }
        for who, what in grants
    ]


def is_public(grants: Grants) -> bool:
    """Whether a list lets in anybody, or anybody with an account."""
    return any(who in (EVERYBODY, AUTHENTICATED) for who, _ in grants)


def check_public(bucket_documents: Any, ctx: Context, tenant: str, grants: Grants) -> None:
    """Refuse a public list where the bucket, or the account, blocks them."""
    if is_public(grants) and blocks(ctx, bucket_documents, tenant, "BlockPublicAcls"):
        raise faults.denied()


def blocks(ctx: Context, documents: Any, tenant: str, what: str) -> bool:
    """Whether the bucket or its owner's account has that public access block on."""
    account = ctx.cloud.hosts["containers"].of_tenant(tenant).get("public") or {}
    return bool((documents.get("public") or {}).get(what) or account.get(what))


def grants_of_upload(ctx: Context, bucket: Known, p: Params) -> str:
    """The list of a new object, as it is kept; empty for the owner alone."""
    asked = p.get("ACL") or any(p.get(header) for header in HEADERS)
    if not asked:
        return ""
    grants = grants_of_headers(ctx, p, canonical_id(ctx.account), canonical_id(bucket.tenant))
    if ownership(bucket) == ENFORCED:
        if p.get("ACL") == "bucket-owner-full-control":
            return ""
        raise faults.acls_off()
    if grants is None:
        return ""
    check_public(bucket.documents, ctx, bucket.tenant, grants)
    return orjson.dumps(grants).decode()


def object_owner(bucket: Known, row_owner: str) -> str:
    """The account whose an object is."""
    return bucket.tenant if not row_owner or ownership(bucket) == ENFORCED else row_owner


def allows(grants: Grants, permission: str, account: str, anonymous: bool) -> bool:
    """Whether a list lets the account (or nobody in particular) in."""
    own = None if anonymous else canonical_id(account)
    return any(
        what in (permission, "FULL_CONTROL") and (who == EVERYBODY or (not anonymous and who in (own, AUTHENTICATED)))
        for who, what in grants
    )


# --- operations -------------------------------------------------------------------------------------------------------


@operation("s3:GetBucketAcl", on="{Bucket}", streams=True)
def get_bucket_acl(ctx: Context, p: Params) -> Result:
    bucket = bucket_of(ctx, p)
    return {"Owner": owner(ctx, bucket.tenant), "Grants": shown_grants(ctx, bucket_grants(bucket))}


def bucket_grants(bucket: Known) -> Grants:
    """The list of a bucket."""
    kept = bucket.documents.get("acl")
    if kept is None or ownership(bucket) == ENFORCED:
        return [[canonical_id(bucket.tenant), "FULL_CONTROL"]]
    return list(kept["grants"])


@operation("s3:PutBucketAcl", on="{Bucket}")
def put_bucket_acl(ctx: Context, p: Params) -> None:
    bucket = bucket_of(ctx, p)
    own = canonical_id(bucket.tenant)
    if ownership(bucket) == ENFORCED and p.get("ACL") == "bucket-owner-full-control":
        return
    grants = _given(ctx, p, own, None)
    if ownership(bucket) == ENFORCED:
        if p.get("AccessControlPolicy") is not None and grants == [[own, "FULL_CONTROL"]]:
            return
        raise faults.acls_off()
    check_public(bucket.documents, ctx, bucket.tenant, grants)
    ctx.containers.put_document(bucket.name, "acl", {"grants": grants})


def _given(ctx: Context, p: Params, own: str, bucket_owner: str | None) -> Grants:
    """The list that a call puts, in headers or as a document."""
    document, grants = p.get("AccessControlPolicy"), grants_of_headers(ctx, p, own, bucket_owner)
    if grants is None:
        if document is None:
            raise AWSError(
                "MissingSecurityHeader",
                "Your request was missing a required header",
                400,
                MissingHeaderName="x-amz-acl",
            )
        return grants_of_document(document, own)
    if document is not None:
        raise AWSError("UnexpectedContent", "This request does not support content", 400)
    return grants


def _object(ctx: Context, p: Params) -> tuple[Known, str, str | None, Any]:
    bucket, key, version = bucket_of(ctx, p), key_of(p), version_of(p)
    head = present(ctx, key, p.get("VersionId"), ctx.objects.head(bucket.number, key, version))
    return bucket, key, version, head


@operation("s3:GetObjectAcl", on="{Bucket}/{Key}", streams=True)
def get_object_acl(ctx: Context, p: Params) -> Result:
    bucket, _, _, head = _object(ctx, p)
    account = object_owner(bucket, head.owner)
    grants = [[canonical_id(account), "FULL_CONTROL"]]
    if head.grants and ownership(bucket) != ENFORCED:
        grants = orjson.loads(head.grants)
    return {"Owner": owner(ctx, account), "Grants": shown_grants(ctx, grants)}


@operation("s3:PutObjectAcl", on="{Bucket}/{Key}", streams=True)
def put_object_acl(ctx: Context, p: Params) -> Result:
    bucket, key, version, head = _object(ctx, p)
    own = canonical_id(object_owner(bucket, head.owner))
    grants = _given(ctx, p, own, canonical_id(bucket.tenant))
    if ownership(bucket) == ENFORCED:
        if p.get("ACL") == "bucket-owner-full-control":
            return {}
        raise faults.acls_off()
    check_public(bucket.documents, ctx, bucket.tenant, grants)
    try:
        amendment = Amendment(grants=orjson.dumps(grants).decode())
        also = sequel.amended(ctx, bucket, key, "ObjectAcl:Put")
        name = head.version if version is None else version
        ctx.objects.amend(bucket.number, key, name, lambda _: amendment, also)
        sequel.wake(ctx, also)
    except Missing:
        raise faults.no_such_key(key) from None
    return {}
