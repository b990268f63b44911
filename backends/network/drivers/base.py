"""What a network driver promises."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from backends.network.plan import NetworkPlan


class NetworkDriver(Protocol):
    """Makes networks real on this machine. Every verb may be repeated from any point, and is called by a reconciler
    only.

    A driver keeps no state of its own: what it made carries the network's id and the plan's digest, and `observe` reads
    them back. It never touches what does not carry its mark."""

    applies: bool
    """Whether packets really flow. A driver that applies nothing is not asked to ensure anything."""

    def ensure(self, plan: NetworkPlan) -> None:
        """Make the machine hold exactly `plan` for that network.

        After success packets of its ports pass as `plan` says, and established connections that it still allows go on.
        After failure (`DriverError`) the machine holds either the former plan or this one for each link; nothing that
        the former plan forbade passes that this one forbids too. Calling again completes the work."""

    def drop(self, network_id: str) -> None:
        """Remove everything made for a network. Success when there is nothing; after failure a part may be left, still
        marked, and calling again removes the rest."""

    def observe(self) -> dict[str, str]:
        """What the machine holds: network id -> digest of the plan that was last ensured in full, "" for a part of
        one."""
