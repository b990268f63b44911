"""What is under way when a network changes goes on, or ends, as with AWS: tracked connections outlive their rule,
untracked ones do not ("Security group connection tracking"), and packet filters and routes know no connections."""

from __future__ import annotations

import json
import sys

import pytest

from tests.sandbox import Sandbox

pytestmark = pytest.mark.real

GOES_ON, AS_BEFORE, ENDS = [True, True, False], [True, True, True], [True, False, False]
"""It began; it goes on; a new one begins."""
EXPECTED = {
    "nothing": AS_BEFORE,
    "a range is no longer let in": GOES_ON,
    "all are no longer let in": ENDS,
    "all are no longer let in, nor out before": GOES_ON,
    "all are no longer let in, but members are": AS_BEFORE,
    "all are no longer let in, out by another group": ENDS,
    "a group is no longer let in": GOES_ON,
    "a member leaves its group": GOES_ON,
    "the server gets another group": GOES_ON,
    "the client gets another group": GOES_ON,
    "a packet filter lets no answers in": ENDS,
    "a route ends": ENDS,
}


def test_conversations_meet_a_change(sandbox: Sandbox) -> None:
    told = json.loads(sandbox.run(sys.executable, "-m", "tests.compat.real.conversations", timeout=110).stdout)
    assert told == {what: {"tcp": each, "udp": each} for what, each in EXPECTED.items()}
