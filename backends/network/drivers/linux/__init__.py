"""Networks in this machine's kernel: one routed namespace per network, no bridges (see `driver`)."""

from __future__ import annotations

from backends.errors import DriverError


def lacks() -> list[str]:
    """What this machine, or this process, lacks for it, each with its remedy; nothing when all is there."""
    try:
        from backends.network.drivers.linux import namespace, nftables
    except ImportError as error:
        return [f"the Python package {error.name} (make .venv/.real)"]
    found = []
    for check in (namespace.able, nftables.library):
        try:
            check()
        except DriverError as error:
            found.append(str(error))
    return found
