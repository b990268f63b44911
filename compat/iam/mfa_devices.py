"""Virtual MFA devices: made with a seed that is told once, enabled by two codes in a row (RFC 6238)."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from datetime import datetime
from typing import TYPE_CHECKING, Any

from backends.identity.models import Possession, User
from compat.errors import AWSError
from compat.iam.faults import FAULTS, limit, no_such
from compat.iam.names import subject, the_user
from compat.iam.pages import marked
from compat.iam.tags import checked, drop, listing, page_of, put
from compat.iam.users import render_user
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

KIND = "mfa device"
MOST_DEVICES = 8
STEP = 30
"""Seconds that a code is good for; its neighbours in time are accepted too."""


def code_at(seed: bytes, step: int) -> str:
    """The six digits of time step `step`."""
    digest = hmac.digest(seed, step.to_bytes(8, "big"), hashlib.sha1)
    place = digest[-1] & 15
    return f"{(int.from_bytes(digest[place : place + 4], 'big') & 0x7FFFFFFF) % 10**6:06}"


def _seed(ctx: Context, device: Possession) -> bytes:
    return ctx.identity.seal.open(base64.b64decode(device.about["seed"]), device.id)


def verified_step(ctx: Context, device: Possession, code: str, now: datetime) -> int | None:
    """The time step whose code it is, among those that count now and were not used before; None for a wrong code."""
    seed, at = _seed(ctx, device), int(now.timestamp()) // STEP
    for step in (at - 1, at, at + 1):
        if hmac.compare_digest(code_at(seed, step), code) and step > device.about.get("used", -1):
            return step
    return None


def proves(ctx: Context, serial: str, code: str, user_id: str | None) -> bool:
    """Whether `code` comes from the enabled device `serial` of a user; a code counts once."""
    device = ctx.identity.possession(KIND, serial)
    if device is None or device.user_id is None or device.user_id != user_id:
        return False
    step = verified_step(ctx, device, code, ctx.now)
    if step is None:
        return False
    device.about = device.about | {"used": step}
    return True


def _device(ctx: Context, serial: str) -> Possession:
    found = ctx.identity.possession(KIND, serial)
    if found is None:
        raise no_such(f"VirtualMFADevice with serial number {serial} does not exist.")
    return found


def _new_device(ctx: Context, p: Params) -> list[str]:
    return [f"mfa{p.get('Path') or '/'}{p['VirtualMFADeviceName']}"]


def _of_user(ctx: Context, p: Params) -> Possession:
    user = subject(ctx, p.get("UserName"))
    found = ctx.identity.possession(KIND, p["SerialNumber"])
    if user is None or found is None or found.user_id != user.id:
        raise no_such(f"MFA Device invalid for user {user.name if user is not None else 'root'}.")
    return found


@operation("iam:CreateVirtualMFADevice", on=_new_device, raises=FAULTS)
def create_virtual_mfa_device(ctx: Context, p: Params) -> Result:
    """The answer has the seed and no picture of it: clients that draw QR codes make them from the seed."""
    tags = checked(p.get("Tags"))
    serial = f"arn:{ctx.partition}:iam::{ctx.account}:{_new_device(ctx, p)[0]}"
    if ctx.identity.possession(KIND, serial) is not None:
        raise AWSError("EntityAlreadyExists", "MFADevice entity at the same path and name already exists.")
    seed = secrets.token_bytes(40)
    sealed = base64.b64encode(ctx.identity.seal.close(seed, serial)).decode()
    ctx.identity.file(Possession(id=serial, kind=KIND, about={"seed": sealed}, tags=tags))
    device: Result = {"SerialNumber": serial, "Base32StringSeed": base64.b32encode(seed)}
    return {"VirtualMFADevice": device | {"Tags": listing(tags)} if tags else device}


@operation("iam:EnableMFADevice", on=the_user, raises=FAULTS)
def enable_mfa_device(ctx: Context, p: Params) -> None:
    user, device = ctx.identity.get(User, p["UserName"]), _device(ctx, p["SerialNumber"])
    if device.user_id is not None:
        raise AWSError("EntityAlreadyExists", "MFA Device is already in use.")
    if len(ctx.identity.possessions(KIND, user)) >= MOST_DEVICES:
        raise limit("MFADevicesPerUser", MOST_DEVICES)
    _two_codes(ctx, device, p)
    device.user_id = user.id


@operation("iam:ResyncMFADevice", on=the_user, raises=FAULTS)
def resync_mfa_device(ctx: Context, p: Params) -> None:
    _two_codes(ctx, _of_user(ctx, p), p)


def _two_codes(ctx: Context, device: Possession, p: Params) -> None:
    """Check two codes in a row. The first may be some steps old: people type slowly."""
    seed, at = _seed(ctx, device), int(ctx.now.timestamp()) // STEP
    given = (p["AuthenticationCode1"], p["AuthenticationCode2"])
    for step in range(at - 4, at + 2):
        if (code_at(seed, step), code_at(seed, step + 1)) == given:
            device.about = device.about | {"used": step + 1, "enabled": ctx.identity.moment.isoformat()}
            return
    raise AWSError("InvalidAuthenticationCode", "Authentication code for device is not valid.", 403)


@operation("iam:DeactivateMFADevice", on=the_user, raises=FAULTS)
def deactivate_mfa_device(ctx: Context, p: Params) -> None:
    _of_user(ctx, p).user_id = None


@operation("iam:DeleteVirtualMFADevice", on="{SerialNumber}", raises=FAULTS)
def delete_virtual_mfa_device(ctx: Context, p: Params) -> None:
    device = _device(ctx, p["SerialNumber"])
    if device.user_id is not None:
        raise AWSError("DeleteConflict", "MFA VirtualDevice in use. Must deactivate first.")
    ctx.identity.drop(device)


def _enabled(device: Possession) -> datetime:
    return datetime.fromisoformat(device.about["enabled"])


@operation("iam:GetMFADevice", on=the_user, raises=FAULTS)
def get_mfa_device(ctx: Context, p: Params) -> Result:
    device = _device(ctx, p["SerialNumber"])
    user = ctx.identity.user_of(device)
    if user is None or (p.get("UserName") and user.name != p["UserName"]):
        raise no_such(f"MFA Device with serial number {device.id} is not enabled for the user.")
    return {"UserName": user.name, "SerialNumber": device.id, "EnableDate": _enabled(device)}


@operation("iam:ListMFADevices", on=the_user, raises=FAULTS)
def list_mfa_devices(ctx: Context, p: Params) -> Result:
    user = subject(ctx, p.get("UserName"))
    held = [] if user is None else [(user, device) for device in ctx.identity.possessions(KIND, user)]
    return marked(
        p,
        "MFADevices",
        held,
        lambda pair: pair[1].id,
        lambda pair: {"UserName": pair[0].name, "SerialNumber": pair[1].id, "EnableDate": _enabled(pair[1])},
    )


@operation("iam:ListVirtualMFADevices", on="*", raises=FAULTS)
def list_virtual_mfa_devices(ctx: Context, p: Params) -> Result:
    wanted = p.get("AssignmentStatus") or "Any"
    devices = [
        one
        for one in ctx.identity.possessions(KIND)
        if wanted == "Any" or (one.user_id is not None) is (wanted == "Assigned")
    ]
    return marked(p, "VirtualMFADevices", devices, lambda one: one.id, lambda one: _listed(ctx, one))


def _listed(ctx: Context, device: Possession) -> dict[str, Any]:
    user = ctx.identity.user_of(device)
    shown: dict[str, Any] = {"SerialNumber": device.id}
    return shown if user is None else shown | {"User": render_user(ctx, user), "EnableDate": _enabled(device)}


@operation("iam:TagMFADevice", on="{SerialNumber}", raises=FAULTS)
def tag_mfa_device(ctx: Context, p: Params) -> None:
    put(_device(ctx, p["SerialNumber"]), p["Tags"], "MFADevice")


@operation("iam:UntagMFADevice", on="{SerialNumber}", raises=FAULTS)
def untag_mfa_device(ctx: Context, p: Params) -> None:
    drop(_device(ctx, p["SerialNumber"]), p["TagKeys"])


@operation("iam:ListMFADeviceTags", on="{SerialNumber}", raises=FAULTS)
def list_mfa_device_tags(ctx: Context, p: Params) -> Result:
    return page_of(p, _device(ctx, p["SerialNumber"]).tags)
