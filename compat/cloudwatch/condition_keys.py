"""Condition keys of CloudWatch."""

from __future__ import annotations

from compat.iam.keys import Keys, service_keys, text
from compat.iam.policy.request import ContextValue


@service_keys("cloudwatch")
def _cloudwatch_keys(keys: Keys, name: str) -> ContextValue:
    if name == "namespace":
        return text(keys.p.get("Namespace"))
    if name == "alarmactions":
        members = ("AlarmActions", "OKActions", "InsufficientDataActions")
        return tuple(action for member in members for action in keys.p.get(member) or ()) or None
    return None
