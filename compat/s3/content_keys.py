"""Keys of contents that the store cannot open by itself: closed under a caller's key, or under one of KMS.

What the index keeps of such a key begins with the store's mark for foreign ones, then says which of the two it is:

- `C`: the content's key under the customer's key, which is written down nowhere;
- `K`: a data key as KMS closed it and its encryption context, then the content's key under the data key. With a bucket
  key the data key is the bucket's, and serves many objects for a while.
- `D`: the same, and the whole of it once more under the store's own key (two layers).
"""

from __future__ import annotations

import os
import time
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backends.object.cipher import FOREIGN, ContentKey
from compat.errors import AWSError

if TYPE_CHECKING:
    from backends.object.containers import Known
    from compat.context import Context
    from compat.kms.through import DataKey

CUSTOMER, KMS, DUAL = b"C", b"K", b"D"
LASTS = 300.0
"""Seconds for which a bucket key is used for new objects."""
_bucket_keys: dict[tuple[int, str, int], tuple[float, DataKey]] = {}


def fresh_key() -> bytes:
    """A key for a new content."""
    return os.urandom(32)


def kind_of(sealed: bytes | None) -> bytes:
    """`C`, `K` or `D`; empty for a content whose key is the store's, or that has none."""
    return sealed[1:2] if sealed is not None and sealed[:1] == FOREIGN else b""


def _close(secret: bytes, plain: bytes) -> bytes:
    nonce = os.urandom(12)
    return nonce + AESGCM(secret).encrypt(nonce, plain, None)


def _open(secret: bytes, closed: bytes) -> bytes:
    return AESGCM(secret).decrypt(closed[:12], closed[12:], None)


# --- a customer's key -------------------------------------------------------------------------------------------------


def under_customer(customer: bytes, plain: bytes) -> ContentKey:
    """A content's key under a customer's."""
    return ContentKey(plain, FOREIGN + CUSTOMER + _close(customer, plain))


def open_customer(customer: bytes, sealed: bytes) -> bytes:
    """The content's key again. Raises AccessDenied when the customer's key is another one."""
    try:
        return _open(customer, sealed[2:])
    except InvalidTag:
        raise wrong_key() from None


def wrong_key() -> AWSError:
    """403: the customer's key is not the one that the content was stored under."""
    return AWSError(
        "AccessDenied",
        "Requests specifying Server Side Encryption with Customer provided keys must provide the correct secret key.",
        403,
    )


# --- a key of KMS -----------------------------------------------------------------------------------------------------


def under_kms(
    ctx: Context,
    bucket: Known,
    key: str,
    plain: bytes,
    named: str,
    words: dict[str, str],
    *,
    shared: bool,
    dual: bool,
    replicates: bool = False,
) -> tuple[ContentKey, str]:
    """A content's key under one of KMS, and the ARN of that. `shared`: by way of a bucket key. `replicates`: for a
    replica, whose maker needs `kms:Encrypt` only.

    Raises S3's forms of KMS's errors."""
    from compat.kms import through

    arn = f"arn:{ctx.partition}:s3:::{bucket.name}"
    words = {"aws:s3:arn": arn if shared else f"{arn}/{key}"} | words
    try:
        known = through.the_master(ctx, named, bucket.region)
        through.may_generate(ctx, known, words, service_of(bucket), encrypts=replicates)
        if shared:
            words = {"aws:s3:arn": arn}
            place = (bucket.number, known.id, known.past[-1].number)
            until, data = _bucket_keys.get(place, (0.0, None))
            if data is None or until < time.monotonic():
                data = through.data_key(ctx, known, words)
                if len(_bucket_keys) > 1024:
                    _bucket_keys.clear()
                _bucket_keys[place] = time.monotonic() + LASTS, data
        else:
            data = through.data_key(ctx, known, words)
    except AWSError as fault:
        raise as_of_s3(fault) from None
    about = orjson.dumps({"key": b64encode(data.closed).decode(), "words": words})
    body = len(about).to_bytes(2, "big") + about + _close(data.plain, plain)
    if dual:
        return ContentKey(plain, FOREIGN + DUAL + ctx.objects.keys.wrap(body)), data.arn
    return ContentKey(plain, FOREIGN + KMS + body), data.arn


def open_kms(ctx: Context, bucket: Known, sealed: bytes) -> bytes:
    """The content's key again, for a caller who may decrypt. Raises S3's forms of KMS's errors."""
    from compat.kms import through

    body = sealed[2:] if sealed[1:2] == KMS else ctx.objects.keys.open(sealed[2:])
    end = 2 + int.from_bytes(body[:2], "big")
    about: dict[str, Any] = orjson.loads(body[2:end])
    try:
        data = through.open_data_key(ctx, b64decode(about["key"]), about["words"], service_of(bucket))
    except AWSError as fault:
        raise as_of_s3(fault) from None
    return _open(data, body[end:])


def service_of(bucket: Known) -> str:
    """S3 as `kms:ViaService` names it."""
    return f"s3.{bucket.region}.amazonaws.com"


def as_of_s3(fault: AWSError) -> AWSError:
    """An error of KMS as S3 tells it."""
    if not fault.code.endswith("Exception"):
        return fault
    return AWSError(f"KMS.{fault.code}", fault.message, 400)
