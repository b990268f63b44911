"""What the hot path asks of identity: whose key is this, what do they hold. Kept in memory while nothing changes.

The `identity` stamp is read once a call, when its key is looked up (`credential`); the rest of the call sees that state
or a newer one. So a changed policy counts from the next call on.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from backends.db import Database, Scope
from backends.identity.keys import has_ended_keys, note_uses, sweep_ended_keys
from backends.identity.models import (
    Attachment,
    Group,
    InlinePolicy,
    Key,
    Membership,
    PolicyVersion,
    Role,
    SessionKey,
    User,
)
from backends.identity.models import Policy as PolicyRow
from backends.identity.seal import Seal, Unsealable
from compat.cloud import Cloud, Rules
from compat.iam.catalogue import catalogued
from compat.iam.policy.compiled import EMPTY, Policy, PolicySet
from compat.iam.policy.evaluate import Holdings
from compat.iam.principal import Credential, Principal, PrincipalKind, root

_MOST_KEPT = 50_000
OPEN_SECRET = "test"
"""The secret of `test` and of 12-digit access keys, where the rules let these be roots."""


@dataclass(frozen=True, slots=True)
class RoleFacts:
    """What taking on a role needs to know of it. `longest` is in seconds."""

    id: str
    account: str
    name: str
    path: str
    trust: str
    longest: int
    tags: tuple[tuple[str, str], ...]


@dataclass(slots=True)
class _Kept:
    stamp: int
    credentials: dict[str, Credential] = field(default_factory=dict)
    holdings: dict[Any, Holdings] = field(default_factory=dict)
    roles: dict[tuple[str, str], RoleFacts | None] = field(default_factory=dict)
    tags: dict[tuple[str, str], Mapping[str, str]] = field(default_factory=dict)


class Directory:
    """The identity side of authentication and authorisation, for one cloud. Safe to share between threads."""

    def __init__(self, database: Database, seal: Seal, rules: Rules) -> None:
        self.database, self.seal, self.rules = database, seal, rules
        self._kept = _Kept(-1)
        self._uses: dict[str, tuple[str, float, str, str]] = {}

    def refresh(self) -> _Kept:
        """Forget what is kept if identity has changed since."""
        stamp = self.database.stamps.read().get("identity", 0)
        kept = self._kept
        if kept.stamp != stamp or len(kept.credentials) > _MOST_KEPT or len(kept.holdings) > _MOST_KEPT:
            kept = self._kept = _Kept(stamp)
        return kept

    # --- keys -----------------------------------------------------------------------------------------------------

    def credential(self, access_key: str) -> Credential | None:
        """What `access_key` proves, or None for a key that nobody has or that was switched off.

        Where the rules leave roots open, `test` is the root of the default account and a key of 12 digits the root of
        the account it names, both with the secret `test`. Expired session keys are given with their expiry.
        """
        kept = self.refresh()
        found = kept.credentials.get(access_key)
        if found is None:
            found = self._root(access_key) or self._stored(access_key)
            if found is not None:
                kept.credentials[access_key] = found
        return found

    def _root(self, access_key: str) -> Credential | None:
        if (given := self.rules.root_keys.get(access_key)) is not None:
            return Credential(given[0], None, None, root(given[1], access_key=access_key))
        if not self.rules.open_root:
            return None
        if access_key == "test":
            return Credential(OPEN_SECRET, None, None, root(self.rules.default_account, access_key=access_key))
        if len(access_key) == 12 and access_key.isascii() and access_key.isdigit():
            return Credential(OPEN_SECRET, None, None, root(access_key, access_key=access_key))
        return None

    def _stored(self, access_key: str) -> Credential | None:
        with self.database.unit(None, write=False) as unit:
            try:
                if access_key.startswith("ASIA"):
                    return self._session_key(unit.session, access_key)
                return self._lasting_key(unit.session, access_key)
            except Unsealable:
                return None

    def _lasting_key(self, session: Session, access_key: str) -> Credential | None:
        row = session.execute(
            select(Key.tenant, Key.secret, User.id, User.path, User.name)
            .outerjoin(User, User.id == Key.user_id)
            .where(Key.id == access_key, Key.active)
        ).one_or_none()
        if row is None:
            return None
        tenant, sealed, user_id, path, name = row
        secret = self.seal.open(sealed, access_key).decode()
        if user_id is None:
            return Credential(secret, None, None, root(tenant, access_key=access_key))
        principal = Principal(
            account=tenant,
            arn=f"arn:aws:iam::{tenant}:user{path}{name}",
            kind=PrincipalKind.USER,
            unique_id=user_id,
            user_name=name,
            access_key=access_key,
        )
        return Credential(secret, None, None, principal)

    def _session_key(self, session: Session, access_key: str) -> Credential | None:
        row = session.get(SessionKey, access_key)
        if row is None:
            return None
        principal = principal_from(row.tenant, access_key, row.issued, row.facts)
        if not self._stands(session, principal):
            return None
        secret = self.seal.open(row.secret, access_key).decode()
        token = self.seal.open(row.token, access_key).decode()
        return Credential(secret, token, row.expires, principal)

    def _stands(self, session: Session, principal: Principal) -> bool:
        """Whether the user or role behind a session still exists: its sessions end with it."""
        if principal.role_name is not None:
            role_id = principal.unique_id.partition(":")[0]
            return session.scalar(select(Role.id).where(Role.id == role_id)) is not None
        if principal.kind is PrincipalKind.USER:
            return session.scalar(select(User.id).where(User.id == principal.unique_id)) is not None
        return True

    def note_use(self, principal: Principal, region: str, service: str) -> None:
        """Remember, in memory for now, when and for what a lasting key, or a role, was used."""
        if principal.role_name is not None:
            self._uses[principal.unique_id.partition(":")[0]] = (principal.account, time.time(), region, service)
        elif principal.access_key is not None and principal.access_key.startswith("AKIA"):
            self._uses[principal.access_key] = (principal.account, time.time(), region, service)

    def unwritten_use(self, id: str) -> tuple[datetime, str] | None:
        """When and in which region a key or a role was used, where that is in this process's memory only so far."""
        use = self._uses.get(id)
        return None if use is None else (datetime.fromtimestamp(int(use[1]), UTC), use[2])

    def settle(self) -> bool:
        """Write down the uses of keys, and forget keys that ended long ago. For the reconciler; always done at once."""
        uses, self._uses = self._uses, {}
        if uses:
            with self.database.unit(None, write=True) as unit:
                note_uses(unit, uses)
        with self.database.unit(None, write=False) as unit:
            stale = has_ended_keys(unit)
        if stale:
            with self.database.unit(None, write=True) as unit:
                sweep_ended_keys(unit)
        return False

    # --- what principals hold ----------------------------------------------------------------------------------------

    def holdings(self, principal: Principal) -> Holdings:
        """The compiled policies of `principal`: its own and its groups', its boundary, its session's."""
        kept = self._kept
        key = (principal.kind, principal.account, principal.unique_id, principal.user_name)
        if principal.session_policies or principal.session_policy_arns:
            key = (*key, principal.session_policies, principal.session_policy_arns)  # type: ignore[assignment]
        found = kept.holdings.get(key)
        if found is None:
            with self.database.unit(Scope(principal.account, ""), write=False) as unit:
                found = kept.holdings[key] = self._load(unit.session, principal)
        return found

    def group(self, account: str, group_id: str) -> PolicySet:
        """The policies of a group alone; for simulations."""
        with self.database.unit(Scope(account, ""), write=False) as unit:
            return self._set(unit.session, [group_id])

    def _load(self, session: Session, principal: Principal) -> Holdings:
        over = self._session_set(session, principal)
        if principal.role_name is not None:
            role = session.scalar(select(Role).where(Role.id == principal.unique_id.partition(":")[0]))
            if role is None:
                return Holdings(EMPTY, None, over)
            return Holdings(self._set(session, [role.id]), self._bound(session, role.limit), over)
        if principal.user_name is not None:
            user = session.scalar(select(User).where(User.folded == principal.user_name.casefold()))
            if user is None:
                return Holdings(EMPTY, None, over)
            groups = session.scalars(
                select(Group.id)
                .join(Membership, Membership.group_id == Group.id)
                .where(Membership.user_id == user.id)
                .order_by(Group.folded)
            )
            return Holdings(self._set(session, [user.id, *groups]), self._bound(session, user.limit), over)
        if principal.is_root:
            return Holdings(EMPTY, None, over)
        if principal.kind is PrincipalKind.FEDERATED:
            return Holdings(EVERYTHING, None, over)
        return Holdings(EMPTY, None, over)

    def _session_set(self, session: Session, principal: Principal) -> PolicySet | None:
        given = [Policy("session policy", None, text) for text in principal.session_policies]
        given += self._texts(session, principal.account, principal.session_policy_arns)
        if given or principal.kind is PrincipalKind.FEDERATED:
            return PolicySet(given)
        return None

    def _texts(self, session: Session, account: str, arns: Iterable[str]) -> list[Policy]:
        found = []
        for arn in arns:
            tail = "/" + arn.partition(":policy/")[2]
            if f"::{account}:" in arn:
                held = PolicyRow.folded == tail.rpartition("/")[2].casefold()
                row = session.scalar(select(PolicyRow.id).where(held))
                found += self._policies(session, [row] if row is not None else [])
            else:
                found += self._policies(session, [tail])
        return found

    def _bound(self, session: Session, reference: str | None) -> PolicySet | None:
        return None if reference is None else PolicySet(self._policies(session, [reference]))

    def _set(self, session: Session, holders: list[str]) -> PolicySet:
        inline = session.execute(
            select(InlinePolicy.holder, InlinePolicy.name, InlinePolicy.text)
            .where(InlinePolicy.holder.in_(holders))
            .order_by(InlinePolicy.folded)
        ).all()
        attached = session.execute(
            select(Attachment.holder, Attachment.policy)
            .where(Attachment.holder.in_(holders))
            .order_by(Attachment.added)
        ).all()
        policies: list[Policy] = []
        for holder in holders:
            policies += [Policy(name, None, text) for of, name, text in inline if of == holder]
            policies += self._policies(session, [policy for of, policy in attached if of == holder])
        return PolicySet(dict.fromkeys(policies))

    def _policies(self, session: Session, references: list[str]) -> list[Policy]:
        """The policies behind references: ids of policies of the tenant, or `/path/Name` in the catalogue."""
        own = [reference for reference in references if not reference.startswith("/")]
        texts = {
            id: Policy(name, f"arn:aws:iam::{tenant}:policy{path}{name}", text)
            for id, tenant, path, name, text in (
                session.execute(
                    select(PolicyRow.id, PolicyRow.tenant, PolicyRow.path, PolicyRow.name, PolicyVersion.text)
                    .join(
                        PolicyVersion,
                        (PolicyVersion.policy_id == PolicyRow.id) & (PolicyVersion.number == PolicyRow.current),
                    )
                    .where(PolicyRow.id.in_(own))
                )
                if own
                else ()
            )
        }
        found = []
        for reference in references:
            if reference.startswith("/"):
                if (known := catalogued(reference)) is not None:
                    found.append(Policy(known.name, known.arn, known.text))
            elif reference in texts:
                found.append(texts[reference])
        return found

    # --- roles and tags ----------------------------------------------------------------------------------------------

    def role(self, account: str, name: str) -> RoleFacts | None:
        """The role called `name` in `account`, whoever asks."""
        kept = self._kept
        key = (account, name.casefold())
        if key not in kept.roles:
            with self.database.unit(Scope(account, ""), write=False) as unit:
                row = unit.session.scalar(select(Role).where(Role.folded == key[1]))
                kept.roles[key] = None
                if row is not None:
                    tags = tuple(row.tags.items())
                    kept.roles[key] = RoleFacts(row.id, account, row.name, row.path, row.trust, row.longest, tags)
        return kept.roles[key]

    def principal_tags(self, principal: Principal) -> Mapping[str, str]:
        """`aws:PrincipalTag`: the tags of the user or role, and over them the session's; keys in lower case."""
        if principal.role_name is None and principal.user_name is None:
            return {key.lower(): value for key, value in principal.session_tags}
        kept = self._kept
        key = (principal.account, principal.unique_id)
        found = kept.tags.get(key)
        if found is None:
            row: type[User | Role] = Role if principal.role_name is not None else User
            name = principal.role_name or principal.user_name or ""
            with self.database.unit(Scope(principal.account, ""), write=False) as unit:
                own = unit.session.scalar(select(row.tags).where(row.folded == name.casefold())) or {}
            found = kept.tags[key] = {tag.lower(): value for tag, value in own.items()}
        if principal.session_tags:
            return {**found, **{tag.lower(): value for tag, value in principal.session_tags}}
        return found


EVERYTHING = PolicySet(
    [Policy("root", None, '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}')]
)


def principal_from(account: str, access_key: str, issued: datetime, facts: dict[str, Any]) -> Principal:
    """The principal that a session key's facts describe; `facts_of` wrote them."""
    return Principal(
        account=account,
        arn=facts["arn"],
        kind=PrincipalKind(facts["kind"]),
        unique_id=facts["unique_id"],
        user_name=facts.get("user_name"),
        role_name=facts.get("role_name"),
        role_path=facts.get("role_path", "/"),
        session_name=facts.get("session_name"),
        session_tags=tuple((key, value) for key, value in facts.get("session_tags", ())),
        transitive_tags=tuple(facts.get("transitive_tags", ())),
        session_policies=tuple(facts.get("session_policies", ())),
        session_policy_arns=tuple(facts.get("session_policy_arns", ())),
        temporary=True,
        mfa=facts.get("mfa", False),
        issued_at=issued,
        source_identity=facts.get("source_identity"),
        federation=tuple(
            (key, tuple(value) if isinstance(value, list) else value) for key, value in facts.get("federation", ())
        ),
        access_key=access_key,
        session_bucket=facts.get("session_bucket"),
        session_mode=facts.get("session_mode", ""),
    )


def facts_of(principal: Principal) -> dict[str, Any]:
    """What a session key keeps of the principal that it speaks for."""
    return {
        "arn": principal.arn,
        "kind": principal.kind.value,
        "unique_id": principal.unique_id,
        "user_name": principal.user_name,
        "role_name": principal.role_name,
        "role_path": principal.role_path,
        "session_name": principal.session_name,
        "session_tags": [list(pair) for pair in principal.session_tags],
        "transitive_tags": list(principal.transitive_tags),
        "session_policies": list(principal.session_policies),
        "session_policy_arns": list(principal.session_policy_arns),
        "mfa": principal.mfa,
        "source_identity": principal.source_identity,
        "session_bucket": principal.session_bucket,
        "session_mode": principal.session_mode,
    } | ({"federation": [list(pair) for pair in principal.federation]} if principal.federation else {})


def directory(cloud: Cloud) -> Directory:
    """The directory of `cloud`, made when it is first asked for. The host `identity` is its `Seal`."""
    found = cloud.hosts.get("directory")
    if found is None:
        seal = cloud.hosts.setdefault("identity", None) or Seal.fresh()
        cloud.hosts["identity"] = seal
        found = cloud.hosts["directory"] = Directory(cloud.database, seal, cloud.rules)
    assert isinstance(found, Directory)
    return found
