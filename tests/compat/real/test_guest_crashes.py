"""The engine is killed before any step of a guest's life: the next one ends where nothing had happened."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from backends.compute.drivers import libvirt
from tests.compat.real.containers import able
from tests.sandbox import Sandbox, unable

pytestmark = [pytest.mark.real, pytest.mark.timeout(600)]
CONTAINER = {"run": 8, "attach": 4, "detach": 4, "stop": 4, "drop": 5}
QEMU = {"run": 4, "stop": 1, "sleep": 1, "wake": 2, "drop": 3, "attach": 4, "detach": 2, "change": 2}
QEMU |= {"copy": 16, "copy again": 16, "freeze": 10}
"""The parts of a life, and how many steps each has at least."""


def play(module: str, request: pytest.FixtureRequest, folder: Path) -> dict[str, Any]:
    """What a module tells that kills before every step."""
    image: Path = request.getfixturevalue("image")  # before the sandbox, where nothing can be downloaded
    sandbox: Sandbox = request.getfixturevalue("sandbox")
    words = [sys.executable, "-m", f"tests.compat.real.{module}", str(folder), str(image)]
    found: dict[str, Any] = json.loads(sandbox.run(*words, timeout=500).stdout)
    return found


@pytest.fixture(scope="module")
def containers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    able()
    return play("guest_crashes", request, tmp_path_factory.mktemp("crashes"))


@pytest.fixture(scope="module")
def machines(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    if missing := [f"{one.what} ({one.remedy})" for one in libvirt.lacks()]:
        unable("lacks " + "; ".join(missing))
    return play("qemu_crashes", request, tmp_path_factory.mktemp("crashes"))


@pytest.mark.parametrize("part", list(CONTAINER))
def test_a_container_ends_the_same_whatever_step_was_the_last(containers: dict[str, Any], part: str) -> None:
    assert containers[part]["wrong"] == []
    assert containers[part]["steps"] >= CONTAINER[part], containers[part]


@pytest.mark.parametrize("part", list(QEMU))
def test_a_machine_and_its_disks_end_the_same_whatever_step_was_the_last(machines: dict[str, Any], part: str) -> None:
    assert machines[part]["wrong"] == []
    assert machines[part]["steps"] >= QEMU[part], machines[part]


def test_a_disk_that_grew_is_as_fast_as_it_may_be(machines: dict[str, Any]) -> None:
    assert "'ua-vol-2': [100, 3000]" in machines["change"]["end"]["limits"]
    assert machines["change"]["end"]["grown"] == "True"
