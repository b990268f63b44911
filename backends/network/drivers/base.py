"""What a network driver promises."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from backends.network.plan import NetworkPlan

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Counters:
    """What a port carried since its link was made, as its guest sees it: into it, and out of it."""

    bytes_in: int = 0
    bytes_out: int = 0
    packets_in: int = 0
    packets_out: int = 0


def link_name(deployment: str, port_id: str) -> str:
    """The name that a port's link bears on the machine: 13 characters (the kernel takes 15), the same for the same port
    of the same deployment, and another one for every other."""
    return "n" + hashlib.sha256(f"{deployment}/{port_id}".encode()).hexdigest()[:12]


class NetworkDriver(Protocol):
    """Makes networks real on this machine. Every verb may be repeated from any point.

    A driver keeps no state of its own: what it made carries the network's id and the plan's digest, and `observe` reads
    them back. It never touches what does not carry its mark. All verbs block, and may be called from any thread that
    runs no event loop."""

    applies: bool
    """Whether packets really flow. A driver that applies nothing is not asked to ensure anything."""

    def ensure(self, plan: NetworkPlan) -> None:
        """Make the machine hold exactly `plan` for that network. For reconcilers only.

        After success packets of its ports pass as `plan` says, and established connections that it still allows go on.
        After failure (`DriverError`) the machine holds either the former plan or this one for each link; nothing that
        the former plan forbade passes that this one forbids too. Calling again completes the work."""

    def drop(self, network_id: str) -> None:
        """Remove everything made for a network. Success when there is nothing; after failure a part may be left, still
        marked, and calling again removes the rest. For reconcilers only."""

    def observe(self) -> dict[str, str]:
        """What the machine holds: network id -> digest of the plan that was last ensured in full, "" for a part of
        one."""

    def link(self, port_id: str) -> str:
        """The name that a port's link has to bear, on the host and inside its network."""

    def adopt(self, network_id: str, port_id: str) -> None:
        """A link named `link(port_id)` stands in the namespace of this process (somebody made it, and its guest sends
        nothing yet): take it into the network and give it what the last ensured plan says.

        After success packets pass; success, too, when the link is inside already. `DriverError` while the network, or
        the port in its plan, is not ensured yet: nothing has changed then, and the caller tries again. `Lost` when
        there is no such link."""

    def inside(self, network_id: str, work: Callable[[], T]) -> T:
        """Run `work` on a thread that lives in the network's namespace, and return (or raise) what it does.

        Sockets that it makes belong to the network for good, and may be served by any thread afterwards; they do not
        keep up with a network that is removed and made anew (`/proc/thread-self/ns/net` differs then). `work` must be
        short: the network's other changes wait for it. `DriverError` when the network is not there."""

    def counters(self, network_id: str, port_id: str) -> Counters:
        """What a port has carried. `DriverError` when its link is not there."""
