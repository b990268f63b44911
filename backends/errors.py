"""Native errors: facts about machinery. A front end decides what each is called towards its callers."""

from __future__ import annotations

from typing import Any


class NativeError(Exception):
    """A fact that stopped a backend; its keyword facts are its attributes, for messages further up."""

    def __init__(self, message: str = "", **facts: Any) -> None:
        super().__init__(message or type(self).__name__)
        self.facts = facts

    def __getattr__(self, name: str) -> Any:
        try:
            return self.__dict__["facts"][name]
        except KeyError:
            raise AttributeError(name) from None


class Missing(NativeError):
    """The named thing does not exist in the caller's sight."""


class Exists(NativeError):
    """Something with that name or address exists already."""


class InUse(NativeError):
    """The thing has dependants, or another holds it."""


class WrongState(NativeError):
    """The thing's state does not allow the step."""


class Overlap(NativeError):
    """An address range overlaps another of the same network."""


class OutOfRange(NativeError):
    """A value lies outside what its container allows."""


class Exhausted(NativeError):
    """No more of a finite thing: addresses, memory, processors, space."""


class Unsupported(NativeError):
    """The configured driver cannot do this; its capabilities say so beforehand."""


class Changed(NativeError):
    """A precondition that held when the work began holds no more."""


class Damaged(NativeError):
    """What was stored is not what was recorded, or is gone: a disk failed. `reason` says how it was found."""


class DriverError(NativeError):
    """A driver call failed; what it promised after failure holds."""


class Unavailable(DriverError):
    """What a driver works with is away for now, and expected back: trying again later may succeed; it counts as no
    failure."""


class Away(Unavailable):
    """All of a driver's machinery is away, not one thing of it: nothing can be done with any until it is back."""


class Lost(DriverError):
    """What a driver works on is gone from the machine: whoever made it has to make it anew."""


class Busy(DriverError):
    """Somebody else, mostly a guest, holds on to what is to be given back; it may let go later."""
