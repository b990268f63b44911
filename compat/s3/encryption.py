"""How objects are encrypted: what a call asks for, what the bucket asks for, and what answers say of it.

Every object is encrypted. Without a word it is by a key of the store's (SSE-S3); else by one of KMS (SSE-KMS, DSSE-KMS)
or by one that the caller brings each time (SSE-C). Facts of the object hold the members that answers show; an object
without any is SSE-S3's.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from backends.object.cipher import ContentKey
from compat.errors import AWSError
from compat.s3 import content_keys, faults
from compat.s3.content_keys import CUSTOMER, kind_of
from compat.s3.directory_rules import is_directory

if TYPE_CHECKING:
    from backends.object.containers import Known
    from backends.object.contents import Received
    from compat.context import Context
    from compat.operation import Params

AES256, AWS_KMS, AWS_DUAL = "AES256", "aws:kms", "aws:kms:dsse"
MANAGED = "alias/aws/s3"
MEMBERS = frozenset(
    {
        "ServerSideEncryption",
        "SSECustomerAlgorithm",
        "SSECustomerKey",
        "SSECustomerKeyMD5",
        "SSEKMSKeyId",
        "SSEKMSEncryptionContext",
        "BucketKeyEnabled",
    }
)
KEPT = ("ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled", "SSECustomerAlgorithm")
"""What is kept of it among an object's facts."""


class Wanted(NamedTuple):
    """What a new object's encryption is to be: `algorithm` is one of the three, or empty for a customer's key."""

    algorithm: str = AES256
    named: str = ""
    words: Mapping[str, str] = {}
    shared: bool = False
    customer: bytes = b""
    customer_md5: str = ""


class Protection(NamedTuple):
    """A new content's key (None: one of the store's own), and what answers show of it."""

    key: ContentKey | None
    shown: Mapping[str, Any]
    opaque: bool = False
    """Whether, whatever the key, the ETag tells nothing of the content."""

    def new_etag(self) -> str | None:
        """An ETag that tells nothing of the content, another one each time; None where it is the MD5 digest."""
        return None if self.key is None and not self.opaque else os.urandom(16).hex()

    def within(self, facts: str) -> str:
        """Facts, with what is kept of the encryption."""
        if self.key is None:
            return facts
        kept = {name: value for name, value in self.shown.items() if name in KEPT}
        return orjson.dumps(orjson.loads(facts or "{}") | kept).decode()


PLAIN_WANT = Wanted()
STORES_OWN = Protection(None, {"ServerSideEncryption": AES256})
IN_DIRECTORY = STORES_OWN._replace(opaque=True)


# --- what is asked for ------------------------------------------------------------------------------------------------


def wanted(ctx: Context, bucket: Known, p: Params) -> Wanted:
    """What a call that makes an object asks for, or else the bucket. Raises S3's errors."""
    document = bucket.documents.get("encryption")
    if document is None and MEMBERS.isdisjoint(p):
        return PLAIN_WANT
    rule: dict[str, Any] = ((document or {}).get("Rules") or [{}])[0]
    algorithm = p.get("ServerSideEncryption")
    if algorithm is not None and p.get("SSECustomerAlgorithm") is not None:
        raise faults.invalid_argument(
            "Server Side Encryption with Customer provided key is incompatible with the encryption method specified",
            "x-amz-server-side-encryption",
            algorithm,
        )
    customer = customer_key(p)
    if customer is not None:
        if "SSE-C" in ((rule.get("BlockedEncryptionTypes") or {}).get("EncryptionType") or ()):
            raise AWSError(
                "AccessDenied",
                "This bucket does not allow objects that are encrypted with customer-provided keys (SSE-C).",
                403,
            )
        return Wanted("", customer=customer, customer_md5=p["SSECustomerKeyMD5"])
    named = p.get("SSEKMSKeyId")
    if algorithm is None:
        if named is not None or p.get("SSEKMSEncryptionContext") is not None:
            raise faults.invalid_argument(
                "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : "
                "aws:kms",
                "x-amz-server-side-encryption",
            )
        default = rule.get("ApplyServerSideEncryptionByDefault") or {}
        algorithm, named = default.get("SSEAlgorithm") or AES256, default.get("KMSMasterKeyID")
    if is_directory(bucket.name):
        _check_directory(ctx, rule, p, algorithm, named)
    if algorithm == AES256:
        if named is not None:
            raise faults.invalid_argument(
                "Server Side Encryption with AWS KMS managed key requires HTTP header x-amz-server-side-encryption : "
                "aws:kms",
                "x-amz-server-side-encryption",
                algorithm,
            )
        return PLAIN_WANT
    if algorithm not in (AWS_KMS, AWS_DUAL):
        raise faults.invalid_argument(
            "The encryption method specified is not supported", "x-amz-server-side-encryption", algorithm
        )
    _check_signed(ctx)
    if named == "":
        raise faults.invalid_argument("The KMS key id must not be empty", "x-amz-server-side-encryption-aws-kms-key-id")
    shared = p.get("BucketKeyEnabled")
    if is_directory(bucket.name):
        shared = True
    elif shared is None:
        shared = bool(rule.get("BucketKeyEnabled"))
    return Wanted(algorithm, named or MANAGED, _words(p), bool(shared) and algorithm == AWS_KMS)


def _check_directory(ctx: Context, rule: Mapping[str, Any], p: Params, algorithm: str, named: str | None) -> None:
    """Refuse what a directory bucket does not take: two layers, a key that is not the customer's own, and (but for
    copies) another encryption than its own."""
    if algorithm == AWS_DUAL or (algorithm == AWS_KMS and not named):
        raise faults.invalid_request("Directory buckets take SSE-S3, and SSE-KMS with a customer managed key.")
    own = rule.get("ApplyServerSideEncryptionByDefault") or {"SSEAlgorithm": AES256}
    if ctx.operation.name not in ("CopyObject", "PutBucketEncryption") and algorithm != own["SSEAlgorithm"]:
        raise faults.invalid_request("The encryption of an object must be that of its directory bucket.")


def shown_default(bucket: Known) -> dict[str, Any]:
    """What answers say of a directory bucket's own encryption."""
    rule: dict[str, Any] = ((bucket.documents.get("encryption") or {}).get("Rules") or [{}])[0]
    default = rule.get("ApplyServerSideEncryptionByDefault") or {}
    if default.get("SSEAlgorithm") != AWS_KMS:
        return {"ServerSideEncryption": AES256}
    return {"ServerSideEncryption": AWS_KMS, "SSEKMSKeyId": default["KMSMasterKeyID"], "BucketKeyEnabled": True}


def _check_signed(ctx: Context) -> None:
    if ctx.principal.is_anonymous or ctx.call.signature_version == "AWS":
        raise faults.invalid_argument(
            "Requests specifying Server Side Encryption with AWS KMS managed keys require AWS Signature Version 4.",
            "Authorization",
        )


def _words(p: Params) -> dict[str, str]:
    """The caller's own encryption context."""
    given = p.get("SSEKMSEncryptionContext")
    if given is None:
        return {}
    try:
        words = orjson.loads(base64.b64decode(given, validate=True))
    except (binascii.Error, ValueError):
        words = None
    if not isinstance(words, dict) or not all(isinstance(value, str) for value in words.values()):
        raise faults.invalid_argument(
            "The encryption context must be the base64 encoding of a JSON object of strings.",
            "x-amz-server-side-encryption-context",
        )
    return words


def customer_key(p: Params, before: str = "") -> bytes | None:
    """The key that a caller brings (`before`: "CopySource" for the source's), checked against its digest; None where
    there is none."""
    algorithm = p.get(before + "SSECustomerAlgorithm")
    given, digest = p.get(before + "SSECustomerKey"), p.get(before + "SSECustomerKeyMD5")
    if algorithm is None and given is None and digest is None:
        return None
    name = "x-amz-server-side-encryption"
    who = "Requests specifying Server Side Encryption with Customer provided keys must provide"
    if algorithm is None:
        raise faults.invalid_argument(f"{who} a valid encryption algorithm.", name)
    if algorithm != AES256:
        raise AWSError(
            "InvalidEncryptionAlgorithmError",
            "The Encryption request you specified is not valid. Supported value: AES256.",
            400,
            ArgumentName=name,
            ArgumentValue=algorithm,
        )
    if given is None:
        raise faults.invalid_argument(f"{who} an appropriate secret key.", name)
    key = _decoded(given)
    if len(key) != 32 or digest is None:
        raise faults.invalid_argument("The secret key was invalid for the specified algorithm.", name)
    computed = base64.b64encode(hashlib.md5(key, usedforsecurity=False).digest()).decode()
    if not hmac.compare_digest(computed.encode(), digest.encode()):
        raise faults.invalid_argument(
            "The calculated MD5 hash of the key did not match the hash that was provided.",
            name,
        )
    return key


def _decoded(given: str) -> bytes:
    """A key in base64; empty where it is none."""
    try:
        return base64.b64decode(given, validate=True)
    except (binascii.Error, ValueError):
        return b""


# --- new contents -----------------------------------------------------------------------------------------------------


def protection(ctx: Context, bucket: Known, key: str, p: Params, plain: bytes | None = None) -> Protection:
    """The key for an object that a call makes; `plain` where its content has one already. Raises S3's errors."""
    want = wanted(ctx, bucket, p)
    if want is PLAIN_WANT:
        return IN_DIRECTORY if is_directory(bucket.name) else STORES_OWN
    return protect(ctx, bucket, key, want, plain)


def protect(
    ctx: Context, bucket: Known, key: str, want: Wanted, plain: bytes | None = None, *, replicates: bool = False
) -> Protection:
    """The same for what `wanted` gave. `replicates`: for a replica."""
    if want.algorithm == AES256:
        return IN_DIRECTORY if is_directory(bucket.name) else STORES_OWN
    plain = plain or content_keys.fresh_key()
    if want.customer:
        shown: dict[str, Any] = {"SSECustomerAlgorithm": AES256, "SSECustomerKeyMD5": want.customer_md5}
        return Protection(content_keys.under_customer(want.customer, plain), shown)
    made, arn = content_keys.under_kms(
        ctx,
        bucket,
        key,
        plain,
        want.named,
        dict(want.words),
        shared=want.shared,
        dual=want.algorithm == AWS_DUAL,
        replicates=replicates,
    )
    shown = {"ServerSideEncryption": want.algorithm, "SSEKMSKeyId": arn}
    if want.shared:
        shown["BucketKeyEnabled"] = True
    if want.words:
        shown["SSEKMSEncryptionContext"] = base64.b64encode(orjson.dumps(dict(want.words))).decode()
    return Protection(made, shown)


# --- contents that are there ------------------------------------------------------------------------------------------


def unlock(ctx: Context, bucket: Known, sealed: bytes, p: Params, before: str = "") -> bytes:
    """Open a key that is not the store's own, with what the call brings. Raises S3's errors."""
    if kind_of(sealed) == CUSTOMER:
        given = p.get(before + "SSECustomerKey")
        if given is not None and (len(_decoded(given)) != 32 or p.get(before + "SSECustomerKeyMD5") is None):
            raise content_keys.wrong_key()
        customer = customer_key(p, before)
        if customer is None:
            raise _needs_key()
        return content_keys.open_customer(customer, sealed)
    _check_signed(ctx)
    return content_keys.open_kms(ctx, bucket, sealed)


def check_read(sealed: bytes | None, p: Params, before: str = "") -> None:
    """Refuse a customer's key for an object that has none, and no key for one that has."""
    given = p.get(before + "SSECustomerAlgorithm") or p.get(before + "SSECustomerKey")
    if (kind_of(sealed) == CUSTOMER) == bool(given):
        return
    raise (
        faults.invalid_request("The encryption parameters are not applicable to this object.")
        if given
        else (_needs_key())
    )


def _needs_key() -> AWSError:
    return faults.invalid_request(
        "The object was stored using a form of Server Side Encryption. The correct parameters must be provided to "
        "retrieve the object."
    )


def check_part(sealed: bytes | None, p: Params) -> None:
    """Refuse a part that comes with a key to an upload that has none, or without one to an upload that has."""
    given = p.get("SSECustomerAlgorithm") or p.get("SSECustomerKey")
    if (kind_of(sealed) == CUSTOMER) != bool(given):
        raise faults.invalid_request(
            "The multipart upload initiate requested encryption. Subsequent part requests must include the appropriate "
            "encryption parameters."
        )


def etag_of_part(received: Received, bucket: Known) -> str:
    """The ETag of a part: the same when the same bytes are sent again, and otherwise opaque where the key is not the
    store's, and in a directory bucket."""
    key = received.key
    if key is None or not (is_opaque(key.sealed) or is_directory(bucket.name)):
        return received.etag
    return hashlib.blake2b(received.md5, key=key.plain, digest_size=16).hexdigest()


def is_opaque(sealed: bytes | None) -> bool:
    """Whether an object's ETag is not the MD5 digest."""
    return bool(kind_of(sealed))


def is_customers(sealed: bytes | None) -> bool:
    """Whether a key is under one that the caller brings."""
    return kind_of(sealed) == CUSTOMER


def shown_of(facts: Mapping[str, Any], p: Params) -> dict[str, Any]:
    """What answers show of an object's or upload's encryption, from what is kept of it and the key that came along."""
    if "SSECustomerAlgorithm" in facts:
        return {"SSECustomerAlgorithm": AES256, "SSECustomerKeyMD5": p.get("SSECustomerKeyMD5")}
    shown = {name: facts[name] for name in KEPT if name in facts}
    return shown or {"ServerSideEncryption": AES256}


def without(facts: str) -> str:
    """Facts without what they say of the encryption."""
    if "SSE" not in facts and "ServerSideEncryption" not in facts:
        return facts
    found = orjson.loads(facts)
    kept = {name: value for name, value in found.items() if name not in KEPT}
    return facts if len(kept) == len(found) else orjson.dumps(kept).decode()
