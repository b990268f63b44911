"""OpenID Connect providers: whose tokens an account trusts."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from backends.identity.models import Possession
from compat.errors import AWSError
from compat.iam.faults import FAULTS, invalid_input, limit, no_such
from compat.iam.providers import OIDC, arn_of, file_provider, provider_at
from compat.iam.tags import checked, drop, listing, page_of, put
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

MOST_CLIENTS = 100
MOST_THUMBPRINTS = 5
_PLACE = re.compile(r"[^/?#\s]+[^?#\s]*")
_HERE = re.compile(r"http://(localhost|127(\.\d{1,3}){3})(:\d+)?(/[^?#\s]*)?")
"""A provider on this machine, which needs no certificate where the endpoint itself is for this machine only."""


def _about(ctx: Context, p: Params) -> list[str]:
    return [f"oidc-provider/{p['Url'].partition('://')[2]}"]


def _provider(ctx: Context, p: Params) -> Possession:
    arn = p["OpenIDConnectProviderArn"]
    found = provider_at(ctx, OIDC, arn)
    if found is None:
        raise no_such(f"OpenIDConnect Provider not found for arn {arn}")
    return found


def _thumbprints(given: list[str]) -> list[str]:
    if len(given) > MOST_THUMBPRINTS:
        raise invalid_input("Thumbprint list must contain fewer than 5 entries.")
    return given


@operation("iam:CreateOpenIDConnectProvider", on=_about, raises=FAULTS)
def create_open_id_connect_provider(ctx: Context, p: Params) -> Result:
    """Where no thumbprint is given, none is fetched: nothing here goes out to the provider."""
    url, tags = p["Url"], checked(p.get("Tags"))
    scheme, _, id = url.partition("://")
    if not (scheme == "https" and _PLACE.fullmatch(id)) and not (ctx.rules.open_root and _HERE.fullmatch(url)):
        raise AWSError("ValidationError", "Invalid Open ID Connect Provider URL")
    if len(p.get("ClientIDList") or ()) > MOST_CLIENTS:
        raise limit("ClientIdsPerOpenIdConnectProvider", MOST_CLIENTS)
    if ctx.identity.possession(OIDC, id) is not None:
        raise AWSError("EntityAlreadyExists", f"Provider with url {url} already exists.")
    about = {
        "clients": list(dict.fromkeys(p.get("ClientIDList") or ())),
        "thumbprints": _thumbprints(list(p.get("ThumbprintList") or ())),
        "scheme": scheme,
    }
    arn = file_provider(ctx, OIDC, id, about, tags, "OpenIdConnectProvidersPerAccount")
    answer: Result = {"OpenIDConnectProviderArn": arn}
    return answer | {"Tags": listing(tags)} if tags else answer


@operation("iam:GetOpenIDConnectProvider", on="{OpenIDConnectProviderArn}", raises=FAULTS)
def get_open_id_connect_provider(ctx: Context, p: Params) -> Result:
    found = _provider(ctx, p)
    return {
        "Url": found.id,
        "ClientIDList": found.about["clients"],
        "ThumbprintList": found.about["thumbprints"],
        "CreateDate": found.created,
        "Tags": listing(found.tags),
    }


@operation("iam:ListOpenIDConnectProviders", on="*", raises=FAULTS)
def list_open_id_connect_providers(ctx: Context, p: Params) -> Result:
    return {"OpenIDConnectProviderList": [{"Arn": arn_of(ctx, OIDC, one.id)} for one in ctx.identity.possessions(OIDC)]}


@operation("iam:UpdateOpenIDConnectProviderThumbprint", on="{OpenIDConnectProviderArn}", raises=FAULTS)
def update_open_id_connect_provider_thumbprint(ctx: Context, p: Params) -> None:
    found = _provider(ctx, p)
    found.about = found.about | {"thumbprints": _thumbprints(list(p["ThumbprintList"]))}


@operation("iam:AddClientIDToOpenIDConnectProvider", on="{OpenIDConnectProviderArn}", raises=FAULTS)
def add_client_id_to_open_id_connect_provider(ctx: Context, p: Params) -> None:
    found = _provider(ctx, p)
    clients = list(dict.fromkeys([*found.about["clients"], p["ClientID"]]))
    if len(clients) > MOST_CLIENTS:
        raise limit("ClientIdsPerOpenIdConnectProvider", MOST_CLIENTS)
    found.about = found.about | {"clients": clients}


@operation("iam:RemoveClientIDFromOpenIDConnectProvider", on="{OpenIDConnectProviderArn}", raises=FAULTS)
def remove_client_id_from_open_id_connect_provider(ctx: Context, p: Params) -> None:
    found = _provider(ctx, p)
    found.about = found.about | {"clients": [one for one in found.about["clients"] if one != p["ClientID"]]}


@operation("iam:DeleteOpenIDConnectProvider", on="{OpenIDConnectProviderArn}", raises=FAULTS)
def delete_open_id_connect_provider(ctx: Context, p: Params) -> None:
    ctx.identity.drop(_provider(ctx, p))


@operation("iam:TagOpenIDConnectProvider", on="{OpenIDConnectProviderArn}", raises=FAULTS)
def tag_open_id_connect_provider(ctx: Context, p: Params) -> None:
    put(_provider(ctx, p), p["Tags"], "OpenIDConnectProvider")


@operation("iam:UntagOpenIDConnectProvider", on="{OpenIDConnectProviderArn}", raises=FAULTS)
def untag_open_id_connect_provider(ctx: Context, p: Params) -> None:
    drop(_provider(ctx, p), p["TagKeys"])


@operation("iam:ListOpenIDConnectProviderTags", on="{OpenIDConnectProviderArn}", raises=FAULTS)
def list_open_id_connect_provider_tags(ctx: Context, p: Params) -> Result:
    return page_of(p, _provider(ctx, p).tags)
