"""SAML providers: whose assertions an account would trust. Nobody signs in with one here; the books are kept."""

from __future__ import annotations

import re
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from backends.identity.models import Possession
from compat.errors import AWSError
from compat.iam.faults import FAULTS, invalid_input, no_such
from compat.iam.providers import SAML, arn_of, file_provider, provider_at
from compat.iam.tags import checked, drop, listing, page_of, put
from compat.operation import operation

if TYPE_CHECKING:
    from compat.context import Context
    from compat.operation import Params, Result

FOREVER = timedelta(days=36500)
"""How long a provider is good whose metadata does not say."""
_ROOTS = re.compile(r"\{urn:oasis:names:tc:SAML:2\.0:metadata\}Entit(?:yDescriptor|iesDescriptor)")


def _provider(ctx: Context, p: Params) -> Possession:
    arn = p["SAMLProviderArn"]
    found = provider_at(ctx, SAML, arn)
    if found is None:
        raise no_such(f"Manifest not found for arn {arn}")
    return found


def _check(p: Params) -> None:
    """Refuse what is not offered, and metadata that is none."""
    for member in ("AssertionEncryptionMode", "AddPrivateKey", "RemovePrivateKey"):
        if p.get(member) is not None:
            raise AWSError("NotImplemented", f"{member} is not implemented by Nephele.")
    if p.get("SAMLMetadataDocument") is not None:
        _read(p["SAMLMetadataDocument"])


def _read(text: str) -> str | None:
    """Until when metadata says that it is good. XML with a document type is refused, whatever is in it."""
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise invalid_input("Could not parse metadata")
    try:
        root = ElementTree.fromstring(text.strip())
    except (ElementTree.ParseError, ValueError):
        raise invalid_input("Could not parse metadata") from None
    if not _ROOTS.fullmatch(root.tag):
        raise invalid_input("Could not parse metadata")
    return root.get("validUntil")


def _until(found: Possession) -> datetime:
    told = _read(found.about["document"])
    try:
        moment = datetime.fromisoformat((told or "").replace("Z", "+00:00"))
    except ValueError:  # it says nothing, or no time
        return found.created + FOREVER
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


@operation("iam:CreateSAMLProvider", on="saml-provider/{Name}", raises=FAULTS)
def create_saml_provider(ctx: Context, p: Params) -> Result:
    """Keep a provider."""
    _check(p)
    tags, name = checked(p.get("Tags")), p["Name"]
    if ctx.identity.possession(SAML, name) is not None:
        raise AWSError("EntityAlreadyExists", f"Provider with name {name} already exists.")
    about = {"document": p["SAMLMetadataDocument"], "uuid": str(uuid.uuid4())}
    answer: Result = {"SAMLProviderArn": file_provider(ctx, SAML, name, about, tags, "SAMLProvidersPerAccount")}
    return answer | {"Tags": listing(tags)} if tags else answer


@operation("iam:GetSAMLProvider", on="{SAMLProviderArn}", raises=FAULTS)
def get_saml_provider(ctx: Context, p: Params) -> Result:
    """A provider's metadata."""
    found = _provider(ctx, p)
    return {
        "SAMLProviderUUID": found.about["uuid"],
        "SAMLMetadataDocument": found.about["document"],
        "CreateDate": found.created,
        "ValidUntil": _until(found),
        "Tags": listing(found.tags),
    }


@operation("iam:ListSAMLProviders", on="*", raises=FAULTS)
def list_saml_providers(ctx: Context, p: Params) -> Result:
    """The account's providers."""
    return {
        "SAMLProviderList": [
            {"Arn": arn_of(ctx, SAML, one.id), "ValidUntil": _until(one), "CreateDate": one.created}
            for one in ctx.identity.possessions(SAML)
        ]
    }


@operation("iam:UpdateSAMLProvider", on="{SAMLProviderArn}", raises=FAULTS)
def update_saml_provider(ctx: Context, p: Params) -> Result:
    """Give a provider other metadata."""
    found = _provider(ctx, p)
    _check(p)
    if p.get("SAMLMetadataDocument") is not None:
        found.about = found.about | {"document": p["SAMLMetadataDocument"]}
    return {"SAMLProviderArn": p["SAMLProviderArn"]}


@operation("iam:DeleteSAMLProvider", on="{SAMLProviderArn}", raises=FAULTS)
def delete_saml_provider(ctx: Context, p: Params) -> None:
    """Forget a provider; roles that trust it stay."""
    ctx.identity.drop(_provider(ctx, p))


@operation("iam:TagSAMLProvider", on="{SAMLProviderArn}", raises=FAULTS)
def tag_saml_provider(ctx: Context, p: Params) -> None:
    """Set tags."""
    put(_provider(ctx, p), p["Tags"], "SAMLProvider")


@operation("iam:UntagSAMLProvider", on="{SAMLProviderArn}", raises=FAULTS)
def untag_saml_provider(ctx: Context, p: Params) -> None:
    """Remove tags."""
    drop(_provider(ctx, p), p["TagKeys"])


@operation("iam:ListSAMLProviderTags", on="{SAMLProviderArn}", raises=FAULTS)
def list_saml_provider_tags(ctx: Context, p: Params) -> Result:
    """The tags of a provider."""
    return page_of(p, _provider(ctx, p).tags)
