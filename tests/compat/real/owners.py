"""An instance under QEMU as its owner has it at hand: its state, its console, its processes."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from backends.compute.drivers import container_root
from gateway.settings import load
from tests.compat.conftest import Client, new_client
from tests.sandbox import Sandbox
from tests.server import ROOT, Server

ACCOUNT = "123456789012"
PATIENCE = 150.0
"""Seconds for what a guest does: without KVM, and beside other work, it is slow."""


def until(find: Callable[[], Any], complaint: Callable[[], str]) -> Any:
    """Look until something is found."""
    deadline = time.monotonic() + PATIENCE
    while not (found := find()):
        assert time.monotonic() < deadline, complaint()
        time.sleep(0.1)
    return found


class World:
    """A server, and one instance of its."""

    def __init__(self, cloud: Server, sandbox: Sandbox) -> None:
        self.cloud, self.sandbox = cloud, sandbox
        self.mark = load({"data_dir": cloud.data}).mark
        self.ec2: Client = new_client(cloud.endpoint, "ec2", ACCOUNT)
        self.id = ""

    def nephele(self, *arguments: str, stdin: str = "") -> str:
        """Run the command line against the server."""
        command = [*self.sandbox.prefix, sys.executable, "-m", "gateway", *arguments]
        done = subprocess.run(
            [*command, "--endpoint", self.cloud.endpoint],
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def instance(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ec2.describe_instances(InstanceIds=[self.id])["Reservations"][0]["Instances"][0]
        return found

    def output(self) -> str:
        return str(self.ec2.get_console_output(InstanceId=self.id)["Output"])

    def become(self, state: str) -> dict[str, Any]:
        """Wait for a state."""

        def there() -> Any:
            found = self.instance()
            return found if found["State"]["Name"] == state else None

        def complaint() -> str:
            log = self.cloud.log.read_text()[-3000:]
            return f"{self.instance()['State']} {self.instance().get('StateReason')}, not {state}\n{log}"

        found: dict[str, Any] = until(there, complaint)
        return found

    def start(self) -> None:
        """Start it, after it was stopped, and wait until it says that it is ready."""
        length = len(self.output())
        self.ec2.start_instances(InstanceIds=[self.id])
        self.become("running")
        self.say("ready at", length)

    def say(self, text: str, since: int = 0) -> None:
        """Wait until the guest says something on its console."""
        until(lambda: text in self.output()[since:], lambda: f"never said {text!r}:\n{self.output()[-3000:]}")

    def ask(self, command: str, answer: str) -> None:
        """Type a command at its console until the answer comes."""
        until(lambda: answer in self.nephele("console", self.id, stdin=command + "\n"), lambda: self.output()[-3000:])

    def come_back(self) -> None:
        """Start the server anew, after it was killed, and find it again."""
        self.cloud.start_again()
        self.ec2 = new_client(self.cloud.endpoint, "ec2", ACCOUNT)

    def reboot_machine(self) -> None:
        """The machine loses its power, and the server is started on what is left."""
        self.sandbox.lose_power()
        self.cloud.process.wait(timeout=30)
        self.cloud.prefix = self.sandbox.prefix
        for path in self.cloud.data.rglob("*.raw"):
            container_root.detach(str(path))  # the kernel forgets them, too
        self.come_back()

    def daemon(self) -> int:
        run = self.sandbox.run("cat", f"/run/nephele-{self.mark}/libvirtd.pid")
        return int(run.stdout)

    def guest(self) -> int:
        run = self.sandbox.run("cat", f"/run/nephele-{self.mark}/qemu/{self.mark}-{self.id}.pid")
        return int(run.stdout)

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ec2.describe_instance_status(InstanceIds=[self.id])["InstanceStatuses"][0]
        return found
