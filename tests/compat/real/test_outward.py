"""Beyond the host: errors find their way back through every translation, and no guest fills the memory of all."""

from __future__ import annotations

import json
import sys

import pytest

from tests.compat.real.outward import FEW, FLOWS, NARROW
from tests.sandbox import Sandbox

pytestmark = pytest.mark.real


def test_guests_and_the_world(sandbox: Sandbox) -> None:
    told = json.loads(sandbox.run(sys.executable, "-m", "tests.compat.real.outward", timeout=110).stdout)
    both = ("public", "translated")
    assert told["narrow"] == dict.fromkeys(both, NARROW)
    assert told["closed"] == dict.fromkeys(both, "ECONNREFUSED")
    assert told["sent"] == dict.fromkeys(both, True)
    assert told["itself"]
    assert told["between networks"] < 20, f"of {FLOWS} connections"
    assert FEW // 2 < told["beyond the host"] < FEW + 50, f"of {FLOWS} connections"
    assert told["another's"]
