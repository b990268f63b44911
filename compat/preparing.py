"""What must be there before an account's first call in a region: default networks, catalogue images."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy.exc import IntegrityError, OperationalError

if TYPE_CHECKING:
    from compat.context import Context

Preparation = Callable[["Context"], None]
PREPARATIONS: dict[str, list[Preparation]] = {}


def prepares(*services: str) -> Callable[[Preparation], Preparation]:
    """Register a function that runs before the first call of an account to any of `services` in a region.

    It runs once in each process, so it must find out whether the work was done before; it opens its own unit
    (`ctx.transaction`). Two processes may run it at once.
    """

    def register(preparation: Preparation) -> Preparation:
        for service in services:
            PREPARATIONS.setdefault(service, []).append(preparation)
        return preparation

    return register


def prepare(ctx: Context) -> None:
    """Run what is registered for the service of the call."""
    for preparation in PREPARATIONS.get(ctx.operation.service, ()):
        try:
            preparation(ctx)
        except (IntegrityError, OperationalError):
            # Another process ran it in the same moment: the second time it finds that the work was done.
            ctx.close()
            preparation(ctx)
