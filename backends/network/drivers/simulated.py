"""The reference driver: the same plans, nothing applied."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from backends.network.drivers.base import Counters, T, link_name

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

    def link(self, port_id: str) -> str:
        """The name that a link would have."""
        return link_name("", port_id)

    def adopt(self, network_id: str, port_id: str) -> None:
        """True at once: no link is ever made."""

    def inside(self, network_id: str, work: Callable[[], T]) -> T:
        """Here and now: every network is the machine itself."""
        return work()

    def counters(self, network_id: str, port_id: str) -> Counters:
        """Nothing was carried."""
        return Counters()
