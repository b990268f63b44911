"""Compressed request bodies: clients pack the larger documents of some operations (`Content-Encoding: gzip`)."""

from __future__ import annotations

import zlib

from gateway.head import Head
from gateway.wire.faults import WireFault

MOST_PACKED = 1 << 20
"""Longest packed body: what a document of `MOST_DOCUMENT` bytes is unlikely to exceed."""
_WINDOW = 31  # gzip's frame, and nothing else


def unpacked(head: Head, body: bytes, most: int) -> bytes:
    """The body without gzip, where the head says that it has some; at most `most` bytes, whatever it unpacks to.

    Signatures are over the packed bytes. Raises `WireFault`.
    """
    if b"content-encoding" not in head.view or head.text(b"content-encoding").lower() != "gzip" or not body:
        return body
    if len(body) > MOST_PACKED:
        raise _too_long()
    plain = b""
    while body:
        unpacker = zlib.decompressobj(_WINDOW)
        try:
            plain += unpacker.decompress(body, most - len(plain) + 1)
        except zlib.error:
            raise WireFault("SerializationException", "The request body is not gzip, as its encoding says.") from None
        if len(plain) > most or unpacker.unconsumed_tail:
            raise _too_long()
        if not unpacker.eof:
            raise WireFault("SerializationException", "The packed request body is cut off.")
        body = unpacker.unused_data
    return plain


def _too_long() -> WireFault:
    return WireFault("RequestEntityTooLarge", "The request body is too large.", 413)
