"""Where a guest goes: a pure choice among hosts, by filters that rule some out and weights that order the rest.

Both are chosen by name. A filter says whether a host can take a guest at all; a weight is how much of something the
host has, made comparable (0 for the least among those that can, 1 for the most) and multiplied by a factor. The host
with the greatest sum takes the guest; of equal ones the first by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from backends.errors import Exhausted


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a guest needs: processors, MiB, a zone, and distance from others.

    Guests with the same `apart` share a host only when they have the same `part` of it, too; `part` None is a part of
    its own.
    """

    vcpus: int
    memory: int
    zone: str | None = None
    apart: str | None = None
    part: str | None = None


@dataclass(frozen=True, slots=True)
class Room:
    """What a host has left (None: no bound), the zone that it stands in (None: in every one), how many guests it runs,
    and which parts of each group of guests that are kept apart. `many`: it stands for as many machines as are wanted,
    and `parts` are those in the zone that is asked for."""

    host: str
    vcpus: int | None
    memory: int | None
    zone: str | None = None
    guests: int = 0
    parts: Mapping[str, frozenset[str]] = field(default_factory=dict)
    many: bool = False


MOST_PARTS = 7
"""Parts of one group that many machines take in one zone."""
Filter = Callable[[Wanted, Room], bool]
Weight = Callable[[Wanted, Room], float]


def _parts(wanted: Wanted, room: Room) -> frozenset[str]:
    return room.parts.get(wanted.apart, frozenset()) if wanted.apart is not None else frozenset()


FILTERS: Mapping[str, Filter] = {
    "processors": lambda wanted, room: room.vcpus is None or room.vcpus >= wanted.vcpus,
    "memory": lambda wanted, room: room.memory is None or room.memory >= wanted.memory,
    "zone": lambda wanted, room: room.zone is None or wanted.zone is None or room.zone == wanted.zone,
    "group": lambda wanted, room: len(_parts(wanted, room) - {wanted.part or ""}) < (MOST_PARTS if room.many else 1),
}
"""What rules a host out: no processors, no memory, another zone, a guest that is to be kept apart."""

WEIGHTS: Mapping[str, Weight] = {
    "memory": lambda wanted, room: float("inf") if room.memory is None else float(room.memory),
    "processors": lambda wanted, room: float("inf") if room.vcpus is None else float(room.vcpus),
    "guests": lambda wanted, room: float(-room.guests),
    "group": lambda wanted, room: float(wanted.part is not None and wanted.part in _parts(wanted, room)),
}
"""What speaks for a host: memory left, processors left, few guests, guests of the same part of a group."""

USUAL_FILTERS = tuple(FILTERS)
USUAL_WEIGHTS: Mapping[str, float] = {"memory": 1.0, "group": 2.0}


class Scheduler:
    """A choice among hosts. A factor below zero turns a weight around: `memory` -1 fills one host before the next."""

    def __init__(self, filters: Sequence[str] = USUAL_FILTERS, weights: Mapping[str, float] = USUAL_WEIGHTS) -> None:
        """Names of `FILTERS`, and factors by names of `WEIGHTS`. Raises `KeyError` for a name that is none."""
        self._filters = [FILTERS[name] for name in filters]
        self._weights = [(WEIGHTS[name], factor) for name, factor in weights.items()]

    def place(self, wanted: Wanted, rooms: Sequence[Room]) -> str:
        """The host that takes the guest. Raises `Exhausted` (facts: vcpus, memory) when none can."""
        fitting = [room for room in rooms if all(fits(wanted, room) for fits in self._filters)]
        if not fitting:
            raise Exhausted(vcpus=wanted.vcpus, memory=wanted.memory)
        scores = dict.fromkeys((room.host for room in fitting), 0.0)
        for weight, factor in self._weights:
            for room, share in zip(fitting, _shares([weight(wanted, room) for room in fitting]), strict=True):
                scores[room.host] += factor * share
        return min(scores, key=lambda host: (-scores[host], host))


def _shares(values: Sequence[float]) -> list[float]:
    """Values between 0, for the least, and 1, for the greatest; what has no bound is 1, and the rest up to a half."""
    bounded = [value for value in values if value != float("inf")]
    if not bounded:
        return [1.0] * len(values)
    least, most = min(bounded), max(bounded)
    top = 0.5 if len(bounded) < len(values) else 1.0
    return [
        1.0 if value == float("inf") else top * (value - least) / (most - least) if most > least else 0.0
        for value in values
    ]
