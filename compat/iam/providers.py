"""Identity providers of both kinds, SAML's and OpenID Connect's: where they are kept, and what their ARNs name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backends.identity.models import Possession
from compat.iam.faults import limit

if TYPE_CHECKING:
    from compat.context import Context

SAML, OIDC = "saml provider", "oidc provider"
"""The kinds of possessions, as they are kept."""
MOST_PROVIDERS = 100


def arn_of(ctx: Context, kind: str, id: str) -> str:
    """The ARN of a provider of the caller's account."""
    return ctx.arn("iam", f"{kind.replace(' ', '-')}/{id}", region="")


def provider_at(ctx: Context, kind: str, arn: str) -> Possession | None:
    """The provider of that kind and ARN; None where the account has none."""
    found = ctx.identity.possession(kind, arn.partition(f":{kind.replace(' ', '-')}/")[2])
    return found if found is not None and arn == arn_of(ctx, kind, found.id) else None


def file_provider(ctx: Context, kind: str, id: str, about: dict[str, Any], tags: dict[str, str], quota: str) -> str:
    """Keep a new provider; its ARN. Raises LimitExceeded, with the name of the quota."""
    if len(ctx.identity.possessions(kind)) >= MOST_PROVIDERS:
        raise limit(quota, MOST_PROVIDERS)
    ctx.identity.file(Possession(id=id, kind=kind, about=about, tags=tags))
    return arn_of(ctx, kind, id)
