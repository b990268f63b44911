"""Names of uploads, which tell of themselves whether they were ever given out."""

from __future__ import annotations

import hashlib
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode

_NONCE, _TIME, _CHECK = 22, 8, 10  # bytes; 40 in all


def _check(container: int, key: bytes, stem: bytes) -> bytes:
    return hashlib.sha256(b"%d\0%s\0%s" % (container, key, stem)).digest()[:_CHECK]


def _name(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=").replace("-", ".")


def fresh(container: int, key: bytes, now: int) -> str:
    """A name that nobody guesses for an upload that begins at `now`, in microseconds."""
    stem = secrets.token_bytes(_NONCE) + now.to_bytes(_TIME, signed=True)
    return _name(stem + _check(container, key, stem))


def begun(container: int, key: bytes, id: str) -> int | None:
    """When the upload of that name to that key began, in microseconds; None if the name was never given out for it.

    Whoever computes a name like that learns nothing: no upload has it.
    """
    try:
        raw = urlsafe_b64decode(id.replace(".", "-") + "=" * (-len(id) % 4))
    except ValueError:
        return None
    stem, check = raw[: _NONCE + _TIME], raw[_NONCE + _TIME :]
    if len(stem) != _NONCE + _TIME or check != _check(container, key, stem) or _name(raw) != id:
        return None
    return int.from_bytes(stem[_NONCE:], signed=True)
