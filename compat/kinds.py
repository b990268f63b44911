"""Kinds of resources: one line each, beside the operations of the kind."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from compat.errors import AWSError


@dataclass(frozen=True, slots=True)
class Kind:
    """What is common to all resources of a kind. `name` is the resource type of tag specifications and ARNs."""

    name: str
    prefix: str
    row: type[Any]
    missing: str
    malformed: str | None
    label: str
    arn: str
    ids: str | None
    quota: int | None
    quota_code: str
    message: str
    several: str | None
    pattern: re.Pattern[str]
    mints: Callable[[], str]

    def absent(self, id: str) -> AWSError:
        """The error that says that `id` does not exist."""
        return AWSError(self.missing, self.message.format(label=self.label, id=id))

    def all_absent(self, ids: Sequence[str]) -> AWSError:
        """The error that says that none of `ids` exists: all of them in one sentence where AWS has one."""
        if self.several is None or len(ids) == 1:
            return self.absent(ids[0])
        return AWSError(self.missing, self.several.format(label=self.label, ids=", ".join(ids)))

    def check(self, id: str) -> None:
        """Refuse an id that cannot be one of this kind."""
        if self.malformed is not None and not self.pattern.fullmatch(id):
            raise AWSError(self.malformed, f'Invalid id: "{id}" (expecting "{self.prefix}...")')


KINDS: dict[str, Kind] = {}


def kind(
    name: str,
    *,
    prefix: str,
    row: type[Any],
    missing: str,
    malformed: str | None = None,
    label: str | None = None,
    arn: str | None = None,
    ids: str | None = None,
    quota: int | None = None,
    quota_code: str | None = None,
    message: str = "The {label} '{id}' does not exist",
    several: str | None = None,
    mints: Callable[[], str] | None = None,
) -> Kind:
    """Declare a kind.

    - `row`: the mapped class; its `id` column holds the AWS id.
    - `missing`, `malformed`: AWS's codes; `malformed=None` when any text is looked up.
    - `label`: how messages call an id of the kind ("subnet ID"); `message` is the not-found wording,
      `several` that for several ids (`{ids}`); without it the first of them is named.
    - `arn`: the resource part of the ARN, `{id}` stands for the id; by default `name/{id}`.
    - `ids`: the input member that lists ids in Describe, when it is not the name of the kind plus `Ids`.
    - `quota`: how many one account may have in one region; `quota_code` the code beyond that.
    - `mints`: makes a new id; by default the prefix and 17 hexadecimal digits.
    """
    camel = "".join(part.capitalize() for part in name.split("-"))
    value = Kind(
        name=name,
        prefix=prefix,
        row=row,
        missing=missing,
        malformed=malformed,
        label=label or f"{name} ID",
        arn=arn or f"{name}/{{id}}",
        ids=ids,
        quota=quota,
        quota_code=quota_code or f"{camel}LimitExceeded",
        message=message,
        several=several,
        pattern=re.compile(re.escape(prefix) + r"(?:[0-9a-f]{8}|[0-9a-f]{17})"),
        mints=mints or (lambda: prefix + secrets.token_hex(9)[:17]),
    )
    if name in KINDS:
        raise RuntimeError(f"kind {name} is declared twice")
    KINDS[name] = value
    return value


def kind_of(id: str) -> Kind | None:
    """The kind whose prefix the id bears, longest prefix first (`eipalloc-` before `eip`)."""
    found = [k for k in KINDS.values() if k.prefix and id.startswith(k.prefix)]
    return max(found, key=lambda k: len(k.prefix), default=None)
