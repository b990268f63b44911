"""Sealing: secrets at rest, and texts that only this cloud can open again."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from backends.errors import NativeError

KEY_FILE = "identity.key"


class Unsealable(NativeError):
    """The bytes were not sealed with this key, or for this purpose, or they were changed."""


class Seal:
    """AES-256-GCM with one key. `purpose` binds what is sealed to its place: it must be the same when opening."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._cipher = AESGCM(key)

    @classmethod
    def at(cls, folder: Path) -> Seal:
        """The seal whose key lies in `folder`; the key is made (mode 0600) where there is none.

        Two processes that start at once agree on one key, and a crash leaves either none or a whole one.
        """
        path = folder / KEY_FILE
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            draft = folder / f".{KEY_FILE}.{secrets.token_hex(8)}"
            with os.fdopen(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
            draft.unlink()
            directory = os.open(folder, os.O_RDONLY)
            os.fsync(directory)
            os.close(directory)
        return cls(path.read_bytes())

    @classmethod
    def fresh(cls) -> Seal:
        """A seal that ends with the process."""
        return cls(secrets.token_bytes(32))

    def derive(self, purpose: str) -> bytes:
        """32 bytes that are always the same for one purpose, and tell nothing of the seal's key."""
        return hmac.digest(self._key, f"derived for {purpose}".encode(), "sha256")

    def close(self, plain: bytes, purpose: str) -> bytes:
        """`plain`, sealed: 28 bytes longer, and different each time."""
        nonce = secrets.token_bytes(12)
        return nonce + self._cipher.encrypt(nonce, plain, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """What was sealed. Raises `Unsealable`."""
        try:
            return self._cipher.decrypt(sealed[:12], sealed[12:], purpose.encode())
        except (InvalidTag, ValueError):
            raise Unsealable("the seal does not fit") from None
