"""Keys and passwords: issued once in the clear, kept sealed or hashed."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import delete, select

from backends.db import Unit
from backends.errors import Missing
from backends.identity.books import Books
from backends.identity.models import Key, KeyUse, Password, Role, SessionKey, User

KEPT_AFTER_END = timedelta(hours=36)
"""How long an ended session key is remembered, so that its end can be told from a key that never was."""


@dataclass(frozen=True, slots=True)
class Issued:
    """A new key with its secret, which is told this once. `token` only for keys that end."""

    id: str
    secret: str
    token: str | None
    created: datetime
    expires: datetime | None


class KeyBooks(Books):
    """Lasting keys, keys that end, and passwords."""

    def issue_key(self, id: str, user: User | None) -> Issued:
        """A lasting key for a user, or for the tenant's root where `user` is None."""
        secret = _random_text(30)
        self.session.add(
            Key(
                id=id,
                user_id=user.id if user is not None else None,
                secret=self.seal.close(secret.encode(), id),
                active=True,
                created=self.moment,
            )
        )
        self.session.flush()
        return Issued(id, secret, None, self.moment, None)

    def keys_of(self, user: User | None) -> Sequence[Key]:
        """The lasting keys of a user (or of root), oldest first."""
        held = Key.user_id.is_(None) if user is None else Key.user_id == user.id
        return self.session.scalars(select(Key).where(held).order_by(Key.created, Key.id)).all()

    def key(self, id: str, user: User | None) -> Key:
        """One key of a user (or of root). Raises `Missing`."""
        found = self.session.get(Key, id)
        if found is None or found.tenant != self._tenant or found.user_id != (user.id if user is not None else None):
            raise Missing(f"no key {id}", kind="key", name=id)
        return found

    def remove_key(self, key: Key) -> None:
        """Forget a key: from now on it proves nothing."""
        self.session.execute(delete(KeyUse).where(KeyUse.id == key.id))
        self.session.delete(key)
        self.session.flush()

    def key_with_use(self, id: str) -> tuple[Key | None, User | None, KeyUse | None]:
        """A lasting key, its user (None for root's), and its last use as far as it is noted."""
        key = self.session.get(Key, id)
        if key is None or key.tenant != self._tenant:
            return None, None, None
        user = self.session.get(User, key.user_id) if key.user_id is not None else None
        return key, user, self.session.get(KeyUse, id)

    def use_of(self, id: str) -> KeyUse | None:
        """The last use of a key or a role, as far as it is noted."""
        return self.session.get(KeyUse, id)

    def issue_session_key(self, id: str, tenant: str, facts: dict[str, Any], seconds: int) -> Issued:
        """A key in `tenant` (not always the caller's) that ends after `seconds`. It survives a restart."""
        secret, token = _random_text(30), _random_text(225)
        now = self.moment
        expires = now + timedelta(seconds=seconds)
        self.session.add(
            SessionKey(
                id=id,
                tenant=tenant,
                secret=self.seal.close(secret.encode(), id),
                token=self.seal.close(token.encode(), id),
                expires=expires,
                issued=now,
                facts=facts,
            )
        )
        self.session.flush()
        return Issued(id, secret, token, now, expires)

    def set_password(self, user: User, plain: str, reset_required: bool) -> Password:
        """Give a user a password, or another one."""
        found = self.session.get(Password, user.id)
        if found is None:
            found = Password(user_id=user.id, created=self.moment)
            self.session.add(found)
        found.digest, found.reset_required = hash_password(plain), reset_required
        self.session.flush()
        return found

    def password(self, user: User) -> Password:
        """A user's password record. Raises `Missing`."""
        found = self.session.get(Password, user.id)
        if found is None:
            raise Missing("no password", kind="password", name=user.name)
        return found

    def remove_password(self, password: Password) -> None:
        """Forget a password."""
        self.session.delete(password)
        self.session.flush()


def note_uses(unit: Unit, uses: Mapping[str, tuple[str, float, str, str]]) -> None:
    """Write down, for keys and roles, whose they are and when (epoch), in which region and for which service they were
    used."""
    for id, (tenant, when, region, service) in uses.items():
        if unit.session.get(Key, id) is not None or unit.session.get(Role, id) is not None:
            used = datetime.fromtimestamp(int(when), UTC)
            unit.session.merge(KeyUse(id=id, tenant=tenant, used=used, region=region, service=service))
    unit.session.flush()


def has_ended_keys(unit: Unit) -> bool:
    """Whether there are keys that ended so long ago that they may be forgotten."""
    ended = SessionKey.expires < unit.now - KEPT_AFTER_END
    return unit.session.scalar(select(SessionKey.id).where(ended).limit(1)) is not None


def sweep_ended_keys(unit: Unit) -> None:
    """Forget those keys."""
    unit.session.execute(delete(SessionKey).where(SessionKey.expires < unit.now - KEPT_AFTER_END))


def _random_text(size: int) -> str:
    """`size` random bytes in base64; a multiple of three keeps it free of padding."""
    return base64.b64encode(secrets.token_bytes(size)).decode()


def hash_password(plain: str) -> bytes:
    """16 bytes of salt and the scrypt digest."""
    salt = secrets.token_bytes(16)
    return salt + hashlib.scrypt(plain.encode(), salt=salt, n=2**14, r=8, p=1)


def password_fits(plain: str, digest: bytes) -> bool:
    """Whether `digest` was made of `plain`."""
    return hmac.compare_digest(digest[16:], hashlib.scrypt(plain.encode(), salt=digest[:16], n=2**14, r=8, p=1))
