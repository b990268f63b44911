"""What keys close: ciphertexts that say which key and which of its materials opens them.

A ciphertext is: a mark of four bytes, the key's id (16 bytes), the number of its material (4 bytes), then what the
material closed. All of that, and the encryption context, is authenticated.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from backends.keys import material
from backends.keys.ring import KeyRing, Known
from compat.kms import faults
from compat.kms.words import Words, canonical

if TYPE_CHECKING:
    from compat.context import Context

MARK, MULTI = b"\x01\x02\x02\x00", b"\x01\x02\x03\x00"
HEAD = 24


def close(ring: KeyRing, key: Known, plain: bytes, words: Words) -> bytes:
    """`plain` under the key's newest material."""
    secret = ring.secret(key)
    assert secret is not None
    id = key.original or key.id
    multi = id.startswith("mrk-")
    raw = uuid.UUID(id.removeprefix("mrk-")).bytes
    head = (MULTI if multi else MARK) + raw + key.past[-1].number.to_bytes(4, "big")
    return head + material.close(secret, plain, head + canonical(words))


def key_in(blob: bytes) -> str | None:
    """The id of the key that closed a ciphertext; None when it is none of ours."""
    if len(blob) < HEAD + material.OVERHEAD or blob[:4] not in (MARK, MULTI):
        return None
    id = uuid.UUID(bytes=blob[4:20])
    return f"mrk-{id.hex}" if blob[:4] == MULTI else str(id)


def number_in(blob: bytes) -> int:
    """The number of the material that closed a ciphertext (`key_in`)."""
    return int.from_bytes(blob[20:24], "big")


def open_closed(ring: KeyRing, key: Known, blob: bytes, words: Words) -> bytes:
    """What `close` closed. Raises InvalidCiphertextException."""
    secret = ring.secret(key, number_in(blob))
    if secret is None:
        raise faults.invalid_ciphertext()
    try:
        return material.open_closed(secret, blob[HEAD:], blob[:HEAD] + canonical(words))
    except material.Unopenable:
        raise faults.invalid_ciphertext() from None


def key_of(ctx: Context, blob: bytes) -> Known:
    """The key, in the call's region, that closed a ciphertext. Raises InvalidCiphertextException."""
    from compat.kms.places import ring

    id = key_in(blob)
    known = None if id is None else ring(ctx).find_in(id, ctx.region)
    if known is None:
        raise faults.invalid_ciphertext()
    return known
