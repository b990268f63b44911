"""The books of identity: who there is, in which groups, holding which policies and keys."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeVar

from sqlalchemy import delete, func, select, update

from backends.db import Unit
from backends.errors import Exists, InUse, Missing
from backends.identity.models import (
    Attachment,
    Group,
    InlinePolicy,
    Key,
    KeyUse,
    Membership,
    Named,
    Password,
    Policy,
    PolicyVersion,
    Possession,
    Profile,
    Role,
    SessionKey,
    TenantFacts,
    User,
)
from backends.identity.seal import Seal

N = TypeVar("N", User, Group, Role, Policy, Profile)
L = TypeVar("L", User, Role)
Holder = User | Group | Role

WORDS: dict[type[Any], str] = {User: "user", Group: "group", Role: "role", Policy: "policy", Profile: "profile"}
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


class IdentityService:
    """Identity within one unit of work, in its tenant's sight. Names are looked up without regard to case.

    Errors: `Missing(kind=, name=)`, `Exists(kind=, name=)`, `InUse(kind=, name=, by=)`.
    """

    def __init__(self, unit: Unit, seal: Seal) -> None:
        self.unit, self.seal = unit, seal
        self.session = unit.session
        self.moment = unit.now.replace(microsecond=0)
        """The call's moment, to the second: as precise as anything here says when it began."""

    # --- named things -----------------------------------------------------------------------------------------------

    def find(self, row: type[N], name: str) -> N | None:
        """The user, group, role, policy or profile called `name`, or None."""
        return self.session.scalar(select(row).where(row.folded == name.casefold()))

    def get(self, row: type[N], name: str) -> N:
        """The same; raises `Missing`."""
        found = self.find(row, name)
        if found is None:
            raise Missing(f"no {WORDS[row]} {name}", kind=WORDS[row], name=name)
        return found

    def add(self, thing: N) -> N:
        """Keep a new user, group, role, policy or profile. Raises `Exists` when the name is taken."""
        self._settle(thing)
        self.session.add(thing)
        self.session.flush()
        return thing

    def rename(self, thing: N, name: str | None, path: str | None) -> None:
        """Give a thing another name or path. Raises `Exists`."""
        if name is not None and name != thing.name:
            taken = self.find(type(thing), name)
            if taken is not None and taken.id != thing.id:
                raise Exists(f"{WORDS[type(thing)]} {name} exists", kind=WORDS[type(thing)], name=name)
            thing.name, thing.folded = name, name.casefold()
        if path is not None:
            thing.path = path

    def _settle(self, thing: Named) -> None:
        row = type(thing)
        thing.folded = thing.name.casefold()
        thing.created = self.moment
        if self.session.scalar(select(row.id).where(row.folded == thing.folded)) is not None:
            raise Exists(f"{WORDS[row]} {thing.name} exists", kind=WORDS[row], name=thing.name)

    def listed(
        self, row: type[N], *, prefix: str = "/", after: str | None = None, most: int | None = None
    ) -> Sequence[N]:
        """Those whose path begins with `prefix`, by name, from beyond the name `after`."""
        statement = select(row).order_by(row.folded)
        if prefix != "/":
            statement = statement.where(row.path.startswith(prefix, autoescape=True))
        if after is not None:
            statement = statement.where(row.folded > after)
        return self.session.scalars(statement.limit(most)).all()

    def count(self, row: type[Any]) -> int:
        """How many rows of a table the tenant has."""
        return self.session.scalar(select(func.count()).select_from(row)) or 0

    # --- users and groups -------------------------------------------------------------------------------------------

    def remove_user(self, user: User) -> None:
        """Forget a user that holds nothing any more. Raises `InUse(by=…)` naming the first thing that it still has."""
        self._without(Key.user_id == user.id, Key, user, "access keys")
        self._without(Password.user_id == user.id, Password, user, "login profile")
        self._bare(user)
        self._without(Membership.user_id == user.id, Membership, user, "groups")
        self._without(Possession.user_id == user.id, Possession, user, "possessions")
        self.session.delete(user)
        self.session.flush()

    def remove_group(self, group: Group) -> None:
        """Forget a group without members and policies. Raises `InUse`."""
        self._without(Membership.group_id == group.id, Membership, group, "users")
        self._bare(group)
        self.session.delete(group)
        self.session.flush()

    def remove_role(self, role: Role) -> None:
        """Forget a role that no profile carries and that holds no policies. Raises `InUse`."""
        self._without(Profile.role_id == role.id, Profile, role, "profiles")
        self._bare(role)
        self.session.delete(role)
        self.session.flush()

    def _bare(self, holder: Holder) -> None:
        self._without(InlinePolicy.holder == holder.id, InlinePolicy, holder, "inline policies")
        self._without(Attachment.holder == holder.id, Attachment, holder, "attached policies")

    def _without(self, condition: Any, row: type[Any], thing: Named, by: str) -> None:
        if self.session.scalar(select(func.count()).select_from(row).where(condition)):
            kind = WORDS[type(thing)]
            raise InUse(f"{kind} {thing.name} has {by}", kind=kind, name=thing.name, by=by)

    def join(self, user: User, group: Group) -> None:
        """Put a user into a group; nothing happens if it is there."""
        if self.session.get(Membership, (user.id, group.id)) is None:
            self.session.add(Membership(user_id=user.id, group_id=group.id, added=self.unit.now))
            self.session.flush()

    def leave(self, user: User, group: Group) -> None:
        """Take a user out of a group. Raises `Missing`."""
        membership = self.session.get(Membership, (user.id, group.id))
        if membership is None:
            raise Missing("not a member", kind="membership", name=user.name)
        self.session.delete(membership)
        self.session.flush()

    def groups_of(self, user: User) -> Sequence[Group]:
        """The groups that a user is in, by name."""
        joined = select(Group).join(Membership, Membership.group_id == Group.id)
        return self.session.scalars(joined.where(Membership.user_id == user.id).order_by(Group.folded)).all()

    def members_of(self, group: Group) -> Sequence[User]:
        """The users in a group, by name."""
        joined = select(User).join(Membership, Membership.user_id == User.id)
        return self.session.scalars(joined.where(Membership.group_id == group.id).order_by(User.folded)).all()

    # --- policies ---------------------------------------------------------------------------------------------------

    def add_policy(self, policy: Policy, text: str) -> Policy:
        """Keep a new policy with its first version. Raises `Exists`."""
        policy.current = policy.latest = 1
        policy.updated = self.moment
        self.add(policy)
        self.session.add(PolicyVersion(policy_id=policy.id, number=1, text=text, created=self.moment))
        self.session.flush()
        return policy

    def versions_of(self, policy: Policy) -> Sequence[PolicyVersion]:
        """All versions of a policy, newest first."""
        held = PolicyVersion.policy_id == policy.id
        return self.session.scalars(select(PolicyVersion).where(held).order_by(PolicyVersion.number.desc())).all()

    def version(self, policy: Policy, number: int) -> PolicyVersion:
        """One version of a policy. Raises `Missing`."""
        found = self.session.get(PolicyVersion, (policy.id, number))
        if found is None:
            raise Missing(f"no version {number}", kind="version", name=f"v{number}")
        return found

    def add_version(self, policy: Policy, text: str, *, current: bool) -> PolicyVersion:
        """Keep a further version of a policy; `current` makes it the one that counts."""
        policy.latest += 1
        policy.updated = self.moment
        version = PolicyVersion(policy_id=policy.id, number=policy.latest, text=text, created=self.moment)
        self.session.add(version)
        if current:
            policy.current = version.number
        self.session.flush()
        return version

    def remove_version(self, policy: Policy, number: int) -> None:
        """Forget a version other than the current one. Raises `Missing`, `InUse`."""
        version = self.version(policy, number)
        if policy.current == number:
            raise InUse("the current version", kind="version", name=f"v{number}", by="default version")
        self.session.delete(version)
        policy.updated = self.moment
        self.session.flush()

    def remove_policy(self, policy: Policy) -> None:
        """Forget a policy that nobody holds and that has one version. Raises `InUse`."""
        self._without(Attachment.policy == policy.id, Attachment, policy, "attachments")
        for row in (User, Role):
            self._without(row.limit == policy.id, row, policy, "boundaries")
        if len(self.versions_of(policy)) > 1:
            raise InUse("more than one version", kind="policy", name=policy.name, by="versions")
        self.session.execute(delete(PolicyVersion).where(PolicyVersion.policy_id == policy.id))
        self.session.delete(policy)
        self.session.flush()

    def attach(self, holder: Holder, reference: str) -> None:
        """Let a holder have a policy: a policy's id, or a catalogue reference. Nothing happens if it has it."""
        if self.session.get(Attachment, (holder.id, reference)) is None:
            kind = WORDS[type(holder)]
            self.session.add(Attachment(holder=holder.id, policy=reference, holder_kind=kind, added=self.unit.now))
            self.session.flush()

    def detach(self, holder: Holder, reference: str) -> None:
        """Take a policy from a holder. Raises `Missing`."""
        attachment = self.session.get(Attachment, (holder.id, reference))
        if attachment is None:
            raise Missing("not attached", kind="attachment", name=reference)
        self.session.delete(attachment)
        self.session.flush()

    def attached(self, holder: Holder) -> Sequence[str]:
        """References of the policies that a holder has, in the order of attachment."""
        held = Attachment.holder == holder.id
        return self.session.scalars(select(Attachment.policy).where(held).order_by(Attachment.added)).all()

    def holders_of(self, reference: str, row: type[N]) -> Sequence[N]:
        """The users, groups or roles that have a policy, by name."""
        joined = select(row).join(Attachment, Attachment.holder == row.id)
        return self.session.scalars(joined.where(Attachment.policy == reference).order_by(row.folded)).all()

    def limited_by(self, reference: str, row: type[L]) -> Sequence[L]:
        """The users or roles that a policy bounds, by name."""
        return self.session.scalars(select(row).where(row.limit == reference).order_by(row.folded)).all()

    def uses_of(self, references: Sequence[str]) -> dict[str, tuple[int, int]]:
        """For each reference, by how many it is held and how many it bounds."""
        number = func.count()
        wanted = Attachment.policy.in_(references)
        held: dict[str, int] = {}
        for policy, many in self.session.execute(
            select(Attachment.policy, number).where(wanted).group_by(Attachment.policy)
        ):
            held[policy] = many
        bounds: dict[str, int] = {}
        for row in (User, Role):
            limits = select(row.limit, number).where(row.limit.in_(references)).group_by(row.limit)
            for limit, many in self.session.execute(limits):
                bounds[limit or ""] = bounds.get(limit or "", 0) + many
        return {reference: (held.get(reference, 0), bounds.get(reference, 0)) for reference in references}

    def policies_by_id(self, ids: Sequence[str]) -> dict[str, Policy]:
        """The policies with those ids."""
        return {policy.id: policy for policy in self.session.scalars(select(Policy).where(Policy.id.in_(ids)))}

    def policy_versions(self) -> int:
        """How many versions all policies of the tenant have together."""
        return self.count(PolicyVersion)

    def catalogued_in_use(self) -> Sequence[str]:
        """The catalogue's policies that somebody holds."""
        held = select(Attachment.policy).where(Attachment.policy.startswith("/"))
        return self.session.scalars(held.distinct().order_by(Attachment.policy)).all()

    def put_inline(self, holder: Holder, name: str, text: str) -> None:
        """Give a holder a policy of its own, or change its text."""
        found = self.session.get(InlinePolicy, (holder.id, name.casefold()))
        if found is None:
            found = InlinePolicy(holder=holder.id, folded=name.casefold())
            self.session.add(found)
        found.name, found.text = name, text
        self.session.flush()

    def inline(self, holder: Holder, name: str) -> InlinePolicy:
        """A holder's own policy. Raises `Missing`."""
        found = self.session.get(InlinePolicy, (holder.id, name.casefold()))
        if found is None:
            kind = WORDS[type(holder)]
            raise Missing(f"no policy {name}", kind="inline policy", name=name, holder=kind, of=holder.name)
        return found

    def remove_inline(self, holder: Holder, name: str) -> None:
        """Take a policy of its own from a holder. Raises `Missing`."""
        self.session.delete(self.inline(holder, name))
        self.session.flush()

    def inlines(self, holder: Holder) -> Sequence[InlinePolicy]:
        """A holder's own policies, by name."""
        held = InlinePolicy.holder == holder.id
        return self.session.scalars(select(InlinePolicy).where(held).order_by(InlinePolicy.folded)).all()

    # --- profiles ---------------------------------------------------------------------------------------------------

    def role_of_profile(self, name: str) -> Role | None:
        """The role that the profile called `name` carries, if both exist."""
        joined = select(Role).join(Profile, Profile.role_id == Role.id)
        return self.session.scalar(joined.where(Profile.folded == name.casefold()))

    def role_in(self, profile: Profile) -> Role | None:
        """The role that a profile carries."""
        return None if profile.role_id is None else self.session.get(Role, profile.role_id)

    def profiles_of(self, role: Role) -> Sequence[Profile]:
        """The profiles that carry a role, by name."""
        return self.session.scalars(select(Profile).where(Profile.role_id == role.id).order_by(Profile.folded)).all()

    def remove_profile(self, profile: Profile) -> None:
        """Forget a profile that carries no role. Raises `InUse`."""
        if profile.role_id is not None:
            raise InUse("the profile carries a role", kind="profile", name=profile.name, by="roles")
        self.session.delete(profile)
        self.session.flush()

    # --- keys -------------------------------------------------------------------------------------------------------

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

    @property
    def _tenant(self) -> str:
        assert self.unit.scope is not None
        return self.unit.scope.tenant

    def note_use(self, id: str, used: datetime, region: str, service: str) -> None:
        """Remember when and for what a key was used."""
        changed = self.session.execute(
            update(KeyUse).where(KeyUse.id == id).values(used=used, region=region, service=service)
        )
        if changed.rowcount == 0:  # type: ignore[attr-defined]
            self.session.add(KeyUse(id=id, used=used, region=region, service=service))
            self.session.flush()

    def issue_session_key(self, id: str, tenant: str, facts: dict[str, Any], seconds: int) -> Issued:
        """A key in `tenant` (not always the caller's) that ends after `seconds`. It survives a restart; what ended long
        ago is swept on this occasion."""
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
        self.session.execute(delete(SessionKey).where(SessionKey.expires < now - KEPT_AFTER_END))
        return Issued(id, secret, token, now, expires)

    # --- passwords --------------------------------------------------------------------------------------------------

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

    # --- what is filed under a user or the tenant ---------------------------------------------------------------------

    def file(self, possession: Possession) -> Possession:
        """Keep a thing under its user or the tenant. Raises `Exists` when its id is taken."""
        if self.possession(possession.kind, possession.id) is not None:
            raise Exists("filed already", kind=possession.kind, name=possession.id)
        possession.created = self.moment
        self.session.add(possession)
        self.session.flush()
        return possession

    def possession(self, kind: str, id: str) -> Possession | None:
        """The thing of that kind with that id, or None."""
        return self.session.scalar(select(Possession).where(Possession.kind == kind, Possession.id == id))

    def possessions(self, kind: str, user: User | None = None) -> Sequence[Possession]:
        """Things of a kind, in order of id: those of a user, or all."""
        statement = select(Possession).where(Possession.kind == kind).order_by(Possession.id)
        return self.session.scalars(statement if user is None else statement.where(Possession.user_id == user.id)).all()

    # --- the tenant -------------------------------------------------------------------------------------------------

    def tenant(self) -> TenantFacts | None:
        """What the tenant has set for itself, if anything."""
        return self.session.get(TenantFacts, self._tenant)

    def tenant_for_change(self) -> TenantFacts:
        """The same, made when absent."""
        found = self.tenant()
        if found is None:
            found = TenantFacts(tenant=self._tenant)
            self.session.add(found)
        return found

    def alias_taken(self, alias: str) -> bool:
        """Whether any tenant has that alias."""
        with self.unit.database.unit(None, write=False) as everybody:
            return everybody.session.scalar(select(TenantFacts.tenant).where(TenantFacts.alias == alias)) is not None


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
