"""Principals and what they hold: users, groups, roles, policies, keys, sessions."""

from datetime import datetime
from typing import Any, ClassVar

from sqlalchemy import Boolean, ForeignKey, Index, Integer, LargeBinary, String, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from backends.db import Base, Tenanted


class Named(Tenanted):
    """What users, groups, roles, policies and profiles share. Names differ by more than case: `folded` is unique."""

    id: Mapped[str] = mapped_column(String(64), primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    folded: Mapped[str] = mapped_column(String(128))
    path: Mapped[str] = mapped_column(String(512), default="/")
    created: Mapped[datetime]
    tags: Mapped[dict[str, Any]] = mapped_column(default=dict)


class User(Named, Base):
    """A person or a program with lasting keys. `limit` is the policy that bounds what it can be given."""

    __tablename__ = "identity_user"
    __topic__: ClassVar[str | None] = "identity"
    __table_args__ = (UniqueConstraint("tenant", "folded"),)
    limit: Mapped[str | None] = mapped_column(String(256))


class Group(Named, Base):
    """Users that hold the same policies."""

    __tablename__ = "identity_group"
    __topic__: ClassVar[str | None] = "identity"
    __table_args__ = (UniqueConstraint("tenant", "folded"),)


class Membership(Tenanted, Base):
    """A user is in a group."""

    __tablename__ = "identity_membership"
    __topic__: ClassVar[str | None] = "identity"
    user_id: Mapped[str] = mapped_column(ForeignKey("identity_user.id", ondelete="CASCADE"), primary_key=True)
    group_id: Mapped[str] = mapped_column(
        ForeignKey("identity_group.id", ondelete="CASCADE"), primary_key=True, index=True
    )
    added: Mapped[datetime]


class Role(Named, Base):
    """A principal without keys of its own, taken on by those whom `trust` names. `longest` is in seconds."""

    __tablename__ = "identity_role"
    __topic__: ClassVar[str | None] = "identity"
    __table_args__ = (UniqueConstraint("tenant", "folded"),)
    trust: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    longest: Mapped[int] = mapped_column(Integer, default=3600)
    limit: Mapped[str | None] = mapped_column(String(256))
    service: Mapped[str | None] = mapped_column(String(128))
    """The service that owns the role (a service-linked role), and alone may change it."""


class Policy(Named, Base):
    """A policy that stands alone, with its versions. `latest` is the highest number ever given to a version."""

    __tablename__ = "identity_policy"
    __topic__: ClassVar[str | None] = "identity"
    __table_args__ = (UniqueConstraint("tenant", "folded"),)
    description: Mapped[str | None] = mapped_column(Text)
    current: Mapped[int] = mapped_column(Integer, default=1)
    latest: Mapped[int] = mapped_column(Integer, default=1)
    updated: Mapped[datetime]


class PolicyVersion(Tenanted, Base):
    """One text of a policy, exactly as given."""

    __tablename__ = "identity_policy_version"
    __topic__: ClassVar[str | None] = "identity"
    policy_id: Mapped[str] = mapped_column(ForeignKey("identity_policy.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True)
    text: Mapped[str] = mapped_column(Text)
    created: Mapped[datetime]


class InlinePolicy(Tenanted, Base):
    """A policy that belongs to one user, group or role. `text` is exactly as given."""

    __tablename__ = "identity_inline_policy"
    __topic__: ClassVar[str | None] = "identity"
    holder: Mapped[str] = mapped_column(String(64), primary_key=True)
    folded: Mapped[str] = mapped_column(String(128), primary_key=True)
    name: Mapped[str] = mapped_column(String(128))
    text: Mapped[str] = mapped_column(Text)


class Attachment(Tenanted, Base):
    """A user, group or role holds a policy: the id of a `Policy`, or the name of one in the provider's catalogue."""

    __tablename__ = "identity_attachment"
    __topic__: ClassVar[str | None] = "identity"
    holder: Mapped[str] = mapped_column(String(64), primary_key=True)
    policy: Mapped[str] = mapped_column(String(256), primary_key=True, index=True)
    holder_kind: Mapped[str] = mapped_column(String(8))
    added: Mapped[datetime]


class Profile(Named, Base):
    """What a guest carries so that programs in it can take on a role."""

    __tablename__ = "identity_profile"
    __topic__: ClassVar[str | None] = "identity"
    __table_args__ = (UniqueConstraint("tenant", "folded"),)
    role_id: Mapped[str | None] = mapped_column(ForeignKey("identity_role.id"), index=True)


class Key(Tenanted, Base):
    """A lasting key of a user, or of the tenant's root where `user_id` is None. The secret is sealed."""

    __tablename__ = "identity_key"
    __topic__: ClassVar[str | None] = "identity"
    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    user_id: Mapped[str | None] = mapped_column(ForeignKey("identity_user.id"), index=True)
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    active: Mapped[bool] = mapped_column(Boolean, default=True)
    created: Mapped[datetime]


class KeyUse(Tenanted, Base):
    """When and for what a key, or a role (`id` is its id), was used last, to within a minute or so."""

    __tablename__ = "identity_key_use"
    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    used: Mapped[datetime]
    region: Mapped[str] = mapped_column(String(32))
    service: Mapped[str] = mapped_column(String(64))


class SessionKey(Tenanted, Base):
    """A key that ends by itself. The row never changes; `facts` say for whom it speaks. Secret and token are sealed."""

    __tablename__ = "identity_session_key"
    __table_args__ = (Index("ix_identity_session_key_expires", "expires"),)
    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    token: Mapped[bytes] = mapped_column(LargeBinary)
    expires: Mapped[datetime]
    issued: Mapped[datetime]
    facts: Mapped[dict[str, Any]]


class Password(Tenanted, Base):
    """A user's password, hashed with scrypt."""

    __tablename__ = "identity_password"
    __topic__: ClassVar[str | None] = "identity"
    user_id: Mapped[str] = mapped_column(ForeignKey("identity_user.id"), primary_key=True)
    digest: Mapped[bytes] = mapped_column(LargeBinary)
    reset_required: Mapped[bool] = mapped_column(Boolean, default=False)
    created: Mapped[datetime]


class Possession(Tenanted, Base):
    """A public thing filed under a user, or under the tenant where `user_id` is None: SSH keys, certificates, devices.

    `about` holds what the kind needs; no secrets.
    """

    __tablename__ = "identity_possession"
    __topic__: ClassVar[str | None] = "identity"
    id: Mapped[str] = mapped_column(String(512), primary_key=True)
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32), index=True)
    user_id: Mapped[str | None] = mapped_column(ForeignKey("identity_user.id"), index=True)
    created: Mapped[datetime]
    about: Mapped[dict[str, Any]]
    tags: Mapped[dict[str, Any]] = mapped_column(default=dict)


class TenantFacts(Tenanted, Base):
    """What a tenant has set for itself: its alias and its password rules."""

    __tablename__ = "identity_tenant"
    __topic__: ClassVar[str | None] = "identity"
    tenant: Mapped[str] = mapped_column(String(64), primary_key=True)
    alias: Mapped[str | None] = mapped_column(String(64), unique=True)
    password_rules: Mapped[dict[str, Any] | None]
