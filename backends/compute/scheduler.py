"""Where a guest goes: a pure choice among hosts by what they have left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backends.errors import Exhausted


@dataclass(frozen=True, slots=True)
class Room:
    """What a host has left. None: no bound."""

    host: str
    vcpus: int | None
    memory: int | None


def place(vcpus: int, memory: int, rooms: Sequence[Room]) -> str:
    """The host with the most memory left among those that fit `vcpus` and `memory` MiB; ties by name.

    Raises `Exhausted` (facts: vcpus, memory) when none fits.
    """
    fitting = [
        room
        for room in rooms
        if (room.vcpus is None or room.vcpus >= vcpus) and (room.memory is None or room.memory >= memory)
    ]
    if not fitting:
        raise Exhausted(vcpus=vcpus, memory=memory)
    return min(fitting, key=lambda room: (-(room.memory if room.memory is not None else 1 << 62), room.host)).host
