"""`nephele doctor` looks, tells, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from gateway.commands.doctor import APT, _commands
from tests.server import ROOT


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gateway", "doctor", *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_status_says_whether_real_clouds_can_run(tmp_path: Path) -> None:
    done = run("--json", NEPHELE_DATA_DIR=str(tmp_path / "data"))
    told = json.loads(done.stdout)
    needed = [one for one in told["findings"] if one["needed"]]
    assert told["real"] == all(one["well"] for one in needed)
    assert done.returncode == (0 if told["real"] else 1)
    assert {"processors", "memory", "networks", "QEMU", "libvirt", "disks", "reflink"} <= {
        one["name"] for one in told["findings"]
    }
    assert not (tmp_path / "data").exists()


def test_what_is_missing_comes_with_the_command_that_mends_it(tmp_path: Path) -> None:
    done = run(NEPHELE_DATA_DIR=str(tmp_path), PATH=str(tmp_path))
    assert done.returncode == 1
    (command,) = [line for line in done.stdout.splitlines() if "apt-get install" in line]
    assert command.split("--no-install-recommends ")[1].startswith("qemu-system-x86 qemu-utils ")
    assert "openssh-client" in command.split(), "one for everything"
    assert list(tmp_path.iterdir()) == []


def test_commands_are_told_once_and_for_whoever_asks() -> None:
    mends = ["", "apt-get install -y one two", "sudo apt-get install --no-install-recommends two three", "chmod 1 x"]
    mends += ["modprobe tun && chmod 1 x", "sudo make real", "make .venv/.real"]
    for root, rights in ((True, ""), (False, "sudo ")):
        told = _commands(mends, root=root)
        assert told == [
            f"{rights}{APT} one two three",
            f"{rights}chmod 1 x",
            f"{rights}modprobe tun",
            f"{rights}make real",
            "make .venv/.real",
        ]
