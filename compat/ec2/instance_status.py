"""Whether instances are well: what was found out about them, in the words of AWS's status checks."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from backends.compute.health import AWAY
from backends.compute.models import Guest, GuestState, Health
from backends.volume.models import STALLED, Attachment, Disk
from compat.context import Context
from compat.ec2.instance_view import Belongings, load, state

STARTING = timedelta(minutes=5)
"""So long after its start an instance may be silent before it counts as impaired."""


def can_hibernate(ctx: Context) -> bool:
    """Whether what runs instances can keep their memory while they are stopped."""
    return bool(ctx.cloud.hosts["compute"].driver.capabilities.hibernates)


class Findings(Belongings):
    """What instances have, and what was found out about them."""

    def __init__(self, ctx: Context, guests: Sequence[Guest]) -> None:
        super().__init__(ctx, guests)
        hosts = ctx.cloud.hosts
        self.checked = bool(hosts["compute"].driver.capabilities.runs)
        self.connected = bool(hosts["network"].driver.applies)
        self.health: dict[str, Health] = {}
        self.stalled: dict[str, datetime] = {}
        """Since when instances have had a disk that could not be written."""
        if self.checked:
            ctx.volatile = True  # who is silent for too long is impaired, though nothing changed
            ids = [guest.id for guest in guests]
            for row in ctx.session.scalars(select(Health).where(Health.guest.in_(ids))):
                self.health[row.guest] = row
            self._find_stalled(ctx, ids)

    def _find_stalled(self, ctx: Context, ids: Sequence[str]) -> None:
        query = select(Attachment.guest, Disk.notes).join(Disk, Disk.id == Attachment.disk)
        query = query.where(Attachment.guest.in_(ids), Disk.notes[STALLED].as_string().is_not(None))
        for guest, notes in ctx.session.execute(query):
            since = datetime.fromisoformat(notes[STALLED]["since"])
            self.stalled[guest] = min(since, self.stalled.get(guest, since))


def load_status(ctx: Context, guests: Sequence[Guest]) -> None:
    """Fetch what `render_status` needs for these instances."""
    load(ctx, guests)
    ctx.prepared = Findings(ctx, guests)


PASSED, FAILED, INITIALIZING = "passed", "failed", "initializing"
_WORDS = {PASSED: "ok", FAILED: "impaired", INITIALIZING: INITIALIZING}
Verdict = tuple[str, datetime | None]
"""What a check came to, and since when it fails."""


def verdicts(
    guest: Guest, health: Health | None, *, checked: bool, connected: bool, now: datetime
) -> tuple[Verdict, Verdict]:
    """What the system's check and the instance's come to, of an instance that runs.

    The system is well while nothing is wrong with what runs the instance; the instance is reachable when its network
    card was given its address since it was started, or the agent inside it answers, also while what runs it is away.
    `checked`: anything is found out about instances; `connected`: networks are real.
    """
    passed: Verdict = (PASSED, None)
    initializing: Verdict = (INITIALIZING, None)
    if not checked:
        return passed, passed
    if health is None or health.boot != guest.boot:
        return initializing, initializing
    system: Verdict = (FAILED, health.since) if health.trouble else passed
    if health.trouble and not health.trouble.startswith(AWAY):
        return system, system
    if health.agent or health.leased is not None or not connected:
        return system, passed
    if now - guest.launched < STARTING:
        return system, initializing
    return system, (FAILED, guest.launched + STARTING)


def _shown(verdict: Verdict) -> dict[str, Any]:
    word, since = verdict
    detail: dict[str, Any] = {"Name": "reachability", "Status": word}
    if since is not None:
        detail["ImpairedSince"] = since
    return {"Status": _WORDS[word], "Details": [detail]}


def _checks(ctx: Context, guest: Guest) -> tuple[dict[str, Any], dict[str, Any]]:
    """The system's check and the instance's, in AWS's form."""
    if guest.state != GuestState.RUNNING:
        return {"Status": "not-applicable"}, {"Status": "not-applicable"}
    found: Findings = ctx.prepared
    now = ctx.now if found.checked else guest.launched  # an answer that does not depend on the time is kept
    system, instance = verdicts(
        guest, found.health.get(guest.id), checked=found.checked, connected=found.connected, now=now
    )
    return _shown(system), _shown(instance)


def render_status(ctx: Context, guest: Guest) -> dict[str, Any]:
    """The health of an instance in AWS's form. Call `load_status` before."""
    system, instance = _checks(ctx, guest)
    stalled = ctx.prepared.stalled.get(guest.id)
    return {
        "InstanceId": guest.id,
        "AvailabilityZone": guest.zone,
        "InstanceState": state(guest.state),
        "InstanceStatus": instance,
        "SystemStatus": system,
        "AttachedEbsStatus": system
        if stalled is None or system["Status"] == "not-applicable"
        else _shown((FAILED, stalled)),
        "Events": [],
        "Operator": {"Managed": False},
    }
