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
from compat.s3.directory_rules import is_directory
from compat.s3.places import ALIAS_SUFFIX, containers, door_arn
from compat.s3.policies import check_policy, is_public_policy
from compat.s3.properties import check_tags
from compat.s3control.public_access import account_of

if TYPE_CHECKING:
    from compat.context import Context

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,48}[a-z0-9]")
_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"
_OF_NAME, _RANDOM = 20, 34
MOST = 1000
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
    if is_directory(known.name):
        raise faults.not_offered("An access point of a directory bucket")
    if known.tenant != (p.get("BucketAccountId") or ctx.account):
        raise faults.denied()
    if known.region != ctx.region:
        raise faults.invalid_request("The bucket and the access point must be in the same Region.")
    return known


@operation("s3control:CreateAccessPoint", on=ON)
def create_access_point(ctx: Context, p: Params) -> Result:
    name = _name_of(ctx, p)
    if not _NAME.fullmatch(name) or name.endswith(ALIAS_SUFFIX):
        raise faults.invalid_request("The access point name is not valid.")
    if p.get("Scope"):
        raise faults.invalid_request("Scopes are only supported for access points of directory buckets.")
    known, block, tags = _bucket(ctx, p), p.get("PublicAccessBlockConfiguration"), p.get("Tags") or []
    check_tags(tags, 50)
    body: dict[str, Any] = {"public": ALL_BLOCKED if block is None else checked_block(block), "owner": known.tenant}
    if vpc := (p.get("VpcConfiguration") or {}).get("VpcId"):
        body["vpc"] = vpc
    if tags:
        body["tags"] = tags
    try:
        row = doors.add(
            ctx.unit,
            _alias(name),
            tenant=ctx.account,
            region=ctx.region,
            name=name,
            container=known.name,
            body=body,
        )
    except Exists:
        raise AWSError(
            "AccessPointAlreadyOwnedByYou",
            "Your previous request to create the named accesspoint succeeded and you already own it.",
            409,
            AccessPointName=name,
        ) from None
    return {"AccessPointArn": ctx.arn("s3", f"accesspoint/{name}"), "Alias": row.alias}


def _shown(door: Any, body: Any) -> dict[str, Any]:
    """What listing and getting have in common; `door` is a row or what is known of one."""
    about: dict[str, Any] = {
        "Name": door.name,
        "NetworkOrigin": "VPC" if body.get("vpc") else "Internet",
        "Bucket": door.container,
        "AccessPointArn": door_arn(door),
        "Alias": door.alias,
        "BucketAccountId": body["owner"],
    }
    if body.get("vpc"):
        about["VpcConfiguration"] = {"VpcId": body["vpc"]}
    return about


@operation("s3control:GetAccessPoint", on=ON, streams=True)
def get_access_point(ctx: Context, p: Params) -> Result:
    door = door_of(ctx, p)
    place = f"{door.region}.amazonaws.com"
    hosts = {
        "ipv4": f"s3-accesspoint.{place}",
        "dualstack": f"s3-accesspoint.dualstack.{place}",
        "fips": f"s3-accesspoint-fips.{place}",
        "fips_dualstack": f"s3-accesspoint-fips.dualstack.{place}",
    }
    return {
        **_shown(door, door.body),
        "PublicAccessBlockConfiguration": dict(door.body["public"]),
        "CreationDate": door.created,
        "Endpoints": hosts,
    }


@operation("s3control:ListAccessPoints", streams=False)
def list_access_points(ctx: Context, p: Params) -> Result:
    account_of(ctx, p)
    limit = min(p.get("MaxResults") or MOST, MOST)
    found = doors.of(
        ctx.unit, ctx.account, ctx.region, container=p.get("Bucket"), after=p.get("NextToken") or "", limit=limit + 1
    )
    result: Result = {"AccessPointList": [_shown(row, row.body) for row in found[:limit]]}
    if len(found) > limit:
        result["NextToken"] = found[limit - 1].name
    return result


@operation("s3control:ListAccessPointsForDirectoryBuckets", action="s3express:ListAccessPointsForDirectoryBuckets")
def list_access_points_for_directory_buckets(ctx: Context, p: Params) -> Result:
    """None of them has access points here."""
    account_of(ctx, p)
    return {"AccessPointList": []}


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
    check_policy(ctx, written, door_arn(door))
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
