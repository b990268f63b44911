"""One verdict: what `reach` and `paths` predict from a plan is what the kernel does with packets, every time.

Each round draws six networks anew (groups, filters, routes, checks, public addresses, translators, gateways, peerings),
two of each three with the same ranges, on stand-ins for guests that stay, so that every round is a change of running
networks, too. TCP, UDP, ICMP and a protocol without ports go between guests, over peerings, through translators and
gateways, from outside in, to nowhere and under false names.
Compared are: whether and where each packet arrives, whether its answer does, and how often each allowance decided.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.sandbox import Sandbox

pytestmark = pytest.mark.real


def packets(sandbox: Sandbox, *arguments: str) -> dict[str, Any]:
    done = sandbox.run(
        *sandbox.python("-m", "tests.compat.real.packets", *arguments)[len(sandbox.prefix) :], timeout=110
    )
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize("seed", ["1", "2"])
def test_every_packet_goes_where_it_was_predicted_to(sandbox: Sandbox, seed: str) -> None:
    told = packets(sandbox, "15", seed)
    assert told["wrong"] == []
    assert (told["networks"], told["packets"]) == (90, 2700)


@pytest.mark.parametrize(
    "broken", ["filters-turned", "rules-for-all", "members-anywhere", "ports-ignored", "routes-lost"]
)
def test_the_packets_would_tell(sandbox: Sandbox, broken: str) -> None:
    assert packets(sandbox, "12", "3", broken)["wrong"]
