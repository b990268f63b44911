"""Roles taken on with the token of an OpenID Connect provider."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from backends.identity.models import Possession
from compat import audit
from compat.cloud import wall
from compat.errors import AWSError
from compat.iam.authorize import ask
from compat.iam.policy.request import ContextValue
from compat.iam.principal import ANONYMOUS, Principal, PrincipalKind
from compat.iam.providers import OIDC, arn_of
from compat.iam.reference import claims_of
from compat.operation import operation
from compat.sts.issuers import Unreachable, Untrusted, Unusable, issuers
from compat.sts.issuing import assumed, role_named, role_seconds, session_of
from compat.sts.web_tokens import NoToken, WebToken, fitting, read_token, verifies

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

ACTION = "sts:AssumeRoleWithWebIdentity"
TAGS, SOURCE = "https://aws.amazon.com/tags", "https://aws.amazon.com/source_identity"
REQUIRED = ("iss", "aud", "sub", "exp", "iat")
IN_SESSIONS = ("amr", "aud", "sub")
"""The keys that go on to be asked of the session's calls."""
_NO_KEY = (
    "Couldn't retrieve verification key from your identity provider,  please reference AssumeRoleWithWebIdentity "
    "documentation for requirements"
)


class Provider(NamedTuple):
    """A provider of the role's account: `id` as it stands in ARNs and condition keys, and what IAM was told of it."""

    id: str
    arn: str
    clients: tuple[str, ...]
    thumbprints: tuple[str, ...]


def _invalid(message: str) -> AWSError:
    return AWSError("InvalidIdentityToken", message)


@operation(ACTION, on="{RoleArn}", streams=True, slow=True, open=True)
def assume_role_with_web_identity(ctx: Context, p: Params) -> Result:
    """Nobody signs this call: the token proves who calls, and the trust policy of the role is all that is asked."""
    if p.get("ProviderId"):
        raise AWSError("NotImplemented", "OAuth 2.0 access tokens (ProviderId) are not implemented by Nephele.", 501)
    role = role_named(ctx, p["RoleArn"])
    if role is None:
        raise _refused(ACTION)
    token = _token(p["WebIdentityToken"])
    ctx.account = role.account
    provider = _provider(ctx, token)
    _check_claims(token, provider)
    _check_signature(ctx, token, provider)
    p = _with_claims(p, token)
    keys = _condition_keys(token, provider)
    ctx.principal = Principal(
        account=role.account,
        arn=provider.arn,
        kind=PrincipalKind.WEB_IDENTITY,
        unique_id=f"{provider.id}:{token.claims['sub']}",
    )
    _permit(ctx, p, keys)
    kept = {f"{provider.id.lower()}:{claim}" for claim in IN_SESSIONS} | {"aws:federatedprovider"}
    session = replace(
        session_of(ANONYMOUS, role, p),
        federation=tuple((key, value) for key, value in keys.items() if key in kept and value is not None),
    )
    with ctx.transaction(write=True):
        answer = assumed(ctx, session, role_seconds(ANONYMOUS, role, p.get("DurationSeconds")), p)
        audit.record(ctx)
    return answer | {
        "SubjectFromWebIdentityToken": str(token.claims["sub"]),
        "Provider": provider.arn,
        "Audience": str(token.claims.get("azp") or token.audiences[0]),
    }


# --- the token --------------------------------------------------------------------------------------------------------


def _token(text: str) -> WebToken:
    try:
        token = read_token(text)
    except NoToken:
        raise _invalid(
            "The ID Token provided is not a valid JWT. (You may see this error if you sent an Access Token)"
        ) from None
    for claim in REQUIRED:
        if not token.claims.get(claim):
            raise _invalid(f"Missing a required claim: {claim}")
    return token


def _provider(ctx: Context, token: WebToken) -> Provider:
    """The provider that the account of the role has for the issuer of a token."""
    issuer = str(token.claims["iss"])
    scheme, _, id = issuer.partition("://")
    with ctx.transaction(write=False):
        found: Possession | None = ctx.identity.possession(OIDC, id)
        if found is None or found.about.get("scheme", "https") != scheme:
            raise _invalid(f"No OpenIDConnect provider found in your account for {issuer}")
        return Provider(id, arn_of(ctx, OIDC, id), tuple(found.about["clients"]), tuple(found.about["thumbprints"]))


def _check_claims(token: WebToken, provider: Provider) -> None:
    if not set(token.audiences) & set(provider.clients):
        raise _invalid("Incorrect token audience")
    now = int(wall().timestamp())
    ends, begins = token.claims["exp"], token.claims.get("nbf", 0)
    if not isinstance(ends, int | float) or not isinstance(begins, int | float):
        raise _invalid("The times of the ID Token provided are not numbers.")
    if ends <= now:
        raise AWSError(
            "ExpiredTokenException",
            f"Token expired: current date/time {now} must be before the expiration date/time {int(ends)}",
        )
    if begins > now + 300:
        raise _invalid("The ID Token provided is not valid yet.")


def _check_signature(ctx: Context, token: WebToken, provider: Provider) -> None:
    """Raises InvalidIdentityToken; IDPCommunicationError where the provider does not answer."""
    issuer = str(token.claims["iss"])
    try:
        keys = fitting(issuers(ctx.cloud).keys(issuer, provider.thumbprints), token)
        if not keys:
            keys = fitting(issuers(ctx.cloud).keys(issuer, provider.thumbprints, anew=True), token)
    except Unreachable as fault:
        raise AWSError("IDPCommunicationError", f"The identity provider could not be reached: {fault}") from None
    except Untrusted:
        raise _invalid("OpenIDConnect provider's HTTPS certificate doesn't match configured thumbprint") from None
    except Unusable:
        raise _invalid(_NO_KEY) from None
    if not keys:
        raise _invalid(_NO_KEY)
    if not any(verifies(key, token) for key in keys):
        raise _invalid("The signature of the ID Token provided is not valid.")


def _with_claims(p: Params, token: WebToken) -> Params:
    """The parameters, with the tags and the source identity that a token gives in either of the two forms."""
    claims = token.claims
    nested = claims.get(TAGS) if isinstance(claims.get(TAGS), dict) else {}
    assert isinstance(nested, dict)
    tags: dict[str, Any] = dict(nested.get("principal_tags") or {})
    prefix = f"{TAGS}/principal_tags/"
    tags |= {claim[len(prefix) :]: value for claim, value in claims.items() if claim.startswith(prefix)}
    onward = claims.get(f"{TAGS}/transitive_tag_keys") or nested.get("transitive_tag_keys") or ()
    more: dict[str, Any] = {}
    if tags:
        more["Tags"] = [{"Key": key, "Value": _single(value)} for key, value in tags.items()]
        more["TransitiveTagKeys"] = [str(key) for key in ([onward] if isinstance(onward, str) else onward)]
    if claims.get(SOURCE):
        more["SourceIdentity"] = _single(claims[SOURCE])
    return {**p, **more}


def _single(value: Any) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if not isinstance(value, str):
        raise _invalid("A tag of the ID Token provided has not one value.")
    return value


# --- the decision -----------------------------------------------------------------------------------------------------


def _condition_keys(token: WebToken, provider: Provider) -> dict[str, ContextValue]:
    """What a trust policy can ask of a token: `PROVIDER:sub` and the like, in lower case."""
    claims, prefix = token.claims, provider.id.lower()
    found: dict[str, ContextValue] = {"aws:federatedprovider": provider.arn, f"{prefix}:sub": str(claims["sub"])}
    others = token.audiences if len(token.audiences) > 1 else token.audiences[0]
    if claims.get("azp"):
        found |= {f"{prefix}:aud": str(claims["azp"]), f"{prefix}:oaud": others}
    else:
        found[f"{prefix}:aud"] = others
    for claim in {"amr", "email"} | claims_of(provider.id):
        value = claims.get(claim)
        if f"{prefix}:{claim.lower()}" not in found and value not in (None, "", []):
            texts = tuple(map(_text, value)) if isinstance(value, list) else _text(value)
            found[f"{prefix}:{claim.lower()}"] = texts
    return found


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _permit(ctx: Context, p: Params, keys: Mapping[str, ContextValue]) -> None:
    if ctx.rules.auth == "off":
        return
    actions = [ACTION]
    actions += ["sts:TagSession"] if p.get("Tags") else []
    actions += ["sts:SetSourceIdentity"] if p.get("SourceIdentity") else []
    for action in actions:
        if not ask(ctx, action, p["RoleArn"], p, keys).allowed:
            raise _refused(action)


def _refused(action: str) -> AWSError:
    return AWSError("AccessDenied", f"Not authorized to perform {action}", 403)
