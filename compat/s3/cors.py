"""A bucket's CORS rules, applied: which headers let a page of another origin read an answer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from compat.cloud import Cloud


@lru_cache(4096)
def _pattern(text: str) -> re.Pattern[str]:
    """An origin or header with at most one `*`."""
    return re.compile(".*".join(re.escape(part) for part in text.split("*")))


def _fits(value: str, patterns: Iterable[str]) -> bool:
    return any(_pattern(pattern).fullmatch(value) is not None for pattern in patterns)


def match(rules: Sequence[Mapping[str, Any]], origin: str, method: str, asked: Sequence[str]) -> dict[str, str] | None:
    """The headers of the first rule that allows the origin, the method and all asked headers; None when none does."""
    for rule in rules:
        if method not in rule.get("AllowedMethods", ()) or not _fits(origin, rule.get("AllowedOrigins", ())):
            continue
        allowed = [header.lower() for header in rule.get("AllowedHeaders") or ()]
        if not all(_fits(header.lower(), allowed) for header in asked):
            continue
        anyone = "*" in rule["AllowedOrigins"]
        headers = {
            "Access-Control-Allow-Origin": "*" if anyone else origin,
            "Access-Control-Allow-Methods": ", ".join(rule["AllowedMethods"]),
            "Vary": "Origin, Access-Control-Request-Headers, Access-Control-Request-Method",
        }
        if asked:
            headers["Access-Control-Allow-Headers"] = ", ".join(header.lower() for header in asked)
        if exposed := rule.get("ExposeHeaders"):
            headers["Access-Control-Expose-Headers"] = ", ".join(exposed)
        if rule.get("MaxAgeSeconds") is not None:
            headers["Access-Control-Max-Age"] = str(rule["MaxAgeSeconds"])
        if not anyone:
            headers["Access-Control-Allow-Credentials"] = "true"
        return headers
    return None


def allow(cloud: Cloud, bucket: str, origin: str, method: str, asked: Sequence[str]) -> dict[str, str] | None:
    """What the bucket's CORS configuration says to a request; None where it has none, or no rule fits."""
    return match(_rules(cloud, bucket) or (), origin, method, asked)


def has_rules(cloud: Cloud, bucket: str) -> bool:
    """Whether the bucket is there and has a CORS configuration."""
    return bool(_rules(cloud, bucket))


def why_not(cloud: Cloud, bucket: str) -> str:
    """Why a request across origins is not allowed, in S3's words and spelling."""
    rules = _rules(cloud, bucket)
    if rules is None:
        return "Bucket not found"
    if not rules:
        return "CORS is not enabled for this bucket."
    return (
        "This CORS request is not allowed. This is usually because the evalution of Origin, request method / "
        "Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS "
        "spec."
    )


def _rules(cloud: Cloud, bucket: str) -> Sequence[Mapping[str, Any]] | None:
    """The bucket's rules; None where there is no such bucket."""
    known = cloud.hosts["containers"].find(bucket) if bucket else None
    if known is None:
        return None
    return (known.documents.get("cors") or {}).get("CORSRules") or ()
