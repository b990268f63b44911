"""Whom policies name: the check that principals in trust and resource policies exist, as AWS makes it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from sqlalchemy import select

from backends.db import Scope
from backends.identity.models import User
from compat.iam.directory import directory
from compat.iam.policy.document import Document, Malformed
from compat.iam.policy.validate import trust_policy

if TYPE_CHECKING:
    from compat.context import Context

_SERVICE = re.compile(r"[a-z0-9.\-]+\.(amazonaws\.com(\.cn)?|amazon\.com|aws\.internal|api\.aws)|[a-z0-9\-]+\.aws")
_ACCOUNT = re.compile(r"(?:arn:aws[a-z\-]*:iam::)?(\d{12})(?::root)?")
_ENTITY = re.compile(r"arn:aws[a-z\-]*:(iam|sts)::(\d{12}):(user|role|assumed-role|federated-user)/(.+)")
_ORIGIN = re.compile(r"arn:aws[a-z\-]*:iam::cloudfront:user/CloudFront Origin Access Identity \w+")
_FEDERATED = re.compile(r"arn:aws[a-z\-]*:iam::\d{12}:(oidc-provider|saml-provider)/.+|[a-z0-9.\-]+\.[a-z]+")


def unknown_principal(ctx: Context, document: Document) -> tuple[str, str] | None:
    """The first (type, value) among the principals of `document` that names nobody, or None."""
    for statement in document.statements:
        for kind, value in statement.principals or ():
            if not _known(ctx, kind, value):
                return kind, value
    return None


def _known(ctx: Context, kind: str, value: str) -> bool:
    if kind == "*" or kind == "CanonicalUser":
        return True
    if kind == "Service":
        return _SERVICE.fullmatch(value) is not None
    if kind == "Federated":
        return _FEDERATED.fullmatch(value) is not None
    if value == "*" or _ACCOUNT.fullmatch(value):
        return True
    if re.fullmatch(r"(AIDA|AROA)[A-Z0-9]{16,}", value):
        return True
    if _ORIGIN.fullmatch(value):
        return True
    named = _ENTITY.fullmatch(value)
    if named is None:
        return False
    service, account, type_, tail = named.groups()
    if service == "sts":
        return type_ in ("assumed-role", "federated-user") and "*" not in tail
    if type_ == "user":
        return _user_exists(ctx, account, tail)
    role = directory(ctx.cloud).role(account, tail.rpartition("/")[2]) if type_ == "role" else None
    return role is not None and role.path + role.name == "/" + tail


def _user_exists(ctx: Context, account: str, tail: str) -> bool:
    name = tail.rpartition("/")[2]
    with ctx.cloud.database.unit(Scope(account, ""), write=False) as unit:
        path = unit.session.scalar(select(User.path).where(User.folded == name.casefold(), User.name == name))
    return path is not None and path + name == "/" + tail


def checked_trust(ctx: Context, text: str) -> Document:
    """A trust policy whose form and principals are in order. Raises `Malformed`."""
    document = trust_policy(text)
    unknown = unknown_principal(ctx, document)
    if unknown is not None:
        kind, value = unknown
        raise Malformed(f'Invalid principal in policy: "{kind.upper()}":{json.dumps(value)}')
    return document
