"""The policies that the provider keeps for everybody, `arn:aws:iam::aws:policy/…`; loaded when first asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Catalogued:
    """One policy of the catalogue. `reference` is path and name: `/AdministratorAccess`, `/service-role/…`."""

    reference: str
    id: str
    version: int
    created: datetime
    updated: datetime
    description: str
    text: str

    @property
    def name(self) -> str:
        """The policy's name, without path."""
        return self.reference.rpartition("/")[2]

    @property
    def path(self) -> str:
        """The policy's path, with both slashes."""
        return self.reference.rpartition("/")[0] + "/"

    @property
    def arn(self) -> str:
        """The policy's ARN in partition `aws`."""
        return f"arn:aws:iam::aws:policy{self.reference}"


@cache
def catalogue() -> dict[str, Catalogued]:
    """All of them, by reference, in order of name."""
    raw = json.loads((files("compat.iam") / "managed_policies.json").read_text())
    return {
        one["reference"]: Catalogued(
            reference=one["reference"],
            id=one["id"],
            version=one["version"],
            created=datetime.fromisoformat(one["created"]).replace(tzinfo=UTC),
            updated=datetime.fromisoformat(one["updated"]).replace(tzinfo=UTC),
            description=one["description"],
            text=json.dumps(one["document"], indent=4),
        )
        for one in sorted(raw, key=lambda one: one["reference"].rpartition("/")[2])
    }


def catalogued(reference: str) -> Catalogued | None:
    """The policy of the catalogue with that path and name, or None."""
    return catalogue().get(reference)
