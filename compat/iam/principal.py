"""Who calls: principals, and the credentials that prove them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum


class PrincipalKind(StrEnum):
    """What sort of caller a principal is."""

    ROOT = "root"
    USER = "user"
    ROLE_SESSION = "role-session"
    FEDERATED = "federated"
    WEB_IDENTITY = "web-identity"
    """Whoever an identity provider's token speaks of, while it takes on a role."""
    SERVICE = "service"
    ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class Principal:
    """A caller as policies see it.

    `arn` is what GetCallerIdentity answers, in partition `aws` (see `within`). `unique_id` is `aws:userid`: the account
    for root, `AIDA…` for a user, `AROA…:session` for a role session, `account:name` for a federated user, `anonymous`.
    """

    account: str
    arn: str
    kind: PrincipalKind
    unique_id: str
    user_name: str | None = None
    role_name: str | None = None
    role_path: str = "/"
    """The path of the role of a role session: the session's ARN leaves it out, the role's ARN has it."""
    session_name: str | None = None
    session_tags: tuple[tuple[str, str], ...] = ()
    transitive_tags: tuple[str, ...] = ()
    session_policies: tuple[str, ...] = ()
    """Documents handed over when the session was made: they only ever narrow."""
    session_policy_arns: tuple[str, ...] = ()
    temporary: bool = False
    """Whether the credentials have a session token (role sessions, federated users, and GetSessionToken's)."""
    mfa: bool = False
    issued_at: datetime | None = None
    source_identity: str | None = None
    access_key: str | None = None
    federation: tuple[tuple[str, str | tuple[str, ...]], ...] = ()
    """Condition keys (in lower case) that the token of an identity provider gave to a role session."""
    session_bucket: str | None = None
    """The directory bucket that the key is good for, of a session of S3's CreateSession."""
    session_mode: str = ""
    """Of such a session: `ReadWrite` or `ReadOnly`."""
    service: str | None = None
    """For `SERVICE`: its principal name, such as `ec2.amazonaws.com`."""

    @property
    def role_arn(self) -> str | None:
        """The ARN of the role behind a role session: what trust and bucket policies name."""
        if self.role_name is None:
            return None
        partition = self.arn.split(":", 2)[1]
        return f"arn:{partition}:iam::{self.account}:role{self.role_path}{self.role_name}"

    @property
    def is_root(self) -> bool:
        """Whether this is the root of its account (with or without a session token)."""
        return self.kind is PrincipalKind.ROOT

    @property
    def is_anonymous(self) -> bool:
        """Whether nobody signed the request."""
        return self.kind is PrincipalKind.ANONYMOUS

    def within(self, partition: str) -> Principal:
        """The same principal with its ARN in `partition` (`aws-cn`, `aws-us-gov`)."""
        if partition == "aws" or not self.arn.startswith("arn:aws:"):
            return self
        return replace(self, arn=f"arn:{partition}:{self.arn[8:]}")


@dataclass(frozen=True, slots=True)
class Credential:
    """What an access key proves, and the secret that proves it. `expires` is None for a key that lasts."""

    secret: str
    session_token: str | None
    expires: datetime | None
    principal: Principal


ANONYMOUS = Principal(account="anonymous", arn="", kind=PrincipalKind.ANONYMOUS, unique_id="anonymous")


def root(account: str, *, access_key: str | None = None) -> Principal:
    """The root of `account`."""
    return Principal(
        account=account,
        arn=f"arn:aws:iam::{account}:root",
        kind=PrincipalKind.ROOT,
        unique_id=account,
        access_key=access_key,
    )


def role_session(account: str, id: str, name: str, path: str, session: str) -> Principal:
    """Whoever has taken on, under the name `session`, the role of `account` with that id (`AROA…`), name and path."""
    return Principal(
        account=account,
        arn=f"arn:aws:sts::{account}:assumed-role/{name}/{session}",
        kind=PrincipalKind.ROLE_SESSION,
        unique_id=f"{id}:{session}",
        role_name=name,
        role_path=path,
        session_name=session,
    )


def service(name: str, account: str) -> Principal:
    """The service `name` (`ec2.amazonaws.com`) that acts for `account`."""
    return Principal(account=account, arn=name, kind=PrincipalKind.SERVICE, unique_id=name, service=name)
