"""From an access key to what it proves: the gateway's question on every signed request."""

from __future__ import annotations

from collections.abc import Callable

from compat.cloud import Cloud
from compat.iam.directory import directory
from compat.iam.principal import Credential


def lookup(cloud: Cloud) -> Callable[[str], Credential | None]:
    """The look-up of access keys for `cloud`: None for a key that nobody has. See `Directory.credential`."""
    return directory(cloud).credential
