"""What a translator does with packets of who may send under any address."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backends.network.reach import Packet, judge
from tests.compat.real.outward import INNER, NAT, WORLD, networks


@pytest.mark.parametrize(("source", "passes"), [(INNER, True), ("10.0.2.99", True), (NAT, False)])
def test_a_translator_takes_nothing_under_its_own_address(source: str, passes: bool) -> None:
    plan = networks()[0]
    plan = replace(plan, ports=tuple(replace(port, checked=False) for port in plan.ports))
    verdict = judge(plan, Packet(INNER, source, WORLD, "6", 443))
    assert (verdict.passes, verdict.at, verdict.by) == (passes, "nat", "nat-1")
