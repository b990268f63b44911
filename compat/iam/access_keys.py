"""Access keys of users, and of the root of an account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backends.identity.models import Key, User
from compat.errors import AWSError
from compat.iam.directory import directory
from compat.iam.faults import FAULTS, limit
from compat.iam.names import account_in, new_access_key, subject, the_user
from compat.iam.pages import marked
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

MOST_KEYS = 2


def _status(key: Key) -> str:
    return "Active" if key.active else "Inactive"


def _owner(user: User | None) -> dict[str, Any]:
    return {} if user is None else {"UserName": user.name}


@operation("iam:CreateAccessKey", on=the_user, raises=FAULTS)
def create_access_key(ctx: Context, p: Params) -> Result:
    user = subject(ctx, p.get("UserName"))
    if len(ctx.identity.keys_of(user)) >= MOST_KEYS:
        raise limit("AccessKeysPerUser", MOST_KEYS)
    issued = ctx.identity.issue_key(new_access_key("AKIA", ctx.account), user)
    return {
        "AccessKey": _owner(user)
        | {
            "AccessKeyId": issued.id,
            "Status": "Active",
            "SecretAccessKey": issued.secret,
            "CreateDate": issued.created,
        }
    }


@operation("iam:ListAccessKeys", on=the_user, raises=FAULTS)
def list_access_keys(ctx: Context, p: Params) -> Result:
    user = subject(ctx, p.get("UserName"))
    keys = sorted(ctx.identity.keys_of(user), key=lambda key: key.id)
    return _owner(user) | marked(
        p,
        "AccessKeyMetadata",
        keys,
        lambda key: key.id,
        lambda key: _owner(user) | {"AccessKeyId": key.id, "Status": _status(key), "CreateDate": key.created},
    )


@operation("iam:UpdateAccessKey", on=the_user, raises=FAULTS)
def update_access_key(ctx: Context, p: Params) -> None:
    if p["Status"] == "Expired":
        raise AWSError("ValidationError", "An access key cannot be set to Expired.")
    key = ctx.identity.key(p["AccessKeyId"], subject(ctx, p.get("UserName")))
    key.active = p["Status"] == "Active"


@operation("iam:DeleteAccessKey", on=the_user, raises=FAULTS)
def delete_access_key(ctx: Context, p: Params) -> None:
    ctx.identity.remove_key(ctx.identity.key(p["AccessKeyId"], subject(ctx, p.get("UserName"))))


@operation("iam:GetAccessKeyLastUsed", on="*", raises=FAULTS, slow=True)
def get_access_key_last_used(ctx: Context, p: Params) -> Result:
    """Uses are written down every few seconds; those that this process still has in memory are written down first."""
    id = p["AccessKeyId"]
    ctx.volatile = True
    directory(ctx.cloud).settle()
    key, user, use = ctx.identity.key_with_use(id)
    if key is None or account_in(id) != ctx.account:
        raise AWSError(
            "AccessDenied", f"User: {ctx.principal.arn} is not authorized to perform: iam:GetAccessKeyLastUsed"
        )
    used: dict[str, Any] = {"ServiceName": "N/A", "Region": "N/A"}
    if use is not None:
        used = {"LastUsedDate": use.used, "ServiceName": use.service, "Region": use.region}
    return _owner(user) | {"AccessKeyLastUsed": used}
