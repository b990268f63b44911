"""The keys of identity providers: found at their well-known address, and kept for a while."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import orjson

if TYPE_CHECKING:
    from compat.cloud import Cloud

KEPT_SECONDS = 300.0
ANEW_SECONDS = 5.0
"""Keys that do not have what a token was signed with are fetched again, but no more often than so."""
MOST_KEPT = 256


class Unreachable(Exception):
    """The provider does not answer, or not in time."""


class Untrusted(Exception):
    """The provider's certificate is neither one that this machine trusts nor one of the given thumbprints."""


class Unusable(Exception):
    """The provider answers something else than what was asked for."""


class Documents(Protocol):
    """Fetches documents of other servers."""

    def get(self, url: str, thumbprints: Sequence[str]) -> bytes:
        """What is at `url`. Raises `Unreachable`, `Untrusted` (thumbprints are SHA-1 in hexadecimal), `Unusable`."""
        ...


@dataclass(slots=True)
class Issuers:
    """What is known of providers, for one process."""

    documents: Documents
    _kept: dict[tuple[str, tuple[str, ...]], tuple[float, Sequence[Mapping[str, Any]]]] = field(default_factory=dict)

    def keys(self, issuer: str, thumbprints: Sequence[str], *, anew: bool = False) -> Sequence[Mapping[str, Any]]:
        """The keys (RFC 7517) of the provider whose tokens name `issuer`; `anew`: not those of a while ago. Raises as
        `Documents.get` does."""
        place = (issuer, tuple(thumbprints))
        kept = self._kept.get(place)
        good_for = ANEW_SECONDS if anew else KEPT_SECONDS
        if kept is not None and time.monotonic() - kept[0] < good_for:
            return kept[1]
        about = self._object(issuer.rstrip("/") + "/.well-known/openid-configuration", thumbprints)
        if about.get("issuer") != issuer or not isinstance(about.get("jwks_uri"), str):
            raise Unusable(f"{issuer} does not say where its keys are")
        keys = self._object(about["jwks_uri"], thumbprints).get("keys")
        if not isinstance(keys, list):
            raise Unusable(f"{about['jwks_uri']} holds no keys")
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        self._kept[place] = (time.monotonic(), keys)
        return keys

    def _object(self, url: str, thumbprints: Sequence[str]) -> Mapping[str, Any]:
        try:
            found = orjson.loads(self.documents.get(url, thumbprints))
        except orjson.JSONDecodeError:
            raise Unusable(f"{url} is not JSON") from None
        if not isinstance(found, dict):
            raise Unusable(f"{url} is not an object")
        return found


def issuers(cloud: Cloud) -> Issuers:
    """Those of `cloud`, made when first asked for. The host `documents` gives what fetches."""
    found = cloud.hosts.get("issuers")
    if found is None:
        found = cloud.hosts["issuers"] = Issuers(cloud.hosts["documents"]())
    assert isinstance(found, Issuers)
    return found
