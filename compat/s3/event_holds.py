"""Event holds of Object Lock: a version is locked until somebody says that an event has come, and for a while after it.

In a version's terms: `"event": "ON"` (or `"OFF"`, once it was released), `"term": {"Days": n}` or `{"Years": n}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compat.operation import Params
from compat.s3 import faults
from compat.s3.terms import DAY, Terms

ON, OFF = "ON", "OFF"
LONGEST = {"Days": 36500, "Years": 100}
LENGTH = {"Days": DAY, "Years": 365 * DAY}
HEADER = "x-amz-object-lock-event-hold"
UPLOAD = {"Days": "ObjectLockEventHoldDurationDays", "Years": "ObjectLockEventHoldDurationYears"}


def of_upload(p: Params) -> Terms:
    """What a call says of the event hold of a new object. Raises S3's errors."""
    state = p.get("ObjectLockEventHold")
    term = {name: p[member] for name, member in UPLOAD.items() if p.get(member) is not None}
    if state is None and not term:
        return {}
    if state not in (None, ON, OFF):
        raise faults.invalid_argument("Event Hold must be either of 'ON' or 'OFF'", HEADER, state)
    if (state == ON) != bool(term):
        raise faults.invalid_argument("An event hold that is ON, and no other, has a duration.", HEADER, state)
    if state == ON and p.get("ObjectLockMode") is None:
        raise faults.invalid_argument("x-amz-object-lock-mode must be supplied with an event hold", HEADER, state)
    return {"event": ON, "term": checked(term)} if term else {}


def checked(term: Mapping[str, Any]) -> dict[str, int]:
    """A duration: a number of days or of years. Raises S3's errors."""
    given = {name: term[name] for name in LONGEST if term.get(name) is not None}
    if len(given) != 1:
        raise faults.invalid_argument("The duration of an event hold is a number of days or of years.")
    name, number = next(iter(given.items()))
    if not 1 <= number <= LONGEST[name]:
        raise faults.invalid_argument(
            f"The duration of an event hold must be between 1 and {LONGEST[name]} {name.lower()}", name, number
        )
    return given


def length(term: Mapping[str, int]) -> int:
    """A duration in microseconds."""
    return next(number * LENGTH[name] for name, number in term.items())


def default(retention: Mapping[str, Any]) -> Terms:
    """The terms that a bucket's default gives to new objects, where it is an event hold; empty otherwise."""
    held = retention.get("DefaultEventHold")
    return {"mode": retention["Mode"], "until": 0, "event": ON, "term": dict(held)} if held else {}


def is_on(terms: Terms) -> bool:
    """Whether the event is still to come."""
    return terms.get("event") == ON


def release(terms: Terms, now: int) -> None:
    """The event has come: from now on it is the duration that counts."""
    if is_on(terms):
        terms["event"] = OFF
        terms["until"] = max(terms.get("until", 0), (now + length(terms["term"])) // 1000 * 1000)


def shown(terms: Terms) -> dict[str, Any]:
    """The members of a `Retention` that speak of it."""
    return {"EventHold": terms["event"], "EventHoldDuration": terms["term"]} if "event" in terms else {}
