"""Which instance carries which instance profile."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import select

from backends.compute.models import Guest, GuestState
from compat.context import Context
from compat.ec2.launch_facts import find_profile
from compat.ec2.listing import cut
from compat.errors import AWSError
from compat.filters import as_texts, matches
from compat.operation import Params, Result, operation


def associated(ctx: Context, profile: Mapping[str, Any]) -> dict[str, Any]:
    """What a guest notes of the profile that it carries from now on: the profile's members, and the association's."""
    return {**profile, "AssociationId": "iip-assoc-" + secrets.token_hex(9)[:17], "Since": ctx.now.isoformat()}


def _render_association(guest: Guest, state: str = "associated") -> dict[str, Any]:
    profile = guest.notes["profile"]
    return {
        "AssociationId": profile["AssociationId"],
        "InstanceId": guest.id,
        "IamInstanceProfile": {"Arn": profile["Arn"], "Id": profile["Id"]},
        "State": state,
        "Timestamp": datetime.fromisoformat(profile["Since"]),
    }


def _carry(ctx: Context, guest: Guest, named: Mapping[str, Any]) -> None:
    profile = find_profile(ctx, named)
    if profile is None:
        raise AWSError("MissingParameter", "The request must contain the parameter IamInstanceProfile")
    guest.notes, guest.profile = guest.notes | {"profile": associated(ctx, profile)}, profile["Id"]


@operation("ec2:AssociateIamInstanceProfile", on="instance/{InstanceId}")
def associate_iam_instance_profile(ctx: Context, p: Params) -> Result:
    """Give an instance a profile."""
    guest: Guest = ctx.find("instance", p["InstanceId"])
    if guest.profile is not None:
        raise AWSError("IncorrectState", f"There is an existing association for instance {guest.id}")
    _carry(ctx, guest, p["IamInstanceProfile"])
    return {"IamInstanceProfileAssociation": _render_association(guest, "associating")}


def _carrier(ctx: Context, id: str) -> Guest:
    for guest in ctx.session.scalars(select(Guest).where(Guest.profile.is_not(None))):
        if guest.notes["profile"]["AssociationId"] == id:
            return guest
    raise AWSError("NoSuchAssociation", f"An invalid association-id of '{id}' was given")


@operation("ec2:ReplaceIamInstanceProfileAssociation", on="instance/*")
def replace_iam_instance_profile_association(ctx: Context, p: Params) -> Result:
    """Give an instance another profile."""
    guest = _carrier(ctx, p["AssociationId"])
    _carry(ctx, guest, p["IamInstanceProfile"])
    return {"IamInstanceProfileAssociation": _render_association(guest, "associating")}


@operation("ec2:DisassociateIamInstanceProfile", on="instance/*")
def disassociate_iam_instance_profile(ctx: Context, p: Params) -> Result:
    """Take the profile from an instance."""
    guest = _carrier(ctx, p["AssociationId"])
    answer = _render_association(guest, "disassociating")
    guest.notes, guest.profile = {key: value for key, value in guest.notes.items() if key != "profile"}, None
    return {"IamInstanceProfileAssociation": answer}


@operation("ec2:DescribeIamInstanceProfileAssociations")
def describe_iam_instance_profile_associations(ctx: Context, p: Params) -> Result:
    """Which instance carries which profile."""
    rows = ctx.session.scalars(
        select(Guest).where(Guest.profile.is_not(None), Guest.state != GuestState.TERMINATED).order_by(Guest.id)
    )
    found = [_render_association(guest) for guest in rows]
    for id in p.get("AssociationIds") or ():
        if not any(one["AssociationId"] == id for one in found):
            raise AWSError("NoSuchAssociation", f"An invalid association-id of '{id}' was given")
    if ids := p.get("AssociationIds"):
        found = [one for one in found if one["AssociationId"] in ids]
    for asked in p.get("Filters") or ():
        member = {"instance-id": "InstanceId", "state": "State"}.get(asked.get("Name") or "")
        if member is None:
            raise AWSError("InvalidParameterValue", f"The filter '{asked.get('Name')}' is invalid")
        wanted = list(asked.get("Values") or ())
        found = [one for one in found if any(matches(text, wanted) for text in as_texts(one[member]))]
    shown, token = cut(ctx, p, found, lambda one: str(one["AssociationId"]))
    result: Result = {"IamInstanceProfileAssociations": shown}
    return result if token is None else result | {"NextToken": token}
