"""Key policies, and what a key itself says about who may use it: the guard of KMS.

A key's policy must let even its own account in; usually one statement does, for the account's root, and hands the
decision on to IAM. A grant lets its grantee in without either.
"""

from __future__ import annotations

import fnmatch
import json
from collections import OrderedDict
from typing import TYPE_CHECKING

from backends.keys.ring import Known
from compat.errors import AWSError
from compat.iam.guards import guard
from compat.iam.policy.document import Document, Malformed
from compat.iam.policy.evaluate import ResourceSide
from compat.iam.policy.validate import resource_policy
from compat.iam.trust import unknown_principal
from compat.kms import faults
from compat.kms.leave import is_granted
from compat.kms.pages import paged
from compat.kms.places import find, known_as, the_key
from compat.kms.rows import lasting_row_of
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

NAME = "default"
LONGEST = 32 * 1024
_MOST_KEPT = 1024
_sides: OrderedDict[tuple[str, str], ResourceSide] = OrderedDict()


@guard("kms")
def key_side(ctx: Context, action: str, resource: str) -> ResourceSide | None:
    """The key's owner and policy, and whether a grant lets the caller in."""
    known = known_as(ctx, resource)
    if known is None:
        return None
    if known.grants and is_granted(ctx, known, action):
        return ResourceSide(known.tenant, known.rules, required=True, granted=True)
    return _side(known)


def _side(known: Known) -> ResourceSide:
    """The side of a key without grants in play; kept, since its policy is compiled."""
    place = (known.tenant, known.rules)
    side = _sides.get(place)
    if side is None:
        side = _sides[place] = ResourceSide(known.tenant, known.rules, required=True)
        if len(_sides) > _MOST_KEPT:
            _sides.popitem(last=False)
    return side


def default_policy(ctx: Context) -> str:
    """What a key gets that is made without a policy: the account decides."""
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Id": "key-default-1",
            "Statement": [
                {
                    "Sid": "Enable IAM User Permissions",
                    "Effect": "Allow",
                    "Principal": {"AWS": f"arn:{ctx.partition}:iam::{ctx.account}:root"},
                    "Action": "kms:*",
                    "Resource": "*",
                }
            ],
        },
        indent=2,
    )


def check_policy(ctx: Context, written: str, *, lockout: bool) -> None:
    """Refuse a policy that is none, that names nobody, or (`lockout`) after which nobody here could change it again.

    Raises MalformedPolicyDocumentException."""
    if len(written.encode()) > LONGEST:
        raise AWSError("LimitExceededException", "The policy document exceeds the maximum allowed size")
    try:
        document = resource_policy(written)
    except Malformed as fault:
        raise AWSError("MalformedPolicyDocumentException", str(fault)) from None
    if unknown_principal(ctx, document) is not None:
        raise AWSError(
            "MalformedPolicyDocumentException", "Policy contains a statement with one or more invalid principals."
        )
    if lockout and not _leaves_a_way(ctx, document):
        raise AWSError(
            "MalformedPolicyDocumentException",
            "The new key policy will not allow you to update the key policy in the future.",
        )


def _leaves_a_way(ctx: Context, document: Document) -> bool:
    """Whether the caller, or the account's root, may put a key policy after this one."""
    own = {ctx.account, f"arn:{ctx.partition}:iam::{ctx.account}:root", ctx.principal.arn, ctx.principal.role_arn, "*"}
    for statement in document.statements:
        covers = any(_covers(action.lower()) for action in statement.actions)
        if statement.allow and covers and any(value in own for _, value in statement.principals or ()):
            return True
    return False


def _covers(pattern: str) -> bool:
    return fnmatch.fnmatchcase("kms:putkeypolicy", pattern)


def _check_name(p: Params) -> None:
    if p.get("PolicyName", NAME) != NAME:
        raise faults.not_found("No such policy exists")


@operation("kms:PutKeyPolicy", on=the_key)
def put_key_policy(ctx: Context, p: Params) -> None:
    _check_name(p)
    row = lasting_row_of(ctx, p)
    check_policy(ctx, p["Policy"], lockout=not p.get("BypassPolicyLockoutSafetyCheck"))
    row.rules = p["Policy"]


@operation("kms:GetKeyPolicy", on=the_key, streams=True)
def get_key_policy(ctx: Context, p: Params) -> Result:
    _check_name(p)
    return {"Policy": find(ctx, p["KeyId"]).rules, "PolicyName": NAME}


@operation("kms:ListKeyPolicies", on=the_key, streams=True)
def list_key_policies(ctx: Context, p: Params) -> Result:
    find(ctx, p["KeyId"])
    return paged(p, "PolicyNames", [NAME], lambda name: name, lambda name: name)
