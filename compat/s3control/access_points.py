"""Access points: further names of buckets, each with a policy and a public access block of its own."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING, Any

from backends.errors import Exists, Missing
from backends.object import doors
from backends.object.containers import Known, KnownDoor
from compat.errors import AWSError
from compat.operation import Params, Result, operation
from compat.s3 import faults
from compat.s3.bucket_documents import checked_block
from compat.s3.directory_buckets import ALL_BLOCKED
from compat.s3.directory_rules import DOOR_NAME, DOOR_SUFFIX, is_directory, is_door, zone_of
from compat.s3.places import ALIAS_SUFFIX, containers, door_arn
from compat.s3.policies import check_policy, is_public_policy
from compat.s3.properties import check_tags
from compat.s3.scopes import checked_scope
from compat.s3control.public_access import account_of, limit_of

if TYPE_CHECKING:
    from compat.context import Context

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,48}[a-z0-9]")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_OF_NAME, _RANDOM = 20, 34
LONGEST_NAME = 63
ON = "accesspoint/{Name}"


def _name_of(ctx: Context, p: Params) -> str:
    """The name that a call gives, which may be an ARN of the caller's own region and account."""
    account_of(ctx, p)
    name: str = p["Name"]
    return name.rpartition("/")[2] if name.startswith("arn:") else name


def door_of(ctx: Context, p: Params) -> KnownDoor:
    """The access point that a call names; `NoSuchAccessPoint`."""
    name = _name_of(ctx, p)
    door = containers(ctx.cloud).door_of(ctx.account, ctx.region, name)
    if door is None:
        raise faults.no_such_access_point(name)
    return door


def amend(ctx: Context, p: Params, **changes: Any) -> None:
    """Change members of an access point's book; None removes one."""
    name = _name_of(ctx, p)
    try:
        row = doors.get(ctx.unit, ctx.account, ctx.region, name)
    except Missing:
        raise faults.no_such_access_point(name) from None
    row.body = {key: value for key, value in {**row.body, **changes}.items() if value is not None}


def _alias(name: str) -> str:
    digits = "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM))
    return f"{name[:_OF_NAME].rstrip('-')}-{digits}{ALIAS_SUFFIX}"


def _bucket(ctx: Context, p: Params) -> Known:
    """The bucket for a new access point: in this region, and the caller's unless the call says whose it is."""
    known = containers(ctx.cloud).find(p["Bucket"])
    if known is None:
        raise faults.no_such_bucket(p["Bucket"])
    if is_directory(known.name) != is_door(p["Name"]):
        raise faults.invalid_request(
            "The names of access points of directory buckets end in --zone-id--xa-s3, no others."
        )
    if is_door(p["Name"]) and zone_of(p["Name"]) != zone_of(known.name):
        raise faults.invalid_request("The access point must be in the zone of its directory bucket.")
    if known.tenant != (p.get("BucketAccountId") or ctx.account):
        raise faults.denied()
    if known.region != ctx.region:
        raise faults.invalid_request("The bucket and the access point must be in the same Region.")
    return known


@operation("s3control:CreateAccessPoint", on=ON)
def create_access_point(ctx: Context, p: Params) -> Result:
    name = _name_of(ctx, p)
    form = DOOR_NAME if is_door(name) else _NAME
    if not form.fullmatch(name) or name.endswith(ALIAS_SUFFIX) or len(name) > LONGEST_NAME:
        raise faults.invalid_request("The access point name is not valid.")
    if p.get("Scope") and not is_door(name):
        raise _scopeless()
    known, block, tags = _bucket(ctx, p), p.get("PublicAccessBlockConfiguration"), p.get("Tags") or []
    check_tags(tags, 50)
    body: dict[str, Any] = {"public": ALL_BLOCKED if block is None else checked_block(block), "owner": known.tenant}
    if vpc := (p.get("VpcConfiguration") or {}).get("VpcId"):
        body["vpc"] = vpc
    if tags:
        body["tags"] = tags
    if scope := checked_scope(p.get("Scope")):
        body["scope"] = scope
    try:
        row = doors.add(
            ctx.unit,
            name if is_door(name) else _alias(name),
            tenant=ctx.account,
            region=ctx.region,
            name=name,
            container=known.name,
            body=body,
        )
    except Exists as taken:
        if taken.facts.get("tenant") != ctx.account:
            raise faults.invalid_request("The access point name is taken in its zone.") from None
        raise AWSError(
            "AccessPointAlreadyOwnedByYou",
            "Your previous request to create the named accesspoint succeeded and you already own it.",
            409,
            AccessPointName=name,
        ) from None
    if is_door(name):
        return {"AccessPointArn": door_arn(row)}
    return {"AccessPointArn": door_arn(row), "Alias": row.alias}


def _shown(door: Any, body: Any) -> dict[str, Any]:
    """What listing and getting have in common; `door` is a row or what is known of one."""
    about: dict[str, Any] = {
        "Name": door.name,
        "NetworkOrigin": "VPC" if body.get("vpc") else "Internet",
        "Bucket": door.container,
        "AccessPointArn": door_arn(door),
        "BucketAccountId": body["owner"],
    }
    if not is_door(door.name):
        about["Alias"] = door.alias
    if body.get("vpc"):
        about["VpcConfiguration"] = {"VpcId": body["vpc"]}
    return about


@operation("s3control:GetAccessPoint", on=ON, streams=True)
def get_access_point(ctx: Context, p: Params) -> Result:
    door = door_of(ctx, p)
    place = f"{door.region}.amazonaws.com"
    zone = f"s3express-{zone_of(door.name)}.{place}"
    hosts = (
        {"ipv4": zone, "dualstack": zone.replace(place, f"dualstack.{place}")}
        if is_door(door.name)
        else {
            "ipv4": f"s3-accesspoint.{place}",
            "dualstack": f"s3-accesspoint.dualstack.{place}",
            "fips": f"s3-accesspoint-fips.{place}",
            "fips_dualstack": f"s3-accesspoint-fips.dualstack.{place}",
        }
    )
    return {
        **_shown(door, door.body),
        "PublicAccessBlockConfiguration": dict(door.body["public"]),
        "CreationDate": door.created,
        "Endpoints": hosts,
    }


@operation("s3control:ListAccessPoints", streams=False)
def list_access_points(ctx: Context, p: Params) -> Result:
    return _listed(ctx, p, p.get("Bucket"), but_ending=DOOR_SUFFIX)


def _listed(ctx: Context, p: Params, bucket: str | None, **which: Any) -> Result:
    account_of(ctx, p)
    limit = limit_of(p)
    after = p.get("NextToken") or ""
    found = doors.of(ctx.unit, ctx.account, ctx.region, container=bucket, after=after, limit=limit + 1, **which)
    result: Result = {"AccessPointList": [_shown(row, row.body) for row in found[:limit]]}
    if len(found) > limit:
        result["NextToken"] = found[limit - 1].name
    return result


@operation("s3control:ListAccessPointsForDirectoryBuckets", action="s3express:ListAccessPointsForDirectoryBuckets")
def list_access_points_for_directory_buckets(ctx: Context, p: Params) -> Result:
    return _listed(ctx, p, p.get("DirectoryBucket"), ending=DOOR_SUFFIX)


@operation("s3control:DeleteAccessPoint", on=ON)
def delete_access_point(ctx: Context, p: Params) -> None:
    name = _name_of(ctx, p)
    try:
        doors.drop(ctx.unit, ctx.account, ctx.region, name)
    except Missing:
        raise faults.no_such_access_point(name) from None


@operation("s3control:PutAccessPointPolicy", on=ON)
def put_access_point_policy(ctx: Context, p: Params) -> None:
    door, written = door_of(ctx, p), p["Policy"]
    check_policy(ctx, written, door_arn(door), express=is_door(door.name))
    known = containers(ctx.cloud).find(door.container)
    blocked = door.body["public"].get("BlockPublicPolicy") or (
        known is not None and (known.documents.get("public") or {}).get("BlockPublicPolicy")
    )
    if blocked and is_public_policy(written):
        raise faults.denied()
    amend(ctx, p, policy=written)


def _policy(door: KnownDoor) -> str:
    if door.body.get("policy") is None:
        raise AWSError(
            "NoSuchAccessPointPolicy", "The specified accesspoint policy does not exist", 404, AccessPointName=door.name
        )
    return str(door.body["policy"])


@operation("s3control:GetAccessPointPolicy", on=ON, streams=True)
def get_access_point_policy(ctx: Context, p: Params) -> Result:
    return {"Policy": _policy(door_of(ctx, p))}


@operation("s3control:DeleteAccessPointPolicy", on=ON)
def delete_access_point_policy(ctx: Context, p: Params) -> None:
    amend(ctx, p, policy=None)


@operation("s3control:GetAccessPointPolicyStatus", on=ON, streams=True)
def get_access_point_policy_status(ctx: Context, p: Params) -> Result:
    door = door_of(ctx, p)
    public = is_public_policy(_policy(door)) and not door.body["public"].get("RestrictPublicBuckets")
    return {"PolicyStatus": {"IsPublic": public and not door.body.get("vpc")}}


# --- scopes, which access points of directory buckets have ------------------------------------------------------------


def _scopeless() -> AWSError:
    return faults.invalid_request("Scopes are only supported for access points of directory buckets.")


def _scoped(ctx: Context, p: Params) -> KnownDoor:
    door = door_of(ctx, p)
    if not is_door(door.name):
        raise _scopeless()
    return door


@operation("s3control:PutAccessPointScope", on=ON, action="s3express:PutAccessPointScope")
def put_access_point_scope(ctx: Context, p: Params) -> None:
    _scoped(ctx, p)
    amend(ctx, p, scope=checked_scope(p["Scope"]) or None)


@operation("s3control:GetAccessPointScope", on=ON, action="s3express:GetAccessPointScope", streams=True)
def get_access_point_scope(ctx: Context, p: Params) -> Result:
    """The scope; an empty one where there is none."""
    return {"Scope": dict(_scoped(ctx, p).body.get("scope") or {})}


@operation("s3control:DeleteAccessPointScope", on=ON, action="s3express:DeleteAccessPointScope")
def delete_access_point_scope(ctx: Context, p: Params) -> None:
    _scoped(ctx, p)
    amend(ctx, p, scope=None)
