"""The verbs of guests, bound to one unit of work. They change rows and nudge; see `lifecycle`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import func, select

from backends.compute.models import Cause, Guest, GuestState, GuestWish, Host, LoginKey
from backends.compute.scheduler import Room, Scheduler, Wanted
from backends.compute.stillness import CAPTURES
from backends.db import Unit
from backends.errors import Exists, WrongState

AT_WORK = (GuestState.PENDING, GuestState.RUNNING, GuestState.STOPPING, GuestState.SHUTTING_DOWN)


class ComputeService:
    """Adds guests and steers them."""

    def __init__(self, unit: Unit, scheduler: Scheduler | None = None) -> None:
        self.unit = unit
        self._scheduler = scheduler or Scheduler()
        self._session = unit.session
        self._hosts: Sequence[Any] | None = None

    def add_guest(self, *, vcpus: int, memory: int, **columns: Any) -> Guest:
        """A new guest that is to run, on the host that `place` gave. `memory` in MiB; the rest are columns of
        `Guest`."""
        now = self.unit.now
        guest = Guest(
            vcpus=vcpus,
            memory=memory,
            created=now,
            launched=now,
            changed=now,
            state=GuestState.PENDING,
            wanted=GuestWish.RUNNING,
            cause=Cause.NONE,
            boot=1,
            generation=1,
            applied=0,
            failures=0,
            **columns,
        )
        self._session.add(guest)
        self.unit.nudge("compute")
        return guest

    def start(self, guest: Guest) -> None:
        """Wish the guest to run; nothing to do when it does. Raises `WrongState` (facts: guest, state), `Exhausted`."""
        if guest.state in (GuestState.PENDING, GuestState.RUNNING):
            return
        if guest.state != GuestState.STOPPED:
            raise WrongState(guest=guest.id, state=guest.state)
        guest.host = self.place(Wanted(guest.vcpus, guest.memory, guest.zone, guest.apart, guest.part))
        guest.boot += 1
        guest.launched = self.unit.now
        self._wish(guest, GuestWish.RUNNING, GuestState.PENDING)

    def stop(self, guest: Guest, *, force: bool = False, sleep: bool = False) -> None:
        """Wish the guest to stop, keeping its memory with `sleep`; nothing to do when it does or has.

        Raises `WrongState` (facts: guest, state).
        """
        if guest.state in (GuestState.STOPPING, GuestState.STOPPED):
            return
        if guest.state != GuestState.RUNNING:
            raise WrongState(guest=guest.id, state=guest.state)
        guest.notes = guest.notes | {"force": force, "sleep": sleep}
        self._wish(guest, GuestWish.STOPPED, GuestState.STOPPING)
        if sleep:
            guest.cause = Cause.SLEEP

    def reboot(self, guest: Guest) -> None:
        """Wish the guest to start anew. Raises `WrongState` (facts: guest, state) unless it runs or begins to."""
        if guest.state not in (GuestState.RUNNING, GuestState.PENDING):
            raise WrongState(guest=guest.id, state=guest.state)
        guest.boot += 1
        guest.generation += 1
        self.unit.nudge("compute")

    def capture_still(self, guest: Guest, set: str) -> None:
        """Wish the guest to be switched off, the held snapshots of `set` to be taken then, and it to start again.

        Raises `WrongState` as `reboot`.
        """
        self.reboot(guest)
        guest.notes = guest.notes | {CAPTURES: [*guest.notes.get(CAPTURES, ()), set]}

    def terminate(self, guest: Guest) -> None:
        """Wish the guest gone, for good; nothing to do when it is going or gone."""
        if guest.state in (GuestState.SHUTTING_DOWN, GuestState.TERMINATED):
            return
        self._wish(guest, GuestWish.TERMINATED, GuestState.SHUTTING_DOWN)

    def look_again(self, guest: str) -> None:
        """The guest's devices changed: let the machinery bring them into it if it runs, or is about to."""
        row = self._session.get(Guest, guest)
        if row is not None and row.wanted == GuestWish.RUNNING:
            row.generation += 1
            self.unit.nudge("compute")

    def add_key(self, *, id: str, name: str, kind: str, public: str, fingerprint: str) -> LoginKey:
        """A public key under a name. Raises `Exists` (facts: name) when the name is taken."""
        if self._session.scalar(select(LoginKey.id).where(LoginKey.name == name)) is not None:
            raise Exists(name=name)
        key = LoginKey(id=id, name=name, kind=kind, public=public, fingerprint=fingerprint, created=self.unit.now)
        self._session.add(key)
        return key

    def _wish(self, guest: Guest, wanted: GuestWish, state: GuestState) -> None:
        guest.wanted, guest.state, guest.changed = wanted, state, self.unit.now
        guest.cause = Cause.NONE if wanted == GuestWish.RUNNING else Cause.ASKED
        guest.generation += 1
        guest.failures = 0
        self.unit.nudge("compute")

    def place(self, wanted: Wanted) -> str | None:
        """A host with room; None while no host is known (the first one to come takes the guest). Raises `Exhausted`
        when no host can take the guest."""
        hosts = self._hosts
        if hosts is None:
            query = select(Host.id, Host.vcpus, Host.memory, Host.overhead, Host.zone)
            hosts = self._hosts = self._session.execute(query).all()
        if not hosts:
            return None
        used, apart = self._used(), wanted.apart
        many = all(cpus is None and mib is None for _, cpus, mib, _, _ in hosts)
        parts = self.parts(apart, wanted.zone if many else None) if apart is not None else {}
        rooms = []
        for id, cpus, mib, overhead, zone in hosts:
            cpus_used, mib_used, guests = used.get(id, (0, 0, 0))
            left = None if mib is None else mib - mib_used - (guests + 1) * overhead
            room = Room(
                host=id,
                vcpus=None if cpus is None else cpus - cpus_used,
                memory=left,
                zone=zone,
                guests=guests,
                parts={apart: frozenset(parts[id])} if apart is not None and id in parts else {},
                many=many,
            )
            rooms.append(room)
        return self._scheduler.place(wanted, rooms)

    def parts(self, apart: str, zone: str | None = None) -> dict[str, dict[str, int]]:
        """The parts of a group that have guests at work (in that zone, where one is given), of whichever tenant: by
        host, how many each has."""
        self._session.flush()
        table = Guest.__table__
        query = select(table.c.host, table.c.part, func.count()).where(table.c.apart == apart)
        query = query.where(table.c.state.in_(AT_WORK)).group_by(table.c.host, table.c.part)
        if zone is not None:
            query = query.where(table.c.zone == zone)
        rows = self._session.connection().execute(query)
        found: dict[str, dict[str, int]] = defaultdict(dict)
        for host, part, count in rows:
            found[host][part] = int(count)
        return found

    def _used(self) -> dict[str, tuple[int, int, int]]:
        """What every tenant's guests take of each host: processors, MiB, and how many they are."""
        assert self._hosts
        if len(self._hosts) == 1 and self._hosts[0].vcpus is None and self._hosts[0].memory is None:
            return {}  # one machine without a bound: there is nothing to choose
        self._session.flush()
        table = Guest.__table__
        rows = self._session.connection().execute(
            select(table.c.host, func.sum(table.c.vcpus), func.sum(table.c.memory), func.count())
            .where(table.c.state.in_(AT_WORK))
            .group_by(table.c.host)
        )
        return {host: (int(cpus), int(mib), int(count)) for host, cpus, mib, count in rows}
