"""Packed request bodies: unpacked to the byte, and never beyond the limit."""

from __future__ import annotations

import gzip

import pytest

from gateway.head import Head
from gateway.unpacking import MOST_PACKED, unpacked
from gateway.wire.faults import WireFault

MOST = 1 << 16


def head(encoding: bytes | None = b"gzip") -> Head:
    return Head("POST", b"/", b"", [] if encoding is None else [(b"content-encoding", encoding)])


def test_only_gzip_is_unpacked() -> None:
    packed = gzip.compress(b"Action=x")
    assert unpacked(head(), packed, MOST) == b"Action=x"
    assert unpacked(head(b"GZIP"), packed + gzip.compress(b"&y"), MOST) == b"Action=x&y"
    assert unpacked(head(None), packed, MOST) == packed
    assert unpacked(head(b"aws-chunked"), packed, MOST) == packed
    assert unpacked(head(), b"", MOST) == b""
    assert unpacked(head(), gzip.compress(b"a" * MOST), MOST) == b"a" * MOST


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (gzip.compress(b"a" * (MOST + 1)), "RequestEntityTooLarge"),
        (gzip.compress(bytes(1 << 26)), "RequestEntityTooLarge"),
        (gzip.compress(b"a" * MOST) + gzip.compress(b"a"), "RequestEntityTooLarge"),
        (b"x" * (MOST_PACKED + 1), "RequestEntityTooLarge"),
        (b"no gzip", "SerializationException"),
        (gzip.compress(b"cut off here")[:-3], "SerializationException"),
    ],
    ids=["a byte too many", "a bomb", "two members", "packed too large", "no gzip", "cut off"],
)
def test_what_cannot_be_unpacked_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(WireFault) as caught:
        unpacked(head(), body, MOST)
    assert caught.value.code == code
