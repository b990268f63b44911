"""Policy documents: from text to statements, refused in AWS's words when they are malformed.

There are two parsers at AWS, and so two sets of words: the old one for identity policies (users, groups, roles, managed
policies), and the newer one for trust policies and resource policies.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class PolicyType(StrEnum):
    """What a policy is for; each value is what a denial calls it."""

    IDENTITY = "identity-based policy"
    RESOURCE = "resource-based policy"
    TRUST = "role trust policy"
    BOUNDARY = "permissions boundary"
    SESSION = "session policy"


class Malformed(ValueError):
    """A document that breaks the grammar; the message is AWS's."""


@dataclass(frozen=True, slots=True)
class Clause:
    """One line of a condition block: `operator: {key: values}`."""

    operator: str
    key: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement as written. `principals` holds (type, value) pairs; `("*", "*")` for a bare star."""

    index: int
    sid: str | None
    allow: bool
    actions: tuple[str, ...]
    except_actions: bool
    resources: tuple[str, ...] | None
    except_resources: bool
    principals: tuple[tuple[str, str], ...] | None
    except_principals: bool
    conditions: tuple[Clause, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A whole policy. `variables` says whether `${…}` is resolved (version 2012-10-17)."""

    version: str
    id: str | None
    statements: tuple[Statement, ...]

    @property
    def variables(self) -> bool:
        """Whether policy variables have meaning in this document."""
        return self.version == "2012-10-17"


VERSIONS = ("2008-10-17", "2012-10-17")
STATEMENT_KEYS = frozenset("Sid Effect Principal NotPrincipal Action NotAction Resource NotResource Condition".split())
PRINCIPAL_TYPES = {"aws": "AWS", "service": "Service", "federated": "Federated", "canonicaluser": "CanonicalUser"}


def load(text: str) -> dict[str, Any]:
    """`text` as a JSON object without repeated names; raises ValueError."""

    def object_of(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(pairs)
        if len(value) != len(pairs):
            raise ValueError("a name is repeated")
        return value

    try:
        document = json.loads(text, object_pairs_hook=object_of)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(document, dict):
        raise ValueError("not an object")
    return document


def strings(value: object) -> tuple[str, ...]:
    """One text or a list of texts; raises ValueError. Numbers and booleans count as their JSON text."""
    several = value if isinstance(value, list) else [value]
    if not all(isinstance(one, (str, bool, int, float)) for one in several):
        raise ValueError("not text")
    return tuple(one if isinstance(one, str) else json.dumps(one) for one in several)


def read(document: dict[str, Any]) -> Document:
    """The statements of an already valid document; raises ValueError, KeyError or TypeError on others."""
    statements = document["Statement"]
    return Document(
        version=document.get("Version") or VERSIONS[0],
        id=document.get("Id"),
        statements=tuple(
            _statement(number, one)
            for number, one in enumerate(statements if isinstance(statements, list) else [statements])
        ),
    )


def _statement(index: int, raw: dict[str, Any]) -> Statement:
    except_actions, except_resources = "NotAction" in raw, "NotResource" in raw
    except_principals = "NotPrincipal" in raw
    principal = raw.get("NotPrincipal" if except_principals else "Principal")
    resource = raw.get("NotResource" if except_resources else "Resource")
    return Statement(
        index=index,
        sid=raw.get("Sid"),
        allow=raw["Effect"] == "Allow",
        actions=strings(raw["NotAction" if except_actions else "Action"]),
        except_actions=except_actions,
        resources=None if resource is None else strings(resource),
        except_resources=except_resources,
        principals=None if principal is None else tuple(_principals(principal)),
        except_principals=except_principals,
        conditions=tuple(_clauses(raw.get("Condition") or {})),
    )


def _principals(value: object) -> Iterable[tuple[str, str]]:
    if value == "*":
        return [("*", "*")]
    if not isinstance(value, dict):
        raise ValueError("a principal is a star or an object")
    return [(PRINCIPAL_TYPES[kind.lower()], name) for kind, names in value.items() for name in strings(names)]


def _clauses(block: dict[str, Any]) -> Iterable[Clause]:
    return [Clause(operator, key, strings(values)) for operator, keys in block.items() for key, values in keys.items()]


def parse(text: str) -> Document:
    """A stored document, which was validated when it was stored. Raises `Malformed` if it cannot be read after all."""
    try:
        return read(load(text))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Malformed(f"Syntax errors in policy. ({error})") from None
