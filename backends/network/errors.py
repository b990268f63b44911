"""Facts that stop the network backend, beyond those of backends/errors.py."""

from __future__ import annotations

from backends.errors import Exhausted, Exists, InUse, Missing, NativeError, OutOfRange, WrongState


class Malformed(NativeError):
    """`value` is not an address, a range, a protocol or whatever `what` says."""


class BadSize(OutOfRange):
    """A range is larger or smaller than allowed, or not inside its container."""


class AddressTaken(Exists):
    """The requested address belongs to a port already."""


class AddressReserved(OutOfRange):
    """The requested address is outside the segment, or one of its reserved ones."""


class NoAddresses(Exhausted):
    """The segment has no free address left."""


class NoPublicAddresses(Exhausted):
    """The pool of public addresses is empty."""


class DuplicateRule(Exists):
    """The firewall group has that very rule already."""


class MissingRule(Missing):
    """The firewall group has no such rule."""


class TooManyRules(Exhausted):
    """A firewall group, packet filter or route table is full."""


class TooManyGroups(Exhausted):
    """A port may be in `limit` firewall groups."""


class AlreadyAttached(Exists):
    """The thing is attached, or its place is taken."""


class NotAttached(WrongState):
    """The thing is not attached where the caller says."""


class AlreadyBound(Exists):
    """The address stands for another private address, and may not move."""


class DefaultThing(InUse):
    """What came with the network lives and dies with it."""


class BadTarget(NativeError):
    """A route cannot lead there."""


class BadEdgeRoute(NativeError):
    """A route that cannot stand in a table for what comes in through a gateway: `table`, `destination`, and `why`:
    "target", "destination" or "propagation"."""


class BadInnerTarget(NativeError):
    """A route to a part of the network itself (`destination`) cannot leave it."""


class WrongNetwork(NativeError):
    """Two things that must share a network do not."""
