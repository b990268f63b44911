"""Killed before any step, rebooted, or beside another deployment: the kernel ends up with exactly the plan."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from tests.sandbox import Sandbox

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]


def crash(sandbox: Sandbox, what: str) -> dict[str, Any]:
    done = sandbox.run(sys.executable, "-m", "tests.compat.real.crashes", what, timeout=280)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.mark.parametrize(("what", "least"), [("build", 50), ("change", 25), ("drop", 10)])
def test_the_end_is_the_plan_whatever_step_was_the_last(sandbox: Sandbox, what: str, least: int) -> None:
    told = crash(sandbox, what)
    assert told["wrong"] == []
    assert told["steps"] >= least


def test_after_a_reboot_all_is_made_anew(sandbox: Sandbox) -> None:
    assert crash(sandbox, "reboot")["wrong"] == []


def test_two_deployments_leave_each_other_alone(sandbox: Sandbox) -> None:
    assert crash(sandbox, "neighbours")["wrong"] == []


def test_rules_changed_the_short_way_are_what_a_fresh_load_makes_of_them(sandbox: Sandbox) -> None:
    done = sandbox.run(sys.executable, "-m", "tests.compat.real.rule_changes", "15", "1", timeout=280)
    told = json.loads(done.stdout)
    assert told["wrong"] == []
    assert told["short"] >= told["changes"] / 4 >= 5
