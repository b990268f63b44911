"""A bucket as a website: what a path means, and which redirections its configuration makes of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from compat.cloud import Cloud
from compat.errors import AWSError
from compat.s3 import faults
from compat.s3.places import containers

Site = Mapping[str, Any]
"""A website configuration as it was put."""


class Turn(NamedTuple):
    """A redirection: where to, and with which status."""

    location: str
    status: int


def site_of(cloud: Cloud, bucket: str) -> Site:
    """The configuration of a bucket. Raises `NoSuchBucket` and `NoSuchWebsiteConfiguration`."""
    known = containers(cloud).find(bucket)
    if known is None:
        raise faults.no_such_bucket(bucket)
    found: Site | None = known.documents.get("website")
    if found is None:
        raise faults.not_configured("website", bucket)
    return found


def turn_of_all(site: Site, scheme: str, key: str) -> Turn | None:
    """Where a site sends everybody, if it does."""
    all_to = site.get("RedirectAllRequestsTo")
    if not all_to:
        return None
    return Turn(f"{all_to.get('Protocol') or scheme}://{all_to['HostName']}/{quote(key)}", 301)


def turn_of_rules(site: Site, scheme: str, host: str, key: str, status: int | None = None) -> Turn | None:
    """What the first rule that fits makes of a key: before it is looked for, or (`status`) when that failed."""
    for rule in site.get("RoutingRules") or ():
        condition, redirect = rule.get("Condition") or {}, rule.get("Redirect") or {}
        prefix, code = condition.get("KeyPrefixEquals") or "", condition.get("HttpErrorCodeReturnedEquals")
        if key.startswith(prefix) and (str(status) if status is not None else None) == (code or None):
            if (whole := redirect.get("ReplaceKeyWith")) is not None:
                key = whole
            elif (start := redirect.get("ReplaceKeyPrefixWith")) is not None:
                key = start + key[len(prefix) :]
            place = f"{redirect.get('Protocol') or scheme}://{redirect.get('HostName') or host}/{quote(key)}"
            return Turn(place, int(redirect.get("HttpRedirectCode") or 301))
    return None


def object_key(site: Site, key: str) -> str:
    """The object that a path shows: the index document of a folder, else the object of that name."""
    return key + index_of(site) if not key or key.endswith("/") else key


def index_of(site: Site) -> str:
    """The name of index documents."""
    return str((site.get("IndexDocument") or {}).get("Suffix") or "")


def error_key(site: Site, failure: AWSError) -> str | None:
    """The document that is shown for a failure: there is one for errors of the class 4XX."""
    found = (site.get("ErrorDocument") or {}).get("Key")
    return str(found) if found and 400 <= failure.status < 500 else None
