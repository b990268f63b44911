"""What this cloud's instances cannot do, because what runs them cannot: said by AWS's errors."""

from __future__ import annotations

from backends.compute.models import Guest, GuestState
from compat.context import Context
from compat.errors import AWSError


def can(ctx: Context, ability: str) -> bool:
    """Whether what runs instances has the capability of that name (see `backends.compute.drivers.base`)."""
    return bool(getattr(ctx.cloud.hosts["compute"].driver.capabilities, ability))


def refuse_while_running(ctx: Context, guest: Guest, ability: str) -> None:
    """Refuse a step that a running instance could only follow with the capability."""
    if guest.state in (GuestState.RUNNING, GuestState.PENDING) and not can(ctx, ability):
        raise AWSError(
            "UnsupportedOperation",
            f"Instance '{guest.id}' takes and gives no devices while it runs here; stop it first.",
        )
