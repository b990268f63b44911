"""The sandbox: what runs in it is reached from tests, and sees nothing of the machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.compat.conftest import Client
from tests.sandbox import Sandbox
from tests.server import Server

pytestmark = pytest.mark.real


def test_a_server_answers_inside(client: Callable[..., Client]) -> None:
    assert client("ec2").describe_vpcs()["Vpcs"]


def test_nothing_of_the_machine_is_there(cloud: Server, sandbox: Sandbox) -> None:
    links = sandbox.run("ls", "/sys/class/net").stdout.split()
    assert links == sandbox.run("sh", "-c", "ip -br link | cut -d' ' -f1").stdout.split()
    assert "lo" in links
    assert "eth0" not in links
    assert Path(f"/proc/{cloud.pid}/ns/net").readlink() != Path(f"/proc/{os.getppid()}/ns/net").readlink()
    assert Path("/proc/thread-self/ns/net").readlink() == Path(f"/proc/{cloud.pid}/ns/net").readlink()
    assert set(sandbox.run("ls", "/run").stdout.split()) <= {"before", "lock", "mount", "netns"}
