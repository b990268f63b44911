"""Names of versions."""

from __future__ import annotations

import base64
import binascii
import os
import zlib


def version_name(rank: int) -> str:
    """A new name for a version: 32 characters, the rank within, chance beside it, and a sum of both."""
    raw = (-rank).to_bytes(8, "big", signed=True) + os.urandom(12)
    return base64.b64encode(raw + zlib.crc32(raw).to_bytes(4, "big"), b"._").decode()


def is_genuine(version: str) -> bool:
    """Whether a text was given to a version as its name. Older names do not tell."""
    if rank_of(version) is None:
        return False
    raw = base64.b64decode(version, b"._")
    return zlib.crc32(raw[:20]).to_bytes(4, "big") == raw[20:]


def rank_of(version: str) -> int | None:
    """The rank in a version's name; None when the text cannot be one."""
    try:
        raw = base64.b64decode(version, b"._", validate=True)
    except (ValueError, binascii.Error):
        return None
    return -int.from_bytes(raw[:8], "big") if len(raw) == 24 and raw[0] < 128 else None
