"""A guest that writes raw frames reaches nobody whom its groups do not let it reach, and takes nothing from others."""

from __future__ import annotations

import json
import sys

import pytest

from tests.sandbox import Sandbox

pytestmark = pytest.mark.real


def test_raw_frames_get_no_further_than_honest_ones(sandbox: Sandbox) -> None:
    told = json.loads(sandbox.run(sys.executable, "-m", "tests.compat.real.adversary", timeout=110).stdout)
    assert told["wrong"] == []
    assert told["attacks"] > 70
