"""Spot Instance requests: what was asked, and how the instance that came of it fares.

A request is fulfilled at once, at any price, and nothing is ever interrupted: there is no market here.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from backends.compute.models import Guest, GuestState
from compat.context import Context
from compat.errors import AWSError
from compat.records import Document, Record, record_kind

GONE = (GuestState.SHUTTING_DOWN, GuestState.TERMINATED)
STOPPED = (GuestState.STOPPING, GuestState.STOPPED)
_PRICE = re.compile(r"\d*\.?\d+")
_SIGNS = "abcdefghijkmnpqrstuvwxyz0123456789"

FULFILLED = ("active", "fulfilled", "Your spot request is fulfilled.")
BY_USER = "Spot Instance {verb} by user."


def fate(ctx: Context, row: Record) -> tuple[str, str, str]:
    """State, status code and its message of a request: they follow from its instance."""
    guest = ctx.session.get(Guest, row.document["InstanceId"])
    gone = guest is None or guest.state in GONE
    if row.state == "cancelled" and not gone:
        return (
            "cancelled",
            "request-canceled-and-instance-running",
            "Your Spot request is canceled, but your instance is still running.",
        )
    if gone:
        state = "cancelled" if row.state == "cancelled" else "closed"
        return state, "instance-terminated-by-user", BY_USER.format(verb="terminated")
    if guest is not None and guest.state in STOPPED:
        return "disabled", "instance-stopped-by-user", BY_USER.format(verb="stopped")
    return FULFILLED


def _extras(ctx: Context, row: Record) -> Document:
    state, code, message = fate(ctx, row)
    found: Document = {
        "CreateTime": row.created,
        "State": state,
        "Status": {"Code": code, "Message": message, "UpdateTime": _changed(ctx, row)},
        "ValidFrom": row.created,
    }
    until = row.document.get("_until")
    return found | ({"ValidUntil": datetime.fromisoformat(until)} if until else {})


def _changed(ctx: Context, row: Record) -> datetime:
    guest = ctx.session.get(Guest, row.document["InstanceId"])
    return row.created if guest is None else guest.changed


REQUESTS = record_kind(
    "spot-instances-request",
    prefix="sir-",
    missing="InvalidSpotInstanceRequestID.NotFound",
    malformed=None,
    id_member="SpotInstanceRequestId",
    label="spot instance request ID",
    ids="SpotInstanceRequestIds",
    extras=_extras,
    mints=lambda: "sir-" + "".join(secrets.choice(_SIGNS) for _ in range(8)),
)


@dataclass(slots=True)
class Market:
    """What a launch says of the market. `spec` is kept for requests that are to be fulfilled again."""

    options: Mapping[str, Any]
    spec: Mapping[str, Any]
    shown_spec: Document = field(default_factory=dict)

    @property
    def kind(self) -> str:
        """`one-time` or `persistent`."""
        return self.options.get("SpotInstanceType") or "one-time"

    def shown(self, ctx: Context, guest: str, zone: str, platform: str) -> dict[str, Any]:
        """Keep a request that this instance fulfils; what the instance says of it."""
        until = self.options.get("ValidUntil")
        document: Document = {
            "InstanceId": guest,
            "Type": self.kind,
            "InstanceInterruptionBehavior": self.options.get("InstanceInterruptionBehavior") or "terminate",
            "ProductDescription": "Windows" if platform.startswith("Windows") else "Linux/UNIX",
            "LaunchSpecification": self.shown_spec,
            "LaunchedAvailabilityZone": zone,
            "_until": until.isoformat() if until else None,
            "_spec": dict(self.spec) if self.kind == "persistent" else None,
        }
        for name, member in (("MaxPrice", "SpotPrice"), ("LaunchGroup",) * 2, ("AvailabilityZoneGroup",) * 2):
            if self.options.get(name):
                document[member] = self.options[name]
        row = REQUESTS.add(ctx, document, state="active")
        return {"InstanceLifecycle": "spot", "SpotInstanceRequestId": row.id}


def spot_market(spec: Mapping[str, Any]) -> Market | None:
    """What a launch says of the market; None for instances on demand."""
    given = spec.get("InstanceMarketOptions")
    if not given:
        return None
    kind = given.get("MarketType")
    if kind not in (None, "spot"):
        raise AWSError("Unsupported", f"The market type '{kind}' is not offered by Nephele.")
    options = given.get("SpotOptions") or {}
    check(options)
    return Market(options, spec)


def check(options: Mapping[str, Any]) -> None:
    """Refuse options that contradict each other."""
    price, behaviour = options.get("MaxPrice"), options.get("InstanceInterruptionBehavior")
    if price and not (_PRICE.fullmatch(price) and float(price) > 0):
        raise AWSError("InvalidParameterValue", f"Invalid value '{price}' for the maximum price of a Spot Instance.")
    if options.get("BlockDurationMinutes"):
        raise AWSError("Unsupported", "Spot Instances of a defined duration are no longer offered.")
    if behaviour in ("stop", "hibernate") and options.get("SpotInstanceType") != "persistent":
        raise AWSError(
            "InvalidParameterCombination",
            f"The interruption behavior '{behaviour}' is for Spot Instance requests of the type 'persistent' only.",
        )


def refuse_to_stop(ctx: Context, guest: Guest) -> None:
    """Spot Instances of a one-time request cannot be stopped."""
    request = guest.notes["shown"].get("SpotInstanceRequestId")
    row = ctx.session.get(REQUESTS.row, request) if request else None
    if row is not None and row.document["Type"] == "one-time":
        raise AWSError(
            "UnsupportedOperation",
            f"You can't stop the Spot Instance '{guest.id}' because it is associated with a one-time Spot Instance "
            "request. You can only stop Spot Instances associated with persistent Spot Instance requests.",
        )
