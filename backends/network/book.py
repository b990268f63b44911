"""What every subject of the network service stands on: the unit of work and the host's shared things."""

from __future__ import annotations

import ipaddress
import math
import random
from collections.abc import Iterable
from dataclasses import dataclass, field

from sqlalchemy import delete, insert, select

from backends.db import Base, Unit
from backends.network.drivers.base import NetworkDriver
from backends.network.drivers.simulated import SimulatedNetwork
from backends.network.errors import NoPublicAddresses
from backends.network.models import Lease
from backends.network.plan import NetworkPlan
from backends.network.rows import NetworkRows

TOPIC = "network"
LEASES = Base.metadata.tables[Lease.__tablename__]


@dataclass
class Applied:
    """What the reconciler remembers of its last pass: network -> (its rows, its plan), and when (`time.monotonic`) it
    looked at the machine."""

    held: dict[str, tuple[NetworkRows, NetworkPlan]] = field(default_factory=dict)
    looked: float = -math.inf


@dataclass
class NetworkHost:
    """What outlives a unit of work: the driver, and the pools that public addresses are drawn from.

    The IPv4 pool is the benchmarking range of RFC 2544, the IPv6 pool the documentation range of RFC 3849: neither is
    ever routed in the internet, so an address that escapes leads nowhere."""

    driver: NetworkDriver = field(default_factory=SimulatedNetwork)
    public_pool: ipaddress.IPv4Network = field(default_factory=lambda: ipaddress.IPv4Network("198.18.0.0/15"))
    public_pool6: ipaddress.IPv6Network = field(default_factory=lambda: ipaddress.IPv6Network("2001:db8::/32"))
    dice: random.Random = field(default_factory=random.SystemRandom)
    applied: Applied = field(default_factory=Applied)


class Book:
    """A unit of work with the network's shared things."""

    def __init__(self, unit: Unit, host: NetworkHost) -> None:
        self.unit, self.host, self.session, self.now = unit, host, unit.session, unit.now

    def add(self, *rows: Base) -> None:
        """Put new rows into the session."""
        self.session.add_all(rows)

    def drop(self, rows: Iterable[Base]) -> None:
        """Delete rows, with what they own."""
        for row in rows:
            self.session.delete(row)

    def hold(self, row: Base) -> None:
        """Keep other writers off a row until the unit ends, and read it anew: what is computed from it then holds.

        On SQLite there is one writer at a time anyway."""
        if not self.unit.database.is_sqlite:
            self.session.flush()
            self.session.refresh(row, with_for_update=True)

    def lease(self, wish: str | None = None) -> str:
        """Take a public IPv4 address, `wish` if it is free. Raises `NoPublicAddresses`."""
        pool = self.host.public_pool
        if wish is not None and self._take(wish):
            return wish
        for _ in range(64):
            ip = str(pool[self.host.dice.randrange(1, pool.num_addresses - 1)])
            if self._take(ip):
                return ip
        taken = set(self.session.execute(select(LEASES.c.ip)).scalars())
        for candidate in pool.hosts():
            if (ip := str(candidate)) not in taken and self._take(ip):
                return ip
        raise NoPublicAddresses(pool=str(pool))

    def lease6(self, bits: int = 56) -> str:
        """Take a public IPv6 range of prefix length `bits`. Raises `NoPublicAddresses`."""
        pool = self.host.public_pool6
        for _ in range(64):
            number = self.host.dice.randrange(1 << (bits - pool.prefixlen))
            cidr = f"{ipaddress.IPv6Address(int(pool.network_address) + (number << (128 - bits)))}/{bits}"
            if self._take(cidr):
                return cidr
        raise NoPublicAddresses(pool=str(pool))

    def release_lease(self, ip: str) -> None:
        """Give a public address back."""
        self.session.execute(delete(LEASES).where(LEASES.c.ip == ip))

    def _take(self, ip: str) -> bool:
        if self.session.execute(select(LEASES.c.ip).where(LEASES.c.ip == ip)).first() is not None:
            return False
        self.session.execute(insert(LEASES).values(ip=ip))
        return True
