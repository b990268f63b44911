"""The engine is killed before any step of a container's life: the next one ends where nothing had happened."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.compat.real.containers import able
from tests.sandbox import Sandbox

pytestmark = [pytest.mark.real, pytest.mark.timeout(300)]
LEAST = {"run": 8, "attach": 4, "detach": 4, "stop": 4, "drop": 5}


@pytest.fixture(scope="module")
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    able()
    image: Path = request.getfixturevalue("image")  # before the sandbox, where nothing can be downloaded
    sandbox: Sandbox = request.getfixturevalue("sandbox")
    folder = tmp_path_factory.mktemp("crashes")
    words = [sys.executable, "-m", "tests.compat.real.guest_crashes", str(folder), str(image)]
    found: dict[str, Any] = json.loads(sandbox.run(*words, timeout=280).stdout)
    return found


@pytest.mark.parametrize("part", list(LEAST))
def test_the_end_is_the_same_whatever_step_was_the_last(told: dict[str, Any], part: str) -> None:
    assert told[part]["wrong"] == []
    assert told[part]["steps"] >= LEAST[part], told[part]
