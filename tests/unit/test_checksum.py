"""Checksums: known values, running and combined, and what is no checksum."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backends import checksum

# The check values of the catalogues: each algorithm over b"123456789".
KNOWN = {
    "CRC32": "cbf43926",
    "CRC32C": "e3069283",
    "CRC64NVME": "ae8b14860a799888",
    "SHA1": "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
    "SHA256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    "MD5": "25f9e794323b453885f5181f1b624d0b",
}


@pytest.mark.parametrize("algorithm", KNOWN)
def test_known_values(algorithm: str) -> None:
    assert checksum.of(algorithm, b"123456789").hex() == KNOWN[algorithm]


@pytest.mark.parametrize("algorithm", sorted(checksum.SIZES))
@settings(max_examples=25)
@given(st.lists(st.binary(max_size=70), max_size=5))
def test_a_running_checksum_is_that_of_the_whole(algorithm: str, parts: list[bytes]) -> None:
    running = checksum.checksum(algorithm)
    for part in parts:
        running.update(memoryview(part))
    whole = checksum.of(algorithm, b"".join(parts))
    assert running.digest() == running.digest() == whole
    assert len(whole) == checksum.SIZES[algorithm]
    assert checksum.decode(algorithm, checksum.encode(whole)) == whole
    if checksum.is_linear(algorithm):
        assert checksum.combine(algorithm, [(checksum.of(algorithm, part), len(part)) for part in parts]) == whole


def test_a_composite_is_the_checksum_of_checksums() -> None:
    digests = [zlib.crc32(part).to_bytes(4, "big") for part in (b"one", b"two")]
    assert checksum.composite("CRC32", digests) == zlib.crc32(b"".join(digests)).to_bytes(4, "big")


@pytest.mark.parametrize("text", ["", "AAAA", "AAAAAA=", "AAAAAAA=", "****", "AAAAAA==\n", "ÄAAAAA=="])
def test_what_is_no_crc32(text: str) -> None:
    assert checksum.decode("CRC32", text) is None
