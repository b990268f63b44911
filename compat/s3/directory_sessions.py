"""Who may do what with a directory bucket: sessions, the actions of `s3express`, the bucket's policy.

Everything about objects is let in by one permission, `s3express:CreateSession`. It gives keys of five minutes that are
good for one bucket; calls that are signed with lasting keys are asked for it each time.

Clients that are given an endpoint of their own (botocore's rules say so) sign every call about such a bucket with a
session's keys, also those that AWS takes under lasting keys only, CreateBucket among them. So a session speaks for
whoever made it where a call is not about objects, and whoever may make a bucket gets a session before it is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from compat.context import partition_of
from compat.errors import AWSError
from compat.iam.authorize import ask
from compat.iam.demands import Demand, demands_also, demands_instead
from compat.iam.directory import facts_of
from compat.iam.guards import guard, resource_tags
from compat.iam.keys import FAMILIES, Keys, service_keys
from compat.iam.names import new_access_key
from compat.iam.policy.evaluate import Passage, ResourceSide
from compat.iam.policy.request import ContextValue
from compat.iam.s3_keys import EXACT, MEMBERS
from compat.operation import Operation, Params, Result, operation
from compat.s3 import encryption, faults
from compat.s3.acl import blocks
from compat.s3.directory_buckets import is_name
from compat.s3.directory_rules import READING, ZONAL, bucket_arn, is_directory, is_door, zone_of
from compat.s3.places import bucket_of, containers, door_arn
from compat.s3.policies import NOBODY, is_public_policy, unless_restricted
from compat.s3.scopes import scope_allows

if TYPE_CHECKING:
    from backends.object.containers import Known, KnownDoor
    from compat.context import Context

SESSION_SECONDS = 300
CREATE_SESSION = "s3express:CreateSession"
READ_WRITE, READ_ONLY = "ReadWrite", "ReadOnly"
POLICY_ACTIONS = frozenset({"s3express:GetBucketPolicy", "s3express:PutBucketPolicy", "s3express:DeleteBucketPolicy"})


def arn_of(ctx: Context, name: str) -> str:
    """The ARN of the access point or directory bucket of that name, or of the bucket that the caller would make."""
    if is_door(name):
        return door_arn(_door(ctx, name))
    known = containers(ctx.cloud).find(name)
    if known is not None:
        return bucket_arn(known)
    return f"arn:{partition_of(ctx.region)}:s3express:{ctx.region}:{ctx.account}:bucket/{name}"


# --- what is demanded ---------------------------------------------------------------------------------------------


@demands_instead("s3")
def _of_directory(ctx: Context, operation: Operation, p: Params) -> list[Demand] | None:
    """What a call about a directory bucket demands; None for calls about others."""
    name = p.get("Bucket") or ""
    if not (is_directory(name) or is_door(name)):
        if ctx.principal.session_bucket is not None:
            _refuse(ctx)
        return None
    if operation.name == "CreateSession":
        return _of_session(ctx, p, name)
    if operation.name not in ZONAL:
        action = "s3express:" + operation.action.partition(":")[2]
        return [Demand(action, (arn_of(ctx, name),))]
    mode = READ_ONLY if operation.name in READING or operation.name == "HeadBucket" else READ_WRITE
    check_scope(ctx, name, operation.name, p)
    return _let_in(ctx, name, mode)


@demands_also("s3:CreateBucket")
def _with_tags(ctx: Context, p: Params) -> Iterable[Demand]:
    if is_directory(p["Bucket"]) and (p.get("CreateBucketConfiguration") or {}).get("Tags"):
        yield Demand("s3express:TagResource", (arn_of(ctx, p["Bucket"]),))


@demands_instead("s3control")
def _of_tags(ctx: Context, operation: Operation, p: Params) -> list[Demand] | None:
    arn = p.get("ResourceArn") or ""
    if is_door(p.get("Name") or ""):
        name = p["Name"].rpartition("/")[2]
        arn = f"arn:{partition_of(ctx.region)}:s3express:{ctx.region}:{ctx.account}:accesspoint/{name}"
    if arn.split(":", 3)[2:3] != ["s3express"]:
        return None
    return [Demand(f"s3express:{operation.name}", (arn,))]


def demands_of_read(ctx: Context, name: str, key: str) -> list[Demand]:
    """What reading an object of a directory bucket demands, beside what the call demands that does so."""
    check_scope(ctx, name, "GetObject", {"Key": key})
    return _let_in(ctx, name, READ_ONLY)


def _let_in(ctx: Context, name: str, mode: str) -> list[Demand]:
    """The permission for something about objects; none where the caller has a session that lets it in."""
    principal = ctx.principal
    if principal.session_bucket is not None:
        if principal.session_bucket != name or (principal.session_mode == READ_ONLY and mode != READ_ONLY):
            _refuse(ctx)
        return []
    return [Demand(CREATE_SESSION, (arn_of(ctx, name),), {"s3express:sessionmode": mode})]


def _of_session(ctx: Context, p: Params, name: str) -> list[Demand]:
    if ctx.principal.session_bucket is not None:
        _refuse(ctx)
    if not is_door(name) and containers(ctx.cloud).find(name) is None:
        return []
    return [Demand(CREATE_SESSION, (arn_of(ctx, name),), {"s3express:sessionmode": _mode(ctx, p, name)})]


def _mode(ctx: Context, p: Params, name: str) -> str:
    """The mode of a new session: what is asked for, or the most that the caller may have."""
    given = p.get("SessionMode")
    if given is not None:
        if given not in (READ_WRITE, READ_ONLY):
            raise faults.invalid_argument("Invalid session mode", "x-amz-create-session-mode", given)
        return str(given)
    if ctx.rules.auth != "enforce":
        return READ_WRITE
    wide = ask(ctx, CREATE_SESSION, arn_of(ctx, name), extra={"s3express:sessionmode": READ_WRITE})
    return READ_WRITE if wide.allowed else READ_ONLY


def _door(ctx: Context, name: str) -> KnownDoor:
    door = containers(ctx.cloud).door(name)
    if door is None:
        raise faults.no_such_access_point(name)
    return door


def _refuse(ctx: Context) -> None:
    if ctx.rules.auth == "enforce":
        raise faults.denied()


def check_scope(ctx: Context, name: str, operation: str, p: Params) -> None:
    """Refuse what lies outside the scope of the access point that stands in the place of the bucket, if one does."""
    if is_door(name) and not scope_allows(_door(ctx, name).body.get("scope") or {}, operation, p):
        _refuse(ctx)


# --- what the bucket says -----------------------------------------------------------------------------------------


@guard("s3express")
def directory_side(ctx: Context, action: str, resource: str) -> ResourceSide | None:
    """A directory bucket's owner and policy; None where neither can matter."""
    if is_door(resource):
        return _door_side(ctx, resource) if action == CREATE_SESSION else None
    name = resource.rpartition(":bucket/")[2]
    if action == "s3express:CreateBucket" or not is_directory(name):
        return None  # whose a taken name is says the operation itself
    known = containers(ctx.cloud).find(name)
    if known is None:
        if ctx.operation.name == "CreateBucket":
            return None
        raise faults.no_such_bucket(name)
    policy = known.documents.get("policy")
    written = None if policy is None else policy["text"]
    foreign = known.tenant != ctx.account
    if not foreign and written is None:
        return None
    if foreign and (
        action != CREATE_SESSION
        or written is None
        or (is_public_policy(written) and blocks(ctx, known.documents, known.tenant, "RestrictPublicBuckets"))
    ):
        written = None  # nobody else is let in to the bucket itself
    return ResourceSide(known.tenant, written, name=name, unlimited_owner=action in POLICY_ACTIONS)


def _door_side(ctx: Context, arn: str) -> ResourceSide | None:
    """What an access point and the directory bucket behind it say."""
    door = _door(ctx, arn.rpartition("/")[2])
    known = containers(ctx.cloud).find(door.container)
    if known is None:
        return None
    network = "VPC" if door.body.get("vpc") else "Internet"
    keys = {
        "s3express:dataaccesspointarn": arn,
        "s3express:dataaccesspointaccount": door.tenant,
        "s3express:accesspointnetworkorigin": network,
    }
    # No request comes out of a VPC here.
    own = NOBODY if network == "VPC" else unless_restricted(ctx, known, door, door.body.get("policy"))
    policy = known.documents.get("policy")
    written = unless_restricted(ctx, known, door, None if policy is None else policy["text"])
    passage = Passage(arn, bucket_arn(known), ResourceSide(door.tenant, own, name=door.name), keys)
    return ResourceSide(known.tenant, written, name=known.name, passage=passage)


@resource_tags("s3express")
def _tags_of(ctx: Context, arn: str) -> Mapping[str, str] | None:
    if is_door(arn):
        door = containers(ctx.cloud).door(arn.rpartition("/")[2])
        return None if door is None else {tag["Key"]: tag["Value"] for tag in door.body.get("tags") or ()}
    known = containers(ctx.cloud).find(arn.rpartition(":bucket/")[2])
    document = None if known is None else known.documents.get("tagging")
    return None if document is None else {tag["Key"]: tag["Value"] for tag in document["TagSet"]}


@service_keys("s3express")
def _express_keys(keys: Keys, name: str) -> ContextValue:
    if name == "locationname":
        return zone_of(keys.resource.rpartition("/")[2]) or None
    exact = EXACT.get(name)
    if exact is not None:
        return exact(keys)
    given = keys.p.get(MEMBERS.get(name, ""))
    return None if given is None else str(given)


def _bucket_tag(keys: Keys, name: str) -> ContextValue:
    tags = _tags_of(keys.ctx, keys.resource) or {}
    return next((value for key, value in tags.items() if key.lower() == name), None)


FAMILIES["s3express:buckettag"] = FAMILIES["s3express:accesspointtag"] = _bucket_tag

# --- sessions -----------------------------------------------------------------------------------------------------


@operation("s3:CreateSession", on="{Bucket}", action=CREATE_SESSION, reads=False)
def create_session(ctx: Context, p: Params) -> Result:
    name = p["Bucket"]
    if not (is_directory(name) or is_door(name)):
        bucket_of(ctx, p)
        raise faults.invalid_request("CreateSession is only supported for directory buckets.")
    known = bucket_of(ctx, p) if is_door(name) else containers(ctx.cloud).find(name)
    if known is None:
        _check_may_make(ctx, name)
        mode, shown = READ_WRITE, {}
    else:
        bucket_of(ctx, p)
        mode, shown = _mode(ctx, p, name), _encryption(p, known)
    session = replace(ctx.principal, session_bucket=name, session_mode=mode)
    id = new_access_key("ASIA", session.account)
    issued = ctx.identity.issue_session_key(id, session.account, facts_of(session), SESSION_SECONDS)
    return shown | {
        "Credentials": {
            "AccessKeyId": issued.id,
            "SecretAccessKey": issued.secret,
            "SessionToken": issued.token,
            "Expiration": issued.expires,
        }
    }


def _check_may_make(ctx: Context, name: str) -> None:
    """Refuse a session for a bucket that is not there, unless the caller may make it."""
    if not is_name(name, ctx.region) or ctx.principal.is_anonymous:
        raise faults.no_such_bucket(name)
    if ctx.rules.auth == "enforce" and not ask(ctx, "s3express:CreateBucket", arn_of(ctx, name)).allowed:
        raise faults.no_such_bucket(name)


def _encryption(p: Params, known: Known) -> Result:
    """What the answer says of the encryption of new objects, which is the bucket's."""
    shown = encryption.shown_default(known)
    if encryption.MEMBERS.isdisjoint(p):
        return shown
    asked = p.get("ServerSideEncryption"), p.get("SSEKMSKeyId")
    if asked[0] != shown["ServerSideEncryption"] or asked[1] not in (None, shown.get("SSEKMSKeyId")):
        raise AWSError(
            "NotImplemented",
            "Nephele takes the encryption of new objects from the directory bucket, not from the session.",
            501,
        )
    return shown
