"""What a running cloud is made of: put together once at start, handed to every call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from backends.clock import wall as wall
from backends.db import Database, Unit


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator decided and operations must know."""

    auth: str = "enforce"
    default_account: str = "000000000000"
    default_region: str = "us-east-1"
    root_keys: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Access key → (secret, account): roots beside the 12-digit ones."""
    open_root: bool = True
    """Whether `test` and 12-digit access keys are roots (on loopback)."""
    cors_origins: Sequence[str] = ()
    """Whose pages may call every service; patterns with one `*` at most."""
    old_s3_defaults: bool = False
    """New buckets as before April 2023: ACLs on, no public access block."""
    owner_display_names: bool = False
    lifecycle_day: int = 86400
    """Seconds that lifecycle rules take for a day."""
    endpoint: str = "http://127.0.0.1:4566"


@dataclass(slots=True)
class Cloud:
    """The parts that last as long as the process.

    `services` makes a backend's service for a unit of work, by its name on `Context`. `hosts` holds what backends keep
    for the whole process (drivers, stores, key files), by the same names.
    """

    database: Database
    rules: Rules = field(default_factory=Rules)
    services: dict[str, Callable[[Unit], Any]] = field(default_factory=dict)
    hosts: dict[str, Any] = field(default_factory=dict)
