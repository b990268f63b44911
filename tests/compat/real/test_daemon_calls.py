"""libvirtd stands still while many threads call it: the process that calls lives on, and every call ends.

Older clients of libvirt's (9.0 for one) crash the process when two threads wait on one connection (CVE-2024-4418)."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.compat.real.containers import able
from tests.sandbox import Sandbox

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


def test_a_daemon_that_stands_still_takes_nobody_down(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    able()
    sandbox: Sandbox = request.getfixturevalue("sandbox")
    told = sandbox.run(sys.executable, "-m", "tests.compat.real.daemon_calls", str(tmp_path / "libvirt"), timeout=250)
    found = json.loads(told.stdout)
    assert found["answered"] > 100 and found["given up"] >= 8, found
    assert found["left"] == 0, found
