"""Rows of keys, to be changed in the open unit of work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backends.keys.models import MasterKey
from backends.keys.service import KeyService
from compat.kms import faults
from compat.kms.places import arn_of, check_lasting, check_own, find

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params


def service(ctx: Context) -> KeyService:
    """The keys, to be changed in the open unit of work."""
    found: KeyService = ctx.cloud.services["keys"](ctx.unit)
    return found


def row_of(ctx: Context, p: Params) -> MasterKey:
    """The row of the key that a changing call names by id or ARN. Raises NotFoundException (for an alias, too), and
    UnsupportedOperationException for a key that AWS manages."""
    named = p["KeyId"]
    if "alias/" in named:
        raise faults.not_found(f"Invalid keyId '{named}'")
    row = service(ctx).get(find(ctx, named).id)
    check_own(ctx, row)
    return row


def lasting_row_of(ctx: Context, p: Params) -> MasterKey:
    """The same of a key that is not about to go. Raises KMSInvalidStateException."""
    row = row_of(ctx, p)
    check_lasting(arn_of(ctx, row), row)
    return row
