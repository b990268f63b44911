"""The reference driver: the same plans, nothing applied."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backends.network.plan import NetworkPlan


class SimulatedNetwork:
    """Holds no packet and no state: whatever is planned is as good as done, and nothing is ever left over."""

    applies = False

    def ensure(self, plan: NetworkPlan) -> None:
        """True at once: there is no machine to differ from the plan."""

    def drop(self, network_id: str) -> None:
        """True at once."""

    def observe(self) -> dict[str, str]:
        """Nothing is applied, so nothing is found."""
        return {}
