"""Alarms as they are kept: what was asked for, the state, and what happened to them."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from backends.db import ScopedSession
from compat.records import Record

if TYPE_CHECKING:
    from compat.context import Context

OK, ALARM, INSUFFICIENT = "OK", "ALARM", "INSUFFICIENT_DATA"
ACTIONS = {OK: "OKActions", ALARM: "AlarmActions", INSUFFICIENT: "InsufficientDataActions"}
"""State -> the member that names what is done when it is come to."""
FIRST = "Unchecked: Initial alarm creation"


class Alarm(Record):
    """An alarm on a metric, or on other alarms (`document["composite"]`). `document["about"]` is what was asked for."""

    __mapper_args__ = {"polymorphic_identity": "alarm"}

    @property
    def about(self) -> dict[str, Any]:
        """The members of the call that made it."""
        found: dict[str, Any] = self.document["about"]
        return found

    @property
    def is_composite(self) -> bool:
        """Whether it is about other alarms."""
        return bool(self.document["composite"])

    def change(self, **members: Any) -> None:
        """Set members of the document."""
        self.document = {**self.document, **members}


class AlarmNote(Record):
    """One entry of an alarm's history; `name` is the alarm's, `state` the kind of entry."""

    __mapper_args__ = {"polymorphic_identity": "alarm-history"}


def key(account: str, region: str, name: str) -> str:
    """The id of an alarm's row: one for a name, so that two calls cannot both make it."""
    return "alarm-" + hashlib.sha256(f"{account}/{region}/{name}".encode()).hexdigest()[:40]


def arn(ctx: Context, name: str) -> str:
    """An alarm's ARN."""
    return ctx.arn("cloudwatch", f"alarm:{name}")


def find(session: ScopedSession, name: str) -> Alarm | None:
    """The alarm of that name, in the caller's sight."""
    return session.scalar(select(Alarm).where(Alarm.name == name))


def stamp(moment: datetime) -> str:
    """A moment as histories write it."""
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}+0000"


def note(session: ScopedSession, now: datetime, alarm: Alarm, kind: str, summary: str, data: Mapping[str, Any]) -> None:
    """Add an entry to an alarm's history."""
    document = {"summary": summary, "data": json.dumps(data), "composite": alarm.is_composite}
    session.add(
        AlarmNote(id=f"note-{uuid.uuid4()}", name=alarm.name, state=kind, document=document, created=now),
    )


def turn(
    session: ScopedSession, now: datetime, alarm: Alarm, state: str, reason: str, data: str | None = None
) -> list[str]:
    """Put an alarm into a state; the actions (ARNs) that are to be done then: none unless the state is another one."""
    before = alarm.state
    told = {"reason": alarm.document["reason"], "data": alarm.document["data"]}
    alarm.change(reason=reason, data=data, updated=now.isoformat())
    if state == before:
        return []
    alarm.state = state
    alarm.change(transitioned=now.isoformat())
    history = {
        "version": "1.0",
        "oldState": _told(before, told["reason"], told["data"]),
        "newState": _told(state, reason, data),
    }
    note(session, now, alarm, "StateUpdate", f"Alarm updated from {before} to {state}", history)
    return list(alarm.about.get(ACTIONS[state]) or ()) if alarm.about.get("ActionsEnabled", True) else []


def _told(state: str, reason: str, data: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {"stateValue": state, "stateReason": reason}
    if data:
        try:
            found["stateReasonData"] = json.loads(data)
        except ValueError:
            found["stateReasonData"] = data
    return found
