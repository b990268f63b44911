"""Keys as other services use them for their callers: the caller must be allowed to, through that service."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from backends.keys.ring import Known
from compat.errors import AWSError
from compat.kms import condition_keys, policies, tags  # noqa: F401 - what authorisation asks about keys
from compat.kms.cipher import close, key_in, open_closed
from compat.kms.crypto import permit
from compat.kms.places import arn_of, find, ring, usable
from compat.kms.specs import ENCRYPT
from compat.kms.words import Words

if TYPE_CHECKING:
    from compat.context import Context


class DataKey(NamedTuple):
    """A key for data: plain, as its master key closed it, and the ARN of that."""

    plain: bytes
    closed: bytes
    arn: str


def the_master(ctx: Context, named: str, region: str) -> Known:
    """The symmetric key in `region` that a caller names for another service's use. Raises KMS's errors."""
    known = find(ctx, named, region)
    arn = usable(ctx, known, ENCRYPT, "GenerateDataKey")
    if known.spec != "SYMMETRIC":
        raise AWSError("InvalidKeyUsageException", f"{arn} is not a symmetric encryption key.")
    return known


def may_generate(ctx: Context, known: Known, words: Words, service: str, *, encrypts: bool = False) -> None:
    """Raises AccessDenied unless the caller may have a data key made; `encrypts`: or may encrypt."""
    if encrypts:
        with contextlib.suppress(AWSError):  # the other permission will do
            permit(ctx, "kms:Encrypt", known, words, service)
            return
    permit(ctx, "kms:GenerateDataKey", known, words, service)


def data_key(ctx: Context, known: Known, words: Words) -> DataKey:
    """A fresh data key of 32 bytes; who may have it was asked before."""
    plain = os.urandom(32)
    return DataKey(plain, close(ring(ctx), known, plain, words), arn_of(ctx, known))


def open_data_key(ctx: Context, closed: bytes, words: Words, service: str) -> bytes:
    """A data key again, for a caller who may decrypt with its master key. Raises KMS's errors and AccessDenied."""
    known = _of(ctx, closed)
    permit(ctx, "kms:Decrypt", known, words, service)
    usable(ctx, known, ENCRYPT, "Decrypt")
    return open_closed(ring(ctx), known, closed, words)


def _of(ctx: Context, closed: bytes) -> Known:
    id = key_in(closed)
    known = None if id is None else ring(ctx).find_in(id, ctx.region) or ring(ctx).find(id)
    if known is None:
        raise AWSError("NotFoundException", "The key does not exist any more.")
    return known
