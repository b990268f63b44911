"""Waiting for states as scripts do: boto3's waiters, only more often."""

from __future__ import annotations

from typing import Any


def wait(client: Any, waiter: str, **about: Any) -> None:
    """Wait for what boto3 calls `waiter`, at most a minute."""
    client.get_waiter(waiter).wait(**about, WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})
