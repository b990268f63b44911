"""A network service on a database of its own, for tests."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from backends.db import Database, Scope
from backends.network.book import NetworkHost
from backends.network.models import Network, Segment
from backends.network.networks import NetworkIds
from backends.network.service import NetworkService
from tests.unit.fresh import fresh_database

SCOPE = Scope("tenant", "here")


@dataclass
class World:
    """Opens services, and counts names."""

    database: Database
    host: NetworkHost = field(default_factory=NetworkHost)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    @contextlib.contextmanager
    def service(self, *, write: bool = True, scope: Scope = SCOPE) -> Iterator[NetworkService]:
        """A service on a unit of work, committed at the end of the block."""
        with self.database.unit(scope, write=write) as unit:
            yield NetworkService(unit, self.host)

    def name(self, kind: str) -> str:
        """A name that nothing has."""
        return f"{kind}-{next(self.numbers)}"

    def ids(self) -> NetworkIds:
        """Names for what comes with a network."""
        return NetworkIds(*(self.name(kind) for kind in ("range", "table", "link", "filter", "group", "rule", "rule")))

    def network(self, service: NetworkService, cidr: str = "10.0.0.0/16") -> Network:
        """A network."""
        return service.add_network(id=self.name("network"), cidr=cidr, ids=self.ids())

    def segment(self, service: NetworkService, network: Network, cidr: str = "10.0.0.0/24") -> Segment:
        """A segment."""
        return service.add_segment(
            id=self.name("segment"),
            network=network,
            cidr=cidr,
            zone="a",
            zone_id="1",
            filter_association=self.name("guard"),
        )


def new_world(folder: Path, *, exclusive: bool = False) -> World:
    """A world with nothing in it. `exclusive`: no other process writes to its database."""
    return World(fresh_database(folder, exclusive=exclusive))
