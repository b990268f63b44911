"""Bucket policies, and what a bucket itself says about who may do what: the guard of S3."""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from typing import TYPE_CHECKING

import orjson

from backends.errors import Missing
from backends.object.containers import Known, KnownDoor
from compat.errors import AWSError
from compat.iam.guards import exemption, guard
from compat.iam.policy.document import Malformed, Statement, parse
from compat.iam.policy.evaluate import Passage, ResourceSide
from compat.iam.policy.validate import resource_policy
from compat.iam.reference import types_of
from compat.iam.trust import unknown_principal
from compat.operation import Params, Result, operation
from compat.s3 import faults
from compat.s3.acl import ENFORCED, Grants, allows, blocks, bucket_grants, is_public, object_owner
from compat.s3.directory_rules import bucket_arn, is_directory
from compat.s3.places import bucket_of, canonical_id, door_arn, door_of_resource, ownership, version_of

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Operation

LONGEST = 20 * 1024
POLICY_ACTIONS = frozenset({"s3:GetBucketPolicy", "s3:PutBucketPolicy", "s3:DeleteBucketPolicy"})
# The permission in an access control list that stands for an action.
BY_BUCKET_LIST = {
    "s3:ListBucket": "READ",
    "s3:ListBucketVersions": "READ",
    "s3:ListBucketMultipartUploads": "READ",
    "s3:PutObject": "WRITE",
    "s3:DeleteObject": "WRITE",
    "s3:DeleteObjectVersion": "WRITE",
    "s3:GetBucketAcl": "READ_ACP",
    "s3:PutBucketAcl": "WRITE_ACP",
}
BY_OBJECT_LIST = {
    "s3:GetObject": "READ",
    "s3:GetObjectVersion": "READ",
    "s3:GetObjectAcl": "READ_ACP",
    "s3:GetObjectVersionAcl": "READ_ACP",
    "s3:PutObjectAcl": "WRITE_ACP",
    "s3:PutObjectVersionAcl": "WRITE_ACP",
}
CREATING = frozenset({"PutObject", "CopyObject", "CreateMultipartUpload"})
OF_UPLOAD = frozenset({"s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"})
# Conditions that keep a policy from being public, when they name fixed values.
NARROWING = frozenset(
    "aws:sourceip aws:sourcearn aws:sourcevpc aws:sourcevpce aws:sourceowner aws:sourceaccount aws:userid "
    "aws:principalorgid aws:principalorgpaths aws:principalarn aws:principalaccount "
    "s3:x-amz-server-side-encryption-aws-kms-key-id s3:dataaccesspointaccount s3:dataaccesspointarn".split()
)
NOBODY = '{"Version":"2012-10-17","Statement":{"Effect":"Deny","Principal":"*","Action":"*","Resource":"*"}}'
# Operations that demand one thing, of one bucket or of an object in it.
SIMPLE = frozenset({"GetObject", "HeadObject", "HeadBucket", "ListObjects", "ListObjectsV2", "ListObjectVersions"})
_MOST_KEPT = 1024
_sides: OrderedDict[tuple[str, str], ResourceSide] = OrderedDict()


@guard("s3")
def bucket_side(ctx: Context, action: str, resource: str) -> ResourceSide | None:
    """The bucket's owner, its policy, and whether a list lets the caller in; None where neither can matter."""
    if ctx.operation.name == "CreateBucket":
        return None  # whose a taken name is says the operation itself
    name, _, key = resource.rpartition(":::")[2].partition("/")
    known: Known | None = ctx.cloud.hosts["containers"].find(name)
    if known is None:
        return passage_side(ctx, action, resource)
    policy = known.documents.get("policy")
    foreign = known.tenant != ctx.account
    if action in BY_OBJECT_LIST and ownership(known) != ENFORCED:
        side = _object_side(ctx, known, action, key, None if policy is None else policy["text"])
        if side is not None:
            return side
    if policy is None and not foreign:
        return None
    written = None if policy is None else policy["text"]
    if (
        foreign
        and written is not None
        and is_public_policy(written)
        and blocks(ctx, known.documents, known.tenant, "RestrictPublicBuckets")
    ):
        written = None
    if not foreign and action not in POLICY_ACTIONS and written is not None:
        return _side(known.tenant, written)
    return ResourceSide(
        known.tenant,
        written,
        name=name,
        granted=foreign and _granted(ctx, known, action, key),
        unlimited_owner=action in POLICY_ACTIONS,
    )


@exemption("s3")
def is_plainly_own(ctx: Context, operation: Operation, p: Params) -> bool:
    """Whether a bucket of the caller's account has no policy, and objects of nobody else."""
    if operation.name not in SIMPLE:
        return False
    known: Known | None = ctx.cloud.hosts["containers"].find(p["Bucket"])
    return (
        known is not None
        and known.tenant == ctx.account
        and "policy" not in known.documents
        and ownership(known) == ENFORCED
    )


def _object_side(ctx: Context, known: Known, action: str, key: str, written: str | None) -> ResourceSide | None:
    """What an object says that is not the bucket owner's: its list decides, and the bucket's policy can only deny."""
    head = ctx.objects.head(known.number, key, version_of(ctx.params) if ctx.params.get("Key") == key else None)
    if head is None or (owned := object_owner(known, head.owner)) == known.tenant:
        return None
    return ResourceSide(owned, _only_denials(written), name=known.name, granted=_granted(ctx, known, action, key))


@lru_cache(1024)
def _only_denials(written: str | None) -> str | None:
    """A policy without what it allows; None where nothing is left."""
    document = orjson.loads(written or "{}")
    statements = document.get("Statement") or []
    denials = [one for one in (statements if isinstance(statements, list) else [statements]) if one["Effect"] == "Deny"]
    return orjson.dumps({**document, "Statement": denials}).decode() if denials else None


def passage_side(ctx: Context, action: str, resource: str) -> ResourceSide | None:
    """What an access point and the bucket behind it say; None where the resource is not reached through one."""
    if ctx.operation.service != "s3" or ctx.operation.name == "CreateBucket":
        return None
    reached = door_of_resource(ctx, resource)
    if reached is None:
        name = resource.partition(":::")[2].partition("/")[0]
        if name and "*" not in name:
            # AWS says so to everybody, since nobody's policies could decide.
            raise faults.no_such_bucket(name)
        return None
    door, key = reached
    known: Known | None = ctx.cloud.hosts["containers"].find(door.container)
    if known is None:
        return None
    arn, behind = door_arn(door), f"arn:{ctx.partition}:s3:::{known.name}"
    network = "VPC" if door.body.get("vpc") else "Internet"
    keys = {
        "s3:dataaccesspointarn": arn,
        "s3:dataaccesspointaccount": door.tenant,
        "s3:accesspointnetworkorigin": network,
    }
    own = ResourceSide(door.tenant, unless_restricted(ctx, known, door, door.body.get("policy")), name=door.name)
    if network == "VPC":  # no request comes out of a VPC here
        own = ResourceSide(door.tenant, NOBODY, name=door.name)
    passage = Passage(arn + f"/object/{key}" if key else arn, behind + f"/{key}" if key else behind, own, keys)
    policy = known.documents.get("policy")
    written = unless_restricted(ctx, known, door, None if policy is None else policy["text"])
    return ResourceSide(known.tenant, written, name=known.name, passage=passage)


def unless_restricted(ctx: Context, known: Known, door: KnownDoor, written: str | None) -> str | None:
    """A policy, but for callers of other accounts none that is public where a block restricts such."""
    if written is None or ctx.account == known.tenant or not is_public_policy(written):
        return written
    restricted = bool(door.body["public"].get("RestrictPublicBuckets"))
    return None if restricted or blocks(ctx, known.documents, known.tenant, "RestrictPublicBuckets") else written


def _side(tenant: str, written: str) -> ResourceSide:
    """The side of an owner's own call; kept, since its policy is compiled."""
    side = _sides.get((tenant, written))
    if side is None:
        side = _sides[tenant, written] = ResourceSide(tenant, written)
        if len(_sides) > _MOST_KEPT:
            _sides.popitem(last=False)
    return side


def _granted(ctx: Context, known: Known, action: str, key: str) -> bool:
    """Whether a list, or being the owner of the object or upload in question, lets in a caller of another account."""
    if ctx.operation.name in CREATING and action == "s3:PutObjectAcl" and not ctx.principal.is_anonymous:
        return True  # of an object that will be the caller's own
    if action in OF_UPLOAD:
        return _began(ctx, known, key)
    if ownership(known) == ENFORCED:
        return False
    anonymous = ctx.principal.is_anonymous
    ignore = blocks(ctx, known.documents, known.tenant, "IgnorePublicAcls")

    def lets_in(grants: Grants, permission: str) -> bool:
        held = [grant for grant in grants if not (ignore and is_public([grant]))]
        return allows(held, permission, ctx.account, anonymous)

    permission = BY_BUCKET_LIST.get(action)
    if ctx.operation.name in CREATING and action in ("s3:PutObjectAcl", "s3:PutObjectTagging"):
        permission = "WRITE"  # whoever may create an object by the bucket's list may say what comes with it
    if permission is not None:
        return lets_in(bucket_grants(known), permission)
    permission = BY_OBJECT_LIST.get(action)
    if permission is None or not key:
        return False
    head = ctx.objects.head(known.number, key)
    if head is None:
        # Who may list the bucket learns that there is none.
        return lets_in(bucket_grants(known), "READ")
    owned = object_owner(known, head.owner) == ctx.account and not anonymous
    return owned or lets_in(orjson.loads(head.grants) if head.grants else [], permission)


def _began(ctx: Context, known: Known, key: str) -> bool:
    """Whether the caller began the upload that the call names."""
    id = ctx.params.get("UploadId")
    if not id or not key or ctx.principal.is_anonymous:
        return False
    try:
        upload = ctx.objects.upload(known.number, key, id)
    except Missing:
        return False
    began: dict[str, str] = orjson.loads(upload.facts).get("initiator") or {}
    return began.get("ID") in (canonical_id(ctx.account), ctx.principal.arn)


def is_public_policy(written: str) -> bool:
    """Whether a policy lets in somebody who is not named: everybody, under no condition that names fixed values."""
    for statement in parse(written).statements:
        if not statement.allow:
            continue
        anybody = statement.except_principals or any(value == "*" for _, value in statement.principals or ())
        narrowed = any(
            clause.key.lower() in NARROWING and not any("*" in value or "$" in value for value in clause.values)
            for clause in statement.conditions
        )
        if anybody and not narrowed:
            return True
    return False


def check_policy(ctx: Context, written: str, own: str, *, express: bool = False) -> None:
    """Refuse a policy that is none, that speaks of something else than the ARN `own`, or that names nobody. With
    `express` it is that of a directory bucket: only the bucket itself is spoken of.

    Raises `MalformedPolicy`."""
    if len(written.encode()) > LONGEST:
        raise AWSError("PolicyTooLarge", "The policy document exceeds the maximum allowed size", 400)
    try:
        document = resource_policy(written)
    except Malformed as fault:
        raise AWSError("MalformedPolicy", str(fault), 400) from None
    if unknown_principal(ctx, document) is not None:
        raise AWSError("MalformedPolicy", "Invalid principal in policy", 400)
    for statement in document.statements:
        for action in statement.actions:
            if action == "*":
                continue
            if not action.lower().startswith("s3express:" if express else "s3:") or types_of(action) is None:
                raise AWSError("MalformedPolicy", "Policy has invalid action", 400)
        for resource in statement.resources or ():
            if (
                resource != "*"
                and resource != own
                and (express or not resource.startswith((own + "/", own + "*")))
                and "*" not in resource.partition("/")[0]
            ):
                raise AWSError("MalformedPolicy", "Policy has invalid resource", 400)
        if own.startswith(f"arn:{ctx.partition}:s3:::"):
            _check_match(statement)


def _check_match(statement: Statement) -> None:
    """Refuse a statement of a bucket's policy with an action that is about none of its resources."""
    if statement.except_actions or statement.except_resources:
        return
    spoken: set[str] = set()
    for resource in statement.resources or ():
        name = resource.rpartition(":")[2]
        if "/" in name or "*" in name:
            spoken.add("object")
        if "/" not in name:
            spoken.add("bucket")
    for action in statement.actions:
        if action != "*" and not (types_of(action) or frozenset()) & spoken:
            raise AWSError("MalformedPolicy", "Action does not apply to any resource(s) in statement", 400)


@operation("s3:PutBucketPolicy", on="{Bucket}")
def put_bucket_policy(ctx: Context, p: Params) -> Result:
    bucket, written = bucket_of(ctx, p), p.get("Policy") or ""
    check_policy(ctx, written, bucket_arn(bucket), express=is_directory(bucket.name))
    if is_public_policy(written) and blocks(ctx, bucket.documents, bucket.tenant, "BlockPublicPolicy"):
        raise AWSError(
            "AccessDenied",
            f"User: {ctx.principal.arn} is not authorized to perform: s3:PutBucketPolicy on resource: "
            f'"{bucket_arn(bucket)}" because public policies are prevented by the BlockPublicPolicy '
            "setting in S3 Block Public Access.",
            403,
        )
    ctx.containers.put_document(bucket.name, "policy", {"text": written})
    return {"$status": 204}


@operation("s3:GetBucketPolicy", on="{Bucket}", streams=True)
def get_bucket_policy(ctx: Context, p: Params) -> Result:
    bucket = bucket_of(ctx, p)
    document = bucket.documents.get("policy")
    if document is None:
        raise faults.not_configured("policy", bucket.name)
    return {"Policy": document["text"]}


@operation("s3:DeleteBucketPolicy", on="{Bucket}")
def delete_bucket_policy(ctx: Context, p: Params) -> None:
    ctx.containers.drop_document(bucket_of(ctx, p).name, "policy")


@operation("s3:GetBucketPolicyStatus", on="{Bucket}", streams=True)
def get_bucket_policy_status(ctx: Context, p: Params) -> Result:
    bucket = bucket_of(ctx, p)
    document = bucket.documents.get("policy")
    if document is None:
        raise faults.not_configured("policy", bucket.name)
    return {"PolicyStatus": {"IsPublic": is_public_policy(document["text"])}}
