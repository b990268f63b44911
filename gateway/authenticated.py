"""Who signed a request, as the verifiers of every signature version report it."""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any

from compat.iam.principal import Credential
from gateway.signature_faults import Fault, SignatureFault

Lookup = Callable[[str], Credential | None]

SKEW = timedelta(minutes=15)
V4 = "AWS4-HMAC-SHA256"
V2 = "AWS"

_INNER, _OUTER = (bytes(byte ^ pad for byte in range(256)) for pad in (0x36, 0x5C))
_TIMESTAMP = re.compile(r"\d{8}T\d{6}Z", re.ASCII).fullmatch


@dataclass(slots=True, eq=False)
class Authenticated:
    """A proven caller, and what of the proof is needed later.

    `how` is `header`, `query` or `post`; `version` is `AWS4-HMAC-SHA256` or `AWS` (version 2). `signed_at` is the date
    that was signed. `payload_hash` is what the caller said of the body: a SHA-256 in hex, `UNSIGNED-PAYLOAD`, a
    `STREAMING-…` form, or empty in version 2. `signature`, `signing_key`, `timestamp`, `scope` seed chunk signatures.
    """

    access_key: str
    credential: Credential
    how: str
    version: str
    signed_at: datetime
    region: str = ""
    service: str = "s3"
    payload_hash: str = ""
    signature: str = ""
    signing_key: bytes = b""
    timestamp: str = ""
    scope: str = ""

    def age(self, now: datetime) -> int:
        """Whole seconds since the request was signed; never negative."""
        return max(0, int((now - self.signed_at).total_seconds()))


def proven(access_key: str, token: str | None, lookup: Lookup, now: datetime) -> Credential:
    """The credential of `access_key`, with its session token checked. Raises `SignatureFault`.

    A temporary key without its token is a key that nobody knows: so says AWS.
    """
    credential = lookup(access_key)
    if credential is None:
        raise SignatureFault(Fault.UNKNOWN_KEY, access_key=access_key)
    if credential.session_token is None:
        if token:
            raise SignatureFault(Fault.TOKEN, access_key=access_key, token=token)
        return credential
    if not token:
        raise SignatureFault(Fault.UNKNOWN_KEY, access_key=access_key)
    if not same(token, credential.session_token):
        raise SignatureFault(Fault.TOKEN, access_key=access_key, token=token)
    if credential.expires is not None and credential.expires <= now:
        raise SignatureFault(Fault.EXPIRED_TOKEN, access_key=access_key, token=token)
    return credential


def same(given: str, right: str) -> bool:
    """Whether two texts are equal, in a time that does not tell where they differ."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), right.encode("utf-8", "surrogateescape"))


@lru_cache(4096)
def _states(key: bytes) -> tuple[Any, Any]:
    """SHA-256 after the two blocks with which HMAC begins (RFC 2104). Copying these is a third of the work of an HMAC
    of a few hundred bytes, whose beginning OpenSSL does anew each time."""
    block = (key if len(key) <= 64 else sha256(key).digest()).ljust(64, b"\0")
    return sha256(block.translate(_INNER)), sha256(block.translate(_OUTER))


def sealed(key: bytes, message: bytes) -> str:
    """HMAC-SHA256 in hexadecimal, under a key that is used often."""
    inner, outer = _states(key)
    inner, outer = inner.copy(), outer.copy()
    inner.update(message)
    outer.update(inner.digest())
    digest: str = outer.hexdigest()
    return digest


def moment_of(timestamp: str) -> datetime | None:
    """The moment of a `20260102T030405Z`; None when it is no such thing."""
    return _moment(timestamp) if len(timestamp) == 16 else None


@lru_cache(1024)
def _moment(timestamp: str) -> datetime | None:
    if _TIMESTAMP(timestamp) is None:
        return None
    try:
        return datetime(
            int(timestamp[:4]),
            int(timestamp[4:6]),
            int(timestamp[6:8]),
            int(timestamp[9:11]),
            int(timestamp[11:13]),
            int(timestamp[13:15]),
            tzinfo=UTC,
        )
    except ValueError:
        return None


def moment_of_date(text: str) -> datetime | None:
    """The moment of a `Date` header: RFC 1123, or AWS's compact form; None when it is neither."""
    if (moment := moment_of(text)) is not None:
        return moment
    try:
        parsed = parsedate_to_datetime(text)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
